"""Calls that take one step read weights as they are: the bits of packed ones, in either layout."""

import numpy as np
import pytest
from agreement import assert_all_equal, assert_case_close, lstm_case
from test_layer_pass import assert_same_bits, turned

from lstmfast import CellOptions, PreparedLSTM, capi, lstm_backward, lstm_forward
from lstmfast.ops.call import Sizes
from lstmfast.ops.lstm import reserve_size

MANY = 65  # rows: from here on weights are packed
# Whole vectors or not, last panels of every kind; sums of one block, of even and of uneven ones.
LAYERS = ((64, 64), (16, 16), (5, 7), (32, 3), (256, 48), (400, 33), (512, 20), (100, 100), (1, 1))
ROWS = (1, 2, 7, MANY - 1)
dtypes = pytest.mark.parametrize("dtype", ("float32", "float64"))
layers = pytest.mark.parametrize("layer", LAYERS, ids=str)


def drawn(B, I, H, dtype, seed=0):
    """Return x (1, B, I), the weights by name, and a state of (B, H) twice."""
    rng = np.random.default_rng(seed)
    shapes = ((1, B, I), (4 * H, I), (4 * H, H), (4 * H,), (B, H), (B, H))
    x, W_ih, W_hh, b, *state = (rng.standard_normal(s).astype(dtype) for s in shapes)
    return x, {"W_ih": W_ih, "W_hh": W_hh, "b": b}, state


@dtypes
@layers
@pytest.mark.parametrize("B", (*ROWS, MANY))
def test_forward_has_the_bits_of_packed_weights(B, layer, dtype, threads):
    x, weights, state = drawn(B, *layer, dtype)
    for given in (state, (None, None)):
        wanted = PreparedLSTM(**weights).forward(x, *given)
        for count in (1, 2):
            threads(count)
            y, found, _ = lstm_forward(x, **weights, h0=given[0], c0=given[1])
            assert_all_equal((y, *found), (wanted[0], *wanted[1]))


@dtypes
@pytest.mark.parametrize("B", (1, 3))
@pytest.mark.parametrize(
    "options",
    ({"coupled": True}, {"cell_clip": 0.5, "activation": "relu"}),
)
def test_options_come_with_them(options, B, dtype):
    x, weights, state = drawn(B, 32, 40, dtype)
    options = CellOptions(**options)
    wanted = PreparedLSTM(**weights, options=options).forward(x, *state)
    y, found, _ = lstm_forward(x, **weights, h0=state[0], c0=state[1], options=options)
    assert_all_equal((y, *found), (wanted[0], *wanted[1]))


@dtypes
@layers
@pytest.mark.parametrize("B", ROWS)
def test_gradients_of_rows_are_those_in_a_large_batch(B, layer, dtype, threads):
    x, weights, state = drawn(MANY, *layer, dtype)
    dy = np.cos(np.arange(MANY * layer[1], dtype=dtype)).reshape(1, MANY, -1)

    def gradients(rows):
        h0, c0 = (one[:rows] for one in state)
        cache = lstm_forward(x[:, :rows], **weights, h0=h0, c0=c0, training=True)[2]
        found = lstm_backward(cache, dy[:, :rows])
        return found.dx, found.dh0, found.dc0

    wanted = gradients(MANY)
    for count in (1, 2):
        threads(count)
        for found, ref in zip(gradients(B), wanted, strict=True):
            np.testing.assert_array_equal(found, ref[..., :B, :])


@dtypes
@layers
@pytest.mark.parametrize("B", (1, 5))
def test_all_gradients_agree_with_the_oracle(B, layer, dtype):
    assert_case_close(lstm_case(1, B, *layer, dtype))


def assert_layer_pass_agrees(arrays, as_ours, mask=None):
    """capi.layer_pass, on weights in either layout, gives the bits of both calls on arrays."""
    y, found, cache = lstm_forward(*arrays, mask=mask, batch_first=True, training=True)
    (B, T, I), H, ragged = arrays[0].shape, y.shape[2], mask is not None
    size = reserve_size(T, B, Sizes(1, I, H, H, H), y.dtype, ragged=ragged)
    reserve, keys = np.empty(size, np.uint8), {"lengths": 1.0} if ragged else {}
    rooms = [np.empty_like(one) for one in (y, *found)]
    given = turned(arrays, as_ours) + ([mask] if ragged else [])
    capi.layer_pass(False, as_ours, keys, given, [*rooms, reserve])
    assert_same_bits(rooms, (y, *found))
    upstream = [np.cos(one) for one in (y, *found)]
    g = lstm_backward(cache, *upstream)
    wanted = turned([g.dx, g.dW_ih, g.dW_hh, g.db, g.dh0, g.dc0], as_ours)
    results = [np.full_like(one, np.nan) for one in wanted]
    needs = np.array([True, True])
    capi.layer_pass(True, as_ours, keys, [*given, y, reserve, needs, *upstream], results)
    assert_same_bits(results, wanted)


@dtypes
@layers
@pytest.mark.parametrize("as_ours", (False, True))
@pytest.mark.parametrize("B", (*ROWS, MANY))
def test_kernels_in_keras_layout(B, as_ours, layer, dtype):
    x, weights, state = drawn(B, *layer, dtype)
    arrays = [x.transpose(1, 0, 2).copy(), *weights.values(), *state]
    assert_layer_pass_agrees(arrays, as_ours)


@dtypes
@pytest.mark.parametrize("as_ours", (False, True))
@pytest.mark.parametrize("taken", ([1, 0, 1], [0, 0, 0], [1, 1, 1], [2, 1, 0]), ids=str)
@pytest.mark.parametrize("T", (1, 2, 5))
def test_rows_that_end_with_the_first_step(T, taken, as_ours, dtype):
    _, weights, state = drawn(3, 7, 20, dtype)
    x = np.random.default_rng(1).standard_normal((3, T, 7)).astype(dtype)
    mask = np.arange(T) < np.array(taken)[:, None]
    assert_layer_pass_agrees([x, *weights.values(), *state], as_ours, mask)


@dtypes
@pytest.mark.parametrize("as_ours", (False, True))
@pytest.mark.parametrize("shape", ((1, 1, 32, 32), (1, 5, 7, 20), (4, 3, 7, 20)))
def test_a_state_of_zeros_needs_no_product(shape, as_ours, dtype):
    T, B, I, H = shape
    _, weights, (h0, c0) = drawn(B, I, H, dtype)
    x = np.random.default_rng(1).standard_normal((B, T, I)).astype(dtype)
    assert_layer_pass_agrees([x, *weights.values(), 0 * h0, c0], as_ours)
    weights["W_hh"][0, 0] = np.nan  # which zeros do not meet
    rooms = [np.empty_like(h0), np.empty_like(c0)]
    arrays = [x[:, :1].copy(), *weights.values(), np.zeros_like(h0), c0]
    capi.layer_pass(False, as_ours, {}, turned(arrays, as_ours), rooms)
    assert np.isfinite(rooms).all()

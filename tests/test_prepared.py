"""Weights packed once, and caches that are made again from arrays: the same bits as one call."""

import numpy as np
import pytest
from agreement import assert_all_equal

import lstmfast
from lstmfast import Noise, PreparedLSTM, lstm_backward, lstm_forward, ops

I, H, T, B = 5, 7, 6, 3
LENGTHS = [6, 2, 4]


def stack(directions=2, layers=2, dtype="float64", P=None):
    """Return the keywords of weights: lists of arrays."""
    rng = np.random.default_rng(1)
    parts = {"W_ih": [], "W_hh": [], "b": []} | ({} if P is None else {"W_hr": []})
    for k in range(layers * directions):
        inputs = I if k < directions else directions * (P or H)
        parts["W_ih"].append(rng.uniform(-0.5, 0.5, (4 * H, inputs)).astype(dtype))
        parts["W_hh"].append(rng.uniform(-0.5, 0.5, (4 * H, P or H)).astype(dtype))
        parts["b"].append(rng.uniform(-0.5, 0.5, 4 * H).astype(dtype))
        if P is not None:
            parts["W_hr"].append(rng.uniform(-0.5, 0.5, (P, H)).astype(dtype))
    return parts


def sequence(dtype="float64"):
    return np.random.default_rng(2).standard_normal((T, B, I)).astype(dtype)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("lengths", (None, LENGTHS))
@pytest.mark.parametrize("P", (None, 3))
def test_prepared_gives_what_a_call_gives(P, lengths, dtype):
    parts, x = stack(P=P, dtype=dtype), sequence(dtype)
    prepared = PreparedLSTM(**parts, bidirectional=True, variable_lengths=True)
    y, (h_n, c_n) = prepared.forward(x, lengths=lengths)
    wanted, (h_ref, c_ref), _ = lstm_forward(x, **parts, bidirectional=True, lengths=lengths)
    for found, ref in ((y, wanted), (h_n, h_ref), (c_n, c_ref)):
        np.testing.assert_array_equal(found, ref)


def test_the_earlier_name_of_variable_lengths_serves_for_a_version():
    with pytest.warns(DeprecationWarning, match="variable_lengths"):
        prepared = PreparedLSTM(**stack(), bidirectional=True, unlike=True)
    assert prepared.forward(sequence(), lengths=LENGTHS)[0].shape == (T, B, 2 * H)


def test_prepared_keeps_its_own_weights_and_takes_a_state():
    parts, x = {name: arrays[0] for name, arrays in stack(1, 1).items()}, sequence()
    prepared = PreparedLSTM(**parts)
    h0, c0 = np.full((B, H), 0.3), np.full((B, H), -0.2)
    wanted, state, _ = lstm_forward(x, **parts, h0=h0, c0=c0, return_sequences=False)
    parts["W_ih"][...] = 0
    y, found = prepared.forward(x.transpose(1, 0, 2), h0, c0, batch_first=True)
    assert wanted is None and y.shape == (B, T, H)
    np.testing.assert_array_equal(found, state)


@pytest.mark.parametrize(
    "given, text",
    (
        ({"x": sequence("float32")}, "x: expected dtype float64"),
        ({"lengths": LENGTHS}, "lengths, mask: expected None without variable_lengths=True"),
        ({"h0": np.zeros((B, H))}, "h0: expected"),
    ),
)
def test_prepared_refuses(given, text):
    prepared = PreparedLSTM(**stack(), bidirectional=True)
    with pytest.raises(ValueError, match=text):
        prepared.forward(**{"x": sequence()} | given)


def gradients(cache, dy, **keywords):
    found = lstm_backward(cache, dy, **keywords)
    return [found.dx, *found.dW_ih, *found.dW_hh, *found.db]


@pytest.mark.parametrize(
    "keywords",
    (
        {},
        {"lengths": LENGTHS},
        {"noise": Noise(layer_dropout=0.3, recurrent_dropout=0.2), "seed": 5},
        {"truncate": 2},
    ),
    ids=("plain", "lengths", "noise", "truncate"),
)
def test_a_cache_is_restored_as_often_as_wanted(keywords):
    parts, x = stack(), sequence()
    keywords = keywords | {"bidirectional": True}
    y, _, cache = lstm_forward(x, **parts, training=True, **keywords)
    reserve = ops.reserve_of(cache).copy()
    dy = np.random.default_rng(3).standard_normal(y.shape)
    wanted = gradients(cache, dy)
    for _ in range(2):
        restored = ops.restore_cache(reserve, y, x, **parts, **keywords)
        assert_all_equal(gradients(restored, dy), wanted)


def test_restore_refuses_what_is_not_of_the_call():
    parts, x = stack(), sequence()
    y, _, cache = lstm_forward(x, **parts, training=True, bidirectional=True)
    reserve = ops.reserve_of(cache).copy()
    with pytest.raises(ValueError, match=rf"reserve: expected the {reserve.size} bytes"):
        ops.restore_cache(reserve[1:], y, x, **parts, bidirectional=True)
    with pytest.raises(ValueError, match="y: expected"):
        ops.restore_cache(reserve, y[1:], x, **parts, bidirectional=True)
    with pytest.raises(TypeError, match="positional"):  # p, as lstm_forward has it
        ops.restore_cache(reserve, y, x, *parts.values(), None, None, None)
    lstm_backward(cache, y)
    with pytest.raises(ValueError, match="one already used"):
        ops.reserve_of(cache)


def test_gradients_of_weights_are_left_out_where_nobody_needs_them():
    parts, x = stack(P=3), sequence()
    h0 = np.zeros((4, B, 3))
    _, _, cache = lstm_forward(x, **parts, h0=h0, bidirectional=True, training=True)
    y, _, other = lstm_forward(x, **parts, h0=h0, bidirectional=True, training=True)
    dy = np.random.default_rng(3).standard_normal(y.shape)
    wanted, found = lstm_backward(cache, dy), lstm_backward(other, dy, need_weights=False)
    assert found.dW_ih is found.dW_hh is found.db is found.dW_hr is None
    np.testing.assert_array_equal(found.dx, wanted.dx)
    np.testing.assert_array_equal(found.dh0, wanted.dh0)


def test_the_names_are_public():
    assert lstmfast.PreparedLSTM is PreparedLSTM

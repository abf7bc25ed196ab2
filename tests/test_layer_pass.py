"""capi.layer_pass, which graphs of Keras and cells of PyTorch call: the bits of lstm_forward."""

import numpy as np
import pytest

from lstmfast import capi, lstm_backward, lstm_forward
from lstmfast.ops.call import Sizes
from lstmfast.ops.lstm import reserve_size

SHAPES = ((1, 1, 64, 64), (5, 3, 7, 24), (2, 2, 8, 20), (3, 2, 17, 3), (1, 2, 100, 70))
NEEDS = ((True, True), (True, False), (False, True))


def drawn(T, B, I, H, dtype, masked):
    """Return x, W_ih, W_hh, b, h0, c0 and a mask, or none."""
    rng = np.random.default_rng(0)
    shapes = ((B, T, I), (4 * H, I), (4 * H, H), (4 * H,), (B, H), (B, H))
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    return arrays, rng.random((B, T)) > 0.3 if masked else None


def turned(arrays, as_ours):
    """With both kernels as Keras has them."""
    x, W_ih, W_hh, *others = arrays
    return arrays if as_ours else [x, W_ih.T.copy(), W_hh.T.copy(), *others]


def assert_same_bits(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.tobytes() == np.ascontiguousarray(other).tobytes()


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("masked", (False, True))
@pytest.mark.parametrize("as_ours", (False, True))
@pytest.mark.parametrize("shape", SHAPES)
def test_bits(shape, as_ours, masked, dtype):
    T, B, I, H = shape
    arrays, mask = drawn(*shape, dtype, masked)
    keywords = {"mask": mask, "reverse": True, "batch_first": True, "training": True}
    y, state, cache = lstm_forward(*arrays, **keywords)
    keys = {"reverse": 1.0} | ({"lengths": 1.0} if masked else {})
    size = reserve_size(T, B, Sizes(1, I, H, H, H), dtype, ragged=masked, reverse=True)
    given = turned(arrays, as_ours) + ([mask] if masked else [])
    for count in (2, 3, 4):
        rooms = [np.empty_like(one) for one in (y, *state)] + [np.empty(size, np.uint8)]
        wanted = rooms[1:3] if count == 2 else rooms[:count]
        capi.layer_pass(False, as_ours, keys, given, wanted)
        assert_same_bits(wanted[:3], state if count == 2 else (y, *state))
    upstream = [np.cos(one) for one in (y, *state)]
    g = lstm_backward(cache, *upstream)
    every = turned([g.dx, g.dW_ih, g.dW_hh, g.db, g.dh0, g.dc0], as_ours)
    for dx, weights in NEEDS:
        found = [np.empty_like(one) for one in every]
        kept = [*given, y, rooms[3], np.array([dx, weights])]
        capi.layer_pass(True, as_ours, keys, [*kept, *upstream], found)
        needed = [dx, weights, weights, weights, True, True]
        zeros = [one if need else 0 * one for one, need in zip(every, needed, strict=True)]
        assert [np.abs(one).sum() > 0 for one in found] == needed
        assert_same_bits([np.abs(one) for one in found], map(np.abs, zeros))


@pytest.mark.parametrize("place", range(6))
def test_what_does_not_fit_is_an_error(place):
    arrays, _ = drawn(2, 3, 4, 5, "float32", False)
    arrays = turned(arrays, False)
    state = [np.empty((3, 5), np.float32) for _ in range(2)]
    for other in (arrays[place][..., :-1].copy(), arrays[place].astype(np.float64)):
        given = [other if k == place else one for k, one in enumerate(arrays)]
        with pytest.raises(ValueError, match="size or stride"):
            capi.layer_pass(False, False, {}, given, state)


def test_what_is_not_known_is_an_error():
    arrays, _ = drawn(2, 3, 4, 5, "float32", False)
    state = [np.empty((3, 5), np.float32) for _ in range(2)]
    with pytest.raises(ValueError, match="unknown configuration key"):
        capi.layer_pass(False, True, {"luck": 1.0}, arrays, state)
    with pytest.raises(ValueError, match="size or stride"):
        capi.layer_pass(False, True, {}, [*arrays, arrays[0]], state)
    with pytest.raises(ValueError, match="size or stride"):
        capi.layer_pass(True, True, {}, arrays, state)

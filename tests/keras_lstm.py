"""lstmfast.keras.LSTM held against keras.layers.LSTM: run by `test_keras`, once for each backend."""

import itertools

import keras
import numpy as np
import pytest
from keras_backends import run

from lstmfast.fallback import FallbackError
from lstmfast.keras import LSTM

BACKEND = keras.backend.backend()
BAR = 1e-5
B, T, I, H = 5, 7, 4, 6


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """No test passes by Keras's own loop, but those that say so."""
    monkeypatch.setenv("LSTMFAST_STRICT", "1")


def drawn(*shape, seed=0, dtype="float32"):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def pair(build=(B, T, I), **options):
    """Return keras.layers.LSTM and ours with the same random weights."""
    units = options.pop("units", H)
    layers = keras.layers.LSTM(units, **options), LSTM(units, **options)
    for layer in layers:
        layer.build(build)
        weights = layer.get_weights()
        layer.set_weights([drawn(*w.shape, seed=k) / 2 for k, w in enumerate(weights)])
    return layers


def error(found, wanted):
    """max |found - wanted| / max(1, max |wanted|), of the worst of several arrays."""
    assert [one.shape for one in found] == [one.shape for one in wanted]
    assert [one.dtype for one in found] == [one.dtype for one in wanted]
    sizes = (np.max(np.abs(a - b)) / max(1, np.max(np.abs(b))) for a, b in zip(found, wanted))
    return max(sizes)


def assert_alike(theirs, ours, bar=BAR, **inputs):
    """Hold outputs and gradients of ours against theirs."""
    wanted, found = run(theirs, **inputs), run(ours, **inputs)
    for kind, a, b in zip(("outputs", "gradients"), found, wanted, strict=True):
        assert error(a, b) <= bar, kind
    WORST.append(max(error(a,b) for a,b in zip(found,wanted)))
WORST=[0]
def teardown_module():
    pass

MASKS = {
    "none": None,
    "right": [[t < n for t in range(T)] for n in (3, 7, 1, 5, 7)],
    "left": [[t >= n for t in range(T)] for n in (3, 0, 6, 5, 0)],
    "holes": drawn(B, T) > 0,
    "empty rows": np.repeat([[True], [False], [True], [False], [True]], T, 1),
}
FLAGS = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask", "unroll")


def cases():
    """Yield each mask with combinations of flags: each pair of values of two flags comes up."""
    rows = [(0, 0, 0, 0, 0), (1, 1, 1, 1, 1), (1, 0, 1, 0, 0), (0, 1, 0, 1, 1), (1, 1, 0, 0, 1),
            (0, 0, 1, 1, 0), (1, 0, 0, 1, 0), (0, 1, 1, 0, 0)]
    for (name, row), with_state in zip(itertools.product(MASKS, rows), itertools.cycle((0,1,1))):
        flags = dict(zip(FLAGS, map(bool, row), strict=True))
        if name != "none" and BACKEND == "torch" and flags["unroll"] and flags["go_backwards"]:
            continue  # Keras's own loop raises TypeError
        yield pytest.param(name, flags, with_state, id=f"{name}-{row}-{with_state}")


@pytest.mark.parametrize("mask, flags, with_state", cases())
def test_masks_and_flags(mask, flags, with_state):
    state = [drawn(B, H, seed=1), drawn(B, H, seed=2)] if with_state else []
    mask = None if MASKS[mask] is None else np.asarray(MASKS[mask])
    assert_alike(*pair(**flags), x=drawn(B, T, I), state=state, mask=mask)

"""How many Python functions of the package lie between what a user calls and the compiled call."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import lstmfast
from lstmfast import LSTM, Dense, LSTMStream, Model, PreparedLSTM, capi, lstm_backward, lstm_forward

PACKAGE = str(Path(lstmfast.__file__).parent)
T, B, I, H = 5, 4, 3, 8
X = np.random.default_rng(0).standard_normal((T, B, I)).astype("float32")
W = [
    np.random.default_rng(1).standard_normal(shape).astype("float32")
    for shape in ((4 * H, I), (4 * H, H), (4 * H,))
]
CALLS = ("forward", "backward", "step", "run")


@pytest.fixture
def walks(monkeypatch):
    """Return, for each compiled call that is made, the functions of ours that led to it."""
    found, own = {}, capi.Handle

    class Spied:
        def __init__(self, *arguments):
            self.layer = own(*arguments)

        def __getattr__(self, name):
            method = getattr(self.layer, name)
            return noting(name, method) if name in CALLS else method

    def noting(name, method):
        def call(*arguments):
            found.setdefault(name, functions_above(sys._getframe(1)))
            return method(*arguments)

        return call

    monkeypatch.setattr(capi, "Handle", Spied)
    return found


def functions_above(frame):
    """The functions of the package on the stack, from the outermost to the innermost."""
    names = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names[::-1]


def assert_between(walk, most):
    """The first is what the user called."""
    assert 1 <= len(walk) <= most + 1, walk


def test_arrays(walks):
    y, _, cache = lstm_forward(X, *W, training=True)
    lstm_backward(cache, y)
    assert_between(walks["forward"], 2)
    assert_between(walks["backward"], 2)


def test_streams(walks):
    stream = LSTMStream(*W, batch_size=B)
    stream.step(X[0])
    stream.forward(X)
    assert_between(walks["step"], 2)
    assert_between(walks["run"], 2)


def test_prepared_weights(walks):
    PreparedLSTM(*W).forward(X)
    assert_between(walks["forward"], 2)


@pytest.mark.parametrize("constraint", (None, "max_norm"))
def test_model(constraint, walks):
    lstm = LSTM(H, input_shape=(None, I), kernel_constraint=constraint)
    model = Model([lstm, Dense(2, "softmax")], seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, np.arange(T) % 2, verbose=0)
    assert walks["forward"][0] == walks["backward"][0] == "fit"
    for name in ("forward", "backward"):
        assert_between(walks[name], 9)
    walks.clear()
    model.predict(X)
    assert_between(walks["forward"], 8)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_torch(walks):
    import torch

    import lstmfast.torch

    layer, x = lstmfast.torch.LSTM(I, H), torch.from_numpy(X)
    layer(x)[0].sum().backward()
    for name in ("forward", "backward"):
        assert_between(walks[name], 6)
    walks.clear()
    with torch.no_grad():
        layer.eval()(x)
    assert_between(walks["forward"], 6)

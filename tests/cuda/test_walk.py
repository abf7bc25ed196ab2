"""How many Python functions of the package lie between a call and the launch of its cells."""

import sys

import numpy as np
import pytest
from test_calls import assert_between, functions_above

from lstmfast import LSTM, Dense, Model, lstm_backward, lstm_forward
from lstmfast.cuda.runtime.array import from_host
from lstmfast.cuda.runtime.kernel import Kernel

T, B, I, H = 2, 2, 3, 8


@pytest.fixture
def walks(monkeypatch):
    """Return, for the kernels of cells and of outputs, the functions of ours that led to each."""
    found, own = {}, Kernel.launch

    def launch(kernel, *given, **named):
        found.setdefault(kernel.name.partition(",")[0], functions_above(sys._getframe(1)))
        return own(kernel, *given, **named)

    monkeypatch.setattr(Kernel, "launch", launch)
    return found


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_arrays(walks):
    weights = [from_host(drawn(*shape)) for shape in ((4 * H, I), (4 * H, H), (4 * H,))]
    y, _, cache = lstm_forward(from_host(drawn(T, B, I)), *weights, training=True)
    lstm_backward(cache, y)
    assert_between(walks["cells forward"], 7)
    assert_between(walks["cells backward"], 7)


def test_model(walks):
    model = Model([LSTM(H, input_shape=(None, I)), Dense(2, "softmax")], seed=0, device="cuda")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(drawn(B, T, I), np.arange(B), verbose=0)
    assert walks["cells forward"][0] == walks["cells backward"][0] == "fit"
    assert_between(walks["cells forward"], 15)
    assert_between(walks["cells backward"], 15)

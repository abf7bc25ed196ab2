"""The jobs that are timed, for lstmfast and for torch, on the same weights and input."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator

import numpy as np

import lstmfast

PEERS = ("lstmfast", "torch") if importlib.util.find_spec("torch") else ("lstmfast",)
TOLERANCE = 1e-5  # of results against torch, float32; measured 5e-7

Job = Callable[[], object]
Shape = tuple[int, int, int, int]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Set the number of threads of every peer."""
    before = lstmfast.get_num_threads()
    lstmfast.set_num_threads(count)
    if "torch" in PEERS:
        import torch

        torch.set_num_threads(count)
    yield
    lstmfast.set_num_threads(before)


def weights(I: int, H: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W_ih, W_hh, b as torch draws them."""
    rng, limit = np.random.default_rng(I + H), H**-0.5
    shapes = ((4 * H, I), (4 * H, H), (4 * H,))
    return tuple(rng.uniform(-limit, limit, s).astype(np.float32) for s in shapes)


def inputs(T: int, B: int, I: int) -> np.ndarray:
    return np.random.default_rng(T + B + I).standard_normal((T, B, I)).astype(np.float32)


def torch_layer(I: int, H: int):
    """nn.LSTM with our weights; its second bias is zero."""
    import torch

    layer = torch.nn.LSTM(I, H)
    values = (*weights(I, H), np.zeros(4 * H, np.float32))
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    return layer


def sequence(job: str, peer: str, shape: Shape) -> Job:
    """A function that runs `job` (forward or training) once; its result has been checked."""
    run = SEQUENCES[job, peer](shape)
    if "torch" in PEERS and peer != "torch":
        reference = SEQUENCES[job, "torch"](shape)()
        for got, wanted in zip(run(), reference, strict=True):
            error = np.abs(got - wanted).max() / max(1, np.abs(wanted).max())
            assert error <= TOLERANCE, (job, shape, error)
    return run


def our_forward(shape: Shape) -> Job:
    T, B, I, H = shape
    x, w = inputs(T, B, I), weights(I, H)
    return lambda: lstmfast.lstm_forward(x, *w)[:1]


def torch_forward(shape: Shape) -> Job:
    import torch

    T, B, I, H = shape
    layer, x = torch_layer(I, H), torch.from_numpy(inputs(T, B, I))

    def run():
        with torch.inference_mode():
            return (layer(x)[0].numpy(),)

    return run


def our_training(shape: Shape) -> Job:
    T, B, I, H = shape
    x, w, dy = inputs(T, B, I), weights(I, H), inputs(T, B, H)

    def run():
        *_, cache = lstmfast.lstm_forward(x, *w, training=True)
        g = lstmfast.lstm_backward(cache, dy)
        return g.dx, g.dW_ih, g.dW_hh, g.db

    return run


def torch_training(shape: Shape) -> Job:
    import torch

    T, B, I, H = shape
    layer, dy = torch_layer(I, H), torch.from_numpy(inputs(T, B, H))
    x = torch.from_numpy(inputs(T, B, I)).requires_grad_()

    def run():
        x.grad = None
        layer.zero_grad()
        layer(x)[0].backward(dy)
        parameters = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0)
        return tuple(p.grad.numpy() for p in (x, *parameters))

    return run


def step(peer: str, I: int, H: int) -> Job:
    """One streaming step of batch 1, the state kept between calls."""
    x = inputs(1, 1, I)
    if peer == "lstmfast":
        stream, out = lstmfast.LSTMStream(*weights(I, H)), np.empty((1, H), np.float32)
        return lambda: stream.step(x[0], out=out)
    import torch

    layer, x_torch, state = torch_layer(I, H), torch.from_numpy(x), None

    def run():
        nonlocal state
        with torch.inference_mode():
            y, state = layer(x_torch, state)
        return y

    return run


SEQUENCES = {
    ("forward", "lstmfast"): our_forward,
    ("forward", "torch"): torch_forward,
    ("training", "lstmfast"): our_training,
    ("training", "torch"): torch_training,
}

"""PyTorch: nn.LSTM, or nn.LSTMCell for steps, in inference mode; with and without oneDNN.

nn.LSTM hands inference to oneDNN, which packs the weights again on every call. With few time steps
PyTorch's own kernels are then faster, so both are tried for every shape and the faster is taken.
"""

from __future__ import annotations

import contextlib
import functools
import warnings

import numpy as np
import torch

from benches import article
from benches.arrays import inputs, upstream, weights
from benches.peers import Job
from benches.shapes import Shape


def start(threads: int) -> str:
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    warnings.filterwarnings("ignore", message="TF32 acceleration", category=UserWarning)
    return torch.__version__


@contextlib.contextmanager
def inference(onednn: bool):
    with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=onednn):
        yield


def own_kernels():
    return torch.backends.mkldnn.flags(enabled=False)


def with_our_weights(layer: torch.nn.Module, shape: Shape) -> torch.nn.Module:
    """The layer with the common weights; its second bias is zero."""
    values = (*weights(shape), np.zeros(4 * shape.H, np.float32))
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    return layer


def forward(shape: Shape, onednn: bool) -> Job:
    layer = with_our_weights(torch.nn.LSTM(shape.I, shape.H), shape).eval()
    x = torch.from_numpy(inputs(shape))
    return Job(lambda: (layer(x)[0],), around=functools.partial(inference, onednn))


def training(shape: Shape):
    layer = with_our_weights(torch.nn.LSTM(shape.I, shape.H), shape)
    x, dy = torch.from_numpy(inputs(shape)).requires_grad_(), torch.from_numpy(upstream(shape))
    wanted = (x, layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0)

    def run():
        x.grad = None
        layer.zero_grad()
        layer(x)[0].backward(dy)
        return tuple(p.grad for p in wanted)

    return run


def step_of_layer(shape: Shape, onednn: bool) -> Job:
    layer = with_our_weights(torch.nn.LSTM(shape.I, shape.H), shape).eval()
    x, state = torch.from_numpy(inputs(shape)), (torch.zeros(1, 1, shape.H),) * 2

    def run():
        nonlocal state
        y, state = layer(x, state)
        return (y[0],)

    return Job(run, around=functools.partial(inference, onednn))


def step_of_cell(shape: Shape) -> Job:
    cell = with_our_weights(torch.nn.LSTMCell(shape.I, shape.H), shape).eval()
    x, state = torch.from_numpy(inputs(shape)[0]), (torch.zeros(1, shape.H),) * 2

    def run():
        nonlocal state
        state = cell(x, state)
        return state[:1]

    return Job(run, around=torch.inference_mode)


JOBS = {
    "forward": {
        "nn.LSTM": functools.partial(forward, onednn=True),
        "nn.LSTM without oneDNN": functools.partial(forward, onednn=False),
    },
    "training": {
        "nn.LSTM": training,
        "nn.LSTM without oneDNN": lambda shape: Job(training(shape), around=own_kernels),
    },
    "step": {
        "nn.LSTM": functools.partial(step_of_layer, onednn=True),
        "nn.LSTM without oneDNN": functools.partial(step_of_layer, onednn=False),
        "nn.LSTMCell": step_of_cell,
    },
    **article.torch_jobs(),
}

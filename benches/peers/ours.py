"""lstmfast: weights packed once for inference, packed on every call for training (they change).

Inference writes into a given array, as ONNX Runtime and OpenVINO do too.
"""

from __future__ import annotations

import numpy as np

import lstmfast
from benches import article
from benches.arrays import inputs, upstream, weights
from benches.shapes import Shape


def start(threads: int) -> str:
    lstmfast.set_num_threads(threads)
    config = lstmfast.show_config()
    return f"{config['version']} (kernels {config['isa']})"


def forward(shape: Shape):
    stream, x = lstmfast.LSTMStream(*weights(shape), batch_size=shape.B), inputs(shape)
    y = np.empty((shape.T, shape.B, shape.H), np.float32)

    def run():
        stream.reset()
        return (stream.forward(x, out=y),)

    return run


def training(shape: Shape):
    w, x, dy = weights(shape), inputs(shape), upstream(shape)

    def run():
        *_, cache = lstmfast.lstm_forward(x, *w, training=True)
        g = lstmfast.lstm_backward(cache, dy)
        return g.dx, g.dW_ih, g.dW_hh, g.db

    return run


def step(shape: Shape):
    stream, x = lstmfast.LSTMStream(*weights(shape)), inputs(shape)[0]
    h = np.empty((1, shape.H), np.float32)
    return lambda: (stream.step(x, out=h),)


JOBS = {"forward": forward, "training": training, "step": step, **article.our_jobs()}

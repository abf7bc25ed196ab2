"""The article's model, trained by each library the way its users would.

Embedding(10000, 128), LSTM(256), Dense(10000) with softmax; Adam, sparse cross-entropy, float32;
batches of 64 sequences of 50 ids. Two rows: the output of the last step only, and that of every
step (the Dense layer is then most of the work). Ids follow Zipf's law and come from a seed.

A job trains on the same few batches, in order, and returns the loss of each before its step. The
first call starts from the same weights in every library, so that its losses can be compared; later
calls go on from there. With `epsilon` as Keras has it all of them follow the same formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benches.peers import Job, Maker
from benches.shapes import Shape

SHAPE = Shape(T=50, B=64, I=128, H=256)
VOCABULARY = 10000
BATCHES = {"epoch_last": 8, "epoch_every": 2}  # of one call of a job
EPOCH = 1000  # batches: what the time of one call is extrapolated to
BETA_2, EPSILON = 0.999, 1e-7  # of Adam, in Keras and in lstmfast
TOLERANCE = 1e-3  # of the last batch's loss, relative

Batches = list[tuple[np.ndarray, np.ndarray]]


def batches(shape: Shape, every: bool, count: int) -> Batches:
    """`count` pairs of ids (B, T) and the ids that follow: (B, T), or (B,) at the last step."""
    chance = 1 / np.arange(1, VOCABULARY + 1)
    rng = np.random.default_rng(shape.T + shape.B)
    text = rng.choice(VOCABULARY, (count, shape.B, shape.T + 1), p=chance / chance.sum())
    return [(ids[:, :-1].copy(), ids[:, 1:].copy() if every else ids[:, -1].copy()) for ids in text]


def weights(shape: Shape) -> list[np.ndarray]:
    """Initial weights in Keras's order and layout, with a one in the forget gate's bias."""
    rng, I, H, V = np.random.default_rng(shape.I + shape.H), shape.I, shape.H, VOCABULARY
    sizes = (V, I), (I, 4 * H), (H, 4 * H), (4 * H,), (H, V), (V,)
    limits = 0.05, math.sqrt(6 / (I + 4 * H)), H**-0.5, 0, math.sqrt(6 / (H + V)), 0
    made = [
        rng.uniform(-limit, limit, size).astype(np.float32)
        for limit, size in zip(limits, sizes, strict=True)
    ]
    made[3][H : 2 * H] = 1
    return made


def ours(shape: Shape, every: bool, count: int) -> Job:
    from lstmfast import LSTM, Dense, Embedding, Model

    layers = [
        Embedding(VOCABULARY, shape.I),
        LSTM(shape.H, return_sequences=every),
        Dense(VOCABULARY, activation="softmax"),
    ]
    model = Model(layers, seed=0)
    model.set_weights(weights(shape))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    data = batches(shape, every, count)
    return Job(lambda: (np.array([model.train_on_batch(x, y) for x, y in data]),))


def pytorch(shape: Shape, every: bool, count: int, onednn: bool) -> Job:
    """Eager, with the fused Adam, the fastest of its three forms on a CPU.

    torch.compile leaves nn.LSTM as it is; a step took the same time with it (measured 1.00).
    """
    import torch

    model = torch_model(shape, every)
    adam = torch.optim.Adam(model.parameters(), fused=True)
    data = [tuple(map(torch.from_numpy, batch)) for batch in batches(shape, every, count)]
    steps = 0

    def train(x, y):
        nonlocal steps
        steps += 1
        adam.param_groups[0]["eps"] = EPSILON / math.sqrt(1 - BETA_2**steps)  # as Keras has it
        adam.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x).flatten(0, -2), y.flatten())
        loss.backward()
        adam.step()
        return loss.item()

    around = partial(torch.backends.mkldnn.flags, enabled=onednn)
    return Job(lambda: (np.array([train(x, y) for x, y in data]),), around=around)


def torch_model(shape: Shape, every: bool):
    """The module with our weights; its second bias is zero and stays out of training."""
    from torch import nn, no_grad, tensor

    class Article(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, shape.I)
            self.lstm = nn.LSTM(shape.I, shape.H, batch_first=True)
            self.dense = nn.Linear(shape.H, VOCABULARY)

        def forward(self, x):
            y, (h, _) = self.lstm(self.embedding(x))
            return self.dense(y if every else h[0])

    model = Article()
    model.lstm.bias_hh_l0.requires_grad_(False)
    embeddings, kernel, recurrent, bias, dense, dense_bias = weights(shape)
    values = (embeddings, kernel.T, recurrent.T, bias, np.zeros_like(bias), dense.T, dense_bias)
    with no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(tensor(value))
    return model


def keras(shape: Shape, every: bool, count: int, jit_compile: bool | str) -> Job:
    """Keras on the backend that KERAS_BACKEND names.

    Batch by batch: `fit` over so few batches spends part of its time on its start.
    """
    from keras import Sequential, layers

    stack = [
        layers.Input((shape.T,), dtype="int32"),
        layers.Embedding(VOCABULARY, shape.I),
        layers.LSTM(shape.H, return_sequences=every),
        layers.Dense(VOCABULARY, activation="softmax"),
    ]
    model = Sequential(stack)
    model.set_weights(weights(shape))
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer="adam", loss=loss, jit_compile=jit_compile)
    data = [(x.astype(np.int32), y.astype(np.int32)) for x, y in batches(shape, every, count)]

    def train(x, y):
        model.reset_metrics()
        return float(model.train_on_batch(x, y))

    return Job(lambda: (np.array([train(x, y) for x, y in data]),))


def rows(build: Callable[..., Job], **options: Any) -> dict[str, Maker]:
    """The makers of both rows, `make(shape, count=number of batches)`."""

    def maker(kind: str) -> Maker:
        def make(shape: Shape, count: int = BATCHES[kind]) -> Job:
            return build(shape, kind == "epoch_every", count, **options)

        return make

    return {kind: maker(kind) for kind in BATCHES}


def variants(named: dict[str, dict[str, Maker]]) -> dict[str, dict[str, Maker]]:
    """The makers of both rows as variants by name."""
    return {kind: {name: made[kind] for name, made in named.items()} for kind in BATCHES}


def our_jobs() -> dict[str, Maker]:
    return rows(ours)


def torch_jobs() -> dict[str, dict[str, Maker]]:
    with_onednn, without = (rows(pytorch, onednn=onednn) for onednn in (True, False))
    return variants({"eager": with_onednn, "eager without oneDNN": without})


def tensorflow_jobs() -> dict[str, dict[str, Maker]]:
    default, xla = (rows(keras, jit_compile=jit) for jit in ("auto", True))
    return variants({"jit_compile by default": default, "jit_compile=True": xla})


def jax_jobs() -> dict[str, Maker]:
    return rows(keras, jit_compile="auto")  # compiles

"""A training step of the article's model, beside torch on the same GPU.

Embedding(10000, 128), LSTM(256) with its last output, Dense(10000) with softmax, Adam; B=64, T=50:
`benches.article` has the model, the weights and the text. A step takes ids from the host and gives
its loss back to the host: both libraries wait for the GPU once a step, and times are the host's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benches import article
from benches.cuda import calls, measure, peers
from benches.cuda.jobs import Case, Job

PRECISIONS = ("float32", "tf32", "bfloat16")
BATCHES = 8
LOSSES_APART = {"float32": 1e-3, "tf32": 5e-3, "bfloat16": 3e-2}  # relative
OURS = "lstmfast"


def jobs(quick: bool) -> list[Job]:
    cases = tuple({"precision": precision} for precision in PRECISIONS[: 1 if quick else None])
    return [Job("measure article", "measure", "article", cases, alone=True, turn=1)]


def rehearse(case: Case, seed: int) -> None:
    """Launch what a case of ours launches, for one step."""
    ours(case["precision"], article.batches(article.SHAPE, every=False, count=1))()


def prepare(case: Case, seed: int) -> Callable[[], dict[str, Any]]:
    """Train both on the same batches, compare their losses; return what measures."""
    precision = case["precision"]
    data = article.batches(article.SHAPE, every=False, count=BATCHES)
    works = {OURS: ours(precision, data), peers.EAGER: peers.article_step(precision, data)}
    losses = {name: [work() for _ in data] for name, work in works.items()}
    mine, theirs = (np.array(losses[name]) for name in works)
    apart = float(np.max(np.abs(mine - theirs) / theirs))
    bar = LOSSES_APART[precision]

    def run() -> dict[str, Any]:
        times = measure.in_turns(works, host_seconds)
        return {"training": times, "differences": {OURS: apart}, "bar": bar, "notes": {},
                "status": "measured" if apart <= bar else "failed"}  # fmt: skip

    return run


def ours(precision: str, data: Any) -> Callable[[], float]:
    from lstmfast import LSTM, Dense, Embedding

    shape = article.SHAPE
    layers = [Embedding(article.VOCABULARY, shape.I), LSTM(shape.H),
              Dense(article.VOCABULARY, activation="softmax")]  # fmt: skip
    model = calls.model(layers, "cuda", precision)
    model.set_weights(article.weights(shape))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    count = 0

    def step() -> float:
        nonlocal count
        x, y = data[count % len(data)]
        count += 1
        return float(model.train_on_batch(x, y))

    return step


def host_seconds(work: Callable[[], Any], count: int) -> float:
    """Seconds of one of `count` steps, each of which waits for its result."""
    start = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - start) / count

"""A whole Model trained on the CPU and on the GPU: the same losses, and twice the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from benches.cuda import calls
from benches.cuda.jobs import Case, Job

STEPS = 20
BATCH, LENGTH, VOCABULARY, EMBEDDING = 32, 24, 500, 48
LOSS_BAR = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 3e-2}  # relative


def jobs(quick: bool) -> list[Job]:
    cases = [{"precision": p, "units": 64, "every": False} for p in LOSS_BAR]
    cases += [{"precision": "float32", "units": units, "every": every}
              for units, every in ((64, True), (100, False), (256, False))]  # fmt: skip
    chosen = tuple(cases[:1] if quick else cases)
    return [Job("validate training", "validate", "training", chosen)]


def run(case: Case, seed: int) -> dict[str, Any]:
    data = text(seed, case["every"])
    wanted, _ = trained(case, data, "cpu", None)
    with calls.launches() as kernels:
        got, weights = trained(case, data, "cuda", case["precision"])
    again, same_weights = trained(case, data, "cuda", case["precision"])
    same = got == again and all(map(np.array_equal, weights, same_weights))
    error = float(np.max(np.abs(np.array(got) - wanted) / np.array(wanted)))
    bar = LOSS_BAR[case["precision"]]
    fell = got[-1] < got[0]
    found = {"loss": {"error": error, "bar": bar, "where": f"{STEPS} steps"}, "same_bits": same}
    passed = error <= bar and same and fell
    return found | {"kernels": sorted(kernels), "status": "passed" if passed else "failed"}


def rehearse(case: Case, seed: int) -> None:
    """Launch what a case launches, for one step."""
    trained(case, text(seed, case["every"])[:1], "cuda", case["precision"])


def text(seed: int, every: bool) -> list[tuple[Any, Any]]:
    """Batches of ids whose successors can be learnt, and these."""
    rng = np.random.default_rng(seed)
    follows, found = rng.permutation(VOCABULARY), []
    for _ in range(STEPS):
        ids = np.empty((BATCH, LENGTH + 1), np.int64)
        ids[:, 0] = rng.integers(0, VOCABULARY, BATCH)
        for t in range(LENGTH):
            ids[:, t + 1] = follows[ids[:, t]]
        found.append((ids[:, :-1].copy(), ids[:, 1:].copy() if every else ids[:, -1].copy()))
    return found


def trained(case: Case, data: Any, device: str, precision: str | None) -> tuple[list[float], Any]:
    """The loss of each step, and the weights after the last."""
    from lstmfast import LSTM, Dense, Embedding

    layers = [
        Embedding(VOCABULARY, EMBEDDING),
        LSTM(case["units"], return_sequences=case["every"]),
        Dense(VOCABULARY, activation="softmax"),
    ]
    model = calls.model(layers, device, precision)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    losses = [float(model.train_on_batch(x, y)) for x, y in data]
    return losses, model.get_weights()

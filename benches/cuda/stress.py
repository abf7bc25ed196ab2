"""Persistent kernels for a long time, and under compute-sanitizer.

Blocks that wait for each other show their faults rarely: a lost message is a process that never
ends (its patience ends it), a word read too early a result that differs from another run's or from
path one's. So a very long sequence of several batch groups runs twice persistently and once step
by step.
"""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np

from benches.cuda import bars, calls
from benches.cuda.calls import PERSISTENT, STEPS, NotApplicable
from benches.cuda.jobs import Case, Job

LONG, SHORT = 100_000, 2_000  # steps; there is a barrier in each, forward and backward
SANITIZER = "compute-sanitizer"
TOOLS = ("memcheck", "racecheck", "synccheck")
# cuda.core asks for the current context before there is one, which is nobody's error.
MORE = {"memcheck": ("--report-api-errors", "no")}
NAMES = ("y", "h_n", "c_n", "dx", "dW_ih", "dW_hh", "db")
WATCHED = ((3, 20, 16, 64), (2, 3, 8, 256))


def jobs(quick: bool) -> list[Job]:
    base = {"T": SHORT if quick else LONG, "precision": "bfloat16"}
    long = [
        {**base, "B": B, "H": H, "precision": precision}
        for B, H, precision in (
            (9, 256, "bfloat16"),
            (9, 128, "float32"),
            (3, 512, "tf32"),
            (17, 64, "float16"),
        )
    ]
    found = [Job("stress barrier", "stress", "stress", tuple(long[: 1 if quick else None]),
                 patience=120, alone=True, turn=3)]  # fmt: skip
    tool = shutil.which(SANITIZER)
    watched = tuple({"tool": name} for name in TOOLS[: 1 if quick else None])
    if tool is None:
        return [*found, Job("stress sanitizer", "stress", "stress", watched)]
    cases = tuple({"path": path, "shape": shape, "precision": precision}
                  for path in (PERSISTENT, STEPS) for shape in WATCHED
                  for precision in ("bfloat16", "float32"))  # fmt: skip
    return found + [Job(f"stress {case['tool']}", "stress", "stress", cases, patience=120,
                        prefix=(tool, "--error-exitcode", "9", "--tool", case["tool"],
                                *MORE.get(case["tool"], ()))) for case in watched]  # fmt: skip


def run(case: Case, seed: int) -> dict[str, Any]:
    """A small case under the tool that this process runs in: it ends the process on an error."""
    if "tool" in case:
        raise NotApplicable(f"{SANITIZER} is not on the PATH")
    layer = Layer(*case["shape"], case["precision"], seed)
    layer.run(case["path"])
    return {"status": "passed"}


def rehearse(case: Case, seed: int) -> None:
    """Launch what a case launches, in a few steps."""
    if "tool" not in case:
        T, B, I, H = case.get("shape") or (2, case["B"], 16, case["H"])
        for path in (STEPS, PERSISTENT):
            Layer(T, B, I, H, case["precision"], seed).run(path)


def prepare(case: Case, seed: int) -> Any:
    """Compile the kernels of a long case; return what runs it."""
    H, B, precision = case["H"], case["B"], case["precision"]
    Layer(2, B, 16, H, precision, seed).run(PERSISTENT)

    def long() -> dict[str, Any]:
        layer = Layer(case["T"], B, 8, H, precision, seed)
        first, again = layer.run(PERSISTENT), layer.run(PERSISTENT)
        same = all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
        return close(first, layer.run(STEPS), precision, same)

    return long


class Layer:
    """A layer of one precision, on arrays of float32."""

    def __init__(self, T: int, B: int, I: int, H: int, precision: str, seed: int):
        rng = np.random.default_rng(seed)
        limits = (4 * H, I), (4 * H, H), (4 * H,)
        weights = [rng.uniform(-(H**-0.5), H**-0.5, s).astype(np.float32) for s in limits]
        self.weights, self.precision = calls.put(weights), precision
        self.x, self.dy = (calls.put(rng.standard_normal((T, B, n), np.float32)) for n in (I, H))

    def run(self, path: str) -> list[Any]:
        """All outputs and gradients."""
        with calls.on_path(path), calls.launches() as kernels:
            y, state, cache = calls.lstm_forward(
                self.x, *self.weights, training=True, precision=self.precision
            )
            g = calls.lstm_backward(cache, self.dy)
            found = [calls.get(a) for a in (y, *state, g.dx, g.dW_ih, g.dW_hh, g.db)]
        if path == PERSISTENT and not any(kernels.values()):
            raise NotApplicable("no persistent kernel for this shape")
        return found


def close(got: list[Any], ref: list[Any], precision: str, same: bool) -> dict[str, Any]:
    """The row of a long run: each path may be off by its bar."""
    forward, gradient = (2 * bar for bar in bars.bars(precision))
    limits = [forward] * 3 + [gradient] * 4
    pairs = zip(NAMES, got, ref, limits, strict=True)
    errors = {name: bars.error(a, b, name[0] == "d") / limit for name, a, b, limit in pairs}
    where, error, held = bars.worst(errors, 1.0)
    found = {"to path one": {"error": error, "bar": 1.0, "where": where}, "same_bits": same}
    return found | {"status": "passed" if held and same else "failed"}

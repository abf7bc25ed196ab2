"""What products in bfloat16 gain over float32, and over PyTorch's own bfloat16.

    python -m benches.precisions [-o precisions.md]

Forward, training (forward and backward) and single steps, on one thread, by turns in one process;
medians. PyTorch's layer has its weights and inputs in bfloat16, where torch is installed: there
oneDNN multiplies. R is the ratio of the rates of the instructions, measured in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import lstmfast
from benches.floors import fma_rate
from benches.origin import origin
from benches.report import table
from benches.shapes import Shape
from lstmfast import LSTMStream, ops

SHAPES = (
    Shape(T=100, B=32, I=128, H=256), Shape(T=100, B=32, I=256, H=256),
    Shape(T=35, B=64, I=256, H=512), Shape(T=50, B=128, I=512, H=512),
    Shape(T=20, B=32, I=64, H=64),
)  # fmt: skip
UNITS = (64, 256, 512, 1024)  # of single steps, with as many inputs
STEPS, SECONDS, FEWEST = 20, 3.0, 9
Job = Callable[[], object]


def medians(jobs: list[Job], seconds: float = SECONDS) -> list[float]:
    """Seconds of each, by turns."""
    found: list[list[float]] = [[] for _ in jobs]
    for job in jobs * 2:
        job()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[0]) < FEWEST:
        for times, job in zip(found, jobs, strict=True):
            start = time.perf_counter()
            job()
            times.append(time.perf_counter() - start)
    return [median(times) for times in found]


def drawn(*shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [(0.05 * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]


def on_arrays(shape: Shape, precision: str | None) -> tuple[Job, Job]:
    T, B, I, H = shape.T, shape.B, shape.I, shape.H
    x, dy, *weights = drawn((T, B, I), (T, B, H), (4 * H, I), (4 * H, H), (4 * H,))

    def training() -> None:
        _, _, cache = ops.lstm_forward(x, *weights, precision=precision, training=True)
        ops.lstm_backward(cache, dy)

    return lambda: ops.lstm_forward(x, *weights, precision=precision), training


def by_torch(shape: Shape) -> tuple[Job, Job]:
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.LSTM(shape.I, shape.H).bfloat16()
    sizes = (shape.T, shape.B)
    x = torch.randn(*sizes, shape.I, dtype=torch.bfloat16, requires_grad=True)
    dy = torch.randn(*sizes, shape.H, dtype=torch.bfloat16)

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    return forward, lambda: torch.autograd.grad(layer(x)[0], [x, *layer.parameters()], dy)


def sequences() -> list[list[str]]:
    has_torch = importlib.util.find_spec("torch") is not None
    rows = []
    for shape in SHAPES:
        ways = [on_arrays(shape, None), on_arrays(shape, "bfloat16")]
        ways += [by_torch(shape)] if has_torch else []
        for name, jobs in zip(("forward", "training"), zip(*ways, strict=True), strict=True):
            single, narrow, *torch = medians(list(jobs))
            others = [f"{torch[0] / narrow:.2f}"] if torch else ["-"]
            rows.append([name, f"{shape.T} {shape.B} {shape.I} {shape.H}", f"{1e3 * single:.2f}",
                         f"{1e3 * narrow:.2f}", f"{single / narrow:.2f}", *others])  # fmt: skip
    return rows


def stepping(H: int, precision: str) -> Job:
    x, out, *weights = drawn((1, H), (1, H), (4 * H, H), (4 * H, H), (4 * H,))
    stream = LSTMStream(*weights, precision=precision)
    return lambda: [stream.step(x, out=out) for _ in range(STEPS)]


def steps() -> list[list[str]]:
    rows = []
    for H in UNITS:
        jobs = [stepping(H, "float32"), stepping(H, "bfloat16")]
        single, narrow = (1e6 * of / STEPS for of in medians(jobs, SECONDS / 3))
        rows.append([str(H), f"{single:.1f}", f"{narrow:.1f}", f"{single / narrow:.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    lstmfast.set_num_threads(1)
    rates = fma_rate(), fma_rate("bf16")
    ratio = f"R = {rates[1] / rates[0]:.2f} ({1e-9 * rates[0]:.0f}, {1e-9 * rates[1]:.0f} GFLOP/s)"
    lines = ["# bfloat16 on the CPU", "", f"{origin()}; one thread. {ratio}.", ""]
    head = ["", "T B I H", "float32, ms", "bfloat16, ms", "times", "PyTorch's bfloat16 over it"]
    lines += [table(head, sequences())]
    lines += ["", "Single steps of `LSTMStream`, B = 1, I = H:", ""]
    lines += [table(["H", "float32, µs", "bfloat16, µs", "times"], steps())]
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()

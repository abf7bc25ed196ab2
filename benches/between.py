"""Calls alone, and between operators of PyTorch, whose threads spin for a while after each.

    python -m benches.between [--seconds 3] [--out FILE]

A layer's forward pass, and forward and backward, by themselves and each right after 1 ms of matrix
products, on one and on two threads, ours and torch.nn's by turns. Figures are medians, ratios those
of turns. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

import lstmfast.torch
from benches.origin import origin

SHAPES = ((8, 35, 64, 64), (8, 100, 128, 256), (16, 50, 128, 128), (20, 35, 200, 200),
          (32, 100, 128, 256), (64, 96, 64, 64))  # fmt: skip
MATRIX = torch.randn(512, 512)


def operator() -> None:
    """Some 1 ms of two threads."""
    for _ in range(2):
        MATRIX @ MATRIX


def nothing() -> None:
    pass


def call_of(layer: nn.Module, x: torch.Tensor, trains: bool) -> Callable[[], object]:
    parameters = list(layer.parameters())

    def call() -> object:
        with torch.set_grad_enabled(trains):
            y, _ = layer(x)
        return torch.autograd.grad(y, parameters, torch.ones_like(y)) if trains else y

    return call


def seconds_of(before: Callable[[], None], call: Callable[[], object]) -> float:
    before()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measured(
    layers: list[nn.Module], x: torch.Tensor, trains: bool, seconds: float
) -> list[list[float]]:
    """Return the seconds of each layer's calls: alone on 1 and 2 threads, after an operator."""
    kinds = [
        (call_of(layer, x, trains), before, threads)
        for layer in layers
        for before in (nothing, operator)
        for threads in (1, 2)
    ]
    found: list[list[float]] = [[] for _ in kinds]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[0]) < 9:
        for k, (call, before, threads) in enumerate(kinds):
            torch.set_num_threads(threads)
            for _ in range(2):
                seconds_of(before, call)
            found[k].append(min(seconds_of(before, call) for _ in range(2)))
    return found


def ratio(over: list[float], under: list[float]) -> float:
    return median(a / b for a, b in zip(over, under, strict=True))


def row(shape: tuple[int, int, int, int], trains: bool, seconds: float) -> str:
    B, T, I, H = shape
    theirs, ours = nn.LSTM(I, H), lstmfast.torch.LSTM(I, H)
    ours.load_state_dict(theirs.state_dict())
    found = measured([ours, theirs], torch.randn(T, B, I), trains, seconds)
    o1, o2, after1, after2, t1, t2, t_after1, t_after2 = found
    cells = [f"{1e3 * median(of):.2f}" for of in (o1, o2, after1, after2)]
    cells += [f"{ratio(*of):.2f}" for of in ((o1, o2), (after1, after2), (after2, o2))]
    cells += [f"{ratio(*of):.2f}" for of in ((t1, t2), (t_after1, t_after2), (t_after2, t2))]
    cells += [f"{ratio(*of):.2f}" for of in ((t2, o2), (t_after2, after2))]
    kind = "training" if trains else "forward"
    return f"| {kind}, B={B} T={T}, {I} → {H} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    lines = ["# Calls alone and between operators", "",
             f"{origin()}; lstmfast {lstmfast.__version__}, torch {torch.__version__}. "
             "ms of ours on 1 and 2 threads, alone and right after 1 ms of matrix products; what 2 "
             "threads gain, alone and after; a call after over one alone, on 2 threads: ours, then "
             "PyTorch's; PyTorch's time over ours on 2 threads, alone and after.", "",
             "| call | alone, 1 | 2 | after, 1 | 2 | gain | after | after/alone | PyTorch: gain "
             "| after | after/alone | times, alone | after |", "|---" * 13 + "|"]  # fmt: skip
    print(*lines, sep="\n")
    for trains in (False, True):
        for shape in SHAPES:
            lines.append(row(shape, trains, given.seconds))
            print(lines[-1], flush=True)
    if given.out:
        given.out.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()

"""Ratios to torch, interleaved: `python -m benches.compare` prints a table of medians.

The two libraries take turns, each after a short pause in which the other's threads stop spinning; a
row holds both medians, the median of the ratios pair by pair, and their spread.
"""

from __future__ import annotations

import platform
import time

import numpy as np

import lstmfast
from benches import cases

PAIRS, PAUSE = 21, 0.01
SHAPES = (
    (100, 32, 128, 256), (50, 64, 128, 256), (100, 128, 64, 128), (100, 8, 256, 512),
    (100, 1, 128, 256), (100, 7, 33, 65),
)  # fmt: skip


def seconds(job: cases.Job) -> float:
    time.sleep(PAUSE)
    job()  # wake threads, warm caches
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def row(name: str, ours: cases.Job, theirs: cases.Job) -> str:
    pairs = np.array([(seconds(ours), seconds(theirs)) for _ in range(PAIRS)])
    ratios = pairs[:, 1] / pairs[:, 0]
    low, middle, high = np.percentile(ratios, (10, 50, 90))
    ours_us, theirs_us = np.median(pairs, axis=0) * 1e6
    return f"| {name} | {ours_us:.1f} | {theirs_us:.1f} | {middle:.2f} | {low:.2f}-{high:.2f} |"


def main() -> None:
    import torch

    print(f"lstmfast {lstmfast.show_config()}\ntorch {torch.__version__}, {platform.processor()}\n")
    print("| job | lstmfast µs | torch µs | ratio, median | 10-90% |\n|---|---|---|---|---|")
    for threads in (1, 2):
        with cases.threads(threads):
            for job in ("forward", "training"):
                for shape in SHAPES:
                    name = f"{job} {shape}, {threads} threads"
                    peers = [cases.sequence(job, peer, shape) for peer in ("lstmfast", "torch")]
                    print(row(name, *peers), flush=True)
            peers = [cases.step(peer, 256, 256) for peer in ("lstmfast", "torch")]
            print(row(f"step, batch 1, I=H=256, {threads} threads", *peers), flush=True)


if __name__ == "__main__":
    main()

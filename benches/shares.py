"""Shares of the FMA rate: what every shape of forward and training makes of one core.

    python -m benches.shares [--seconds 3] [--only PATTERN] [-o benches/results/shares.md]

lstmfast alone, on one thread of this process, seven minutes in all: of every shape of shapes.py a
block of calls, then the FMA rate, in rounds until the seconds for it are over. Figures are medians;
what is counted `floors.py` and `gates.py` say. Results are checked elsewhere (test_layer.py).
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benches.floors import fma_rate, gate_operations, operations
from benches.gates import instructions
from benches.origin import origin
from benches.peers import OURS, ours
from benches.report import SHARES, number, shares, table
from benches.results import FEW_INPUTS, Row
from benches.shapes import SHAPES, Shape
from lstmfast import capi

KINDS = ("forward", "training")
BLOCK = 0.01  # seconds of a block of calls; one call where that takes longer
LEAST_ROUNDS = 5
HEAD = """# Shares of the FMA rate

{origin}; kernels {isa}, one thread, float32. By `python -m benches.shares`.

Operations of the products over the time of a call, as a share of the rate of independent fused
steps on one core, measured after each block of calls. With gates, for I + H < {few}: those
instructions of the cell that multiply or divide count, too, each as a fused step: {forward} for a
vector of units in the forward pass, {backward} more on the way back (`benches/gates.py`).
"""


def measured(kind: str, shape: Shape, seconds: float) -> Row:
    """The row of one job: times of a call, and the FMA rate, round by round."""
    run = ours.JOBS[kind](shape)
    run()
    calls = max(1, round(BLOCK / timed(run, 1)))
    found, rates, end = [], [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < LEAST_ROUNDS:
        found.append(timed(run, calls))
        rates.append(fma_rate())
    floors = {"fma_rate": rates, "operations": operations(kind, shape),
              "gate_operations": gate_operations(kind, shape)}  # fmt: skip
    return Row(kind, 1, shape, {OURS: {"seconds": found}}, {}, floors, 0.0)


def timed(run: Callable[[], object], calls: int) -> float:
    """Seconds of a call, after one that brings its memory in."""
    run()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def lines(rows: list[Row]) -> Iterator[list[str]]:
    """A line for each shape, of all kinds side by side."""
    for shape in dict.fromkeys(row.shape for row in rows):
        cells = [", ".join(map(str, shape))]
        for row in (row for row in rows if row.shape == shape):
            cells += [number(row.microseconds()), *shares(row)]
        yield cells


def medians(rows: list[Row]) -> Iterator[str]:
    for kind in KINDS:
        found = [row.share_of_fma() for row in rows if row.kind == kind]
        yield f"{kind}: median {np.median(found):.0%}, least {min(found):.0%}"


def report(rows: list[Row]) -> str:
    counts = {direction: instructions(direction) for direction in ("forward", "backward")}
    head = HEAD.format(origin=origin(), isa=capi.isa(), few=FEW_INPUTS, **counts)
    columns = [column for kind in KINDS for column in (f"{kind} µs", *SHARES)]
    return "\n".join([head, table(["T, B, I, H", *columns], lines(rows)), "",
                      f"{'; '.join(medians(rows))}.", ""])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each shape and kind")
    parser.add_argument("--only", default="", help="a pattern of shapes such as T20-B30-I512-H64")
    parser.add_argument("-o", "--out", type=Path, default=Path("benches/results/shares.md"))
    given = parser.parse_args()
    ours.start(1)
    rows = []
    for shape in (shape for shape in SHAPES if re.search(given.only, str(shape))):
        for kind in KINDS:
            rows.append(measured(kind, shape, given.seconds))
            print(f"{kind} {shape}: {rows[-1].share_of_fma():.0%}", flush=True)
    given.out.write_text(report(rows), encoding="utf-8")
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()

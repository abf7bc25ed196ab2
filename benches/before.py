"""This checkout beside an earlier one: every row of test_layer.py, the two taking turns.

    git worktree add ../before COMMIT && (cd ../before && python setup.py build_ext --inplace)
    python -m benches.before ../before [--threads 1,2] [--kinds forward,training,step] [--only N]

Prints Markdown: a ratio is the earlier time over this one, taken round by round, so that less than
one is a loss. Rows outside of 0.97 to 1.03 are measured once more, and the second figure counts.
Results that differ by a bit are said so.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benches.peers import OURS
from benches.shapes import SHAPES, STREAMING, Shape
from benches.turns import Turns
from benches.worker import Worker

BEFORE = "before"
LOW, HIGH = 0.97, 1.03
KINDS = {"forward": SHAPES, "training": SHAPES, "step": STREAMING}


class Pair:
    """Both checkouts at one number of threads, each in its process."""

    def __init__(self, home: Path, threads: int):
        self.team = {OURS: Worker(OURS, threads), BEFORE: Worker(OURS, threads, str(home))}

    def ratios(self, kind: str, shape: Shape) -> tuple[np.ndarray, float, float]:
        """Ratios of all rounds, seconds of this checkout, and the largest difference."""
        turns = Turns(self.team, kind, shape)
        for _ in range(turns.calibrate()):
            turns.until_ours()
            turns.ours()
        turns.finish()
        now, then = (np.array(turns.entries[name].seconds) for name in (OURS, BEFORE))
        return then / now, float(np.median(now)), turns.entries[BEFORE].error

    def row(self, kind: str, shape: Shape) -> tuple[np.ndarray, float, float]:
        found = self.ratios(kind, shape)
        if not LOW <= np.median(found[0]) <= HIGH:
            found = self.ratios(kind, shape)
        return found


def compare(home: Path, threads: int, kinds: list[str], only: int | None) -> list[float]:
    """Print the rows at one number of threads; return their ratios."""
    pair, medians = Pair(home, threads), []
    for kind in kinds:
        for shape in KINDS[kind][:only]:
            ratios, seconds, error = pair.row(kind, shape)
            low, median, high = np.percentile(ratios, (25, 50, 75))
            medians.append(float(median))
            note = "" if LOW <= median <= HIGH else " *"
            note += f" differs by {error:.1e}" if error else ""
            print(f"| {kind} | {threads} | {shape} | {1e6 * seconds:.1f} | {median:.3f}{note} | "
                  f"{low:.3f} to {high:.3f} |", flush=True)  # fmt: skip
    for worker in pair.team.values():
        worker.close()
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path, help="the earlier checkout, compiled in place")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--only", type=int, default=None, help="so many shapes of each kind")
    given = parser.parse_args()
    print("| kind | threads | shape | µs now | before / now | middle half |")
    print("|---|---|---|---|---|---|")
    found: list[float] = []
    for threads in map(int, given.threads.split(",")):
        found += compare(given.home.resolve(), threads, given.kinds.split(","), given.only)
    outside = sum(not LOW <= ratio <= HIGH for ratio in found)
    mean = np.exp(np.mean(np.log(found)))
    print(f"\n{len(found)} rows, {outside} outside of {LOW} to {HIGH}; geometric mean {mean:.3f}")


if __name__ == "__main__":
    main()

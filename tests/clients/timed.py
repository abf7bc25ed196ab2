"""How long a client's steps take in the project's own sizes, plain and accelerated by turns.

    python tests/clients/timed.py NAME [--threads N ...] [--seconds S]    # prints JSON

One process runs the client again and again, from the same seeds, in pairs whose order is turned
round each time: as it is, and after `lstmfast.torch.accelerate`. Nothing is counted and no dropout
is taken away: that both do the same is harness.py's business. A client may train several models
(`trial.model`); a run's figure is the mean over them of the median of their steps, of which the
first are left out. Evaluation is all time between the last step, or the model, and its outputs.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field
from importlib import import_module
from statistics import fmean, median, quantiles
from typing import Any

import torch
from harness import Trial, seed
from torch import nn

__all__ = ["Figures", "Run", "TimedTrial", "by_turns", "figures"]

KINDS = ("torch", "lstmfast")
LEAST_PAIRS = 5
WARM_UP = 2  # steps of a model that are left out, if that is at most a third


@dataclass
class Run:
    """What one run took, in seconds."""

    step: float
    evaluation: float


@dataclass
class Figures:
    """Medians of all pairs: milliseconds of PyTorch and of lstmfast, times that it is faster."""

    threads: int
    pairs: int
    steps: tuple[float, float]
    times: float
    spread: tuple[float, float]  # of `times`: quartiles
    evaluation: tuple[float, float]
    evaluation_times: float


@dataclass
class Row:
    """A project's figures, for each number of threads."""

    name: str
    usual: str
    figures: list[Figures] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class TimedTrial(Trial):
    """A run in usual sizes of which the times are noted, and no more."""

    def __init__(self, kind: str):
        super().__init__(kind)
        self.models: list[list[float]] = []  # seconds of each one's steps
        self.evaluation = 0.0

    def size(self, test: Any, usual: Any) -> Any:
        return usual

    def model(self, module: nn.Module) -> Any:
        self.models.append([])
        return self.swap(module)

    def swap(self, module: nn.Module) -> Any:
        super().swap(module)
        self._since = time.perf_counter()
        return module

    def step(self, loss: Any) -> None:
        self.models[-1].append(self._passed())

    def output(self, *results: Any) -> None:
        self.evaluation += self._passed()

    def _passed(self) -> float:
        before, self._since = self._since, time.perf_counter()
        return self._since - before

    def result(self) -> Run:
        if not self.models or min(map(len, self.models)) < 3:
            raise ValueError(f"expected 3 steps at least, got {[*map(len, self.models)]}")
        if self.kind == "lstmfast" and not self.outcome.swapped:
            raise ValueError(f"no module was swapped: {self.outcome.left}")
        kept = [steps[min(WARM_UP, len(steps) // 3) :] for steps in self.models]
        return Run(fmean(map(median, kept)), self.evaluation)


def timed(client: Any, kind: str) -> Run:
    """Run a client once, from the seeds."""
    seed()
    gc.collect()
    trial = TimedTrial(kind)
    client.run(trial)
    return trial.result()


def by_turns(client: Any, seconds: float) -> list[tuple[Run, Run]]:
    """Run a client in pairs (PyTorch, lstmfast) until the time is used up."""
    pairs: list[tuple[Run, Run]] = []
    order, end = list(KINDS), time.perf_counter() + seconds
    while time.perf_counter() < end or len(pairs) < LEAST_PAIRS:
        runs = {kind: timed(client, kind) for kind in order}
        pairs.append((runs["torch"], runs["lstmfast"]))
        order.reverse()
    return pairs


def figures(pairs: list[tuple[Run, Run]]) -> Figures:
    def both(name: str) -> tuple[tuple[float, float], list[float]]:
        found = [[getattr(run, name) for run in pair] for pair in pairs]
        theirs, ours = (1e3 * median(side) for side in zip(*found, strict=True))
        return (theirs, ours), [a / b for a, b in found]

    steps, ratios = both("step")
    evaluation, others = both("evaluation")
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    return Figures(
        torch.get_num_threads(), len(pairs), steps, median(ratios), (low, high), evaluation,
        median(others),
    )  # fmt: skip


def measure(name: str, threads: list[int], seconds: float) -> Row:
    """Return a client's row; without `threads` at PyTorch's own number of them."""
    client = import_module(f"with_{name}")
    row = Row(name, client.USUAL)
    for count in threads or [torch.get_num_threads()]:
        torch.set_num_threads(count)
        row.figures.append(figures(by_turns(client, seconds)))
        if torch.get_num_threads() != count:
            row.faults.append(f"the client made {torch.get_num_threads()} threads of {count}")
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", metavar="NAME", help="of with_NAME.py")
    parser.add_argument("--threads", type=int, nargs="+", default=[], help="PyTorch's own number")
    parser.add_argument("--seconds", type=float, default=20.0, help="at each number of threads")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        row = measure(given.name, given.threads, given.seconds)
    except Exception as error:
        traceback.print_exc()
        row = Row(given.name, "", faults=[f"{type(error).__name__}: {error}"[:300]])
    print("ROW " + json.dumps(asdict(row)), flush=True)
    return bool(row.faults)


if __name__ == "__main__":
    sys.exit(main())

"""Libraries take turns at one job, so that a drift of the machine falls on all of them.

In each round every library runs one block of calls, in an order that moves on by one from round to
round. Before a block there is a pause, until the threads of the one before have stopped spinning
(ONNX Runtime's do so for some 50 ms), and one call that is not timed. Ratios are taken round by
round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benches.peers import OURS
from benches.shapes import Shape
from benches.worker import PeerError, Prepared, Worker

PAUSE = 0.01  # seconds, again and again until the library before used less than QUIET of it
QUIET, PAUSES = 0.05, 30
BLOCK = 0.007  # seconds that a block shall take; one call where that takes longer
MOST_CALLS = 20000  # per block
ROUNDS, LEAST_ROUNDS = 15, 5
BUDGET = 12.0  # seconds of all rounds: beyond it fewer than ROUNDS, but LEAST_ROUNDS at least

# Largest difference from lstmfast's result, both float32. Outputs relative to max(1, max |ours|),
# gradients to max |ours|.
TOLERANCE = 1e-5  # measured: 1.5e-6, torch
GRADIENT_TOLERANCE = 1e-5  # measured: 1.4e-6, torch and both Keras


@dataclass
class Entry:
    """What one library did in one test: goes to the JSON file as it is."""

    version: str
    variant: str
    start_seconds: float  # of its process: import and settings
    first_call_seconds: float  # building, compiling, the first call
    error: float  # against lstmfast
    calls: int = 1  # per block
    seconds: list[float] = field(default_factory=list)  # per call, round by round


class Turns:
    """One job of all libraries: prepared, checked, and timed in rounds."""

    def __init__(
        self,
        team: dict[str, Worker | PeerError],
        kind: str,
        shape: Shape,
        tolerance: float | None = None,
    ):
        self.workers: dict[str, Worker] = {}
        self.entries: dict[str, Entry] = {}
        self.not_run: dict[str, str] = {}
        self.kind, self.shape = kind, shape
        self.tolerance = tolerance or (GRADIENT_TOLERANCE if kind == "training" else TOLERANCE)
        reference = self._prepare(team[OURS])  # its failure is the test's
        self._enter(OURS, team[OURS], reference, reference)
        for name in team:
            if name != OURS:
                try:
                    self._enter(name, team[name], self._prepare(team[name]), reference)
                except PeerError as reason:
                    self.not_run[name] = str(reason)
        self._order, self._last = self._turns(), list(self.workers.values())[-1]

    def _prepare(self, worker: Worker | PeerError) -> Prepared:
        if isinstance(worker, PeerError):
            raise worker
        if self.kind not in worker.kinds():
            raise PeerError(f"it has no job of this kind ({self.kind})")
        return worker.prepare(self.kind, self.shape)

    def _enter(self, name: str, worker: Worker, prepared: Prepared, reference: Prepared) -> None:
        """Take a library in, if its results are right."""
        error = difference(self.kind, prepared, reference)
        what = f"{name} differs from lstmfast by {error:.2g}: {self.kind} {self.shape}"
        assert error <= self.tolerance, what
        times = worker.seconds, prepared.seconds
        self.workers[name] = worker
        self.entries[name] = Entry(worker.version, prepared.variant, *times, error)

    def calibrate(self) -> int:
        """Choose the calls of each library's blocks; return the number of rounds."""
        a_round = 0.0
        for name, entry in self.entries.items():
            seconds = math.inf
            for _ in range(3):  # an estimate of few calls, or of a disturbed block, is too long
                seconds = min(seconds, self._time(name, entry.calls))
                entry.calls = min(MOST_CALLS, max(1, round(BLOCK / seconds)))
                if seconds > 10 * BLOCK:
                    break
            a_round += PAUSE + (entry.calls + 1) * seconds
        return min(ROUNDS, max(LEAST_ROUNDS, int(BUDGET / a_round)))

    def _turns(self) -> Iterator[str]:
        names = list(self.entries)
        while True:
            yield from names
            names.append(names.pop(0))

    def until_ours(self) -> None:
        """Run the blocks of those whose turn comes before lstmfast's."""
        while (name := next(self._order)) != OURS:
            self._block(name)

    def ours(self) -> float:
        """Run lstmfast's block; return its seconds per call."""
        return self._block(OURS)

    def finish(self) -> None:
        """Run what is left of the last round."""
        rounds = len(self.entries[OURS].seconds)
        while any(len(entry.seconds) < rounds for entry in self.entries.values()):
            self._block(next(self._order))

    def _block(self, name: str) -> float:
        seconds = self._time(name, self.entries[name].calls)
        self.entries[name].seconds.append(seconds)
        return seconds

    def _time(self, name: str, calls: int) -> float:
        """Seconds per call, when the library before has come to rest."""
        used = self._last.processor_seconds()
        for _ in range(PAUSES):
            time.sleep(PAUSE)
            before, used = used, self._last.processor_seconds()
            if used - before < QUIET * PAUSE:
                break
        self._last = self.workers[name]
        return self._last.time(calls) / calls

    def record(self) -> dict[str, Any]:
        """Everything measured, for the JSON file."""
        return {
            "peers": {name: asdict(entry) for name, entry in self.entries.items()},
            "not_run": self.not_run,
        }


def difference(kind: str, theirs: Prepared, ours: Prepared) -> float:
    """The largest relative difference of two results, over all arrays and calls."""
    least = 0.0 if kind == "training" else 1.0
    errors = []
    for got, wanted in zip(theirs.results, ours.results, strict=True):
        for a, b in zip(got, wanted, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype, (a.shape, b.shape, a.dtype, b.dtype)
            scale = max(least, np.abs(b).max()) or 1.0  # dW_hh is zero where T is 1
            errors.append(np.abs(a - b).max() / scale)
    return float(np.max(errors))  # NaN stays NaN and passes no bar

"""One test: prepare, check, take turns, and hand everything to pytest-benchmark.

pytest-benchmark's own figures are those of lstmfast, in seconds per call as its process measured
them (`timed_by_worker`), so that no pipe and no pause is in them. What the others did, the floors
and how busy the machine was goes to `extra_info`, and so to the JSON file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from benches.shapes import Shape
from benches.turns import Turns
from benches.worker import PeerError, Worker

_measured = 0.0


def lstmfast_seconds() -> float:
    """A clock that moves on by what lstmfast's process measured, and only by that."""
    return _measured


timed_by_worker = pytest.mark.benchmark(timer=lstmfast_seconds)


class Team:
    """All libraries at one number of threads, each in its process."""

    def __init__(self, names: tuple[str, ...], threads: int):
        self.threads = threads
        self.members: dict[str, Worker | PeerError] = {}
        for name in names:
            self._start(name)

    def _start(self, name: str) -> None:
        try:
            self.members[name] = Worker(name, self.threads)
        except PeerError as reason:
            self.members[name] = reason

    def revive(self) -> None:
        """Start processes again that have ended."""
        for worker in self.workers():
            if not worker.process.is_alive():
                self._start(worker.peer)

    def workers(self) -> list[Worker]:
        return [member for member in self.members.values() if isinstance(member, Worker)]

    def close(self) -> None:
        for worker in self.workers():
            worker.close()


def measure(
    benchmark: Any,
    team: Team,
    kind: str,
    shape: Shape,
    floors: Any = None,
    tolerance: float | None = None,
) -> None:
    """Time `kind` for every library of `team`.

    Parameters
    ----------
    benchmark : pytest-benchmark's fixture, in a test marked `timed_by_worker`. Where it is disabled
        everything is prepared, checked and run once.
    floors : benches.floors.Floors of the job, or None; sampled in every round.
    tolerance : of the others' results; None: that of outputs, or of gradients for "training".
    """
    team.revive()
    turns, load = Turns(team.members, kind, shape, tolerance), Load(team)
    rounds = 1 if benchmark.disabled else turns.calibrate()

    def before() -> None:
        if floors:
            floors.sample()
        turns.until_ours()

    def target() -> None:
        global _measured
        _measured += turns.ours()

    benchmark.group = f"{kind}, {team.threads} thread{'s' * (team.threads > 1)}"
    benchmark.pedantic(target, setup=before, rounds=rounds, iterations=1)
    turns.finish()
    benchmark.extra_info.update(
        kind=kind, shape=shape._asdict(), threads=team.threads, **turns.record(),
        floors=floors.record() if floors else None, others_busy=load.of_others(),
    )  # fmt: skip


class Load:
    """How many processors other programs kept busy since this was made (Linux)."""

    def __init__(self, team: Team):
        self.processes = [os.getpid(), *(worker.process.pid for worker in team.workers())]
        self.start = os.times().elapsed, self._others()

    def of_others(self) -> float:
        seconds, busy = os.times().elapsed, self._others()
        return max(0.0, (busy - self.start[1]) / max(seconds - self.start[0], 1e-3))

    def _others(self) -> float:
        """Seconds of processor time that others have used (or a hypervisor has taken away)."""
        user, nice, system, _, _, irq, softirq, steal = (
            int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        ticks = user + nice + system + irq + softirq + steal
        for process in self.processes:
            with contextlib.suppress(FileNotFoundError):  # it has ended
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                ticks -= int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

"""Runs jobs in processes: side by side while they prepare and validate, then one case at a time.

Kernels take longer to compile than to run, so all processors compile at once; times are taken when
nothing else uses the GPU. A process that no longer answers, or that its GPU no longer answers, is
ended, what it was at is noted, and a new one goes on behind it. At the deadline what is left stays
unmeasured.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches.cuda.jobs import Job

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.55  # of the budget, for what runs side by side
TICK = 0.2  # seconds
PATIENCE = 10.0  # seconds, with a process that was killed
KEPT = 20  # lines of a process, for the reason of its end
RESTARTS = 8  # of one job
START = 60  # seconds more that a process has until its first words: imports

Row = dict[str, Any]


class Process:
    """A job in a process of its own, and the lines that it writes."""

    def __init__(self, job: Job, child: tuple[str, ...], skip: set[int], lines: Any):
        self.job, self.skip = job, skip
        self.last, self.waits, self.prepared = time.monotonic() + START, False, set[int]()
        self.said, self.complained = deque[str](maxlen=KEPT), deque[str](maxlen=KEPT)
        command = [*job.prefix, *child, job.name, "--skip", ",".join(map(str, sorted(skip)))]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        environment.setdefault("OMP_NUM_THREADS", "2")  # of each: many run side by side
        self.process = subprocess.Popen(
            command, cwd=ROOT, text=True, env=environment, start_new_session=True, **pipes
        )
        self.errors = threading.Thread(target=self._errors, daemon=True)
        self.errors.start()
        threading.Thread(target=self._rows, args=(lines,), daemon=True).start()

    def _rows(self, lines: Any) -> None:
        for line in self.process.stdout or ():
            if line.startswith("{"):
                lines.put((self, json.loads(line)))
            else:  # what a tool writes between the rows
                self.said.append(line.rstrip())
        self.process.wait()
        self.errors.join(PATIENCE)  # the last line says why it ended
        lines.put((self, None))

    def _errors(self) -> None:
        for line in self.process.stderr or ():
            self.complained.append(line.rstrip())

    def ask(self, case: int) -> None:
        """Let a process that waits do this case."""
        self.waits, self.last = False, time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            print(case, file=self.process.stdin, flush=True)

    def end(self) -> None:
        """End it, and what its tool may have started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # the driver is slow to let go
                self.process.wait(PATIENCE)

    @property
    def silent(self) -> bool:
        """Has it said nothing for longer than it may?"""
        return not self.waits and time.monotonic() - self.last > self.job.patience

    def why(self) -> str:
        """What is known of its end."""
        lines = [*reversed(self.complained), *reversed(self.said)]
        told = next((line for line in lines if line.strip()), "")
        return f"the process ended with {self.process.returncode}: {told}"


class Conductor:
    """All rows of a run, by job and case.

    Parameters
    ----------
    budget : seconds of the whole run
    child : the command of a process, which gets a job's name and --skip
    at_once : processes side by side
    changed : called when rows came in, to write them down
    known : rows of an earlier run, which are not done again
    """

    def __init__(
        self, jobs: list[Job], budget: float, child: tuple[str, ...], at_once: int,
        changed: Callable[[dict[str, dict[int, Row]]], None],
        known: dict[str, dict[int, Row]] | None = None,
    ):  # fmt: skip
        self.child, self.at_once = child, at_once
        self.begin, self.budget, self.changed = time.monotonic(), budget, changed
        self.rows: dict[str, dict[int, Row]] = {job.name: {} for job in jobs} | (known or {})
        self.restarts = dict.fromkeys(self.rows, 0)
        self.queued = [job for job in jobs if len(self.rows[job.name]) < len(job.cases)]
        self.running = list[Process]()
        self.lines: Any = queue.Queue()

    def run(self) -> None:
        try:
            self._side_by_side()
            self._one_at_a_time()
        finally:
            for process in self.running:
                process.end()
            self.changed(self.rows)

    def left(self) -> float:
        return self.budget - (time.monotonic() - self.begin)

    # ------------------------------------------------------------ side by side

    def _side_by_side(self) -> None:
        """Start everything; return when all that is left waits, or time is up."""
        until = self.begin + self.budget * SHARE
        while time.monotonic() < until:
            busy = [p for p in self.running if not p.waits]
            while self.queued and len(busy) < self.at_once:
                busy.append(self._start(self.queued.pop(0)))
            if not busy:
                return
            self._listen()
        self.queued.clear()
        for process in [p for p in self.running if not p.waits]:
            self._drop(process)

    def _start(self, job: Job) -> Process:
        process = Process(job, self.child, set(self.rows[job.name]), self.lines)
        self.running.append(process)
        return process

    def _drop(self, process: Process) -> None:
        """End a process; what it had prepared can no longer be measured."""
        process.end()
        if process in self.running:
            self.running.remove(process)

    def _listen(self) -> None:
        """Take in one line, or see that a process is silent."""
        with contextlib.suppress(queue.Empty):
            self._take(*self.lines.get(timeout=TICK))
        for process in [p for p in self.running if p.silent]:
            self._failed(process, f"no answer for {process.job.patience:.0f} s")

    def _take(self, process: Process, said: Any) -> None:
        if process not in self.running:
            return
        process.last = time.monotonic()
        if said is None:
            self._ended(process)
        elif "row" in said:
            self.rows[process.job.name][said["case"]] = said["row"]
            self.changed(self.rows)
        elif "prepared" in said:
            process.prepared.add(said["prepared"])
        elif "ready" in said:
            process.waits = True

    def _ended(self, process: Process) -> None:
        """A process is gone: as its job was done, or somewhere on the way."""
        rows, status = self.rows[process.job.name], process.process.returncode
        if len(rows) == len(process.job.cases):
            self.running.remove(process)
            if status and process.job.prefix:  # its tool saw an error in one case or another
                rows[len(rows) - 1] = {"status": "error", "reason": process.why()}
        elif status == 3:  # child.POISONED: its last row tells why
            self._again(process)
        else:
            self._failed(process, process.why())

    def _failed(self, process: Process, reason: str) -> None:
        """Note which case failed and how; go on behind it."""
        process.end()
        rows = self.rows[process.job.name]
        waiting = process.skip | rows.keys() | process.prepared
        todo = [k for k in range(len(process.job.cases)) if k not in waiting]
        if todo:
            rows[todo[0]] = {"status": "error", "reason": reason}
            self.changed(self.rows)
        self._again(process)

    def _again(self, process: Process) -> None:
        """A new process for the cases that are left, unless that happened too often."""
        self.running.remove(process)
        job = process.job
        self.restarts[job.name] += 1
        left = len(job.cases) - len(self.rows[job.name])
        if left and self.restarts[job.name] <= RESTARTS:
            self.queued.insert(0, job)

    # ------------------------------------------------------------ one at a time

    def _one_at_a_time(self) -> None:
        """Let those that wait do their cases, the most important of all jobs first."""
        turns = sorted((p.job.turn, k, n) for n, p in enumerate(self.running) for k in p.prepared)
        waiting = list(self.running)
        for _, k, n in turns:
            if self.left() < waiting[n].job.patience / 10:
                return
            if waiting[n] in self.running:
                self._do(waiting[n], k)

    def _do(self, process: Process, k: int) -> None:
        rows = self.rows[process.job.name]
        process.ask(k)
        while k not in rows and process in self.running and self.left() > 0:
            with contextlib.suppress(queue.Empty):
                found = self.lines.get(timeout=TICK)
                if found == (process, None):
                    self._lost(process, k, process.why())
                self._take(*found)
            if process.silent:
                self._lost(process, k, f"no answer for {process.job.patience:.0f} s")
        process.waits = True

    def _lost(self, process: Process, k: int, reason: str) -> None:
        """The process that was asked for case k is no more: its other cases stay unmeasured."""
        self.rows[process.job.name].setdefault(k, {"status": "error", "reason": reason})
        self.changed(self.rows)
        self._drop(process)

"""One library at one number of threads in a process of its own, told over a pipe what to time.

Thread pools of different libraries must not disturb each other, Keras takes one backend for each
process, and some libraries read their settings once, at import. lstmfast gets such a process too.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import math
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from benches.arrays import Arrays
from benches.peers import MODULES, Job, Maker
from benches.shapes import Shape

PATIENCE = 300  # seconds until a silent process is given up
STEPS = 5  # calls of a streaming step whose results are checked: the state is carried on
TRIALS, TRIAL_SECONDS = 3, 0.02  # of each variant, in turns
HOPELESS = 3  # times slower at first than the fastest variant: not tried further


class PeerError(Exception):
    """A library cannot do what was asked; the text says why."""


class Prepared(NamedTuple):
    """A job that is ready: the results of its first calls, and what came before them."""

    results: list[Arrays]  # one entry; for "step" one for each of STEPS calls
    seconds: float  # of making the job and its first call: building, compiling, packing
    variant: str  # which of several ways was the fastest; "" where there is one


class Member:
    """The parent's end of a process that answers requests at a desk, an object of a class `desk`.

    `start(*arguments)` is the first request; `version` and `seconds` are its answer: the library's,
    and what its start took.
    """

    def __init__(self, desk: Callable[[], Any], *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, desk, arguments), daemon=True)
        self.process.start()
        theirs.close()
        try:
            self.version, self.seconds = self._answer()
        except PeerError:
            self.close()
            raise

    def processor_seconds(self) -> float:
        """What its threads have used so far (Linux: Documentation/scheduler/sched-stats)."""
        used = 0
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # the thread has ended
                used += int(task.read_text().split()[0])
        return used * 1e-9

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(("close",))
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._pipe.close()

    def ask(self, *request: Any) -> Any:
        try:
            self._pipe.send(request)
        except OSError as error:
            raise PeerError(f"its process is gone: {error}") from None
        return self._answer()

    def _answer(self) -> Any:
        try:
            if not self._pipe.poll(PATIENCE):
                self.process.kill()
                raise PeerError(f"no answer within {PATIENCE} s")
            good, value = self._pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise PeerError(f"its process ended with code {self.process.exitcode}") from None
        if not good:
            raise PeerError(value)
        return value


class Worker(Member):
    """A library that times jobs.

    home: a folder that it is imported from, None for where it is installed.
    """

    def __init__(self, peer: str, threads: int, home: str | None = None):
        self.peer = peer
        super().__init__(Desk, MODULES[peer], threads, home)

    def kinds(self) -> tuple[str, ...]:
        """What this library can do."""
        return self.ask("kinds")

    def prepare(self, kind: str, shape: Shape) -> Prepared:
        """Make a job, in place of the one before, and call it."""
        return self.ask("prepare", kind, shape)

    def time(self, calls: int) -> float:
        """Seconds of `calls` calls in a row, after one that is not timed."""
        return self.ask("time", calls)


# ---------------------------------------------------------------- in the other process


def serve(pipe: Any, desk_of: Callable[[], Any], arguments: tuple[Any, ...]) -> None:
    """Answer requests until "close", each with (True, result) or (False, error text)."""
    desk = desk_of()
    request: tuple[Any, ...] = ("start", *arguments)
    while request[0] != "close":
        try:
            pipe.send((True, getattr(desk, request[0])(*request[1:])))
        except Exception as error:
            traceback.print_exc()
            pipe.send((False, f"{type(error).__name__}: {error}".strip().splitlines()[0]))
        try:
            request = pipe.recv()
        except EOFError:
            return


class Desk:
    """What a worker does; the methods are the requests."""

    def start(self, module: str, threads: int, home: str | None) -> tuple[str, float]:
        begin = time.perf_counter()
        if home is not None:
            sys.path.insert(0, home)
            found = importlib.import_module("lstmfast").__file__
            assert Path(found).is_relative_to(home), f"{home}: expected lstmfast there, not {found}"
        self.peer = importlib.import_module(f"benches.peers.{module}")
        version = self.peer.start(threads)
        return version, time.perf_counter() - begin

    def kinds(self) -> tuple[str, ...]:
        return tuple(self.peer.JOBS)

    def prepare(self, kind: str, shape: Shape) -> Prepared:
        self.job, variant, make = None, "", self.peer.JOBS[kind]
        if isinstance(make, dict):
            variant = fastest(make, shape)
            make = make[variant]
        gc.collect()
        begin = time.perf_counter()
        self.job = as_job(make, shape)
        with self.job.around():
            result = self.job.run()
            seconds = time.perf_counter() - begin
            results = [self.job.read(result)]
            while kind == "step" and len(results) < STEPS:
                results.append(self.job.read(self.job.run()))
        return Prepared(results, seconds, variant)

    def time(self, calls: int) -> float:
        return block(self.job, calls)


def as_job(make: Maker, shape: Shape) -> Job:
    made = make(shape)
    return made if isinstance(made, Job) else Job(made)


def block(job: Job, calls: int) -> float:
    """Seconds of `calls` calls after one that wakes threads and fills caches; no collector runs."""
    run = job.run
    gc.disable()
    try:
        with job.around():
            run()
            start = time.perf_counter()
            for _ in repeat(None, calls):
                run()
            return time.perf_counter() - start
    finally:
        gc.enable()


def fastest(makers: dict[str, Maker], shape: Shape) -> str:
    """The name of the maker whose job takes least time, the variants taking turns."""
    jobs = {name: as_job(make, shape) for name, make in makers.items()}
    first = {name: min(block(job, 1), block(job, 1)) for name, job in jobs.items()}
    near = [name for name in jobs if first[name] < HOPELESS * min(first.values())]
    best = dict.fromkeys(near, math.inf)
    for name in near * TRIALS:
        calls = max(1, int(TRIAL_SECONDS / first[name]))
        best[name] = min(best[name], block(jobs[name], calls) / calls)
    return min(near, key=best.__getitem__)

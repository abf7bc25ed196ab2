"""Behaviour under load: how much longer lstmfast's calls take when they are not alone.

    python -m benches.load

Fair share: every thread that wants to run gets the same part of the processors. Where `ours`
threads of each of `callers` callers and `others` threads want to run on P processors, a call should
take

    fair = max(1, (ours · callers + others) / P)

times what it takes alone. Two threads beside one busy process on two processors: 1.5. A figure is
the measured factor over that: 1 is fair, above 2 is a collapse.

Blocks of calls alone and under load take turns; a factor is that of one turn, and the median over
the turns is reported. A block during which programs that are no part of this used a processor is
measured again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import lstmfast
from benches.arrays import inputs, weights
from benches.peers import ours
from benches.shapes import Shape

Job = Callable[[], tuple[np.ndarray, ...]]

PROCESSORS = len(os.sched_getaffinity(0))
BLOCK = 0.1  # seconds
TURNS = 9
PAUSE = 0.02  # seconds, in which threads stop spinning and processes go on or stop
FOREIGN = 0.03  # processor-seconds per block that may go to others; the system counts in 0.01
TRIES = 8  # blocks until one is taken as it is
STEPS = 100  # of one call of a streaming job
TORCH_SIZE = 512  # of the square matrices that torch multiplies: some milliseconds


class Work(NamedTuple):
    """A job and how native/schedule.c shares it out."""

    name: str
    shape: Shape
    threads: int

    def job(self) -> Job:
        """A call of it; every call gives the same bits."""
        return streaming(self.shape) if self.shape.T == 1 else ours.forward(self.shape)


def streaming(shape: Shape) -> Job:
    stream, x = lstmfast.LSTMStream(*weights(shape)), inputs(shape)[0]
    h = np.empty((1, shape.H), np.float32)

    def run() -> tuple[np.ndarray, ...]:
        stream.reset()
        for _ in range(STEPS):
            stream.step(x, out=h)
        return (h,)

    return run


WORKS = (
    Work("by rows", Shape(64, 16, 256, 512), 2),
    Work("by rows, short", Shape(8, 16, 256, 512), 2),
    Work("by panels", Shape(100, 2, 512, 1024), 2),
    Work("by panels, short", Shape(4, 2, 512, 1024), 2),
    Work(f"{STEPS} steps, one thread", Shape(1, 1, 512, 512), 1),
)


@dataclass
class Load:
    """What else runs: switched on for a block, and off again.

    others: threads of it that want to run at the same time as ours. callers: Python threads that
    call lstmfast. before: called before every timed call. forked: the calls are a child's.
    """

    others: int = 0
    callers: int = 1
    on: Callable[[], None] = lambda: None
    off: Callable[[], None] = lambda: None
    before: Callable[[], object] | None = None
    forked: bool = False
    processes: tuple[int, ...] = ()
    processors: int = PROCESSORS

    def fair(self, work: Work) -> float:
        return max(1.0, (work.threads * self.callers + self.others) / self.processors)


# ---------------------------------------------------------------- loads


def spin() -> None:
    while True:
        pass


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[Load]:
    """Busy processes, each bound to a processor of its own."""
    spawn, found = multiprocessing.get_context("spawn"), []
    try:
        for core in sorted(os.sched_getaffinity(0))[:count]:
            found.append(spawn.Process(target=spin, daemon=True))
            found[-1].start()
            os.sched_setaffinity(found[-1].pid, {core})
        time.sleep(1)  # they import this file

        def tell(what: signal.Signals) -> None:
            for process in found:
                os.kill(process.pid, what)

        tell(signal.SIGSTOP)
        yield Load(
            others=count,
            on=lambda: tell(signal.SIGCONT),
            off=lambda: tell(signal.SIGSTOP),
            processes=tuple(process.pid for process in found),
        )
    finally:
        for process in found:
            process.kill()
            process.join()


def product() -> Callable[[], Any]:
    """torch's product of two matrices on its own pool."""
    import torch

    torch.set_num_threads(2)
    a = torch.ones(TORCH_SIZE, TORCH_SIZE)
    return lambda: a @ a


@contextlib.contextmanager
def torch_between() -> Iterator[Load]:
    """torch and lstmfast by turns in one thread: torch's threads spin on for a while."""
    yield Load(before=product())


@contextlib.contextmanager
def torch_beside() -> Iterator[Load]:
    """Another Python thread that keeps torch's pool busy."""
    multiply, running, ended = product(), threading.Event(), threading.Event()

    def work() -> None:
        while not ended.is_set():
            if running.wait(0.1):
                multiply()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield Load(others=2, on=running.set, off=running.clear)
    ended.set()
    thread.join()


@contextlib.contextmanager
def one_processor() -> Iterator[Load]:
    """All our threads on one processor, where a thread that looks at memory holds the other up."""

    def bind(cores: set[int]) -> None:
        for thread in map(int, os.listdir("/proc/self/task")):
            os.sched_setaffinity(thread, cores)

    cores = os.sched_getaffinity(0)
    yield Load(on=lambda: bind({min(cores)}), off=lambda: bind(cores), processors=1)


LOADS: dict[str, Callable[[], contextlib.AbstractContextManager[Load]]] = {
    "alone": lambda: contextlib.nullcontext(Load()),
    "one busy process": lambda: neighbours(1),
    "two busy processes": lambda: neighbours(2),
    "two threads on one processor": one_processor,
    "torch between calls": torch_between,
    "torch in another thread": torch_beside,
    "two callers": lambda: contextlib.nullcontext(Load(callers=2)),
    "four callers": lambda: contextlib.nullcontext(Load(callers=4)),
    "a forked child": lambda: contextlib.nullcontext(Load(forked=True)),
}


# ---------------------------------------------------------------- blocks


def timed(job: Job, before: Callable[[], object] | None, reference: bytes) -> tuple[float, int]:
    """Call for BLOCK seconds; return the seconds in calls of the job, and their number."""
    inside, calls, end = 0.0, 0, time.perf_counter() + BLOCK
    while calls == 0 or time.perf_counter() < end:
        if before is not None:
            before()
        start = time.perf_counter()
        (result,) = job()
        inside += time.perf_counter() - start
        calls += 1
    assert result.tobytes() == reference
    return inside, calls


def by_callers(jobs: list[Job], before: Any, reference: bytes) -> float:
    """Seconds per call, the mean over callers that call at once."""
    if len(jobs) == 1:
        inside, calls = timed(jobs[0], before, reference)
        return inside / calls
    with ThreadPoolExecutor(len(jobs)) as pool:
        results = list(pool.map(lambda job: timed(job, before, reference), jobs))
    return sum(inside for inside, _ in results) / sum(calls for _, calls in results)


def in_child(job: Job, reference: bytes) -> float:
    """Seconds per call in a child forked now."""
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    child = fork.Process(target=lambda: queue.put(by_callers([job], None, reference)))
    child.start()
    seconds = queue.get()
    child.join()
    return seconds


def foreign_seconds(processes: tuple[int, ...]) -> float:
    """Processor time since the start of the machine that went neither to us nor to `processes`."""
    tick = os.sysconf("SC_CLK_TCK")
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, soft, steal = map(int, file.readline().split()[1:9])
    total = user + nice + system + irq + soft + steal
    for process in (os.getpid(), *processes):
        with open(f"/proc/{process}/stat") as file:
            total -= sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return total / tick


def undisturbed(
    block: Callable[[], float], processes: tuple[int, ...], tries: int
) -> tuple[float, bool]:
    """A block's seconds per call, and whether nobody else was at work."""
    for _ in range(tries):
        before = foreign_seconds(processes)
        seconds = block()
        if foreign_seconds(processes) - before <= FOREIGN:
            return seconds, True
        time.sleep(PAUSE)
    return seconds, False


def measure(work: Work, load: Load, turns: int = TURNS) -> dict[str, Any]:
    """One row: factors of `turns` turns over the fair share, their median and 10-90%."""
    lstmfast.set_num_threads(work.threads)
    jobs = [work.job() for _ in range(load.callers)]
    reference = jobs[0]()[0].tobytes()

    def loaded() -> float:
        if load.forked:
            return in_child(jobs[0], reference)
        return by_callers(jobs, load.before, reference)

    tries = TRIES if turns > 1 else 1
    alone, under, disturbed = [], [], 0
    for _ in range(turns):
        time.sleep(PAUSE)
        seconds, quiet = undisturbed(
            lambda: by_callers(jobs[:1], None, reference), load.processes, tries
        )
        alone.append(seconds)
        load.on()
        time.sleep(PAUSE)
        seconds, still_quiet = undisturbed(loaded, load.processes, tries)
        load.off()
        under.append(seconds)
        disturbed += not (quiet and still_quiet)
    factors = np.array(under) / alone
    low, median, high = np.percentile(factors / load.fair(work), (10, 50, 90))
    return {
        "work": work.name, "shape": str(work.shape), "threads": work.threads,
        "alone_us": float(np.median(alone) * 1e6), "loaded_us": float(np.median(under) * 1e6),
        "factor": float(np.median(factors)), "fair": load.fair(work), "to_fair": float(median),
        "low": float(low), "high": float(high), "turns": turns, "disturbed": disturbed,
    }  # fmt: skip


# ---------------------------------------------------------------- report

HEADER = (
    "| load | job | alone µs | under load µs | factor | fair | to fair share, median | 10-90% |\n"
    "|---|---|---|---|---|---|---|---|"
)


def line(load: str, row: dict[str, Any]) -> str:
    """A row as Markdown."""
    return (
        f"| {load} | {row['work']} | {row['alone_us']:.0f} | {row['loaded_us']:.0f} "
        f"| {row['factor']:.2f} | {row['fair']:.2f} | {row['to_fair']:.2f} "
        f"| {row['low']:.2f}-{row['high']:.2f} |"
        + (f" {row['disturbed']} of {row['turns']} turns disturbed" if row["disturbed"] else "")
    )


def main() -> None:
    print(HEADER)
    for name, make in LOADS.items():
        with make() as load:
            for work in WORKS:
                print(line(name, measure(work, load)), flush=True)


if __name__ == "__main__":
    main()

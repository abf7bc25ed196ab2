"""Memory of a training step, and of a stream: run by test_memory.py, each in a fresh process.

    python -m benches.memory training torch epoch_last 50 64 128 256
    python -m benches.memory stream 1000000 64

What is counted is the process's resident memory as the kernel keeps it: VmRSS, and its highest
value VmHWM, which is set back by writing 5 to /proc/self/clear_refs. That is heap, mapped buffers,
stacks of threads, and pages of code that a step is the first to touch. The baseline is taken when
library, model, weights and data are there and what building left over has been given back. "first"
and "second" are the peaks of two training steps above that baseline: in the first the gradients and
the optimizer's state are made, which stay; the second needs memory on top of them. "step" is the
peak of the second above the memory just before it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
import tracemalloc
from importlib import import_module
from itertools import repeat
from pathlib import Path

import numpy as np

from benches.arrays import inputs, weights
from benches.peers import MODULES, Job
from benches.shapes import Shape

MB = 1e6
THREADS = 2
HEAP_FIELDS = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd",
    "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class HeapInfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in HEAP_FIELDS)


libc = ctypes.CDLL(None)
libc.mallinfo2.restype = HeapInfo


def heap_bytes() -> int:
    """Bytes that malloc has handed out and not got back, on the heap or mapped."""
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd


def status(name: str) -> int:
    """VmRSS or VmHWM in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def tidy() -> None:
    gc.collect()
    libc.malloc_trim(0)


# ---------------------------------------------------------------- a training step


def job_of(peer: str, kind: str, shape: Shape) -> Job:
    """One training step as a job: a batch of the article's model, or a layer's two passes."""
    library = import_module(f"benches.peers.{MODULES[peer]}")
    library.start(THREADS)
    make = library.JOBS[kind]
    if isinstance(make, dict):  # the first variant is the library's default
        make = next(iter(make.values()))
    made = make(shape, count=1) if kind.startswith("epoch") else make(shape)
    return made if isinstance(made, Job) else Job(made)


def step_growth(job: Job, baseline: int) -> tuple[int, int, list[float]]:
    """Peak of one step above the baseline and above its own start; norms of its results."""
    before = status("VmRSS")
    forget_peak()
    with job.around():
        result = job.run()
    peak = status("VmHWM")
    norms = [float(np.linalg.norm(part.astype(float))) for part in job.read(result)]
    return peak - baseline, peak - before, norms


def training(peer: str, kind: str, shape: Shape) -> dict:
    job = job_of(peer, kind, shape)
    tidy()
    baseline = status("VmRSS")
    first, _, norms = step_growth(job, baseline)
    second, alone, _ = step_growth(job, baseline)
    sizes = {"baseline": baseline, "first": first, "second": second, "step": alone}
    return {**{f"{name}_mb": size / MB for name, size in sizes.items()}, "norms": norms}


# ---------------------------------------------------------------- a stream


def stream(steps: int, size: int) -> dict:
    """Growth of memory over `steps` streaming steps, I = H = size, and seconds of one step."""
    import lstmfast

    shape = Shape(T=1, B=1, I=size, H=size)
    stream, x = lstmfast.LSTMStream(*weights(shape)), inputs(shape)[0]
    run, h = stream.step, np.empty((1, size), np.float32)
    grown: dict[str, int] = {}
    for _ in range(2):  # the first round warms up what is used for counting, too
        heap, resident, start = heap_bytes(), status("VmRSS"), time.perf_counter()
        for _ in repeat(None, steps):
            run(x, out=h)
        seconds = time.perf_counter() - start
        grown = {"heap_bytes": heap_bytes() - heap, "rss_bytes": status("VmRSS") - resident}
    python = traced(lambda: run(x, out=h), steps)
    return {"step_us": seconds / steps * 1e6, **grown, "python_bytes": python}


def traced(run, steps: int) -> int:
    """The most that Python and NumPy hold at once during `steps` steps, above the start."""
    tracemalloc.start()
    run()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    for _ in repeat(None, steps):
        run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


def main(what: str, *arguments: str) -> None:
    if what == "stream":
        found = stream(*map(int, arguments))
    else:
        found = training(*arguments[:2], Shape(*map(int, arguments[2:])))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

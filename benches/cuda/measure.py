"""Forward, and forward with backward, in turns with torch's nn.LSTM (cuDNN) on the same GPU.

Times are of blocks of calls between two events of the default stream, which both libraries work
on: what the host is too slow for counts, as it does in use. In each round every contender runs a
block; ratios are taken round by round. Results are compared before anything is timed, and what a
job is prepared with (compiling, capturing, choosing algorithms) is outside of all times.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benches import arrays
from benches.cuda import bars, calls, peers
from benches.cuda.calls import GRAPHS, PERSISTENT, NotApplicable
from benches.cuda.floors import ITEMSIZE
from benches.cuda.jobs import Case, Job
from benches.shapes import Shape

PRECISIONS = ("bfloat16", "tf32", "float32", "float16")
SHAPES = tuple(Shape(*s) for s in (  # T, B, I, H; the most telling first
    (100, 64, 256, 256), (100, 32, 512, 512), (100, 64, 128, 128), (50, 64, 128, 256),
    (100, 128, 768, 768), (100, 1, 256, 256), (100, 128, 256, 256), (100, 32, 1024, 1024),
    (1024, 32, 256, 256), (100, 64, 64, 64), (100, 64, 512, 512), (10, 64, 256, 256),
    (100, 16, 384, 384), (100, 256, 512, 512), (1, 64, 256, 256), (100, 1, 1024, 1024),
    (100, 8, 256, 256), (100, 256, 128, 128), (100, 64, 1024, 1024), (1024, 1, 256, 256),
    (100, 16, 768, 768), (300, 32, 640, 640), (100, 1, 512, 512), (1024, 16, 128, 128),
    (100, 256, 1024, 1024), (100, 100, 200, 200), (25, 32, 320, 320), (100, 3, 96, 96),
))  # fmt: skip
PROCESSES = 3  # of one precision: kernels compile side by side
ROUNDS, LEAST_ROUNDS = 11, 5
BLOCK = 0.004  # seconds that a block of calls shall take; one call where that takes longer
MOST_CALLS = 100  # per block
ROW = 1.0  # seconds of all rounds of one kind: beyond it fewer rounds, but LEAST_ROUNDS
WARM = 3  # calls before any is timed: the second is captured, the third replayed
APART = 4  # both may be off by their bars, and their inputs are rounded on the way

Works = dict[str, Callable[[], Any]]


def jobs(quick: bool) -> list[Job]:
    found = []
    for precision, part in itertools.product(PRECISIONS, range(PROCESSES)):
        shapes = SHAPES[part::PROCESSES][: 1 if quick else None]
        cases = tuple({"shape": tuple(s), "precision": precision} for s in shapes)
        if part == 0 or not quick:
            found.append(Job(f"measure {precision} {part + 1}", "measure", "measure", cases,
                             alone=True, turn=2))  # fmt: skip
    return found


def prepare(case: Case, seed: int) -> Callable[[], dict[str, Any]]:
    """Compile, capture and compare; return what measures."""
    shape, precision = Shape(*case["shape"]), case["precision"]
    contenders, results, notes, errors = both_paths(shape, precision)
    contenders[peers.EAGER] = theirs = peers.works(shape, precision)
    wanted = [to_host(a) for a in theirs["training"]()]
    warm(theirs)
    try:
        contenders[peers.CAPTURED] = {k: peers.captured(work) for k, work in theirs.items()}
    except Exception as reason:
        notes[peers.CAPTURED] = f"{type(reason).__name__}: {str(reason).splitlines()[0]}"
    differences = {path: apart(found, wanted) for path, found in results.items()}
    bar = APART * bars.bars(precision)[1]
    right = not errors and all(difference <= bar for difference in differences.values())

    def measure() -> dict[str, Any]:
        row = {kind: in_turns({name: of[kind] for name, of in contenders.items()})
               for kind in ("forward", "training")}  # fmt: skip
        return {**row, "differences": differences, "bar": bar, "notes": notes, "errors": errors,
                "status": "measured" if right else "failed"}  # fmt: skip

    return measure


def rehearse(case: Case, seed: int) -> None:
    """Launch what a case of ours launches, in a few steps."""
    shape = Shape(*case["shape"])
    both_paths(shape._replace(T=min(shape.T, 3)), case["precision"])


def both_paths(shape: Shape, precision: str) -> Any:
    """Our paths by name: works, results; and why one is not there, notes for reasons and errors."""
    works: dict[str, Works] = {}
    results: dict[str, list[Any]] = {}
    notes: dict[str, str] = {}
    errors: dict[str, str] = {}
    for path in (GRAPHS, PERSISTENT):
        try:
            made = ours(shape, precision, path)
            results[path] = [to_host(a) for a in made["training"]()]
            warm(made)
            works[path] = made
        except NotApplicable as reason:
            notes[path] = str(reason)
        except Exception as reason:  # the other path is worth measuring all the same
            errors[path] = f"{type(reason).__name__}: {reason}"
    return works, results, notes, errors


def ours(shape: Shape, precision: str, path: str) -> Works:
    """The same as `peers.works`, by one path."""
    kind = calls.dtype_of("float32" if ITEMSIZE[precision] == 4 else precision)
    x, dy, *W = (calls.put(a.astype(kind)) for a in (
        arrays.inputs(shape), arrays.upstream(shape), *arrays.weights(shape)))  # fmt: skip

    def forward() -> Any:
        with calls.on_path(path):
            return calls.lstm_forward(x, *W, precision=precision)[:1]

    def training() -> Any:
        with calls.on_path(path):
            y, _, cache = calls.lstm_forward(x, *W, precision=precision, training=True)
            g = calls.lstm_backward(cache, dy)
        return y, g.dx, g.dW_ih, g.dW_hh, g.db

    if path == PERSISTENT:
        with calls.launches() as kernels:
            training()
        if not any(kernels.values()):
            raise NotApplicable("no persistent kernel for this shape")
    return {"forward": forward, "training": training}


def to_host(array: Any) -> np.ndarray[Any, Any]:
    found = array.copy_to_host() if hasattr(array, "copy_to_host") else array.float().cpu().numpy()
    return np.asarray(found, np.float64)


def apart(found: list[Any], wanted: list[Any]) -> float:
    """The largest difference from torch's results, relative to the largest entry of each."""
    return max(bars.error(a, b, True) for a, b in zip(found, wanted, strict=True))


def warm(works: Works) -> None:
    for work in works.values():
        for _ in range(WARM):
            work()


# ---------------------------------------------------------------- times


def in_turns(works: Works, timer: Any = None) -> dict[str, Any]:
    """Seconds of one call, round by round, of each contender."""
    timer = timer or block_seconds
    counts = {}
    for name, work in works.items():
        timer(work, 1)
        taken = timer(work, 2)
        counts[name] = max(1, min(MOST_CALLS, math.ceil(BLOCK / taken)))
    times: dict[str, list[float]] = {name: [] for name in works}
    begin = time.perf_counter()
    for turn in range(ROUNDS):
        if turn >= LEAST_ROUNDS and time.perf_counter() - begin > ROW:
            break
        for name in rotated(list(works), turn):
            times[name].append(timer(works[name], counts[name]))
    return {"seconds": times, "calls": counts}


def rotated(names: list[str], turn: int) -> list[str]:
    """The order of a round: it moves on by one, so that everyone follows everyone."""
    first = turn % len(names)
    return names[first:] + names[:first]


def block_seconds(work: Callable[[], Any], count: int) -> float:
    """Seconds of one of `count` calls, by events on the default stream."""
    start, end = calls.event(), calls.event()
    start.record()
    for _ in range(count):
        work()
    end.record()
    end.synchronize()
    return float(end.seconds_since(start)) / count

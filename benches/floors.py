"""What this machine can do at the moment, and so what a job must take at least.

The floor of a job is the largest of

    operations / (FMA rate of one core · threads)
    bytes, once, at the bandwidth of reading a buffer of that size
    W_hh, once for each step after the first (and as often again in training; once in a streaming
        step), at the bandwidth of a buffer of its size

where two threads are taken to read half a buffer each, both as fast as one core alone. Bytes:

    forward     x, W_ih, W_hh, b, y
    training    x, dx, dy, W_ih, W_hh, b and their gradients (nothing of what is kept in between)
    step        W_ih, W_hh, b, x, and h and c in and out

Operations are multiplications and additions of the products, without those with the zero initial
state (a streaming step has a state), and so W_hh is not read where T is 1. Gates are no part of the
floor; `gate_operations` has what they would be: two for each lane of an instruction (`gates.py`).
The FMA rate is that of a loop of independent fused steps on the vector type of lstmfast's kernels,
in float32. Both rates are measured anew in every round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import cfunc, types

from benches.gates import instructions
from benches.shapes import Shape
from lstmfast import capi
from lstmfast.kernels import isa as isas
from lstmfast.kernels.bfloat16 import pair_lanes
from lstmfast.kernels.int8 import quad_lanes
from lstmfast.kernels.simd import lanes
from lstmfast.kernels.table import OPTIONS

ACCUMULATORS = 12  # independent sums: latency of a fused step times steps per cycle is 8 to 10
IN_FLIGHT = 16  # independent sums of a loop that reads
SECONDS, BLOCKS = 5e-4, 3  # a measurement is the best of BLOCKS blocks of about SECONDS
FLOAT, LINE = 4, 64  # bytes


KINDS = {"f32": lambda isa: lanes(types.float32, isa), "bf16": pair_lanes, "i8": quad_lanes}


@lru_cache(None)
def loops(kind: str = "f32") -> tuple[Callable[..., None], Callable[..., None], int]:
    """Compiled `steps(p, n)` and `read(p, n, passes)`, and floats per vector; one core, no GIL."""
    simd = KINDS[kind](isas.BY_NAME[capi.best_isa()])
    compiled = [cfunc(types.void(simd.pointer, *[types.int64] * n), **OPTIONS)(make(simd))
                for make, n in ((make_steps, 1), (make_read, 2))]  # fmt: skip
    _alive.extend(compiled)
    return compiled[0].ctypes, compiled[1].ctypes, simd.width


_alive: list[Any] = []  # an address is good for as long as its compiled function lives


def make_steps(simd):
    """steps(p, n): n times ACCUMULATORS steps a = p[0]·p[1] + a; the sum goes to p[2].

    Of int8 p[0]·a, lest where there is no instruction for it the product is made once.
    """
    dot, load, store, splat, get, put, head = (
        simd.dot, simd.load, simd.store, simd.splat, simd.get, simd.put, simd.head
    )  # fmt: skip
    new_tile = simd.new_tile(ACCUMULATORS)

    def steps(p, n):
        sums, factor, term = new_tile(), splat(p[0]), splat(p[1])
        for i in range(ACCUMULATORS):
            put(sums, i, load(p, i))
        for _ in range(n):
            for i in range(ACCUMULATORS):
                put(sums, i, dot(factor, get(sums, i) if head else term, get(sums, i)))
        for i in range(1, ACCUMULATORS):
            put(sums, 0, get(sums, 0) + get(sums, i))
        store(p, 2, get(sums, 0))

    return steps


def make_read(simd):
    """read(p, n, passes): add n · IN_FLIGHT vectors from p on, back and forth; the sum to p[0]."""
    W, load, store, get, put = simd.width, simd.load, simd.store, simd.get, simd.put
    new_tile = simd.new_tile(IN_FLIGHT)

    def read(p, n, passes):
        sums = new_tile()
        for i in range(IN_FLIGHT):
            put(sums, i, load(p, i * W))
        for turn in range(passes):
            for k in range(n):
                at = (k if turn % 2 == 0 else n - 1 - k) * IN_FLIGHT
                for i in range(IN_FLIGHT):
                    put(sums, i, get(sums, i) + load(p, (at + i) * W))
        for i in range(1, IN_FLIGHT):
            put(sums, 0, get(sums, 0) + get(sums, i))
        store(p, 0, get(sums, 0))

    return read


def best_seconds(loop: Callable[..., None], *arguments: Any) -> float:
    """Seconds of one unit of the loop's last argument."""
    count, seconds = 1, 0.0
    while seconds < SECONDS / 2:
        count = max(2 * count, int(count * SECONDS / max(seconds, SECONDS / 50)))
        start = time.perf_counter()
        loop(*arguments, count)
        seconds = time.perf_counter() - start
    blocks = []
    for _ in range(BLOCKS):
        start = time.perf_counter()
        loop(*arguments, count)
        blocks.append(time.perf_counter() - start)
    return min(blocks) / count


def fma_rate(kind: str = "f32") -> float:
    """Operations of products per second of one core, of a kind of KINDS."""
    steps, _, width = loops(kind)
    data = np.full(64 * ACCUMULATORS, 0.5, np.float32)
    terms = {"f32": 1, "bf16": 2, "i8": 4}[kind]
    return 2 * terms * ACCUMULATORS * width / best_seconds(steps, pointer(data))


def bandwidth(size: float) -> float:
    """Bytes per second that one core reads again and again from a buffer of about `size` bytes."""
    _, read, width = loops()
    vectors = max(1, round(size / (FLOAT * width * IN_FLIGHT)))
    data = buffer(vectors * width * IN_FLIGHT)
    return data.nbytes / best_seconds(read, pointer(data), vectors)


@lru_cache(2)
def buffer(count: int) -> np.ndarray:
    """Zeros that begin at a cache line."""
    data = np.zeros(count + LINE // FLOAT, np.float32)
    first = -data.ctypes.data % LINE // FLOAT
    return data[first : first + count]


def pointer(data: np.ndarray) -> Any:
    return data.ctypes.data_as(loops()[0].argtypes[0])


def steps_with_state(kind: str, shape: Shape) -> int:
    """Steps that need a product with h."""
    return 1 if kind == "step" else shape.T - 1


def operations(kind: str, shape: Shape) -> float:
    T, B, I, H = shape
    forward = 8.0 * B * H * (T * I + steps_with_state(kind, shape) * H)
    return forward * (3 if kind == "training" else 1)


def gate_operations(kind: str, shape: Shape) -> float:
    """What the gates' instructions would be as fused steps."""
    found = instructions("forward") + (instructions("backward") if kind == "training" else 0)
    return 2.0 * found * shape.T * shape.B * shape.H


def once_bytes(kind: str, shape: Shape) -> int:
    """Bytes that must be read or written at least once; the table is on top of this file."""
    T, B, I, H = shape
    weights, x, y = 4 * H * (I + H + 1), T * B * I, T * B * H
    read = weights if steps_with_state(kind, shape) else weights - 4 * H * H
    sizes = {"forward": read + x + y, "training": read + weights + 2 * x + y,
             "step": read + x + 4 * H}  # fmt: skip
    return FLOAT * sizes[kind]


class Floors:
    """The floors of one job, round by round."""

    def __init__(self, kind: str, shape: Shape, threads: int):
        self.threads, self.operations = threads, operations(kind, shape)
        self.gate_operations = gate_operations(kind, shape)
        self.bytes, self.recurrent_bytes = once_bytes(kind, shape), 16 * shape.H**2
        self.passes = steps_with_state(kind, shape) * (2 if kind == "training" else 1)
        self.rounds: list[dict[str, float]] = []

    def sample(self) -> None:
        """Measure the machine and note the floor of this round."""
        rate, once = fma_rate(), bandwidth(self.bytes / self.threads)
        again = bandwidth(self.recurrent_bytes / self.threads)
        terms = {
            "fma": self.operations / (rate * self.threads),
            "once": self.bytes / (once * self.threads),
            "recurrent": self.passes * self.recurrent_bytes / (again * self.threads),
        }
        self.rounds.append({"fma_rate": rate, "bandwidth": once, "recurrent_bandwidth": again,
                            **terms, "seconds": max(terms.values())})  # fmt: skip

    def record(self) -> dict[str, Any]:
        """For the JSON file: what was counted, and lists over the rounds."""
        lists = {name: [r[name] for r in self.rounds] for name in self.rounds[0]}
        counts = ("operations", "gate_operations", "bytes", "recurrent_bytes", "passes")
        return {name: getattr(self, name) for name in counts} | lists

"""Sums over whole arrays, over the columns of a matrix, and what the threads of a block agree on.

All sums run in an order that depends on the sizes alone: the same bits at every run and on every
GPU. Sums over whole arrays are in float64, whatever the numbers are; those of columns are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from numba import cuda, types

from ..runtime.array import empty
from ..runtime.compiler import pointer
from ..runtime.kernel import Kernel, kernel_maker
from .numbers import BY_NAME, device_function

__all__ = [
    "COLUMNS",
    "FLOATS",
    "LANES",
    "SIDE",
    "blocks_for",
    "column_sum",
    "make_combined",
    "make_loss_sums",
    "penalties_of",
    "room_for",
    "summed",
    "totals_of",
]

FLOATS = ("float32", "float64")
SIDE = 16  # a block that adds up has SIDE² threads
COLUMNS, LANES = 32, 8  # a block as a tile: columns side by side, and rows
MOST_BLOCKS, MOST_GROUPS = 1024, 256
I64, F64 = types.int64, types.float64


# ---------------------------------------------------------------- within a block


@device_function
def summed(x, y):
    return x + y


def room_for(side: int) -> int:
    """The numbers of shared memory that `make_combined` works in."""
    return side * side + side


@lru_cache(None)
def make_combined(combine: Any, side: int) -> Any:
    """combined(room, thread, value): what `combine` makes of the values of all side² threads.

    Every thread calls it and gets the result. `room` may serve the next call at once: what that
    writes first, nobody reads any more.
    """
    threads = side * side

    @device_function
    def combined(room, thread, value):
        room[thread] = value
        cuda.syncthreads()
        if thread < side:
            part = room[thread]
            for k in range(thread + side, threads, side):
                part = combine(part, room[k])
            room[threads + thread] = part
        cuda.syncthreads()
        whole = room[threads]
        for k in range(threads + 1, threads + side):
            whole = combine(whole, room[k])
        return whole

    return combined


# ---------------------------------------------------------------- of whole arrays


def blocks_for(n: int, side: int) -> int:
    """Return how many blocks add up n numbers: each leaves one partial sum."""
    return min(-(-n // (8 * side * side)), MOST_BLOCKS)


@kernel_maker
def make_penalty_sums(name: str, absolute: bool, squared: bool, side: int) -> Kernel:
    """partials[first + block] = a part of l1 Σ |x| (`absolute`) + l2 Σ (by · x)² (`squared`)."""
    combined, room = make_combined(summed, side), room_for(side)

    def penalty_sums(x, n, l1, l2, by, partials, first):
        sums = cuda.shared.array(room, F64)
        total = F64(0)
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            value = F64(x[i])
            if absolute:
                total += l1 * math.fabs(value)
            if squared:
                value *= by
                term = l2 * (value * value)
                total += (l2 * value) * value if math.isinf(term) else term
        total = combined(sums, cuda.threadIdx.x, total)
        if cuda.threadIdx.x == 0:
            partials[first + cuda.blockIdx.x] = total

    arguments = (BY_NAME[name].pointer, I64, F64, F64, F64, pointer(F64), I64)
    form = " and ".join(["|x|"] * absolute + ["x²"] * squared)
    return Kernel(f"sums of {form}, {name} in float64", penalty_sums, arguments, side * side)


@kernel_maker
def make_loss_sums(name: str, side: int) -> Kernel:
    """partials[0, block], partials[1, block] = parts of Σ losses and of the number of hits."""
    combined, room = make_combined(summed, side), room_for(side)

    def loss_sums(losses, correct, M, partials):
        sums = cuda.shared.array(room, F64)
        total, hits = F64(0), F64(0)
        for i in range(cuda.grid(1), M, cuda.gridsize(1)):
            total += F64(losses[i])
            if correct[i]:
                hits += F64(1)
        total = combined(sums, cuda.threadIdx.x, total)
        hits = combined(sums, cuda.threadIdx.x, hits)
        if cuda.threadIdx.x == 0:
            partials[cuda.blockIdx.x] = total
            partials[cuda.gridDim.x + cuda.blockIdx.x] = hits

    arguments = (BY_NAME[name].pointer, pointer(types.int8), I64, pointer(F64))
    return Kernel(f"sums of losses, {name} in float64", loss_sums, arguments, side * side)


@kernel_maker
def make_totals(side: int) -> Kernel:
    """totals[block] = factor Σ partials[block, :] of `count` numbers."""
    combined, room = make_combined(summed, side), room_for(side)
    threads = side * side

    def totals(partials, count, factor, found):
        sums = cuda.shared.array(room, F64)
        start = cuda.blockIdx.x * count
        total = F64(0)
        for i in range(cuda.threadIdx.x, count, threads):
            total += partials[start + i]
        total = combined(sums, cuda.threadIdx.x, total)
        if cuda.threadIdx.x == 0:
            found[cuda.blockIdx.x] = factor * total

    arguments = (pointer(F64), I64, F64, pointer(F64))
    return Kernel("totals in float64", totals, arguments, threads)


def totals_of(partials: Any, factor: float, stream: Any = None) -> Any:
    """Return factor Σ partials along the last axis: (1,) for (count,), (n,) for (n, count)."""
    rows, count = partials.shape if partials.ndim == 2 else (1, len(partials))
    found = empty((rows,), "float64", stream)
    make_totals(SIDE).launch(stream, rows, partials, count, factor, found)
    return found


def penalties_of(
    arrays: Sequence[Any], l1: float, l2: float, stream: Any = None, by: float = 1.0
) -> Any:
    """Return l1 Σ |x| + l2 Σ (by · x)² over contiguous arrays together, (1,) of float64."""
    counts = [blocks_for(x.size, SIDE) for x in arrays]
    partials = empty((sum(counts),), "float64", stream)
    first = 0
    for x, count in zip(arrays, counts, strict=True):
        kernel = make_penalty_sums(x.dtype.name, l1 > 0, l2 > 0 or l1 == 0, SIDE)
        kernel.launch(stream, count, x, x.size, l1, l2, by, partials, first)
        first += count
    return totals_of(partials, 1.0, stream)


# ---------------------------------------------------------------- of columns


@kernel_maker
def make_column_sums(name: str, columns: int, lanes: int) -> Kernel:
    """sums[g, :] = the sum of x's (M, N) rows g·rows .. (g + 1)·rows; g is the block's y."""
    real = BY_NAME[name].real
    threads = columns * lanes

    def column_sums(x, sums, M, N, rows):
        parts = cuda.shared.array(threads, real)
        thread = cuda.threadIdx.x
        lane, column = thread // columns, thread % columns
        j = cuda.blockIdx.x * I64(columns) + column
        begin = cuda.blockIdx.y * rows
        total = real(0)
        if j < N:
            for r in range(begin + lane, min(begin + rows, M), lanes):
                total += x[r * N + j]
        parts[thread] = total
        cuda.syncthreads()
        if lane == 0 and j < N:
            for k in range(1, lanes):
                total += parts[k * columns + column]
            sums[cuda.blockIdx.y * N + j] = total

    kind = BY_NAME[name].pointer
    return Kernel(f"sums of columns, {name}", column_sums, (kind, kind, I64, I64, I64), threads)


def column_sum(out: Any, x: Any, stream: Any = None) -> None:
    """out (N,) = Σ over the rows of x (M, N), in two stages.

    Parameters
    ----------
    out, x : DeviceArray of float32 or float64, C-contiguous
    """
    M, N = x.shape
    rows = max(8 * LANES, -(-M // MOST_GROUPS))
    groups = -(-M // rows)
    kernel = make_column_sums(x.dtype.name, COLUMNS, LANES)
    tiles = -(-N // COLUMNS)
    first = out if groups == 1 else empty((groups, N), x.dtype, stream)
    kernel.launch(stream, (tiles, groups), x, first, M, N, rows)
    if groups > 1:
        kernel.launch(stream, (tiles, 1), first, out, groups, N, groups)


def every() -> Iterator[Kernel]:
    """Yield the kernels of this file."""
    yield make_totals(SIDE)
    for name in FLOATS:
        for absolute, squared in ((True, False), (False, True), (True, True)):
            yield make_penalty_sums(name, absolute, squared, SIDE)
        yield make_loss_sums(name, SIDE)
        yield make_column_sums(name, COLUMNS, LANES)

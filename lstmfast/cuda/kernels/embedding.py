"""Rows of a table by id, and the gradient to the table: the same bits at every run.

Atomic additions of floats would come in another order each time. Instead the positions are sorted
by id, stably: the keys id·2³² + position are all different, so that any sort gives one result (a
bitonic one is short and needs no second array). Then the rows of an id lie side by side, and are
added in the order of their positions.

An id may have very many positions (words do). So its rows are added in pieces that end at multiples
of `chunk`; what begins a chunk without beginning an id goes into `heads`, to be joined at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt, nan
from typing import Any

from numba import cuda, types

from ..runtime.array import empty
from ..runtime.compiler import pointer
from ..runtime.kernel import Kernel, kernel_maker
from .numbers import BY_NAME, device_function

__all__ = ["gather", "scatter"]

COLUMNS, LANES = 32, 8  # of a block: a warp for each of LANES rows
THREADS = 256
TILE, SORTERS = 4096, 512  # keys that a block sorts in shared memory, and its threads
CHUNK = 32  # the least
IDS = ("int32", "int64")
I64 = types.int64


# ---------------------------------------------------------------- forward


@kernel_maker
def make_gather(name: str, ids_name: str, columns: int, lanes: int) -> Kernel:
    """y (M, E) = the rows of table (V, E) by id; NaN for an id that is not in 0..V-1."""
    real = BY_NAME[name].real
    unknown = nan

    def gather(ids, table, y, M, E, V):
        row = cuda.blockIdx.x * I64(lanes) + cuda.threadIdx.x // columns
        if row < M:
            token = I64(ids[row])
            known = token >= 0 and token < V
            for e in range(cuda.threadIdx.x % columns, E, columns):
                y[row * E + e] = table[token * E + e] if known else real(unknown)

    kind = BY_NAME[name].pointer
    arguments = (BY_NAME[ids_name].pointer, kind, kind, I64, I64, I64)
    return Kernel(f"rows by {ids_name}, {name}", gather, arguments, columns * lanes)


# ---------------------------------------------------------------- sorting


@kernel_maker
def make_keys(ids_name: str) -> Kernel:
    """keys (P,) = id·2³² + position; V, behind all others, stands for an id not in 0..V-1."""

    def fill(ids, keys, M, P, V):
        p = cuda.grid(1)
        if p < P:
            token = V
            if p < M:
                given = I64(ids[p])
                if given >= 0 and given < V:
                    token = given
            keys[p] = (token << I64(32)) + p

    arguments = (BY_NAME[ids_name].pointer, pointer(I64), I64, I64, I64)
    return Kernel(f"keys of {ids_name}", fill, arguments, THREADS)


@device_function
def exchange(keys, pair, step, ascends):
    """Put two keys that are `step` apart in order; the pairs of one step share none."""
    i = 2 * pair - (pair & (step - 1))
    low, high = keys[i], keys[i + step]
    if (low > high) == ascends:
        keys[i], keys[i + step] = high, low


@kernel_maker
def make_sort_tiles(tile: int, threads: int) -> Kernel:
    """Rounds `first` to `last` of a bitonic sort (Batcher 1968), each tile on its own.

    Round `size` sorts runs of this length, up and down in turn. Of a round larger than a tile, this
    does the steps that stay within one.
    """

    def sort_tiles(keys, first, last):
        room = cuda.shared.array(tile, I64)
        base = cuda.blockIdx.x * I64(tile)
        for i in range(cuda.threadIdx.x, tile, threads):
            room[i] = keys[base + i]
        size = first
        while size <= last:
            step = min(size, tile) >> 1
            while step:
                cuda.syncthreads()
                for pair in range(cuda.threadIdx.x, tile >> 1, threads):
                    exchange(room, pair, step, (base + 2 * pair) & size == 0)
                step >>= 1
            size <<= 1
        cuda.syncthreads()
        for i in range(cuda.threadIdx.x, tile, threads):
            keys[base + i] = room[i]

    return Kernel("sort tiles", sort_tiles, (pointer(I64), I64, I64), threads)


@kernel_maker
def make_sort_step() -> Kernel:
    """One step of round `size`, between keys of different tiles."""

    def sort_step(keys, pairs, size, step):
        pair = cuda.grid(1)
        if pair < pairs:
            exchange(keys, pair, step, (2 * pair) & size == 0)

    return Kernel("sort step", sort_step, (pointer(I64), I64, I64, I64), THREADS)


def sort(keys: Any, stream: Any = None) -> None:
    """Sort keys (P,) in place; P is a power of two, TILE at least."""
    P = keys.shape[0]
    tiles, between = make_sort_tiles(TILE, SORTERS), make_sort_step()
    tiles.launch(stream, P // TILE, keys, 2, TILE)
    size = 2 * TILE
    while size <= P:
        step = size // 2
        while step >= TILE:
            between.launch(stream, -(-P // 2 // between.threads), keys, P // 2, size, step)
            step //= 2
        tiles.launch(stream, P // TILE, keys, size, size)
        size *= 2


# ---------------------------------------------------------------- backward


@device_function
def token_at(keys, p):
    return keys[p] >> I64(32)


@device_function
def first_beyond(keys, token, stride, low, high):
    """The first i of low..high whose keys[i·stride] has a larger id; high if none has."""
    while low < high:
        middle = (low + high) >> 1
        if token_at(keys, middle * stride) > token:
            high = middle
        else:
            low = middle + 1
    return low


@kernel_maker
def make_pieces(name: str, columns: int, lanes: int) -> Kernel:
    """Add up each piece: into the gradient (V, E) where it begins an id, else into heads (·, E).

    A warp for each of the M keys in order; only those at the begin of a piece have something to do.
    """
    real, low_half = BY_NAME[name].real, (1 << 32) - 1

    @device_function
    def value_of(keys, dy, q, E, e):
        return dy[(keys[q] & low_half) * E + e]

    def pieces(keys, dy, gradient, heads, M, E, V, chunk):
        p = cuda.blockIdx.x * I64(lanes) + cuda.threadIdx.x // columns
        e = cuda.blockIdx.y * I64(columns) + cuda.threadIdx.x % columns
        if p < M and e < E:
            token = token_at(keys, p)
            begins = p == 0 or token_at(keys, p - 1) != token
            if token < V and (begins or p % chunk == 0):
                end = first_beyond(keys, token, I64(1), p + 1, min((p // chunk + 1) * chunk, M))
                total = real(0)
                while p + 4 <= end:  # four loads under way at a time; added in order
                    a, b = value_of(keys, dy, p, E, e), value_of(keys, dy, p + 1, E, e)
                    c, d = value_of(keys, dy, p + 2, E, e), value_of(keys, dy, p + 3, E, e)
                    total = total + a + b + c + d
                    p += 4
                while p < end:
                    total += value_of(keys, dy, p, E, e)
                    p += 1
                if begins:
                    gradient[token * E + e] = total
                else:
                    heads[(end - 1) // chunk * E + e] = total

    kind = BY_NAME[name].pointer
    arguments = (pointer(I64), kind, kind, kind, *[I64] * 4)
    return Kernel(f"pieces of an embedding's gradient, {name}", pieces, arguments, columns * lanes)


@kernel_maker
def make_joins(name: str, columns: int, lanes: int) -> Kernel:
    """Add the heads to the gradient.

    A warp for each chunk: it cares for the id that begins in it and goes on behind it, if any does.
    """

    def joins(keys, heads, gradient, M, E, V, chunk):
        k = cuda.blockIdx.x * I64(lanes) + cuda.threadIdx.x // columns
        e = cuda.blockIdx.y * I64(columns) + cuda.threadIdx.x % columns
        border = (k + 1) * chunk
        if border < M and e < E:
            token = token_at(keys, border - 1)
            begins = k == 0 or token_at(keys, k * chunk - 1) != token
            if token < V and begins and token_at(keys, border) == token:
                end = first_beyond(keys, token, chunk, k + 1, (M - 1) // chunk + 1)
                total = gradient[token * E + e]
                for h in range(k + 1, end):
                    total += heads[h * E + e]
                gradient[token * E + e] = total

    kind = BY_NAME[name].pointer
    arguments = (pointer(I64), kind, kind, *[I64] * 4)
    return Kernel(f"joins of an embedding's gradient, {name}", joins, arguments, columns * lanes)


# ---------------------------------------------------------------- launches


def gather(y: Any, ids: Any, table: Any, stream: Any = None) -> None:
    """y (M, E) = table (V, E) by ids (M,), DeviceArrays that fit; see `make_gather`."""
    (M, E), V = y.shape, table.shape[0]
    kernel = make_gather(table.dtype.name, ids.dtype.name, COLUMNS, LANES)
    kernel.launch(stream, -(-M // LANES), ids, table, y, M, E, V)


def scatter(gradient: Any, ids: Any, dy: Any, stream: Any = None) -> None:
    """gradient (V, E), which is zero, += the rows of dy (M, E) by ids (M,); V < 2³¹."""
    (M, E), V = dy.shape, gradient.shape[0]
    P = max(TILE, 1 << (M - 1).bit_length())
    keys = empty((P,), "int64", stream)
    fill = make_keys(ids.dtype.name)
    fill.launch(stream, -(-P // fill.threads), ids, keys, M, P, V)
    sort(keys, stream)

    chunk = max(CHUNK, isqrt(M) // 2)
    chunks, tiles = -(-M // chunk), -(-E // COLUMNS)
    heads = empty((chunks, E), dy.dtype, stream)
    kernel = make_pieces(dy.dtype.name, COLUMNS, LANES)
    kernel.launch(stream, (-(-M // LANES), tiles), keys, dy, gradient, heads, M, E, V, chunk)
    if chunks > 1:
        kernel = make_joins(dy.dtype.name, COLUMNS, LANES)
        kernel.launch(stream, (-(-chunks // LANES), tiles), keys, heads, gradient, M, E, V, chunk)


def every() -> Iterator[Kernel]:
    """Yield the kernels of this file."""
    yield make_sort_tiles(TILE, SORTERS)
    yield make_sort_step()
    for ids_name in IDS:
        yield make_keys(ids_name)
    for name in ("float32", "float64"):
        for ids_name in IDS:
            yield make_gather(name, ids_name, COLUMNS, LANES)
        yield make_pieces(name, COLUMNS, LANES)
        yield make_joins(name, COLUMNS, LANES)

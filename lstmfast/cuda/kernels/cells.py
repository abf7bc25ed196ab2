"""One step forward of all cells, and what becomes of their outputs; the formulas are `cell`'s.

One thread for each unit of each row. Arrays of one step: z (B, 4H), c (B, H), h and r (B, P).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from numba import cuda, types

from ...kernels.cell import make_cell, zoned
from ..runtime.compiler import pointer
from ..runtime.kernel import Kernel, kernel_maker
from . import formulas  # noqa: F401  (the formulas' overloads for the GPU)
from .cell_kind import CellKind, examples
from .numbers import REALS, device_function
from .philox import make_drawn

__all__ = ["THREADS", "make_cells", "make_cells_copy", "make_settle_kernel"]

THREADS = 128
I32, I64, U64 = types.int32, types.int64, types.uint64


@lru_cache(None)
def make_kept(kind: CellKind) -> Any:
    """kept(seed, j, b, n, stream): the parts of h and of c that zoneout lets stay in step n."""
    real, part_h, part_c = kind.real, kind.zoneout_h, kind.zoneout_c
    drawn = make_drawn(real, part_h, part_c)

    @device_function
    def drawn_parts(seed, j, b, n, stream):
        return drawn(seed, j, b, n, stream)

    @device_function
    def fixed_parts(seed, j, b, n, stream):
        return real(part_h), real(part_c)

    return drawn_parts if kind.drawing and kind.zoneout else fixed_parts


@lru_cache(None)
def make_settle(kind: CellKind) -> Any:
    """settle(b, j, P, value, kept, n, h, r, mask, y, y_b): the output of a unit in step n.

    h (B, P) goes from the state before to that after, r is what W_hh will be multiplied with.
    n < 0: the row takes no step here (`order`).
    """
    counted, repeat, masked, outputs = kind.counted, kind.repeat, kind.masked, kind.outputs
    zoneout, real = kind.zoneout_h > 0, kind.real
    store_y, store_r = (number.store for number in kind.numbers)

    @device_function
    def settle(b, j, P, value, kept, n, h, r, mask, y, y_b):
        at = b * P + j
        shown = value
        if zoneout:
            shown = value = zoned(kept, h[at], value)
        if counted and n < 0:
            value = h[at]
            shown = value if repeat and n < -1 else real(0)
        h[at] = value
        store_r(r, at, value * mask[at] if masked else value)
        if outputs:
            store_y(y, b * y_b + j, shown)

    return settle


@lru_cache(None)
def make_next_state(kind: CellKind) -> Any:
    """next_state(...): o and c of a unit, after its state and its activations are stored.

    c is that of the formula, from which the output comes; what goes on in memory has gone through
    zoneout, and then `raw` keeps c for the way back.
    """
    forward = make_cell(kind.formula is not None).forward
    formula, bias, peepholes, keep = kind.formula or 0, kind.bias, kind.peepholes, kind.keep
    zoneout, counted, real = kind.zoneout_c > 0, kind.counted, kind.real

    @device_function
    def pre_activation(z, biases, b, gate, j, H):
        value = z[(b * 4 + gate) * H + j]
        return value + biases[gate * H + j] if bias else value

    @device_function
    def next_state(b, j, H, n, kept, z, biases, p, c_before, c_after, raw):
        none, at = real(0), b * H + j
        before = c_before[at]
        p_i, p_f, p_o = none, none, none
        if peepholes:
            p_i, p_f, p_o = p[j], p[H + j], p[2 * H + j]
        i, f, g, o, c = forward(
            formula, pre_activation(z, biases, b, 0, j, H), pre_activation(z, biases, b, 1, j, H),
            pre_activation(z, biases, b, 2, j, H), pre_activation(z, biases, b, 3, j, H),
            before, p_i, p_f, p_o,
        )  # fmt: skip
        state = c
        if zoneout:
            raw[at] = c
            state = zoned(kept, before, c)
        c_after[at] = before if counted and n < 0 else state
        if keep:
            z[b * 4 * H + j] = i
            z[(b * 4 + 1) * H + j] = f
            z[(b * 4 + 2) * H + j] = g
            z[(b * 4 + 3) * H + j] = o
        return o, c

    return next_state


@kernel_maker
def make_cells(kind: CellKind) -> Kernel:
    """Step n: z + bias become i, f, g, o; c goes on; h is settled, or put where it is projected."""
    output = make_cell(kind.formula is not None).output
    formula, projected, counted = kind.formula or 0, kind.projected, kind.counted
    next_state, settle, kept = make_next_state(kind), make_settle(kind), make_kept(kind)
    array, operand = kind.numbers
    store_out = operand.store

    def cells(z, biases, p, c_before, c_after, raw, out, h, r, mask, y, counts,
              B, H, y_b, step, seed, stream):  # fmt: skip
        at = cuda.grid(1)
        if at < B * H:
            b, j = at // H, at % H
            n = types.int64(counts[b]) if counted else step
            kept_h, kept_c = kept(seed, j, b, n, stream)
            o, c = next_state(b, j, H, n, kept_c, z, biases, p, c_before, c_after, raw)
            value = output(formula, o, c)
            if projected:
                store_out(out, at, value)
            else:
                settle(b, j, H, value, kept_h, n, h, r, mask, y, y_b)

    reals = pointer(kind.real)
    arguments = (*[reals] * 6, operand.pointer, reals, operand.pointer, reals, array.pointer,
                 pointer(I32), I64, I64, I64, I64, U64, U64)  # fmt: skip
    return Kernel(f"cells forward, {kind.text}", cells, arguments, THREADS)


@kernel_maker
def make_settle_kernel(kind: CellKind) -> Kernel:
    """Step n behind a projection: its products (B, P) are settled."""
    settle, kept, counted = make_settle(kind), make_kept(kind), kind.counted
    array, operand = kind.numbers

    def settle_all(product, h, r, mask, y, counts, B, P, y_b, step, seed, stream):
        at = cuda.grid(1)
        if at < B * P:
            b, j = at // P, at % P
            n = types.int64(counts[b]) if counted else step
            kept_h, _ = kept(seed, j, b, n, stream)
            settle(b, j, P, product[at], kept_h, n, h, r, mask, y, y_b)

    reals = pointer(kind.real)
    arguments = (reals, reals, operand.pointer, reals, array.pointer, pointer(I32),
                 I64, I64, I64, I64, U64, U64)  # fmt: skip
    return Kernel(f"outputs forward, {kind.text}", settle_all, arguments, THREADS)


@kernel_maker
def make_cells_copy(kind: CellKind) -> Kernel:
    """cells (B, H) of one step for the caller: c, or 0 in rows that take no step."""
    counted, store, real = kind.counted, REALS[kind.array].store, kind.real

    def cells_copy(c, cells, counts, B, H, cells_b):
        at = cuda.grid(1)
        if at < B * H:
            b, j = at // H, at % H
            store(cells, b * cells_b + j, real(0) if counted and counts[b] < 0 else c[at])

    arguments = (pointer(kind.real), REALS[kind.array].pointer, pointer(I32), I64, I64, I64)
    return Kernel(f"cells of a step, {kind.text}", cells_copy, arguments, THREADS)


def every() -> Iterator[Kernel]:
    """Yield this file's kernels for the kinds of `cell_kind.examples`."""
    for kind in examples():
        yield make_cells(kind)
        yield make_cells_copy(kind)
        if kind.projected:
            yield make_settle_kernel(kind)

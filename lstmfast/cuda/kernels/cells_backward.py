"""One step back: from the gradient to h and c of a step to that of its pre-activations.

One thread for each unit of each row; arrays of one step as in `cells`. The gradient that arrives
at h comes on two ways: dh, the product of the later step's dz with W_hh (0 above the last step),
and `carry`, by which all else goes: the state's own gradient, zoneout's share, steps not taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from numba import cuda, types

from ...kernels.cell import is_cut, make_cell, peephole_products, unzoned
from ..runtime.compiler import pointer
from ..runtime.kernel import Kernel, kernel_maker
from . import formulas  # noqa: F401  (the formulas' overloads for the GPU)
from .cell_kind import CellKind, examples
from .cells import THREADS, make_kept
from .numbers import REALS, device_function

__all__ = ["make_cells_backward", "make_first_state", "make_peephole_terms", "make_unsettle_kernel"]

I32, I64, U64 = types.int32, types.int64, types.uint64


@lru_cache(None)
def make_steps_of(kind: CellKind) -> Any:
    """steps_of(b, ...): the step n that row b takes here and the one above; -1: none."""
    counted = kind.counted

    @device_function
    def steps_of(b, counts, counts_above, step, step_above):
        n, later = step, step_above
        if counted:
            n = types.int64(counts[b])
            if step_above >= 0:
                later = types.int64(counts_above[b])
        return n, later

    return steps_of


@lru_cache(None)
def make_unsettle(kind: CellKind, upstream: bool) -> Any:
    """unsettle(...): the gradient to the output of a unit in step n; the rest goes into carry.

    later is n of the step above, or -1 where there is none or it is not taken.
    """
    counted, repeat, masked, carries = kind.counted, kind.repeat, kind.masked, kind.carries
    zoneout, real, truncate = kind.zoneout_h > 0, kind.real, kind.truncate
    load = REALS[kind.array].load

    @device_function
    def unsettle(b, j, P, n, later, kept, dy, dy_b, dh, carry, mask):
        at = b * P + j
        arriving = dh[at] * mask[at] if masked else dh[at]
        if is_cut(truncate, later):
            arriving = real(0)
        shown = real(load(dy, b * dy_b + j)) if upstream else real(0)
        if not carries:
            return arriving + shown
        arriving += carry[at]
        if counted and n < 0:
            carry[at] = arriving + shown if repeat and n < -1 else arriving
            return real(0)
        arriving, stays = arriving + shown, real(0)
        if zoneout:
            stays, arriving = unzoned(kept, arriving)
        carry[at] = real(0) if is_cut(truncate, n) else stays
        return arriving

    return unsettle


@lru_cache(None)
def make_through_cell(kind: CellKind, cells: bool) -> Any:
    """through_cell(...): dz from the gradients to the output and to c; dc goes a step back."""
    formula, peepholes, real = kind.formula or 0, kind.peepholes, kind.real
    cell = make_cell(kind.formula is not None)
    output_backward, backward = cell.output_backward, cell.backward
    zoneout, truncate = kind.zoneout_c > 0, kind.truncate
    load = REALS[kind.array].load

    @device_function
    def gradients(at, j, H, z_at, dh, z, p, c_before, c, dc_after):
        none = real(0)
        p_i, p_f, p_o = none, none, none
        if peepholes:
            p_i, p_f, p_o = p[j], p[H + j], p[2 * H + j]
        i, f, g, o = z[z_at], z[z_at + H], z[z_at + 2 * H], z[z_at + 3 * H]
        dz_o, dc_now = output_backward(formula, o, c[at], dh)
        dz_i, dz_f, dz_g, dc = backward(
            formula, i, f, g, c_before[at], c[at], dz_o, dc_after + dc_now, p_i, p_f, p_o
        )
        return dz_i, dz_f, dz_g, dz_o, dc

    @device_function
    def through_cell(b, j, H, n, kept, dh, z, p, c_before, c, dc, dcells, dcells_b):
        at = b * H + j
        arriving, stays = dc[at], real(0)
        if cells:
            arriving += real(load(dcells, b * dcells_b + j))
        if zoneout:
            stays, arriving = unzoned(kept, arriving)
        dz_i, dz_f, dz_g, dz_o, before = gradients(
            at, j, H, b * 4 * H + j, dh, z, p, c_before, c, arriving
        )
        dc[at] = real(0) if is_cut(truncate, n) else before + stays
        return dz_i, dz_f, dz_g, dz_o

    return through_cell


@lru_cache(None)
def make_store_dz(kind: CellKind) -> Any:
    """store_dz(at, H, ...): the four gradients of a unit, and what W_hh is multiplied with."""
    rounded = kind.operand in ("float16", "bfloat16")
    store = REALS[kind.operand].store

    @device_function
    def store_one(at, value, dz, dz_operand):
        dz[at] = value
        if rounded:
            store(dz_operand, at, value)

    @device_function
    def store_dz(at, H, dz_i, dz_f, dz_g, dz_o, dz, dz_operand):
        store_one(at, dz_i, dz, dz_operand)
        store_one(at + H, dz_f, dz, dz_operand)
        store_one(at + 2 * H, dz_g, dz, dz_operand)
        store_one(at + 3 * H, dz_o, dz, dz_operand)

    return store_dz


@kernel_maker
def make_cells_backward(kind: CellKind, upstream: bool, cells: bool) -> Kernel:
    """Step n backwards: z, the activations, become dz; dc and carry go on to the step before.

    Behind a projection dh is already the gradient to what the cells gave. `upstream`, `cells`:
    there are gradients to the outputs, to the cells.
    """
    real, counted, projected = kind.real, kind.counted, kind.projected
    steps_of, unsettle, kept = make_steps_of(kind), make_unsettle(kind, upstream), make_kept(kind)
    through_cell, store_dz = make_through_cell(kind, cells), make_store_dz(kind)
    array, operand = kind.numbers

    def cells_backward(z, dz_operand, p, c_before, c, dy, dh, carry, mask, dc, dcells, counts,
                       counts_above, B, H, dy_b, dcells_b, step, step_above, seed,
                       stream):  # fmt: skip
        at = cuda.grid(1)
        if at < B * H:
            b, j = at // H, at % H
            n, later = steps_of(b, counts, counts_above, step, step_above)
            kept_h, kept_c = kept(seed, j, b, n, stream)
            gradient = dh[at]
            if not projected:
                gradient = unsettle(b, j, H, n, later, kept_h, dy, dy_b, dh, carry, mask)
            if counted and n < 0:
                none = real(0)
                store_dz(b * 4 * H + j, H, none, none, none, none, z, dz_operand)
            else:
                dz_i, dz_f, dz_g, dz_o = through_cell(
                    b, j, H, n, kept_c, gradient, z, p, c_before, c, dc, dcells, dcells_b
                )
                store_dz(b * 4 * H + j, H, dz_i, dz_f, dz_g, dz_o, z, dz_operand)

    reals = pointer(kind.real)
    arguments = (reals, operand.pointer, *[reals] * 3, array.pointer, *[reals] * 4, array.pointer,
                 pointer(I32), pointer(I32), *[I64] * 6, U64, U64)  # fmt: skip
    name = f"cells backward, {kind.text}{above_text(upstream, cells)}"
    return Kernel(name, cells_backward, arguments, THREADS)


@kernel_maker
def make_unsettle_kernel(kind: CellKind, upstream: bool) -> Kernel:
    """Step n backwards: dproduct (B, P), the gradient to what a projection gave, as an operand."""
    steps_of, unsettle, kept = make_steps_of(kind), make_unsettle(kind, upstream), make_kept(kind)
    array, operand = kind.numbers
    store = operand.store

    def unsettle_all(dproduct, dy, dh, carry, mask, counts, counts_above, B, P, dy_b, step,
                     step_above, seed, stream):  # fmt: skip
        at = cuda.grid(1)
        if at < B * P:
            b, j = at // P, at % P
            n, later = steps_of(b, counts, counts_above, step, step_above)
            kept_h, _ = kept(seed, j, b, n, stream)
            store(dproduct, at, unsettle(b, j, P, n, later, kept_h, dy, dy_b, dh, carry, mask))

    reals = pointer(kind.real)
    arguments = (operand.pointer, array.pointer, *[reals] * 3, pointer(I32), pointer(I32),
                 *[I64] * 5, U64, U64)  # fmt: skip
    name = f"outputs backward, {kind.text}{above_text(upstream, False)}"
    return Kernel(name, unsettle_all, arguments, THREADS)


@kernel_maker
def make_first_state(kind: CellKind) -> Kernel:
    """dh0 (B, P) from what arrives below the first step: dh becomes it."""
    masked, carries = kind.masked, kind.carries

    def first_state(dh, carry, mask, count):
        at = cuda.grid(1)
        if at < count:
            arriving = dh[at] * mask[at] if masked else dh[at]
            dh[at] = arriving + carry[at] if carries else arriving

    reals = pointer(kind.real)
    return Kernel(f"gradient to h0, {kind.text}", first_state, (reals, reals, reals, I64), THREADS)


@kernel_maker
def make_peephole_terms(real: Any) -> Kernel:
    """terms (rows, 3H): the `peephole_products` of each row; sums of them are dp."""

    def peephole_terms(dz, c_before, c, terms, rows, H):
        at = cuda.grid(1)
        if at < rows * H:
            row, j = at // H, at % H
            first, dz_at = row * 3 * H + j, row * 4 * H + j
            i, f, o = peephole_products(
                dz[dz_at], dz[dz_at + H], dz[dz_at + 3 * H], c_before[at], c[at]
            )
            terms[first] = i[0] * i[1]
            terms[first + H] = f[0] * f[1]
            terms[first + 2 * H] = o[0] * o[1]

    reals = pointer(real)
    return Kernel(f"peephole terms, {real}", peephole_terms, (*[reals] * 4, I64, I64), THREADS)


def above_text(upstream: bool, cells: bool) -> str:
    return (", dy" if upstream else "") + (", dcells" if cells else "")


def every() -> Iterator[Kernel]:
    """Yield this file's kernels for the kinds of `cell_kind.examples` that are trained."""
    for kind in examples():
        if not kind.keep:
            continue
        yield make_cells_backward(kind, True, False)
        yield make_cells_backward(kind, False, True)
        yield make_first_state(kind)
        if kind.projected:
            yield make_unsettle_kernel(kind, True)
    yield make_peephole_terms(types.float32)
    yield make_peephole_terms(types.float64)

"""The cells of a thread: which they are, and how their numbers come and go.

A cell is a unit of a row. Of the block's units a thread has one, `own`, and with it the rows `row`,
`row + sweep`, ... of the batch group, of which `present` rows are there. What it knows of its cells
it keeps in registers: arrays of `share.cells` numbers, or of four for each cell, i, f, g, o.

In memory a state is (..., B, H) and gates are (..., B, 4H); `first` (int64) counts the rows before
the group's first one, and `unit` is the thread's unit in the layer.
"""

from __future__ import annotations

from typing import Any

from numba import cuda
from numba.types import int64

from .. import ptx
from ..numbers import BY_NAME
from . import fragments
from .share import Share, inlined

__all__ = ["make_gate_sums", "make_gates", "make_operand_write", "make_place", "make_states",
           "make_unit_sum"]  # fmt: skip


def make_place(share: Share) -> Any:
    """place(B) = (group, first_unit, own, row, first_row, present) of a thread."""
    units, blocks, rows = share.units, share.group, share.rows

    @inlined
    def place(B):
        group, first_unit = cuda.blockIdx.x // blocks, cuda.blockIdx.x % blocks * units
        own, row = cuda.threadIdx.x % units, cuda.threadIdx.x // units
        first_row = group * rows
        return group, first_unit, own, row, int64(first_row), min(rows, B - first_row)

    return place


def make_gates(share: Share) -> tuple[Any, Any]:
    """read(z, first, row, unit, present, now) and write: four numbers of each cell."""
    H, cells, sweep = share.H, share.cells, share.sweep

    @inlined
    def read(z, first, row, unit, present, now):
        for i in range(cells):
            if row + i * sweep < present:
                at = (first + row + i * sweep) * (4 * H) + unit
                for gate in range(4):
                    now[4 * i + gate] = z[at + gate * H]

    @inlined
    def write(z, first, row, unit, present, now):
        for i in range(cells):
            if row + i * sweep < present:
                at = (first + row + i * sweep) * (4 * H) + unit
                for gate in range(4):
                    z[at + gate * H] = now[4 * i + gate]

    return read, write


def make_states(share: Share) -> tuple[Any, Any]:
    """read(p, first, row, unit, present, now) and write: one number of each cell."""
    H, cells, sweep = share.H, share.cells, share.sweep

    @inlined
    def read(p, first, row, unit, present, now):
        for i in range(cells):
            if row + i * sweep < present:
                now[i] = p[(first + row + i * sweep) * H + unit]

    @inlined
    def write(p, first, row, unit, present, now):
        for i in range(cells):
            if row + i * sweep < present:
                p[(first + row + i * sweep) * H + unit] = now[i]

    return read, write


def make_operand_write(share: Share) -> Any:
    """write(p, shared, first, row, column, present, now, each, at): what is multiplied next.

    now[at + each · i] of every cell i goes to its row and `column` of p, in the stored kind; a
    block alone leaves it in shared memory, too, as it is multiplied.
    """
    columns, row_elements = share.depth * share.elements, share.row_words * share.elements
    cells, sweep, alone = share.cells, share.sweep, share.group == 1
    store, rounded = BY_NAME[share.stored].store, fragments.make_rounded(share.precision)

    @inlined
    def write(p, shared, first, row, column, present, now, each, at):
        for i in range(cells):
            r = row + i * sweep
            if r < present:
                value = now[at + each * i]
                store(p, (first + r) * columns + column, value)
                if alone:
                    store(shared, r * row_elements + column, rounded(value))

    return write


def make_gate_sums(share: Share) -> Any:
    """Add up the parts of a cell's four sums, i, f, g, o, of a forward block."""
    parts, outputs, row_sums = share.parts, share.outputs, share.row_sums

    @inlined
    def gate_sums(sums, row, own):
        at = int64(row * row_sums + 4 * own)
        s_i, s_f, s_g, s_o = ptx.shared_words(sums, at)
        for part in range(1, parts):
            q = ptx.shared_words(sums, at + part * outputs)
            s_i, s_f, s_g, s_o = s_i + q[0], s_f + q[1], s_g + q[2], s_o + q[3]
        return s_i, s_f, s_g, s_o

    return gate_sums


def make_unit_sum(share: Share) -> Any:
    """Add up the parts of a cell's sum of a backward block."""
    parts, outputs, row_sums = share.parts, share.outputs, share.row_sums

    @inlined
    def unit_sum(sums, row, own):
        at = row * row_sums + own
        total = sums[at]
        for part in range(1, parts):
            total += sums[at + part * outputs]
        return total

    return unit_sum

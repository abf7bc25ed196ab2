"""A whole sequence of the plain cell in one launch: backward.

    dh = dy + W_hhᵀ dz_next;    dz, dc_prev from i, f, g, o, c_prev, c, dh and dc (cell.py)

Every block keeps the columns of W_hh of its units in registers, and dh and dc of its cells. The
order in a step (times as in persistent_forward.py):

    1  start reading i, f, g, o, c_prev and dy of the step: they arrive while the block waits
    2  wait for dz of the step after, of all blocks of the group              about 0.5 µs
    3  copy it from L2 to shared memory: four times as much as forward        0.6 to 1 µs
    4  multiply, sums to shared memory                                        0.2 to 0.4 µs
    5  the cells: dz and dc; dz as operand to L2, and tell the group          0.5 µs
    6  write dz as float32 where that is another, while the others read

After the last step 2 to 4 come once more, for the gradient to the initial h.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba import cuda, types
from numba.types import float32, int64, uint32

from ..compiler import pointer
from ..kernel import Kernel
from . import dots, fragments
from .approximate import cell_of
from .exchange import make_exchange, publish
from .numbers import BY_NAME
from .share import Share, inlined, wanted, weight_pointer

__all__ = ["make_backward"]


@lru_cache(None)
def make_backward(share: Share) -> Kernel:
    """The kernel of a share; blocks = batch groups · share.group, all at once on the GPU.

    Arguments of the kernel
    -----------------------
    z : (T, B, 4H) float32: i, f, g, o; becomes dz
    dz : (T, B, 4H), of the stored kind, 16-byte aligned: a rounded copy of dz; z if it is float32
    W_hh : (4H, H), of the stored kind, 16-byte aligned
    c : (T + 1, B, H) float32: slot t before step t, t + 1 after it (`reverse`: the other way round)
    dy : (T, B, H) float32
    dh, dc : (B, H) float32: gradients to the last state, become those to the initial one
    flags : uint32, FLAG_STRIDE of each batch group, zeros
    T, B, reverse : int32
    """
    rows, units, H, blocks = share.rows, share.units, share.H, share.group
    sums_at, row_elements = share.rows * share.row_words, share.row_words * share.elements
    weight_count, weight_kind = share.weights, uint32 if share.tensor else float32
    cells, gates = share.cells, 4 * share.cells
    sweep = share.threads // units  # rows that the threads take at once
    number, apart = BY_NAME[share.stored], share.stored != "float32"
    element = number.pointer.dtype
    load_weights, multiply = (fragments if share.tensor else dots).make_product(share)
    wait, stage = make_exchange(share, fragments.make_word(share.precision))
    rounded, unit_sum = fragments.make_rounded(share.precision), make_unit_sum(share)
    output_backward, cell_backward = cell_of(share).output_backward, cell_of(share).backward

    @inlined
    def read_kept(z, c, dy, first, before, row, unit, present, now, c_prev, dy_now):
        for i in range(cells):
            r = row + i * sweep
            if r < present:
                at = (first + r) * (4 * H) + unit
                for gate in range(4):
                    now[4 * i + gate] = z[at + gate * H]
                c_prev[i] = c[(before + r) * H + unit]
                dy_now[i] = dy[(first + r) * H + unit]

    @inlined
    def cell_step(now, at, c_prev, c, dh, dc):
        """dc_prev of one cell, whose i, f, g, o in now[at ..] become dz."""
        i, f, g, o = now[at], now[at + 1], now[at + 2], now[at + 3]
        zero = float32(0)
        dz_o, dc_out = output_backward(0, o, c, dh)
        dz_i, dz_f, dz_g, dc_prev = cell_backward(
            0, i, f, g, c_prev, c, dz_o, dc + dc_out, zero, zero, zero
        )
        now[at], now[at + 1], now[at + 2], now[at + 3] = dz_i, dz_f, dz_g, dz_o
        return dc_prev

    @inlined
    def write_operand(dz, shared_dz, first, r, unit, now, at):
        for gate in range(4):
            d = now[at + gate]
            number.store(dz, (first + r) * (4 * H) + gate * H + unit, d)
            if blocks == 1:
                number.store(shared_dz, r * row_elements + gate * H + unit, rounded(d))

    @inlined
    def write_dz(z, first, row, unit, present, now):
        for i in range(cells):
            r = row + i * sweep
            if r < present:
                for gate in range(4):
                    z[(first + r) * (4 * H) + gate * H + unit] = now[4 * i + gate]

    @inlined
    def read_state(p, first, row, unit, present, state):
        for i in range(cells):
            if row + i * sweep < present:
                state[i] = p[(first + row + i * sweep) * H + unit]

    @inlined
    def write_state(p, first, row, unit, present, state):
        for i in range(cells):
            if row + i * sweep < present:
                p[(first + row + i * sweep) * H + unit] = state[i]

    def backward(z, dz, W_hh, c, dy, dh, dc, flags, T, B, reverse):
        operand = cuda.shared.array(0, uint32)
        shared_dz = cuda.shared.array(0, element)
        sums = cuda.shared.array(0, float32)[sums_at:]
        weights = cuda.local.array(weight_count, weight_kind)
        now = cuda.local.array(gates, float32)  # i, f, g, o, then dz of the thread's cells
        c_now = cuda.local.array(cells, float32)
        c_prev = cuda.local.array(cells, float32)
        dy_now = cuda.local.array(cells, float32)
        dh_now = cuda.local.array(cells, float32)
        dc_now = cuda.local.array(cells, float32)
        group, first_unit = cuda.blockIdx.x // blocks, cuda.blockIdx.x % blocks * units
        row, own = cuda.threadIdx.x // units, cuda.threadIdx.x % units
        unit, first_row = first_unit + own, int64(group * rows)
        present = min(rows, B - group * rows)
        load_weights(W_hh, first_unit, weights)
        read_state(dh, first_row, row, unit, present, dh_now)
        read_state(dc, first_row, row, unit, present, dc_now)
        last = int64(0 if reverse else T)
        read_state(c, last * B + first_row, row, unit, present, c_now)
        for step in range(T + 1):
            t = step if reverse else T - 1 - step
            first = int64(t) * B + first_row
            before = int64(t + reverse) * B + first_row
            if step < T:
                read_kept(z, c, dy, first, before, row, unit, present, now, c_prev, dy_now)
            if step > 0:
                if blocks > 1:
                    wait(flags, group, step)
                    stage(dz, int64(t + 1 - 2 * reverse) * B + first_row, present, operand)
                cuda.syncthreads()
                multiply(weights, operand, sums)
                cuda.syncthreads()
                for i in range(cells):
                    if row + i * sweep < present:
                        dh_now[i] = unit_sum(sums, row + i * sweep, own)
            if step < T:
                for i in range(cells):
                    r = row + i * sweep
                    if r < present:
                        dh_now[i] += dy_now[i]
                        dc_now[i] = cell_step(now, 4 * i, c_prev[i], c_now[i], dh_now[i], dc_now[i])
                        c_now[i] = c_prev[i]
                        write_operand(dz, shared_dz, first, r, unit, now, 4 * i)
                if blocks > 1:
                    publish(flags, group)
                if apart:
                    write_dz(z, first, row, unit, present, now)
        write_state(dh, first_row, row, unit, present, dh_now)
        write_state(dc, first_row, row, unit, present, dc_now)

    arguments = (
        pointer(float32), number.pointer, weight_pointer(share), *[pointer(float32)] * 4,
        pointer(uint32), *[types.int32] * 3,
    )  # fmt: skip
    name = f"persistent backward {share.precision} H={H}, {rows} rows"
    return Kernel(name, backward, arguments, share.threads, cooperative=True, wants=wanted(share))


def make_unit_sum(share: Share) -> Any:
    """Add up the parts of one unit's sum."""
    parts, outputs, row_sums = share.parts, share.outputs, share.row_sums

    @inlined
    def unit_sum(sums, row, own):
        at = row * row_sums + own
        total = sums[at]
        for part in range(1, parts):
            total += sums[at + part * outputs]
        return total

    return unit_sum

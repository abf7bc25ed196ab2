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

from typing import Any

from numba import cuda, types
from numba.types import float32, int64, uint32

from ...runtime.compiler import pointer
from ...runtime.kernel import Kernel, kernel_maker
from ..numbers import BY_NAME
from . import dots, fragments
from .approximate import cell_of
from .exchange import make_exchange, publish
from .share import Share, inlined, wanted, weight_pointer
from .thread_cells import make_gates, make_operand_write, make_place, make_states, make_unit_sum

__all__ = ["make_backward"]


@kernel_maker
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
    H, blocks, cells, gates = share.H, share.group, share.cells, 4 * share.cells
    weight_count, weight_kind = share.weights, uint32 if share.tensor else float32
    sums_at, element = share.rows * share.row_words, BY_NAME[share.stored].pointer.dtype
    load_weights, multiply = (fragments if share.tensor else dots).make_product(share)
    wait, stage = make_exchange(share, fragments.make_word(share.precision))
    place, step_cells, read_sums = make_place(share), make_step(share), make_sums_read(share)
    (read_gates, write_gates), (read_state, write_state) = make_gates(share), make_states(share)
    write_operand, apart = make_operand_write(share), share.stored != "float32"

    def backward(z, dz, W_hh, c, dy, dh, dc, flags, T, B, reverse):
        operand = cuda.shared.array(0, uint32)  # one memory: as words, as numbers, and the sums
        shared_dz = cuda.shared.array(0, element)
        sums = cuda.shared.array(0, float32)[sums_at:]
        weights = cuda.local.array(weight_count, weight_kind)
        now = cuda.local.array(gates, float32)  # i, f, g, o, then dz
        c_now = cuda.local.array(cells, float32)
        c_prev = cuda.local.array(cells, float32)
        dy_now = cuda.local.array(cells, float32)
        dh_now = cuda.local.array(cells, float32)
        dc_now = cuda.local.array(cells, float32)
        group, first_unit, own, row, first_row, present = place(B)
        unit = first_unit + own
        load_weights(W_hh, first_unit, weights)
        read_state(dh, first_row, row, unit, present, dh_now)
        read_state(dc, first_row, row, unit, present, dc_now)
        last = int64(0 if reverse else T)
        read_state(c, last * B + first_row, row, unit, present, c_now)
        for step in range(T + 1):
            t = step if reverse else T - 1 - step
            here = int64(t) * B + first_row
            if step < T:
                read_gates(z, here, row, unit, present, now)
                read_state(c, int64(t + reverse) * B + first_row, row, unit, present, c_prev)
                read_state(dy, here, row, unit, present, dy_now)
            if step > 0:
                if blocks > 1:
                    wait(flags, group, step)
                    stage(dz, int64(t + 1 - 2 * reverse) * B + first_row, present, operand)
                cuda.syncthreads()
                multiply(weights, operand, sums)
                cuda.syncthreads()
                read_sums(sums, row, own, present, dh_now)
            if step < T:
                step_cells(row, present, now, c_now, c_prev, dy_now, dh_now, dc_now)
                for gate in range(4):
                    column = gate * H + unit
                    write_operand(dz, shared_dz, here, row, column, present, now, 4, gate)
                if blocks > 1:
                    publish(flags, group)
                if apart:
                    write_gates(z, here, row, unit, present, now)
        write_state(dh, first_row, row, unit, present, dh_now)
        write_state(dc, first_row, row, unit, present, dc_now)

    arguments = (
        pointer(float32), BY_NAME[share.stored].pointer, weight_pointer(share),
        *[pointer(float32)] * 4, pointer(uint32), *[types.int32] * 3,
    )  # fmt: skip
    name = f"persistent backward {share.precision} H={H}, {share.rows} rows"
    return Kernel(name, backward, arguments, share.threads, cooperative=True, wants=wanted(share))


def make_step(share: Share) -> Any:
    """The cells of a thread, one step: i, f, g, o in `now` become dz, dc_now that of c_prev."""
    cells, sweep = share.cells, share.sweep
    output_backward, cell_backward = cell_of(share).output_backward, cell_of(share).backward

    @inlined
    def step_cell(now, at, c_prev, c, dh, dc):
        """dc_prev of one cell."""
        i, f, g, o = now[at], now[at + 1], now[at + 2], now[at + 3]
        zero = float32(0)
        dz_o, dc_out = output_backward(0, o, c, dh)
        dz_i, dz_f, dz_g, dc_prev = cell_backward(
            0, i, f, g, c_prev, c, dz_o, dc + dc_out, zero, zero, zero
        )
        now[at], now[at + 1], now[at + 2], now[at + 3] = dz_i, dz_f, dz_g, dz_o
        return dc_prev

    @inlined
    def step_cells(row, present, now, c_now, c_prev, dy_now, dh_now, dc_now):
        for i in range(cells):
            if row + i * sweep < present:
                dh = dh_now[i] + dy_now[i]
                dc_now[i] = step_cell(now, 4 * i, c_prev[i], c_now[i], dh, dc_now[i])
                c_now[i] = c_prev[i]

    return step_cells


def make_sums_read(share: Share) -> Any:
    """read(sums, row, own, present, dh_now): W_hhᵀ dz of each of the thread's cells."""
    cells, sweep, unit_sum = share.cells, share.sweep, make_unit_sum(share)

    @inlined
    def read(sums, row, own, present, dh_now):
        for i in range(cells):
            if row + i * sweep < present:
                dh_now[i] = unit_sum(sums, row + i * sweep, own)

    return read

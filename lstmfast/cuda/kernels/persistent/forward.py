"""A whole sequence of the plain cell in one launch: forward.

    z = W_ih x + W_hh h_prev + b;    i, f, g, o = σ(z_i), σ(z_f), tanh(z_g), σ(z_o)
    c = f c_prev + i g;    h = o tanh(c)

Every block keeps W_hh of its units in registers, and c of its cells. The order in a step:

    1  start reading z of the step: it arrives while the block waits
    2  wait for h of the step before, of all blocks of the group              about 0.5 µs
    3  copy it from L2 to shared memory                                       0.4 µs
    4  multiply, sums to shared memory                                        0.2 to 0.4 µs
    5  the cells: c and h; h to L2, and tell the group                        0.5 µs
    6  write i, f, g, o (in place of z), c and y, while the others read h

which needs four `syncthreads`. The times are what one expects of an H100 at H <= 512, of which
2, 3 and the telling are the exchange. Where one block has all units, it leaves h in shared memory:
2, 3 and the telling fall away.
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
from .thread_cells import make_gate_sums, make_gates, make_operand_write, make_place, make_states

__all__ = ["make_forward"]


@kernel_maker
def make_forward(share: Share, keep: bool, y_kind: str | None) -> Kernel:
    """The kernel of a share; blocks = batch groups · share.group, all at once on the GPU.

    Arguments of the kernel
    -----------------------
    z : (T, B, 4H) float32: W_ih x; becomes i, f, g, o if `keep`
    bias : (4H,) float32
    W_hh : (4H, H), of the stored kind, 16-byte aligned
    h : (T + 1, B, H), of the stored kind, 16-byte aligned: slot t before step t, t + 1 after it
        (`reverse`: the other way round); the first is read, all others are written
    c : (T + 1, B, H) float32, likewise
    y : of y_kind: h of step t and row b at t · y_t + b · y_b; not touched if y_kind is None
    flags : uint32, FLAG_STRIDE of each batch group, zeros
    T, B, reverse : int32
    y_t, y_b : int64, in elements
    """
    H, blocks, cells, gates = share.H, share.group, share.cells, 4 * share.cells
    weight_count, weight_kind = share.weights, uint32 if share.tensor else float32
    sums_at, element = share.rows * share.row_words, BY_NAME[share.stored].pointer.dtype
    load_weights, multiply = (fragments if share.tensor else dots).make_product(share)
    wait, stage = make_exchange(share, fragments.make_word(share.precision))
    place, step_cells, write_y = make_place(share), make_step(share), make_y_write(share, y_kind)
    (read_gates, write_gates), (read_state, write_state) = make_gates(share), make_states(share)
    write_operand = make_operand_write(share)

    def forward(z, bias, W_hh, h, c, y, flags, T, B, reverse, y_t, y_b):
        operand = cuda.shared.array(0, uint32)  # one memory: as words, as numbers, and the sums
        shared_h = cuda.shared.array(0, element)
        sums = cuda.shared.array(0, float32)[sums_at:]
        weights = cuda.local.array(weight_count, weight_kind)
        bias_now = cuda.local.array(4, float32)
        now = cuda.local.array(gates, float32)  # z, then i, f, g, o
        c_now = cuda.local.array(cells, float32)
        h_now = cuda.local.array(cells, float32)
        group, first_unit, own, row, first_row, present = place(B)
        unit = first_unit + own
        load_weights(W_hh, first_unit, weights)
        for gate in range(4):
            bias_now[gate] = bias[gate * H + unit]
        read_state(c, int64(reverse * T) * B + first_row, row, unit, present, c_now)
        for step in range(T):
            t = T - 1 - step if reverse else step
            here = int64(t) * B + first_row
            before = int64(t + reverse) * B + first_row
            after = int64(t + 1 - reverse) * B + first_row
            read_gates(z, here, row, unit, present, now)
            if step == 0:
                stage(h, before, present, operand)
            elif blocks > 1:
                wait(flags, group, step)
                stage(h, before, present, operand)
            cuda.syncthreads()
            multiply(weights, operand, sums)
            cuda.syncthreads()
            step_cells(sums, row, own, present, bias_now, now, c_now, h_now)
            write_operand(h, shared_h, after, row, unit, present, h_now, 1, 0)
            if blocks > 1:
                publish(flags, group)
            if keep:
                write_gates(z, here, row, unit, present, now)
            write_state(c, after, row, unit, present, c_now)
            write_y(y, t * y_t + first_row * y_b + unit, y_b, row, present, h_now)

    arguments = (
        pointer(float32), pointer(float32), weight_pointer(share), BY_NAME[share.stored].pointer,
        pointer(float32), BY_NAME[y_kind or "float32"].pointer, pointer(uint32),
        *[types.int32] * 3, *[int64] * 2,
    )  # fmt: skip
    name = f"persistent forward {share.precision} H={H}, {share.rows} rows"
    return Kernel(name, forward, arguments, share.threads, cooperative=True, wants=wanted(share))


def make_step(share: Share) -> Any:
    """The cells of a thread, one step: z in `now` become i, f, g, o, and c_now, h_now the next."""
    cells, sweep, gate_sums = share.cells, share.sweep, make_gate_sums(share)
    cell_forward, cell_output = cell_of(share).forward, cell_of(share).output

    @inlined
    def step_cell(s, bias, now, at, c_prev):
        """(c, h) of one cell, s the sums of its gates."""
        zero = float32(0)
        i, f, g, o, c = cell_forward(
            0, now[at] + (s[0] + bias[0]), now[at + 1] + (s[1] + bias[1]),
            now[at + 2] + (s[2] + bias[2]), now[at + 3] + (s[3] + bias[3]),
            c_prev, zero, zero, zero,
        )  # fmt: skip
        now[at], now[at + 1], now[at + 2], now[at + 3] = i, f, g, o
        return c, cell_output(0, o, c)

    @inlined
    def step_cells(sums, row, own, present, bias, now, c_now, h_now):
        for i in range(cells):
            if row + i * sweep < present:
                s = gate_sums(sums, row + i * sweep, own)
                c_now[i], h_now[i] = step_cell(s, bias, now, 4 * i, c_now[i])

    return step_cells


def make_y_write(share: Share, y_kind: str | None) -> Any:
    """write(y, at, y_b, row, present, h_now): the outputs of a step; nothing without a y."""
    cells, sweep, store = share.cells, share.sweep, BY_NAME[y_kind or "float32"].store

    @inlined
    def write(y, at, y_b, row, present, h_now):
        for i in range(cells):
            if row + i * sweep < present:
                store(y, at + (row + i * sweep) * y_b, h_now[i])

    @inlined
    def nothing(y, at, y_b, row, present, h_now):
        pass

    return write if y_kind else nothing

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

from functools import lru_cache
from typing import Any

from numba import cuda, types
from numba.types import float32, int64, uint32

from ..compiler import pointer
from ..kernel import Kernel
from . import dots, fragments, ptx
from .approximate import cell_of
from .exchange import make_exchange, publish
from .numbers import BY_NAME
from .share import Share, inlined, wanted, weight_pointer

__all__ = ["make_forward"]


@lru_cache(None)
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
    rows, units, H, blocks, elements = share.rows, share.units, share.H, share.group, share.elements
    sums_at, row_elements = share.rows * share.row_words, share.row_words * share.elements
    weight_count, weight_kind = share.weights, uint32 if share.tensor else float32
    cells, gates = share.cells, 4 * share.cells
    sweep = share.threads // share.units  # rows that the threads take at once
    number, y_store = BY_NAME[share.stored], BY_NAME[y_kind or "float32"].store
    element = number.pointer.dtype
    load_weights, multiply = (fragments if share.tensor else dots).make_product(share)
    wait, stage = make_exchange(share, fragments.make_word(share.precision))
    rounded, gate_sums = fragments.make_rounded(share.precision), make_gate_sums(share)
    cell_forward, cell_output = cell_of(share).forward, cell_of(share).output

    @inlined
    def read_z(z, first, row, unit, present, now):
        for i in range(cells):
            if row + i * sweep < present:
                at = (first + row + i * sweep) * (4 * H) + unit
                for gate in range(4):
                    now[4 * i + gate] = z[at + gate * H]

    @inlined
    def cell_step(sums, row, own, bias_now, now, at, c_prev):
        """(c, h) of one cell, whose z in now[at ..] become i, f, g, o."""
        s = gate_sums(sums, row, own)
        zero = float32(0)
        i, f, g, o, c = cell_forward(
            0, now[at] + (s[0] + bias_now[0]), now[at + 1] + (s[1] + bias_now[1]),
            now[at + 2] + (s[2] + bias_now[2]), now[at + 3] + (s[3] + bias_now[3]),
            c_prev, zero, zero, zero,
        )  # fmt: skip
        now[at], now[at + 1], now[at + 2], now[at + 3] = i, f, g, o
        return c, cell_output(0, o, c)

    @inlined
    def write_kept(z, first, row, unit, present, now):
        for i in range(cells):
            if row + i * sweep < present:
                at = (first + row + i * sweep) * (4 * H) + unit
                for gate in range(4):
                    z[at + gate * H] = now[4 * i + gate]

    def forward(z, bias, W_hh, h, c, y, flags, T, B, reverse, y_t, y_b):
        operand = cuda.shared.array(0, uint32)
        shared_h = cuda.shared.array(0, element)
        sums = cuda.shared.array(0, float32)[sums_at:]
        weights = cuda.local.array(weight_count, weight_kind)
        bias_now = cuda.local.array(4, float32)
        now = cuda.local.array(gates, float32)  # z, then i, f, g, o of the thread's cells
        c_now = cuda.local.array(cells, float32)
        h_now = cuda.local.array(cells, float32)
        group, first_unit = cuda.blockIdx.x // blocks, cuda.blockIdx.x % blocks * units
        row, own = cuda.threadIdx.x // units, cuda.threadIdx.x % units
        unit, first_row = first_unit + own, group * rows
        present = min(rows, B - first_row)
        load_weights(W_hh, first_unit, weights)
        for gate in range(4):
            bias_now[gate] = bias[gate * H + unit]
        for i in range(cells):
            if row + i * sweep < present:
                c_now[i] = c[(int64(reverse * T) * B + first_row + row + i * sweep) * H + unit]
        for step in range(T):
            t = T - 1 - step if reverse else step
            before = int64(t + reverse) * B + first_row
            after = int64(t + 1 - reverse) * B + first_row
            read_z(z, int64(t) * B + first_row, row, unit, present, now)
            if step == 0:
                stage(h, before, present, operand)
            elif blocks > 1:
                wait(flags, group, step)
                stage(h, before, present, operand)
            cuda.syncthreads()
            multiply(weights, operand, sums)
            cuda.syncthreads()
            for i in range(cells):
                r = row + i * sweep
                if r < present:
                    c_now[i], h_now[i] = cell_step(sums, r, own, bias_now, now, 4 * i, c_now[i])
                    number.store(h, (after + r) * H + unit, h_now[i])
                    if blocks == 1:
                        number.store(shared_h, r * row_elements + unit, rounded(h_now[i]))
            if blocks > 1:
                publish(flags, group)
            if keep:
                write_kept(z, int64(t) * B + first_row, row, unit, present, now)
            for i in range(cells):
                r = row + i * sweep
                if r < present:
                    c[(after + r) * H + unit] = c_now[i]
                    if y_kind is not None:
                        y_store(y, t * y_t + (first_row + r) * y_b + unit, h_now[i])

    arguments = (
        pointer(float32), pointer(float32), weight_pointer(share), number.pointer, pointer(float32),
        BY_NAME[y_kind or "float32"].pointer, pointer(uint32), *[types.int32] * 3, *[int64] * 2,
    )  # fmt: skip
    name = f"persistent forward {share.precision} H={H}, {rows} rows"
    return Kernel(name, forward, arguments, share.threads, cooperative=True, wants=wanted(share))


def make_gate_sums(share: Share) -> Any:
    """Add up the parts of one cell's four sums, i, f, g, o."""
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

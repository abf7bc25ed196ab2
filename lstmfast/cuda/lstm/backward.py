"""The way back of a part: a kernel and a product a step, then products for the weights."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from ..kernels.cells_backward import (
    make_cells_backward,
    make_first_state,
    make_peephole_terms,
    make_unsettle_kernel,
)
from ..kernels.copying import copy_into
from ..kernels.reductions import column_sum
from ..runtime import graphs
from ..runtime.array import DeviceArray, clear, zeros
from . import paths, persistent
from .part import Pass, at, blocks, row_of

__all__ = ["Gradients", "Upstream", "run_backward"]


class Upstream(NamedTuple):
    """What reaches a part from above; None: zeros.

    dy (T, B, P) and dcells (T, B, H) are strided but for their last axis; dh_n (B, P), dc_n (B, H).
    """

    dy: DeviceArray | None = None
    dcells: DeviceArray | None = None
    dh_n: DeviceArray | None = None
    dc_n: DeviceArray | None = None


class Gradients(NamedTuple):
    """Of one part, of the kind that sums have."""

    dh0: DeviceArray
    dc0: DeviceArray
    dW_ih: DeviceArray | None = None
    dW_hh: DeviceArray | None = None
    db: DeviceArray | None = None
    dp: DeviceArray | None = None
    dW_hr: DeviceArray | None = None


class Way:
    """The buffers of one way back.

    dz        (T, B, 4H)  dz as W_hh is multiplied with it; z itself where that is the same
    dh, carry (B, P)      the two ways on which a gradient reaches h (`kernels.cells_backward`)
    dc        (B, H)      the gradient to the cell
    dproduct  (T, B, P), dout (B, H): behind and before the projection
    """

    def __init__(self, p: Pass, above: Upstream):
        self.above, kind = above, p.part.kind
        real, operand = str(kind.real), kind.numbers[1].dtype
        self.dz = p.z if operand == p.z.dtype else p.new(p.z.shape, operand)
        self.dh, self.dc = p.new((p.B, p.part.P), real), p.new((p.B, p.part.H), real)
        self.carry = p.new(self.dh.shape, real) if kind.carries else None
        self.dproduct = p.new(p.r[1:].shape, operand) if kind.projected else None
        self.dout = p.new(self.dc.shape, real) if kind.projected else None
        if self.carry is not None:
            clear(self.dh, p.stream)
        _put(self.dh if self.carry is None else self.carry, above.dh_n, p.stream)
        _put(self.dc, above.dc_n, p.stream)

    def arrays(self) -> tuple[DeviceArray | None, ...]:
        own = self.dz, self.dh, self.carry, self.dc, self.dproduct, self.dout
        return (*own, self.above.dy, self.above.dcells)


def run_backward(
    p: Pass, above: Upstream, dx: DeviceArray | None, add: bool, need_weights: bool = True
) -> Gradients:
    """Take the gradients of a pass back through time; p.z becomes dz.

    dx (T·B, I), unless it is None, becomes dz W_ih, or with `add` is increased by it. Those of the
    weights are None unless they are needed.
    """
    way = Way(p, above)
    plan = None if above.dcells is not None else paths.chosen(p, "backward")
    if plan is None:
        key = ("backward", p.key(*way.arrays()))
        graphs.replay(key, partial(_steps, p, way), p.stream)
    else:
        _at_once(plan, p, way)
    if p.has_past and plan is None:
        kernel = make_first_state(p.part.kind)
        kernel.launch(p.stream, blocks(kernel, way.dh.size), way.dh, way.carry, p.mask, way.dh.size)
    if dx is not None:
        p.product(dx, way.dz.reshape(p.T * p.B, -1), p.part.weights.W_ih, add=add)
    return _gradients(p, way) if need_weights else Gradients(way.dh, way.dc)


# ---------------------------------------------------------------- the steps


def _at_once(plan: persistent.Plan, p: Pass, way: Way) -> None:
    """All steps in one launch; it leaves dh0 and dc0 in dh and dc."""
    above, shape = way.above, (p.T, p.B, p.part.H)
    dy = zeros(shape, p.z.dtype, p.stream) if above.dy is None else above.dy
    if dy.dtype != p.z.dtype or not dy.is_contiguous:
        dy = p.new(shape, p.z.dtype)
        copy_into(dy, above.dy, p.stream)
    persistent.backward(plan, p.stream, p.T, p.B, p.z, way.dz, p.W_hh, p.c, dy, way.dh, way.dc,
                        reverse=p.part.reverse)  # fmt: skip


def _steps(p: Pass, way: Way, stream: Any) -> None:
    last = p.T - 1
    for n, t in reversed(list(enumerate(p.times()))):
        above = -1 if n == last else n + 1
        if p.part.kind.projected:
            _unsettle(p, way, n, t, above, stream)
            p.product(way.dout, at(way.dproduct, t), p.part.weights.W_hr, stream)
        _step_cells(p, way, n, t, above, stream)
        if n > 0 or p.has_past:
            p.product(way.dh, way.dz[t], p.W_hh, stream)


def _counts_above(p: Pass, t: int, above: int) -> DeviceArray | None:
    """The counts of the step that was taken back before step t."""
    return None if above < 0 else p.counts_at(t - 1 if p.part.reverse else t + 1)


def _step_cells(p: Pass, way: Way, n: int, t: int, above: int, stream: Any) -> None:
    part, (before, after) = p.part, p.slots(t)
    dy, dcells = at(way.above.dy, t), at(way.above.dcells, t)
    kernel = make_cells_backward(part.kind, dy is not None, dcells is not None)
    c, dh = p.c[after] if p.raw is None else p.raw[t], way.dh if way.dout is None else way.dout
    kernel.launch(
        stream, blocks(kernel, p.B * part.H), p.z[t], way.dz[t], part.weights.p, p.c[before], c,
        dy, dh, way.carry, p.mask, way.dc, dcells, p.counts_at(t), _counts_above(p, t, above),
        p.B, part.H, row_of(dy), row_of(dcells), n, above, *p.draws,
    )  # fmt: skip


def _unsettle(p: Pass, way: Way, n: int, t: int, above: int, stream: Any) -> None:
    dy = at(way.above.dy, t)
    kernel = make_unsettle_kernel(p.part.kind, dy is not None)
    kernel.launch(
        stream, blocks(kernel, p.B * p.part.P), at(way.dproduct, t), dy, way.dh, way.carry, p.mask,
        p.counts_at(t), _counts_above(p, t, above), p.B, p.part.P, row_of(dy), n, above, *p.draws,
    )  # fmt: skip


# ---------------------------------------------------------------- what follows from all dz


def _gradients(p: Pass, way: Way) -> Gradients:
    part, real, rows = p.part, str(p.part.kind.real), p.T * p.B
    dz = way.dz.reshape(rows, -1)
    before = p.r[1:] if part.reverse else p.r[: p.T]
    dW_ih, dW_hh = (p.new(w.shape, real) for w in (part.weights.W_ih, p.W_hh))
    p.product(dW_ih, dz, p.x, transpose_a=True)
    p.product(dW_hh, dz, before.reshape(rows, -1), transpose_a=True)
    if part.weight_drop:
        p.dropped(dW_hh, dW_hh, part.weight_drop, "WEIGHTS")
    db = p.new((4 * part.H,), real)
    column_sum(db, p.z.reshape(rows, -1), p.stream)
    return Gradients(way.dh, way.dc, dW_ih, dW_hh, db, _of_peepholes(p), _of_projection(p, way))


def _of_peepholes(p: Pass) -> DeviceArray | None:
    if p.part.weights.p is None:
        return None
    rows, H, real = p.T * p.B, p.part.H, p.part.kind.real
    terms = p.new((rows, 3 * H), str(real))
    before, after = (p.c[1:], p.c[: p.T]) if p.part.reverse else (p.c[: p.T], p.c[1:])
    kernel = make_peephole_terms(real)
    c = after if p.raw is None else p.raw
    kernel.launch(p.stream, blocks(kernel, rows * H), p.z, before, c, terms, rows, H)
    dp = p.new((3, H), str(real))
    column_sum(dp.reshape(3 * H), terms, p.stream)
    return dp


def _of_projection(p: Pass, way: Way) -> DeviceArray | None:
    if way.dproduct is None or p.out is None:
        return None
    dW_hr = p.new((p.part.P, p.part.H), p.z.dtype)
    rows = p.T * p.B
    p.product(dW_hr, way.dproduct.reshape(rows, -1), p.out.reshape(rows, -1), transpose_a=True)
    return dW_hr


def _put(room: DeviceArray, value: DeviceArray | None, stream: Any) -> None:
    if value is None:
        clear(room, stream)
    else:
        copy_into(room, value, stream)

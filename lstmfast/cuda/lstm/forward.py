"""The forward pass of a part: one product for all inputs, then a product and a kernel a step."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..kernels.cells import make_cells, make_cells_copy, make_settle_kernel
from ..kernels.copying import copy_into
from ..runtime import graphs
from ..runtime.array import DeviceArray, zeros
from . import paths, persistent
from .part import Pass, at, blocks, row_of

__all__ = ["run_forward"]


def run_forward(p: Pass, y: DeviceArray | None, cells: DeviceArray | None) -> None:
    """Run all steps; p.h and p.c's last slot are then the last state.

    Parameters
    ----------
    y : (T, B, P), cells : (T, B, H), strided but for their last axis, or None: not wanted
    """
    flat = p.z.reshape(p.T * p.B, -1)
    p.product(flat, p.x, p.part.weights.W_ih, transpose_b=True)
    plan = paths.chosen(p, "forward")
    if plan is None:
        graphs.replay(("forward", p.key(y)), partial(_steps, p, y), p.stream)
    else:
        _at_once(plan, p, y)
    if cells is not None:
        _copy_cells(p, cells)


def _at_once(plan: persistent.Plan, p: Pass, y: DeviceArray | None) -> None:
    """All steps in one launch."""
    part, keep, (_, last) = p.part, p.part.kind.keep, p.slots(p.times()[-1])
    b = zeros((4 * part.H,), p.z.dtype, p.stream) if part.weights.b is None else part.weights.b
    persistent.forward(plan, p.stream, p.T, p.B, p.z, b, p.W_hh, p.r, p.c, y,
                       reverse=part.reverse, keep=keep)  # fmt: skip
    copy_into(p.h, p.r[last], p.stream)


def _steps(p: Pass, y: DeviceArray | None, stream: Any) -> None:
    for n, t in enumerate(p.times()):
        before, _ = p.slots(t)
        if n > 0 or p.has_past:
            p.product(p.z[t], p.r[before], p.W_hh, stream, transpose_b=True, add=True)
        _step_cells(p, n, t, at(y, t), stream)
        if p.part.kind.projected:
            p.product(p.product_h, at(p.out, t), p.part.weights.W_hr, stream, transpose_b=True)
            _settle(p, n, t, at(y, t), stream)


def _step_cells(p: Pass, n: int, t: int, y: DeviceArray | None, stream: Any) -> None:
    part, (before, after) = p.part, p.slots(t)
    kernel = make_cells(part.kind)
    kernel.launch(
        stream, blocks(kernel, p.B * part.H), p.z[t], part.weights.b, part.weights.p, p.c[before],
        p.c[after], at(p.raw, t), at(p.out, t), p.h, p.r[after], p.mask, y, p.counts_at(t),
        p.B, part.H, row_of(y), n, *p.draws,
    )  # fmt: skip


def _settle(p: Pass, n: int, t: int, y: DeviceArray | None, stream: Any) -> None:
    kernel, (_, after) = make_settle_kernel(p.part.kind), p.slots(t)
    kernel.launch(
        stream, blocks(kernel, p.B * p.part.P), p.product_h, p.h, p.r[after], p.mask, y,
        p.counts_at(t), p.B, p.part.P, row_of(y), n, *p.draws,
    )  # fmt: skip


def _copy_cells(p: Pass, cells: DeviceArray) -> None:
    kernel = make_cells_copy(p.part.kind)
    for t in p.times():
        _, after = p.slots(t)
        kernel.launch(
            p.stream, blocks(kernel, p.B * p.part.H), p.c[after], cells[t], p.counts_at(t),
            p.B, p.part.H, row_of(cells[t]),
        )  # fmt: skip

"""Sums of squares, norms and penalties on arrays in the GPU's memory. Part of `ops` there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arguments import number
from ..kernels import elementwise, reductions
from ..kernels.numbers import name_of
from ..runtime import array
from ..runtime.array import DeviceArray
from .checks import dense, float_array, in_place

__all__ = ["add_penalty_gradient", "clip_by_norm", "penalty", "sum_of_squares"]


def sum_of_squares(a: DeviceArray, *, stream: Any = None) -> DeviceArray:
    """Σ a², (1,) of float64; the same bits at every run."""
    a = dense("a", a, float_array("a", a).shape, a.dtype, stream)
    return reductions.penalties_of([a], 0.0, 1.0, stream)


def penalty(w: DeviceArray, l1: float, l2: float, *, stream: Any = None) -> DeviceArray:
    """l1 Σ |w| + l2 Σ w², (1,) of float64; the same bits at every run.

    Raises
    ------
    ValueError
        An argument does not fit.
    """
    w = dense("w", w, float_array("w", w).shape, w.dtype, stream)
    l1, l2 = number("l1", l1, 0.0), number("l2", l2, 0.0)
    return reductions.penalties_of([w], l1, l2, stream)


def add_penalty_gradient(
    g: DeviceArray, w: DeviceArray, l1: float, l2: float, *, stream: Any = None
) -> None:
    """g += l1 sign(w) + 2 l2 w, the gradient of `penalty`; that of |w| at zero is zero.

    Raises
    ------
    ValueError
        An argument does not fit.
    """
    g = in_place("g", g)
    w = dense("w", w, g.shape, g.dtype, stream)
    l1, l2 = number("l1", l1, 0.0), number("l2", l2, 0.0)
    if l1 or l2:
        kernel = elementwise.make_penalty_gradient(name_of(g.dtype), l1 > 0, l2 > 0)
        kernel.launch(stream, elementwise.blocks_for(kernel, g.size), g, w, g.size, l1, 2.0 * l2)


def clip_by_norm(arrays: Sequence[DeviceArray], limit: float, *, stream: Any = None) -> None:
    """Scale all arrays in place so that the norm of them all is `limit` at most.

    Raises
    ------
    ValueError
        An array or the limit (> 0) does not fit; nothing has changed.
    """
    arrays = [in_place(f"arrays[{index}]", g) for index, g in enumerate(arrays)]
    limit = number("limit", limit, math.ulp(0.0))
    if not arrays:
        return
    squares = scaled = reductions.penalties_of(arrays, 0.0, 1.0, stream)
    if any(g.dtype == np.float64 for g in arrays):  # squares of float32 are finite in float64
        scaled = reductions.penalties_of(arrays, 0.0, 1.0, stream, elementwise.DOWN)
    for name in sorted({name_of(g.dtype) for g in arrays}):
        factor = array.empty((2,), name, stream)
        elementwise.make_shrink_factor(name).launch(stream, 1, squares, scaled, limit, factor)
        for g in arrays:
            if name_of(g.dtype) == name:
                kernel = elementwise.make_shrink(name)
                kernel.launch(stream, elementwise.blocks_for(kernel, g.size), g, g.size, factor)

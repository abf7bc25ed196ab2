"""Several arrays made one, number by number, and the way back; on NumPy arrays. Part of `ops`.

Arrays are given with as many axes each (`aligned`) and broadcast against each other; a mask is
None, or a bool array that broadcasts to its own array (`spread`). Gradients have the broadcast
shape: `summed_to` gives them that of an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod

import numpy as np

from ..arguments import Array
from .layouts import an_array, summed

__all__ = [
    "aligned", "dot", "dot_backward", "either_mask", "multiply", "multiply_backward", "normalized",
    "normalized_backward", "pick", "pick_backward", "spread", "summed_to",
]  # fmt: skip

Masks = Sequence[Array | None]
TINY = 1e-7  # below this length vectors are normalised as if they had it


def aligned(a: Array, ndim: int) -> Array:
    """Return a (B, ...) with axes of size 1 behind the batch, `ndim` in all: a view."""
    return a.reshape(*a.shape[:1], *(1,) * (ndim - a.ndim), *a.shape[1:])


def spread(mask: Array | None, ndim: int, of: int) -> Array | None:
    """Return the mask of an array of `ndim` axes so that it broadcasts to it `aligned` to `of`."""
    if mask is None:
        return None
    return aligned(mask.reshape(mask.shape + (1,) * (ndim - mask.ndim)), of)


def either_mask(masks: Masks) -> Array | None:
    """Where any of the arrays counts, None where one has no mask."""
    found = [mask for mask in masks if mask is not None]
    return reduce(np.logical_or, found) if len(found) == len(masks) else None


def summed_to(dy: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of an array of `shape`, of as many axes, told that of it broadcast."""
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and dy.shape[i] != 1)
    return summed(dy, axes).reshape(shape) if axes else dy


def multiply(arrays: Sequence[Array], masks: Masks) -> Array:
    """The product; what a mask leaves out is a 1, or where that is so of all, the result a 0."""
    y = reduce(np.multiply, _factors(arrays, masks))
    taken = either_mask(masks)
    return y if taken is None else np.where(taken, y, y.dtype.type(0))


def multiply_backward(dy: Array, arrays: Sequence[Array], masks: Masks) -> list[Array]:
    """The gradient of each of the arrays, told from that of their product."""
    factors = _factors(arrays, masks)
    found = []
    for i, mask in enumerate(masks):
        others = reduce(np.multiply, [one for j, one in enumerate(factors) if j != i], dy)
        found.append(others if mask is None else np.where(mask, others, dy.dtype.type(0)))
    return found


def _factors(arrays: Sequence[Array], masks: Masks) -> list[Array]:
    pairs = zip(arrays, masks, strict=True)
    return [a if m is None else np.where(m, a, a.dtype.type(1)) for a, m in pairs]


def pick(arrays: Sequence[Array], masks: Masks, largest: bool) -> tuple[Array, Array]:
    """The largest, or smallest, of what the masks take, and which of the arrays that is of.

    Of equal ones it is the first; NaN is taken before all numbers. Where no mask takes any, it is
    the first array's.
    """
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    y, which = np.broadcast_to(arrays[0], shape), np.zeros_like(arrays[0], np.int64, shape=shape)
    taken = masks[0]
    for i, (a, mask) in enumerate(zip(arrays[1:], masks[1:], strict=True), start=1):
        better = ((a > y) if largest else (a < y)) | (np.isnan(a) & ~np.isnan(y))
        if taken is not None:
            better |= ~taken
        if mask is not None:
            better &= mask
        y, which = np.where(better, a, y), np.where(better, i, which)
        taken = either_mask((taken, mask))
    return y, which


def pick_backward(dy: Array, which: Array, count: int) -> list[Array]:
    """The gradient of each of the arrays, told from that of what was picked of them."""
    return [np.where(which == i, dy, dy.dtype.type(0)) for i in range(count)]


def dot(a: Array, b: Array, axes: tuple[int, int]) -> Array:
    """Σ over one axis of each, row by row: the other axes of a, then those of b, behind the batch.

    (B, 1) where there are no others.
    """
    left, right = _matrix(a, axes[0]), _matrix(b, axes[1])
    y = np.matmul(left, np.swapaxes(right, 1, 2))
    others = (*_without(a.shape, axes[0])[1:], *_without(b.shape, axes[1])[1:])
    return y.reshape(len(a), *(others or (1,)))


def dot_backward(dy: Array, a: Array, b: Array, axes: tuple[int, int]) -> list[Array]:
    """The gradients of a and b, told from that of their `dot`."""
    left, right = _matrix(a, axes[0]), _matrix(b, axes[1])
    dy = dy.reshape(len(a), left.shape[1], right.shape[1])
    products = np.matmul(dy, right), np.matmul(np.swapaxes(dy, 1, 2), left)
    pairs = zip(products, (a, b), axes, strict=True)
    return [
        np.moveaxis(d.reshape(*_without(of.shape, axis), -1), -1, axis) for d, of, axis in pairs
    ]


def _matrix(a: Array, axis: int) -> Array:
    """(B, N, K) of an array whose `axis` has size K."""
    rows = prod(_without(a.shape, axis)[1:])
    return np.moveaxis(a, axis, -1).reshape(len(a), rows, a.shape[axis])


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def normalized(a: Array, axis: int) -> Array:
    """The array with vectors of length 1 along an axis; of length below 1e-7 they stay shorter."""
    lengths, _ = _lengths(a, axis)
    return an_array((a / lengths).astype(a.dtype))


def normalized_backward(dy: Array, a: Array, axis: int) -> Array:
    """The gradient of what `normalized` got, told from that of its output."""
    lengths, is_long = _lengths(a, axis)
    y = a / lengths
    along = np.where(is_long, np.sum(dy * y, axis=axis, keepdims=True), 0)
    return an_array(((dy - y * along) / lengths).astype(dy.dtype))


def _lengths(a: Array, axis: int) -> tuple[Array, Array]:
    squares = np.square(a, dtype=np.float64)
    found = np.sqrt(np.sum(squares, axis=axis, keepdims=True))
    return np.maximum(found, TINY), found > TINY

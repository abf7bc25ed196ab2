"""Arrays put together, turned round and made anew. Part of `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..arguments import Array, check_shape
from .placement import is_own

__all__ = [
    "add_to",
    "an_array",
    "flipped",
    "in_order",
    "owned",
    "side_by_side",
    "summed",
    "windows",
    "zeros_like",
]


def zeros_like(a: Array, shape: tuple[int, ...] | None = None) -> Array:
    """A new array of zeros of the dtype of a, of its shape or another one."""
    return np.zeros(a.shape if shape is None else shape, a.dtype)


def side_by_side(states: Array) -> Array:
    """(B, D · P) of states (D, B, P)."""
    return np.concatenate(list(states), axis=-1)


def add_to(a: Array, b: Array) -> None:
    """a += b, in place, for arrays of one shape and any strides."""
    check_shape("b", b.shape, a.shape)
    a += b


def flipped(a: Array, axis: int) -> Array:
    """a with one of its axes the other way round: a view, or on a GPU a copy."""
    return np.flip(a, axis)


def an_array(a: Any) -> Array:
    """The array, of either place, or one of a number of NumPy's."""
    return a if is_own(a) else np.asarray(a)  # type: ignore[no-any-return]


def in_order(a: Array) -> Array:
    """The array, of either place, C-contiguous: itself or a copy."""
    if is_own(a):
        return a if a.is_contiguous else a.copy()  # type: ignore[attr-defined]
    return np.ascontiguousarray(a)


def windows(
    a: Array, shape: tuple[int, ...], strides: tuple[int, ...], writeable: bool = False
) -> Array:
    """A view of the same memory with other sizes and strides, in bytes."""
    if is_own(a):
        return a.windows(shape, strides)  # type: ignore[attr-defined, no-any-return]
    return as_strided(a, shape, strides, writeable=writeable)


def owned(a: Array) -> Array:
    """As `in_order`, and it may be written."""
    return in_order(a) if is_own(a) else np.require(a, requirements=["C", "W"])


def summed(a: Array, axis: int | tuple[int, ...]) -> Array:
    """The sums along axes that fall away, added up in float64: a new array of the dtype of a."""
    with np.errstate(over="ignore"):
        return an_array(np.sum(a, axis=axis, dtype=np.float64).astype(a.dtype))

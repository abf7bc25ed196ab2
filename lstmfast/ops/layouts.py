"""Arrays put together, turned round and made anew. Part of `ops`."""

from __future__ import annotations

import numpy as np

from ..arguments import Array, check_shape

__all__ = ["add_to", "flipped", "side_by_side", "summed", "zeros_like"]


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


def summed(a: Array, axis: int | tuple[int, ...]) -> Array:
    """The sums along axes that fall away, added up in float64: a new array of the dtype of a."""
    with np.errstate(over="ignore"):
        return np.asarray(np.sum(a, axis=axis, dtype=np.float64).astype(a.dtype))

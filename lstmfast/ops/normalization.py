"""Means and variances along axes of NumPy arrays, and what divides by them. Part of `ops`.

    x̂ = (x - mean) / √(variance + epsilon)

Sums run in float64; their axes stay, with one element.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..arguments import Array, check_shape
from .checks import float_array, not_empty

__all__ = ["Moments", "moments", "normalize", "normalize_backward"]

MASK_EPSILON = 1e-7  # Keras's: added to the number of elements that a mask leaves

Axes = tuple[int, ...]


class Moments(NamedTuple):
    """The mean and the variance of an array along axes, and how they hang on its elements."""

    mean: Array  # float64
    variance: Array  # float64
    share: Any  # of each element in the mean: a number, or an array that fits x
    missing: Any  # what all shares together lack of one


def moments(x: Array, axes: Axes, mask: Array | None = None) -> Moments:
    """Return the moments of x along axes, over the elements that `mask` has True.

    Parameters
    ----------
    x : floats of any shape
    axes : those that are summed over
    mask : bool, its axes are those of x but the last one; None: all elements

    Raises
    ------
    ValueError
        x is no array of floats or is empty, or the mask does not fit.
    """
    not_empty("x", float_array("x", x))
    with np.errstate(over="ignore", invalid="ignore"):
        if mask is None:
            share, missing, counted = 1.0 / math.prod(x.shape[a] for a in axes), 0.0, x
        else:
            chosen = _elements(mask, x.shape)
            number = chosen.sum(axis=axes, keepdims=True, dtype=np.float64)
            number += MASK_EPSILON
            share, missing = chosen / number, MASK_EPSILON / number
            counted = np.where(chosen, x, x.dtype.type(0))
        mean = _weighted(counted, share, axes)
        squares = np.square(x - mean, dtype=np.float64)
        return Moments(mean, _weighted(squares, share, axes), share, missing)


def _weighted(a: Array, share: Any, axes: Axes) -> Array:
    if not isinstance(share, float):
        a, share = np.where(share > 0, a, 0.0) * share, 1.0
    return np.asarray(np.sum(a, axis=axes, keepdims=True, dtype=np.float64) * share)


def _elements(mask: Any, shape: tuple[int, ...]) -> Array:
    mask = np.asarray(mask)
    check_shape("mask", mask.shape, shape[:-1])
    if mask.dtype != np.bool_:
        raise ValueError(f"mask: expected an array of bool, got dtype {mask.dtype}")
    return np.broadcast_to(mask[..., None], shape)


def normalize(x: Array, mean: Array, variance: Array, epsilon: float) -> tuple[Array, Array]:
    """Return (x̂, 1 / √(variance + epsilon)), in the dtype of x; mean and variance fit x."""
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = (1.0 / np.sqrt(variance + epsilon)).astype(x.dtype)
        normalized = x - mean.astype(x.dtype)
        normalized *= inverse
    return normalized, inverse


def normalize_backward(
    dy: Array, normalized: Array, inverse: Array, found: Moments, axes: Axes
) -> Array:
    """Return the gradient of x for dy, that of x̂, where the moments are of x itself."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.sum(dy, axis=axes, keepdims=True, dtype=np.float64)
        along = np.sum(dy * normalized, axis=axes, keepdims=True, dtype=np.float64)
        total -= along * inverse * found.mean * found.missing
        back = normalized * along.astype(dy.dtype)
        back += total.astype(dy.dtype)
        back *= np.asarray(found.share, dy.dtype)
        np.subtract(dy, back, out=back)
        back *= inverse
    return back

"""Means and variances along axes of arrays, and what divides by them. Part of `ops`.

    x̂ = (x - mean) / √(variance + epsilon)

Sums run in float64; their axes stay, with one element.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..arguments import Array, check_shape
from .checks import floats_anywhere, new_like, not_empty
from .layouts import an_array

__all__ = ["Moments", "normalize", "normalize_backward", "standardize"]

MASK_EPSILON = 1e-7  # Keras's: added to the number of elements that a mask leaves

Axes = tuple[int, ...]


class Moments(NamedTuple):
    """The mean and the variance of an array along axes, and how they hang on its elements."""

    mean: Array  # float64
    variance: Array  # float64
    share: Any  # of each element in the mean: a number, or an array that fits x
    missing: Any  # what all shares together lack of one


def standardize(
    x: Array, axes: Axes, epsilon: float, mask: Array | None = None
) -> tuple[Array, Array, Moments]:
    """Return (x̂, 1 / √(variance + epsilon), moments) with the moments of x itself.

    Parameters
    ----------
    x : floats of any shape
    axes : those that are summed over
    epsilon : float
    mask : bool, its axes are those of x but the last one
        Whose elements count in the moments; None: all.

    Raises
    ------
    ValueError
        x is no array of floats or is empty, or the mask does not fit.
    """
    not_empty("x", floats_anywhere("x", x))
    share: Any = 1.0 / math.prod(x.shape[a] for a in axes)
    missing: Any = 0.0
    chosen = None
    with np.errstate(over="ignore", invalid="ignore"):
        if mask is not None:
            chosen = _elements(mask, x.shape)
            number = np.sum(chosen, axis=axes, keepdims=True, dtype=np.float64)
            number += MASK_EPSILON
            share, missing = chosen / number, MASK_EPSILON / number
        mean = _weighted(x, share, chosen, axes)
        centered = np.subtract(x, mean.astype(x.dtype), out=new_like(x))
        squares = np.square(centered, out=new_like(x))
        variance = _weighted(squares, share, chosen, axes)
        inverse = _inverse(variance, epsilon, x.dtype)
        centered *= inverse
    return centered, inverse, Moments(mean, variance, share, missing)


def _weighted(a: Array, share: Any, chosen: Array | None, axes: Axes) -> Array:
    """Σ share a over the chosen elements, in float64."""
    if chosen is None:
        return an_array(np.sum(a, axis=axes, keepdims=True, dtype=np.float64) * share)
    return an_array(np.sum(np.where(chosen, a, 0.0) * share, axis=axes, keepdims=True))


def _elements(mask: Any, shape: tuple[int, ...]) -> Array:
    mask = an_array(mask)
    check_shape("mask", mask.shape, shape[:-1])
    if mask.dtype != np.bool_:
        raise ValueError(f"mask: expected an array of bool, got dtype {mask.dtype}")
    return np.broadcast_to(mask[..., None], shape)


def _inverse(variance: Array, epsilon: float, dtype: Any) -> Array:
    exact = an_array(variance).astype(np.float64, copy=False)
    return an_array(1.0 / np.sqrt(exact + epsilon)).astype(dtype)


def normalize(x: Array, mean: Array, variance: Array, epsilon: float) -> tuple[Array, Array]:
    """Return (x̂, 1 / √(variance + epsilon)), in the dtype of x; mean and variance fit x."""
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = _inverse(variance, epsilon, x.dtype)
        found = np.subtract(x, mean.astype(x.dtype), out=new_like(x))
        found *= inverse
    return found, inverse


def normalize_backward(
    dy: Array, normalized: Array, inverse: Array, found: Moments, axes: Axes
) -> Array:
    """Return the gradient of x for dy, that of x̂, where the moments are of x itself."""
    with np.errstate(over="ignore", invalid="ignore"):
        back = np.multiply(dy, normalized, out=new_like(dy))
        along = np.sum(back, axis=axes, keepdims=True, dtype=np.float64)
        total = np.sum(dy, axis=axes, keepdims=True, dtype=np.float64)
        total -= along * inverse * found.mean * found.missing
        np.multiply(normalized, along.astype(dy.dtype), out=back)
        back += total.astype(dy.dtype)
        back *= an_array(found.share).astype(dy.dtype)
        np.subtract(dy, back, out=back)
        back *= inverse
    return back

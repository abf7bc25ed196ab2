"""Softmax, cross-entropy and squared error on NumPy arrays. Part of `ops`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import capi
from ..arguments import Array, check_shape, number
from .checks import dense, float_array, is_double, whole_numbers, writable
from .norms import squares_of, times_power

__all__ = [
    "KERAS_EPSILON", "crossentropy", "softmax", "softmax_backward", "softmax_crossentropy",
    "squared_error", "sum_losses",
]  # fmt: skip

KERAS_EPSILON = 1e-7


def softmax(x: Array, out: Array | None = None) -> Array:
    """The softmax of each row of x (M, N), in a new array or in `out`, which may be x.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    if float_array("x", x).ndim != 2:
        check_shape("x", x.shape, ("M", "N"))
    x = dense("x", x, x.shape, x.dtype)
    out = np.empty_like(x) if out is None else writable("out", out, x.shape, x.dtype)
    if out is not x:
        out[...] = x
    capi.softmax(is_double(x), x.shape[0], x.shape[1], out)
    return out


def softmax_backward(y: Array, dy: Array) -> Array:
    """dy (M, N) becomes the gradient to what `softmax` got, y (dy - Σ dy y); returns dy.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    dy = writable("dy", dy, y.shape, float_array("y", y).dtype)
    dy -= np.sum(dy * y, axis=-1, keepdims=True)
    dy *= y
    return dy


def softmax_crossentropy(
    logits: Array, targets: Array, *, gradient: bool = True, scale: float = 1.0
) -> tuple[Array, Array]:
    """Cross-entropy of softmax(logits) against the targets, row by row.

    Parameters
    ----------
    logits : (M, N), C-contiguous. With `gradient`, it becomes the gradient of the sum of the
        losses times `scale`, `scale * (softmax - targets)`. No second array of this size is made.
    targets : (M,) integers in 0..N-1, or (M, N) weights of the same dtype (usually summing to 1).
    scale : factor of the gradient alone, such as 1 / M for that of the mean.

    Returns
    -------
    losses : (M,) of the logits' dtype.
    correct : (M,) bool: the largest logit (the first one of equals) is that of the target.

    Raises
    ------
    ValueError
        A shape, a dtype, a label or `scale` (>= 0) does not fit; the logits are as they were.
    """
    dtype = float_array("logits", logits).dtype
    check = writable if gradient else dense
    logits = check("logits", logits, ("M", "N"), dtype)
    M, N = logits.shape
    labels, weights = _targets(targets, M, N, dtype)
    totals, shifted, sums = np.empty((3, M), dtype)
    correct = np.empty(M, np.bool_)
    capi.crossentropy(is_double(logits), M, N, logits, labels, weights, totals, shifted, sums,
                      correct.view(np.uint8), gradient, number("scale", scale, 0.0))  # fmt: skip
    return sums * np.log(totals) - shifted, correct


def crossentropy(
    probabilities: Array, targets: Array, *, gradient: bool = False
) -> tuple[Array, Array]:
    """Cross-entropy of rows of probabilities, which are clipped to [1e-7, 1 - 1e-7] as in Keras.

    Parameters
    ----------
    probabilities : (M, N). With `gradient` it becomes the gradient of the sum of the losses, zero
        where the clipping acts. Rows are taken as they are: they should sum to 1.
    targets : (M,) integers in 0..N-1, or (M, N) weights of the same dtype.

    Returns
    -------
    losses, correct : as `softmax_crossentropy`.

    Raises
    ------
    ValueError
        A shape, a dtype or a label does not fit.
    """
    dtype = float_array("probabilities", probabilities).dtype
    check = writable if gradient else dense
    p = check("probabilities", probabilities, ("M", "N"), dtype)
    labels, weights = _targets(targets, p.shape[0], p.shape[1], dtype)
    if weights is None:
        return _of_labels(p, np.asarray(labels), gradient)
    return _of_weights(p, weights, gradient)


def squared_error(
    outputs: Array, targets: Array, *, gradient: bool = True, scale: float = 1.0
) -> tuple[float, Array | None]:
    """`(outputs - targets)²`, its mean over the last axis, summed over all rows.

    Parameters
    ----------
    outputs, targets : (..., N) of one shape and dtype; neither is changed.
    gradient : also make the gradient of the sum times `scale`.
    scale : factor of the gradient alone, such as one over the rows for that of the mean.

    Returns
    -------
    total : float
    gradient : a new array in the shape of `outputs`; None without `gradient`.

    Raises
    ------
    ValueError
        A shape, a dtype or `scale` (>= 0) does not fit.
    """
    dtype = float_array("outputs", outputs).dtype
    check_shape("targets", float_array("targets", targets, dtype).shape, outputs.shape)
    with np.errstate(over="ignore"):
        difference, features = outputs - targets, outputs.shape[-1]
    found, exponent = squares_of(difference)
    if not math.isfinite(found):  # float32 may hold both numbers, but not what lies between them
        difference = np.subtract(outputs, targets, dtype=np.float64)
        found, exponent = squares_of(difference)
    total = times_power(found / features, exponent)
    if not gradient:
        return total, None
    difference *= difference.dtype.type(2 * number("scale", scale, 0.0) / features)
    return total, difference.astype(dtype, copy=False)


def sum_losses(losses: Array, correct: Array) -> tuple[float, int]:
    """The sum of the losses of rows, in float64, and how many rows are correct."""
    return float(np.sum(losses, dtype=np.float64)), int(np.count_nonzero(correct))


def _limits(p: Array) -> tuple[Any, Any]:
    return p.dtype.type(KERAS_EPSILON), p.dtype.type(1 - KERAS_EPSILON)


def _of_labels(p: Array, labels: Array, gradient: bool) -> tuple[Array, Array]:
    """Losses and hits of probabilities p against labels; p may become the gradient."""
    low, high = _limits(p)
    rows, best = np.arange(len(p)), p.argmax(axis=1)
    chosen = p[rows, labels]
    if gradient:
        inside = (chosen > low) & (chosen < high)
        p[...] = 0
        p[rows[inside], labels[inside]] = -1 / chosen[inside]
    return -np.log(np.clip(chosen, low, high)), best == labels


def _of_weights(p: Array, weights: Array, gradient: bool) -> tuple[Array, Array]:
    """The same for rows of weights."""
    low, high = _limits(p)
    correct = p.argmax(axis=1) == weights.argmax(axis=1)
    losses = -(weights * np.log(np.clip(p, low, high))).sum(axis=1)
    if gradient:
        inside = (p > low) & (p < high)
        np.divide(-weights, p, out=p, where=inside)
        p[~inside] = 0
    return losses, correct


def _targets(
    targets: Any, M: int, N: int, dtype: np.dtype[Any]
) -> tuple[Array | None, Array | None]:
    """(labels, None) or (None, weights)."""
    array = np.asarray(targets)
    if array.dtype.kind in "iu":
        check_shape("targets", array.shape, (M,))
        return whole_numbers("targets", array, N), None
    return None, dense("targets", targets, (M, N), dtype)

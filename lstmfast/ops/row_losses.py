"""Losses of numbers, row by row: squared, absolute, Huber, quantile, binary, KL. Part of `ops`.

Each function takes outputs and targets (M, N) of one dtype, both on the host or both on a GPU,
where NumPy's functions work on them as well, and changes neither. It returns the
losses (M,), each a mean (or, of distributions, a sum) over the N numbers of a row, and with
`gradient` a new array (M, N): the gradient of each row's own loss. Arithmetic is in float64,
results have the outputs' dtype.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import Array, check_shape, flag, number
from .checks import floats_anywhere, not_empty
from .losses import KERAS_EPSILON

__all__ = [
    "absolute_error", "binary_crossentropy", "huber_error", "kl_divergence", "quantile_error",
    "row_squared_error",
]  # fmt: skip

Found = tuple[Array, Array | None]


def row_squared_error(outputs: Array, targets: Array, *, gradient: bool = True) -> Found:
    """`(outputs - targets)²`, its mean over each row; see also `squared_error`, of all rows.

    Parameters
    ----------
    outputs, targets : (M, N) of one dtype
    gradient : also make the gradient of each row's loss.

    Returns
    -------
    losses : (M,) of the outputs' dtype
    gradient : (M, N), or None

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    error = _errors(outputs, targets)
    losses = np.einsum("mn,mn->m", error, error) / error.shape[1]
    return _found(losses, error if gradient else None, 2.0, outputs)


def absolute_error(outputs: Array, targets: Array, *, gradient: bool = True) -> Found:
    """`|outputs - targets|`, its mean over each row; the gradient is zero where both are equal.

    Parameters
    ----------
    outputs, targets : (M, N) of one dtype
    gradient : also make the gradient of each row's loss.

    Returns
    -------
    losses, gradient : as `row_squared_error`.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    error = _errors(outputs, targets)
    losses = np.mean(np.abs(error), axis=1)
    return _found(losses, np.sign(error, out=error) if gradient else None, 1.0, outputs)


def huber_error(
    outputs: Array, targets: Array, delta: float = 1.0, *, gradient: bool = True
) -> Found:
    """Half the squared error up to `delta`, beyond it a straight line; its mean over each row.

    Parameters
    ----------
    outputs, targets : (M, N) of one dtype
    delta : the error at which the line begins.
    gradient : also make the gradient of each row's loss.

    Returns
    -------
    losses, gradient : as `row_squared_error`.

    Raises
    ------
    ValueError
        A shape, a dtype or `delta` (>= 0) does not fit.

    Source
    ------
    Huber (1964), Robust estimation of a location parameter.
    """
    delta = number("delta", delta, 0.0)
    error = _errors(outputs, targets)
    size = np.abs(error)
    inner = np.minimum(size, delta)  # with it, both parts are inner · (size - inner / 2)
    losses = np.einsum("mn,mn->m", inner, size - 0.5 * inner) / error.shape[1]
    slope = np.clip(error, -delta, delta, out=error) if gradient else None
    return _found(losses, slope, 1.0, outputs)


def quantile_error(
    outputs: Array,
    targets: Array,
    quantiles: float | Sequence[float] = 0.5,
    *,
    gradient: bool = True,
) -> Found:
    """`max(q e, (q - 1) e)` of the error e = targets - outputs; its mean over each row.

    Parameters
    ----------
    outputs, targets : (M, N) of one dtype
    quantiles : number in [0, 1], or N of them, one for each column.
    gradient : also make the gradient of each row's loss; it is zero where both are equal.

    Returns
    -------
    losses, gradient : as `row_squared_error`.

    Raises
    ------
    ValueError
        A shape, a dtype or a quantile does not fit.

    Source
    ------
    Koenker and Bassett (1978), Regression quantiles.
    """
    error = _errors(outputs, targets)
    q = _quantiles(quantiles, error.shape[1])
    np.negative(error, out=error)
    losses = np.mean(np.maximum(q * error, (q - 1.0) * error), axis=1)
    if not gradient:
        return _found(losses, None, 1.0, outputs)
    slope = np.where(error > 0, -q, 1.0 - q)
    slope = np.where(error == 0, 0.0, slope)
    slope = np.where(np.isnan(error), math.nan, slope)
    return _found(losses, slope, 1.0, outputs)


def binary_crossentropy(
    outputs: Array, targets: Array, *, gradient: bool = True, from_logits: bool = False
) -> Found:
    """`-t log(p) - (1 - t) log(1 - p)`, its mean over each row.

    Parameters
    ----------
    outputs : (M, N) of probabilities p, which are clipped to [1e-7, 1 - 1e-7] as in Keras; or of
        logits, the numbers whose sigmoid they are.
    targets : (M, N) of the same dtype, in [0, 1].
    gradient : also make the gradient of each row's loss, zero where the clipping acts.
    from_logits : `outputs` are logits.

    Returns
    -------
    losses, gradient : as `row_squared_error`.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    _check_pair(outputs, targets)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        if flag("from_logits", from_logits):
            return _binary_of_logits(outputs, targets, gradient)
        return _binary_of_probabilities(outputs, targets, gradient)


def kl_divergence(outputs: Array, targets: Array, *, gradient: bool = True) -> Found:
    """`Σ t log(t / p)` of each row, targets t and outputs p clipped to [1e-7, 1] as in Keras.

    Parameters
    ----------
    outputs, targets : (M, N) of one dtype: a distribution in each row.
    gradient : also make the gradient of each row's loss, zero where the clipping acts.

    Returns
    -------
    losses, gradient : as `row_squared_error`.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.

    Source
    ------
    Kullback and Leibler (1951), On information and sufficiency.
    """
    _check_pair(outputs, targets)
    low = float(outputs.dtype.type(KERAS_EPSILON))
    t = np.clip(targets, low, 1.0, dtype=np.float64)
    p = np.clip(outputs, low, 1.0, dtype=np.float64)
    losses = np.einsum("mn,mn->m", t, np.log(t / p))
    if not gradient:
        return _found(losses, None, 1.0, outputs)
    slope = np.divide(t, p, out=t)
    np.copyto(slope, 0.0, where=(outputs < low) | (outputs > 1.0))
    return _found(losses, slope, -float(slope.shape[1]), outputs)


def _binary_of_logits(z: Array, t: Array, gradient: bool) -> Found:
    """max(z, 0) - z t + s with s = log(1 + exp(-|z|)), which no exponential overflows.

    Its slope is σ(z) - t; log σ(z) = min(z, 0) - s.
    """
    wide = z.astype(np.float64)
    rest = np.log1p(np.exp(-np.abs(wide)))
    losses = np.mean(np.maximum(wide, 0.0) - wide * t + rest, axis=1)
    if not gradient:
        return _found(losses, None, 1.0, z)
    slope = np.exp(np.minimum(wide, 0.0) - rest)
    slope -= t
    return _found(losses, slope, 1.0, z)


def _binary_of_probabilities(outputs: Array, t: Array, gradient: bool) -> Found:
    low, high = (float(outputs.dtype.type(at)) for at in (KERAS_EPSILON, 1 - KERAS_EPSILON))
    p = np.clip(outputs, low, high, dtype=np.float64)
    rest = 1.0 - p
    losses = -np.mean(t * np.log(p) + (1.0 - t) * np.log(rest), axis=1)
    if not gradient:
        return _found(losses, None, 1.0, outputs)
    slope = (p - t) / (p * rest)
    np.copyto(slope, 0.0, where=(outputs < low) | (outputs > high))
    return _found(losses, slope, 1.0, outputs)


def _errors(outputs: Array, targets: Array) -> Array:
    """Return outputs - targets in float64, a new array."""
    _check_pair(outputs, targets)
    return np.subtract(outputs, targets, dtype=np.float64)


def _check_pair(outputs: Array, targets: Array) -> None:
    """Raise ValueError unless both are (M, N) of one dtype, M and N not zero."""
    dtype = floats_anywhere("outputs", outputs).dtype
    if outputs.ndim != 2:
        check_shape("outputs", outputs.shape, ("M", "N"))
    not_empty("outputs", outputs)
    check_shape("targets", floats_anywhere("targets", targets, dtype).shape, outputs.shape)


def _quantiles(quantiles: Any, columns: int) -> Array:
    """Return them as an array that goes with rows."""
    if not isinstance(quantiles, (list, tuple, np.ndarray)):
        return np.array([number("quantiles", quantiles, 0.0, 1.0)])
    found = np.array([number("quantiles", one, 0.0, 1.0) for one in quantiles])
    check_shape("quantiles", found.shape, (columns,))
    return found


def _found(losses: Array, slope: Array | None, factor: float, outputs: Array) -> Found:
    """Return losses and `slope` · factor / N, which may be changed, in the dtype of `outputs`."""
    with np.errstate(over="ignore", under="ignore"):
        losses = losses.astype(outputs.dtype, copy=False)
        if slope is None:
            return losses, None
        slope *= factor / slope.shape[1]
        return losses, slope.astype(outputs.dtype, copy=False)

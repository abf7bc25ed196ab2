"""Weights of rows: what sample weights, masks and class weights make of the mean, as in Keras.

A row is one vector of outputs: outputs (B, T, N) have B · T rows. The loss of a batch is the mean
over all its rows of loss · weight. Without a mask the divisor is the number of rows whatever the
weights sum to ("sum_over_batch_size"); with one it is the number of rows that the mask keeps.
A row of weight zero counts nothing, even where its outputs or targets are NaN.

A mask may be on a GPU; then the weights that it makes are there, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arguments import Array, choice, integer, number, shape_text, shown
from ..ops.placement import is_own

__all__ = [
    "NOT_REDUCED",
    "REDUCTIONS",
    "class_weights",
    "each_of",
    "flags",
    "row_weights",
    "spread",
    "sum_of",
    "weigh",
]

NOT_REDUCED = ("none", None)
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", *NOT_REDUCED)


def row_weights(
    rows: Sequence[int],
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str | None = "sum_over_batch_size",
) -> Array | None:
    """Return the weight of each row with which the mean over all rows is Keras's loss.

    Parameters
    ----------
    rows : sequence of int
        The shape of the rows: that of the outputs without the last axis, (B,) or (B, T).
    sample_weight : array_like or None
        Numbers (B,), (B, T), or with axes of size one, (B, 1). Those of (B,) hold for every step.
    mask : array_like of bool or None
        (B,) or (B, T); False: the row counts nothing.
    reduction : str
        "sum_over_batch_size" (or "mean"): the mean over the rows that the mask keeps.
        "sum": the mean with these weights is the sum. "mean_with_sample_weight": the divisor is
        the sum of the weights of all rows. "none": weights times mask.

    Returns
    -------
    weights : (R,) of float64 for the R rows in order, or None where all are one

    Raises
    ------
    ValueError
        When a shape does not fit, or a weight that the mask keeps is not finite (unless that is on
        a GPU, which would have to be waited for).
    """
    choice("reduction", reduction, REDUCTIONS)
    count = math.prod(rows)
    weights = None if sample_weight is None else _numbers(sample_weight, rows)
    kept = None if mask is None else flags("mask", mask, rows).reshape(-1)
    if kept is not None:
        weights = kept.astype(np.float64) if weights is None else np.where(kept, weights, 0.0)
    if weights is not None and not is_own(weights) and not np.isfinite(weights).all():
        raise ValueError("sample_weight: expected finite numbers, got NaN or Inf")
    factor = _factor(reduction, count, weights, kept)
    if weights is None:
        return None if factor == 1 else np.full(count, factor)
    weights *= factor
    return weights


def _factor(reduction: str | None, count: int, weights: Array | None, kept: Array | None) -> Any:
    """By what to multiply weights so that their mean over all rows is this reduction."""
    if reduction == "sum":
        return float(count)
    if reduction == "mean_with_sample_weight" and weights is not None:
        divisor = np.sum(weights)
    elif reduction in ("sum_over_batch_size", "mean") and kept is not None:
        divisor = np.sum(kept, dtype=np.float64)
    else:
        return 1.0
    if is_own(divisor):
        return np.where(divisor != 0, count / divisor, 0.0)
    return count / float(divisor) if divisor else 0.0


def class_weights(
    class_weight: Mapping[int, float], y: Array, output_shape: Sequence[int | None]
) -> Array:
    """Return the sample weights that Keras's `fit` makes of `class_weight`.

    Parameters
    ----------
    class_weight : mapping of int to float
        The weight of each class; of those that it lacks, one.
    y : array
        Labels, of the outputs' shape without their last axis, or with one of size one there; or
        one row of numbers per row of outputs, whose largest tells the class. Floats are rounded.
    output_shape : sequence of int or None
        That of the outputs (B, ..., N), whose batch may be None.

    Returns
    -------
    weights : float64, of the shape of the rows

    Raises
    ------
    ValueError
        When `class_weight` is no such mapping.
    """
    known = _checked(class_weight)
    leading = len(output_shape) - 1
    if y.ndim > leading:
        y = y[..., 0] if y.shape[-1] == 1 else y.argmax(axis=-1)
    labels, inverse = np.unique(np.round(y).astype(np.int64), return_inverse=True)
    found = np.array([known.get(int(label), 1.0) for label in labels])
    return found[inverse].reshape(y.shape)


def _checked(class_weight: Any) -> dict[int, float]:
    if not isinstance(class_weight, Mapping):
        expected = "a mapping of labels to weights"
        raise ValueError(f"class_weight: expected {expected}, got {shown(class_weight)}")
    limit = 2**63
    return {
        integer("class_weight", key, -limit): number("class_weight", value, -math.inf)
        for key, value in class_weight.items()
    }


def spread(name: str, values: Array, shape: Sequence[int]) -> Array:
    """Return `values` of the first axes of `shape`, or with axes of size one, in all of `shape`.

    Raises
    ------
    ValueError
        Naming `name`, when they do not fit.
    """
    found = values
    while found.ndim > len(shape) and found.shape[-1] == 1:
        found = found[..., 0]
    fits = 0 < found.ndim <= len(shape) and found.shape[0] == shape[0]
    if not fits or any(
        size not in (1, want) for size, want in zip(found.shape, shape, strict=False)
    ):
        expected = f"shape {shape_text(shape[:1])} or {shape_text(shape)}"
        expected = expected if len(shape) > 1 else f"shape {shape_text(shape)}"
        raise ValueError(f"{name}: expected {expected}, got {shape_text(values.shape)}")
    wide = found.reshape(found.shape + (1,) * (len(shape) - found.ndim))
    return np.broadcast_to(wide, tuple(shape))


def _numbers(sample_weight: Any, rows: Sequence[int]) -> Array:
    found = np.asarray(sample_weight)
    if found.dtype.kind not in "iufb":
        raise ValueError(f"sample_weight: expected numbers, got {shown(sample_weight)}")
    return spread("sample_weight", found, rows).astype(np.float64).reshape(-1)


def flags(name: str, mask: Any, shape: Sequence[int]) -> Array:
    """Return a mask of bool in all of `shape`; ValueError, naming `name`, for anything else."""
    found = mask if is_own(mask) else np.asarray(mask)
    if found.dtype != np.bool_:
        raise ValueError(f"{name}: expected an array of bool, got dtype {found.dtype}")
    return spread(name, found, shape)


def each_of(values: Array, weights: Array | None) -> Array:
    """Return values · weights in float64; what has weight zero is zero, even if NaN."""
    if weights is None:
        return values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(weights != 0, values * weights, 0.0)


def sum_of(values: Array, weights: Array | None) -> float:
    """Return Σ values · weights in float64; what has weight zero adds nothing."""
    if weights is None:
        return float(np.sum(values, dtype=np.float64))
    with np.errstate(over="ignore", invalid="ignore"):
        return float(each_of(values, weights).sum())


def weigh(gradient: Array, weights: Array) -> None:
    """Multiply the rows of a gradient (R, N) in place; those of weight zero become zeros."""
    with np.errstate(all="ignore"):
        gradient *= weights.astype(gradient.dtype)[:, None]
    np.copyto(gradient, 0, where=(weights == 0)[:, None])

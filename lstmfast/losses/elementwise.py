"""Further losses of numbers: relative, logarithmic and of directions; and hinges.

Arithmetic is in float64; results have the outputs' dtype. What Keras calls its epsilon, 1e-7, is
rounded to that dtype as there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..arguments import Array
from ..ops.losses import KERAS_EPSILON
from ..ops.norms import lengths_along
from .crossentropy import check_axis
from .regression import MEAN, Regression

__all__ = [
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "LogCosh",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SquaredHinge",
]

Found = tuple[Array, Array | None]


class Elementwise(Regression):
    """A loss that is the mean over the last axis of something of each output and its target."""

    def terms(self, p: Array, t: Array, least: float) -> tuple[Array, Array]:
        """Return the losses of outputs p for targets t, float64, and their slopes.

        `least` is Keras's epsilon in the outputs' dtype. The slopes are an array of their own.
        """
        raise NotImplementedError

    def row_losses(self, outputs: Array, targets: Array, gradient: bool) -> Found:
        least = float(outputs.dtype.type(KERAS_EPSILON))
        terms, slope = self.terms(outputs.astype(np.float64), targets.astype(np.float64), least)
        return _rounded(terms.mean(axis=1), slope / slope.shape[1] if gradient else None, outputs)


class MeanAbsolutePercentageError(Elementwise):
    """`100 |output - target| / |target|` with at least 1e-7 below; means as of the others.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def terms(self, p: Array, t: Array, least: float) -> tuple[Array, Array]:
        errors, scale = p - t, 100.0 / np.maximum(np.abs(t), least)
        return np.abs(errors) * scale, np.sign(errors) * scale


class MeanSquaredLogarithmicError(Elementwise):
    """`(log(1 + output) - log(1 + target))²`, of numbers below 1e-7 as of it; means as the others.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def terms(self, p: Array, t: Array, least: float) -> tuple[Array, Array]:
        errors = np.log1p(np.maximum(p, least)) - np.log1p(np.maximum(t, least))
        slope = np.where(p < least, 0.0, 2.0 * errors / (1.0 + p))
        return np.square(errors), slope


class LogCosh(Elementwise):
    """`log(cosh(output - target))`; means as of the others.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def terms(self, p: Array, t: Array, least: float) -> tuple[Array, Array]:
        errors = p - t
        size = np.abs(errors)
        found = size + np.log1p(np.exp(-2.0 * size)) - math.log(2.0)
        return found, ops.activation_forward("tanh", errors)


class Poisson(Elementwise):
    """`output - target log(output + 1e-7)`; means as of the others.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def terms(self, p: Array, t: Array, least: float) -> tuple[Array, Array]:
        return p - t * np.log(p + least), 1.0 - t / (p + least)


class Hinge(Elementwise):
    """`max(1 - target output, 0)`; means as of the others.

    Targets are -1 or 1; those of a batch that are all 0 or 1 stand for -1 and 1.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def terms(self, p: Array, t: Array, least: float) -> tuple[Array, Array]:
        signs = _signs(t)
        room = 1.0 - signs * p
        return _positive(room), np.where(room > 0.0, -signs, 0.0)


class SquaredHinge(Elementwise):
    """`max(1 - target output, 0)²`; means as of the others, targets as of `Hinge`.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def terms(self, p: Array, t: Array, least: float) -> tuple[Array, Array]:
        signs = _signs(t)
        room = _positive(1.0 - signs * p)
        return np.square(room), -2.0 * room * signs


class CategoricalHinge(Regression):
    """`max(1 + the largest (1 - target) output - Σ target output, 0)` of each row.

    Targets are rows of zeros and a one.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def row_losses(self, outputs: Array, targets: Array, gradient: bool) -> Found:
        p, t = outputs.astype(np.float64), targets.astype(np.float64)
        others = (1.0 - t) * p
        largest = others.argmax(axis=1)[:, None]
        right = np.einsum("mn,mn->m", t, p)
        room = 1.0 + np.take_along_axis(others, largest, axis=1)[:, 0] - right
        if not gradient:
            return _rounded(_positive(room), None, outputs)
        slope = -t
        best = np.take_along_axis(slope, largest, axis=1)
        np.put_along_axis(slope, largest, best + np.take_along_axis(1.0 - t, largest, 1), axis=1)
        slope[room <= 0.0] = 0.0
        return _rounded(_positive(room), slope, outputs)


class CosineSimilarity(Regression):
    """Less the cosine of the angle between outputs and targets: -1 where they point alike.

    A vector shorter than 1e-7 is divided by that.

    Parameters
    ----------
    axis : -1
        That of the vectors.
    reduction, name, dtype
        As of `Loss`.
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(reduction, name, dtype)
        check_axis(axis)

    def row_losses(self, outputs: Array, targets: Array, gradient: bool) -> Found:
        (p, size), (t, _) = (_directions(of) for of in (outputs, targets))
        cosines = np.einsum("mn,mn->m", p, t)
        if not gradient:
            return _rounded(-cosines, None, outputs)
        along = np.where(size > KERAS_EPSILON, cosines[:, None], 0.0)
        return _rounded(-cosines, (along * p - t) / np.maximum(size, KERAS_EPSILON), outputs)


def _signs(t: Array) -> Array:
    """Return targets of a hinge as -1 and 1; targets that are missing tell nothing."""
    known = (t == 0.0) | (t == 1.0) | np.isnan(t)
    return 2.0 * t - 1.0 if known.all() else t


def _positive(room: Array) -> Array:
    found: Array = np.maximum(room, 0.0)
    return found


def _directions(of: Array) -> tuple[Array, Array]:
    """Return rows over their lengths, and the lengths (M, 1), in float64."""
    size = lengths_along(of, 1)
    return of / np.maximum(size, KERAS_EPSILON), size


def _rounded(losses: Array, slope: Array | None, outputs: Array) -> Found:
    kind: Any = outputs.dtype
    found = losses.astype(kind, copy=False)
    return found, None if slope is None else slope.astype(kind, copy=False)

"""How far outputs are from their targets, and from what is likely. Part of `metrics`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import losses
from ..arguments import LARGEST, Array, flag, integer
from ..ops.losses import KERAS_EPSILON
from .base import MeanOfRows, Metric, arrays, same_shape

__all__ = [
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "Perplexity",
    "RootMeanSquaredError",
]


class MeanSquaredError(MeanOfRows):
    """`(output - target)²`, its mean over the last axis and over all rows.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.square(_errors(y_true, y_pred)).mean(axis=-1)


class RootMeanSquaredError(MeanOfRows):
    """The root of the mean of `(output - target)²`.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.square(_errors(y_true, y_pred))

    def result(self) -> float:
        return math.sqrt(max(super().result(), 0.0))


class MeanAbsoluteError(MeanOfRows):
    """`|output - target|`, its mean over the last axis and over all rows.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.abs(_errors(y_true, y_pred)).mean(axis=-1)


class MeanAbsolutePercentageError(MeanOfRows):
    """`100 |output - target| / |target|` with at least 1e-7 below, its mean over all.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        errors = _errors(y_true, y_pred)
        y_true, _ = same_shape(y_true, y_pred)
        least = np.maximum(np.abs(y_true, dtype=np.float64), KERAS_EPSILON)
        return 100.0 * np.abs(errors / least).mean(axis=-1)


class Perplexity(Metric):
    """e to the mean cross-entropy of all rows, each of which counts the same.

    Parameters
    ----------
    from_logits : bool
        The outputs are the sums that a softmax would get; otherwise they are probabilities.
    ignore_class : int or None
        Rows of this label count nothing, such as that of padding.
    name, dtype
        As of `Metric`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(name, dtype)
        self.from_logits = flag("from_logits", from_logits)
        given = ignore_class is not None
        self.ignore_class = integer("ignore_class", ignore_class, -LARGEST) if given else None

    def get_config(self) -> dict[str, Any]:
        config, ignored = super().get_config(), self.ignore_class
        config["from_logits"] = self.from_logits
        return config if ignored is None else {**config, "ignore_class": ignored}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels, outputs = arrays(y_true, y_pred)
        loss = losses.SparseCategoricalCrossentropy(self.from_logits, self.ignore_class, "none")
        found = loss(labels, outputs, sample_weight)
        weights = loss.row_weights(labels, outputs.shape, sample_weight)
        self.total += float(found.sum())
        self.count += found.size if weights is None else float(weights.sum())

    def result(self) -> float:
        """Return e to the mean; 0 where the weights sum to 0."""
        if not self.count:
            return 0.0
        try:
            return math.exp(self.total / self.count)
        except OverflowError:
            return math.inf

    def reset_state(self) -> None:
        self.total, self.count = 0.0, 0.0


def _errors(y_true: Array, y_pred: Array) -> Array:
    """Return y_pred - y_true in float64."""
    y_true, y_pred = same_shape(y_true, y_pred)
    return np.subtract(y_pred, y_true, dtype=np.float64)

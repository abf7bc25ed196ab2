"""How many outputs are right. Part of `metrics`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array, flag, integer, number
from .base import MeanOfRows, labels_of, same_shape

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
]


class Accuracy(MeanOfRows):
    """The share of outputs that equal their targets.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y_true, y_pred = same_shape(y_true, y_pred)
        return y_true == y_pred


class BinaryAccuracy(MeanOfRows):
    """The share of outputs that are on the side of the threshold that their target, 0 or 1, tells.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    threshold : float
        Outputs above it stand for 1.
    """

    def __init__(self, name: str | None = None, dtype: None = None, threshold: float = 0.5):
        super().__init__(name, dtype)
        self.threshold = number("threshold", threshold, -np.inf)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y_true, y_pred = same_shape(y_true, y_pred)
        return y_true == (y_pred > self.threshold)


class CategoricalAccuracy(MeanOfRows):
    """The share of rows whose largest output is where the largest target is.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    takes_scores = True

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y_true, y_pred = same_shape(y_true, y_pred)
        return y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)


class SparseCategoricalAccuracy(MeanOfRows):
    """The share of rows whose largest output is at their label; a label that is no class is none.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    takes_scores = True

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return labels_of(y_true, y_pred) == y_pred.argmax(axis=-1)


class TopKCategoricalAccuracy(MeanOfRows):
    """The share of rows in which fewer than k outputs are above that at the largest target.

    Parameters
    ----------
    k : int
    name, dtype
        As of `Metric`.
    """

    takes_scores = True

    def __init__(self, k: int = 5, name: str | None = None, dtype: None = None):
        super().__init__(name, dtype)
        self.k = integer("k", k, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y_true, y_pred = same_shape(y_true, y_pred)
        return _in_top(y_true.argmax(axis=-1), y_pred, self.k)


class SparseTopKCategoricalAccuracy(MeanOfRows):
    """The share of rows in which fewer than k outputs are above that at their label.

    Parameters
    ----------
    k : int
    name, dtype
        As of `Metric`.
    from_sorted_ids : False
        Outputs are scores, never ids.
    """

    takes_scores = True

    def __init__(
        self,
        k: int = 5,
        name: str | None = None,
        dtype: None = None,
        from_sorted_ids: bool = False,
    ):
        super().__init__(name, dtype)
        self.k = integer("k", k, 1)
        if flag("from_sorted_ids", from_sorted_ids):
            raise ValueError("from_sorted_ids: expected False (outputs are scores), got True")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _in_top(labels_of(y_true, y_pred), y_pred, self.k)


def _in_top(labels: Array, scores: Array, k: int) -> Array:
    """Which labels (...) are among the k largest scores (..., N); one that is no class is not."""
    known = (labels >= 0) & (labels < scores.shape[-1])
    at = np.where(known, labels, 0).astype(np.int64)[..., None]
    chosen = np.take_along_axis(scores, at, axis=-1)
    above = np.count_nonzero(scores > chosen, axis=-1)
    return known & np.isfinite(chosen[..., 0]) & (above < k)

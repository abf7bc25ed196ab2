"""Metrics that are losses as well: the mean of a loss over all rows, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import losses
from ..arguments import Array, flag, number
from ..losses import Loss, LossFunction
from .base import MeanOfRows, arrays, labels_of, weights_in

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
]


class OfLoss(MeanOfRows):
    """The mean of a loss, whose class `made` is, with the arguments that `told` gives."""

    made: type[Loss]

    def told(self) -> dict[str, Any]:
        """Return the arguments of the loss, which are the metric's own as well."""
        return {}

    def values(self, y_true: Array, y_pred: Array) -> Array:
        if y_pred.ndim == 1:
            y_pred = y_pred[:, None]
        function = LossFunction(self.made, self.name)
        found: Array = function(y_true, y_pred.astype(np.float64), **self.told())
        return found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.told()}


class MeanSquaredLogarithmicError(OfLoss):
    """`(log(1 + output) - log(1 + target))²`; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    made = losses.MeanSquaredLogarithmicError


class LogCoshError(OfLoss):
    """`log(cosh(output - target))`; see the loss `LogCosh`.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    made = losses.LogCosh

    def _default_name(self) -> str:
        return "logcosh"


class Poisson(OfLoss):
    """`output - target log(output)`; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    made = losses.Poisson


class KLDivergence(OfLoss):
    """`Σ target log(target / output)`; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    made = losses.KLDivergence


class Hinge(OfLoss):
    """`max(1 - target output, 0)`; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    made = losses.Hinge


class SquaredHinge(OfLoss):
    """`max(1 - target output, 0)²`; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    made = losses.SquaredHinge


class CategoricalHinge(OfLoss):
    """`max(1 + the largest (1 - target) output - Σ target output, 0)`; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    made = losses.CategoricalHinge


class CosineSimilarity(OfLoss):
    """The cosine of the angle between outputs and targets: 1 where they point alike.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    axis : -1
        That of the vectors.
    """

    made = losses.CosineSimilarity

    def __init__(self, name: str | None = None, dtype: None = None, axis: int = -1):
        super().__init__(name, dtype)
        losses.CosineSimilarity(axis)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return -super().values(y_true, y_pred)


class BinaryCrossentropy(OfLoss):
    """The binary cross-entropy; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    from_logits : bool
    label_smoothing : float in [0, 1]
    """

    made: type[Loss] = losses.BinaryCrossentropy

    def __init__(
        self,
        name: str | None = None,
        dtype: None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ):
        super().__init__(name, dtype)
        self.from_logits = flag("from_logits", from_logits)
        self.label_smoothing = number("label_smoothing", label_smoothing, 0.0, 1.0)

    def told(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(BinaryCrossentropy):
    """The cross-entropy of distributions; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    from_logits : bool
    label_smoothing : float in [0, 1]
    axis : -1
        That of the classes.
    """

    made = losses.CategoricalCrossentropy

    def __init__(
        self,
        name: str | None = None,
        dtype: None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ):
        super().__init__(name, dtype, from_logits, label_smoothing)
        losses.CategoricalCrossentropy(axis=axis)


class SparseCategoricalCrossentropy(OfLoss):
    """The cross-entropy of labels; see the loss.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    from_logits : bool
    axis : -1
        That of the classes.
    """

    made = losses.SparseCategoricalCrossentropy

    def __init__(
        self,
        name: str | None = None,
        dtype: None = None,
        from_logits: bool = False,
        axis: int = -1,
    ):
        super().__init__(name, dtype)
        self.from_logits = flag("from_logits", from_logits)
        losses.SparseCategoricalCrossentropy(axis=axis)

    def told(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels, outputs = arrays(y_true, y_pred)
        labels = labels_of(labels, outputs)
        weights = weights_in(sample_weight, labels.shape)
        if weights is not None:  # labels that count nothing may be no classes
            labels = np.where(weights != 0, labels, labels.dtype.type(0))
        super().update_state(labels, outputs, sample_weight)

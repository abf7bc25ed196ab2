"""Focal cross-entropies: what a model is sure of already counts little.

Source: Lin et al. 2017, Focal loss for dense object detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..arguments import Array, flag, number, shown
from ..ops.losses import KERAS_EPSILON
from .crossentropy import BinaryCrossentropy, CategoricalCrossentropy, Rows, smoothed
from .regression import MEAN

__all__ = ["BinaryFocalCrossentropy", "CategoricalFocalCrossentropy"]


class BinaryFocalCrossentropy(BinaryCrossentropy):
    """`(1 - q)^gamma` times the binary cross-entropy, q the probability of what is right.

    Parameters
    ----------
    apply_class_balancing : bool
        Times `alpha` for targets of 1, times `1 - alpha` for those of 0.
    alpha : float in [0, 1]
    gamma : float, at least 0
    from_logits, label_smoothing, axis
        As of `BinaryCrossentropy`.
    reduction, name, dtype
        As of `Loss`.
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = flag("apply_class_balancing", apply_class_balancing)
        self.alpha = number("alpha", alpha, 0.0, 1.0)
        self.gamma = number("gamma", gamma, 0.0)

    def get_config(self) -> dict[str, Any]:
        own = {"apply_class_balancing": self.apply_class_balancing}
        return {**super().get_config(), **own, "alpha": self.alpha, "gamma": self.gamma}

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        t = smoothed(targets.astype(np.float64), self.label_smoothing, 2)
        p = outputs.astype(np.float64)
        logits = self.wants_logits or self.from_logits
        if logits:
            p = ops.activation_forward("sigmoid", p)
        weight = t * self.alpha + (1.0 - t) * (1.0 - self.alpha)
        losses, slope = self._terms(p, t, float(outputs.dtype.type(KERAS_EPSILON)))
        if self.apply_class_balancing:
            losses, slope = weight * losses, weight * slope
        if logits:
            slope = ops.activation_backward("sigmoid", p, slope)
        slope /= slope.shape[1]
        kind = outputs.dtype
        return losses.mean(axis=1).astype(kind), slope.astype(kind) if gradient else None

    def _terms(self, p: Array, t: Array, least: float) -> tuple[Array, Array]:
        """Return the losses of probabilities p for targets t, and their slopes."""
        inside = np.clip(p, least, 1.0 - least)
        losses = -(t * np.log(inside) + (1.0 - t) * np.log1p(-inside))
        slope = np.where(inside == p, (1.0 - t) / (1.0 - inside) - t / inside, 0.0)
        wrong = 1.0 - (t * p + (1.0 - t) * (1.0 - p))
        factor = np.power(wrong, self.gamma)
        turned = self.gamma * np.power(wrong, self.gamma - 1.0) if self.gamma else 0.0
        return factor * losses, factor * slope + turned * (1.0 - 2.0 * t) * losses


class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """`-Σ alpha (1 - p)^gamma target log(p)` of each row of probabilities p.

    Parameters
    ----------
    alpha : float, or a list of one for each class
    gamma : float, at least 0
    from_logits, label_smoothing, axis
        As of `CategoricalCrossentropy`.
    reduction, name, dtype
        As of `Loss`.
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha: float | list[float]
        if isinstance(alpha, (list, tuple)) and alpha:
            self.alpha = [number("alpha", one, 0.0) for one in alpha]
        else:
            self.alpha = number("alpha", alpha, 0.0)
        self.gamma = number("gamma", gamma, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}

    def check(self, y: Array, output_shape: Any, weights: Array | None = None) -> None:
        """Raise ValueError unless y (..., N) are finite numbers, N that of a list of alphas."""
        super().check(y, output_shape, weights)
        if isinstance(self.alpha, list) and output_shape[-1] not in (None, len(self.alpha)):
            expected = f"{output_shape[-1]} numbers, one for each class"
            raise ValueError(f"alpha: expected {expected}, got {shown(self.alpha)}")

    def _rows_of(self, rows: Array, targets: Array, gradient: bool) -> Rows:
        logits = self.wants_logits or self.from_logits
        t, p = targets.astype(np.float64), rows.astype(np.float64)
        if logits:
            p = ops.softmax(p)
        sums = p.sum(axis=1, keepdims=True)
        sums[sums == 0.0] = 1.0
        q = p / sums
        losses, slope = self._terms(q, t, float(rows.dtype.type(KERAS_EPSILON)))
        hits, kind = q.argmax(axis=1) == t.argmax(axis=1), rows.dtype
        if not gradient:
            return losses.astype(kind), None, hits
        slope -= np.sum(slope * q, axis=1, keepdims=True)
        slope = ops.softmax_backward(p, slope) if logits else slope / sums
        return losses.astype(kind), (slope / len(rows)).astype(kind), hits

    def _terms(self, q: Array, t: Array, least: float) -> tuple[Array, Array]:
        """Return the losses of rows of shares q that sum to one, and the gradient to them."""
        inside = np.clip(q, least, 1.0 - least)
        rest, logs, alpha = 1.0 - inside, np.log(inside), np.asarray(self.alpha)
        factor = np.power(rest, self.gamma)
        losses = -np.sum(alpha * factor * t * logs, axis=1)
        turned = self.gamma * np.power(rest, self.gamma - 1.0) * logs if self.gamma else 0.0
        slope = np.where(inside == q, alpha * t * (turned - factor / inside), 0.0)
        return losses, slope

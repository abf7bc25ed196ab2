"""Losses of numbers: squared, absolute, Huber's and that of quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..arguments import Array, Shape, number, shown
from ..ops.placement import on_device
from .base import AnyLoss, BatchLoss, Loss, PendingLoss, check_numbers, fits

__all__ = ["Huber", "MeanAbsoluteError", "MeanSquaredError", "Quantile"]

MEAN = "sum_over_batch_size"


class Regression(Loss):
    """A loss of numbers, whose targets may lack the last axis where that is of size one."""

    def check(self, y: Array, output_shape: Shape, weights: Array | None = None) -> None:
        """Raise ValueError unless y is finite, (..., N); without the last axis when N is 1."""
        check_numbers(y, output_shape, weights, drops_one=True)


class MeanSquaredError(Regression):
    """`(output - target)²`, its mean over the last axis and over all rows.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.row_squared_error(outputs, targets, gradient=gradient)

    def _found(
        self, outputs: Array, y: Array, weights: Array | None, gradient: bool
    ) -> tuple[AnyLoss, Array | None]:
        self._check_reduced()
        rows, targets, weights = self._prepared(outputs, y, weights)
        if weights is not None:
            return super()._found(outputs, y, weights, gradient)
        scale = 1.0 / len(rows)
        total, slope = ops.squared_error(rows, targets, gradient=gradient, scale=scale)
        if on_device(rows):
            return PendingLoss(total, len(rows)), slope
        return BatchLoss(total, len(rows), None), slope


class MeanAbsoluteError(Regression):
    """`|output - target|`, its mean over the last axis and over all rows.

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.absolute_error(outputs, targets, gradient=gradient)


class Huber(Regression):
    """Half the squared error up to `delta`, beyond it a straight line; means as of the others.

    Parameters
    ----------
    delta : float, at least 0
    reduction, name, dtype
        As of `Loss`.
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.delta = number("delta", delta, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.huber_error(outputs, targets, self.delta, gradient=gradient)


class Quantile(Regression):
    """`max(q e, (q - 1) e)` of the error e = target - output, which the q-quantile makes least.

    Parameters
    ----------
    quantile : float in [0, 1], or a list of them
        Of a list each output unit learns its own, and one target per row may do for all.
    reduction, name, dtype
        As of `Loss`.
    """

    def __init__(
        self,
        quantile: float | Sequence[float] = 0.5,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.quantile: float | list[float]
        if isinstance(quantile, (list, tuple)) and quantile:
            self.quantile = [number("quantile", one, 0.0, 1.0) for one in quantile]
        else:
            self.quantile = number("quantile", quantile, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "quantile": self.quantile}

    def check(self, y: Array, output_shape: Shape, weights: Array | None = None) -> None:
        """Raise ValueError unless y is finite, (..., N); of a list (...) or (..., 1) will do."""
        *leading, units = output_shape
        if isinstance(self.quantile, list):
            if units not in (None, len(self.quantile)):
                expected = f"outputs for {units} units, one quantile each"
                raise ValueError(f"loss: expected {expected}, got {shown(self.quantile)}")
            if fits(y.shape, leading) or fits(y.shape, [*leading, 1]):
                return check_numbers(y, y.shape, weights)
        return super().check(y, output_shape, weights)

    def targets(self, y: Array, shape: Shape, dtype: str) -> Array:
        units = shape[-1] or 1
        per_row = isinstance(self.quantile, list) and y.shape != (*y.shape[:-1], units)
        if per_row or y.ndim < len(shape):
            units = 1
        return np.ascontiguousarray(y.reshape(-1, units), dtype)

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        wide = np.broadcast_to(targets, outputs.shape)
        return ops.quantile_error(outputs, wide, self.quantile, gradient=gradient)

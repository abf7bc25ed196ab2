"""Losses of probabilities: the cross-entropies, and the Kullback-Leibler divergence."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arguments import LARGEST, Array, Shape, flag, integer, number, shape_text, shown
from .base import Loss, check_numbers, counted, fits

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Crossentropy",
    "KLDivergence",
    "SparseCategoricalCrossentropy",
]

MEAN = "sum_over_batch_size"
Rows = tuple[Array, Array | None, Array | None]


class Crossentropy(Loss):
    """`-Σ target · log(probability)` of each row, and its softmax when it gets logits.

    Rows of probabilities are divided by their sums and clipped to [1e-7, 1 - 1e-7].
    """

    activation = "softmax"
    wants_logits = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits}

    def _rows_of(self, rows: Array, targets: Array, gradient: bool) -> Rows:
        scale = 1.0 / len(rows)
        if not (self.wants_logits or self.from_logits):
            return _of_probabilities(rows, targets, gradient, scale)
        if gradient and not self.wants_logits:
            rows = rows.copy()  # these are the outputs, which stay as they are
        found = ops.softmax_crossentropy(rows, targets, gradient=gradient, scale=scale)
        return found[0], rows if gradient else None, found[1]


def _of_probabilities(p: Array, targets: Array, gradient: bool, scale: float) -> Rows:
    """With q = p / Σ p, the gradient to p is (dq - Σ dq q) / Σ p."""
    sums = np.sum(p, axis=1, keepdims=True, dtype=np.float64).astype(p.dtype)
    sums = np.where(sums == 0, p.dtype.type(1), sums)
    q = p / sums
    if not gradient:
        losses, hits = ops.crossentropy(q, targets)
        return losses, None, hits
    dq = q.copy()
    losses, hits = ops.crossentropy(dq, targets, gradient=True)
    dq -= np.sum(dq * q, axis=1, keepdims=True)
    dq *= p.dtype.type(scale) / sums
    return losses, dq, hits


class SparseCategoricalCrossentropy(Crossentropy):
    """Cross-entropy against integer labels, of the outputs' shape without their last axis.

    Parameters
    ----------
    from_logits : bool
        The outputs are the sums that a softmax would get; otherwise they are probabilities.
    ignore_class : int or None
        Rows of this label count nothing, and the mean is over the others. It need not be a class.
    reduction, name, dtype
        As of `Loss`.
    axis : -1
        That of the classes.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = MEAN,
        axis: int = -1,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.from_logits = flag("from_logits", from_logits)
        given = ignore_class is not None
        self.ignore_class = integer("ignore_class", ignore_class, -LARGEST) if given else None
        check_axis(axis)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return (
            config if self.ignore_class is None else {**config, "ignore_class": self.ignore_class}
        )

    def check(self, y: Array, output_shape: Shape, weights: Array | None = None) -> None:
        """Raise ValueError unless y (...) or (..., 1) are integers in [0, N), or `ignore_class`.

        Labels of rows whose weight is zero may be any integers.
        """
        *leading, classes = output_shape
        _check_classes(classes)
        if y.dtype.kind not in "iub":
            raise ValueError(f"y: expected integer labels, got dtype {y.dtype}")
        if not (fits(y.shape, leading) or fits(y.shape, [*leading, 1])):
            expected = f"labels of shape {shape_text(leading)}"
            raise ValueError(f"y: expected {expected}, got {shape_text(y.shape)}")
        y = counted(y, weights)
        if self.ignore_class is not None:
            y = y[y != self.ignore_class]
        if y.size and not 0 <= int(y.min()) <= int(y.max()) < (classes or 0):
            found = f"[{y.min()}, {y.max()}]"
            raise ValueError(f"y: expected labels in [0, {classes}), got labels in {found}")

    def targets(self, y: Array, shape: Shape, dtype: str) -> Array:
        return np.ascontiguousarray(y.reshape(-1), np.int32 if y.dtype == np.int32 else np.int64)

    def mask_of(self, y: Array) -> Array | None:
        return None if self.ignore_class is None else y.reshape(-1) != self.ignore_class

    def _prepared(
        self, outputs: Array, y: Array, weights: Array | None
    ) -> tuple[Array, Array, Array | None]:
        rows, labels, weights = super()._prepared(outputs, y, weights)
        if weights is not None:  # labels that count nothing may be no classes
            labels = np.where(weights != 0, labels, labels.dtype.type(0))
        return rows, labels, weights


class CategoricalCrossentropy(Crossentropy):
    """Cross-entropy against one distribution per row (one-hot or soft), in the outputs' shape.

    Parameters
    ----------
    from_logits : bool
        The outputs are the sums that a softmax would get; otherwise they are probabilities.
    label_smoothing : float in [0, 1]
        The targets become y (1 - s) + s / N.
    axis : -1
        That of the classes.
    reduction, name, dtype
        As of `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.from_logits = flag("from_logits", from_logits)
        self.label_smoothing = number("label_smoothing", label_smoothing, 0.0, 1.0)
        check_axis(axis)

    def get_config(self) -> dict[str, Any]:
        config, smoothing = super().get_config(), self.label_smoothing
        return {**config, "label_smoothing": smoothing} if smoothing else config

    def check(self, y: Array, output_shape: Shape, weights: Array | None = None) -> None:
        """Raise ValueError unless y (..., N) are finite numbers.

        A row need not sum to one: its loss is `-Σ y · log(probability)` whatever the sum.
        """
        _check_classes(output_shape[-1])
        check_numbers(y, output_shape, weights)

    def _prepared(
        self, outputs: Array, y: Array, weights: Array | None
    ) -> tuple[Array, Array, Array | None]:
        rows, targets, weights = super()._prepared(outputs, y, weights)
        return rows, smoothed(targets, self.label_smoothing, targets.shape[-1]), weights


class BinaryCrossentropy(Loss):
    """`-t log(p) - (1 - t) log(1 - p)` of each output, its mean over the last axis and all rows.

    Probabilities are clipped to [1e-7, 1 - 1e-7]. Targets are in [0, 1]: 0 or 1, or soft.

    Parameters
    ----------
    from_logits : bool
        The outputs are the sums that a sigmoid would get; otherwise they are probabilities.
    label_smoothing : float in [0, 1]
        The targets become t (1 - s) + s / 2.
    axis : -1
        Over which to take the mean first.
    reduction, name, dtype
        As of `Loss`.
    """

    activation = "sigmoid"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.from_logits = flag("from_logits", from_logits)
        self.label_smoothing = number("label_smoothing", label_smoothing, 0.0, 1.0)
        check_axis(axis)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "from_logits": self.from_logits}
        smoothing = self.label_smoothing
        return {**config, "label_smoothing": smoothing} if smoothing else config

    def check(self, y: Array, output_shape: Shape, weights: Array | None = None) -> None:
        """Raise ValueError unless y is in [0, 1], (..., N); without the last axis when N is 1."""
        check_numbers(y, output_shape, weights, drops_one=True)
        y = counted(y, weights)
        if y.size and not (y.min() >= 0 and y.max() <= 1):
            found = f"[{y.min()}, {y.max()}]"
            raise ValueError(f"y: expected targets in [0, 1], got targets in {found}")

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        targets = smoothed(targets, self.label_smoothing, 2)
        logits = self.wants_logits or self.from_logits
        return ops.binary_crossentropy(outputs, targets, gradient=gradient, from_logits=logits)


class KLDivergence(Loss):
    """`Σ y log(y / output)` of each row of probabilities, both clipped to [1e-7, 1].

    Parameters
    ----------
    reduction, name, dtype
        As of `Loss`.
    """

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.kl_divergence(outputs, targets, gradient=gradient)


def smoothed(targets: Array, smoothing: float, classes: int) -> Array:
    if not smoothing:
        return targets
    real = targets.dtype.type
    return targets * real(1.0 - smoothing) + real(smoothing / classes)


def check_axis(axis: Any) -> None:
    if axis != -1 or isinstance(axis, (float, np.ndarray)):
        raise ValueError(f"axis: expected -1, the last, got {shown(axis)}")


def _check_classes(classes: int | None) -> None:
    """Raise ValueError where one class is all there is: its probability is one, the loss zero."""
    if classes == 1:
        expected = "outputs of two classes or more for a cross-entropy"
        raise ValueError(
            f"loss: expected {expected}, got one (mean_squared_error takes one output)"
        )

"""Losses, with Keras 3's names: the mean over all rows, that is over every axis but the last.

For outputs (B, V) that is the mean over the batch; for the outputs of every step, (B, T, V), the
mean over B · T. Sums are taken in float64 in a fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from . import ops
from .arguments import Array, Shape, choice, construct, flag, shape_text
from .ops.placement import on_device
from .samples import check_held

__all__ = [
    "BatchLoss",
    "CategoricalCrossentropy",
    "Loss",
    "MeanSquaredError",
    "PendingLoss",
    "SparseCategoricalCrossentropy",
    "get",
]


class BatchLoss(NamedTuple):
    """The loss of one batch.

    Attributes
    ----------
    total : float
        Sum of the losses of all rows.
    rows : int
    correct : int or None
        Number of rows whose largest output is at the target; None where that has no meaning.
    """

    total: float
    rows: int
    correct: int | None

    @property
    def mean(self) -> float:
        return self.total / self.rows

    def plus(self, penalty: float) -> BatchLoss:
        """Return the loss whose mean is larger by what the weights add to it."""
        return self._replace(total=self.total + penalty * self.rows) if penalty else self

    def read(self) -> BatchLoss:
        """Return the loss itself; see `PendingLoss`."""
        return self


@dataclass(frozen=True)
class PendingLoss:
    """The loss of one batch that a GPU is still at: `read` waits for it.

    Attributes
    ----------
    sums : DeviceArray of float64
        The total, and for a cross-entropy the number of correct rows.
    """

    sums: Any
    rows: int
    penalty: float = 0.0

    @property
    def mean(self) -> float:
        return self.read().mean

    def plus(self, penalty: float) -> PendingLoss:
        return replace(self, penalty=self.penalty + penalty)

    def read(self) -> BatchLoss:
        total, *correct = self.sums.copy_to_host().tolist()
        found = BatchLoss(total, self.rows, int(correct[0]) if correct else None)
        return found.plus(self.penalty)


AnyLoss = BatchLoss | PendingLoss


class Loss:
    """What the losses share: `loss(y_true, y_pred)` gives the mean as a float.

    Attributes
    ----------
    wants_logits : bool
        `forward` and `backward` take the sums that a softmax would get, in place of its output.
    """

    wants_logits = False

    def check(self, y: Array, output_shape: Shape) -> None:
        """Raise ValueError unless y are targets for outputs of this shape."""
        raise NotImplementedError

    def targets(self, y: Array, shape: Shape, dtype: str) -> Array:
        """Return checked targets of the host as `forward` and `backward` read them.

        For outputs of this shape and dtype; what is to go to a GPU goes there in this form.
        """
        raise NotImplementedError

    def forward(self, outputs: Array, y: Array) -> AnyLoss:
        """Return the loss of `outputs` (..., N) for checked targets; changes neither.

        Both on the host; or both on a GPU, then the targets as `targets` has them.
        """
        raise NotImplementedError

    def backward(self, outputs: Array, y: Array) -> tuple[AnyLoss, Array]:
        """Return the loss and the gradient of its mean in the shape of `outputs`.

        `outputs` may be overwritten, and the gradient may lie in their memory.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the class and its arguments, for `get`."""
        return {"class": type(self).__name__}

    def __call__(self, y_true: Array, y_pred: Array) -> float:
        """Return the mean loss of outputs `y_pred` (..., N), float32 or float64.

        Raises
        ------
        ValueError
            When `y_true` are no targets for them; see `check`.
        """
        outputs, y = np.asarray(y_pred), np.asarray(y_true)
        if outputs.dtype not in (np.float32, np.float64) or outputs.ndim < 2:
            found = f"{shape_text(outputs.shape)} of {outputs.dtype}"
            raise ValueError(f"y_pred: expected (B, ..., N) of float32 or float64, got {found}")
        self.check(y, outputs.shape)
        check_held("y_true", y, outputs.dtype.name, finite=False)
        return self._mean(outputs, y)

    def _mean(self, outputs: Array, y: Array) -> float:
        return self.forward(outputs, y).mean


class Crossentropy(Loss):
    """`-Σ target · log(probability)` of each row, and its softmax when it gets logits."""

    wants_logits = True

    def __init__(self, from_logits: bool = False):
        self.from_logits = flag("from_logits", from_logits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits}

    def forward(self, outputs: Array, y: Array) -> AnyLoss:
        logits = _rows(outputs)
        found = ops.softmax_crossentropy(logits, self._targets(y, logits), gradient=False)
        return _summed(*found)

    def backward(self, outputs: Array, y: Array) -> tuple[AnyLoss, Array]:
        logits = _rows(outputs)
        found = ops.softmax_crossentropy(logits, self._targets(y, logits), scale=1.0 / len(logits))
        return _summed(*found), logits.reshape(outputs.shape)

    def _mean(self, outputs: Array, y: Array) -> float:
        if self.from_logits:
            return self.forward(outputs, y).mean
        probabilities = _rows(outputs)
        return _summed(*ops.crossentropy(probabilities, self._targets(y, probabilities))).mean

    def _targets(self, y: Array, rows: Array) -> Array:
        """Return y as the kernels take it for `rows` (M, N)."""
        return y if on_device(y) else self.targets(y, rows.shape, rows.dtype.name)


class SparseCategoricalCrossentropy(Crossentropy):
    """Cross-entropy against integer labels, of the outputs' shape without their last axis.

    Parameters
    ----------
    from_logits : bool
        The outputs are the sums that a softmax would get; otherwise they are probabilities.
    """

    def check(self, y: Array, output_shape: Shape) -> None:
        """Raise ValueError unless y (...) or (..., 1) are integers in [0, N)."""
        *leading, classes = output_shape
        _check_classes(classes)
        if y.dtype.kind not in "iub":
            raise ValueError(f"y: expected integer labels, got dtype {y.dtype}")
        if not (_fits(y.shape, leading) or _fits(y.shape, [*leading, 1])):
            expected = f"labels of shape {shape_text(leading)}"
            raise ValueError(f"y: expected {expected}, got {shape_text(y.shape)}")
        if y.size and not 0 <= int(y.min()) <= int(y.max()) < (classes or 0):
            found = f"[{y.min()}, {y.max()}]"
            raise ValueError(f"y: expected labels in [0, {classes}), got labels in {found}")

    def targets(self, y: Array, shape: Shape, dtype: str) -> Array:
        return np.ascontiguousarray(y.reshape(-1), np.int32 if y.dtype == np.int32 else np.int64)


class CategoricalCrossentropy(Crossentropy):
    """Cross-entropy against one distribution per row (one-hot or soft), in the outputs' shape.

    Parameters
    ----------
    from_logits : bool
        The outputs are the sums that a softmax would get; otherwise they are probabilities.
    """

    def check(self, y: Array, output_shape: Shape) -> None:
        """Raise ValueError unless y (..., N) are finite numbers.

        A row need not sum to one: its loss is `-Σ y · log(probability)` whatever the sum.
        """
        _check_classes(output_shape[-1])
        _check_numbers(y, output_shape)

    def targets(self, y: Array, shape: Shape, dtype: str) -> Array:
        return np.ascontiguousarray(y.reshape(-1, shape[-1] or 1), dtype)


class MeanSquaredError(Loss):
    """`(output - target)²`, its mean over the last axis and over all rows."""

    def check(self, y: Array, output_shape: Shape) -> None:
        """Raise ValueError unless y is finite, (..., N); without the last axis when N is 1."""
        *leading, features = output_shape
        one_per_row = features == 1 and _fits(y.shape, leading)
        _check_numbers(y, y.shape if one_per_row else output_shape)

    def targets(self, y: Array, shape: Shape, dtype: str) -> Array:
        return np.ascontiguousarray(y.reshape(-1, shape[-1] or 1), dtype)

    def forward(self, outputs: Array, y: Array) -> AnyLoss:
        found, _ = ops.squared_error(*self._pair(outputs, y), gradient=False)
        return self._loss(found, outputs)

    def backward(self, outputs: Array, y: Array) -> tuple[AnyLoss, Array]:
        rows, targets = self._pair(outputs, y)
        found, gradient = ops.squared_error(rows, targets, scale=1.0 / len(rows))
        assert gradient is not None
        return self._loss(found, outputs), gradient.reshape(outputs.shape)

    def _pair(self, outputs: Array, y: Array) -> tuple[Array, Array]:
        rows = _rows(outputs)
        return rows, y if on_device(y) else self.targets(y, rows.shape, rows.dtype.name)

    def _loss(self, total: Any, outputs: Array) -> AnyLoss:
        rows = outputs.size // outputs.shape[-1]
        return PendingLoss(total, rows) if on_device(outputs) else BatchLoss(total, rows, None)


def get(identifier: str | dict[str, Any] | Loss) -> Loss:
    """Return the loss of this Keras name, of this config, or itself; ValueError for others."""
    if type(identifier) in CLASSES.values():
        return identifier  # type: ignore[return-value]
    if isinstance(identifier, dict):
        return construct("loss", identifier, CLASSES)
    return NAMED[choice("loss", identifier, NAMED)]()


def _rows(outputs: Array) -> Array:
    return outputs.reshape(-1, outputs.shape[-1])


def _summed(losses: Array, correct: Array) -> AnyLoss:
    sums = ops.sum_losses(losses, correct)
    if on_device(losses):
        return PendingLoss(sums, len(losses))
    total, count = sums
    return BatchLoss(total, len(losses), count)


def _fits(found: Shape, expected: list[int | None]) -> bool:
    return len(found) == len(expected) and all(
        want in (None, size) for want, size in zip(expected, found, strict=True)
    )


def _check_classes(classes: int | None) -> None:
    """Raise ValueError where one class is all there is: its probability is one, the loss zero."""
    if classes == 1:
        expected = "outputs of two classes or more for a cross-entropy"
        raise ValueError(
            f"loss: expected {expected}, got one (mean_squared_error takes one output)"
        )


def _check_numbers(y: Array, shape: Shape) -> None:
    if y.dtype.kind not in "iufb" or not _fits(y.shape, list(shape)):
        found = f"{shape_text(y.shape)} of {y.dtype}"
        raise ValueError(f"y: expected numbers of shape {shape_text(shape)}, got {found}")
    if not np.isfinite(y).all():
        raise ValueError("y: expected finite numbers, got NaN or Inf")


CLASSES: dict[str, type[Loss]] = {
    made.__name__: made
    for made in (SparseCategoricalCrossentropy, CategoricalCrossentropy, MeanSquaredError)
}

NAMED: dict[str, type[Loss]] = {
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
}

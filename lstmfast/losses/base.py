"""What the losses share: the mean over all rows, that is over every axis but the last.

For outputs (B, V) that is the mean over the batch; for the outputs of every step, (B, T, V), the
mean over B · T; with weights and masks as `weights` tells. Sums are taken in float64 in a fixed
order.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np

from .. import ops, registry
from ..arguments import Array, Shape, check_shape, choice, shape_text, shown
from ..ops.placement import on_device, to_device
from ..registry import snake_case
from ..samples import check_held
from .weights import NOT_REDUCED, REDUCTIONS, each_of, flags, row_weights, sum_of, weigh

__all__ = ["AnyLoss", "BatchLoss", "Loss", "PendingLoss"]

NAMES = {"Huber": "huber_loss"}  # where Keras's is not the class's in small letters


@dataclass(frozen=True)
class BatchLoss:
    """The loss of one batch.

    Attributes
    ----------
    total : float
        Sum of the losses of all rows, times their weights.
    rows : int
        The number of all rows, those of weight zero too.
    correct : int or None
        Number of rows, but those of weight zero, whose largest output is at the target; None where
        that has no meaning.
    hits : (rows,) of bool, or None
        Which rows these are, where the loss found it out on its way.
    """

    total: float
    rows: int
    correct: int | None
    hits: Array | None = field(default=None, compare=False, repr=False)

    @property
    def mean(self) -> float:
        return self.total / self.rows

    def plus(self, penalty: float) -> BatchLoss:
        """Return the loss whose mean is larger by what the weights add to it."""
        return replace(self, total=self.total + penalty * self.rows) if penalty else self

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
    hits : DeviceArray of bool, or None
        Which rows these are, where not all count alike.
    """

    sums: Any
    rows: int
    penalty: float = 0.0
    hits: Any = None

    @property
    def mean(self) -> float:
        return self.read().mean

    def plus(self, penalty: float) -> PendingLoss:
        return replace(self, penalty=self.penalty + penalty)

    def read(self) -> BatchLoss:
        total, *correct = self.sums.copy_to_host().tolist()
        hits = None if self.hits is None else self.hits.copy_to_host()
        found = BatchLoss(total, self.rows, int(correct[0]) if correct else None, hits)
        return found.plus(self.penalty)


AnyLoss = BatchLoss | PendingLoss


class Loss:
    """What the losses share: `loss(y_true, y_pred)` gives the mean as a float.

    A loss of your own is a subclass with the method `row_losses`; targets are then numbers in the
    outputs' shape, unless it has its own `check` and `targets`. Registered, it is found again when
    a saved model is loaded:

    >>> @registry.register_serializable(package="mine")
    ... class LogCosh(Loss):
    ...     def row_losses(self, outputs, targets, gradient):
    ...         error = outputs - targets
    ...         losses = np.log(np.cosh(error)).mean(axis=1)
    ...         return losses, np.tanh(error) / error.shape[1] if gradient else None

    Parameters
    ----------
    reduction : str
        What the loss of a batch is; see `weights.row_weights`. With "none" the loss gives the
        array of the rows' losses when it is called, and cannot be trained with.
    name : str or None
    dtype : None
        A loss is calculated in the dtype of the outputs, its sums in float64.

    Attributes
    ----------
    activation : str or None
        The activation that the loss can take over, see `behind`.
    from_logits : bool
        The outputs are what that activation would get.
    wants_logits : bool
        `forward` and `backward` take the sums that the activation would get, in place of its
        output, and `backward` may overwrite them.
    """

    reduction: str | None = "sum_over_batch_size"
    name = ""
    activation: str | None = None
    from_logits = False
    wants_logits = False

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: None = None,
    ):
        self.reduction = choice("reduction", reduction, REDUCTIONS)
        if name is not None and not isinstance(name, str):
            raise ValueError(f"name: expected a str, got {shown(name)}")
        self.name = name or self._default_name()
        if dtype is not None:
            raise ValueError(f"dtype: expected None (that of the outputs), got {shown(dtype)}")

    def behind(self, activation: str | None) -> Loss:
        """Return this loss for a last layer of this activation; None where there is none to ask.

        Where its `wants_logits` is True, `forward` and `backward` are to get that layer's sums,
        before the activation; else the layer's outputs.

        Raises
        ------
        ValueError
            When the outputs would go through the activation twice, or with reduction="none".
        """
        takes_over = self.activation is not None and activation == self.activation
        if takes_over and self.from_logits:
            expected = f"from_logits=False behind a {activation}"
            raise ValueError(f"loss: expected {expected}, got {self.get_config()}")
        self._check_reduced()
        twin = copy.copy(self)
        twin.wants_logits = takes_over or (self.from_logits and activation == "linear")
        return twin

    def check(self, y: Array, output_shape: Shape, weights: Array | None = None) -> None:
        """Raise ValueError unless y are targets for outputs of this shape.

        Targets of rows whose weight is zero may be anything of the right shape and kind.
        """
        check_numbers(y, output_shape, weights)

    def targets(self, y: Array, shape: Shape, dtype: str) -> Array:
        """Return checked targets of the host as `forward` and `backward` read them.

        For outputs of this shape and dtype; what is to go to a GPU goes there in this form.
        """
        return np.ascontiguousarray(y.reshape(-1, shape[-1] or 1), dtype)

    def mask_of(self, y: Array) -> Array | None:
        """Return which rows the targets themselves say to count (R,), or None for all."""
        return None

    def row_weights(
        self, y: Array, output_shape: Sequence[int], sample_weight: Any = None, mask: Any = None
    ) -> Array | None:
        """Return the weights (R,) that `forward` and `backward` take, or None for all ones.

        Parameters
        ----------
        y : array
            The targets, as they are or as `targets` gives them.
        output_shape : sequence of int
            (B, ..., N)
        sample_weight, mask : array_like or None
            As `weights.row_weights` takes them.

        Raises
        ------
        ValueError
            When a shape does not fit, or a weight that counts is not finite.
        """
        rows, own = output_shape[:-1], self.mask_of(y)
        if own is not None:
            if own.size != math.prod(rows):
                expected = f"one target for each row of {shape_text(rows)}"
                raise ValueError(f"y: expected {expected}, got {shape_text(y.shape)}")
            own = own.reshape(tuple(rows))
            mask = own if mask is None else own & flags("mask", mask, rows)
        return row_weights(rows, sample_weight, mask, self.reduction)

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        """Return the loss of each row (R,) and, with `gradient`, that of each row's loss (R, N).

        For outputs (R, N) and targets as `targets` gives them; changes neither, and the gradient
        is an array of its own.
        """
        raise NotImplementedError

    def forward(self, outputs: Array, y: Array, weights: Array | None = None) -> AnyLoss:
        """Return the loss of `outputs` (..., N) for checked targets; changes neither.

        Parameters
        ----------
        outputs, y : array
            Both on the host; or both on a GPU, then the targets as `targets` has them.
        weights : (R,) of float64, or None
            As `row_weights` gives them; None is what it gives without weights and mask.
        """
        return self._found(outputs, y, weights, False)[0]

    def backward(
        self, outputs: Array, y: Array, weights: Array | None = None
    ) -> tuple[AnyLoss, Array]:
        """Return the loss and the gradient of its mean in the shape of `outputs`.

        With `wants_logits`, `outputs` may be overwritten, and the gradient may lie in their memory.
        """
        found, gradient = self._found(outputs, y, weights, True)
        assert gradient is not None
        return found, gradient.reshape(outputs.shape)

    def get_config(self) -> dict[str, Any]:
        """Return the class and its arguments, for `get`; without what is as by default."""
        config: dict[str, Any] = {"class": registry.name_of(type(self))}
        if self.reduction != "sum_over_batch_size":
            config["reduction"] = self.reduction
        if self.name != self._default_name():
            config["name"] = self.name
        return config

    def __call__(
        self, y_true: Array, y_pred: Array, sample_weight: Any = None, mask: Any = None
    ) -> Any:
        """Return the loss of outputs `y_pred` (..., N), float32 or float64.

        Returns
        -------
        loss : float; with reduction="none" the rows' losses (...) of float64

        Raises
        ------
        ValueError
            When `y_true` are no targets for them, see `check`; when weights do not fit, see
            `weights.row_weights`.
        """
        outputs, y = np.asarray(y_pred), np.asarray(y_true)
        if outputs.dtype not in (np.float32, np.float64) or outputs.ndim < 2:
            found = f"{shape_text(outputs.shape)} of {outputs.dtype}"
            raise ValueError(f"y_pred: expected (B, ..., N) of float32 or float64, got {found}")
        weights = self.row_weights(y, outputs.shape, sample_weight, mask)
        self.check(y, outputs.shape, weights)
        check_held("y_true", y, outputs.dtype.name, finite=False)
        twin = copy.copy(self)
        twin.wants_logits = False
        if self.reduction in NOT_REDUCED:
            return twin.each_row(outputs, y, weights).reshape(outputs.shape[:-1])
        return twin.forward(outputs, y, weights).mean

    def each_row(self, outputs: Array, y: Array, weights: Array | None = None) -> Array:
        """Return the losses of the rows (R,), times their weights."""
        rows, targets, weights = self._prepared(outputs, y, weights)
        with np.errstate(all="ignore"):
            return each_of(self._rows_of(rows, targets, False)[0], weights)

    def _found(
        self, outputs: Array, y: Array, weights: Array | None, gradient: bool
    ) -> tuple[AnyLoss, Array | None]:
        """Return the loss and, with `gradient`, the gradient (R, N) of its mean."""
        self._check_reduced()
        rows, targets, weights = self._prepared(outputs, y, weights)
        with np.errstate(all="ignore"):  # NaN and Inf in outputs are no reason to warn
            losses, slope, hits = self._rows_of(rows, targets, gradient)
        if slope is not None and weights is not None:
            weigh(slope, weights)
        return batch_loss(losses, weights, hits), slope

    def _rows_of(
        self, rows: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """Return losses of rows, the gradient of their mean, and which are right, if it knows."""
        losses, slope = self.row_losses(rows, targets, gradient)
        if slope is not None:
            slope = slope.astype(rows.dtype, copy=False)
            slope *= slope.dtype.type(1.0 / len(rows))
        return losses, slope, None

    def _prepared(
        self, outputs: Array, y: Array, weights: Array | None
    ) -> tuple[Array, Array, Array | None]:
        """Return outputs (R, N), targets and weights for the arithmetic."""
        rows = rows_of(outputs)
        if weights is None:
            weights = self.row_weights(y, outputs.shape)
        else:
            check_shape("weights", weights.shape, (len(rows),))
        targets = y if on_device(y) else self.targets(y, rows.shape, rows.dtype.name)
        if not on_device(outputs):
            return rows, targets, weights
        import_module("lstmfast.cuda.support").check_loss(self)
        weights = None if weights is None else to_device(weights, "cuda")
        return rows, to_device(targets, "cuda"), weights

    def _check_reduced(self) -> None:
        if self.reduction in NOT_REDUCED:
            expected = "a reduction to one number to train with, such as 'sum_over_batch_size'"
            raise ValueError(f"reduction: expected {expected}, got {self.reduction!r}")

    def _default_name(self) -> str:
        return NAMES.get(type(self).__name__) or snake_case(type(self).__name__)


def rows_of(outputs: Array) -> Array:
    return outputs.reshape(-1, outputs.shape[-1])


def batch_loss(losses: Array, weights: Array | None, hits: Array | None) -> AnyLoss:
    """Return the loss of a batch from those of its rows, their weights and which are right."""
    if on_device(losses):
        return _pending(losses, weights, hits)
    correct = None
    if hits is not None:
        correct = int(np.count_nonzero(hits if weights is None else hits & (weights != 0)))
    return BatchLoss(sum_of(losses, weights), len(losses), correct, hits)


def _pending(losses: Any, weights: Any, hits: Any) -> PendingLoss:
    """As `batch_loss`, of rows on a GPU."""
    if weights is None and hits is not None:
        return PendingLoss(ops.sum_losses(losses, hits), len(losses))  # type: ignore[arg-type]
    sums = np.sum(each_of(losses, weights), keepdims=True)
    if hits is not None:
        counted = np.sum(hits & (weights != 0), dtype=np.float64, keepdims=True)
        sums = np.concatenate([sums, counted])
    return PendingLoss(sums, len(losses), hits=hits)


def fits(found: Shape, expected: Sequence[int | None]) -> bool:
    """Are these the sizes, where None stands for any?"""
    return len(found) == len(expected) and all(
        want in (None, size) for want, size in zip(expected, found, strict=True)
    )


def check_numbers(
    y: Array, shape: Sequence[int | None], weights: Array | None = None, drops_one: bool = False
) -> None:
    """Raise ValueError unless y are numbers of this shape, finite in rows of weight not zero.

    With `drops_one` a last axis of size one may be missing.
    """
    if drops_one and shape[-1] == 1 and fits(y.shape, shape[:-1]):
        shape = y.shape
    if y.dtype.kind not in "iufb" or not fits(y.shape, shape):
        found = f"{shape_text(y.shape)} of {y.dtype}"
        raise ValueError(f"y: expected numbers of shape {shape_text(shape)}, got {found}")
    if not np.isfinite(counted(y, weights)).all():
        raise ValueError("y: expected finite numbers, got NaN or Inf")


def counted(y: Array, weights: Array | None) -> Array:
    """Return the targets y (..., N) or (...) of the rows whose weight is not zero."""
    if weights is None or weights.all():
        return y
    return y.reshape(len(weights), -1)[weights != 0]

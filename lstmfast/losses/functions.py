"""Losses as functions: Keras's own by name, and those that users bring with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import registry
from ..arguments import Array, check_shape, shape_text, shown
from .base import Loss
from .regression import MEAN, Regression

__all__ = ["LossFunction", "LossFunctionWrapper", "check_gradient"]

STEP = 1e-6  # of central differences, for numbers of about one


class LossFunction:
    """A loss of Keras's as a function: `f(y_true, y_pred, **arguments)` of each row.

    It is also what `compile(loss=...)`, `compile(metrics=...)` and `get` take.

    Parameters
    ----------
    made : the class of the loss
    name : str
    """

    def __init__(self, made: type[Loss], name: str):
        self.made, self.__name__ = made, name
        self.__doc__ = (made.__doc__ or "").split("\n")[0]

    def __call__(self, y_true: Any, y_pred: Any, **arguments: Any) -> Any:
        """Return the losses of rows y_pred (..., N), an array (...) of its dtype.

        Targets need not be finite; `arguments` are those of the class, such as `from_logits`.

        Raises
        ------
        ValueError
            When a shape does not fit, or for what are no numbers.
        """
        outputs = _floats(y_pred)
        one = outputs.ndim == 1
        outputs, y = (np.atleast_2d(outputs), np.asarray(y_true))
        y = y[None] if one else y
        loss = self.made(reduction="none", **arguments)
        loss.wants_logits = False
        loss.check(y, outputs.shape, np.zeros(int(np.prod(outputs.shape[:-1]))))
        found = loss.each_row(outputs, y).reshape(outputs.shape[:-1]).astype(outputs.dtype)
        return found[0] if one else found

    def __repr__(self) -> str:
        return f"<function lstmfast.losses.{self.__name__}>"

    def loss(self) -> Loss:
        """Return the loss to train with, with its usual arguments."""
        return self.made()


class LossFunctionWrapper(Regression):
    """A loss of two functions of yours: the losses of rows, and the gradient of each.

    >>> LossFunctionWrapper(
    ...     lambda y, p: np.mean((p - y) ** 4, axis=-1),
    ...     lambda y, p: 4 * (p - y) ** 3 / p.shape[-1],
    ... )

    Targets are numbers in the outputs' shape. Weights, masks and the reduction are done here.
    `check_gradient` holds both functions against each other.

    Parameters
    ----------
    fn : callable
        `fn(y_true, y_pred)` of arrays (R, N) of NumPy, which it leaves alone: the losses (R,).
    gradient : callable or None
        `gradient(y_true, y_pred)`, the gradient of each row's loss to its outputs: (R, N). None:
        `fn` returns both, (losses, gradient).
    reduction, name, dtype
        As of `Loss`; the name is the function's by default.

    Raises
    ------
    ValueError
        For what are no functions; when they return something else; by `get_config`, when they are
        not registered, so that a file could not name them (`registry.register_serializable`).
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        gradient: Callable[..., Any] | None = None,
        reduction: str | None = MEAN,
        name: str | None = None,
        dtype: None = None,
    ):
        self.fn = _function("fn", fn)
        self.gradient = None if gradient is None else _function("gradient", gradient)
        super().__init__(reduction, name, dtype)

    def row_losses(
        self, outputs: Array, targets: Array, gradient: bool
    ) -> tuple[Array, Array | None]:
        found = self.fn(targets, outputs)
        if self.gradient is None:
            if not isinstance(found, tuple) or len(found) != 2:
                expected = "(losses, gradient) from fn, as there is no gradient function"
                raise ValueError(f"{self.name}: expected {expected}, got {shown(found)}")
            found, slope = found
        elif gradient:
            slope = self.gradient(targets, outputs)
        losses = self._returned("fn", found, outputs.shape[:1])
        if not gradient:
            return losses, None
        return losses, self._returned("gradient", slope, outputs.shape).astype(outputs.dtype)

    def _returned(self, what: str, found: Any, shape: tuple[int, ...]) -> Array:
        array = np.asarray(found)
        if array.dtype.kind not in "iufb" or array.shape != shape:
            got = f"{shape_text(array.shape)} of {array.dtype}"
            expected = f"numbers {shape_text(shape)} from {what}, one row for each row of outputs"
            raise ValueError(f"{self.name}: expected {expected}, got {got}")
        return array

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for argument in ("fn", "gradient"):
            function = getattr(self, argument)
            if function is not None:
                config[argument] = _registered_name(argument, function)
        return config

    def _default_name(self) -> str:
        return str(getattr(self.fn, "__name__", "loss"))


def check_gradient(loss: Loss, y_true: Any, y_pred: Any, tolerance: float = 1e-5) -> float:
    """Return how far a loss's gradient is from differences of the loss, by the largest of them.

    Parameters
    ----------
    loss : Loss
    y_true, y_pred : array_like
        A few targets and outputs (B, ..., N), away from where the loss has a corner.
    tolerance : float

    Raises
    ------
    ValueError
        When it is farther than `tolerance`.
    """
    outputs, y = np.array(y_pred, np.float64), np.asarray(y_true)
    loss.check(y, outputs.shape)
    plain = loss.behind(None)
    found = plain.backward(outputs.copy(), y)[1]
    expected = np.empty(outputs.shape)
    for at in np.ndindex(outputs.shape):
        here = outputs[at]
        outputs[at] = here + STEP
        above = plain.forward(outputs.copy(), y).mean
        outputs[at] = here - STEP
        expected[at] = (above - plain.forward(outputs.copy(), y).mean) / (2 * STEP)
        outputs[at] = here
    check_shape("gradient", found.shape, outputs.shape)
    scale = float(np.abs(expected).max()) or 1.0
    error = float(np.abs(found - expected).max()) / scale
    if not error <= tolerance:
        raise ValueError(f"gradient: expected one within {tolerance} of differences, got {error}")
    return error


def _floats(y_pred: Any) -> Array:
    """Return outputs as floats, float32 unless they are float64; ValueError for others."""
    found = np.asarray(y_pred)
    if found.dtype.kind not in "iufb" or not found.ndim or not found.size:
        raise ValueError(f"y_pred: expected an array of numbers (..., N), got {shown(y_pred)}")
    return found if found.dtype == np.float64 else found.astype(np.float32)


def _function(argument: str, found: Any) -> Callable[..., Any]:
    """Return a function, or that of a registered name; ValueError for others."""
    if isinstance(found, str) and registry.registered(found) is not None:
        found = registry.registered(found)
    if not callable(found) or isinstance(found, type):
        expected = "a function of y_true and y_pred"
        raise ValueError(f"{argument}: expected {expected}, got {shown(found)}")
    return found  # type: ignore[no-any-return]


def _registered_name(argument: str, function: Any) -> str:
    name = registry.name_of(function) if hasattr(function, "__name__") else ""
    if registry.registered(name) is not function:
        expected = "a function that register_serializable has registered"
        raise ValueError(
            f"{argument}: expected {expected} to write its name, got {shown(function)}"
        )
    return name

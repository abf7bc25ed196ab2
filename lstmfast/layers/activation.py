"""Activation, ReLU, LeakyReLU, ELU and Softmax: what is done to each number, or along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activations import OF_INPUTS, name_of
from ..arguments import LARGEST, Array, Shape, check_shape, choice, integer, number
from ..ops.activations import Activation as Function
from ..ops.layouts import in_order
from ..ops.rectified import rectified, rectified_backward
from .checks import axis_of, is_array
from .dense import ACTIVATIONS
from .weightless import Weightless

__all__ = ["ELU", "Activation", "LeakyReLU", "ReLU", "Softmax"]


class Pointwise(Weightless):
    """The base of what the kernels of activations do; the way back reads the output alone."""

    supports_masking = True

    stepwise = True

    def _function(self) -> str | Function:
        """Return what `ops` takes: a name, or an activation with its parameters."""
        raise NotImplementedError

    def _forward(self, x: Array) -> tuple[Array, Any]:
        if self._function() == "linear":
            return x, None
        y = self._ops.activation_forward(self._function(), x)
        return y, y

    def _backward(self, dy: Array, kept: Any) -> Array:
        if kept is None:
            return dy
        dx: Array = self._ops.activation_backward(self._function(), kept, dy)
        return dx


class Activation(Pointwise):
    """An activation of each number, or softmax over the last axis: (...) to the same shape.

    Parameters
    ----------
    activation : str or function
        "linear" (then the output is x itself), "softmax", or the name of an activation with its
        usual parameters: see `lstmfast.Activation`; or one of those that are calculated by NumPy,
        such as "gelu": see `lstmfast.activations`.
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.
    """

    def __init__(
        self, activation: Any, *, name: str | None = None, input_shape: Shape | None = None
    ):
        super().__init__(name, input_shape)
        if activation is None:
            choice("activation", None, ACTIVATIONS)
        self.activation = name_of("activation", activation, ACTIVATIONS)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        if self.activation == "softmax" and len(input_shape) < 2:
            check_shape("x", input_shape, ("B", "K"))
        return tuple(input_shape)

    def _function(self) -> str:
        return self.activation

    def _forward(self, x: Array) -> tuple[Array, Any]:
        if self.activation in OF_INPUTS:
            return OF_INPUTS[self.activation].forward(x), x
        if self.activation != "softmax":
            return super()._forward(x)
        y = self._ops.softmax(_rows(x)).reshape(x.shape)
        return y, y

    def _backward(self, dy: Array, kept: Any) -> Array:
        if self.activation in OF_INPUTS:
            return OF_INPUTS[self.activation].backward(kept, dy)
        if self.activation != "softmax":
            return super()._backward(dy, kept)
        dx: Array = self._ops.softmax_backward(_rows(kept), _rows(dy))
        return dx


class LeakyReLU(Pointwise):
    """x, or `negative_slope` x below 0.

    Parameters
    ----------
    negative_slope : float
        At least 0.
    name, input_shape : optional
        As of `Activation`.
    """

    def __init__(
        self,
        negative_slope: float = 0.3,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.negative_slope = number("negative_slope", negative_slope, 0.0, 1e30)

    def _function(self) -> str | Function:
        return Function("leaky_relu", self.negative_slope) if self.negative_slope else "relu"


class ELU(Pointwise):
    """x, or alpha (eˣ - 1) below 0.

    Parameters
    ----------
    alpha : float
        Above 0.
    name, input_shape : optional
        As of `Activation`.
    """

    def __init__(
        self, alpha: float = 1.0, *, name: str | None = None, input_shape: Shape | None = None
    ):
        super().__init__(name, input_shape)
        self.alpha = number("alpha", alpha, 0.0, 1e30)
        if self.alpha == 0:
            raise ValueError(f"alpha: expected a number > 0 (0 is ReLU), got {alpha}")

    def _function(self) -> Function:
        return Function("elu", self.alpha)


class ReLU(Weightless):
    """x above `threshold`, at most `max_value`; elsewhere `negative_slope` (x - `threshold`).

    Parameters
    ----------
    max_value : float, optional
        None: no limit.
    negative_slope, threshold : float
        At least 0, as `max_value`.
    name, input_shape : optional
        As of `Activation`.
    """

    supports_masking = True

    stepwise = True

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.max_value = None if max_value is None else number("max_value", max_value, 0.0, 1e30)
        self.negative_slope = number("negative_slope", negative_slope, 0.0, 1e30)
        self.threshold = number("threshold", threshold, 0.0, 1e30)

    def _limits(self) -> tuple[float | None, float, float]:
        return self.max_value, self.negative_slope, self.threshold

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return rectified(x, *self._limits()), x

    def _backward(self, dy: Array, kept: Any) -> Array:
        return rectified_backward(kept, dy, *self._limits())


class Softmax(Weightless):
    """Softmax along one axis: (...) to the same shape.

    Parameters
    ----------
    axis : int
        Not the batch.
    name, input_shape : optional
        As of `Activation`.

    Notes
    -----
    A mask, such as an Embedding makes one, must have as many axes as x, each of x's size or 1, as
    in Keras: what it leaves out gets zeros, the others sum to 1. One of (B, T) fits x (B, T) alone.
    """

    takes_mask = supports_masking = True

    def __init__(
        self, axis: int = -1, *, name: str | None = None, input_shape: Shape | None = None
    ):
        super().__init__(name, input_shape)
        self.axis = integer("axis", axis, -LARGEST)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        axis_of(self.axis, len(input_shape))
        return tuple(input_shape)

    def forward(self, x: Array, training: bool = False, mask: Any = None) -> Array:
        """Return the shares for x of the layer's dtype; mask: bool, what counts (see the class)."""
        x = self._floats(x)
        kept = None if mask is None else _alike(mask, x)
        y = self._shares(x if kept is None else np.where(kept, x, x.dtype.type(-1e9)))
        if kept is not None:
            y = np.where(kept, y, x.dtype.type(0))
        if training:
            self._cache = (x.shape, y)
        return y

    def _shares(self, x: Array) -> Array:
        rows = in_order(np.moveaxis(x, self.axis, -1))
        y = self._ops.softmax(_rows(rows)).reshape(rows.shape)
        return in_order(np.moveaxis(y, -1, self.axis))

    def _backward(self, dy: Array, kept: Any) -> Array:
        dy -= np.sum(dy * kept, axis=self.axis, keepdims=True)
        dy *= kept
        return dy


def _rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])


def _alike(mask: Any, x: Array) -> Array:
    """Return a mask that broadcasts to x; ValueError for others."""
    if not is_array(mask) or mask.dtype != np.bool_:
        raise ValueError(f"mask: expected an array of bool, got {type(mask).__name__}")
    sizes = zip(mask.shape, x.shape, strict=False)
    if mask.ndim != x.ndim or any(size not in (1, of_x) for size, of_x in sizes):
        expected = f"{x.ndim} axes that broadcast to those of x, {x.shape}"
        raise ValueError(f"mask: expected {expected}, got {mask.shape}")
    return mask

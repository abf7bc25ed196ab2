"""PReLU: a ReLU whose slope below zero is learnt."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import constraints, initializers, regularizers
from ..arguments import Array, Shape, check_shape, integer, shape_text
from ..ops.dispatch import float_like
from .base import Layer
from .stepping import Stepper, stepper_in_time
from .weightless import gradient_of

__all__ = ["PReLU"]


class PReLU(Layer):
    """x, or alpha x below 0, with an alpha of its own for each number but the batch's.

    Parameters
    ----------
    alpha_initializer : str or Initializer
    alpha_regularizer : str or Regularizer, optional
    alpha_constraint : str or Constraint, optional
    shared_axes : list of int, optional
        Axes along which one alpha does for all: [1] of (B, T, I) learns one for each unit. All
        others must be of known size.
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.
    seed : int, optional
        Of the initial weights, where the initializer draws.

    Notes
    -----
    Source: He et al. 2015, section 2.1.
    """

    draws = False
    supports_masking = True
    roles: ClassVar = {"alpha": "alpha"}

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed, input_shape)
        self.alpha_initializer = initializers.get(alpha_initializer, "alpha_initializer")
        self.alpha_regularizer = regularizers.get(alpha_regularizer, "alpha_regularizer")
        self.alpha_constraint = constraints.get(alpha_constraint, "alpha_constraint")
        listed = shared_axes if isinstance(shared_axes, (list, tuple)) else [shared_axes]
        given = shared_axes is not None
        self.shared_axes = [integer("shared_axes", one, 1) for one in listed] if given else None
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        shape = tuple(
            1 if axis in (self.shared_axes or ()) else size
            for axis, size in enumerate(input_shape[1:], 1)
        )
        known = tuple(size for size in shape if size is not None)
        if len(known) < len(shape):
            expected = "known sizes of all axes but the batch and shared_axes"
            raise ValueError(f"input_shape: expected {expected}, got {shape_text(input_shape)}")
        return {"alpha": known}

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2 or max(self.shared_axes or (0,)) >= len(input_shape):
            expected = f"axes for shared_axes {self.shared_axes}"
            raise ValueError(f"x: expected {expected}, got {shape_text(input_shape)}")
        if self.built:
            sizes = zip(input_shape, (1, *self.params["alpha"].shape), strict=False)
            wanted = [size if known == 1 else known for size, known in sizes]
            check_shape("x", input_shape, ["B" if size is None else size for size in wanted])
        return tuple(input_shape)

    def stepper(self, batch_size: int) -> Stepper:
        known = self.input_shape
        if known is not None and len(known) == 3 and 1 in (self.shared_axes or ()):
            return stepper_in_time(self)
        return super().stepper(batch_size)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return an array like x, floats of the layer's dtype."""
        self._check_built()
        x = float_like("x", self._as_floats(x), np.dtype(self.dtype))
        self.output_shape(x.shape)
        if training:
            self._cache = x
        with np.errstate(over="ignore", invalid="ignore"):
            y: Array = np.where(x > 0, x, x * self.params["alpha"])
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        x, alpha = self._cached(), self.params["alpha"]
        dy = gradient_of(self._placed("dy", dy), x.shape, self.dtype)
        below = np.where(x < 0, dy * x, x.dtype.type(0))
        shared = [axis for axis in self.shared_axes or () if axis < x.ndim]
        summed = np.sum(below, axis=(0, *sorted({*shared})), dtype=np.float64)
        self.grads = {"alpha": summed.reshape(alpha.shape).astype(dy.dtype)}
        self._cache = None
        if not need_dx:
            return None
        dy *= np.where(x > 0, x.dtype.type(1), np.where(x < 0, alpha, x.dtype.type(0)))
        return dy

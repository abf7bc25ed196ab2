"""Dense: a product, a bias and an activation; arithmetic in `ops`."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import activations, constraints, initializers, regularizers
from ..arguments import Array, Shape, check_shape, flag, integer
from ..ops.activations import NAMES
from ..ops.placement import is_own
from .base import Layer
from .checks import features_of
from .stepping import Stepper, dense_stepper, same_stepper

__all__ = ["ACTIVATIONS", "COMPILED", "Dense", "dense_rows"]

COMPILED = ("linear", "softmax", *NAMES)
ACTIVATIONS = (*COMPILED, *activations.OF_INPUTS)


class Dense(Layer):
    """`activation(x · kernel + bias)` over the last axis: (..., K) to (..., units).

    Parameters
    ----------
    units : int
    activation : str or function, optional
        "linear" (None), "softmax" or the name of an `Activation`, with its usual parameters; or
        one of those that are calculated by NumPy, such as "gelu": see `lstmfast.activations`.
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        What the weights add to the loss; see `Layer`.
    kernel_constraint, bias_constraint : str or Constraint, optional
        What the weights are brought back to after each step.
    name : str, optional
    input_shape : tuple, optional
        (K,) or (None, K), without the batch: a Model that begins with the layer is built at once.
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.
    """

    draws = False
    supports_masking = True
    roles: ClassVar = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed, input_shape)
        self.units = integer("units", units, 1)
        self.activation = activations.name_of("activation", activation, ACTIVATIONS)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, "kernel_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, "bias_regularizer")
        self.kernel_constraint = constraints.get(kernel_constraint, "kernel_constraint")
        self.bias_constraint = constraints.get(bias_constraint, "bias_constraint")
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        kernel = {"kernel": (features_of(input_shape), self.units)}
        return kernel | ({"bias": (self.units,)} if self.use_bias else {})

    def output_shape(self, input_shape: Shape) -> Shape:
        known = self._known_input("K")
        if len(input_shape) < 2 or input_shape[-1] != known:
            check_shape("x", input_shape, ("B", *"TUVW"[: max(0, len(input_shape) - 2)], known))
        return (*input_shape[:-1], self.units)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return (..., units) for x (..., K) of the layer's dtype."""
        y = self.forward_linear(x, training)
        if self.activation == "linear":
            return y
        of_inputs = training and self.activation in activations.OF_INPUTS
        kept = y.copy() if of_inputs else y
        self.finish(y)
        if training:
            self._cache = (self._cache[0], kept)
        return y

    def finish(self, y: Array) -> Array:
        """Put sums of `forward_linear` through the activation, in place; return them."""
        if self.activation == "softmax":
            rows = y.reshape(-1, self.units)
            self._ops.softmax(rows, out=rows)
        elif self.activation in activations.OF_INPUTS:
            y[...] = activations.OF_INPUTS[self.activation].forward(y)
        elif self.activation != "linear":
            self._ops.activation_forward(self.activation, y, out=y)
        return y

    def forward_linear(self, x: Array, training: bool = False) -> Array:
        """Return `x · kernel + bias`, a new array that the caller may overwrite.

        A `backward` after it takes the gradient of these sums: losses that contain the activation
        (softmax with cross-entropy) go this way.
        """
        self._check_built()
        x = dense_rows(self._as_floats(x))
        shape = self.output_shape(x.shape)
        is_matrix = len(shape) == 2
        y = self._product(x if is_matrix else x.reshape(-1, x.shape[-1]))
        if training:
            self._cache = (x, None)
        return y if is_matrix else y.reshape(shape)

    def stepper(self, batch_size: int) -> Stepper:
        if self.device == "cpu" and self.precision is None:
            return dense_stepper(self, batch_size)
        return same_stepper(self)

    def _product(self, x: Array) -> Array:
        """(M, units) of x (M, K)."""
        y: Array = self._ops.dense_forward(
            x, self.params["kernel"], self.params.get("bias"), precision=self.precision
        )
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        x, y = self._cached()
        dy = dense_rows(self._placed("dy", dy))
        check_shape("dy", dy.shape, (*x.shape[:-1], self.units))
        dz = dy if y is None else self._activation_backward(y, dy)
        dx, d_kernel, d_bias = self._ops.dense_backward(
            x.reshape(-1, x.shape[-1]),
            self.params["kernel"],
            dz.reshape(-1, self.units),
            need_dx=need_dx,
            precision=self.precision,
        )
        self._cache = None
        grads = {"kernel": d_kernel, "bias": d_bias}
        self.grads = {name: grads[name] for name in self.params}
        return None if dx is None else dx.reshape(x.shape)

    def _activation_backward(self, y: Array, dy: Array) -> Array:
        if self.activation == "softmax":
            rows = y.reshape(-1, self.units), dy.reshape(-1, self.units)
            return self._ops.softmax_backward(*rows).reshape(dy.shape)
        if self.activation in activations.OF_INPUTS:
            return activations.OF_INPUTS[self.activation].backward(y, dy)
        return self._ops.activation_backward(self.activation, y, dy)


def dense_rows(array: Any) -> Any:
    """An array that `reshape` takes as it takes all of NumPy's: itself, or on a GPU a copy."""
    return array.copy() if is_own(array) and not array.is_contiguous else array

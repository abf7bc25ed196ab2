"""Conv1D: weights and caches here, arithmetic in `ops`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import activations, constraints, initializers, regularizers
from ..arguments import Array, Shape, check_shape, choice, flag, integer
from ..ops.convolution import convolve, convolve_backward, padded, steps_out
from ..ops.dispatch import float_like
from ..ops.layouts import in_order
from .base import Layer
from .checks import features_of
from .dense import COMPILED

__all__ = ["Conv1D"]

PADDINGS = ("valid", "same", "causal")


class Conv1D(Layer):
    """A window over time: `activation(Σ_k x[t strides + k dilation_rate] · kernel[k] + bias)`.

    (B, T, C) to (B, N, filters).

    Parameters
    ----------
    filters : int
    kernel_size : int, or a tuple of one
        K, the steps of a window.
    strides : int, or a tuple of one
        Steps from window to window.
    padding : {"valid", "same", "causal"}
        Windows within x; or zeros around x, so that there are ⌈T / strides⌉ of them: on both sides,
        or all before x, so that no window sees what comes after its last step.
    data_format : {None, "channels_last"}
    dilation_rate : int, or a tuple of one
        From step to step of a window; one of it and `strides` is 1.
    groups : int
        Channels and filters fall into so many groups, each for itself.
    activation : str or function, optional
        As of `Dense`.
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
        Of (K, C / groups, filters) and (filters,).
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    name : str, optional
    input_shape : tuple, optional
        (None, C), without the batch: a Model that begins with the layer is built at once.
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.
    """

    draws = False
    roles: ClassVar = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
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
        self.filters = integer("filters", filters, 1)
        self.kernel_size = _one("kernel_size", kernel_size)
        self.strides = _one("strides", strides)
        self.padding = choice("padding", padding, PADDINGS)
        kept = "channels_last" if data_format is None else data_format
        self.data_format = choice("data_format", kept, ("channels_last",))
        self.dilation_rate = _one("dilation_rate", dilation_rate)
        self.groups = integer("groups", groups, 1)
        self.activation = activations.name_of("activation", activation, COMPILED)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, "kernel_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, "bias_regularizer")
        self.kernel_constraint = constraints.get(kernel_constraint, "kernel_constraint")
        self.bias_constraint = constraints.get(bias_constraint, "bias_constraint")
        self._check_combinations()
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def _check_combinations(self) -> None:
        if self.strides > 1 and self.dilation_rate > 1:
            expected = f"1 with strides {self.strides}"
            raise ValueError(f"dilation_rate: expected {expected}, got {self.dilation_rate}")
        if self.filters % self.groups:
            expected = f"a divisor of filters {self.filters}"
            raise ValueError(f"groups: expected {expected}, got {self.groups}")

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        channels = features_of(input_shape) // self.groups
        shapes: dict[str, tuple[int, ...]] = {"kernel": (self.kernel_size, channels, self.filters)}
        return shapes | ({"bias": (self.filters,)} if self.use_bias else {})

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, ("B", "T", self._known_input("C")))
        batch, steps, channels = input_shape
        if channels is not None and channels % self.groups:
            expected = f"channels in {self.groups} groups of equal size"
            raise ValueError(f"x: expected {expected}, got {channels}")
        if steps is None:
            return (batch, None, self.filters)
        left, right = self._padding(steps)
        count = self._count(left + steps + right)
        if count < 1:
            least = self.dilation_rate * (self.kernel_size - 1) + 1
            raise ValueError(f"x: expected at least {least} steps, got {steps}")
        return (batch, count, self.filters)

    def _count(self, steps: int) -> int:
        return steps_out(steps, self.kernel_size, self.strides, self.dilation_rate)

    def _padding(self, steps: int) -> tuple[int, int]:
        """How many zeros stand before and behind so many steps."""
        reach = self.dilation_rate * (self.kernel_size - 1)
        if self.padding == "valid":
            return 0, 0
        if self.padding == "causal":
            return reach, 0
        windows = -(-steps // self.strides)
        total = max((windows - 1) * self.strides + reach + 1 - steps, 0)
        return total // 2, total - total // 2

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return (B, N, filters) for x (B, T, C) of the layer's dtype."""
        self._check_built()
        x = float_like("x", self._as_floats(x), np.dtype(self.dtype))
        self.output_shape(x.shape)
        wide = padded(x, *self._padding(x.shape[1]))
        y = self._activated(
            convolve(
                self._ops, wide, self.params["kernel"], self.params.get("bias"), **self._told()
            )
        )
        if training:
            self._cache = wide, x.shape[1], None if self.activation == "linear" else y
        return y

    def _told(self) -> dict[str, Any]:
        return {
            "stride": self.strides, "dilation": self.dilation_rate, "groups": self.groups,
            "precision": self.precision,
        }  # fmt: skip

    def _activated(self, y: Array) -> Array:
        if self.activation == "linear":
            return y
        if self.activation == "softmax":
            rows = y.reshape(-1, self.filters)
            self._ops.softmax(rows, out=rows)
            return y
        return self._ops.activation_forward(self.activation, y, out=y)  # type: ignore[no-any-return]

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        wide, steps, y = self._cached()
        dy = float_like("dy", self._placed("dy", dy), np.dtype(self.dtype))
        shape = (len(wide), self._count(wide.shape[1]), self.filters)
        check_shape("dy", dy.shape, shape)
        dx, d_kernel, d_bias = convolve_backward(
            self._ops,
            wide,
            self.params["kernel"],
            self._sums_backward(y, dy),
            need_dx=need_dx,
            **self._told(),
        )
        self._cache = None
        grads = {"kernel": d_kernel, "bias": d_bias}
        self.grads = {name: grads[name] for name in self.params}
        left, _ = self._padding(steps)
        return None if dx is None else in_order(dx[:, left : left + steps])

    def _sums_backward(self, y: Array | None, dy: Array) -> Array:
        """The gradient of what the activation was given."""
        if y is None:
            return dy
        dy = in_order(dy)
        if self.activation == "softmax":
            rows = y.reshape(-1, self.filters), dy.reshape(-1, self.filters)
            return self._ops.softmax_backward(*rows).reshape(dy.shape)  # type: ignore[no-any-return]
        return self._ops.activation_backward(self.activation, y, dy)  # type: ignore[no-any-return]


def _one(name: str, value: Any) -> int:
    """The number of an argument that Keras also takes as a tuple of one."""
    if isinstance(value, (tuple, list)) and len(value) == 1:
        value = value[0]
    return integer(name, value, 1)

"""Embedding, LSTM, SimpleRNN and Dense: weights and caches here, arithmetic in `ops`.

A layer is called with its input, `layer(x)`, or driven by a Model. To train without a Model:

>>> layer = LSTM(64, return_sequences=True, seed=0)
>>> layer.build((None, None, 8))
>>> y = layer.forward(x, training=True)         # x (B, T, 8) float32
>>> dx = layer.backward(dy)                     # dy (B, T, 64); fills layer.grads
>>> optimizer.apply(list(layer.params.values()), list(layer.grads.values()))

`Layer` tells what to add for regularizers and constraints.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from . import activations, constraints, initializers, ops, regularizers
from .arguments import Array, Shape, check_shape, choice, flag, integer
from .layer import Layer, features_of
from .lstm import LSTM
from .placement import is_own
from .simple_rnn import SimpleRNN

__all__ = ["LSTM", "Dense", "Embedding", "Layer", "SimpleRNN"]

ACTIVATIONS = ("linear", "softmax", *activations.NAMES)


class Embedding(Layer):
    """A row of a table for each id: ids (...) to vectors (..., output_dim).

    Parameters
    ----------
    input_dim : int
        Size of the vocabulary: ids lie in [0, input_dim).
    output_dim : int
        Length of a row.
    embeddings_initializer : str or Initializer
    embeddings_regularizer : str or Regularizer, optional
        What the table adds to the loss, all its rows at each step; see `Layer`.
    embeddings_constraint : str or Constraint, optional
        What the table is brought back to after each step.
    name : str, optional
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.
    """

    takes_ids = True
    draws = False
    roles: ClassVar = {"embeddings": "embeddings"}

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        *,
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        name: str | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed)
        self.input_dim = integer("input_dim", input_dim, 1)
        self.output_dim = integer("output_dim", output_dim, 1)
        self.embeddings_initializer = initializers.get(
            embeddings_initializer, "embeddings_initializer"
        )
        self.embeddings_regularizer = regularizers.get(
            embeddings_regularizer, "embeddings_regularizer"
        )
        self.embeddings_constraint = constraints.get(embeddings_constraint, "embeddings_constraint")
        self.input_shape = (None, None)  # so that a Model that begins with ids is built at once

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"embeddings": (self.input_dim, self.output_dim)}

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.output_dim)

    def check_input(self, x: Array) -> None:
        """Raise ValueError unless x holds integers in [0, input_dim).

        Of ids on a GPU the range is not looked at: rows for others are NaN.
        """
        if x.dtype.kind not in "biu":
            raise ValueError(f"x: expected integer ids, got dtype {x.dtype}")
        if isinstance(x, np.ndarray) and x.size and not 0 <= x.min() <= x.max() < self.input_dim:
            found = f"[{x.min()}, {x.max()}]"
            raise ValueError(f"x: expected ids in [0, {self.input_dim}), got ids in {found}")

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return (*x.shape, output_dim) for ids x, int32 or int64 of any shape.

        False is 0, True is 1.
        """
        self._check_built()
        x = self._placed("x", x)
        if x.dtype.kind == "b":
            x = x.astype(np.int64)
        y = ops.embedding_forward(x, self.params["embeddings"])
        if training:
            self._cache = x
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> None:
        """Fill `grads`; ids have no gradient, so the answer is None. See `Layer.backward`."""
        ids = self._cached()
        dy = self._placed("dy", dy)
        check_shape("dy", dy.shape, (*ids.shape, self.output_dim))
        self.grads = {"embeddings": ops.embedding_backward(ids, dy, self.input_dim)}
        self._cache = None

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return self.embeddings_initializer(shape, rng)


class Dense(Layer):
    """`activation(x · kernel + bias)` over the last axis: (..., K) to (..., units).

    Parameters
    ----------
    units : int
    activation : str, optional
        "linear" (None), "softmax" or the name of an `Activation`, with its usual parameters.
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
    roles: ClassVar = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        units: int,
        activation: str | None = None,
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
        self.activation = choice(
            "activation", "linear" if activation is None else activation, ACTIVATIONS
        )
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
        leading = ("B", *"TUVW"[: len(input_shape) - 2]) if len(input_shape) > 2 else ("B",)
        check_shape("x", input_shape, (*leading, self._known_input("K")))
        return (*input_shape[:-1], self.units)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return (..., units) for x (..., K) of the layer's dtype."""
        y = self.forward_linear(x, training)
        if self.activation == "linear":
            return y
        if self.activation == "softmax":
            rows = y.reshape(-1, self.units)
            ops.softmax(rows, out=rows)
        else:
            ops.activation_forward(self.activation, y, out=y)
        if training:
            self._cache = (self._cache[0], y)
        return y

    def forward_linear(self, x: Array, training: bool = False) -> Array:
        """Return `x · kernel + bias`, a new array that the caller may overwrite.

        A `backward` after it takes the gradient of these sums: losses that contain the activation
        (softmax with cross-entropy) go this way.
        """
        self._check_built()
        x = dense_rows(self._as_floats(x))
        self.output_shape(x.shape)
        y = ops.dense_forward(
            x.reshape(-1, x.shape[-1]), self.params["kernel"], self.params.get("bias"),
            precision=self.precision,
        )  # fmt: skip
        if training:
            self._cache = (x, None)
        return y.reshape(*x.shape[:-1], self.units)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        x, y = self._cached()
        dy = dense_rows(self._placed("dy", dy))
        check_shape("dy", dy.shape, (*x.shape[:-1], self.units))
        dz = dy if y is None else self._activation_backward(y, dy)
        dx, d_kernel, d_bias = ops.dense_backward(
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
            return ops.softmax_backward(*rows).reshape(dy.shape)
        return ops.activation_backward(self.activation, y, dy)

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        made = self.kernel_initializer if name == "kernel" else self.bias_initializer
        return made(shape, rng)


def dense_rows(array: Any) -> Any:
    """An array that `reshape` takes as it takes all of NumPy's: itself, or on a GPU a copy."""
    return array.copy() if is_own(array) and not array.is_contiguous else array


CLASSES: dict[str, type[Layer]] = {
    made.__name__: made for made in (Embedding, LSTM, SimpleRNN, Dense)
}

"""Embedding, LSTM and Dense: weights and caches here, arithmetic in `ops`.

A layer is called with its input, `layer(x)`, or driven by a Model. To train without a Model:

>>> layer = LSTM(64, return_sequences=True, seed=0)
>>> layer.build((None, None, 8))
>>> y = layer.forward(x, training=True)         # x (B, T, 8) float32
>>> dx = layer.backward(dy)                     # dy (B, T, 64); fills layer.grads
>>> optimizer.apply(list(layer.params.values()), list(layer.grads.values()))
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import initializers, ops
from .arguments import Array, Shape, check_shape, choice, flag, integer, shape_text
from .layer import Layer

__all__ = ["LSTM", "Dense", "Embedding", "Layer"]

ACTIVATIONS = ("linear", "softmax", "relu", "sigmoid", "tanh")


class Embedding(Layer):
    """A row of a table for each id: ids (...) to vectors (..., output_dim).

    Parameters
    ----------
    input_dim : int
        Size of the vocabulary: ids lie in [0, input_dim).
    output_dim : int
        Length of a row.
    embeddings_initializer : str or Initializer
    name : str, optional
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.
    """

    takes_ids = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        *,
        name: str | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed)
        self.input_dim = integer("input_dim", input_dim, 1)
        self.output_dim = integer("output_dim", output_dim, 1)
        self.embeddings_initializer = initializers.get(
            embeddings_initializer, "embeddings_initializer"
        )
        self.input_shape = (None, None)  # so that a Model that begins with ids is built at once

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"embeddings": (self.input_dim, self.output_dim)}

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.output_dim)

    def check_input(self, x: Array) -> None:
        """Raise ValueError unless x holds integers in [0, input_dim)."""
        if x.dtype.kind not in "iu":
            raise ValueError(f"x: expected integer ids, got dtype {x.dtype}")
        if x.size and not 0 <= x.min() <= x.max() < self.input_dim:
            found = f"[{x.min()}, {x.max()}]"
            raise ValueError(f"x: expected ids in [0, {self.input_dim}), got ids in {found}")

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return (*x.shape, output_dim) for ids x, int32 or int64 of any shape."""
        self._check_built()
        y = ops.embedding_forward(x, self.params["embeddings"])
        if training:
            self._cache = x
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> None:
        """Fill `grads`; ids have no gradient, so the answer is None. See `Layer.backward`."""
        ids = self._cached()
        check_shape("dy", dy.shape, (*ids.shape, self.output_dim))
        self.grads = {"embeddings": ops.embedding_backward(ids, dy, self.input_dim)}
        self._cache = None

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return self.embeddings_initializer(shape, rng)


class LSTM(Layer):
    """Long short-term memory over (B, T, I), from zero state unless told otherwise.

    Parameters
    ----------
    units : int
        H, the size of the state.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        Of (I, 4H), (H, 4H) and (4H,), gates i, f, g, o side by side as in Keras.
    unit_forget_bias : bool
        Start the bias of the forget gate at one (Jozefowicz et al. 2015).
    return_sequences : bool
        Return the output of every step, (B, T, H), in place of the last one, (B, H).
    stateful : bool
        Start each batch from the state that the batch before it ended in, row by row, until
        `reset_state`. No gradient flows into the batch before.
    name : str, optional
    input_shape : tuple, optional
        (None, I), without the batch: a Model that begins with the layer is built at once. A number
        of steps in place of None is for the reader; any number will do.
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.

    Attributes
    ----------
    params : dict
        `W_ih (4H, I)`, `W_hh (4H, H)` and, with `use_bias`, `b (4H,)`.
    initial_state_grads : tuple of ndarray or None
        After `backward`: the gradients of the initial h and c, each (B, H).

    Notes
    -----
    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000 (forget gate).
    """

    transposed = ("W_ih", "W_hh")

    def __init__(
        self,
        units: int,
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        return_sequences: bool = False,
        stateful: bool = False,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed, input_shape)
        self.units = integer("units", units, 1)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.recurrent_initializer = initializers.get(
            recurrent_initializer, "recurrent_initializer"
        )
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.unit_forget_bias = flag("unit_forget_bias", unit_forget_bias)
        self.return_sequences = flag("return_sequences", return_sequences)
        self.stateful = flag("stateful", stateful)
        self.initial_state_grads: tuple[Array, Array] | None = None
        self._state: tuple[Array, Array] | None = None
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        columns = 4 * self.units
        shapes = {"W_ih": (_features(input_shape), columns), "W_hh": (self.units, columns)}
        return shapes | ({"b": (columns,)} if self.use_bias else {})

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, ("B", "T", self._known_input("I")))
        batch, time, _ = input_shape
        return (batch, time, self.units) if self.return_sequences else (batch, self.units)

    def __call__(self, x: Array, initial_state: tuple[Array, Array] | None = None) -> Array:
        """Return the output for x, from `initial_state` = (h, c) where given.

        The first call builds the layer for the shape and dtype of x. Arguments as for `forward`.
        """
        self._build_for(x)
        return self.forward(x, initial_state=initial_state)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: tuple[Array, Array] | None = None,
    ) -> Array:
        """Run the layer over a batch of sequences.

        Parameters
        ----------
        x : ndarray (B, T, I), of the layer's dtype
            Any strides but for the last axis, which is contiguous.
        training : bool
            Keep what one `backward` needs.
        initial_state : (h, c), optional
            Each (B, H) of the layer's dtype.

        Returns
        -------
        ndarray (B, T, H) with `return_sequences`, else (B, H)

        Raises
        ------
        ValueError
            For another shape or dtype, and for another batch than the kept state of a stateful
            layer has.
        """
        self._check_built()
        self.output_shape(x.shape)
        h0, c0 = self._start(x.shape[0], initial_state)
        y, state, cache = ops.lstm_forward(
            x,
            self.params["W_ih"],
            self.params["W_hh"],
            self.params.get("b"),
            h0,
            c0,
            batch_first=True,
            training=training,
            return_sequences=self.return_sequences,
        )
        if training:
            self._cache = cache
        if self.stateful:
            self._state = (state[0].copy(), state[1].copy())
        return state[0] if y is None else y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Back-propagate through time; dy has the shape of the output. See `Layer.backward`."""
        cache = self._cached()
        dy_all, dh_n = (dy, None) if self.return_sequences else (None, dy)
        found = ops.lstm_backward(cache, dy_all, dh_n, need_dx=need_dx)
        self._cache = None
        grads = {"W_ih": found.dW_ih, "W_hh": found.dW_hh, "b": found.db}
        self.grads = {name: grads[name] for name in self.params}
        dh0, dc0 = found.dh0, found.dc0
        self.initial_state_grads = None if dh0 is None or dc0 is None else (dh0, dc0)
        return found.dx

    def stream(self, batch_size: int = 1) -> ops.LSTMStream:
        """Return a step-by-step runner with a copy of the present weights and a zero state.

        >>> stream = layer.stream()
        >>> h = stream.step(x)              # x (1, I), h (1, H); the state stays in the stream
        """
        self._check_built()
        weights = (self.params["W_ih"], self.params["W_hh"], self.params.get("b"))
        return ops.LSTMStream(*weights, integer("batch_size", batch_size, 1))

    @property
    def state(self) -> tuple[Array, Array] | None:
        """Copies of the (h, c) that a stateful layer goes on from; None for zeros."""
        return None if self._state is None else (self._state[0].copy(), self._state[1].copy())

    def reset_state(self) -> None:
        """Let a stateful layer start its next batch, of any size, from zeros."""
        self._state = None

    def _start(
        self, batch: int, initial_state: tuple[Array, Array] | None
    ) -> tuple[Array | None, Array | None]:
        if initial_state is None:
            if self._state is None:
                return None, None
            if self._state[0].shape[0] != batch:
                kept = f"{self._state[0].shape[0]} rows, as the kept state has (see reset_state)"
                raise ValueError(f"x: expected {kept}, got {batch}")
            return self._state
        if not isinstance(initial_state, (tuple, list)) or len(initial_state) != 2:
            raise ValueError(f"initial_state: expected (h, c), got {type(initial_state).__name__}")
        for letter, part in zip("hc", initial_state, strict=True):
            check_shape(f"initial_state {letter}", np.shape(part), (batch, self.units))
        return initial_state[0], initial_state[1]

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        if name == "W_ih":
            return self.kernel_initializer(shape, rng)
        if name == "W_hh":
            return self.recurrent_initializer(shape, rng)
        bias = self.bias_initializer(shape, rng)
        if self.unit_forget_bias:
            bias[self.units : 2 * self.units] = 1.0
        return bias


class Dense(Layer):
    """`activation(x · kernel + bias)` over the last axis: (..., K) to (..., units).

    Parameters
    ----------
    units : int
    activation : {None, "linear", "softmax", "relu", "sigmoid", "tanh"}
        None is "linear".
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    name : str, optional
    input_shape : tuple, optional
        (K,) or (None, K), without the batch: a Model that begins with the layer is built at once.
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed, input_shape)
        self.units = integer("units", units, 1)
        self.activation = choice("activation", activation or "linear", ACTIVATIONS)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        kernel = {"kernel": (_features(input_shape), self.units)}
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
        self.output_shape(x.shape)
        y = ops.dense_forward(
            x.reshape(-1, x.shape[-1]), self.params["kernel"], self.params.get("bias")
        )
        if training:
            self._cache = (x, None)
        return y.reshape(*x.shape[:-1], self.units)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        x, y = self._cached()
        check_shape("dy", dy.shape, (*x.shape[:-1], self.units))
        dz = dy if y is None else self._activation_backward(y, dy)
        dx, d_kernel, d_bias = ops.dense_backward(
            x.reshape(-1, x.shape[-1]),
            self.params["kernel"],
            dz.reshape(-1, self.units),
            need_dx=need_dx,
        )
        self._cache = None
        grads = {"kernel": d_kernel, "bias": d_bias}
        self.grads = {name: grads[name] for name in self.params}
        return None if dx is None else dx.reshape(x.shape)

    def _activation_backward(self, y: Array, dy: Array) -> Array:
        if self.activation == "softmax":
            dy -= np.sum(dy * y, axis=-1, keepdims=True)
            dy *= y
            return dy
        return ops.activation_backward(self.activation, y, dy)

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        made = self.kernel_initializer if name == "kernel" else self.bias_initializer
        return made(shape, rng)


def _features(input_shape: Shape) -> int:
    if input_shape[-1] is None:
        raise ValueError(f"input_shape: expected a known last axis, got {shape_text(input_shape)}")
    return input_shape[-1]


CLASSES: dict[str, type[Layer]] = {made.__name__: made for made in (Embedding, LSTM, Dense)}

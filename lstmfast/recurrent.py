"""LSTM: weights, state and caches here, arithmetic in `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import initializers, ops
from .arguments import Array, Shape, check_shape, choice, flag, integer
from .layer import Layer, features_of
from .options import CellOptions

__all__ = ["LSTM"]


class LSTM(Layer):
    """Long short-term memory over (B, T, I), from zero state unless told otherwise.

    Parameters
    ----------
    units : int
        H, the size of the state.
    activation, recurrent_activation, output_activation : str, tuple or Activation
        Of g, of the gates, and of the cell in h = o φ(c) (None: as `activation`): a name, or
        (name, alpha, beta).
    peepholes : bool
        The gates see the cell (Gers and Schmidhuber 2000): one more weight, p (3, H) of i, f, o.
    coupled : bool
        The forget gate is 1 - i (Greff et al. 2017).
    clip, cell_clip : float, optional
        Limits of the pre-activations and of the cell. See `CellOptions` for the formulas.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        Of (I, 4H), (H, 4H) and (4H,), gates i, f, g, o side by side as in Keras.
    peephole_initializer : str or Initializer
        Of (3, H). Zeros begin as the plain cell.
    unit_forget_bias : bool
        Start the bias of the forget gate at one (Jozefowicz et al. 2015).
    return_sequences : bool
        Return the output of every step, (B, T, H), in place of the last one, (B, H).
    go_backwards : bool
        Take the steps from the last to the first; the outputs come in that order, too.
    pad : {"zeros", "repeat"}
        What the outputs hold where `lengths` or a `mask` leave a step out: zeros as in PyTorch, or
        the output before as in Keras.
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
        `W_ih (4H, I)`, `W_hh (4H, H)`, with `use_bias` `b (4H,)`, with `peepholes` `p (3, H)`.
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
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        *,
        output_activation: Any = None,
        peepholes: bool = False,
        coupled: bool = False,
        clip: float | None = None,
        cell_clip: float | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        peephole_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        return_sequences: bool = False,
        go_backwards: bool = False,
        pad: str = "zeros",
        stateful: bool = False,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed, input_shape)
        self.units = integer("units", units, 1)
        self.options = CellOptions(
            activation, recurrent_activation, output_activation, coupled, clip, cell_clip
        )
        self.activation = self.options.activation
        self.recurrent_activation = self.options.recurrent_activation
        self.output_activation = self.options.output_activation
        self.coupled = self.options.coupled
        self.clip, self.cell_clip = self.options.clip, self.options.cell_clip
        self.peepholes = flag("peepholes", peepholes)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.peephole_initializer = initializers.get(peephole_initializer, "peephole_initializer")
        self.recurrent_initializer = initializers.get(
            recurrent_initializer, "recurrent_initializer"
        )
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.unit_forget_bias = flag("unit_forget_bias", unit_forget_bias)
        self.return_sequences = flag("return_sequences", return_sequences)
        self.go_backwards = flag("go_backwards", go_backwards)
        self.pad = choice("pad", pad, ops.PADS)
        self.stateful = flag("stateful", stateful)
        self.initial_state_grads: tuple[Array, Array] | None = None
        self._state: tuple[Array, Array] | None = None
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        H, columns = self.units, 4 * self.units
        shapes: dict[str, tuple[int, ...]] = {
            "W_ih": (features_of(input_shape), columns),
            "W_hh": (H, columns),
        }
        if self.use_bias:
            shapes["b"] = (columns,)
        if self.peepholes:
            shapes["p"] = (3, H)
        return shapes

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if config["output_activation"] == config["activation"]:
            config["output_activation"] = None
        return config

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, ("B", "T", self._known_input("I")))
        batch, time, _ = input_shape
        return (batch, time, self.units) if self.return_sequences else (batch, self.units)

    def __call__(
        self,
        x: Array,
        initial_state: tuple[Array, Array] | None = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
    ) -> Array:
        """Return the output for x, from `initial_state` = (h, c) where given.

        The first call builds the layer for the shape and dtype of x. Arguments as for `forward`.
        """
        self._build_for(x)
        return self.forward(x, initial_state=initial_state, lengths=lengths, mask=mask)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: tuple[Array, Array] | None = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
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
        lengths : (B,) integers in 0..T, optional
            Row b takes its first lengths[b] steps.
        mask : bool (B, T), optional
            In place of lengths: the steps to take; the others leave the state as it is.

        Returns
        -------
        ndarray (B, T, H) with `return_sequences`, else (B, H)

        Raises
        ------
        ValueError
            For another shape or dtype, for lengths or a mask that do not fit x, and for another
            batch than the kept state of a stateful layer has.
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
            p=self.params.get("p"),
            options=self.options,
            lengths=lengths,
            mask=mask,
            pad=self.pad,
            reverse=self.go_backwards,
            batch_first=True,
            training=training,
            return_sequences=self.return_sequences,
        )
        if training:
            self._cache = cache
        if self.stateful:
            self._state = (state[0].copy(), state[1].copy())
        if y is None:
            return state[0]
        return y[:, ::-1] if self.go_backwards else y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Back-propagate through time; dy has the shape of the output. See `Layer.backward`."""
        cache = self._cached()
        dy_all, dh_n = (dy, None) if self.return_sequences else (None, dy)
        if dy_all is not None and self.go_backwards:
            dy_all = dy_all[:, ::-1]
        found = ops.lstm_backward(cache, dy_all, dh_n, need_dx=need_dx)
        self._cache = None
        grads = {"W_ih": found.dW_ih, "W_hh": found.dW_hh, "b": found.db}
        if found.dp is not None:
            grads["p"] = found.dp
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
        return ops.LSTMStream(
            *weights,
            integer("batch_size", batch_size, 1),
            p=self.params.get("p"),
            options=self.options,
        )

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
        if name == "p":
            return self.peephole_initializer(shape, rng)
        bias = self.bias_initializer(shape, rng)
        if self.unit_forget_bias:
            bias[self.units : 2 * self.units] = 1.0
        return bias

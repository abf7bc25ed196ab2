"""SimpleRNN: weights, state and caches here, arithmetic in `ops`."""

from __future__ import annotations

from typing import Any, ClassVar

from ..arguments import Array, Shape, check_shape
from ..ops import activations
from ..ops.checks import float_array
from .checks import features_of
from .recurrent import Recurrent
from .stepping import Stepper, recurrent_stepper

__all__ = ["SimpleRNN"]


class SimpleRNN(Recurrent):
    """A plain recurrent layer over (B, T, I): h = f(W_ih x + W_hh h_prev + b).

    Parameters
    ----------
    units : int
        H, the size of the state.
    activation : str, tuple or Activation
        f: a name, or (name, alpha, beta).
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        Of (I, H), (H, H) and (H,).
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
        See `Layer`.
    return_sequences : bool
        Return the output of every step, (B, T, H), in place of the last one, (B, H).
    return_state : bool
        Return (output, last state). Such a layer stands alone: a Model takes one output.
    go_backwards : bool
        Take the steps from the last to the first; the outputs come in that order, too.
    pad : {"zeros", "repeat"}, optional
        What the outputs hold where `lengths` or a `mask` leave a step out: zeros as in PyTorch, or
        the output before as in Keras. None: zeros, but in a Model whose layers pass a mask on,
        as in Keras.
    stateful : bool
        Start each batch from the state that the batch before it ended in, row by row, until
        `reset_state`. No gradient flows into the batch before.
    name : str, optional
    input_shape : tuple, optional
        (None, I), without the batch: a Model that begins with the layer is built at once.
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.

    Attributes
    ----------
    params : dict
        `W_ih (H, I)`, `W_hh (H, H)` and, with `use_bias`, `b (H,)`.
    initial_state_grads : tuple of one ndarray, or None
        After `backward`: the gradient of the initial state, (B, H), where one was there.

    Notes
    -----
    Source: Elman 1990. Gradients fade or grow from step to step as powers of W_hh do (Bengio,
    Simard and Frasconi 1994); an LSTM's cell is made against that.
    """

    draws = False
    roles: ClassVar = {"W_ih": "kernel", "W_hh": "recurrent", "b": "bias"}

    @property
    def transposed(self) -> tuple[str, ...]:
        return ("W_ih", "W_hh")

    @property
    def single_output(self) -> bool:
        return not self.return_state

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        pad: str | None = None,
        stateful: bool = False,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(units, pad, name, input_shape, seed)
        self.activation = activations.get("activation", activation)
        self._set_by_role(
            "initializer", kernel=kernel_initializer, recurrent=recurrent_initializer,
            bias=bias_initializer,
        )  # fmt: skip
        self._set_by_role(
            "regularizer", kernel=kernel_regularizer, recurrent=recurrent_regularizer,
            bias=bias_regularizer,
        )  # fmt: skip
        self._set_by_role(
            "constraint", kernel=kernel_constraint, recurrent=recurrent_constraint,
            bias=bias_constraint,
        )  # fmt: skip
        self._set_flags(
            use_bias=use_bias, return_sequences=return_sequences, return_state=return_state,
            go_backwards=go_backwards, stateful=stateful,
        )  # fmt: skip
        self.initial_state_grads: tuple[Array] | None = None
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "W_ih": (features_of(input_shape), self.units),
            "W_hh": (self.units, self.units),
        }
        return shapes | ({"b": (self.units,)} if self.use_bias else {})

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, ("B", "T", self._known_input("I")))
        batch, time, _ = input_shape
        return (batch, time, self.units) if self.return_sequences else (batch, self.units)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: Any = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
        pad: str | None = None,
    ) -> Any:
        """Run the layer over a batch of sequences.

        Parameters
        ----------
        x : ndarray (B, T, I), of the layer's dtype
            Any strides but for the last axis, which is contiguous.
        training : bool
            Keep what one `backward` needs.
        initial_state : ndarray (B, H), or a tuple of it alone, optional
            Of the layer's dtype.
        lengths : (B,) integers in 0..T, optional
            Row b takes its first lengths[b] steps.
        mask : bool (B, T), optional
            In place of lengths: the steps to take; the others leave the state as it is.
        pad : {"zeros", "repeat"}, optional
            For a layer without a `pad` of its own; None: "zeros".

        Returns
        -------
        ndarray (B, T, H) with `return_sequences`, else (B, H); with `return_state` a pair of it and
        the last state, (B, H)

        Raises
        ------
        ValueError
            For another shape or dtype, for lengths or a mask that do not fit x, and for another
            batch than the kept state of a stateful layer has.
        """
        self._check_built()
        x = self._as_floats(x)
        self.output_shape(float_array("x", x).shape)
        y, h_n, cache = self._ops.rnn_forward(
            x,
            self.params["W_ih"],
            self.params["W_hh"],
            self.params.get("b"),
            self._start(x.shape[0], initial_state),
            activation=self.activation,
            lengths=lengths,
            mask=mask,
            pad=self.pad or pad or "zeros",
            reverse=self.go_backwards,
            batch_first=True,
            training=training,
            return_sequences=self.return_sequences,
        )
        if training:
            self._cache = cache
        if self.stateful:
            self._state = h_n.copy()
        y = h_n if y is None else self._in_order(y)
        return (y, h_n.copy()) if self.return_state else y

    def output_shapes(self, input_shape: Any, **constants: Any) -> list[Shape]:
        state: list[Shape] = [(input_shape[0], self.units)] if self.return_state else []
        return [self.output_shape(input_shape), *state]

    def outputs_of(self, **constants: Any) -> int:
        return 1 + self.return_state

    def side_shapes(self, input_shape: Any) -> dict[str, Shape | list[Shape]]:
        return {"initial_state": [(input_shape[0], self.units)]}

    def backward_of(self, gradients: list[Any], need_dx: bool = True) -> Any:
        dy, *others = gradients
        return self.backward(dy, need_dx, dh_n=others[0] if others else None)

    def stepper(self, batch_size: int) -> Stepper:
        self._check_forward_in_time()
        return recurrent_stepper(self, batch_size)

    def backward(
        self, dy: Array | None, need_dx: bool = True, *, dh_n: Array | None = None
    ) -> Array | None:
        """Back-propagate through time. See `Layer.backward`.

        Parameters
        ----------
        dy : ndarray
            Gradient of the output, in its shape; None for zeros where `dh_n` is given.
        need_dx : bool
        dh_n : ndarray (B, H), optional
            Gradient of the last state, for a layer that returns it.
        """
        cache = self._cached()
        if not self.return_sequences:
            dy, dh_n = None, _sum(dy, dh_n)
        elif dy is not None:
            dy = self._in_order(dy)
        found = self._ops.rnn_backward(cache, dy, dh_n, need_dx=need_dx)
        self._cache = None
        grads = {"W_ih": found.dW_ih, "W_hh": found.dW_hh, "b": found.db}
        self.grads = {name: grads[name] for name in self.params}
        self.initial_state_grads = None if found.dh0 is None else (found.dh0,)
        return found.dx

    @property
    def state(self) -> Array | None:
        """A copy of the state that a stateful layer goes on from; None for zeros."""
        return None if self._state is None else self._state.copy()

    def _start(self, batch: int, initial_state: Any) -> Any:
        if initial_state is None:
            return self._kept(batch)
        if isinstance(initial_state, (tuple, list)) and len(initial_state) == 1:
            initial_state = initial_state[0]
        return self._checked_state("initial_state", initial_state, (batch, self.units))


def _sum(dy: Array | None, dh_n: Array | None) -> Array | None:
    """The gradient of the last state, where that is the output too."""
    if dy is None or dh_n is None:
        return dh_n if dy is None else dy
    check_shape("dh_n", dh_n.shape, dy.shape)
    return dy + dh_n

"""LSTM: options, calls and caches here, weights and states in `lstm_parts`, arithmetic in `ops`."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..arguments import Array, Shape, check_shape, integer
from ..ops.dispatch import float_like
from ..ops.foreign import adopt_all
from ..ops.options import CellOptions, Noise
from ..ops.placement import to_host
from ..seeding import generator
from .lstm_parts import Parts
from .stepping import Stepper

__all__ = ["LSTM"]


class LSTM(Parts):
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
    num_layers : int
        Layers, each on all outputs of the one before.
    bidirectional : bool
        Each layer has a second part that takes the steps from the last to the first; the outputs of
        both stand side by side, 2H.
    projection : int, optional
        P: outputs are W_hr (o φ(c)), P numbers (Sak, Senior and Beaufays 2014), in place of H.
    layer_norm : bool
        z and, for the output, c are normalised (Ba, Kiros and Hinton 2016): see `Norm`. Its gains
        start at one; they and b_c have no regularizer or constraint.
    static_size : int
        S: inputs x_static (B, S) that are the same in every step of a row; W_static x_static joins
        W_ih x of the first layer. W_static is drawn, regularized and constrained as the kernel is.
        Not within a Model.
    dropout, recurrent_dropout : float
        Of the units of x, and of h on its way to W_hh, in training: the same for all steps.
    layer_dropout, weight_drop, zoneout_h, zoneout_c : float
        Between layers, of the weights W_hh, and of the state: see `Noise`.
    truncate : int, optional
        Gradients flow back through so many steps at most, in chunks of them.
    recompute : int, optional
        Keep every so many-th state in place of all activations, and compute these again on the way
        back: less memory, a third more time.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        Of (I, 4H), (H, 4H) and (4H,), gates i, f, g, o side by side as in Keras.
    peephole_initializer : str or Initializer
        Of (3, H). Zeros begin as the plain cell.
    projection_initializer : str or Initializer
        Of (H, P).
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str or Regularizer, optional
        What the weights add to the loss; as `peephole_regularizer`. See `Layer`.
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
        What the weights are brought back to after each step; as `peephole_constraint`.
    peephole_regularizer, peephole_constraint : optional
    projection_regularizer, projection_constraint : optional
    unit_forget_bias : bool
        Start the bias of the forget gate at one (Jozefowicz et al. 2015).
    return_sequences : bool
        Return the output of every step, (B, T, H), in place of the last one, (B, H); of both
        directions the last one is that of each's own last step.
    return_state : bool
        Return (output, h, c), the state after the last step, too. Not within a Model.
    return_cells : bool
        Return c of every step of the last layer behind all else, (B, T, H). Not within a Model.
    time_major : bool
        x and all outputs of steps have the time as their first axis. Not within a Model.
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
        (None, I), without the batch: a Model that begins with the layer is built at once. A number
        of steps in place of None is for the reader; any number will do.
    seed : int, optional
        Of the initial weights and, without a Model, of what is dropped; else both come from the
        Model's generator, or from chance.

    Attributes
    ----------
    params : dict
        `W_ih (4H, I)`, `W_hh (4H, H)`, with `use_bias` `b (4H,)`, with `peepholes` `p (3, H)`, with
        `projection` `W_hr (P, H)`, with `layer_norm` `gain_x`, `gain_h` (4H,), `gain_c`, `b_c`
        (H,), with `static_size` of the first layer `W_static (4H, S)`. Of more than one layer or
        direction each name goes on as in PyTorch: `W_ih_l0`, `W_ih_l0_reverse`, `W_ih_l1`, ...
    initial_state_grads : tuple of ndarray or None
        After `backward`: the gradients of the initial h and c, shaped as they.
    reset_grads : tuple
        After `backward`: those of reset_h and reset_c, each None where that was not given.
    static_grad : ndarray or None
        After `backward`: that of x_static.

    Notes
    -----
    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000 (forget gate).
    """

    return_cells: bool

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
        num_layers: int = 1,
        bidirectional: bool = False,
        projection: int | None = None,
        layer_norm: bool = False,
        static_size: int = 0,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        layer_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        truncate: int | None = None,
        recompute: int | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        peephole_initializer: Any = "zeros",
        projection_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        peephole_regularizer: Any = None,
        projection_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        peephole_constraint: Any = None,
        projection_constraint: Any = None,
        unit_forget_bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        return_cells: bool = False,
        time_major: bool = False,
        go_backwards: bool = False,
        pad: str | None = None,
        stateful: bool = False,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(units, pad, name, input_shape, seed)
        self._set_options(
            CellOptions(
                activation, recurrent_activation, output_activation, coupled, clip, cell_clip
            )
        )
        self._set_noise(
            Noise(dropout, layer_dropout, recurrent_dropout, weight_drop, zoneout_h, zoneout_c)
        )
        self.num_layers = integer("num_layers", num_layers, 1)
        self.static_size = integer("static_size", static_size, 0)
        self.projection = None if projection is None else integer("projection", projection, 1)
        self.truncate = None if truncate is None else integer("truncate", truncate, 1)
        self.recompute = None if recompute is None else integer("recompute", recompute, 1)
        self._set_by_role(
            "initializer", kernel=kernel_initializer, recurrent=recurrent_initializer,
            bias=bias_initializer, peephole=peephole_initializer,
            projection=projection_initializer,
        )  # fmt: skip
        self._set_by_role(
            "regularizer", kernel=kernel_regularizer, recurrent=recurrent_regularizer,
            bias=bias_regularizer, peephole=peephole_regularizer,
            projection=projection_regularizer,
        )  # fmt: skip
        self._set_by_role(
            "constraint", kernel=kernel_constraint, recurrent=recurrent_constraint,
            bias=bias_constraint, peephole=peephole_constraint, projection=projection_constraint,
        )  # fmt: skip
        self._set_flags(
            peepholes=peepholes, bidirectional=bidirectional, layer_norm=layer_norm,
            use_bias=use_bias, unit_forget_bias=unit_forget_bias,
            return_sequences=return_sequences, return_state=return_state,
            return_cells=return_cells, time_major=time_major, go_backwards=go_backwards,
            stateful=stateful,
        )  # fmt: skip
        self._check_combinations()
        self.initial_state_grads: tuple[Array, Array] | None = None
        self.reset_grads: tuple[Array | None, Array | None] = (None, None)
        self.static_grad: Array | None = None
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def _set_options(self, options: CellOptions) -> None:
        self.options = options
        self.activation = options.activation
        self.recurrent_activation = options.recurrent_activation
        self.output_activation = options.output_activation
        self.coupled = options.coupled
        self.clip, self.cell_clip = options.clip, options.cell_clip

    def _set_noise(self, noise: Noise) -> None:
        self.noise = noise
        self.draws = bool(noise.keys())
        self.dropout, self.layer_dropout = noise.input_dropout, noise.layer_dropout
        self.recurrent_dropout, self.weight_drop = noise.recurrent_dropout, noise.weight_drop
        self.zoneout_h, self.zoneout_c = noise.zoneout_h, noise.zoneout_c

    def _check_combinations(self) -> None:
        """Raise ValueError for options that exclude each other."""
        excluded = {
            "go_backwards": (self.go_backwards, "which takes the steps both ways"),
            "stateful": (self.stateful, "whose way back begins with the next batch"),
        }
        for name, (chosen, reason) in excluded.items():
            if self.bidirectional and chosen:
                raise ValueError(f"{name}: expected False with bidirectional, {reason}, got True")
        if self.num_layers > ops.MAX_LAYERS:
            expected = f"at most {ops.MAX_LAYERS} layers"
            raise ValueError(f"num_layers: expected {expected}, got {self.num_layers}")
        if self.layer_dropout and self.num_layers == 1:
            raise ValueError(
                f"layer_dropout: expected num_layers > 1, between which it drops, or 0, got "
                f"{self.layer_dropout}"
            )

    @property
    def single_output(self) -> bool:
        """Are input and output one array with the batch as its first axis, as a Model needs it?"""
        return not (self.return_state or self.return_cells or self.time_major or self.static_size)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if config["output_activation"] == config["activation"]:
            config["output_activation"] = None
        return config

    def output_shape(self, input_shape: Shape) -> Shape:
        known = self._known_input("I")
        if len(input_shape) != 3 or input_shape[2] != known:
            axes = ("T", "B") if self.time_major else ("B", "T")
            check_shape("x", input_shape, (*axes, known))
        if self.return_sequences:
            return (*input_shape[:2], self.output_size)
        return (input_shape[int(self.time_major)], self.output_size)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: tuple[Array, Array] | None = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
        resets: Array | None = None,
        reset_h: Array | None = None,
        reset_c: Array | None = None,
        x_static: Array | None = None,
        pad: str | None = None,
    ) -> Any:
        """Run the layer over a batch of sequences.

        Parameters
        ----------
        x : ndarray (B, T, I), of the layer's dtype
            Any strides but for the last axis, which is contiguous.
        training : bool
            Keep what one `backward` needs.
        initial_state : (h, c), optional
            Each (B, H) of the layer's dtype; of several layers or directions (parts, B, H).
        lengths : (B,) integers in 0..T, optional
            Row b takes its first lengths[b] steps.
        mask : bool (B, T), optional
            In place of lengths: the steps to take; the others leave the state as it is.
        resets : bool (B, T), optional
            Where rows begin anew, between the step before and this one: see `lstm_forward`.
        reset_h, reset_c : optional
            What they go on from, shaped as the initial h and c; None: zeros.
        x_static : (B, static_size), needed with `static_size`
        pad : {"zeros", "repeat"}, optional
            For a layer without a `pad` of its own; None: "zeros".

        Returns
        -------
        ndarray (B, T, H) with `return_sequences`, else (B, H)
            Or a tuple: with `return_state` h and c follow, with `return_cells` all cells.

        Raises
        ------
        ValueError
            For another shape or dtype, for lengths, a mask or resets that do not fit x, for resets
            on a GPU, and for another batch than the kept state of a stateful layer has.
        """
        self._check_built()
        x = self._as_floats(x)
        self.output_shape(float_like("x", x).shape)
        h0, c0 = self._start(x.shape[1 if self.time_major else 0], initial_state)
        run, told = self._runner(training, self.pad or pad or "zeros")
        y, state, cache, *cells = run(
            x, h0=h0, c0=c0, lengths=lengths, mask=mask, resets=resets,
            reset_h=adopt_all("reset_h", reset_h), reset_c=adopt_all("reset_c", reset_c),
            x_static=adopt_all("x_static", x_static), **told,
        )  # fmt: skip
        if training:
            self._cache = cache
        if self.stateful:
            self._state = (state[0].copy(), state[1].copy())
        output = self._last_output(state[0]) if y is None else self._in_order(y)
        if not (self.return_state or self.return_cells):
            return output
        return (output, *(state if self.return_state else ()), *map(self._in_order, cells))

    def _runner(self, training: bool, pad: str) -> tuple[Any, dict[str, Any]]:
        """`ops.lstm_forward`, or what stands for it, and what it is told of the layer."""
        told = {
            "options": self.options, "noise": self.noise, "bidirectional": self.bidirectional,
            "seed": self._noise_seed() if training else None, "pad": pad,
            "reverse": self.go_backwards, "truncate": self.truncate, "recompute": self.recompute,
            "batch_first": not self.time_major, "training": training,
            "return_sequences": self.return_sequences, "return_cells": self.return_cells,
            "precision": self.precision,
        }  # fmt: skip
        return self._ops.lstm_forward, self._weights() | told

    def output_shapes(self, input_shape: Any, **constants: Any) -> list[Shape]:
        if self.time_major:
            raise ValueError("time_major: expected False in a graph, got True")
        shapes = [self.output_shape(input_shape)]
        if self.return_state:
            shapes += [(*self._leading(input_shape[0]), self.state_size),
                       (*self._leading(input_shape[0]), self.units)]  # fmt: skip
        return shapes + ([(*input_shape[:2], self.directions * self.units)] * self.return_cells)

    def outputs_of(self, **constants: Any) -> int:
        return 1 + 2 * self.return_state + self.return_cells

    def side_shapes(self, input_shape: Any) -> dict[str, Shape | list[Shape]]:
        leading = self._leading(input_shape[0])
        state: list[Shape] = [(*leading, self.state_size), (*leading, self.units)]
        static: dict[str, Shape | list[Shape]] = {"x_static": (input_shape[0], self.static_size)}
        return {"initial_state": state} | (static if self.static_size else {})

    def needed_sides(self) -> tuple[str, ...]:
        return ("x_static",) if self.static_size else ()

    def backward_of(self, gradients: list[Any], need_dx: bool = True) -> Any:
        dy, *others = gradients
        dstate = (others.pop(0), others.pop(0)) if self.return_state else (None, None)
        dcells = others[0] if others else None
        return self.backward(dy, need_dx, dstate=dstate, dcells=dcells)

    def side_gradients(self) -> dict[str, Any]:
        return {**super().side_gradients(), "x_static": self.static_grad}

    def backward(
        self,
        dy: Array | None,
        need_dx: bool = True,
        *,
        dstate: tuple[Array | None, Array | None] = (None, None),
        dcells: Array | None = None,
    ) -> Array | None:
        """Back-propagate through time. See `Layer.backward`.

        Parameters
        ----------
        dy : gradient to the output, in its shape; None: zeros.
        dstate : (dh, dc), of `return_state`: the gradients to the state after the last step.
        dcells : of `return_cells`.
        """
        cache = self._cached()
        dy = None if dy is None else self._placed("dy", dy)
        dh_n, dc_n = self._checked_upstream(dy, dstate, cache)
        if dcells is not None:
            dcells = float_like("dcells", self._placed("dcells", dcells), cache.dtype)
        dy_all = None
        if dy is not None and self.return_sequences:
            dy_all = self._in_order(dy)
        elif dy is not None:
            dh_n = self._of_last_output(dy, dh_n)
        dcells = None if dcells is None else self._in_order(dcells)
        found = self._ops.lstm_backward(cache, dy_all, dh_n, dc_n, dcells=dcells, need_dx=need_dx)
        self._cache = None
        self.grads = self._named(found)
        dh0, dc0 = found.dh0, found.dc0
        self.initial_state_grads = None if dh0 is None or dc0 is None else (dh0, dc0)
        self.reset_grads = found.dreset_h, found.dreset_c
        self.static_grad = found.dx_static
        return found.dx

    def stream(self, batch_size: int = 1, x_static: Array | None = None) -> ops.LSTMStream:
        """Return a step-by-step runner with a copy of the present weights and a zero state.

        It runs on the CPU, wherever the layer is.

        >>> stream = layer.stream()
        >>> h = stream.step(x)              # x (1, I), h (1, H); the state stays in the stream

        x_static : (batch_size, static_size), needed with `static_size`; see `set_static` there.
        """
        self._check_built()
        if self.bidirectional:
            expected = "False to stream, as the steps still to come are unknown"
            raise ValueError(f"bidirectional: expected {expected}, got True")
        weights = self._weights(to_host)
        return ops.LSTMStream(
            **weights,
            batch_size=integer("batch_size", batch_size, 1),
            options=self.options,
            noise=self.noise,
            x_static=x_static,
            precision=self.precision if self.device == "cpu" else None,
        )

    def stepper(self, batch_size: int) -> Stepper:
        self._check_forward_in_time()
        if self.static_size:
            raise ValueError(f"{self.name}: static_size: expected 0 to stream, got some")
        stream = self.stream(batch_size)
        return Stepper(stream.step, stream.reset)

    @property
    def state(self) -> tuple[Array, Array] | None:
        """Copies of the (h, c) that a stateful layer goes on from; None for zeros."""
        if self._state is None:
            return None
        return to_host(self._state[0]).copy(), to_host(self._state[1]).copy()

    def _noise_seed(self) -> int | None:
        """A new seed for what is dropped, from the Model's generator or the layer's own."""
        if not self.noise.keys():
            return None
        if self.rng is None:
            self.rng = generator(self.seed)
        return int(self.rng.integers(2**63))

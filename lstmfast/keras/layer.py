"""keras.layers.LSTM with its loop over time done by lstmfast."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import keras
from keras import ops

from ..fallback import fall_back
from .calls import Call

__all__ = ["LSTM"]

NAME = "lstmfast.keras.LSTM"
BACKEND = keras.backend.backend()
BACKENDS = ("tensorflow", "jax", "torch")
if BACKEND not in BACKENDS:
    raise ImportError(f"lstmfast.keras: expected Keras's backend among {BACKENDS}, got {BACKEND}")
BRIDGE: Any = import_module(f"{__package__}.{BACKEND}_bridge")
# Activations of Keras that the kernels have, too, with the same parameters.
ACTIVATIONS = {
    getattr(home, name): name
    for name in (
        "sigmoid", "tanh", "relu", "hard_sigmoid", "linear", "leaky_relu", "elu", "softsign",
        "softplus",
    )
    for home in (keras.activations, ops)
    if hasattr(home, name)
}  # fmt: skip


@keras.saving.register_keras_serializable(package="lstmfast")
class LSTM(keras.layers.LSTM):
    """keras.layers.LSTM, calculated by lstmfast's kernels.

    Arguments, calls, weights, masks, states, configuration and results are those of
    keras.layers.LSTM, which this class extends: all but the loop over time is Keras's own. Weights
    keep Keras's layout, so checkpoints and files of weights go both ways.

    What the kernels cannot take goes to Keras's loop, and is an error where the environment
    variable LSTMFAST_STRICT is 1 (`lstmfast.fallback`): dtypes other than float32 and float64,
    activations other than ACTIVATIONS, recurrent dropout in training, `use_cudnn=True`, tensors on
    a GPU, a model that is being exported, inputs of unusual types or shapes (docs/keras.md).

    Examples
    --------
    >>> layer = lstmfast.keras.LSTM(32, return_sequences=True)
    >>> layer(numpy.zeros((8, 20, 5), "float32")).shape
    (8, 20, 32)
    """

    @property
    def supports_jit(self) -> bool:
        """Can the layer be part of what the backend compiles?"""
        return bool(BRIDGE.SUPPORTS_JIT and self._supports_jit)

    @supports_jit.setter
    def supports_jit(self, value: bool) -> None:
        self._supports_jit = value

    @BRIDGE.as_it_is
    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Any, Any, list[Any]]:
        """Run over time; return the last output, all outputs (or the last alone) and the state."""
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        training = bool(training)
        reason = self._reason_against(sequences, initial_state, mask, training)
        if reason:
            fall_back(NAME, reason)
            return super().inner_loop(sequences, initial_state, mask, training)
        if BRIDGE.leaves_to_keras(sequences, self.units):
            return super().inner_loop(sequences, initial_state, mask, training)
        if training and _drops(self.dropout):
            dropped = self.cell.get_dropout_mask(sequences[:, 0, :])
            sequences = sequences * ops.expand_dims(dropped, 1)
        mask = None if mask is None else ops.cast(mask, "bool")
        tensors = self._tensors(sequences, initial_state, mask)
        *y, h_n, c_n = BRIDGE.run(self._call(), tensors, training)
        last = self._last_output(h_n, mask)
        outputs = self._outputs(y[0], tensors[4], mask) if y else ops.expand_dims(last, 1)
        return last, outputs, [h_n, c_n]

    # ------------------------------------------------------------ what the kernels take

    def _reason_against(self, x: Any, state: Any, mask: Any, training: bool) -> str:
        """Say what of this call the kernels lack; "" if they can run it."""
        if mask is not None and self.unroll and self.zero_output_for_mask:
            return "zero_output_for_mask with unroll, which Keras reads otherwise on each backend"
        return self._reason_against_options(training) or self._reason_against_tensors(
            x, state, mask
        )

    def _reason_against_options(self, training: bool) -> str:
        if self.use_cudnn is True:
            return "use_cudnn=True"
        for name in ("activation", "recurrent_activation"):
            activation = getattr(self, name)
            if _name_of(activation) is None:
                return f"{name}={getattr(activation, '__name__', activation)}"
        if training and _drops(self.recurrent_dropout):
            return "recurrent_dropout in training, drawn for each gate on its own"
        if training and _drops(self.dropout) and self.cell.implementation == 1:
            return "dropout with implementation=1, drawn for each gate on its own"
        return ""

    def _reason_against_tensors(self, x: Any, state: Any, mask: Any) -> str:
        kinds = {keras.backend.standardize_dtype(one.dtype) for one in (self.cell.kernel, *state)}
        of_x = keras.backend.standardize_dtype(x.dtype)
        if "float" in of_x:
            kinds.add(of_x)  # integers become floats of the layer's kind, as in a product
        if len(kinds) > 1 or not kinds <= {"float32", "float64"}:
            return f"dtype {' and '.join(sorted(kinds))}"
        B, T, I = x.shape
        H = self.units
        if not _fits(x.shape, (B, T, self.cell.kernel.shape[0])) or 0 in (B, T, I):
            return f"inputs of shape {tuple(x.shape)}"
        if len(state) != 2 or not all(_fits(one.shape, (B, H)) for one in state):
            return f"a state of shape {[tuple(one.shape) for one in state]}"
        if mask is not None and not _fits(mask.shape, (B, T)):
            return f"a mask of shape {tuple(mask.shape)}"
        return str(BRIDGE.reason_against(x))

    def _call(self) -> Call:
        return _call_of(
            _name_of(self.activation),
            _name_of(self.recurrent_activation),
            bool(self.go_backwards),
            "zeros" if self.zero_output_for_mask else "repeat",
            bool(self.return_sequences),
        )

    def _tensors(self, x: Any, state: Any, mask: Any) -> list[Any]:
        """The tensors that bridges take: x, kernel, recurrent kernel, bias, h0, c0[, mask]."""
        cell, convert = self.cell, ops.convert_to_tensor
        kernel, recurrent_kernel = convert(cell.kernel), convert(cell.recurrent_kernel)
        x = ops.cast(x, kernel.dtype)
        b = ops.zeros(4 * self.units, x.dtype) if cell.bias is None else convert(cell.bias)
        if self.stateful and BACKEND == "torch":  # where the state is written in place, later
            state = [ops.copy(one) for one in state]
        return [x, kernel, recurrent_kernel, b, *state] + ([] if mask is None else [mask])

    # ------------------------------------------------------------ outputs as Keras has them
    #
    # Before the first step that is taken Keras's loops put out zeros, but for JAX's scan: h0.

    @property
    def _leads_with_h0(self) -> bool:
        return BACKEND == "jax" and not self.unroll and not self.zero_output_for_mask

    def _last_output(self, h_n: Any, mask: Any) -> Any:
        """What the last step puts out."""
        if mask is None or self._leads_with_h0:
            return h_n
        if self.zero_output_for_mask:
            shown = mask[:, 0 if self.go_backwards else -1]
        else:
            shown = ops.any(mask, axis=1)
        return ops.where(ops.expand_dims(shown, 1), h_n, ops.zeros_like(h_n))

    def _outputs(self, y: Any, h0: Any, mask: Any) -> Any:
        """All outputs, in the order in which steps were taken."""
        if self.go_backwards:
            y = ops.flip(y, axis=1)
        if mask is None or not self._leads_with_h0:
            return y
        mask = ops.flip(mask, axis=1) if self.go_backwards else mask
        begun = ops.cumsum(ops.cast(mask, "int32"), axis=1) > 0
        return ops.where(ops.expand_dims(begun, 2), y, ops.expand_dims(h0, 1))


def _drops(rate: float) -> bool:
    return 0 < rate < 1  # as Keras's cell has it


def _name_of(activation: Any) -> str | None:
    try:
        return ACTIVATIONS.get(activation)
    except TypeError:  # a callable that cannot be hashed
        return None


def _fits(found: Any, expected: tuple[int | None, ...]) -> bool:
    """Is this shape the one expected, as far as sizes are known?"""
    return len(found) == len(expected) and all(
        size is None or want is None or size == want
        for size, want in zip(found, expected, strict=True)
    )


_call_of = cache(Call)

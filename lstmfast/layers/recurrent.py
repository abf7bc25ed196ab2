"""What recurrent layers share: calls, the order of outputs, the state that is kept."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import constraints, initializers, ops, regularizers
from ..arguments import Array, Shape, check_shape, choice, flag, integer
from ..constraints import Constraint
from ..initializers import Initializer
from ..ops.foreign import adopt_all
from ..ops.placement import is_own, to_device
from ..regularizers import Regularizer
from ..whole import Attributes
from .base import Layer
from .symbolic import connected, is_symbolic

__all__ = ["Recurrent", "steps_of"]

GETTERS = {
    "initializer": initializers.get,
    "regularizer": regularizers.get,
    "constraint": constraints.get,
}  # what turns a constructor's argument that ends so into an object


class Recurrent(Layer):
    """The base of LSTM and SimpleRNN: layers with a state that goes from step to step."""

    kernel_initializer: Initializer
    recurrent_initializer: Initializer
    bias_initializer: Initializer
    kernel_regularizer: Regularizer | None
    recurrent_regularizer: Regularizer | None
    bias_regularizer: Regularizer | None
    kernel_constraint: Constraint | None
    recurrent_constraint: Constraint | None
    bias_constraint: Constraint | None
    use_bias: bool
    takes_mask = supports_masking = True
    hints: ClassVar = {"unroll": (False,), "use_cudnn": ("auto", False)}
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    time_major = False
    pad: str | None
    initial_state_grads: Any
    _state: Any

    def __init__(
        self,
        units: int,
        pad: str | None,
        name: str | None,
        input_shape: Shape | None,
        seed: int | None,
    ):
        super().__init__(name, seed, input_shape)
        self.units = integer("units", units, 1)
        self.pad = None if pad is None else choice("pad", pad, ops.PADS)
        self._state = None

    def _set_by_role(self, kind: str, **given: Any) -> None:
        """Set `kernel_<kind>` and so on: an initializer, a regularizer or a constraint by role."""
        for role, value in given.items():
            name = f"{role}_{kind}"
            setattr(self, name, GETTERS[kind](value, name))

    def _set_flags(self, **given: bool) -> None:
        for name, value in given.items():
            setattr(self, name, flag(name, value))

    def __call__(
        self,
        x: Any,
        initial_state: Any = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
        **others: Any,
    ) -> Any:
        """Return the output for x, from `initial_state` where given.

        The first call builds the layer for the shape and dtype of x. Arguments as for `forward`.
        Of a tensor of a graph (see `Input`), the tensors that will come out.
        """
        if is_symbolic(x):
            given = {"initial_state": initial_state, "lengths": lengths, "mask": mask, **others}
            return connected(self, x, given)
        self._build_for(x)
        return self.forward(x, initial_state=initial_state, lengths=lengths, mask=mask, **others)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: Any = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
    ) -> Any:
        """Run the layer over a batch of sequences."""
        raise NotImplementedError

    def changing(self) -> Attributes:
        return [*super().changing(), *([(self, "_state", self._state)] if self.stateful else [])]

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return mask if self.return_sequences else None

    def mask_arguments(self, mask: Any) -> dict[str, Any]:
        return {"pad": self.pad or "repeat", **steps_of(mask)}

    def side_gradients(self) -> dict[str, Any]:
        return {"initial_state": self.initial_state_grads}

    def reset_state(self) -> None:
        """Let a stateful layer start its next batch, of any size, from zeros."""
        self._state = None

    def _move(self, device: str) -> None:
        super()._move(device)
        if isinstance(self._state, tuple):
            self._state = tuple(to_device(part, device) for part in self._state)

    def _in_order(self, steps: Array) -> Array:
        """Turn outputs of all steps from the order of x into that of the steps, or back."""
        if not self.go_backwards:
            return steps
        return self._ops.flipped(steps, 0 if self.time_major else 1)

    def _check_forward_in_time(self) -> None:
        if self.go_backwards:
            expected = "False to stream, as the steps still to come are unknown"
            raise ValueError(f"{self.name}: go_backwards: expected {expected}, got True")

    def _kept(self, batch: int) -> Any:
        """Return the state to go on from, None for zeros; ValueError unless it has x's rows."""
        state = self._state
        if state is None:
            return None
        rows = (state[0] if isinstance(state, tuple) else state).shape[-2]
        if rows != batch:
            expected = f"{rows} rows, as the kept state has (see reset_state)"
            raise ValueError(f"x: expected {expected}, got {batch}")
        return state

    def _checked_state(self, name: str, part: Any, shape: tuple[int, ...]) -> Any:
        """Return an array of an initial state, where the layer is; ValueError for other shapes."""
        if self.device == "cpu":
            part = adopt_all(name, part)
            check_shape(name, np.shape(part), shape)
        else:
            part = self._placed(name, part)
            check_shape(name, part.shape, shape)
        return part


def steps_of(mask: Array) -> dict[str, Array]:
    """Return what a recurrent layer is told of a mask (B, T).

    Rows that are padded at their end alone are told by their lengths, which save the other steps.
    (Of a mask on a GPU nobody waits to know.)
    """
    if is_own(mask):
        return {"mask": mask}
    lengths = mask.sum(axis=1)
    padded = np.arange(mask.shape[1]) < lengths[:, None]
    return {"lengths": lengths} if (mask == padded).all() else {"mask": mask}

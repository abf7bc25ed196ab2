"""What recurrent layers share: calls, the order of outputs, the state that is kept."""

from __future__ import annotations

from typing import Any

from ..arguments import Array
from ..ops.placement import to_device
from .base import Layer

__all__ = ["Recurrent"]


class Recurrent(Layer):
    """The base of LSTM and SimpleRNN: layers with a state that goes from step to step."""

    go_backwards: bool
    stateful: bool
    time_major = False

    def __call__(
        self,
        x: Array,
        initial_state: Any = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
    ) -> Any:
        """Return the output for x, from `initial_state` where given.

        The first call builds the layer for the shape and dtype of x. Arguments as for `forward`.
        """
        self._build_for(x)
        return self.forward(x, initial_state=initial_state, lengths=lengths, mask=mask)

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

    def reset_state(self) -> None:
        """Let a stateful layer start its next batch, of any size, from zeros."""
        self._state: Any = None

    def _move(self, device: str) -> None:
        super()._move(device)
        state = getattr(self, "_state", None)
        if isinstance(state, tuple):
            self._state = tuple(to_device(part, device) for part in state)

    def _in_order(self, steps: Array) -> Array:
        """Turn outputs of all steps from the order of x into that of the steps, or back."""
        if not self.go_backwards:
            return steps
        return self._ops.flipped(steps, 0 if self.time_major else 1)

    def _check_kept(self, state: Array, batch: int) -> None:
        """Raise ValueError unless a kept state (..., B, H) has the rows of x."""
        rows = state.shape[-2]
        if rows != batch:
            expected = f"{rows} rows, as the kept state has (see reset_state)"
            raise ValueError(f"x: expected {expected}, got {batch}")

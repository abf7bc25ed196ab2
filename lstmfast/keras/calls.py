"""What a Keras layer asks of the kernels, on NumPy arrays: forward, and back through time.

Every bridge hands over the same tensors, as arrays that are read and never written:
x (B, T, I), W_ih (4H, I), W_hh (4H, H), b (4H,), h0 and c0 (B, H) and, where steps are masked,
mask (B, T). Results are new arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..arguments import Array
from ..ops.call import Sizes
from ..ops.keys import keys_of_cell, order_keys
from ..ops.lstm import LSTMCache, lstm_backward, lstm_forward
from ..ops.lstm import reserve_size as size_of_call
from ..ops.options import PLAIN, CellOptions

__all__ = [
    "ALL", "FLOATS", "Call", "Need", "forward", "forward_cached", "gradients", "refuse",
    "reserve_size",
]  # fmt: skip

FLOATS = 6  # of the tensors; a seventh is the mask


class Need(NamedTuple):
    """Which gradients are needed beside those of the state."""

    dx: bool = True
    weights: bool = True


ALL = Need()


@dataclass(frozen=True)
class Call:
    """All of a call but its tensors.

    Parameters
    ----------
    activation, recurrent_activation : names, of `lstmfast.Activation`.
    reverse : take the steps from the last to the first; y stays in x's order.
    pad : what y holds where no step is taken, "zeros" or "repeat".
    sequences : whether y (B, T, H) is among the outputs, before h_n and c_n (B, H).
    """

    activation: str
    recurrent_activation: str
    reverse: bool
    pad: str
    sequences: bool

    @cached_property
    def options(self) -> CellOptions:
        options = CellOptions(self.activation, self.recurrent_activation)
        return PLAIN if options == PLAIN else options

    def keywords(self, tensors: Sequence[Any]) -> dict[str, Any]:
        """What `lstm_forward` takes by name."""
        masked = len(tensors) > FLOATS
        return {
            "options": self.options,
            "reverse": self.reverse,
            "pad": self.pad,
            "mask": np.asarray(tensors[FLOATS]) if masked else None,
            "batch_first": True,
        }

    def keys(self, tensors: int) -> dict[str, float]:
        """What `capi.Handle` takes by name, for so many tensors."""
        ragged = tensors > FLOATS
        keys = keys_of_cell(self.options, training=True)
        return keys | order_keys(ragged, self.pad, self.reverse, both=False)

    def of_all(self, upstream: Sequence[Any]) -> Sequence[Any]:
        """Gradients of the outputs as those of y, h_n and c_n: None for a y that is not wanted."""
        return upstream if self.sequences else (None, *upstream)


def forward(call: Call, *tensors: Any) -> tuple[Array, ...]:
    """Return h_n and c_n, before them y if the call wants it."""
    arrays = _arrays(tensors)
    keywords = call.keywords(tensors)
    y, state, _ = lstm_forward(*arrays, return_sequences=call.sequences, **keywords)
    return (y, *state) if call.sequences else state


def forward_cached(call: Call, *tensors: Any) -> tuple[Array, Array, Array, LSTMCache]:
    """Return y, h_n, c_n and the cache for one `gradients`."""
    y, (h_n, c_n), cache = lstm_forward(*_arrays(tensors), training=True, **call.keywords(tensors))
    return y, h_n, c_n, cache


def gradients(
    cache: LSTMCache, upstream: Sequence[Any], need: Need = ALL
) -> tuple[Array | None, ...]:
    """Return dx, dW_ih, dW_hh, db, dh0 and dc0, None where there is no need of one.

    upstream: of y, h_n and c_n; None: zeros.
    """
    dy, dh_n, dc_n = (None if one is None else np.asarray(one) for one in upstream)
    found = lstm_backward(cache, dy, dh_n, dc_n, need_dx=need.dx, need_weights=need.weights)
    return found.dx, found.dW_ih, found.dW_hh, found.db, found.dh0, found.dc0


def refuse(*_: Any) -> Any:
    """Stand where the derivative of a gradient would: frameworks take none for zero."""
    raise NotImplementedError(
        "lstmfast.keras.LSTM: expected first derivatives in reverse mode, got a second one or "
        "forward mode, which keras.layers.LSTM has"
    )


def reserve_size(call: Call, shapes: Sequence[tuple[int, ...]], dtype: Any) -> int:
    """The bytes that are kept for the way back, from shapes of tensors as Keras has them."""
    (B, T, I), _, (H, _) = shapes[:3]
    return size_of_call(
        T, B, Sizes(1, I, H, H, H), dtype, options=call.options, ragged=len(shapes) > FLOATS,
        pad=call.pad, reverse=call.reverse,
    )  # fmt: skip


def _arrays(tensors: Sequence[Any]) -> list[Array]:
    return [np.asarray(one) for one in tensors[:FLOATS]]

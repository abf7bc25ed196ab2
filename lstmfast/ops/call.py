"""One run of a handle of LSTM layers on arrays: checked, run, and kept for the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import Array, UsedOnce, check_shape, flag
from .checks import dense, float_array, new, not_empty, rows_in_place, steps_taken
from .weights import Weights

__all__ = [
    "LSTMCache", "call_of", "cells_shape", "forward_rooms", "state_of", "state_shapes",
    "steps_and_rows", "strides",
]  # fmt: skip


@dataclass(eq=False, repr=False, slots=True)
class LSTMCache(UsedOnce):
    """What `lstm_forward(training=True)` keeps for one `lstm_backward`: nothing to look into.

    It cannot be copied; `reserve_of` and `restore_cache` keep what it holds.
    """

    instead = "keep reserve_of(cache) and the call's arrays, and make it again by restore_cache"

    layer: Any
    stacked: bool
    x: Array
    taken: Any
    h0: Array | None
    c0: Array | None
    batch_first: bool
    weights: Sequence[Weights] = ()
    seed: int = 0
    with_cells: bool = False
    y: Any = None
    reserve: Any = None

    @property
    def x_shape(self) -> tuple[int, ...]:
        return self.x.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.x.dtype


def call_of(
    layer: Any, dtype: np.dtype[Any], stacked: bool, x: Array, h0: Any, c0: Any, lengths: Any,
    mask: Any, batch_first: Any,
) -> LSTMCache:  # fmt: skip
    """Check what a handle is to run on: x, the state, and the steps to take."""
    batch_first = flag("batch_first", batch_first)
    float_array("x", x, dtype)
    T, B = steps_and_rows(x, layer.input_size, batch_first)
    taken = _steps_taken(lengths, mask, x, T, B, batch_first)
    h_shape, c_shape = state_shapes(layer, B, stacked)
    h0, c0 = state_of("h0", h0, h_shape, dtype), state_of("c0", c0, c_shape, dtype)
    x = rows_in_place("x", x)
    return LSTMCache(layer, stacked, x, taken, h0, c0, batch_first)


def forward_rooms(call: LSTMCache, training: bool, return_sequences: bool) -> tuple[Any, Any]:
    """Return what `capi.Layer.forward` takes, and what `lstm_forward` returns after it."""
    layer, x, first, dtype = call.layer, call.x, call.batch_first, call.x.dtype
    T, B = x.shape[1::-1] if first else x.shape[:2]
    h_shape, c_shape = state_shapes(layer, B, call.stacked)
    h_n, c_n = np.empty(h_shape, dtype), np.empty(c_shape, dtype)
    y = cells = reserve = None
    if return_sequences or training:
        y = new((*x.shape[:2], layer.output_size), dtype)
    if call.with_cells:
        cells = new(cells_shape(call), dtype)
    if training:
        reserve = layer.new_reserve(T, B)
    call.y, call.reserve = y, reserve
    taken = (T, B, x, strides(x, first), call.taken, call.h0, call.c0, y, strides(y, first),
             h_n, c_n, cells, strides(cells, first), reserve, call.seed)  # fmt: skip
    found = (y if return_sequences else None), (h_n, c_n), call if training else None
    return taken, (*found, cells) if call.with_cells else found


def steps_and_rows(x: Array, I: int, batch_first: bool) -> tuple[int, int]:
    """T and B of x, whose shape is checked."""
    check_shape("x", x.shape, ("B", "T", I) if batch_first else ("T", "B", I))
    not_empty("x", x)
    first, second = x.shape[:2]
    return (second, first) if batch_first else (first, second)


def _steps_taken(
    lengths: Any, mask: Any, x: Array, T: int, B: int, batch_first: bool
) -> tuple[Array | None, Array | None, tuple[int, int] | None] | None:
    """What `capi.Layer` takes: (lengths, None, None), (None, mask, strides), or None for all."""
    counts, chosen = steps_taken(lengths, mask, x.shape[:2], T, B)
    if chosen is None:
        return None if counts is None else (counts.copy(), None, None)
    flags = np.array(chosen, np.uint8, order="C")  # a copy: backward needs it, too
    return None, flags, strides(flags, batch_first)


def state_shapes(layer: Any, B: int, stacked: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    leading = (layer.parts, B) if stacked else (B,)
    return (*leading, layer.state_size), (*leading, layer.hidden_size)


def cells_shape(cache: LSTMCache) -> tuple[int, ...]:
    layer = cache.layer
    directions = layer.output_size // layer.state_size
    return (*cache.x.shape[:2], directions * layer.hidden_size)


def state_of(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    return None if value is None else dense(name, value, shape, dtype)


def strides(array: Array | None, batch_first: bool) -> tuple[int, int]:
    """The strides of time and batch in elements."""
    if array is None:
        return 0, 0
    first, second = (stride // array.itemsize for stride in array.strides[:2])
    return (second, first) if batch_first else (first, second)

"""The gates of an LSTM call, read from what it keeps for its way back. Part of `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array
from .lstm import LSTMCache, reserve_of

__all__ = ["gates_of"]


def gates_of(cache: LSTMCache) -> dict[str, Array]:
    """Return i, f, g and o, each (T, B, H), as `lstm_forward(training=True)` left them.

    Parameters
    ----------
    cache : of one layer and direction whose rows all take every step, and without `recompute`

    Raises
    ------
    ValueError
        For the cache of another call, and for one that has been used.
    """
    call = cache.call
    if call.sizes.parts > 1 or call.taken is not None or "recompute" in call.keys:
        expected = "that of one part, without lengths, mask or recompute"
        raise ValueError(f"cache: expected {expected}, got another")
    shape = (call.T, call.B, 4, call.sizes.hidden_size)
    size = int(np.prod(shape)) * call.dtype.itemsize
    kept: Any = reserve_of(cache)[:size].view(call.dtype).reshape(shape)
    return {name: kept[:, :, n].copy() for n, name in enumerate("ifgo")}

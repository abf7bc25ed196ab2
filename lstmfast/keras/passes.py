"""Passes on tensors as Keras has them, one compiled call each: for frameworks that keep arrays.

x (B, T, I), kernel (I, 4H), recurrent kernel (H, 4H), b (4H,), h0 and c0 (B, H) and, where steps
are masked, mask (B, T), all contiguous. Results are new arrays; gradients of kernels have their
shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from .. import capi
from ..arguments import Array
from ..ops.checks import new
from .calls import FLOATS, Call, reserve_size

__all__ = ["backward", "forward", "forward_kept"]

KEPT_SIZES = 256  # of reserves that are remembered
NEEDED = np.ones(2, bool)  # of gradients: all


def forward(call: Call, *tensors: Any) -> list[Array]:
    """Return h_n and c_n, before them y if the call wants it."""
    return _forward(call, tensors, _outputs(tensors)[0 if call.sequences else 1 :])


def forward_kept(call: Call, *tensors: Any) -> list[Array]:
    """Return y, h_n, c_n and what `backward` needs beside y and the tensors: (n,) uint8."""
    size = _size(call, tuple(one.shape for one in tensors), tensors[0].dtype)
    return _forward(call, tensors, [*_outputs(tensors), new((size,), np.dtype(np.uint8))])


def backward(
    call: Call, tensors: Sequence[Any], y: Any, reserve: Any, upstream: Sequence[Any]
) -> list[Array]:
    """Return the gradients of all tensors but the mask; upstream: of the call's outputs."""
    found = [new(one.shape, one.dtype) for one in tensors[:FLOATS]]
    capi.layer_pass(
        True, False, _keys(call, len(tensors)), [*tensors, y, reserve, NEEDED, *upstream], found
    )
    return found


def _forward(call: Call, tensors: Sequence[Any], outputs: list[Array]) -> list[Array]:
    capi.layer_pass(False, False, _keys(call, len(tensors)), tensors, outputs)
    return outputs


def _outputs(tensors: Sequence[Any]) -> list[Array]:
    """Room for y, h_n and c_n."""
    (B, T, _), H, dtype = tensors[0].shape, tensors[2].shape[0], tensors[0].dtype
    return [new(shape, dtype) for shape in ((B, T, H), (B, H), (B, H))]


@cache
def _keys(call: Call, tensors: int) -> dict[str, float]:
    return call.keys(tensors)


_size = lru_cache(KEPT_SIZES)(reserve_size)

"""Arrays put together, turned and added up, in the GPU's memory. Part of `ops`."""

from __future__ import annotations

from typing import Any

from ...arguments import check_shape
from ..kernels.copying import copy_into
from ..runtime.array import DeviceArray, empty, zeros

__all__ = ["add_to", "flipped", "side_by_side", "zeros_like"]


def zeros_like(
    a: DeviceArray, shape: tuple[int, ...] | None = None, *, stream: Any = None
) -> DeviceArray:
    """A new array of zeros of the dtype of a, of its shape or another one."""
    return zeros(a.shape if shape is None else shape, a.dtype, stream)


def side_by_side(states: DeviceArray, *, stream: Any = None) -> DeviceArray:
    """(B, D · P) of states (D, B, P)."""
    D, B, P = states.shape
    made = empty((B, D * P), states.dtype, stream)
    copy_into(made.reshape(B, D, P), states.transpose(1, 0, 2), stream)
    return made


def add_to(a: DeviceArray, b: DeviceArray, *, stream: Any = None) -> None:
    """a += b, in place, for arrays of one shape, of three axes at most, and any strides."""
    check_shape("b", b.shape, a.shape)
    copy_into(a, b, stream, add=True)


def flipped(a: DeviceArray, axis: int, *, stream: Any = None) -> DeviceArray:
    """A copy of steps, of three axes, with the first or second the other way round."""
    made = empty(a.shape, a.dtype, stream)
    order = (1, 0, 2) if axis == 0 else (0, 1, 2)
    copy_into(made.transpose(*order), a.transpose(*order), stream, flip=True)
    return made

"""Checks of arrays in the GPU's memory: the counterparts of `lstmfast.arrays`, in its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import check_shape
from ..arrays import describe, not_empty
from .array import DeviceArray, copy
from .kernels.numbers import REALS

__all__ = ["dense", "float_array", "is_array", "rows_in_place"]


def is_array(value: Any) -> bool:
    return isinstance(value, DeviceArray)


def float_array(name: str, value: Any, dtype: Any = None) -> DeviceArray:
    """Return `value` itself, a DeviceArray of floats (of `dtype`, if that is given)."""
    if not isinstance(value, DeviceArray):
        raise ValueError(f"{name}: expected an array on the GPU, as x is, got {describe(value)}")
    if value.dtype.name not in REALS:
        raise ValueError(f"{name}: expected dtype {' or '.join(REALS)}, got {value.dtype}")
    if dtype is not None and value.dtype != np.dtype(dtype):
        raise ValueError(f"{name}: expected dtype {dtype} like its fellows, got {value.dtype}")
    return value


def dense(name: str, value: Any, shape: Sequence[int | str], dtype: Any) -> DeviceArray:
    """Return a C-contiguous array of this shape and dtype: `value` itself, or a copy if strided."""
    array = float_array(name, value, dtype)
    check_shape(name, array.shape, shape)
    not_empty(name, array)  # type: ignore[arg-type]
    return array if array.is_contiguous else copy(array)


def rows_in_place(array: DeviceArray) -> DeviceArray:
    """Return `array`, or a copy if its last axis is not contiguous."""
    usable = array.shape[-1] == 1 or array.strides[-1] == array.itemsize
    return array if usable else copy(array)

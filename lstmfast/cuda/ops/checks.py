"""Checks of arguments that are DeviceArrays, in the wording of `lstmfast.ops.checks`.

What the elements are cannot be told without waiting for the GPU, so it is not looked at: ids and
labels out of range, see `lstmfast.cuda.ops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arguments import check_shape, choice
from ...ops.checks import describe, not_empty
from ..kernels.numbers import REALS, name_of
from ..lstm.ragged import Order
from ..runtime.array import DeviceArray, copy
from ..support import PRECISIONS

__all__ = [
    "On", "apart", "dense", "float_array", "in_place", "matrix", "real_array", "rows_in_place",
    "whole_numbers", "writable",
]  # fmt: skip

WHOLE = (np.dtype(np.int32), np.dtype(np.int64))


def float_array(name: str, value: Any, dtype: Any = None) -> DeviceArray:
    """Return `value` itself, a DeviceArray of float32 or float64 (of `dtype`, if that is given)."""
    return _of_kinds(name, value, dtype, ("float32", "float64"))


def real_array(name: str, value: Any, dtype: Any = None) -> DeviceArray:
    """Return `value` itself, a DeviceArray of floats, half precision among them."""
    return _of_kinds(name, value, dtype, tuple(REALS))


def _of_kinds(name: str, value: Any, dtype: Any, kinds: Sequence[str]) -> DeviceArray:
    if not isinstance(value, DeviceArray):
        raise ValueError(f"{name}: expected a DeviceArray of floats, got {describe(value)}")
    if name_of(value.dtype) not in kinds:
        raise ValueError(f"{name}: expected dtype {' or '.join(kinds)}, got {value.dtype}")
    if dtype is not None and value.dtype != np.dtype(dtype):
        raise ValueError(f"{name}: expected dtype {dtype} like the other arrays, got {value.dtype}")
    return value


class On:
    """The checks that `ops.call` asks for; what must be copied is copied on a stream."""

    def __init__(self, stream: Any):
        self.stream = stream

    def is_array(self, value: Any) -> bool:
        return isinstance(value, DeviceArray)

    def float_array(self, name: str, value: Any, dtype: Any = None) -> DeviceArray:
        return real_array(name, value, dtype)

    def dense(self, name: str, value: Any, shape: Sequence[int | str], dtype: Any) -> DeviceArray:
        """Return a C-contiguous array of this shape and dtype: `value`, or a copy if strided."""
        array = real_array(name, value, dtype)
        check_shape(name, array.shape, shape)
        not_empty(name, array)  # type: ignore[arg-type]
        return array if array.is_contiguous else copy(array, self.stream)

    def rows_in_place(self, name: str, array: DeviceArray) -> DeviceArray:
        """Return `array`, or a copy if its last axis is not contiguous."""
        return rows_in_place(array, self.stream)

    def precision_of(self, precision: Any, dtype: Any) -> str:
        """What to multiply arrays of this dtype in."""
        allowed = PRECISIONS[name_of(dtype)]
        return allowed[0] if precision is None else str(choice("precision", precision, allowed))

    def taken(
        self, lengths: Any, mask: Any, shape: tuple[int, ...], T: int, B: int, batch_first: bool
    ) -> Order:
        """Which steps rows take."""
        return Order(lengths, mask, T, B, batch_first, self.stream)

    def resets(self, value: Any, shape: tuple[int, ...], batch_first: bool) -> None:
        """None: a call that has some is refused before (`ops.lstm`)."""


def rows_in_place(array: DeviceArray, stream: Any) -> DeviceArray:
    """Return `array`, or a copy if its last axis is not contiguous."""
    usable = array.shape[-1] == 1 or array.strides[-1] == array.itemsize
    return array if usable else copy(array, stream)


def _fitting(name: str, value: Any, shape: Sequence[int | str], dtype: Any) -> DeviceArray:
    array = float_array(name, value, dtype)
    check_shape(name, array.shape, shape)
    not_empty(name, array)  # type: ignore[arg-type]
    return array


def dense(
    name: str, value: Any, shape: Sequence[int | str], dtype: Any, stream: Any
) -> DeviceArray:
    """Return a C-contiguous array of this shape and dtype: `value` itself, or a copy if strided."""
    array = _fitting(name, value, shape, dtype)
    return array if array.is_contiguous else copy(array, stream)


def writable(name: str, value: Any, shape: Sequence[int | str], dtype: Any) -> DeviceArray:
    """Return `value`, a C-contiguous array of this shape and dtype."""
    array = _fitting(name, value, shape, dtype)
    if not array.is_contiguous:
        raise ValueError(f"{name}: expected a writable C-contiguous array, got one that is not")
    return array


def matrix(name: str, value: Any, stream: Any) -> DeviceArray:
    """Return a matrix whose rows are contiguous and do not overlap: `value`, or a copy."""
    array = _fitting(name, value, ("M", "N"), None)
    row, item = array.strides
    in_place = item == array.itemsize and row >= array.shape[1] * item and row % item == 0
    return array if in_place or array.is_contiguous else copy(array, stream)


def whole_numbers(name: str, value: Any, stream: Any) -> DeviceArray:
    """Return a contiguous array of int32 or int64: `value`, or a copy."""
    if not isinstance(value, DeviceArray):
        raise ValueError(f"{name}: expected a DeviceArray of integers, got {describe(value)}")
    if value.dtype not in WHOLE:
        raise ValueError(f"{name}: expected dtype int32 or int64, got {value.dtype}")
    return value if value.is_contiguous else copy(value, stream)


def apart(name: str, out: DeviceArray, x: DeviceArray) -> None:
    """Raise ValueError if `out` overlaps x without being just there (both contiguous)."""
    begin, end = max(out.address, x.address), min(out.address + out.nbytes, x.address + x.nbytes)
    if begin < end and out.address != x.address:
        raise ValueError(
            f"{name}: expected x itself or memory apart from x, got memory that overlaps x"
        )


def in_place(name: str, value: Any) -> DeviceArray:
    value = float_array(name, value)
    return writable(name, value, value.shape, value.dtype)

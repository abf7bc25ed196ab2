"""Checks of array arguments: one place, one wording (`x: expected (T, B, 3), got (5, 2, 4)`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import capi
from ..arguments import Array, check_shape, choice
from .placement import is_own

POOLED = 1 << 18  # bytes
PADS = ("zeros", "repeat")  # what outputs hold where no step is taken
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
# What products of arrays of each dtype can be calculated in on the CPU.
PRECISIONS = {"float32": ("float32", "bfloat16", "int8"), "float64": ("float64",)}
BITS = {"bfloat16": 16.0, "int8": 8.0}  # of factors that are narrower than their arrays


def is_double(array: Array) -> bool:
    return array.itemsize == 8


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def float_array(name: str, value: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """Return `value` itself, a float32 or float64 array (of `dtype`, if that is given).

    Raises
    ------
    ValueError
        It is no NumPy array, or of another type, byte order or alignment.
    """
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name}: expected a NumPy array of floats, got {describe(value)}")
    return _of_floats(name, value, dtype)


def floats_anywhere(name: str, value: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """As `float_array`, which may also be an array of our own in a GPU's memory."""
    return _of_floats(name, value, dtype) if is_own(value) else float_array(name, value, dtype)


def _of_floats(name: str, value: Any, dtype: np.dtype[Any] | None) -> Array:
    if value.dtype not in FLOATS or not value.dtype.isnative:
        raise ValueError(f"{name}: expected dtype float32 or float64, got {value.dtype.str}")
    if dtype is not None and value.dtype != dtype:
        raise ValueError(f"{name}: expected dtype {dtype} like the other arrays, got {value.dtype}")
    return value  # type: ignore[no-any-return]


def precision_of(precision: Any, dtype: np.dtype[Any]) -> str | None:
    """Return "bfloat16" or "int8" if products are calculated in it, None if in the dtype.

    Raises
    ------
    ValueError
        Arrays of this dtype have no such products.
    """
    if precision is None:
        return None
    found = choice("precision", precision, PRECISIONS[dtype.name])
    return None if found == dtype.name else found


def check_trains(precision: str | None) -> None:
    """Raise ValueError if there are no gradients in a precision."""
    if precision == "int8":
        expected = "None, 'float32' or 'bfloat16' in training"
        raise ValueError(f"precision: expected {expected}, got 'int8', which has no gradients")


def check_terms(name: str, count: int, precision: str | None) -> None:
    """Raise ValueError if a precision does not sum so many products."""
    if precision == "int8" and count > capi.LARGEST_SUM:
        most = capi.LARGEST_SUM
        raise ValueError(f"{name}: expected at most {most} columns in int8, got {count}")


def new(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Return an array with nothing set, a large one on memory from the pool (native/pool.h).

    Fresh pages of the system cost as much as passing over them several times.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < POOLED:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, memoryview(capi.Block(size)))


def new_like(a: Array) -> Array:
    """As `new`, in the shape and dtype of an array and where that is."""
    return np.empty_like(a) if is_own(a) else new(a.shape, a.dtype)


def describe(value: Any) -> str:
    """What a user passed, in a few words."""
    device = getattr(value, "device", None)
    where = "" if device is None else f" on device {device}"
    return "None" if value is None else f"{type(value).__name__}{where}"


def not_empty(name: str, array: Array) -> None:
    if array.size == 0:
        raise ValueError(f"{name}: expected no axis of size 0, got shape {array.shape}")


def dense(name: str, value: Any, shape: Sequence[int | str], dtype: np.dtype[Any]) -> Array:
    """Return a C-contiguous array of this shape and dtype: `value` itself, or a copy if strided."""
    array = float_array(name, value, dtype)
    if array.shape != shape:
        check_shape(name, array.shape, shape)
    if array.size == 0:
        not_empty(name, array)
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy(order="C")


def writable(name: str, value: Any, shape: Sequence[int | str], dtype: np.dtype[Any]) -> Array:
    """Return `value`, a C-contiguous array of this shape and dtype that may be written."""
    array = float_array(name, value, dtype)
    if array.shape != shape:
        check_shape(name, array.shape, shape)
    if array.size == 0:
        not_empty(name, array)
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned and flags.writeable):
        raise ValueError(f"{name}: expected a writable C-contiguous array, got one that is not")
    return array


def rows_in_place(name: str, array: Array) -> Array:
    """Return `array`, or a copy if its last axis is not contiguous or a stride is negative."""
    flags, item = array.flags, array.itemsize
    if flags.c_contiguous and flags.aligned:
        return array
    usable = flags.aligned and (array.shape[-1] == 1 or array.strides[-1] == item)
    usable = usable and all(s >= 0 and s % item == 0 for s in array.strides[:-1])
    return array if usable else array.copy(order="C")


def whole_numbers(name: str, value: Any, limit: int) -> Array:
    """Return `value` as contiguous int64, each in 0..limit-1.

    Raises
    ------
    ValueError
        It is no array of integers, or a number is out of range.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected an array of integers, got dtype {array.dtype}")
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if low < 0 or high >= limit:
        raise ValueError(f"{name}: expected integers in [0, {limit - 1}], got {low} to {high}")
    return np.ascontiguousarray(array, np.int64)


def row_numbers(name: str, value: Any, B: int) -> Array:
    """Return the numbers of some of B rows, told by them or by a bool (B,)."""
    array = np.asarray(value)
    if array.dtype == np.bool_:
        check_shape(name, array.shape, (B,))
        return np.flatnonzero(array)
    check_shape(name, array.shape, ("n",))
    return whole_numbers(name, array if array.size else array.astype(np.int64), B)


def steps_taken(
    lengths: Any, mask: Any, shape: tuple[int, ...], T: int, B: int
) -> tuple[Array | None, Array | None]:
    """Return (lengths, mask), one of them or both None.

    Parameters
    ----------
    lengths : (B,) integers in 0..T, or None
    mask : bool of `shape`, or None
    shape : (T, B) or (B, T), as x has it

    Returns
    -------
    lengths : int64, contiguous
    mask : bool

    Raises
    ------
    ValueError
        Both are given, or one does not fit.
    """
    if lengths is not None and mask is not None:
        raise ValueError("lengths, mask: expected one of the two, got both")
    if lengths is not None:
        check_shape("lengths", np.shape(lengths), (B,))
        return whole_numbers("lengths", lengths, T + 1), None
    if mask is None:
        return None, None
    array = np.asarray(mask)
    check_shape("mask", array.shape, shape)
    if array.dtype != np.bool_:
        raise ValueError(f"mask: expected an array of bool, got dtype {array.dtype}")
    return None, array


def taken(
    lengths: Any, mask: Any, shape: tuple[int, ...], T: int, B: int, batch_first: bool
) -> tuple[Array | None, Array | None, tuple[int, int] | None] | None:
    """What `capi.Handle` takes: (lengths, None, None), (None, mask, strides), or None for all."""
    if lengths is None and mask is None:
        return None
    counts, chosen = steps_taken(lengths, mask, shape, T, B)
    if counts is not None:
        return counts.copy(), None, None
    flags = np.array(chosen, np.uint8, order="C")  # a copy: backward needs it, too
    return None, flags, strides(flags, batch_first)


def resets(
    value: Any, shape: tuple[int, ...], batch_first: bool
) -> tuple[Array, tuple[int, int]] | None:
    """What `capi.Handle` takes: (flags, strides), or None for none; a copy.

    Parameters
    ----------
    value : bool of `shape`, or None
    shape : (T, B) or (B, T), as x has it
    """
    if value is None:
        return None
    array = np.asarray(value)
    check_shape("resets", array.shape, shape)
    if array.dtype != np.bool_:
        raise ValueError(f"resets: expected an array of bool, got dtype {array.dtype}")
    flags = np.array(array, np.uint8, order="C")
    return flags, strides(flags, batch_first)


def strides(array: Array | None, batch_first: bool) -> tuple[int, int]:
    """The strides of time and batch in elements."""
    if array is None:
        return 0, 0
    first, second, *_ = array.strides
    first, second = first // array.itemsize, second // array.itemsize
    return (second, first) if batch_first else (first, second)

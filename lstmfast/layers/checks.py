"""Checks of the shapes and weights that users give a layer."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import numpy as np

from ..arguments import Array, Shape, check_shape, choice, integer, shape_text, shown
from ..ops.checks import PRECISIONS
from ..ops.placement import is_own

__all__ = [
    "DTYPES", "axis_of", "check_mask", "check_precision", "features_of", "held_params", "in_a_list",
    "is_array", "rounded", "sizes", "sizes_of_all", "with_batch",
]  # fmt: skip

DTYPES = ("float32", "float64")


def with_batch(input_shape: Shape) -> Shape:
    """Put the batch axis before what a user gave as `input_shape`: () of single numbers."""
    if isinstance(input_shape, (tuple, list)) and not input_shape:
        return (None,)
    return (None, *sizes("input_shape", input_shape, 1))


def sizes(name: str, shape: Any, least: int) -> Shape:
    """Return `shape` as a tuple of whole numbers >= least and None; ValueError for others."""
    if not isinstance(shape, (tuple, list)) or not shape:
        raise ValueError(f"{name}: expected a tuple such as (None, 8), got {shown(shape)}")
    return tuple(None if size is None else integer(name, size, least) for size in shape)


def sizes_of_all(name: str, shapes: Any, least: int) -> tuple[Shape, ...]:
    """Return the shapes of a list of inputs, each as `sizes` does it; ValueError for others."""
    if not isinstance(shapes, (tuple, list)) or not shapes:
        raise ValueError(f"{name}: expected a list of shapes, got {shown(shapes)}")
    return tuple(sizes(f"{name}[{i}]", shape, least) for i, shape in enumerate(shapes))


def axis_of(axis: int, ndim: int) -> int:
    """Return an axis of arrays of `ndim` axes from 1 on; ValueError for the batch and others."""
    found = axis + ndim if axis < 0 else axis
    if not 1 <= found < ndim:
        raise ValueError(f"axis: expected one behind the batch of {ndim} axes, got {axis}")
    return found


def check_mask(name: str, mask: Any, shape: tuple[int, ...]) -> Array:
    """Return `mask`; ValueError unless it is of bool, its axes the first of an input's `shape`."""
    if not is_array(mask) or mask.dtype != np.bool_:
        found = f"dtype {mask.dtype}" if is_array(mask) else shown(mask)
        raise ValueError(f"{name}: expected an array of bool, got {found}")
    check_shape(name, mask.shape, shape[: max(1, mask.ndim)])
    return mask  # type: ignore[no-any-return]


def is_array(value: Any) -> bool:
    """Is this an array of NumPy, or of ours on a GPU?"""
    return isinstance(value, np.ndarray) or is_own(value)


def check_precision(precision: Any, device: str, dtypes: Iterable[str]) -> None:
    """Raise ValueError unless products can be calculated in it there, of one of these dtypes."""
    known = PRECISIONS
    if device == "cuda":
        known = import_module("lstmfast.cuda.support").PRECISIONS
    if precision is not None:
        choice("precision", precision, [one for dtype in dtypes for one in known[dtype]])


def held_params(
    params: dict[str, Array], shapes: dict[str, tuple[int, ...]], dtypes: dict[str, str]
) -> dict[str, Array]:
    """Return copies of `params` in `dtypes`; ValueError for other names, shapes or an overflow."""
    if list(params) != list(shapes):
        raise ValueError(f"params: expected {list(shapes)}, got {list(params)}")
    for name, shape in shapes.items():
        check_shape(f"params[{name!r}]", params[name].shape, shape)
    return {name: _held(name, param, dtypes[name]) for name, param in params.items()}


def _held(name: str, param: Any, dtype: str) -> Array:
    """Return a copy in `dtype`; ValueError for numbers that it cannot hold."""
    with np.errstate(over="ignore"):
        found = np.array(param, dtype=dtype, order="C")
    if (np.isfinite(param) & ~np.isfinite(found)).any():
        raise ValueError(f"{name}: expected values that {dtype} can hold, got larger")
    return found


def in_a_list(name: str, arrays: Any) -> list[Any]:
    """Return what can be passed over as a list; ValueError for anything else."""
    try:
        return list(arrays)
    except TypeError:
        raise ValueError(f"{name}: expected a list of arrays, got {shown(arrays)}") from None


def rounded(name: str, weight: Any, shape: tuple[int, ...], dtype: str) -> Array:
    """Return `weight` in `dtype`; ValueError for another shape, other things, or an overflow."""
    found = np.asarray(weight)
    if found.dtype.kind not in "iuf":
        raise ValueError(f"{name}: expected real numbers, got dtype {found.dtype}")
    check_shape(name, found.shape, shape)
    try:
        with np.errstate(over="raise"):
            return found.astype(dtype)
    except FloatingPointError:
        raise ValueError(f"{name}: expected values that {dtype} can hold, got larger") from None


def features_of(input_shape: Shape) -> int:
    """Return the size of the last axis; ValueError where that is open."""
    if input_shape[-1] is None:
        raise ValueError(f"input_shape: expected a known last axis, got {shape_text(input_shape)}")
    return input_shape[-1]

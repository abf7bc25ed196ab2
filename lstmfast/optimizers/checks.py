"""Do the arrays and numbers of a step fit each other?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import Array, check_shape
from ..ops.checks import FLOATS
from ..ops.placement import is_own

__all__ = ["check_array", "check_held", "check_writeable"]


def check_array(name: str, found: Any, like: Any) -> None:
    """Raise ValueError unless `found` is an array of floats with `like`'s shape, dtype, place."""
    both_here = type(found) is type(like) is np.ndarray and found.dtype == like.dtype in FLOATS
    if both_here and found.shape == like.shape and _in_order(found):
        return
    is_array = isinstance(found, np.ndarray) or is_own(found)
    if not is_array or found.dtype not in (np.float32, np.float64):
        kind = found.dtype if is_array else type(found).__name__
        raise ValueError(f"{name}: expected an array of float32 or float64, got {kind}")
    check_shape(name, found.shape, like.shape)
    if found.dtype != like.dtype:
        raise ValueError(f"{name}: expected dtype {like.dtype}, got {found.dtype}")
    if is_own(found) != is_own(like):
        places = ["a GPU's memory" if is_own(a) else "the host's memory" for a in (like, found)]
        raise ValueError(f"{name}: expected an array in {places[0]}, got one in {places[1]}")
    if not (found.is_contiguous if is_own(found) else _in_order(found)):
        raise ValueError(f"{name}: expected a C-contiguous array, got strides {found.strides}")


def _in_order(array: Array) -> bool:
    flags = array.flags
    return flags.c_contiguous and flags.aligned


def check_writeable(name: str, array: Any) -> None:
    """Raise ValueError for a read-only array."""
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        raise ValueError(f"{name}: expected a writeable array, got a read-only one")


SMALL = ("learning_rate", "weight_decay")  # no step is a small one


def check_held(name: str, value: float, params: Sequence[Array]) -> None:
    """Raise ValueError for a number, not 0, that an array's dtype would make Inf or 0."""
    for dtype in {param.dtype for param in params}:
        limits = np.finfo(dtype)
        if value and not float(limits.tiny) <= value <= float(limits.max):
            if name in SMALL and value < 1.0:
                continue
            raise ValueError(f"{name}: expected a number that {dtype} can hold, got {value}")

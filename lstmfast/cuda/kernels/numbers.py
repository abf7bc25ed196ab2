"""Kinds of numbers: how each lies in memory, and as what it is calculated with.

float16 and bfloat16 are stored and multiplied as such, but added up and passed to the gates as
float32; float32 and float64 are themselves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numba import types

try:
    from numba.cuda.types import float16
except ImportError:  # the simulator has NumPy's
    from numba.types import float16

from numba import cuda

from ..runtime.compiler import SIMULATED, pointer
from .ptx import float_of, rounded_bfloat16

__all__ = ["BFLOAT16", "BY_NAME", "REALS", "Number", "name_of"]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@lru_cache(None)
def name_of(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype, which NumPy makes anew each time that it is asked."""
    return str(dtype.name)


class Number(NamedTuple):
    """A kind of numbers in memory.

    Attributes
    ----------
    name : "float64", "float32", "float16" or "bfloat16"
    dtype : numpy.dtype
    pointer : the type of a kernel's argument that points to such numbers
    real : the type that they are calculated with: float64 or float32
    load, store : load(p, index) gives a `real`; store(p, index, value) rounds one
    """

    name: str
    dtype: Any
    pointer: Any
    real: Any
    load: Any
    store: Any


def device_function(function: Any) -> Any:
    """A function that kernels call."""
    return cuda.jit(function, device=True)


def _ieee(name: str, stored: Any, real: Any) -> Number:
    @device_function
    def load(p, index):
        return real(p[index])

    @device_function
    def store(p, index, value):
        p[index] = stored(value)

    return Number(name, np.dtype(name), pointer(stored), real, load, store)


def _bfloat16() -> Number:
    @device_function
    def load(p, index):
        return float_of(types.uint32(p[index]) << types.uint32(16))

    @device_function
    def store(p, index, value):
        p[index] = rounded_bfloat16(value)

    return Number("bfloat16", BFLOAT16, pointer(types.uint16), types.float32, load, store)


def _whole(name: str) -> Number:
    kind = getattr(types, name)

    @device_function
    def load(p, index):
        return p[index]

    @device_function
    def store(p, index, value):
        p[index] = value

    return Number(name, np.dtype(name), pointer(kind), kind, load, store)


REALS = {
    "float64": _ieee("float64", types.float64, types.float64),
    "float32": _ieee("float32", types.float32, types.float32),
    "float16": _ieee("float16", np.float16 if SIMULATED else float16, types.float32),
    "bfloat16": _bfloat16(),
}
BY_NAME = REALS | {name: _whole(name) for name in ("int8", "int32", "int64")}

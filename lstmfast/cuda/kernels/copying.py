"""Copies between layouts and kinds of numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba import cuda, types

from ..compiler import pointer
from ..kernel import Kernel
from .numbers import BY_NAME, number_of

__all__ = ["copy_into", "make_copy"]

THREADS = 256
I64 = types.int64


@lru_cache(None)
def make_copy(source: str, target: str) -> Kernel:
    """y = x of up to three axes, both with strides (in elements), n elements in all."""
    load, store = BY_NAME[source].load, BY_NAME[target].store
    real = BY_NAME[target].real

    def copy(x, y, n, J, K, x0, x1, x2, y0, y1, y2):
        at = cuda.grid(1)
        if at < n:
            k = at % K
            j = at // K % J
            i = at // K // J
            store(y, i * y0 + j * y1 + k * y2, real(load(x, i * x0 + j * x1 + k * x2)))

    arguments = (BY_NAME[source].pointer, BY_NAME[target].pointer, *[I64] * 9)
    return Kernel(f"copy {source} to {target}", copy, arguments, THREADS)


def copy_into(y: Any, x: Any, stream: Any = None) -> None:
    """y = x, cast to y's dtype, for arrays of the same shape, of three axes at most.

    Integers and bools are copied as the bytes they are: then both dtypes are the same.
    """
    if not x.size:
        return
    source, target = x.dtype.name, y.dtype.name
    if source not in BY_NAME:
        source = target = {1: "int8", 4: "int32", 8: "int64"}[x.itemsize]
    (_, J, K), xs = _three(x)
    _, ys = _three(y)
    kernel = make_copy(source, target)
    kernel.launch(stream, -(-x.size // THREADS), x, y, x.size, J, K, *xs, *ys)


def _three(array: Any) -> tuple[tuple[int, ...], list[int]]:
    """Shape and strides (in elements) as of three axes."""
    if array.ndim > 3:
        raise ValueError(f"array: expected three axes at most, got shape {array.shape}")
    missing = 3 - array.ndim
    return (1,) * missing + array.shape, [0] * missing + [s // array.itemsize for s in array.strides]

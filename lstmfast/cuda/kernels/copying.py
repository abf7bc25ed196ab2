"""Copies between layouts and kinds of numbers."""

from __future__ import annotations

from typing import Any

from numba import cuda, types

from ..runtime.kernel import Kernel, kernel_maker
from .numbers import BY_NAME, REALS, name_of

__all__ = ["copy_into", "make_copy"]

THREADS = 256
NONE = (1, 1, 1)  # axes that are missing
I64 = types.int64


@kernel_maker
def make_copy(source: str, target: str, flip: bool = False, add: bool = False) -> Kernel:
    """y = x, or y += x, of three axes (I, J, K), both with strides in elements.

    With `flip` the middle axis of x is taken from its end.
    """
    load, store = BY_NAME[source].load, BY_NAME[target].store
    load_y, real = BY_NAME[target].load, BY_NAME[target].real

    def copy(x, y, I, J, K, x0, x1, x2, y0, y1, y2):
        at = cuda.grid(1)
        if at < I * J * K:
            k, j, i = at % K, at // K % J, at // K // J
            there = i * y0 + j * y1 + k * y2
            value = real(load(x, i * x0 + (J - 1 - j if flip else j) * x1 + k * x2))
            if add:
                value += load_y(y, there)
            store(y, there, value)

    arguments = (BY_NAME[source].pointer, BY_NAME[target].pointer, *[I64] * 9)
    name = f"{'add' if add else 'copy'} {source} to {target}{', flipped' if flip else ''}"
    return Kernel(name, copy, arguments, THREADS)


def copy_into(y: Any, x: Any, stream: Any = None, *, flip: bool = False, add: bool = False) -> None:
    """y = x, cast to y's dtype, for arrays of the same shape, of three axes at most.

    Integers and bools are copied as the bytes they are: then both dtypes are the same.

    Parameters
    ----------
    flip : take the second of three axes of x from its end; y must not be x
    add : y += x, of floats
    """
    if not x.size:
        return
    if x.dtype == y.dtype and x.is_contiguous and y.is_contiguous and not (flip or add):
        y.copy_bytes(x, stream)
        return
    source, target = name_of(x.dtype), name_of(y.dtype)
    if source not in BY_NAME:
        source = target = {1: "int8", 4: "int32", 8: "int64"}[x.itemsize]
    sizes, xs = _three(x)
    _, ys = _three(y)
    kernel = make_copy(source, target, flip, add)
    kernel.launch(stream, -(-x.size // THREADS), x, y, *sizes, *xs, *ys)


def _three(array: Any) -> tuple[tuple[int, ...], list[int]]:
    """Shape and strides (in elements) as of three axes."""
    if array.ndim > 3:
        raise ValueError(f"array: expected three axes at most, got shape {array.shape}")
    missing, item = 3 - array.ndim, array.itemsize
    return NONE[:missing] + array.shape, [0] * missing + [s // item for s in array.strides]


def every() -> list[Kernel]:
    """Return all kernels of this file."""
    copies = [
        make_copy(source, target)
        for source in REALS
        for target in REALS
        if (source == "float64") == (target == "float64")
    ]
    whole = [make_copy(name, name) for name in BY_NAME if name not in REALS]
    more = [
        make_copy(name, name, flip, add)
        for name in REALS
        for flip, add in ((True, False), (False, True))
    ]
    return [*copies, *whole, *more]

"""What NumPy's functions and Python's operators do to arrays in the GPU's memory.

`DeviceArray` hands them on by NumPy's own protocols (`__array_ufunc__`, `__array_function__`), so
that layers and losses are written once, for arrays of either place: `np.where(kept, x, 0.0)`. What
is not listed here raises TypeError. Results have NumPy's shapes and dtypes; sums are added up in
float64 whatever the dtype. Numbers and small arrays of the host may stand beside arrays of the GPU.
The work is on the default stream, or on that of `device.working_on`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..kernels import broadcasting
from . import device, products
from .array import PROTOCOLS, DeviceArray, copy, empty, from_host

__all__ = ["call_function", "call_ufunc", "cast"]

UFUNCS = {
    np.add: "add", np.subtract: "subtract", np.multiply: "multiply", np.divide: "divide",
    np.maximum: "maximum", np.minimum: "minimum", np.negative: "negative",
    np.absolute: "absolute", np.sign: "sign", np.square: "square", np.sqrt: "sqrt",
    np.exp: "exp", np.log: "log", np.log1p: "log1p", np.isnan: "isnan",
    np.greater: "greater", np.greater_equal: "greater_equal", np.less: "less",
    np.less_equal: "less_equal", np.equal: "equal", np.not_equal: "not_equal",
    np.logical_not: "not", np.invert: "not", np.logical_and: "and", np.bitwise_and: "and",
    np.logical_or: "or", np.bitwise_or: "or",
}  # fmt: skip
IN_FLOATS = ("divide", "sqrt", "exp", "log", "log1p")  # of whole numbers, too
BOOL = np.dtype(np.bool_)
LONG = 64  # from here on an axis is folded by a block


# ---------------------------------------------------------------- ufuncs


def call_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], keywords: dict[str, Any]) -> Any:
    """What `DeviceArray.__array_ufunc__` returns."""
    if ufunc is np.matmul and method == "__call__" and not keywords:
        return matmul(*inputs)
    what = UFUNCS.get(ufunc)
    told = set(keywords) - {"out", "dtype", "where"}
    if what is None or method != "__call__" or told:
        return NotImplemented
    out = keywords.get("out")
    out = out[0] if isinstance(out, tuple) else out
    where = keywords.get("where", True)
    if where is True:
        return apply(what, inputs, out, keywords.get("dtype"))
    if out is None:
        raise TypeError("where: expected an array `out` with it, got none")
    found = apply(what, inputs, None, keywords.get("dtype"))
    return apply("where", (where, found, out), out)


def apply(what: str, inputs: Sequence[Any], out: Any = None, dtype: Any = None) -> DeviceArray:
    """Return an operation on arrays that broadcast, in a new array or in `out`."""
    operands = [_operand(one) for one in inputs]
    arrays = [one for one in operands if isinstance(one, DeviceArray)]
    arrays += [] if out is None else [out]
    shape = np.broadcast_shapes(*(one.shape for one in arrays))
    real, kind = _kinds(what, operands, dtype)
    if out is None:
        out = empty(shape, kind, device.working_stream())
    elif out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if out.size:
        _launch(what, operands, out, real)
    return out


def _operand(value: Any) -> Any:
    """An array of the GPU, or one number."""
    if isinstance(value, DeviceArray):
        return value
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"expected numbers beside arrays of the GPU, got {type(value).__name__}")
    if found.ndim:
        return from_host(found, device.working_stream())
    return found[()] if isinstance(value, np.ndarray) else value


def _kinds(what: str, operands: Sequence[Any], dtype: Any) -> tuple[str, np.dtype[Any]]:
    """What an operation is calculated in, a name of BY_NAME, and the dtype of what comes out."""
    values = operands[1:] if what == "where" else operands
    given = [one.dtype if isinstance(one, DeviceArray) else one for one in values]
    found = np.dtype(dtype) if dtype is not None else np.result_type(*given)
    if what in IN_FLOATS and found.kind in "biu":
        found = np.dtype(np.float64)
    if what in broadcasting.OF_TRUTH and found != BOOL:
        raise TypeError(f"{what}: expected arrays of bool, got {found}")
    return stored(found), BOOL if what in broadcasting.COMPARISONS else found


def stored(dtype: np.dtype[Any]) -> str:
    """The name that kernels know a dtype by."""
    return _stored(dtype.name)


@lru_cache(None)
def _stored(name: str) -> str:
    if name == "bool":
        return "int8"
    if name in broadcasting.BY_NAME:
        return name
    raise TypeError(f"expected floats, int8, int32, int64 or bool on the GPU, got {name}")


def _launch(what: str, operands: Sequence[Any], out: DeviceArray, real: str) -> None:
    arrays = [one for one in operands if isinstance(one, DeviceArray)]
    sizes, steps = collapsed(out.shape, [_spread(one, out.shape) for one in (*arrays, out)])
    flat = len(sizes) <= 1 and all(one in ([], [1]) for one in steps)
    scalars = tuple(not isinstance(one, DeviceArray) for one in operands)
    kinds = tuple(
        real if scalar else stored(one.dtype) for one, scalar in zip(operands, scalars, strict=True)
    )
    kernel = broadcasting.make_map(what, kinds, scalars, real, stored(out.dtype), flat)
    operands = [one.item() if isinstance(one, np.generic) else one for one in operands]
    missing = [None] * (3 - len(operands))
    numbers = [out.size]
    if not flat:
        sizes, steps = padded(sizes, steps)
        *of_arrays, of_out = steps
        placed = iter(of_arrays)
        each = [[0] * broadcasting.AXES if scalar else next(placed) for scalar in scalars]
        each += [[0] * broadcasting.AXES for _ in missing]
        numbers += [*sizes[1:], *(step for one in (*each, of_out) for step in one)]
    blocks = -(-out.size // kernel.threads)
    kernel.launch(device.working_stream(), blocks, *operands, *missing, out, *numbers)


def _spread(array: DeviceArray, shape: Sequence[int]) -> list[int]:
    """The strides of an array, in elements, as it broadcasts to a shape."""
    missing = len(shape) - array.ndim
    own = [
        0 if size == 1 else stride // array.itemsize
        for size, stride in zip(array.shape, array.strides, strict=True)
    ]
    return [0] * missing + own


def collapsed(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """The fewest axes, and each array's strides along them, that walk over the same elements."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        own = [one[axis] for one in strides]
        if sizes and all(k[-1] == step * size for k, step in zip(steps, own, strict=True)):
            sizes[-1] *= size
            for kept, step in zip(steps, own, strict=True):
                kept[-1] = step
        else:
            sizes.append(size)
            for kept, step in zip(steps, own, strict=True):
                kept.append(step)
    return sizes, steps


def padded(sizes: list[int], steps: Sequence[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Sizes and strides of exactly AXES axes."""
    missing = broadcasting.AXES - len(sizes)
    if missing < 0:
        raise ValueError(f"expected arrays that {broadcasting.AXES} axes describe, got {sizes}")
    return [1] * missing + sizes, [[0] * missing + one for one in steps]


def cast(array: DeviceArray, dtype: Any) -> DeviceArray:
    """Return a contiguous copy in another dtype."""
    return apply("copy", (array,), empty(array.shape, dtype, device.working_stream()))


# ---------------------------------------------------------------- other functions

FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def call_function(function: Any, arguments: Sequence[Any], keywords: dict[str, Any]) -> Any:
    """What `DeviceArray.__array_function__` returns."""
    ours = FUNCTIONS.get(function)
    return NotImplemented if ours is None else ours(*arguments, **keywords)


def stands_for(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def take(ours: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS[function] = ours
        return ours

    return take


@stands_for(np.where)
def where(condition: Any, x: Any, y: Any) -> DeviceArray:
    return apply("where", (condition, x, y))


@stands_for(np.copyto)
def copyto(dst: DeviceArray, src: Any, where: Any = True) -> None:
    if where is not True:
        apply("where", (where, src, dst), dst, dst.dtype)
    else:
        apply("copy", (src,), dst, None if isinstance(src, DeviceArray) else dst.dtype)


@stands_for(np.clip)
def clip(a: Any, a_min: Any, a_max: Any, out: Any = None, *, dtype: Any = None) -> DeviceArray:
    held = apply("maximum", (a, a_min), None, dtype)
    return apply("minimum", (held, a_max), out, dtype)


@stands_for(np.sum)
def sum_(
    a: DeviceArray, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
) -> DeviceArray:
    kind = np.dtype(dtype) if dtype is not None else a.dtype
    if kind.kind in "bi" and dtype is None:
        kind = np.dtype(np.int64)
    return _folded("sum", a, axis, kind, keepdims)


@stands_for(np.mean)
def mean(
    a: DeviceArray, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
) -> DeviceArray:
    kind = np.dtype(dtype) if dtype is not None else a.dtype
    count = math.prod(a.shape[one] for one in _axes(axis, a.ndim))
    total = _folded("sum", a, axis, np.dtype(np.float64), keepdims)
    return cast(total / count, kind) if kind != np.float64 else total / count


@stands_for(np.max)
def max_(a: DeviceArray, axis: Any = None, out: None = None, keepdims: bool = False) -> DeviceArray:
    return _folded("max", a, axis, a.dtype, keepdims)


@stands_for(np.any)
def any_(a: DeviceArray, axis: Any = None, out: None = None, keepdims: bool = False) -> DeviceArray:
    return _folded("any", a, axis, BOOL, keepdims)


def _axes(axis: Any, ndim: int) -> list[int]:
    given = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return sorted({one + ndim if one < 0 else one for one in given})


def _folded(
    what: str, a: DeviceArray, axis: Any, kind: np.dtype[Any], keepdims: bool
) -> DeviceArray:
    """One axis after the other, from the last; sums are in float64 until the last one is done."""
    axes = _axes(axis, a.ndim)
    shape = [1 if n in axes else size for n, size in enumerate(a.shape)]
    for n, one in enumerate(reversed(axes)):
        is_last = n == len(axes) - 1
        between = np.dtype(np.float64) if what == "sum" and not is_last else kind
        a = _fold_one(what, a, one, between)
    kept = [size for n, size in enumerate(shape) if n not in axes]
    return a.reshape(shape if keepdims else kept)


def _fold_one(what: str, a: DeviceArray, axis: int, kind: np.dtype[Any]) -> DeviceArray:
    """Fold an axis, which then has size 1."""
    count, along = a.shape[axis], a.strides[axis] // a.itemsize
    shape = [1 if n == axis else size for n, size in enumerate(a.shape)]
    out = empty(shape, kind, device.working_stream())
    if not count:
        copyto(out, 0)
    if not count or not out.size:
        return out
    steps = [stride // a.itemsize for stride in a.strides]
    sizes, (own, _) = collapsed(shape, (steps, [s // out.itemsize for s in out.strides]))
    sizes, (own,) = padded(sizes, [own])
    wants_block = along == 1 or out.size < LONG * LONG
    side = broadcasting.SIDE if count >= LONG and wants_block else 0
    real = "float64" if what == "sum" else stored(a.dtype)
    kernel = broadcasting.make_fold(what, stored(a.dtype), real, stored(kind), side)
    blocks = out.size if side else -(-out.size // kernel.threads)
    kernel.launch(device.working_stream(), blocks, a, out, out.size, count, along, *sizes[1:], *own)
    return out


@stands_for(np.einsum)
def einsum(subscripts: str, *operands: Any) -> DeviceArray:
    if subscripts != "mn,mn->m":
        raise TypeError(f"einsum: expected 'mn,mn->m' on the GPU, got {subscripts!r}")
    return sum_(apply("multiply", operands), axis=1)


# ---------------------------------------------------------------- products


def matmul(a: DeviceArray, b: DeviceArray) -> DeviceArray:
    """a (..., M, K) · b (..., K, N) or (K,): a product of cuBLAS for each of a batch."""
    if b.ndim == 1:
        rows = a.reshape(-1, a.shape[-1])
        return matmul(rows, b.reshape(-1, 1)).reshape(a.shape[:-1])
    *batch, M, _ = a.shape
    out = empty((*batch, M, b.shape[-1]), a.dtype, device.working_stream())
    wide = broadcast_to(b, (*batch, *b.shape[-2:]))
    for at in np.ndindex(*batch):
        (left, turn_a), (right, turn_b) = _factor(a[at]), _factor(wide[at])
        products.product(
            out[at], left, right, transpose_a=turn_a, transpose_b=turn_b,
            precision=stored(a.dtype), stream=device.working_stream(),
        )  # fmt: skip
    return out


def _factor(a: DeviceArray) -> tuple[DeviceArray, bool]:
    """A matrix of contiguous rows, and whether it is to be taken transposed."""
    down, right = a.strides
    if right == a.itemsize and down >= a.shape[1] * right:
        return a, False
    if down == a.itemsize and right >= a.shape[0] * down:
        return a.transpose(1, 0), True
    return copy(a, device.working_stream()), False


@stands_for(np.tensordot)
def tensordot(a: DeviceArray, b: DeviceArray, axes: int) -> DeviceArray:
    """Over the last axes of a and the first ones of b."""
    K = math.prod(b.shape[:axes])
    found = matmul(a.reshape(-1, K), b.reshape(K, -1))
    return found.reshape((*a.shape[: a.ndim - axes], *b.shape[axes:]))


# ---------------------------------------------------------------- shapes and places


@stands_for(np.concatenate)
def concatenate(arrays: Sequence[Any], axis: int = 0) -> DeviceArray:
    first = arrays[0]
    axis = axis + first.ndim if axis < 0 else axis
    shape = list(first.shape)
    shape[axis] = sum(one.shape[axis] for one in arrays)
    kind = np.result_type(*(one.dtype for one in arrays))
    made, start = empty(shape, kind, device.working_stream()), 0
    for one in arrays:
        end = start + one.shape[axis]
        if end > start and made.size:
            copyto(made[(slice(None),) * axis + (slice(start, end),)], _operand(one))
        start = end
    return made


@stands_for(np.split)
def split(a: DeviceArray, ends: Sequence[int], axis: int = 0) -> list[DeviceArray]:
    starts, axis = [0, *ends], axis + a.ndim if axis < 0 else axis
    pairs = zip(starts, [*ends, a.shape[axis]], strict=True)
    return [a[(slice(None),) * axis + (slice(start, end),)] for start, end in pairs]


@stands_for(np.broadcast_to)
def broadcast_to(a: DeviceArray, shape: Sequence[int]) -> DeviceArray:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if np.broadcast_shapes(a.shape, shape) != shape:
        raise ValueError(f"shape: expected one that {a.shape} broadcasts to, got {shape}")
    strides = [step * a.itemsize for step in _spread(a, shape)]
    return DeviceArray(a.memory, a.address, shape, a.dtype, strides)


@stands_for(np.repeat)
def repeat(a: DeviceArray, repeats: int, axis: int) -> DeviceArray:
    axis = axis + a.ndim if axis < 0 else axis
    wide = a[(slice(None),) * (axis + 1) + (None,)]
    shape = (*a.shape[: axis + 1], repeats, *a.shape[axis + 1 :])
    whole = (*a.shape[:axis], a.shape[axis] * repeats, *a.shape[axis + 1 :])
    return copy(broadcast_to(wide, shape), device.working_stream()).reshape(whole)


@stands_for(np.moveaxis)
def moveaxis(a: DeviceArray, source: int, destination: int) -> DeviceArray:
    order = [n for n in range(a.ndim) if n != source % a.ndim]
    order.insert(destination % a.ndim, source % a.ndim)
    return a.transpose(*order)


@stands_for(np.swapaxes)
def swapaxes(a: DeviceArray, one: int, other: int) -> DeviceArray:
    order = list(range(a.ndim))
    order[one], order[other] = order[other], order[one]
    return a.transpose(*order)


@stands_for(np.pad)
def pad(a: DeviceArray, widths: Sequence[tuple[int, int]]) -> DeviceArray:
    sizes = zip(a.shape, widths, strict=True)
    made = empty([size + sum(both) for size, both in sizes], a.dtype, device.working_stream())
    copyto(made, 0)
    inner = zip(a.shape, widths, strict=True)
    copyto(made[tuple(slice(first, first + size) for size, (first, _) in inner)], a)
    return made


@stands_for(np.empty_like)
def empty_like(a: DeviceArray, dtype: Any = None, *, shape: Any = None) -> DeviceArray:
    return empty(a.shape if shape is None else shape, dtype or a.dtype, device.working_stream())


@stands_for(np.zeros_like)
def zeros_like(a: DeviceArray, dtype: Any = None, *, shape: Any = None) -> DeviceArray:
    return full_like(a, 0, dtype, shape=shape)


@stands_for(np.full_like)
def full_like(a: DeviceArray, value: Any, dtype: Any = None, *, shape: Any = None) -> DeviceArray:
    made = empty_like(a, dtype, shape=shape)
    copyto(made, value)
    return made


@stands_for(np.transpose)
def transpose(a: DeviceArray, axes: Sequence[int] | None = None) -> DeviceArray:
    return a.transpose(*(reversed(range(a.ndim)) if axes is None else axes))


@stands_for(np.may_share_memory)
def may_share_memory(a: Any, b: Any) -> bool:
    """Do the bytes from the first to the last of both have some in common?"""
    if not (isinstance(a, DeviceArray) and isinstance(b, DeviceArray)):
        return False
    (low, high), (start, end) = _span(a), _span(b)
    return low < end and start < high


def _span(a: DeviceArray) -> tuple[int, int]:
    steps = sum((size - 1) * stride for size, stride in zip(a.shape, a.strides, strict=True))
    return (a.address, a.address + steps + a.itemsize) if a.size else (0, 0)


@stands_for(np.shape)
def shape(a: DeviceArray) -> tuple[int, ...]:
    return a.shape


@stands_for(np.ndim)
def ndim(a: DeviceArray) -> int:
    return a.ndim


@stands_for(np.size)
def size(a: DeviceArray, axis: int | None = None) -> int:
    return a.size if axis is None else a.shape[axis]


PROTOCOLS |= {"ufunc": call_ufunc, "function": call_function}

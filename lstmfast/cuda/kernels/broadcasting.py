"""Element by element over arrays of any strides that broadcast, and what one axis comes to.

Two families of kernels for all that NumPy's functions do here (`runtime.numeric`): `make_map`,
whose operation is one of OPERATIONS, and `make_fold`, whose is one of FOLDS. Truth values are int8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numba import cuda, types

from ...kernels.activations import like
from ..runtime.compiler import SIMULATED, pointer
from ..runtime.kernel import Kernel, kernel_maker
from . import formulas  # noqa: F401  # it lets kernels call like
from .numbers import BY_NAME, device_function
from .reductions import SIDE, make_combined, room_for

__all__ = ["AXES", "COMPARISONS", "FOLDS", "OPERATIONS", "THREADS", "make_fold", "make_map"]

THREADS = 256
AXES = 4  # that a map walks over; a fold has one more
I8, I64, F64 = types.int8, types.int64, types.float64
EXP, LOG, LOG1P, SQRT = (
    (np.exp, np.log, np.log1p, np.sqrt)  # Python's raise where CUDA's give Inf and NaN
    if SIMULATED
    else (math.exp, math.log, math.log1p, math.sqrt)
)


# ---------------------------------------------------------------- operations


@device_function
def same(x):
    return x


@device_function
def negative(x):
    return -x


@device_function
def absolute(x):
    return abs(x)


@device_function
def sign(x):
    """-1, 0 or 1; NaN stays."""
    return like(x, 1) if x > 0 else like(x, -1) if x < 0 else x


@device_function
def square(x):
    return x * x


@device_function
def root(x):
    return SQRT(x)


@device_function
def exponential(x):
    return EXP(x)


@device_function
def logarithm(x):
    return LOG(x)


@device_function
def logarithm_of_more(x):
    return LOG1P(x)


@device_function
def is_nan(x):
    return 1 if x != x else 0


@device_function
def negated(x):
    return 0 if x else 1


@device_function
def plus(x, y):
    return x + y


@device_function
def minus(x, y):
    return x - y


@device_function
def times(x, y):
    return x * y


@device_function
def over(x, y):
    return x / y


@device_function
def larger(x, y):
    """The larger of the two; NaN if either is."""
    return x if x > y or x != x else y


@device_function
def smaller(x, y):
    return x if x < y or x != x else y


@device_function
def is_greater(x, y):
    return 1 if x > y else 0


@device_function
def is_at_least(x, y):
    return 1 if x >= y else 0


@device_function
def is_less(x, y):
    return 1 if x < y else 0


@device_function
def is_at_most(x, y):
    return 1 if x <= y else 0


@device_function
def is_same(x, y):
    return 1 if x == y else 0


@device_function
def is_other(x, y):
    return 1 if x != y else 0


@device_function
def both(x, y):
    return 1 if x and y else 0


@device_function
def either(x, y):
    return 1 if x or y else 0


@device_function
def chosen(condition, x, y):
    return x if condition else y


OPERATIONS = {
    "copy": same, "negative": negative, "absolute": absolute, "sign": sign, "square": square,
    "sqrt": root, "exp": exponential, "log": logarithm, "log1p": logarithm_of_more,
    "isnan": is_nan, "not": negated, "add": plus, "subtract": minus, "multiply": times,
    "divide": over, "maximum": larger, "minimum": smaller, "greater": is_greater,
    "greater_equal": is_at_least, "less": is_less, "less_equal": is_at_most, "equal": is_same,
    "not_equal": is_other, "and": both, "or": either, "where": chosen,
}  # fmt: skip
COMPARISONS = ("isnan", "greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
OF_TRUTH = ("not", "and", "or")
FOLDS = {"sum": plus, "max": larger, "any": either}


# ---------------------------------------------------------------- maps


@device_function
def at_strides(i, j, k, l, s0, s1, s2, s3):
    """The place of an element among strides."""
    return i * s0 + j * s1 + k * s2 + l * s3


@kernel_maker
def make_map(
    what: str, kinds: tuple[str, ...], scalars: tuple[bool, ...], real: str, target: str, flat: bool
) -> Kernel:
    """y = OPERATIONS[what] of one operand, two or three, each cast to `real` before.

    (But not the condition of "where".) Kinds are names of BY_NAME.

    Parameters
    ----------
    kinds, scalars : of each operand what it holds, and whether it is one number, of kind `real`
    target : what y holds
    flat : all arrays are contiguous and of one shape; else there are strides of AXES axes each, in
        elements
    """
    casts = [None if what == "where" and k == 0 else real for k in range(len(kinds))]
    value = _value(what, [_reader(*one) for one in zip(kinds, scalars, casts, strict=True)])
    store = BY_NAME[target].store
    operands = [
        BY_NAME[real].real if scalar else BY_NAME[kind].pointer
        for kind, scalar in zip(kinds, scalars, strict=True)
    ]
    operands += [pointer(I8)] * (3 - len(operands))

    def flat_map(a, b, c, y, n):
        at = cuda.grid(1)
        if at < n:
            store(y, at, value(a, b, c, at, at, at))

    def strided_map(
        a, b, c, y, n, J, K, L, a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, y0, y1, y2, y3
    ):
        at = cuda.grid(1)
        if at < n:
            r = at // L
            s = r // K
            l, k, j, i = at - r * L, r - s * K, s % J, s // J
            in_a = at_strides(i, j, k, l, a0, a1, a2, a3)
            in_b = at_strides(i, j, k, l, b0, b1, b2, b3)
            in_c = at_strides(i, j, k, l, c0, c1, c2, c3)
            in_y = at_strides(i, j, k, l, y0, y1, y2, y3)
            store(y, in_y, value(a, b, c, in_a, in_b, in_c))

    of = [f"a {kind}" if scalar else kind for kind, scalar in zip(kinds, scalars, strict=True)]
    name = f"{what} of {', '.join(of)} as {real} to {target}{'' if flat else ', strided'}"
    numbers = [I64] if flat else [I64] * (4 + 4 * AXES)
    arguments = (*operands, BY_NAME[target].pointer, *numbers)
    return Kernel(name, flat_map if flat else strided_map, arguments, THREADS)


@lru_cache(None)
def _reader(kind: str, scalar: bool, cast: str | None) -> Any:
    """read(a, index): an operand as the operation takes it."""
    load, real = BY_NAME[kind].load, BY_NAME[cast or kind].real

    @device_function
    def read_one(a, index):
        return real(a)

    @device_function
    def read(a, index):
        return real(load(a, index))

    return read_one if scalar else read


def _value(what: str, readers: list[Any]) -> Any:
    """value(a, b, c, i, j, k): of as many operands as there are readers."""
    operation, first = OPERATIONS[what], readers[0]
    second, third = [*readers, first, first][1:3]

    @device_function
    def of_one(a, b, c, i, j, k):
        return operation(first(a, i))

    @device_function
    def of_two(a, b, c, i, j, k):
        return operation(first(a, i), second(b, j))

    @device_function
    def of_three(a, b, c, i, j, k):
        return operation(first(a, i), second(b, j), third(c, k))

    return (of_one, of_two, of_three)[len(readers) - 1]


# ---------------------------------------------------------------- folds


@kernel_maker
def make_fold(what: str, source: str, real: str, target: str, side: int) -> Kernel:
    """y (n,) = FOLDS[what] over an axis of length K > 0 of x, calculated as `real`.

    x has AXES axes beside it, strides in elements. A thread for each y that walks over the axis;
    or, where `side` is not 0, a block of side² threads. The order depends on the sizes alone.
    """
    load, store, kind = BY_NAME[source].load, BY_NAME[target].store, BY_NAME[real].real
    combine, step = FOLDS[what], max(side * side, 1)
    combined, room = make_combined(combine, max(side, 1)), room_for(max(side, 1))

    def by_thread(x, y, n, K, along, J, M, L, x0, x1, x2, x3):
        at = cuda.grid(1)
        if at < n:
            r = at // L
            s = r // M
            start = at_strides(s // J, s % J, r - s * M, at - r * L, x0, x1, x2, x3)
            total = kind(load(x, start))
            for k in range(1, K):
                total = kind(combine(total, kind(load(x, start + k * along))))
            store(y, at, total)

    def by_block(x, y, n, K, along, J, M, L, x0, x1, x2, x3):
        values = cuda.shared.array(room, kind)
        at, thread = I64(cuda.blockIdx.x), cuda.threadIdx.x
        r = at // L
        s = r // M
        start = at_strides(s // J, s % J, r - s * M, at - r * L, x0, x1, x2, x3)
        first = min(I64(thread), K - 1)
        total = kind(load(x, start + first * along))
        for k in range(thread + step, K, step):
            total = kind(combine(total, kind(load(x, start + k * along))))
        if thread >= K:  # there is nothing for it: the first number again, but not in a sum
            total = kind(0) if what == "sum" else kind(load(x, start))
        total = combined(values, thread, total)
        if thread == 0:
            store(y, at, total)

    of = "sums of an axis" if what == "sum" else f"{what} of an axis"
    name = f"{of}, {source} in {real} to {target}{f', {step} threads' if side else ''}"
    arguments = (BY_NAME[source].pointer, BY_NAME[target].pointer, *[I64] * 10)
    return Kernel(name, by_block if side else by_thread, arguments, step if side else THREADS)


def every() -> Iterator[Kernel]:
    """Yield these kernels in the forms that layers and losses have most."""
    for name in ("float32", "float64"):
        yield from _maps(name)
        for what, real in (("sum", "float64"), ("max", name)):
            for side in (0, SIDE):
                yield make_fold(what, name, real, name, side)
    for what in OF_TRUTH:
        count = 1 if what == "not" else 2
        yield make_map(what, ("int8",) * count, (False,) * count, "int8", "int8", True)
    for flat in (True, False):
        yield make_map("copy", ("int8",), (False,), "int8", "int8", flat)
    for ids in ("int32", "int64"):
        yield make_map("not_equal", (ids, ids), (False, True), ids, "int8", True)
    yield make_fold("any", "int8", "int8", "int8", 0)
    yield make_fold("sum", "int8", "float64", "float64", SIDE)


def _maps(name: str) -> Iterator[Kernel]:
    unary = (
        "copy",
        "negative",
        "absolute",
        "sign",
        "square",
        "sqrt",
        "exp",
        "log",
        "log1p",
        "isnan",
    )
    for what in OPERATIONS:
        kinds = ("int8", name, name) if what == "where" else (name,) * (1 if what in unary else 2)
        target, arrays = "int8" if what in COMPARISONS else name, (False,) * len(kinds)
        if what not in OF_TRUTH:
            yield make_map(what, kinds, arrays, name, target, True)
        if what in ("copy", "multiply", "where"):
            yield make_map(what, kinds, arrays, name, target, False)
        if what in ("multiply", "maximum"):
            yield make_map(what, kinds, (False, True), name, target, True)

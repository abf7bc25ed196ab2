"""Element by element over flat arrays: activations, scaling, clipping, adding, rows of a bias."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import cuda, types

from ...kernels.activations import KINDS, activate, at_least, at_most, slope
from ..runtime.compiler import pointer
from ..runtime.kernel import Kernel, kernel_maker
from . import formulas  # noqa: F401  # it lets kernels call activations
from .numbers import BY_NAME, device_function, name_of

__all__ = [
    "DOWN",
    "ROWS",
    "THREADS",
    "blocks_for",
    "change",
    "make_activation",
    "make_activation_backward",
    "make_add",
    "make_add_row",
    "make_change",
    "make_penalty_gradient",
    "make_shrink",
    "make_shrink_factor",
]

THREADS = 256
ROWS = 8  # of a matrix, that a block of `make_add_row` passes over
I64, F64 = types.int64, types.float64
DOWN = 2.0**-538  # times this, squares of all of float64's numbers are finite
TWO_STEPS = 2.0**-64


def blocks_for(kernel: Kernel, n: int) -> int:
    """Return how many blocks have a thread for each of n elements."""
    return -(-n // kernel.threads)


# ---------------------------------------------------------------- activations


@kernel_maker
def make_activation(name: str, kind: int, alpha: float, beta: float) -> Kernel:
    """y = f(x), which may be the same memory; kind, alpha and beta as in activations.py."""
    real = BY_NAME[name].real

    def forward(x, y, n):
        i = cuda.grid(1)
        if i < n:
            y[i] = real(activate(kind, alpha, beta, x[i]))

    arguments = (BY_NAME[name].pointer, BY_NAME[name].pointer, I64)
    return Kernel(f"{KINDS[kind]}, {name}", forward, arguments, THREADS)


@kernel_maker
def make_activation_backward(name: str, kind: int, alpha: float, beta: float) -> Kernel:
    """dy *= f'(x), told from y = f(x)."""
    real = BY_NAME[name].real

    def backward(y, dy, n):
        i = cuda.grid(1)
        if i < n:
            dy[i] = dy[i] * real(slope(kind, alpha, beta, y[i]))

    arguments = (BY_NAME[name].pointer, BY_NAME[name].pointer, I64)
    return Kernel(f"{KINDS[kind]} backward, {name}", backward, arguments, THREADS)


# ---------------------------------------------------------------- one array and a number


@device_function
def product(x, value):
    return x * value


@device_function
def second(x, value):
    return value


@device_function
def held(x, limit):
    """x in -limit..limit; NaN stays."""
    return at_least(at_most(x, limit), -limit)


CHANGES = {"scale": product, "fill": second, "clip": held}


@kernel_maker
def make_change(what: str, name: str) -> Kernel:
    """x = x · value ("scale"), value ("fill"), or x held in -value..value ("clip")."""
    changed = CHANGES[what]

    def change(x, n, value):
        i = cuda.grid(1)
        if i < n:
            x[i] = changed(x[i], value)

    arguments = (BY_NAME[name].pointer, I64, BY_NAME[name].real)
    return Kernel(f"{what}, {name}", change, arguments, THREADS)


def change(what: str, x: Any, value: float, stream: Any) -> None:
    """Change a contiguous DeviceArray in place, as `make_change` has it."""
    kernel = make_change(what, name_of(x.dtype))
    kernel.launch(stream, blocks_for(kernel, x.size), x, x.size, value)


@kernel_maker
def make_shrink_factor(name: str) -> Kernel:
    """factor[0] · factor[1] = limit / norm where the norm, √squares[0], is above the limit; else 1.

    Where squares[0] is Inf, the norm is √scaled[0] / DOWN. One of the factors is 1, unless the
    quotient is less than the dtype can hold.
    """
    real, least = BY_NAME[name].real, F64(np.finfo(name).tiny)

    def shrink_factor(squares, scaled, limit, factor):
        norm = math.sqrt(squares[0])
        first, second = F64(1), F64(1)
        if math.isinf(norm):
            first, second = F64(DOWN), limit / math.sqrt(scaled[0])
        elif norm > limit:
            first = limit / norm
            if first < least:
                first, second = F64(TWO_STEPS), first / F64(TWO_STEPS)
        factor[0], factor[1] = real(first), real(second)

    arguments = (pointer(F64), pointer(F64), F64, BY_NAME[name].pointer)
    return Kernel(f"factor to shrink by, {name} from float64", shrink_factor, arguments, 1)


@kernel_maker
def make_shrink(name: str) -> Kernel:
    """x *= factor[0] · factor[1]; nothing is written where that is 1."""
    real = BY_NAME[name].real

    def shrink(x, n, factor):
        i = cuda.grid(1)
        if i < n and factor[0] != real(1):
            x[i] = (x[i] * factor[0]) * factor[1]

    arguments = (BY_NAME[name].pointer, I64, BY_NAME[name].pointer)
    return Kernel(f"shrink, {name}", shrink, arguments, THREADS)


# ---------------------------------------------------------------- two arrays


@kernel_maker
def make_add(name: str) -> Kernel:
    """x += y."""

    def add(x, y, n):
        i = cuda.grid(1)
        if i < n:
            x[i] = x[i] + y[i]

    arguments = (BY_NAME[name].pointer, BY_NAME[name].pointer, I64)
    return Kernel(f"add, {name}", add, arguments, THREADS)


@kernel_maker
def make_add_row(name: str, threads: int) -> Kernel:
    """Each row of y (M, N) += b (N,); a block passes over ROWS rows of `threads` columns."""

    def add_row(y, b, M, N):
        j = cuda.blockIdx.y * I64(threads) + cuda.threadIdx.x
        begin = cuda.blockIdx.x * I64(ROWS)
        if j < N:
            for r in range(begin, min(begin + ROWS, M)):
                y[r * N + j] = y[r * N + j] + b[j]

    arguments = (BY_NAME[name].pointer, BY_NAME[name].pointer, I64, I64)
    return Kernel(f"add a row, {name}", add_row, arguments, threads)


@kernel_maker
def make_penalty_gradient(name: str, absolute: bool, squared: bool) -> Kernel:
    """g += l1 sign(w) (`absolute`) + 2 l2 w (`squared`); the sign of zero is zero."""
    real = BY_NAME[name].real

    def penalty_gradient(g, w, n, l1, twice_l2):
        i = cuda.grid(1)
        if i < n:
            total, value = g[i], w[i]
            if absolute:
                if value > 0:
                    total += l1
                elif value < 0:
                    total -= l1
                else:
                    total += value  # zero, or NaN
            if squared:
                total += twice_l2 * value
            g[i] = total

    arguments = (BY_NAME[name].pointer, BY_NAME[name].pointer, I64, real, real)
    form = " and ".join(["|w|"] * absolute + ["w²"] * squared)
    return Kernel(f"gradient of {form}, {name}", penalty_gradient, arguments, THREADS)


def every() -> Iterator[Kernel]:
    """Yield the kernels of this file, the activations with one alpha and beta."""
    for name in ("float32", "float64"):
        for kind in range(len(KINDS)):
            yield make_activation(name, kind, 0.2, 0.5)
            yield make_activation_backward(name, kind, 0.2, 0.5)
        for what in CHANGES:
            yield make_change(what, name)
        for make in (make_shrink_factor, make_shrink, make_add):
            yield make(name)
        yield make_add_row(name, THREADS)
        for absolute, squared in ((True, False), (False, True), (True, True)):
            yield make_penalty_gradient(name, absolute, squared)

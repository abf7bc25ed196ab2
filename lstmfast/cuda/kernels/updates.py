"""One step of an optimizer, element by element.

What may change at every step (the rate) is an argument of the array's own kind, so that a float32
kernel has no float64 in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from numba import cuda, types

from ..runtime.kernel import Kernel, kernel_maker
from .numbers import BY_NAME

__all__ = ["THREADS", "make_adam", "make_sgd"]

THREADS = 256
I64 = types.int64


@kernel_maker
def make_adam(name: str) -> Kernel:
    """Adam (Kingma and Ba 2014) as Keras writes it: `rate` holds both bias corrections.

    part_m and part_v are 1 - beta_1 and 1 - beta_2.
    """
    real = BY_NAME[name].real

    def adam(w, g, m, v, n, rate, part_m, part_v, epsilon):
        i = cuda.grid(1)
        if i < n:
            gradient = g[i]
            moment = m[i] + (gradient - m[i]) * part_m
            square = v[i] + (gradient * gradient - v[i]) * part_v
            m[i], v[i] = moment, square
            w[i] = w[i] - rate * moment / (real(math.sqrt(square)) + epsilon)

    arguments = (*[BY_NAME[name].pointer] * 4, I64, *[real] * 4)
    return Kernel(f"Adam, {name}", adam, arguments, THREADS)


@kernel_maker
def make_sgd(name: str, momentum: bool, nesterov: bool) -> Kernel:
    """w -= rate g; or, with a velocity, v = kept v - rate g and w += v (or Nesterov's step)."""

    def sgd(w, g, v, n, rate, kept):
        i = cuda.grid(1)
        if i < n:
            step = -rate * g[i]
            if momentum:
                velocity = kept * v[i] + step
                v[i] = velocity
                step = kept * velocity + step if nesterov else velocity
            w[i] = w[i] + step

    real: Any = BY_NAME[name].real
    arguments = (*[BY_NAME[name].pointer] * 3, I64, real, real)
    form = "Nesterov's momentum" if nesterov else "momentum" if momentum else "plain"
    return Kernel(f"SGD, {form}, {name}", sgd, arguments, THREADS)


def every() -> Iterator[Kernel]:
    """Yield the kernels of this file."""
    for name in ("float32", "float64"):
        yield make_adam(name)
        for momentum, nesterov in ((False, False), (True, False), (True, True)):
            yield make_sgd(name, momentum, nesterov)

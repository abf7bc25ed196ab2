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
from .numbers import BY_NAME, device_function

__all__ = ["THREADS", "make_adam", "make_rmsprop", "make_sgd"]

THREADS = 256
I64 = types.int64


@device_function
def decayed(w, decay):
    """w less this share of itself."""
    return w - decay * w


@kernel_maker
def make_adam(name: str, amsgrad: bool, nesterov: bool) -> Kernel:
    """Adam (Kingma and Ba 2014) as Keras writes it: `rate` holds both bias corrections.

    part_m and part_v are 1 - beta_1 and 1 - beta_2. With `amsgrad` (Reddi et al. 2018) h is the
    largest v so far and stands for it; with `nesterov` (Dozat 2016) the gradient has a share of its
    own in the step, `gain`.
    """
    real = BY_NAME[name].real

    def adam(w, g, m, v, h, n, rate, part_m, part_v, epsilon, gain, decay):
        i = cuda.grid(1)
        if i < n:
            gradient = g[i]
            moment = m[i] + (gradient - m[i]) * part_m
            square = v[i] + (gradient * gradient - v[i]) * part_v
            m[i], v[i] = moment, square
            if amsgrad:
                square = h[i] if h[i] > square else square
                h[i] = square
            step = rate * moment
            if nesterov:
                step += gain * gradient
            w[i] = decayed(w[i], decay) - step / (real(math.sqrt(square)) + epsilon)

    arguments = (*[BY_NAME[name].pointer] * 5, I64, *[real] * 6)
    form = "AMSGrad, " * amsgrad + "Nesterov's, " * nesterov
    return Kernel(f"Adam, {form}{name}", adam, arguments, THREADS)


@kernel_maker
def make_sgd(name: str, momentum: bool, nesterov: bool) -> Kernel:
    """w -= rate g; or, with a velocity, v = kept v - rate g and w += v (or Nesterov's step)."""

    def sgd(w, g, v, n, rate, kept, decay):
        i = cuda.grid(1)
        if i < n:
            step = -rate * g[i]
            if momentum:
                velocity = kept * v[i] + step
                v[i] = velocity
                step = kept * velocity + step if nesterov else velocity
            w[i] = decayed(w[i], decay) + step

    real: Any = BY_NAME[name].real
    arguments = (*[BY_NAME[name].pointer] * 3, I64, real, real, real)
    form = "Nesterov's momentum" if nesterov else "momentum" if momentum else "plain"
    return Kernel(f"SGD, {form}, {name}", sgd, arguments, THREADS)


@kernel_maker
def make_rmsprop(name: str, centered: bool, momentum: bool) -> Kernel:
    """w -= rate g / √(v + epsilon), v = kept v + new g² (Tieleman and Hinton 2012).

    With `centered` h is the mean of g, whose square is taken from v; with `momentum` m is the sum
    of steps, of which a share `gain` is kept. Adagrad (Duchi et al. 2011) has kept and new 1.
    """
    real = BY_NAME[name].real

    def rmsprop(w, g, m, v, h, n, rate, kept, new, epsilon, gain, decay):
        i = cuda.grid(1)
        if i < n:
            gradient = g[i]
            square = kept * v[i] + new * (gradient * gradient)
            v[i] = square
            if centered:
                mean = kept * h[i] + new * gradient
                h[i] = mean
                square = square - mean * mean
                square = real(0) if square < 0 else square
            step = rate * gradient / real(math.sqrt(square + epsilon))
            if momentum:
                step += gain * m[i]
                m[i] = step
            w[i] = decayed(w[i], decay) - step

    arguments = (*[BY_NAME[name].pointer] * 5, I64, *[real] * 6)
    form = "centered, " * centered + "momentum, " * momentum
    return Kernel(f"RMSprop, {form}{name}", rmsprop, arguments, THREADS)


def every() -> Iterator[Kernel]:
    """Yield the kernels of this file."""
    for name in ("float32", "float64"):
        for one, other in ((False, False), (True, False), (False, True)):
            yield make_adam(name, one, other)
        for one, other in ((False, False), (True, False), (True, True)):
            yield make_sgd(name, one, other)
            yield make_rmsprop(name, one, other)

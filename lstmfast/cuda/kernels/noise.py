"""Copies through a mask of dropout, drawn where it is used (`philox`)."""

from __future__ import annotations

from numba import cuda, types

from ... import capi
from ..runtime.kernel import Kernel, kernel_maker
from .numbers import REALS
from .philox import make_drawn

__all__ = ["make_dropout"]

THREADS = 256
I64, U64 = types.int64, types.uint64


@kernel_maker
def make_dropout(source: str, target: str, rate: float, per_step: bool) -> Kernel:
    """y[t, b, j] = x[t, b, j] / (1 - rate), or 0 where it is dropped; strides in elements.

    One mask for all steps, or one for each.
    """
    load, store, real = REALS[source].load, REALS[target].store, REALS[target].real
    drawn, scale = make_drawn(real, rate), capi.dropout_scale(rate)

    def dropout(x, y, T, B, K, x_t, x_b, y_t, y_b, seed, stream):
        at = cuda.grid(1)
        if at < T * B * K:
            j, b, t = at % K, at // K % B, at // K // B
            value = real(load(x, t * x_t + b * x_b + j))
            dropped, _ = drawn(seed, j, b, t if per_step else 0, stream)
            store(y, t * y_t + b * y_b + j, value * (real(1) - dropped) * real(scale))

    of, to = REALS[source].pointer, REALS[target].pointer
    arguments = (of, to, *[I64] * 7, U64, U64)
    name = f"dropout {rate} {source} to {target}{', of each step' if per_step else ''}"
    return Kernel(name, dropout, arguments, THREADS)


def every():
    """Return this file's kernels, at one rate."""
    return [
        make_dropout(source, target, 0.25, per_step)
        for source in REALS
        for target in REALS
        if (source == "float64") == (target == "float64")
        for per_step in (False, True)
    ]

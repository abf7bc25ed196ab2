"""Sums of squares and norms of numbers whose squares their dtype cannot hold.

Ordinary numbers go through the kernel once. Where its sum is infinite, or so small that squares may
have been lost, a second pass is over the numbers times a power of two, which rounds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .. import capi
from ..arguments import Array, number
from .checks import dense, float_array, writable

__all__ = ["clip_by_norm", "lengths_along", "squares_of", "sum_of_squares", "times_power"]


def sum_of_squares(a: Array) -> float:
    """Σ a², the same bits at any number of threads; Inf only where float64 cannot hold the sum."""
    return times_power(*squares_of(a))


def squares_of(a: Array) -> tuple[float, int]:
    """Return (s, k) with Σ a² = s · 2^k, where s is neither Inf nor 0 if all of a is finite, not 0.

    Raises
    ------
    ValueError
        a is no array of floats, or is empty.
    """
    a = dense("a", a, float_array("a", a).shape, a.dtype)
    found, limits = _summed(a), np.finfo(a.dtype)
    if a.size * float(limits.tiny / limits.eps) < found < math.inf:
        return found, 0
    largest = float(max(a.max(), -a.min()))
    if not largest or not math.isfinite(largest):
        return largest, 0
    exponent = math.frexp(largest)[1]
    return _summed(np.ldexp(a, -exponent)), 2 * exponent


def times_power(value: float, exponent: int) -> float:
    """value · 2^exponent, which may be Inf."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.inf


def _summed(a: Array) -> float:
    """Σ a² as the kernel adds it up, each chunk in the dtype of a."""
    sums = np.empty(-(-a.size // capi.CHUNK), a.dtype)
    capi.squares(a.dtype == np.float64, a.size, a, sums)
    return float(sums.sum(dtype=np.float64))


# ---------------------------------------------------------------- norms


def clip_by_norm(arrays: Sequence[Array], limit: float) -> None:
    """Scale the arrays in place so that the norm of them all together is `limit` at most.

    Raises
    ------
    ValueError
        An array or the limit (> 0) does not fit; nothing has changed.
    """
    limit = number("limit", limit, math.ulp(0.0))
    for index, a in enumerate(arrays):
        writable(f"arrays[{index}]", a, float_array("arrays", a).shape, a.dtype)
    norm, exponent = _norm(arrays)
    if times_power(norm, exponent) > limit:
        for a in arrays:
            _shrink(a, limit, norm, exponent)


def _norm(arrays: Sequence[Array]) -> tuple[float, int]:
    """Return (r, k): the norm of all arrays together is r · 2^k, and r is about one."""
    parts = [squares_of(a) for a in arrays]
    exponent = max((math.frexp(s)[1] + k for s, k in parts if s), default=0) // 2
    total = sum(times_power(s, k - 2 * exponent) for s, k in parts)
    return math.sqrt(total), exponent


def _shrink(a: Array, limit: float, norm: float, exponent: int) -> None:
    """a *= limit / (norm · 2^exponent), in place."""
    whole = times_power(norm, exponent)
    factor = limit / whole
    if math.isfinite(norm) and (factor < np.finfo(a.dtype).tiny or not math.isfinite(whole)):
        np.ldexp(a, -exponent, out=a)  # a factor that the dtype cannot hold goes in two steps
        factor = limit / norm
    a *= a.dtype.type(factor)


def lengths_along(w: Array, axis: int | tuple[int, ...]) -> Array:
    """The norms of the vectors along axes of w, in float64; those axes have one element left."""
    with np.errstate(over="ignore"):
        norms = np.sqrt(np.sum(np.square(w, dtype=np.float64), axis=axis, keepdims=True))
    if np.isfinite(norms).all():
        return norms  # type: ignore[no-any-return]
    exponents = np.frexp(np.max(np.abs(w), axis=axis, keepdims=True))[1]
    scaled = np.ldexp(np.asarray(w, np.float64), -exponents)
    with np.errstate(over="ignore"):
        return np.ldexp(np.sqrt(np.sum(scaled * scaled, axis=axis, keepdims=True)), exponents)  # type: ignore[no-any-return]

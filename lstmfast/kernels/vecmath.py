"""Functions of SIMD vectors: what `activations.py` calls when its numbers are vectors.

exp, expm1 and tanh write x = n ln 2 + r with an integer n and |r| <= ln(2)/2, and
e^r = 1 + r + r² q(r), where q is the minimax polynomial (Remez, found with 50 digits; the relative
error of e^r is 3.1e-9 for float32 and 3.6e-18 for float64, far below half an ulp). Then
e^x = 2ⁿ e^r, and e^x - 1 = 2ⁿ (e^r - 1) + (2ⁿ - 1) loses nothing to cancellation near 0.
Measured over all floats: tests/test_vecmath.py. log1p is 2 artanh(s) with s = x / (2 + x), by its
series in s², for x in 0..1 alone.
"""

import math
from functools import lru_cache
from types import SimpleNamespace

from numba import njit, types
from numba.extending import intrinsic, overload

from . import activations
from .simd import (
    Vector,
    at_least,
    at_most,
    constant,
    fast_quotient,
    fma,
    polynomial,
    pow2_of_shifted,
    splat_like,
    where_positive,
)

# Per kind of float: the q above; ln 2 as a short head and its tail (n·head is exact); the shift
# that rounds; the ends of exp's range, where 2ⁿ becomes 0 and inf (for float32, whose quotients
# want finite numbers, the last before inf); where tanh reaches ±1; the terms of artanh.
FLOAT32 = SimpleNamespace(
    q=(0.4999999343181169496, 0.1666652039873147088, 0.04166839086511186317,
       0.008368745149348863572, 0.001381453572975989689),
    ln2_head=0.693359375, ln2_tail=-2.12194440054690583e-4, shift=1.5 * 2.0**23,
    lowest=-88.0, highest=88.0, saturated=10.0, artanh=8,
)  # fmt: skip
FLOAT64 = SimpleNamespace(
    q=(0.5000000000000010669, 0.1666666666666641154, 0.04166666666652972899, 0.00833333333349496133,
       0.001388888894375978015, 0.0001984126950580247806, 2.480149294975068622e-5,
       2.755758678327844202e-6, 2.76303062403568507e-7, 2.500002394031581327e-8),
    ln2_head=0.69314718036912381649, ln2_tail=1.90821492927058770002e-10, shift=1.5 * 2.0**52,
    lowest=-709.0, highest=709.9, saturated=20.0, artanh=17,
)  # fmt: skip
FIGURES = {types.float32: FLOAT32, types.float64: FLOAT64}


@lru_cache(None)
def filled(value):
    """An intrinsic: `value` in every lane of a vector like its argument."""

    @intrinsic
    def fill(typing, like):
        return like(like), lambda ctx, builder, sig, args: constant(sig.return_type, float(value))

    return fill


@lru_cache(None)
def _functions(real):
    """exp, expm1, tanh and log1p for vectors of this kind of float."""
    figures = FIGURES[real]
    q, shift = polynomial(figures.q), filled(figures.shift)
    log2_e, one, two = filled(1 / math.log(2)), filled(1.0), filled(2.0)
    head, tail = filled(-figures.ln2_head), filled(-figures.ln2_tail)
    lowest, highest = filled(figures.lowest), filled(figures.highest)
    saturated = filled(figures.saturated)
    artanh = polynomial(tuple(2 / (2 * k + 1) for k in range(figures.artanh)))

    @njit(error_model="numpy")
    def reduced(x):
        """2ⁿ and e^r - 1."""
        shifted = fma(x, log2_e(x), shift(x))
        n = shifted - shift(x)
        r = fma(n, tail(x), fma(n, head(x), x))
        return pow2_of_shifted(shifted), fma(r * r, q(r), r)

    @njit(error_model="numpy")
    def exp(x):
        scale, rest = reduced(at_least(at_most(x, highest(x)), lowest(x)))
        return scale * (one(x) + rest)  # (not scale + scale·rest: inf - inf at the upper end)

    @njit(error_model="numpy")
    def expm1(x):
        scale, rest = reduced(at_least(at_most(x, highest(x)), lowest(x)))
        return fma(scale, rest, scale - one(x))

    @njit(error_model="numpy")
    def tanh(x):
        x = at_least(at_most(x, saturated(x)), -saturated(x))
        scale, rest = reduced(two(x) * x)
        e = fma(scale, rest, scale - one(x))  # exp(2x) - 1
        return fast_quotient(e, e + two(x))

    @njit(error_model="numpy")
    def log1p(x):
        s = fast_quotient(x, x + two(x))
        return s * artanh(s * s)

    return SimpleNamespace(exp=exp, expm1=expm1, tanh=tanh, log1p=log1p)


def _function(name):
    """The overload of one function of `math`."""

    def typed(x):
        if isinstance(x, Vector):
            function = getattr(_functions(x.real), name)
            return lambda x: function(x)
        return None

    return typed


for _name in ("exp", "expm1", "tanh", "log1p"):
    overload(getattr(math, _name))(_function(_name))


@overload(activations.quotient)
def _overload_quotient(x, y):
    if isinstance(x, Vector):
        return lambda x, y: fast_quotient(x, y)
    if isinstance(x, types.Float):
        return lambda x, y: x / y
    return None


@overload(activations.at_least)
def _overload_at_least(x, low):
    if isinstance(x, Vector):
        return lambda x, low: at_least(x, low)
    if isinstance(x, types.Float):
        return lambda x, low: low if low > x else x
    return None


@overload(activations.at_most)
def _overload_at_most(x, high):
    if isinstance(x, Vector):
        return lambda x, high: at_most(x, high)
    if isinstance(x, types.Float):
        return lambda x, high: high if high < x else x
    return None


@overload(activations.where_positive)
def _overload_where_positive(condition, x, y):
    if isinstance(condition, Vector):
        return lambda condition, x, y: where_positive(condition, x, y)
    if isinstance(condition, types.Float):
        return lambda condition, x, y: x if condition > 0 else y
    return None


@overload(activations.like)
def _overload_like(x, value):
    if isinstance(x, Vector):
        if isinstance(value, types.Float):
            return lambda x, value: splat_like(x, value)
        return lambda x, value: _like_vector(x, value)
    if isinstance(x, types.Float):
        return lambda x, value: type(x)(value)
    return None


@intrinsic(prefer_literal=True)
def _like_vector(typing, x, value):
    def emit(ctx, builder, sig, args):
        return constant(sig.args[0], float(value.literal_value))

    if not isinstance(value, types.IntegerLiteral):
        return None
    return x(x, value), emit

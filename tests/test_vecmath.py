"""sigmoid and tanh of the kernels, in units in the last place.

Float32: every 61st of all floats (and, with LSTMFAST_EVERY_FLOAT=1, every one). Float64: a grid of
exponents and random mantissas, against mpmath where it matters. Results below the smallest normal
number count as 0: kernels run with flush-to-zero.
"""

import math
import os

import mpmath
import numpy as np
import pytest

from lstmfast import ops

BAR = 4.0  # ulp; measured, every 7th float: sigmoid 2.47, tanh 2.61; float64: 1.95, 2.45
STRIDE = 1 if os.environ.get("LSTMFAST_EVERY_FLOAT") == "1" else 61
CHUNK = 1 << 24


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


REFERENCE = {"sigmoid": sigmoid, "tanh": np.tanh}


def error_in_ulp(got, reference, dtype):
    """The largest distance from the rounded reference's neighbourhood, flushed values as 0."""
    tiny = np.finfo(dtype).tiny
    reference = np.where(np.abs(reference) < tiny, 0, reference)
    unit = np.maximum(np.spacing(np.abs(reference).astype(dtype)), tiny * np.finfo(dtype).eps)
    flushed = (got == 0) & (np.abs(reference) <= 2 * tiny)
    error = np.abs(got.astype(np.longdouble) - reference) / unit
    return float(np.where(flushed, 0, error).max())


def finite_floats32():
    """All finite float32 numbers, STRIDE apart, in chunks."""
    for first in range(0, 1 << 32, CHUNK * STRIDE):
        bits = np.arange(first, min(first + CHUNK * STRIDE, 1 << 32), STRIDE, dtype=np.uint64)
        x = bits.astype(np.uint32).view(np.float32)
        yield x[np.isfinite(x)]


@pytest.mark.parametrize("name", REFERENCE)
def test_float32(name):
    worst = 0.0
    for x in finite_floats32():
        if x.size:
            got = ops.activation_forward(name, x)
            reference = REFERENCE[name](x.astype(np.float64))
            worst = max(worst, error_in_ulp(got, reference, np.float32))
    assert worst <= BAR


@pytest.mark.parametrize("name", REFERENCE)
def test_float64(name):
    rng = np.random.default_rng(7)
    exponents = np.repeat(np.arange(-60, 10.5, 0.25), 40)
    x = np.exp2(exponents) * rng.uniform(1, 1.2, exponents.size)
    x = np.concatenate([x, -x])
    x = x[np.abs(x) < 707]
    got = ops.activation_forward(name, x)
    with mpmath.workdps(40):
        exact = {"sigmoid": lambda v: 1 / (1 + mpmath.exp(-v)), "tanh": mpmath.tanh}[name]
        errors = [
            abs((mpmath.mpf(float(y)) - exact(mpmath.mpf(float(v)))) / math.ulp(float(y)))
            for v, y in zip(x, got, strict=True)
        ]
    assert float(max(errors)) <= BAR


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_limits_are_exact(dtype):
    x = np.array([-np.inf, -1e4, 1e4, np.inf], dtype)
    assert ops.activation_forward("sigmoid", x).tolist() == [0, 0, 1, 1]
    assert ops.activation_forward("tanh", x).tolist() == [-1, -1, 1, 1]
    for name in REFERENCE:
        assert np.isnan(ops.activation_forward(name, np.array([np.nan], dtype))).all()


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_tanh_is_exact_near_zero(dtype):
    x = np.array([1e-30, -1e-20, 1e-10], dtype)
    assert np.array_equal(ops.activation_forward("tanh", x), x)

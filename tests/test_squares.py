"""Norms, sums of squares and what rests on them, for numbers whose squares no dtype holds."""

import math
from fractions import Fraction

import numpy as np
import pytest
from agreement import same_bits

from lstmfast import SGD, ops
from lstmfast.constraints import MaxNorm, MinMaxNorm, UnitNorm
from lstmfast.regularizers import L1L2, L2, OrthogonalRegularizer

SIZES = {
    "float32": [1e-45, 1e-40, 1e-30, 1e-19, 1.0, 1e18, 1e20, 3e38],
    "float64": [1e-320, 1e-200, 1e-160, 1e-100, 1.0, 1e100, 1e154, 1e160, 1e300, 1.5e308],
}
CASES = [(dtype, size) for dtype, sizes in SIZES.items() for size in sizes]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}  # measured: 1.2e-7, 4e-16


def exact_norm(arrays):
    """Return the norm of all arrays, from sums of fractions, as a Fraction near it."""
    total = sum(Fraction(float(x)) ** 2 for a in arrays for x in a.ravel())
    scale = Fraction(2) ** (2 * 1200)
    return Fraction(math.isqrt(int(total * scale)), 2**1200) if total else Fraction(0)


@pytest.mark.parametrize(("dtype", "size"), CASES)
@pytest.mark.parametrize("shape", [(4,), (3, 1700)])
def test_the_sum_of_squares_is_right_wherever_float64_holds_it(dtype, size, shape):
    rng = np.random.default_rng(0)
    a = (rng.uniform(0.5, 1.0, shape) * size).astype(dtype)
    exact = sum(Fraction(float(x)) ** 2 for x in a.ravel())
    found = ops.sum_of_squares(a)
    if exact > Fraction(np.finfo(np.float64).max):
        assert found == math.inf
    elif exact < Fraction(np.finfo(np.float64).tiny):
        assert found == pytest.approx(float(exact), abs=1e-320)
    else:
        assert abs(Fraction(found) / exact - 1) < TOLERANCE[dtype]


@pytest.mark.parametrize(("dtype", "size"), CASES)
@pytest.mark.parametrize("limit", [1.0, 1e-6, 37.0])
def test_clipping_by_norm_leaves_the_direction_and_the_limit(dtype, size, limit):
    rng = np.random.default_rng(1)
    arrays = [(rng.uniform(-1, 1, shape) * size).astype(dtype) for shape in [(4,), (2, 300), (1,)]]
    before, norm = [a.copy() for a in arrays], exact_norm(arrays)
    ops.clip_by_norm(arrays, limit)
    for a, b in zip(arrays, before, strict=True):
        if norm <= limit:
            same_bits(a, b)
            continue
        exact = [float(Fraction(float(x)) * Fraction(limit) / norm) for x in b.ravel()]
        np.testing.assert_allclose(
            a.ravel(), exact, rtol=TOLERANCE[dtype], atol=limit * TOLERANCE[dtype] * 1e-3
        )


def test_exploding_gradients_of_different_sizes_are_clipped_together():
    big, small = np.full(4, 1e20, "f4"), np.full(3, 1e-3, "f4")
    ops.clip_by_norm([big, small], 1.0)
    np.testing.assert_allclose(big, 0.5, rtol=1e-6)
    np.testing.assert_allclose(small, 5e-24, rtol=1e-6)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_gradients_that_are_not_finite_give_no_finite_ones(bad):
    g = np.array([1.0, bad, 2.0], "f4")
    with np.errstate(invalid="ignore"):
        ops.clip_by_norm([g], 1.0)
    assert not np.isfinite(g[1])


def test_a_bad_array_leaves_all_as_they_were():
    good, read_only = np.full(3, 10.0, "f4"), np.full(3, 10.0, "f4")
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match=r"arrays\[1\]: expected a writable"):
        ops.clip_by_norm([good, read_only], 1.0)
    assert (good == 10.0).all()
    for limit in (0.0, -1.0, math.inf, 10**400):
        with pytest.raises(ValueError, match="limit: expected a finite number >= 5e-324, got"):
            ops.clip_by_norm([good], limit)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
@pytest.mark.parametrize(("dtype", "size"), [("f4", 1e19), ("f4", 3e38), ("f8", 1e300)])
def test_an_optimizer_takes_a_step_of_the_clipped_length(clip, dtype, size):
    w = np.zeros(4, dtype)
    SGD(1.0, **{clip: 1.0}).apply([w], [np.full(4, size, dtype)])
    np.testing.assert_allclose(w, -0.5, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "size"), [("f4", 1e20), ("f4", 2e38), ("f8", 1e150)])
def test_squared_errors_beyond_the_dtype_are_no_infinity(dtype, size):
    outputs, targets = np.full((2, 2), size, dtype), np.full((2, 2), -size / 2, dtype)
    total, gradient = ops.squared_error(outputs, targets, scale=0.25)
    assert total == pytest.approx(2 * (1.5 * float(outputs[0, 0])) ** 2, rel=1e-6)
    np.testing.assert_allclose(gradient, 0.375 * outputs, rtol=1e-6)
    assert gradient.dtype == outputs.dtype
    assert ops.squared_error(outputs, targets, gradient=False)[0] == total


def test_a_difference_that_float32_cannot_hold_has_an_error_and_a_gradient():
    outputs, targets = np.full((1, 2), 3e38, "f4"), np.full((1, 2), -3e38, "f4")
    total, gradient = ops.squared_error(outputs, targets, scale=0.25)
    assert total == pytest.approx(3.6e77, rel=1e-6)
    np.testing.assert_allclose(gradient, 1.5e38, rtol=1e-6)


def test_tiny_errors_count():
    total, _ = ops.squared_error(np.full((1, 4), 1e-30, "f4"), np.zeros((1, 4), "f4"))
    assert total == pytest.approx(1e-60, rel=1e-6)


@pytest.mark.parametrize("regularizer", [L2(1e-30), L1L2(0.0, 1e-30)])
def test_penalties_are_right_for_weights_of_any_size(regularizer):
    assert regularizer(np.full((2, 2), 1e20, "f4")) == pytest.approx(4e10, rel=1e-6)
    assert regularizer(np.full((2, 2), 1e160)) == pytest.approx(4e290)
    assert regularizer(np.full((2, 2), 1e-30, "f4")) == pytest.approx(4e-90, rel=1e-6)


@pytest.mark.parametrize(("dtype", "size"), [("f4", 3e38), ("f8", 1e160), ("f8", 1e300)])
def test_the_orthogonal_penalty_is_of_directions(dtype, size):
    w = np.random.default_rng(2).uniform(0.5, 1.0, (3, 4)).astype(dtype)
    regularizer = OrthogonalRegularizer()
    large = regularizer((w * size).astype(dtype))
    assert large == pytest.approx(regularizer(w), rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "size"), [("f4", 1e20), ("f4", 3e38), ("f8", 1e160), ("f8", 1e300)]
)
@pytest.mark.parametrize("constraint", [MaxNorm(1.0), UnitNorm(), MinMaxNorm(0.5, 1.0, axis=1)])
def test_constraints_bring_long_vectors_to_their_length(constraint, dtype, size):
    rng = np.random.default_rng(3)
    w = rng.uniform(-1, 1, (3, 4))
    w /= np.linalg.norm(w, axis=constraint.axis, keepdims=True)
    with np.errstate(all="raise", under="ignore"):
        found = constraint((w * size).astype(dtype))
    np.testing.assert_allclose(found, w, rtol=1e-5, atol=1e-7)

"""Products of matrices in the simulator: the arithmetic that each precision promises."""

import numpy as np
import pytest

from lstmfast.cuda.runtime import array, products
from lstmfast.cuda.runtime.array import BFLOAT16

KINDS = {
    "float64": (np.float64, np.float64), "float32": (np.float32, np.float32),
    "tf32": (np.float32, np.float32), "float16": (np.float16, np.float32),
    "bfloat16": (BFLOAT16, np.float32),
}  # fmt: skip
WITHIN = {"float64": 1e-15, "float32": 1e-6, "tf32": 1e-6, "float16": 1e-6, "bfloat16": 1e-6}


@pytest.fixture
def random():
    return np.random.default_rng(5)


def matrix(values, padding=0):
    """An array in the simulator's memory, with unused columns to the right."""
    rows, columns = values.shape
    wide = np.full((rows, columns + padding), 7, values.dtype)
    wide[:, :columns] = values
    return array.from_host(wide)[:, :columns]


@pytest.mark.parametrize("precision", KINDS)
@pytest.mark.parametrize("add", (False, True))
@pytest.mark.parametrize("transpose_a", (False, True))
@pytest.mark.parametrize("transpose_b", (False, True))
def test_product(random, precision, add, transpose_a, transpose_b):
    M, N, K = 3, 5, 4
    factor, total = KINDS[precision]
    a = random.normal(size=(K, M) if transpose_a else (M, K)).astype(factor)
    b = random.normal(size=(N, K) if transpose_b else (K, N)).astype(factor)
    before = random.normal(size=(M, N)).astype(total)
    out = matrix(before, padding=2)
    products.product(
        out, matrix(a, 1), matrix(b, 3), transpose_a=transpose_a, transpose_b=transpose_b,
        add=add, precision=precision,
    )  # fmt: skip
    if precision == "tf32":
        a, b = products.tf32(a), products.tf32(b)
    a, b = a.astype(float), b.astype(float)
    expected = (a.T if transpose_a else a) @ (b.T if transpose_b else b) + add * before
    assert np.abs(out.copy_to_host() - expected).max() <= WITHIN[precision] * 10


def test_padding_is_left_alone(random):
    wide = array.from_host(np.full((3, 7), 7, np.float32))
    a, b = (matrix(random.normal(size=shape).astype(np.float32)) for shape in ((3, 4), (4, 5)))
    products.product(wide[:, 1:6], a, b, precision="float32")
    found = wide.copy_to_host()
    assert (found[:, [0, 6]] == 7).all()
    assert not (found[:, 1:6] == 7).any()


def test_tf32_keeps_10_bits_and_rounds_ties_away():
    ulp = np.float32(2.0**-10)
    cases = {
        1 + ulp / 2: 1 + ulp, -1 - ulp / 2: -1 - ulp, 1 + ulp * 0.49: 1, 1 + ulp: 1 + ulp,
        np.inf: np.inf, 0.0: 0.0,
    }  # fmt: skip
    for x, expected in cases.items():
        assert products.tf32(np.array([x], np.float32))[0] == np.float32(expected)
    assert np.isnan(products.tf32(np.array([np.nan], np.float32)))[0]


def test_tf32_is_not_strict(random):
    a, b = (random.normal(size=(4, 4)).astype(np.float32) for _ in range(2))
    found = {}
    for precision in ("float32", "tf32"):
        out = array.empty((4, 4), np.float32)
        products.product(out, matrix(a), matrix(b), precision=precision)
        found[precision] = out.copy_to_host()
    error = np.abs(found["tf32"] - found["float32"]).max()
    assert 1e-5 < error < 1e-2


@pytest.mark.parametrize("add", (False, True))
def test_no_columns_to_sum_over(add):
    out = matrix(np.full((2, 3), 4, np.float32), padding=1)
    a, b = array.empty((2, 0), np.float32), array.empty((0, 3), np.float32)
    products.product(out, a, b, add=add, precision="float32")
    assert (out.copy_to_host() == (4 if add else 0)).all()


@pytest.mark.parametrize("shape", ((0, 3), (2, 0)))
def test_nothing_to_do(shape):
    out = array.empty(shape, np.float32)
    a, b = array.empty((shape[0], 4), np.float32), array.empty((4, shape[1]), np.float32)
    products.product(out, a, b, precision="float32")


def ones(shape, dtype=np.float32):
    return array.from_host(np.ones(shape, dtype))


@pytest.mark.parametrize(
    ("message", "out", "a", "b", "options"),
    (
        ("precision: expected one of", ones((2, 3)), ones((2, 4)), ones((4, 3)),
         {"precision": "half"}),
        ("a: expected a matrix of float64", ones((2, 3), float), ones((2, 4)), ones((4, 3)),
         {"precision": "float64"}),
        ("out: expected a matrix of float32", ones((2, 3), float), ones((2, 4)), ones((4, 3)), {}),
        ("a: expected a matrix of float32", ones((2, 3)), ones(8), ones((4, 3)), {}),
        (r"b: expected shape \(4, 3\), got \(3, 4\)", ones((2, 3)), ones((2, 4)), ones((3, 4)), {}),
        (r"out: expected shape \(2, 3\), got \(5, 3\)", ones((5, 3)), ones((2, 4)), ones((4, 3)),
         {}),
        ("a: expected contiguous rows", ones((2, 3)), ones((2, 8))[:, ::2], ones((4, 3)), {}),
        ("b: expected contiguous rows", ones((2, 3)), ones((2, 4)), ones((3, 4)).transpose(), {}),
    ),
)  # fmt: skip
def test_errors_name_the_argument(message, out, a, b, options):
    with pytest.raises(ValueError, match=message):
        products.product(out, a, b, **({"precision": "float32"} | options))

"""NumPy's functions and operators on arrays of the GPU, in the simulator, against NumPy's own."""

import warnings

import numpy as np
import pytest

from lstmfast.cuda.runtime import array, numeric
from lstmfast.cuda.runtime.array import from_host

FLOATS = ("float32", "float64")
ONE = (np.negative, np.absolute, np.sign, np.square, np.sqrt, np.exp, np.log, np.log1p, np.isnan)
TWO = (
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.greater,
    np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal,
)  # fmt: skip
STRANGE = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan])


@pytest.fixture(autouse=True)
def blocks_for_short_axes(monkeypatch):
    monkeypatch.setattr(numeric, "LONG", 8)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def check(found, wanted, bound=1e-6):
    """Shapes and dtypes as NumPy's; float64 to its last places."""
    values = found.copy_to_host()
    assert (values.shape, values.dtype) == (wanted.shape, wanted.dtype)
    bound = 1e-14 if wanted.dtype == np.float64 else bound
    np.testing.assert_allclose(values, wanted, rtol=bound, atol=bound)


def test_all_that_is_listed_is_known():
    """Every ufunc of the table is tried below, or it is one of truth values."""
    of_truth = {np.logical_not, np.invert, np.logical_and, np.bitwise_and, np.logical_or}
    assert set(numeric.UFUNCS) == {*ONE, *TWO, *of_truth, np.bitwise_or}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("ufunc", ONE, ids=lambda u: u.__name__)
def test_one_operand(ufunc, dtype, rng):
    x = np.append(STRANGE, rng.normal(size=9)).astype(dtype)
    with np.errstate(all="ignore"):
        check(ufunc(from_host(x)), ufunc(x))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("ufunc", TWO, ids=lambda u: u.__name__)
def test_two_operands(ufunc, dtype):
    x, y = (grid.ravel().astype(dtype) for grid in np.meshgrid(STRANGE, STRANGE))
    with np.errstate(all="ignore"):
        check(ufunc(from_host(x), from_host(y)), ufunc(x, y))
        check(ufunc(from_host(x), 1.5), ufunc(x, 1.5))
        check(ufunc(1.5, from_host(x)), ufunc(1.5, x))


SHAPES = [((2, 3, 5), (3, 1)), ((4, 1, 3), (1, 2, 3)), ((2, 1, 3, 1), (2, 1, 4)), ((), (2, 3))]


@pytest.mark.parametrize("shapes", SHAPES)
def test_broadcasting_and_strides(shapes, rng):
    x, y = (rng.normal(size=shape) for shape in shapes)
    check(from_host(x) * from_host(y), x * y)
    check(np.transpose(from_host(x)) + 1, x.T + 1)
    kept = rng.random(shapes[1]) > 0.5
    check(np.where(from_host(kept), from_host(x), 0.0), np.where(kept, x, 0.0))


def test_dtypes_are_numpys(rng):
    x, ids = rng.normal(size=(2, 3)).astype("f4"), rng.integers(0, 3, (2, 3))
    for one in (x, ids, ids.astype("i4"), x > 0):
        for other in (2, 0.5, np.float32(2), np.float64(0.5), np.float64([[1, 2, 3]]), x, x > 0):
            check(from_host(one) * other if np.ndim(other) else from_host(one) + other,
                  one * other if np.ndim(other) else one + other)  # fmt: skip
    check(from_host(ids) != 0, ids != 0)
    check(np.subtract(from_host(x), 1, dtype=np.float64), np.subtract(x, 1, dtype=np.float64))


def test_truth_values(rng):
    x, y = rng.random((2, 5)) > 0.5, rng.random(5) > 0.5
    X, Y = from_host(x), from_host(y)
    for found, wanted in (
        (X & Y, x & y), (X | Y, x | y), (~X, ~x), (np.logical_or(X, Y), x | y),
        (np.logical_and(X, Y), x & y), (X.astype("f4"), x.astype("f4")),
    ):  # fmt: skip
        check(found, wanted)
    with pytest.raises(TypeError, match="expected arrays of bool, got float64"):
        np.logical_and(from_host(np.ones(2)), from_host(np.ones(2)))


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, (0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("size", [3, 13])  # by a thread, by a block of threads
def test_folds(axis, size, rng):
    x = rng.normal(size=(2, size, 3))
    X = from_host(x)
    turned = X.transpose(2, 0, 1)
    for keepdims in (False, True):
        told = {"axis": axis, "keepdims": keepdims}
        check(np.sum(X, **told), np.asarray(np.sum(x, **told)))
        check(np.mean(turned, **told), np.asarray(np.mean(x.transpose(2, 0, 1), **told)))
        check(np.max(X, **told), np.asarray(np.max(x, **told)))
        check(np.any(X > 1.5, **told), np.asarray(np.any(x > 1.5, **told)))
    check(np.sum(X > 0, axis=axis), np.asarray(np.sum(x > 0, axis=axis)))


def test_sums_of_float32_are_added_in_float64():
    x = np.full((3, 20), 1e8, "f4")
    x[:, 1::2] = 1
    assert np.sum(from_host(x), axis=1, dtype=np.float64).copy_to_host().tolist() == [1e9 + 10] * 3
    assert np.isnan(np.max(from_host(np.array([1.0, np.nan, 2.0]))).copy_to_host())
    assert np.sum(from_host(np.ones((2, 0))), axis=1).copy_to_host().tolist() == [0, 0]


def test_in_place(rng):
    x = rng.normal(size=(3, 4))
    X = from_host(x)
    x[:, 1:] *= 2
    X[:, 1:] *= 2
    x[0], X[0] = 7, 7
    x[1], X[1] = x[2], X[2]
    np.copyto(x, -1, where=x > 1.5)
    np.copyto(X, -1, where=X > 1.5)
    check(X, x)
    np.multiply(x, 3, out=x, where=x < 0)
    np.multiply(X, 3, out=X, where=X < 0)
    check(np.clip(X, -1, 1, out=X), np.clip(x, -1, 1, out=x))


def test_shapes_and_places(rng):
    x, y = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 1, 4))
    X, Y = from_host(x), from_host(y)
    for found, wanted in (
        (np.concatenate([X, Y], 1), np.concatenate([x, y], 1)),
        (np.split(X, [1, 3], -1)[1].copy(), np.split(x, [1, 3], -1)[1].copy()),
        (np.repeat(X, 2, axis=1), np.repeat(x, 2, axis=1)),
        (np.moveaxis(X, 0, -1).copy(), np.moveaxis(x, 0, -1).copy()),
        (np.swapaxes(X, 0, 2).copy(), np.swapaxes(x, 0, 2).copy()),
        (np.pad(X, ((0, 0), (1, 2), (0, 0))), np.pad(x, ((0, 0), (1, 2), (0, 0)))),
        (np.broadcast_to(Y, (2, 3, 4)).copy(), np.broadcast_to(y, (2, 3, 4)).copy()),
        (np.zeros_like(X, shape=(2,)), np.zeros(2)), (np.full_like(X, 3), np.full_like(x, 3)),
        (X.transpose(2, 0, 1).reshape(-1, 2), x.transpose(2, 0, 1).reshape(-1, 2)),
        (X[..., None] + 0, x[..., None] + 0), (X[:, None, :, ::2] + 0, x[:, None, :, ::2] + 0),
        (X @ np.swapaxes(X, 1, 2), x @ np.swapaxes(x, 1, 2)), (X @ from_host(x[0, 0]), x @ x[0, 0]),
        (np.tensordot(X, X.reshape(2, 3, 4, 1), 3), np.tensordot(x, x.reshape(2, 3, 4, 1), 3)),
    ):  # fmt: skip
        check(found, wanted)
    assert np.may_share_memory(X, X[1]) and not np.may_share_memory(X[0], X[1])
    assert (np.shape(X), np.ndim(X), np.size(X)) == ((2, 3, 4), 3, 24)


def test_arrays_are_objects_in_sets_and_dicts():
    x = from_host(np.zeros(2))
    assert {x: 1}[x] == 1 and x in {x}


def test_what_is_not_known_raises(rng):
    x = from_host(rng.normal(size=(2, 3)))
    for call in (lambda: np.sin(x), lambda: np.sort(x), lambda: np.add.reduce(x), lambda: x + "a",
                 lambda: np.einsum("ij->i", x)):  # fmt: skip
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="broadcast"):
        x + from_host(np.ones(4))
    with pytest.raises(ValueError, match=r"^shape: expected one of 6 elements, got \[4\]"):
        x.reshape(4)
    with pytest.raises(TypeError, match=r"expected \.copy_to_host"):
        np.asarray(x)


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = from_host(np.array([0.0, -1.0]))
        np.log(x), x / 0.0, np.sqrt(x), np.exp(x * 1e4)


def test_new_memory_is_told_nothing(monkeypatch, rng):
    """Results do not lean on what the memory held before."""
    x = rng.normal(size=(2, 9))
    found = []
    for poison in (0x00, 0xFF):
        monkeypatch.setattr(array, "POISON", poison)
        X = from_host(x)
        found.append((np.pad(X, ((1, 0), (0, 1))) + np.sum(X)).copy_to_host())
    np.testing.assert_array_equal(*found)

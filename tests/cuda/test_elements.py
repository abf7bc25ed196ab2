"""What stands around the LSTM on the GPU, in the simulator, against `lstmfast.ops` on the CPU."""

import math

import ml_dtypes
import numpy as np
import pytest

from lstmfast import losses, ops, regularizers
from lstmfast.cuda import ops as device_ops
from lstmfast.cuda.kernels import elementwise, embedding, reductions
from lstmfast.cuda.ops import updates
from lstmfast.cuda.runtime import array, products
from lstmfast.ops.activations import NAMES

FLOATS = ("float32", "float64")
# Of the largest element. Measured at most: 2.4e-7, 4.5e-16 (other orders of sums, other roundings).
TOLERANCE = {"float32": 1e-6, "float64": 2e-15}


@pytest.fixture(autouse=True)
def product(monkeypatch):
    """Put NumPy in cuBLAS's place; return the list of the precisions asked for."""
    asked = []

    def multiply(
        out, a, b, *, transpose_a=False, transpose_b=False, add=False, precision, stream=None
    ):
        asked.append((precision, a.dtype.name, b.dtype.name))
        a, b = (m.copy_to_host().astype(np.float64) for m in (a, b))
        found = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
        found = found + out.copy_to_host() if add else found
        array.to_device(out, np.ascontiguousarray(found.astype(out.dtype)))

    monkeypatch.setattr(products, "product", multiply)
    return asked


@pytest.fixture
def rng():
    return np.random.default_rng(29)


def put(*values):
    """Return arrays of the GPU, or the one."""
    made = [array.from_host(value) for value in values]
    return made if len(made) > 1 else made[0]


def check(found, expected, bound=None):
    """Compare an array of the GPU with one of the CPU: dtype, shape and elements."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    values = found.copy_to_host()
    if expected.dtype.kind != "f":
        assert np.array_equal(values, expected)
        return
    finite = np.isfinite(expected)
    assert np.array_equal(values[~finite], expected[~finite], equal_nan=True)
    bound = TOLERANCE[expected.dtype.name] if bound is None else bound
    size = np.abs(expected[finite]).max(initial=1.0)
    assert np.abs(values[finite] - expected[finite]).max(initial=0.0) <= bound * size


# ---------------------------------------------------------------- Dense


@pytest.mark.parametrize("shape", [(1, 1, 1), (13, 5, 37), (39, 3, 6)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_dense(rng, dtype, shape):
    M, K, N = shape
    x, W, b, dy = (rng.normal(size=size).astype(dtype) for size in ((M, K), (K, N), (N,), (M, N)))
    check(device_ops.dense_forward(*put(x, W, b)), ops.dense_forward(x, W, b))
    check(device_ops.dense_forward(*put(x, W)), ops.dense_forward(x, W))
    for got, want in zip(
        device_ops.dense_backward(*put(x, W, dy)), ops.dense_backward(x, W, dy), strict=True
    ):
        check(got, want)
    assert device_ops.dense_backward(*put(x, W, dy), need_dx=False)[0] is None


def test_dense_takes_rows_that_lie_apart(rng):
    wide, W = rng.normal(size=(6, 9)), rng.normal(size=(4, 5))
    x = put(wide)
    check(device_ops.dense_forward(x[:, 2:6], put(W)), ops.dense_forward(wide[:, 2:6], W))
    check(
        device_ops.dense_forward(x.transpose()[:4, :4], put(W)),
        ops.dense_forward(wide.T[:4, :4], W),
    )


def test_column_sums_of_more_rows_than_one_stage_takes(rng, monkeypatch):
    """The second stage has groups to add, each of more rows than a multiple of the lanes."""
    monkeypatch.setattr(reductions, "MOST_GROUPS", 3)
    x = rng.normal(size=(101, 7))
    out = array.empty((7,), np.float64)
    reductions.column_sum(out, put(x))
    check(out, x.sum(axis=0), 1e-14)


@pytest.mark.parametrize(
    ("precision", "stored"),
    [("tf32", np.float32), ("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)],
)
def test_dense_rounds_its_factors(rng, product, precision, stored):
    x, W, dy = (rng.normal(size=size).astype(np.float32) for size in ((5, 3), (3, 4), (5, 4)))
    rounded = [a.astype(stored).astype(np.float32) for a in (x, W, dy)]
    check(device_ops.dense_forward(*put(x, W), precision=precision), rounded[0] @ rounded[1])
    dx, dW, db = device_ops.dense_backward(*put(x, W, dy), precision=precision)
    check(dx, rounded[2] @ rounded[1].T)
    check(dW, rounded[0].T @ rounded[2])
    check(db, dy.sum(axis=0))
    name = np.dtype(stored).name
    assert product == [(precision, name, name)] * 3


# ---------------------------------------------------------------- Embedding


@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_embedding_forward(rng, dtype, kind):
    table, ids = rng.normal(size=(11, 6)).astype(dtype), rng.integers(0, 11, (3, 5)).astype(kind)
    check(device_ops.embedding_forward(*put(ids, table)), ops.embedding_forward(ids, table))


def test_embedding_makes_nan_of_unknown_ids(rng):
    table, ids = rng.normal(size=(4, 3)), np.array([0, 4, 3, -1, 2**40])
    found = device_ops.embedding_forward(*put(ids, table)).copy_to_host()
    assert np.isnan(found[[1, 3, 4]]).all()
    assert np.array_equal(found[[0, 2]], table[[0, 3]])


def frequent(rng, count, vocabulary):
    """Ids of which the smaller are by far the more frequent."""
    return np.minimum(rng.zipf(1.5, count) - 1, vocabulary - 1)


@pytest.mark.parametrize("keys", [16, 32, 128])
def test_sort(rng, keys):
    values = rng.permutation(keys).astype(np.int64) << 32
    found = put(values)
    embedding.sort(found)
    assert np.array_equal(found.copy_to_host(), np.sort(values))


@pytest.mark.parametrize("M", [1, 4, 16, 61])
@pytest.mark.parametrize("dtype", FLOATS)
def test_embedding_backward(rng, dtype, M):
    ids, dy = frequent(rng, M, 9), rng.normal(size=(M, 6)).astype(dtype)
    got = device_ops.embedding_backward(*put(ids, dy), 9)
    check(got, ops.embedding_backward(ids, dy, 9))
    again = device_ops.embedding_backward(*put(ids, dy), 9)
    assert got.copy_to_host().tobytes() == again.copy_to_host().tobytes()


@pytest.mark.parametrize(
    "ids", [[2] * 13, [0, 0, 0, 0, 1, 1, 1, 1, 2], [0, 1, 1, 1, 1, 1, 1, 1, 1]]
)
def test_embedding_backward_joins_the_chunks_of_an_id(rng, ids):
    ids, dy = np.array(ids, np.int32), rng.normal(size=(len(ids), 5))
    check(device_ops.embedding_backward(*put(ids, dy), 3), ops.embedding_backward(ids, dy, 3))


def test_embedding_backward_adds_in_the_order_of_the_positions():
    """Within a chunk, to the bit."""
    ids, dy = np.array([1, 0, 1, 1]), np.array([[2.0**60], [5.0], [-(2.0**60)], [0.25]])
    found = device_ops.embedding_backward(*put(ids, dy), 2).copy_to_host()
    assert found.tolist() == [[5.0], [0.25]]


def test_embedding_backward_leaves_out_unknown_ids_and_keeps_nan_in_its_row(rng):
    ids = np.array([[0, -1, 2], [5, 2, 1]])
    dy = rng.normal(size=(2, 3, 4))
    dy[1, 2] = np.nan
    known = np.where((ids >= 0) & (ids < 3), ids, 3)
    check(device_ops.embedding_backward(*put(ids, dy), 3), ops.embedding_backward(known, dy, 4)[:3])


def test_embedding_of_no_ids():
    ids, table = np.empty((2, 0), np.int32), np.ones((3, 4), np.float32)
    assert device_ops.embedding_forward(*put(ids, table)).shape == (2, 0, 4)
    got = device_ops.embedding_backward(*put(ids, np.empty((2, 0, 4), np.float32)), 3)
    check(got, np.zeros((3, 4), np.float32))


# ---------------------------------------------------------------- softmax and losses

SIZES = [(1, 1), (3, 5), (4, 31)]


def logits_of(rng, M, N, dtype):
    return (10 * rng.normal(size=(M, N))).astype(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax(rng, dtype, size):
    x, dy = logits_of(rng, *size, dtype), rng.normal(size=size).astype(dtype)
    y, device_x = ops.softmax(x), put(x)
    check(device_ops.softmax(device_x), y)
    assert device_ops.softmax(device_x, out=device_x) is device_x
    check(device_x, y)
    check(device_ops.softmax_backward(*put(y, dy)), (dy - (dy * y).sum(axis=1, keepdims=True)) * y)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("kind", ["int32", "int64", "weights"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("of_logits", [True, False])
def test_crossentropy(rng, of_logits, dtype, size, kind, gradient):
    M, N = size
    x = logits_of(rng, M, N, dtype) / dtype_of(dtype)(1 if of_logits else 5)
    name = "softmax_crossentropy" if of_logits else "crossentropy"
    scale = {"scale": 0.3} if of_logits else {}
    x = x if of_logits else ops.softmax(x)
    weights = rng.uniform(size=size).astype(dtype)
    targets = weights if kind == "weights" else x.argmax(axis=1).astype(kind)
    if kind != "weights":
        targets[::2] = rng.integers(0, N, len(targets[::2]))  # some hits, some not
    device_x, device_targets = put(x, targets)
    got = getattr(device_ops, name)(device_x, device_targets, gradient=gradient, **scale)
    want = getattr(ops, name)(x, targets, gradient=gradient, **scale)
    check(got[0], want[0])
    check(got[1], want[1])
    check(device_x, x)


def dtype_of(name):
    return np.dtype(name).type


# First of equals; infinite, not a number, and out of exp's range: as on the CPU.
STRANGE = np.array([
    [1, 3, 3, 2, 0, 3, 1], [0] * 7, [1e4, -1e4, 0, 1, 2, 1e4, 3], [-np.inf] * 7,
    [-np.inf, 0, 1, 2, 1, 0, 2], [1, np.nan, 5, 2, 0, 0, 0], [5, 1, 2, np.inf, 0, 0, 1],
])  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value")  # ∞ - ∞ is what is asked for
@pytest.mark.parametrize("label", range(7))
def test_crossentropy_of_strange_logits(label):
    x, labels = STRANGE.astype(np.float32), np.full(7, label)
    device_x, device_labels = put(x, labels)
    got = device_ops.softmax_crossentropy(device_x, device_labels)
    with np.errstate(invalid="ignore"):
        want = ops.softmax_crossentropy(x, labels)
    want[1][5] = False  # a row with NaN has no largest; the CPU may count one
    for one, other in zip((*got, device_x), (*want, x), strict=True):
        check(one, other)


def test_hits_of_weights_and_probabilities_are_the_first_of_equals():
    x, weights = STRANGE[:3], np.roll(STRANGE[:3], 1, axis=1)
    check(
        device_ops.softmax_crossentropy(*put(x, weights), gradient=False)[1],
        ops.softmax_crossentropy(x, weights, gradient=False)[1],
    )
    equal, first = put(np.zeros((2, 31)), np.array([0, 9]))  # 9 threads: the same one has both
    found = device_ops.softmax_crossentropy(equal, first)[1].copy_to_host()
    assert found.tolist() == [True, False]
    p = np.array([[0.5, 0.5, 0.0], [0.2, np.nan, np.nan], [0.0, 1.0, 0.0]])
    for targets in (np.array([0, 1, 2]), np.array([[0.5, 0.5, 0], [0, 1.0, 0], [0, 1, 1.0]])):
        q, device_q = p.copy(), put(p)
        got = device_ops.crossentropy(device_q, put(targets), gradient=True)
        want = ops.crossentropy(q, targets, gradient=True)
        for one, other in zip((*got, device_q), (*want, q), strict=True):
            check(one, other)


@pytest.mark.parametrize("name", ["softmax_crossentropy", "crossentropy"])
def test_unknown_labels_make_nan(name):
    x, labels = np.full((3, 4), 0.25), np.array([4, 1, -1], np.int32)
    device_x = put(x)
    found, correct = getattr(device_ops, name)(device_x, put(labels), gradient=True)
    unknown = [True, False, True]
    assert np.isnan(found.copy_to_host()).tolist() == unknown
    assert np.isnan(device_x.copy_to_host()).all(axis=1).tolist() == unknown
    assert not correct.copy_to_host().any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 41)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_squared_error(rng, dtype, shape):
    x, y = (rng.normal(size=shape).astype(dtype) for _ in range(2))
    rows = math.prod(shape[:-1])
    want, slope = losses.MeanSquaredError().backward(x, y)
    total, gradient = device_ops.squared_error(*put(x, y), scale=1 / rows)
    check(total, np.array([want.total]), TOLERANCE[dtype])
    check(gradient, slope)
    again, nothing = device_ops.squared_error(*put(x, y), gradient=False)
    check(again, total.copy_to_host(), 0.0)
    assert nothing is None


@pytest.mark.parametrize("M", [1, 100])
@pytest.mark.parametrize("dtype", FLOATS)
def test_sum_losses(rng, dtype, M):
    found, hits = rng.normal(size=M).astype(dtype), rng.uniform(size=M) < 0.5
    got = device_ops.sum_losses(*put(found, hits))
    check(got, np.array([found.sum(dtype=np.float64), hits.sum()]), 1e-15)


# ---------------------------------------------------------------- activations


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_activation(rng, name, dtype):
    x = np.append(3 * rng.normal(size=36), 0).astype(dtype).reshape(1, 37)
    y, dy = ops.activation_forward(name, x), rng.normal(size=x.shape).astype(dtype)
    device_x, device_y, device_dy = put(x, y, dy)
    check(device_ops.activation_forward(name, device_x), y)
    assert device_ops.activation_forward(name, device_x, out=device_x) is device_x
    check(device_x, y)
    assert device_ops.activation_backward(name, device_y, device_dy) is device_dy
    check(device_dy, ops.activation_backward(name, y, dy))


def test_activation_has_its_parameters(rng):
    x = rng.normal(size=5)
    given = ("elu", 0.3)
    check(device_ops.activation_forward(given, put(x)), ops.activation_forward(given, x))


# ---------------------------------------------------------------- updates


@pytest.mark.parametrize("dtype", FLOATS)
def test_adam_update(rng, dtype):
    arrays = [rng.normal(size=(3, 13)).astype(dtype) for _ in range(3)]
    arrays.append(rng.uniform(size=(3, 13)).astype(dtype))
    device = put(*arrays)
    given = {"step_size": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    device_ops.adam_update(*device, **given)
    ops.adam_update(*arrays, **given)
    for got, want in zip(device, arrays, strict=True):
        check(got, want)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
@pytest.mark.parametrize("dtype", FLOATS)
def test_sgd_update(rng, dtype, options):
    w, g, velocity = (rng.normal(size=33).astype(dtype) for _ in range(3))
    device_w, device_g, device_velocity = put(w, g, velocity)
    device_ops.sgd_update(
        device_w, device_g, device_velocity if options else None, learning_rate=0.1, **options
    )
    ops.sgd_update(w, g, velocity if options else None, learning_rate=0.1, **options)
    check(device_w, w)
    check(device_velocity, velocity)


@pytest.mark.parametrize("n", [1, 100])
@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_and_penalties(rng, dtype, n):
    w = rng.normal(size=n).astype(dtype)
    w[::7] = 0
    device_w = put(w)
    check(device_ops.sum_of_squares(device_w), np.array([ops.sum_of_squares(w)]), TOLERANCE[dtype])
    for l1, l2 in ((0.3, 0.0), (0.0, 0.2), (0.3, 0.2), (0.0, 0.0)):
        regularizer = regularizers.L1L2(l1, l2)
        value = device_ops.penalty(device_w, l1, l2)
        check(value, np.array([regularizer.value(w)]), TOLERANCE[dtype])
        g = rng.normal(size=n).astype(dtype)
        device_g = put(g)
        device_ops.add_penalty_gradient(device_g, device_w, l1, l2)
        check(device_g, g + regularizer.gradient(w))


def test_an_infinite_weight_has_no_part_in_a_penalty_of_zero():
    w, g = put(np.array([np.inf, -1.0]), np.zeros(2))
    check(device_ops.penalty(w, 0.5, 0.0), np.array([np.inf]))
    device_ops.add_penalty_gradient(g, w, 0.5, 0.0)
    check(g, np.array([0.5, -0.5]))


@pytest.mark.parametrize("limit", [0.5, 1e3])
def test_clip_by_norm(rng, limit):
    """Over arrays of both dtypes together; nothing changes below the limit.

    The CPU adds up the squares of float32 in float32.
    """
    grads = [rng.normal(size=(2, 40)), rng.normal(size=5).astype(np.float32), rng.normal(size=1)]
    device = put(*grads)
    device_ops.clip_by_norm(device, limit)
    ops.clip_by_norm(grads, limit)
    for got, want in zip(device, grads, strict=True):
        check(got, want, 0.0 if limit > 1 else TOLERANCE["float32"])


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_clip_by_norm_of_what_has_no_norm(wrong):
    grads = [np.array([1.0, wrong]), np.array([2.0])]
    device = put(*grads)
    device_ops.clip_by_norm(device, 1.0)
    with np.errstate(invalid="ignore"):
        ops.clip_by_norm(grads, 1.0)
    for got, want in zip(device, grads, strict=True):
        check(got, want)


@pytest.mark.parametrize(
    ("dtype", "size"), [("f4", 1e20), ("f4", 3e38), ("f8", 1e160), ("f8", 1.5e308)]
)
@pytest.mark.parametrize("limit", [1.0, 1e-6])
def test_clip_by_norm_of_exploding_gradients(dtype, size, limit):
    grads = [np.full(3, size, dtype), np.full(1, -size, dtype)]
    device = put(*grads)
    device_ops.clip_by_norm(device, limit)
    for got, sign in zip(device, (1, -1), strict=True):
        np.testing.assert_allclose(got.copy_to_host(), sign * limit / 2, rtol=1e-6)


def test_squared_errors_and_penalties_beyond_the_dtype():
    x, y = np.full((1, 2), 3e38, "f4"), np.full((1, 2), -3e38, "f4")
    total, gradient = device_ops.squared_error(*put(x, y), scale=0.25)
    assert total.copy_to_host()[0] == pytest.approx(3.6e77, rel=1e-6)
    np.testing.assert_allclose(gradient.copy_to_host(), 1.5e38, rtol=1e-6)
    found = device_ops.penalty(put(np.full(4, 1e160)), 0.0, 1e-30)
    assert found.copy_to_host()[0] == pytest.approx(4e290)


@pytest.mark.parametrize("dtype", FLOATS)
def test_scale_fill_add_and_clip(rng, dtype):
    a, b = (rng.normal(size=(5, 7)).astype(dtype) for _ in range(2))
    a[0, 0] = np.nan
    device = put(a)
    device_ops.clip_by_value(device, 0.7)
    check(device, np.clip(a, -0.7, 0.7))
    elementwise.change("fill", device, -0.1, None)
    check(device, np.full_like(a, -0.1), 0.0)
    updates.add(device, put(b))
    check(device, dtype_of(dtype)(-0.1) + b, 0.0)
    device_ops.scale(device, 1 / 3)
    check(device, (dtype_of(dtype)(-0.1) + b) * dtype_of(dtype)(1 / 3), 0.0)


# ---------------------------------------------------------------- errors


def wrong_calls():
    """Yield calls that must raise, with what the error says."""
    x, W, half = put(np.ones((2, 3)), np.ones((3, 4)), np.ones((2, 3), np.float16))
    single, ids = put(np.ones((2, 3), np.float32), np.zeros(2, np.int32))
    host, hits = np.ones((2, 3)), put(np.ones(2, np.bool_))
    one = put(np.ones(8))
    of = device_ops
    adam = {"step_size": 1.0, "beta_1": 0.9, "beta_2": 0.9, "epsilon": 1e-7}
    yield of.dense_forward, (host, W), {}, "x: expected a DeviceArray of floats, got ndarray"
    yield of.dense_forward, (half, W), {}, "x: expected dtype float32 or float64, got float16"
    yield of.dense_forward, (x[:0], W), {}, "x: expected no axis of size 0"
    yield of.dense_forward, (x, x), {}, r"W: expected \(3, N\), got \(2, 3\)"
    yield of.dense_forward, (single, W), {}, "W: expected dtype float32 like the other arrays"
    yield of.dense_forward, (x, W), {"precision": "tf32"}, "precision: expected one of None"
    yield of.dense_backward, (x, W, x), {}, r"dy: expected \(2, 4\), got \(2, 3\)"
    yield of.embedding_forward, (x, W), {}, "ids: expected dtype int32 or int64, got float64"
    yield of.embedding_backward, (ids, x, 0), {}, "vocabulary: expected an integer >= 1"
    yield of.embedding_backward, (ids, x, 2**31), {}, "vocabulary: expected less than 2"
    yield of.embedding_backward, (ids, W, 3), {}, r"dy: expected \(2, E\), got \(3, 4\)"
    yield of.softmax, (x, W), {}, r"out: expected \(2, 3\), got \(3, 4\)"
    yield of.softmax_crossentropy, (x, x), {"scale": -1.0}, "scale: expected a finite number >= 0"
    yield of.softmax_crossentropy, (W, ids), {}, r"targets: expected \(3,\), got \(2,\)"
    yield of.softmax_crossentropy, (x, host), {}, "targets: expected a DeviceArray of floats"
    yield of.softmax_crossentropy, (W.transpose(), ids), {}, "logits: expected a writable"
    yield of.crossentropy, (x, x), {"gradient": 1}, "gradient: expected True or False, got 1"
    yield of.squared_error, (x, W), {}, r"targets: expected \(2, 3\), got \(3, 4\)"
    yield of.sum_losses, (one[:2], ids), {}, "correct: expected a DeviceArray of bool"
    yield of.sum_losses, (one, hits), {}, r"correct: expected \(8,\), got \(2,\)"
    yield of.activation_forward, ("swish", x), {}, "name: expected one of"
    yield of.activation_forward, ("tanh", one[:4], one[2:6]), {}, "out: expected x itself or"
    yield of.activation_backward, (("elu", -1.0), x, x), {}, "name: expected alpha > 0 of elu"
    yield of.adam_update, (x, W, x, x), adam, r"g: expected \(2, 3\), got \(3, 4\)"
    yield of.sgd_update, (x, x, None), {"learning_rate": 1, "momentum": 0.5}, "velocity: expected"
    yield of.clip_by_norm, ([x, host], 1.0), {}, r"arrays\[1\]: expected a DeviceArray of floats"
    yield of.clip_by_norm, ([x], 0.0), {}, "limit: expected a finite number"
    yield updates.add, (one[::2], one[:4]), {}, "a: expected a writable C-contiguous array"


@pytest.mark.parametrize("index", range(28))
def test_errors(index):
    function, arguments, options, text = list(wrong_calls())[index]
    with pytest.raises(ValueError, match=text):
        function(*arguments, **options)


def test_every_wrong_call_is_tried():
    assert len(list(wrong_calls())) == 28

"""Softmax, losses, activations, optimizer steps and reductions against the oracle."""

import math

import naive
import numpy as np
import pytest
from agreement import DTYPES, THREADS, assert_close, assert_gradient_close, same_bits

from lstmfast import ops

LENGTHS = (1, 3, 15, 16, 17, 33, 1000, 100_003)
ROWS = ((1, 1), (1, 7), (3, 2), (5, 16), (7, 17), (33, 100), (64, 1000))
OPTIMIZER_BAR = {"float32": 2e-6, "float64": 1e-13}
SUM_BAR = {"float32": 1e-6, "float64": 1e-13}


def score_case(M, N, dtype, kind):
    """Return logits (M, N) and targets: classes, or distributions of the same dtype."""
    rng = np.random.default_rng([M, N])
    logits = (3 * rng.standard_normal((M, N))).astype(dtype)
    if kind == "distributions":
        return logits, rng.dirichlet(np.ones(N), M).astype(dtype)
    return logits, rng.integers(0, N, M).astype(kind)


KINDS = ("int32", "int64", "distributions")
score_cases = pytest.mark.parametrize(
    ("shape", "kind", "dtype"), [(s, k, d) for s in ROWS for k in KINDS for d in DTYPES]
)


# ---------------------------------------------------------------- softmax and cross-entropy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ROWS, ids=str)
def test_softmax(shape, dtype):
    logits, _ = score_case(*shape, dtype, "int64")
    kept = logits.copy()
    got = ops.softmax(logits)
    assert same_bits(logits, kept) and not np.shares_memory(got, logits)
    assert_close(got, naive.softmax(logits), dtype)
    assert ops.softmax(logits, out=logits) is logits
    assert same_bits(logits, got)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_extremes(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e30, 1e30, -np.inf]], dtype)
    assert_close(ops.softmax(logits), np.array([[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]]), dtype)
    assert np.isnan(ops.softmax(np.array([[0, np.nan, 1]], dtype))).all()


@score_cases
def test_softmax_crossentropy(shape, kind, dtype):
    logits, targets = score_case(*shape, dtype, kind)
    ref_losses, ref_correct, ref_gradient = naive.softmax_crossentropy(logits, targets)
    kept = logits.copy()
    losses, correct = ops.softmax_crossentropy(logits, targets, gradient=False)
    assert same_bits(logits, kept), "gradient=False leaves the logits untouched"
    assert_close(losses, ref_losses, dtype)
    assert correct.dtype == bool and np.array_equal(correct, ref_correct)
    again, correct = ops.softmax_crossentropy(logits, targets)
    assert same_bits(again, losses) and np.array_equal(correct, ref_correct)
    assert_close(logits, ref_gradient, dtype)
    ops.softmax_crossentropy(kept, targets, scale=0.125)
    assert_close(kept, ref_gradient / 8, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_crossentropy_of_extremes(dtype):
    """A certain and wrong prediction costs the difference of the logits, not infinity."""
    logits = np.array([[1e4, 0.0, -1e4], [1e4, 0.0, -1e4]], dtype)
    losses, correct = ops.softmax_crossentropy(logits, np.array([2, 0]))
    assert losses.tolist() == [2e4, 0.0]
    assert correct.tolist() == [False, True]
    assert logits.tolist() == [[1, 0, -1], [0, 0, 0]]


@score_cases
def test_crossentropy(shape, kind, dtype):
    logits, targets = score_case(*shape, dtype, kind)
    probabilities = ops.softmax(logits)
    ref_losses, ref_correct, ref_gradient = naive.crossentropy(probabilities, targets)
    kept = probabilities.copy()
    losses, correct = ops.crossentropy(probabilities, targets)
    assert same_bits(probabilities, kept), "no gradient was asked for"
    assert_close(losses, ref_losses, dtype)
    assert np.array_equal(correct, ref_correct)
    again, _ = ops.crossentropy(probabilities, targets, gradient=True)
    assert same_bits(again, losses)
    assert_close(probabilities, ref_gradient, dtype)


def test_crossentropy_clips():
    probabilities = np.array([[0.0, 1.0], [0.0, 1.0]])
    losses, _ = ops.crossentropy(probabilities, np.array([0, 1]), gradient=True)
    assert losses == pytest.approx([-math.log(1e-7), -math.log(1 - 1e-7)], rel=1e-6)
    assert not probabilities.any(), "the clip passes no gradient"


@pytest.mark.parametrize("loss", ("softmax_crossentropy", "crossentropy"))
def test_loss_bits_do_not_depend_on_threads(loss, threads):
    logits, targets = score_case(300, 1000, "float32", "int64")
    results = []
    for n in THREADS:
        threads(n)
        scores = ops.softmax(logits)
        losses, _ = getattr(ops, loss)(scores, targets, gradient=True)
        results.append((losses, scores))
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


# ---------------------------------------------------------------- activations


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ("relu", "sigmoid", "tanh"))
@pytest.mark.parametrize("length", LENGTHS)
def test_activation(length, name, dtype):
    rng = np.random.default_rng(length)
    x, dy = (4 * rng.standard_normal((2, length))).astype(dtype)
    y = ops.activation_forward(name, x)
    assert_close(y, naive.activation_forward(name, x), dtype)
    ref = naive.activation_backward(name, y, dy)
    returned = ops.activation_backward(name, y, dy)
    assert returned is dy
    assert_gradient_close(dy, ref, dtype)
    assert ops.activation_forward(name, x, out=x) is x
    assert same_bits(x, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_at_their_limits(dtype):
    x = np.array([-np.inf, -1e4, 0, 1e4, np.inf, np.nan], dtype)
    for name, limits in (
        ("sigmoid", (0, 0, 0.5, 1, 1)),
        ("tanh", (-1, -1, 0, 1, 1)),
        ("relu", (0, 0, 0, 1e4, np.inf)),
    ):
        y = ops.activation_forward(name, x)
        assert y[:-1].tolist() == list(limits), name
        assert np.isnan(y[-1]), name


def test_activations_keep_any_shape():
    x = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    assert_close(ops.activation_forward("tanh", x), np.tanh(x.astype(np.float64)), "float32")


# ---------------------------------------------------------------- optimizers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_adam(length, dtype):
    rng = np.random.default_rng(length)
    w = rng.standard_normal(length).astype(dtype)
    gradients = rng.standard_normal((5, length)).astype(dtype)
    ref_w, ref_m, ref_v = naive.adam(w, gradients, learning_rate=0.1)
    m, v, kept = np.zeros_like(w), np.zeros_like(w), gradients.copy()
    for t, g in enumerate(gradients, start=1):
        step_size = 0.1 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        ops.adam_update(w, g, m, v, step_size=step_size, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
    assert same_bits(gradients, kept)
    for got, ref in ((w, ref_w), (m, ref_m), (v, ref_v)):
        assert np.abs(got - ref).max() <= OPTIMIZER_BAR[dtype] * max(1, np.abs(ref).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("momentum", "nesterov"), ((None, False), (0.0, False), (0.9, False), (0.9, True))
)
@pytest.mark.parametrize("length", LENGTHS)
def test_sgd(length, momentum, nesterov, dtype):
    rng = np.random.default_rng(length)
    w = rng.standard_normal(length).astype(dtype)
    gradients = rng.standard_normal((5, length)).astype(dtype)
    ref_w, ref_velocity = naive.sgd(w, gradients, 0.1, momentum or 0.0, nesterov)
    velocity = None if momentum is None else np.zeros_like(w)
    for g in gradients:
        ops.sgd_update(
            w, g, velocity, learning_rate=0.1, momentum=momentum or 0.0, nesterov=nesterov
        )
    assert np.abs(w - ref_w).max() <= OPTIMIZER_BAR[dtype] * max(1, np.abs(ref_w).max())
    if velocity is not None:
        assert np.abs(velocity - ref_velocity).max() <= OPTIMIZER_BAR[dtype]


def test_optimizer_bits_do_not_depend_on_threads(threads):
    rng = np.random.default_rng(0)
    start, g = rng.standard_normal((2, 1_000_003)).astype(np.float32)
    results = []
    for n in THREADS:
        threads(n)
        w, m, v = start.copy(), np.zeros_like(g), np.zeros_like(g)
        ops.adam_update(w, g, m, v, step_size=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
        ops.sgd_update(w, g, m, learning_rate=0.1, momentum=0.9, nesterov=True)
        results.append((w, m, v))
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


# ---------------------------------------------------------------- reductions


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", (*LENGTHS, 1_000_003))
def test_sum_of_squares(length, dtype, threads):
    a = np.random.default_rng(length).standard_normal(length).astype(dtype)
    sums = []
    for n in THREADS:
        threads(n)
        sums.append(ops.sum_of_squares(a))
    assert len(set(sums)) == 1 and isinstance(sums[0], float)
    exact = math.fsum(float(value) ** 2 for value in a)
    assert sums[0] == pytest.approx(exact, rel=SUM_BAR[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_scale(length, dtype):
    a = np.random.default_rng(length).standard_normal(length).astype(dtype)
    ref = a * a.dtype.type(0.3)
    ops.scale(a, 0.3)
    assert same_bits(a, ref)

"""Metrics beside Keras 3's: streamed over batches, with sample weights and masks."""

import importlib
from contextlib import nullcontext

import numpy as np
import pytest

from lstmfast import losses, metrics

keras = pytest.importorskip("keras")
if keras.backend.backend() == "torch":
    pytest.skip("some of it is in float32 on PyTorch", allow_module_level=True)

# Relative. Measured on TensorFlow: 4e-16, and 2e-15 of the areas; on JAX sums are in float32.
BAR = 1e-10 if keras.backend.backend() == "tensorflow" else 2e-6


def wide_numbers():
    """JAX has float64 only where it is asked for."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    return importlib.import_module("jax").enable_x64(True)


@pytest.fixture(autouse=True)
def in_float64():
    """Keras calculates in float64 while a test runs."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with wide_numbers():
        yield
    keras.config.set_floatx(before)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sparse(rng, shape):
    return rng.integers(0, shape[-1], shape[:-1]), softmax(rng.normal(size=shape))


def one_hot(rng, shape):
    y, outputs = sparse(rng, shape)
    return np.eye(shape[-1])[y], outputs


def binary(rng, shape):
    y = rng.integers(0, 2, shape)
    return y, np.clip(rng.normal(0.3 + 0.4 * y, 0.3), 0, 1)


def logits(rng, shape):
    y = rng.integers(0, 2, shape)
    return y, rng.normal(y - 0.5, 1.0)


def equal(rng, shape):
    return rng.integers(0, 3, shape), rng.integers(0, 3, shape)


def numbers(rng, shape):
    return rng.normal(size=shape), rng.normal(size=shape)


def positive(rng, shape):
    return rng.uniform(0, 2, shape), rng.uniform(0.1, 2, shape)


def distributions(rng, shape):
    return softmax(rng.normal(size=shape)), softmax(rng.normal(size=shape))


FLAT, WIDE = [(9, 6), (1, 6)], [(9, 6), (5, 4, 6)]
CASES = {
    "Accuracy": (equal, WIDE, [{}]),
    "BinaryAccuracy": (binary, [*WIDE, (7, 1)], [{}, {"threshold": 0.3}]),
    "CategoricalAccuracy": (one_hot, WIDE, [{}]),
    "SparseCategoricalAccuracy": (sparse, WIDE, [{}]),
    "TopKCategoricalAccuracy": (one_hot, WIDE, [{}, {"k": 2}]),
    "SparseTopKCategoricalAccuracy": (sparse, WIDE, [{}, {"k": 3}]),
    "MeanSquaredError": (numbers, [*WIDE, (7, 1)], [{}]),
    "RootMeanSquaredError": (numbers, WIDE, [{}]),
    "MeanAbsoluteError": (numbers, WIDE, [{}]),
    "MeanAbsolutePercentageError": (numbers, WIDE, [{}]),
    "MeanSquaredLogarithmicError": (positive, WIDE, [{}]),
    "LogCoshError": (numbers, [*WIDE, (7, 1)], [{}]),
    "Poisson": (positive, WIDE, [{}]),
    "KLDivergence": (distributions, WIDE, [{}]),
    "Hinge": (logits, [*WIDE, (7, 1)], [{}]),
    "SquaredHinge": (logits, WIDE, [{}]),
    "CategoricalHinge": (one_hot, WIDE, [{}]),
    "CosineSimilarity": (numbers, WIDE, [{}]),
    "BinaryCrossentropy": (
        binary, [*WIDE, (7, 1)], [{}, {"label_smoothing": 0.2}, {"from_logits": True}],
    ),
    "CategoricalCrossentropy": (one_hot, WIDE, [{}, {"from_logits": True}]),
    "SparseCategoricalCrossentropy": (sparse, WIDE, [{}, {"from_logits": True}]),
    "Precision": (
        binary, FLAT,
        [{}, {"thresholds": 0.3}, {"thresholds": [0.7, 0.2]}, {"class_id": 1}, {"top_k": 2},
         {"top_k": 3, "class_id": 2}, {"thresholds": 0.6, "top_k": 2}],
    ),
    "Recall": (
        binary, FLAT,
        [{}, {"thresholds": [0.7, 0.2, 0.4]}, {"class_id": 0}, {"top_k": 2}],
    ),
    "AUC": (
        binary, FLAT,
        [{"num_thresholds": 7, "curve": curve, "summation_method": method}
         for curve in ("ROC", "PR") for method in ("interpolation", "minoring", "majoring")]
        + [{}, {"curve": "PR"}, {"thresholds": [0.8, 0.1, 0.35]}],
    ),
    "F1Score": (
        binary, FLAT,
        [{"average": average, "threshold": at}
         for average in (None, "micro", "macro", "weighted") for at in (None, 0.5)],
    ),
    "FBetaScore": (binary, FLAT, [{"beta": 2.0, "average": "macro"}]),
}  # fmt: skip


def stream(ours, theirs, draw, shapes, weighted, seed=0):
    """Give both the same batches; compare after each."""
    rng = np.random.default_rng(seed)
    for shape in shapes:
        y, outputs = draw(rng, shape)
        rows = shape[:-1]
        weights = rng.uniform(0, 2, rows) * (rng.random(rows) < 0.8) if weighted else None
        if "TopK" in type(ours).__name__:
            outputs = outputs.astype("f4")  # TensorFlow has it for no others
        ours.update_state(y, outputs, weights)
        theirs.update_state(y, outputs, weights)
        bar = max(BAR, 1e-8) if "LogCosh" in type(ours).__name__ else BAR  # its log 2 is a float32
        np.testing.assert_allclose(ours.result(), np.asarray(theirs.result()), rtol=bar, atol=bar)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_metrics(name, weighted):
    draw, shapes, configs = CASES[name]
    for seed, config in enumerate(configs):
        ours = getattr(metrics, name)(**config)
        theirs = getattr(keras.metrics, name)(**config)
        stream(ours, theirs, draw, shapes, weighted, seed)
        ours.reset_state()
        theirs.reset_state()
        stream(ours, theirs, draw, shapes[:1], weighted, seed)
        assert ours.name == theirs.name.rstrip("_0123456789")


@pytest.mark.parametrize("curve", ["ROC", "PR"])
def test_areas_from_logits(curve):
    stream(
        metrics.AUC(curve=curve, from_logits=True),
        keras.metrics.AUC(curve=curve, from_logits=True),
        logits, [(20, 1), (3, 1)], True,
    )  # fmt: skip


def test_a_mean_of_values_of_unlike_lengths():
    rng = np.random.default_rng(0)
    ours, theirs = metrics.Mean(), keras.metrics.Mean()
    for shape, rows in [((4, 3), (4, 3)), ((5, 2), (5,)), ((6,), (6, 1)), ((2, 7), None)]:
        values = rng.normal(size=shape)
        weights = None if rows is None else rng.random(rows)
        ours.update_state(values, weights)
        theirs.update_state(values, weights)
        assert ours.result() == pytest.approx(float(theirs.result()), rel=BAR)
    ours.update_state(3.0)
    theirs.update_state(3.0)
    assert ours.result() == pytest.approx(float(theirs.result()), rel=BAR)


@pytest.mark.parametrize("name", ["SparseCategoricalAccuracy", "MeanAbsoluteError"])
@pytest.mark.parametrize("weighted", [False, True])
def test_masks(name, weighted):
    draw, *_ = CASES[name]
    rng = np.random.default_rng(1)
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    for T in (4, 2):
        y, outputs = draw(rng, (5, T, 3))
        mask = rng.random((5, T)) < 0.6
        weights = rng.random((5, T)) if weighted else None
        seen = keras.ops.convert_to_tensor(outputs)
        keras.src.backend.set_keras_mask(seen, keras.ops.convert_to_tensor(mask))
        theirs.update_state(y, seen, weights)
        ours.update_state(y, outputs, metrics.masked(weights, mask))
    assert ours.result() == pytest.approx(float(theirs.result()), rel=BAR)


def test_a_function_of_ones_own():
    def within(y_true, y_pred, distance=0.5):
        return abs(y_true - y_pred) < distance

    ours = metrics.MeanMetricWrapper(within, "within", distance=0.7)
    theirs = keras.metrics.MeanMetricWrapper(within, "within", distance=0.7)
    stream(ours, theirs, numbers, WIDE, True)


def test_accuracy_is_chosen_as_compile_chooses():
    from keras.src.trainers.compile_utils import get_metric

    made = {
        "sparse": losses.SparseCategoricalCrossentropy(),
        "categorical": losses.CategoricalCrossentropy(),
        "binary": losses.BinaryCrossentropy(),
        "squared": losses.MeanSquaredError(),
    }
    for loss, y, outputs in [
        ("sparse", (4,), (4, 3)), ("sparse", (4, 1), (4, 3)), ("sparse", (4, 5), (4, 5, 3)),
        ("categorical", (4, 3), (4, 3)), ("binary", (4, 3), (4, 3)), ("binary", (4, 1), (4, 1)),
        ("binary", (4,), (4, 1)), ("squared", (4, 2), (4, 2)), ("squared", (4, 1), (4, 1)),
    ]:  # fmt: skip
        theirs = get_metric("acc", np.zeros(y), np.zeros(outputs))
        for y_shape in (None, y):
            ours = metrics.get("acc", made[loss], outputs, y_shape)
            assert (type(ours).__name__, ours.name) == (type(theirs).__name__, theirs.name)


@pytest.mark.parametrize("name", ["mse", "MAE", "mape", "auc", "f1_score", "AUC", "Precision"])
def test_names(name):
    theirs = keras.metrics.get(name)
    assert type(metrics.get(name)).__name__ == type(theirs).__name__
    assert metrics.get(name).name == name

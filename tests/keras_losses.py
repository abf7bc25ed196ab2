"""Losses and their gradients beside Keras 3's: weights, masks, smoothing, logits, reductions."""

import importlib
from contextlib import nullcontext

import numpy as np
import pytest

from lstmfast import losses

keras = pytest.importorskip("keras")
if keras.backend.backend() == "torch":
    pytest.skip("some of it is in float32 on PyTorch", allow_module_level=True)

BAR = {"float64": 1e-11, "float32": 2e-6}  # relative; measured: 4e-15 and 3e-7
LOG_COSH = 1e-8  # Keras has its log 2 in float32
SHAPES = [(7, 3), (4, 5, 3), (5, 1), (3, 4, 1)]
REDUCTIONS = ["sum_over_batch_size", "sum", "mean", "mean_with_sample_weight"]


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


def logistic(z):
    return 1 / (1 + np.exp(-z))


def numbers(rng, shape):
    return rng.normal(size=shape), rng.normal(size=shape)


def labels(rng, shape):
    return rng.integers(0, shape[-1], shape[:-1])


def sparse(outputs, **arguments):
    def draw(rng, shape):
        return outputs(rng.normal(size=shape) * 2), labels(rng, shape)

    return losses.SparseCategoricalCrossentropy, arguments, draw


def categorical(outputs, **arguments):
    def draw(rng, shape):
        return outputs(rng.normal(size=shape) * 2), softmax(rng.normal(size=shape))

    return losses.CategoricalCrossentropy, arguments, draw


def binary(outputs, hard=True, **arguments):
    def draw(rng, shape):
        targets = rng.integers(0, 2, shape) if hard else rng.uniform(0, 1, shape)
        return outputs(rng.normal(size=shape) * 2), targets

    return losses.BinaryCrossentropy, arguments, draw


def distributions(rng, shape):
    return softmax(rng.normal(size=shape)), softmax(rng.normal(size=shape))


def unnormed(z):
    return logistic(z)


def positive(rng, shape):
    return rng.uniform(0.1, 2, shape), rng.uniform(0, 2, shape)


def around_zero(rng, shape):
    """Some of them are below Keras's epsilon."""
    return rng.uniform(-0.5, 2, shape), rng.uniform(-0.5, 2, shape)


def two_signs(rng, shape):
    return rng.normal(size=shape), rng.choice([-1, 1], shape)


def two_classes(rng, shape):
    return rng.normal(size=shape), rng.integers(0, 2, shape)


def hot(rng, shape):
    return rng.normal(size=shape), np.eye(shape[-1])[labels(rng, shape)]


def focal(made, outputs, **arguments):
    def draw(rng, shape):
        z = rng.normal(size=shape) * 2
        if made is losses.BinaryFocalCrossentropy:
            return outputs(z), rng.integers(0, 2, shape)
        return outputs(z), softmax(rng.normal(size=shape))

    return made, arguments, draw


BINARY, CATEGORICAL = losses.BinaryFocalCrossentropy, losses.CategoricalFocalCrossentropy
CASES = {
    "sparse": sparse(softmax),
    "sparse of rows that do not sum to one": sparse(unnormed),
    "sparse, logits": sparse(lambda z: z, from_logits=True),
    "sparse, a class ignored": sparse(softmax, ignore_class=1),
    "sparse, logits, a class ignored": sparse(lambda z: z, ignore_class=0, from_logits=True),
    "categorical": categorical(softmax),
    "categorical of rows that do not sum to one": categorical(unnormed),
    "categorical, logits": categorical(lambda z: z, from_logits=True),
    "categorical, smoothed": categorical(softmax, label_smoothing=0.1),
    "categorical, logits, smoothed": categorical(
        lambda z: z, label_smoothing=0.3, from_logits=True
    ),
    "binary": binary(logistic),
    "binary, soft": binary(logistic, hard=False),
    "binary, logits": binary(lambda z: z, from_logits=True),
    "binary, smoothed": binary(logistic, label_smoothing=0.2),
    "binary, logits, smoothed": binary(lambda z: 3 * z, label_smoothing=0.2, from_logits=True),
    "squared": (losses.MeanSquaredError, {}, numbers),
    "absolute": (losses.MeanAbsoluteError, {}, numbers),
    "Huber": (losses.Huber, {}, numbers),
    "Huber of 0.3": (losses.Huber, {"delta": 0.3}, numbers),
    "KL": (losses.KLDivergence, {}, distributions),
    "percentage": (losses.MeanAbsolutePercentageError, {}, numbers),
    "logarithmic": (losses.MeanSquaredLogarithmicError, {}, around_zero),
    "log cosh": (losses.LogCosh, {}, numbers),
    "Poisson": (losses.Poisson, {}, positive),
    "cosine": (losses.CosineSimilarity, {}, numbers),
    "hinge": (losses.Hinge, {}, two_signs),
    "hinge of 0 and 1": (losses.Hinge, {}, two_classes),
    "squared hinge": (losses.SquaredHinge, {}, two_signs),
    "squared hinge of 0 and 1": (losses.SquaredHinge, {}, two_classes),
    "hinge of a categorical one": (losses.CategoricalHinge, {}, hot),
    "binary focal": focal(BINARY, logistic),
    "binary focal, balanced": focal(BINARY, logistic, apply_class_balancing=True, alpha=0.3),
    "binary focal, logits": focal(BINARY, lambda z: z, from_logits=True, gamma=1.5),
    "binary focal, smoothed": focal(BINARY, logistic, label_smoothing=0.2, gamma=0.0),
    "categorical focal": focal(CATEGORICAL, softmax),
    "categorical focal of rows that do not sum to one": focal(CATEGORICAL, unnormed),
    "categorical focal, logits": focal(CATEGORICAL, lambda z: z, from_logits=True, gamma=1.5),
    "categorical focal, smoothed": focal(
        CATEGORICAL, softmax, alpha=0.5, label_smoothing=0.1, gamma=0.0
    ),
}


def theirs(made, arguments, y, outputs, weights, mask):
    """Return Keras's loss and its gradient to the outputs."""
    loss = getattr(keras.losses, made.__name__)(**arguments)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        pred = tf.constant(outputs)
        with tf.GradientTape() as tape:
            tape.watch(pred)
            seen = pred + 0
            if mask is not None:
                keras.src.backend.set_keras_mask(seen, tf.constant(mask))
            value = loss(y, seen, weights)
        return value.numpy(), tf.convert_to_tensor(tape.gradient(value, pred)).numpy()
    return None, None


def both(name, shape, weights, mask, dtype="float64", seed=0, **more):
    """Compare the loss as it is called, and forward and backward, with Keras's."""
    made, arguments, draw = CASES[name]
    arguments = {**arguments, **more}
    outputs, y = draw(np.random.default_rng(seed), shape)
    outputs = outputs.astype(dtype)
    value, gradient = theirs(made, arguments, y, outputs.astype("float64"), weights, mask)
    if value is None:
        pytest.skip("gradients of TensorFlow")
    loss = made(**arguments)
    bar = max(BAR[dtype], LOG_COSH if name == "log cosh" else 0.0)
    assert loss(y, outputs, weights, mask) == pytest.approx(value, rel=bar, abs=bar)
    loss = loss.behind(None)
    rows = loss.row_weights(y, shape, weights, mask)
    kept = outputs.copy()
    found, slope = loss.backward(outputs, y, rows)
    np.testing.assert_array_equal(outputs, kept)
    assert loss.forward(outputs, y, rows).mean == pytest.approx(found.mean, rel=1e-12)
    assert found.mean == pytest.approx(value, rel=bar, abs=bar)
    assert slope.dtype == dtype and slope.shape == outputs.shape
    np.testing.assert_allclose(slope, gradient, rtol=bar, atol=bar * np.abs(gradient).max())


def drawn(shape, weights, mask):
    rng = np.random.default_rng(5)
    rows = shape[:-1]
    kept = rng.random(rows) < 0.6
    kept.flat[0], kept.flat[1] = True, False
    return (
        rng.uniform(0, 2, rows) if weights else None,
        kept if mask else None,
    )


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients(name, weights, mask):
    wide = any(word in name for word in ("sparse", "categorical", "KL", "cosine"))
    for seed, shape in enumerate(SHAPES[:2] if wide else SHAPES):
        if mask and shape == (3, 4, 1):
            continue  # Keras drops the last axis of these, and then means over the masked one
        if weights and shape == (3, 4, 1) and "binary" not in name:
            continue
        both(name, shape, *drawn(shape, weights, mask), seed=seed)


@pytest.mark.parametrize(
    "name", ["sparse, logits", "categorical", "binary", "squared", "KL", "log cosh"]
)
def test_float32(name):
    both(name, (6, 4), *drawn((6, 4), True, True), dtype="float32")


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions(reduction, weights, mask):
    for name in ("sparse, logits", "absolute", "sparse, a class ignored"):
        both(name, (4, 5, 3), *drawn((4, 5, 3), weights, mask), reduction=reduction)


def test_losses_of_rows():
    rng = np.random.default_rng(0)
    outputs, y, weights = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 3)), rng.random((4, 5))
    for reduction in ("none", None):
        ours = losses.Huber(0.5, reduction)(y, outputs, weights)
        expected = keras.losses.Huber(0.5, reduction)(y, outputs, weights)
        bar = 1e-12 if keras.backend.backend() == "tensorflow" else 1e-6  # JAX: float32
        np.testing.assert_allclose(ours, expected, rtol=bar)


def test_probabilities_at_their_limits_are_clipped_as_in_keras():
    outputs = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 1e-9]])
    y = np.array([[0, 1], [0, 1], [1, 1]])
    for dtype in ("float32", "float64"):
        keras.config.set_floatx(dtype)
        for made in ("BinaryCrossentropy", "KLDivergence"):
            expected = getattr(keras.losses, made)()(y, outputs.astype(dtype))
            found = getattr(losses, made)()(y, outputs.astype(dtype))
            assert found == pytest.approx(float(expected), rel=1e-6)


FUNCTIONS = {
    "mean_squared_error": numbers,
    "mean_absolute_error": numbers,
    "mean_absolute_percentage_error": numbers,
    "mean_squared_logarithmic_error": positive,
    "cosine_similarity": numbers,
    "log_cosh": numbers,
    "poisson": positive,
    "huber": numbers,
    "hinge": two_classes,
    "squared_hinge": two_signs,
    "categorical_hinge": hot,
    "kl_divergence": distributions,
    "binary_crossentropy": CASES["binary"][2],
    "binary_focal_crossentropy": CASES["binary focal"][2],
    "categorical_crossentropy": CASES["categorical"][2],
    "categorical_focal_crossentropy": CASES["categorical focal"][2],
    "sparse_categorical_crossentropy": CASES["sparse"][2],
}


def test_every_function_is_here():
    found = {name for name, one in losses.FUNCTIONS.items() if one.__name__ == name}
    assert found == set(FUNCTIONS)
    for name in found - {"log_cosh"}:  # a name for strings alone
        assert callable(getattr(keras.losses, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    bar = LOG_COSH if keras.backend.backend() == "tensorflow" else 2e-6
    for shape in ((4, 3), (2, 5, 3)):
        outputs, y = FUNCTIONS[name](np.random.default_rng(1), shape)
        expected = keras.losses.get(name)(y, outputs)
        found = getattr(losses, name)(y, outputs)
        assert found.shape == shape[:-1] and found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=bar, atol=bar)
        narrow = getattr(losses, name)(y, outputs.astype("f4"))
        assert narrow.dtype == np.float32
        np.testing.assert_allclose(narrow, expected, rtol=1e-4, atol=1e-5)


def test_arguments_of_functions():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(4, 3)), rng.integers(0, 3, 4)
    for name, targets, told in (
        ("sparse_categorical_crossentropy", y, {"from_logits": True, "ignore_class": 1}),
        ("categorical_crossentropy", np.eye(3)[y], {"from_logits": True, "label_smoothing": 0.2}),
        ("huber", z[::-1], {"delta": 0.5}),
    ):
        expected = getattr(keras.losses, name)(targets, z, **told)
        np.testing.assert_allclose(
            getattr(losses, name)(targets, z, **told), expected, rtol=2e-6, atol=1e-7
        )
    assert (
        losses.mse([0.0, 1.0], [1, 3])
        == float(keras.losses.get("mse")([0.0, 1.0], [1.0, 3.0]))
        == 2.5
    )


def test_a_mask_of_nothing_is_no_loss():
    both("sparse, logits", (3, 3), None, np.zeros(3, bool))
    both("squared", (3, 3), np.ones(3), np.zeros(3, bool))


def test_class_weights_are_those_of_fit():
    from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

    rng = np.random.default_rng(0)
    known = {0: 0.5, 2: 3.0}
    for y, shape in (
        (rng.integers(0, 4, 9), (9, 4)),
        (rng.integers(0, 4, (9, 1)), (9, 4)),
        (np.eye(4)[rng.integers(0, 4, 9)], (9, 4)),
        (rng.random((9, 1)) * 3, (9, 1)),
    ):
        expected = class_weight_to_sample_weights(y, known)
        np.testing.assert_array_equal(losses.class_weights(known, y, (None, *shape[1:])), expected)


def test_the_running_mean_over_batches_is_that_of_fit():
    """Keras weighs each batch's loss by its number of samples, whatever weights or masks it has."""
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(10, 4)), rng.normal(size=(10, 2)), rng.uniform(0, 2, 10)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    expected = model.evaluate(x, y, batch_size=4, sample_weight=weights, verbose=0)
    outputs, loss = np.asarray(model(x)), losses.MeanSquaredError()
    parts = [slice(0, 4), slice(4, 8), slice(8, 10)]
    found = [
        loss.forward(outputs[at], y[at], loss.row_weights(y[at], outputs[at].shape, weights[at]))
        for at in parts
    ]
    mean = sum(one.total for one in found) / sum(one.rows for one in found)
    assert mean == pytest.approx(expected, rel=1e-6)
    masked = keras.Sequential(
        [keras.layers.Input((3, 4)), keras.layers.Masking(), keras.layers.Dense(2)]
    )
    masked.compile("sgd", "mse")
    x, y = rng.normal(size=(10, 3, 4)), rng.normal(size=(10, 3, 2))
    x[::2, 1:] = 0
    x[9] = 0
    expected = masked.evaluate(x, y, batch_size=4, verbose=0)
    outputs, mask = np.asarray(masked(x)), (x != 0).any(-1)
    found = [
        loss.forward(outputs[at], y[at], loss.row_weights(y[at], outputs[at].shape, None, mask[at]))
        for at in parts
    ]
    mean = sum(one.total for one in found) / sum(one.rows for one in found)
    assert mean == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["mse", "MAE", "Huber", "huber", "kl_divergence", "KLD", "BCE"])
def test_names(name):
    found = losses.get(name)
    known = keras.losses.get(name)
    known = known if isinstance(known, keras.losses.Loss) else None
    assert isinstance(found, losses.Loss)
    if known is not None:
        assert found.name == known.name

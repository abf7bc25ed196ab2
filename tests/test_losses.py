"""Losses: hand-computed values, means over all leading axes, gradients, and what is refused."""

import numpy as np
import pytest

from lstmfast import losses
from lstmfast.losses import CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy

STEP = 1e-5  # of central differences in float64
GRADIENT_BAR = 1e-9  # measured: below 5e-11

PROBABILITIES = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])


def test_crossentropy_of_probabilities_by_hand():
    expected = (np.log(4) + np.log(4 / 3)) / 2
    sparse, dense = SparseCategoricalCrossentropy(), CategoricalCrossentropy()
    before = PROBABILITIES.copy()
    assert sparse(np.array([1, 2]), PROBABILITIES) == pytest.approx(expected, rel=1e-12)
    assert dense(np.eye(3)[[1, 2]], PROBABILITIES) == pytest.approx(expected, rel=1e-12)
    soft = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert dense(soft, PROBABILITIES) == pytest.approx(
        (0.5 * np.log(2) + 0.5 * np.log(4) + np.log(4 / 3)) / 2, rel=1e-12
    )
    np.testing.assert_array_equal(PROBABILITIES, before)


def test_crossentropy_of_logits_is_that_of_their_softmax():
    logits = np.log(PROBABILITIES) + np.array([[800.0], [-800.0]])  # a shift changes nothing
    labels = np.array([1, 2])
    expected = (np.log(4) + np.log(4 / 3)) / 2
    assert SparseCategoricalCrossentropy(from_logits=True)(labels, logits) == pytest.approx(
        expected, rel=1e-12
    )
    assert CategoricalCrossentropy(from_logits=True)(np.eye(3)[labels], logits) == pytest.approx(
        expected, rel=1e-12
    )


def test_mean_squared_error_by_hand():
    loss = MeanSquaredError()
    outputs = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert loss(np.array([[1.0, 0.0], [0.0, 5.0]]), outputs) == (4 + 9) / 4
    assert loss(np.array([3, 1]), np.array([[1.0], [2.0]])) == (4 + 1) / 2


@pytest.mark.parametrize("time", [(), (5,), (2, 3)])
def test_the_mean_is_over_all_leading_axes(time):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (3, *time))
    logits = rng.normal(size=(3, *time, 4))
    sparse = SparseCategoricalCrossentropy(from_logits=True)
    rows = [
        sparse(labels[at].reshape(1), logits[at].reshape(1, 4)) for at in np.ndindex(labels.shape)
    ]
    assert sparse(labels, logits) == pytest.approx(np.mean(rows), rel=1e-12)
    assert sparse(labels[..., None], logits) == sparse(labels, logits)
    found = sparse.forward(logits, labels)
    assert found.rows == labels.size
    assert found.correct == np.count_nonzero(logits.argmax(-1) == labels)
    assert MeanSquaredError()(0 * logits, logits) == pytest.approx(np.mean(logits**2), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64, ">i4"])
def test_labels_of_any_integer_dtype_count(dtype):
    labels = np.array([1, 2])
    loss = SparseCategoricalCrossentropy()
    assert loss(labels.astype(dtype), PROBABILITIES) == loss(labels, PROBABILITIES)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 3)])
@pytest.mark.parametrize("name", ["sparse", "categorical", "soft", "squared"])
def test_backward_is_the_gradient_of_the_mean(name, shape):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, shape[:-1])
    loss, y = {
        "sparse": (SparseCategoricalCrossentropy(from_logits=True), labels),
        "categorical": (CategoricalCrossentropy(from_logits=True), np.eye(3)[labels]),
        "soft": (CategoricalCrossentropy(from_logits=True), rng.uniform(0, 1, shape)),
        "squared": (MeanSquaredError(), rng.normal(size=shape)),
    }[name]
    outputs = rng.normal(size=shape)
    value, gradient = loss.backward(outputs.copy(), y)
    assert value == loss.forward(outputs, y) and value.mean == loss(y, outputs)
    for at in np.ndindex(shape):
        step = np.zeros(shape)
        step[at] = STEP
        expected = (loss(y, outputs + step) - loss(y, outputs - step)) / (2 * STEP)
        assert gradient[at] == pytest.approx(expected, rel=0, abs=GRADIENT_BAR)


def test_mean_squared_error_leaves_the_outputs_alone():
    outputs, y = np.ones((2, 3), np.float32), np.zeros((2, 3))
    _, gradient = MeanSquaredError().backward(outputs, y)
    assert (outputs == 1).all() and (y == 0).all()
    np.testing.assert_array_equal(gradient, np.full((2, 3), np.float32(2 / 6)))


@pytest.mark.parametrize(
    ("loss", "y", "text"),
    [
        (SparseCategoricalCrossentropy(), [0, 3], r"labels in \[0, 3\), got labels in \[0, 3\]"),
        (SparseCategoricalCrossentropy(), [-1, 0], r"labels in \[0, 3\), got labels in \[-1, 0\]"),
        (SparseCategoricalCrossentropy(), [0.0, 1.0], "integer labels, got dtype float64"),
        (SparseCategoricalCrossentropy(), [0], r"labels of shape \(2,\), got \(1,\)"),
        (SparseCategoricalCrossentropy(), [[0, 1]], r"labels of shape \(2,\), got \(1, 2\)"),
        (CategoricalCrossentropy(), [0, 1], r"numbers of shape \(2, 3\), got \(2,\)"),
        (CategoricalCrossentropy(), [[1, 0]], r"numbers of shape \(2, 3\), got \(1, 2\)"),
        (CategoricalCrossentropy(), [[np.nan, 0, 0]] * 2, "finite numbers, got NaN or Inf"),
        (MeanSquaredError(), [[1.0, 2.0]], r"numbers of shape \(2, 3\), got \(1, 2\)"),
        (MeanSquaredError(), [1.0, 2.0], r"numbers of shape \(2, 3\), got \(2,\)"),
        (MeanSquaredError(), [[np.inf, 0, 0]] * 2, "finite numbers, got NaN or Inf"),
        (MeanSquaredError(), [["a"] * 3] * 2, "numbers of shape"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss, y, text):
    with pytest.raises(ValueError, match=f"^y: expected {text}"):
        loss(np.array(y), PROBABILITIES)


@pytest.mark.parametrize("outputs", [np.zeros((2, 3), int), np.zeros(3), np.zeros((2, 3), "f2")])
def test_outputs_that_are_none_are_refused(outputs):
    with pytest.raises(ValueError, match=r"^y_pred: expected \(B, ..., N\) of float32 or float64"):
        MeanSquaredError()(outputs, outputs)


def test_get_knows_names_configs_and_objects():
    for name, made in {
        "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
        "categorical_crossentropy": CategoricalCrossentropy,
        "mean_squared_error": MeanSquaredError,
        "mse": MeanSquaredError,
    }.items():
        assert type(losses.get(name)) is made
    own = CategoricalCrossentropy(from_logits=True)
    assert losses.get(own) is own
    twin = losses.get(own.get_config())
    assert type(twin) is CategoricalCrossentropy and twin.from_logits


@pytest.mark.parametrize("bad", ["hinge", 3, np.sum, {"class": "Hinge"}, {}, MeanSquaredError])
def test_get_refuses_what_it_does_not_know(bad):
    with pytest.raises(ValueError, match=r"^loss"):
        losses.get(bad)


def test_from_logits_is_a_bool():
    with pytest.raises(ValueError, match=r"^from_logits: expected True or False, got 'no'"):
        SparseCategoricalCrossentropy(from_logits="no")

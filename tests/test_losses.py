"""Losses: hand-computed values, means over all leading axes, gradients, and what is refused."""

import json

import numpy as np
import pytest
from agreement import difference_quotient

import lstmfast
from lstmfast import Dense, Model, losses, registry
from lstmfast.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Huber,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    Quantile,
    SparseCategoricalCrossentropy,
)
from lstmfast.losses.base import BatchLoss

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


@pytest.mark.parametrize(
    "bad", ["ctc", 3, np.sum, {"class": "CTC"}, {}, MeanSquaredError, None, b"mse", ""]
)
def test_get_refuses_what_it_does_not_know(bad):
    with pytest.raises(ValueError, match=r"^loss"):
        losses.get(bad)


def test_from_logits_is_a_bool():
    with pytest.raises(ValueError, match=r"^from_logits: expected True or False, got 'no'"):
        SparseCategoricalCrossentropy(from_logits="no")


def test_a_function_is_told_to_become_a_class():
    with pytest.raises(ValueError, match=r"a function has no gradient: subclass lstmfast.losses."):
        losses.get(lambda y, p: p)


# ---------------------------------------------------------------- the other losses


def test_losses_of_numbers_by_hand():
    outputs, y = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[1.0, 0.0], [0.0, 5.5]])
    assert MeanAbsoluteError()(y, outputs) == (2 + 3 + 0.5) / 4
    assert Huber()(y, outputs) == (1.5 + 2.5 + 0.125) / 4
    assert Huber(2.5)(y, outputs) == (2 + 2.5 * 3 - 3.125 + 0.125) / 4
    assert Quantile(0.75)(y, outputs) == (0.25 * 2 + 0.25 * 3 + 0.75 * 0.5) / 4
    assert Quantile([0.75, 0.5])(y, outputs) == (0.5 * 2 + 0.25 * 3 + 0.5 * 0.5) / 4
    assert Quantile()(y, outputs) == MeanAbsoluteError()(y, outputs) / 2


def test_losses_of_probabilities_by_hand():
    p, y = np.array([[0.25], [0.5]]), np.array([1, 0])
    assert BinaryCrossentropy()(y, p) == pytest.approx((np.log(4) + np.log(2)) / 2, rel=1e-12)
    logits = np.log(p / (1 - p))
    assert BinaryCrossentropy(True)(y, logits) == pytest.approx(BinaryCrossentropy()(y, p))
    smoothed = BinaryCrossentropy(label_smoothing=0.5)(y, p)
    soft = BinaryCrossentropy()(np.array([0.75, 0.25]), p)
    assert smoothed == pytest.approx(soft, rel=1e-12)
    assert KLDivergence()(PROBABILITIES, PROBABILITIES) == 0
    y = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    expected = (0.5 * np.log(4) + 0.25 * np.log(2) + 0.25 * np.log(1 / 3)) / 2
    assert KLDivergence()(y, PROBABILITIES) == pytest.approx(expected, rel=1e-12)


def test_large_logits_overflow_nothing():
    loss = BinaryCrossentropy(from_logits=True)
    with np.errstate(all="raise", under="ignore"):
        found, slope = loss.backward(np.array([[1e4, -1e4]], "f4"), np.array([[0, 0]]))
    assert found.mean == 5e3 and slope.tolist() == [[0.5, 0]]


def test_one_target_does_for_all_quantiles():
    outputs, y = np.random.default_rng(0).normal(size=(4, 2, 3)), np.ones((4, 2))
    loss = Quantile([0.1, 0.5, 0.9])
    wide = np.ones((4, 2, 3))
    assert loss(y, outputs) == loss(y[..., None], outputs) == loss(wide, outputs)
    for targets in (y, y[..., None], wide):
        prepared = loss.targets(targets, (None, 2, 3), "float64")
        found = loss.backward(outputs, prepared)[1]
        np.testing.assert_array_equal(found, loss.backward(outputs, wide)[1])
    with pytest.raises(ValueError, match=r"^loss: expected outputs for 2 units, one quantile each"):
        loss(np.ones((4, 2)), np.ones((4, 2)))


def soft(shape):
    z = np.random.default_rng(3).uniform(0.1, 1, shape)
    return z / z.sum(-1, keepdims=True)


WEIGHED = {
    "squared": (MeanSquaredError(), "numbers"),
    "absolute": (MeanAbsoluteError(), "numbers"),
    "Huber": (Huber(0.7), "numbers"),
    "quantile": (Quantile(0.8), "numbers"),
    "quantiles": (Quantile([0.1, 0.5, 0.9]), "numbers"),
    "KL": (KLDivergence(), "soft"),
    "binary": (BinaryCrossentropy(label_smoothing=0.1), "soft"),
    "binary, logits": (BinaryCrossentropy(from_logits=True), "soft"),
    "categorical": (CategoricalCrossentropy(label_smoothing=0.1), "soft"),
    "categorical, logits": (CategoricalCrossentropy(from_logits=True), "soft"),
    "sparse": (SparseCategoricalCrossentropy(), "labels"),
    "sparse, logits": (SparseCategoricalCrossentropy(from_logits=True), "labels"),
    "sparse, ignored": (SparseCategoricalCrossentropy(ignore_class=1), "labels"),
    "percentage": (losses.MeanAbsolutePercentageError(), "numbers"),
    "logarithmic": (losses.MeanSquaredLogarithmicError(), "soft"),
    "log cosh": (losses.LogCosh(), "numbers"),
    "Poisson": (losses.Poisson(), "soft"),
    "cosine": (losses.CosineSimilarity(), "numbers"),
    "hinge": (losses.Hinge(), "numbers"),
    "squared hinge": (losses.SquaredHinge(), "numbers"),
    "categorical hinge": (losses.CategoricalHinge(), "soft"),
    "binary focal": (losses.BinaryFocalCrossentropy(True, 0.3, 1.5), "soft"),
    "binary focal, logits": (losses.BinaryFocalCrossentropy(from_logits=True), "soft"),
    "focal": (losses.CategoricalFocalCrossentropy([0.2, 0.5, 0.3], 1.5), "soft"),
    "focal, logits": (losses.CategoricalFocalCrossentropy(from_logits=True), "soft"),
    "of two functions": (
        losses.LossFunctionWrapper(
            lambda y, p: np.mean((p - y) ** 4, axis=-1),
            lambda y, p: 4 * (p - y) ** 3 / p.shape[-1],
        ),
        "numbers",
    ),
    "of one function": (
        losses.LossFunctionWrapper(
            lambda y, p: (
                np.sum(p - y, axis=-1) ** 2,
                2 * (p - y).sum(axis=-1, keepdims=True) + 0 * p,
            )
        ),
        "numbers",
    ),
}


def drawn(kind, shape):
    """Return outputs, targets and weights of rows, some of them zero."""
    rng = np.random.default_rng(4)
    y = {
        "numbers": rng.normal(size=shape),
        "soft": soft(shape)[..., ::-1].copy(),
        "labels": rng.integers(0, shape[-1], shape[:-1]),
    }[kind]
    return soft(shape), y, rng.uniform(0, 2, shape[:-1]) * (rng.random(shape[:-1]) < 0.7)


@pytest.mark.parametrize("shape", [(6, 3), (3, 2, 3)])
@pytest.mark.parametrize("name", WEIGHED)
def test_backward_is_the_gradient_with_weights_and_masks(name, shape):
    loss, kind = WEIGHED[name]
    outputs, y, sample_weight = drawn(kind, shape)
    mask = np.arange(sample_weight.size).reshape(sample_weight.shape) % 3 > 0
    loss, kept = loss.behind(None), outputs.copy()
    weights = loss.row_weights(y, shape, sample_weight, mask)
    found, gradient = loss.backward(outputs, y, weights)
    np.testing.assert_array_equal(outputs, kept)
    assert found == loss.forward(outputs, y, weights)
    assert found.mean == pytest.approx(loss(y, outputs, sample_weight, mask), rel=1e-12)
    expected = difference_quotient(lambda: loss(y, outputs, sample_weight, mask), outputs)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-8)
    assert np.abs(expected).max() > 1e-3 and not gradient[~mask].any()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", WEIGHED)
def test_rows_of_weight_zero_count_nothing_even_if_they_are_nan(name, dtype):
    loss, kind = WEIGHED[name]
    outputs, y, sample_weight = drawn(kind, (6, 3))
    outputs, sample_weight[-2:] = outputs.astype(dtype), 0
    clean = loss.backward(outputs.copy(), y, loss.row_weights(y, (6, 3), sample_weight))
    outputs[-2], outputs[-1] = np.nan, np.inf
    y[-2:] = -7 if kind == "labels" else np.nan
    weights = loss.row_weights(y, (6, 3), sample_weight)
    if loss.from_logits is not loss.wants_logits and loss.wants_logits:
        loss = loss.behind(None)
        clean = loss.backward(np.where(np.isfinite(outputs), outputs, 1), y, weights)
    with np.errstate(all="raise", under="ignore"):
        loss.check(y, (6, 3), weights)
        found, gradient = loss.backward(outputs.copy(), y, weights)
    assert found.total == pytest.approx(clean[0].total, rel=1e-6) and found.rows == 6
    assert found.correct == clean[0].correct
    np.testing.assert_array_equal(gradient, clean[1])
    assert not gradient[-2:].any() and np.isfinite(loss(y, outputs, sample_weight))


def test_weights_of_rows_by_hand():
    mask = np.array([[True, False], [True, True]])
    assert losses.row_weights((2, 2)) is None
    assert losses.row_weights((2, 2), [1, 2]).tolist() == [1, 1, 2, 2]
    assert losses.row_weights((2, 2), [[1], [2]]).tolist() == [1, 1, 2, 2]
    assert losses.row_weights((2,), [[1], [2]]).tolist() == [1, 2]
    assert losses.row_weights((2, 2), None, mask).tolist() == pytest.approx(
        [4 / 3, 0, 4 / 3, 4 / 3]
    )
    assert losses.row_weights((2, 2), [3, 6], mask).tolist() == [4, 0, 8, 8]
    assert losses.row_weights((2, 2), None, ~mask & mask).tolist() == [0] * 4
    assert losses.row_weights((2, 2), [[1, np.nan], [2, 3]], mask, "sum").tolist() == [4, 0, 8, 12]
    weighted = losses.row_weights((2, 2), [3, 6], mask, "mean_with_sample_weight")
    assert weighted.tolist() == [0.8, 0, 1.6, 1.6]
    assert losses.row_weights((2,), None, None, "sum").tolist() == [2, 2]


@pytest.mark.parametrize(
    ("weights", "mask", "text"),
    [
        ([1, 2, 3], None, r"sample_weight: expected shape \(2,\) or \(2, 3\), got \(3,\)"),
        (np.ones((2, 2)), None, r"sample_weight: expected shape"),
        (np.ones((2, 3, 4)), None, r"sample_weight: expected shape"),
        (1.0, None, r"sample_weight: expected shape"),
        ([1, np.nan], None, "sample_weight: expected finite numbers, got NaN or Inf"),
        (["a", "b"], None, "sample_weight: expected numbers, got"),
        (None, np.ones((2, 3)), "mask: expected an array of bool, got dtype float64"),
        (None, np.ones((3, 3), bool), r"mask: expected shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, mask, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        losses.row_weights((2, 3), weights, mask)
    with pytest.raises(ValueError, match=f"^{text}"):
        MeanSquaredError()(np.ones((2, 3, 2)), np.ones((2, 3, 2)), weights, mask)


def test_class_weights():
    known = {0: 2.0, 1: 0.5}
    labels = np.array([[0, 1, 5], [1, 1, 0]])
    expected = [[2, 0.5, 1], [0.5, 0.5, 2]]
    assert losses.class_weights(known, labels, (None, 3, 6)).tolist() == expected
    assert losses.class_weights(known, labels[..., None], (None, 3, 6)).tolist() == expected
    assert losses.class_weights(known, np.eye(6)[labels], (None, 3, 6)).tolist() == expected
    for bad, text in [([1, 2], "expected a mapping"), ({"a": 1}, "expected an integer"),
                      ({0: np.nan}, "expected a finite number")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^class_weight: {text}"):
            losses.class_weights(bad, labels, (None, 3, 6))


def test_a_loss_of_rows_is_no_loss_to_train_with():
    loss = MeanAbsoluteError("none")
    y = np.zeros((2, 2))
    assert loss(y, np.array([[1.0, 2], [3, 5]]), [1, 2]).tolist() == [1.5, 8]
    for call in (loss.forward, loss.backward, lambda *_: loss.behind(None)):
        with pytest.raises(ValueError, match=r"^reduction: expected a reduction to one number"):
            call(y, y)


# ---------------------------------------------------------------- what a Model asks of a loss


@pytest.mark.parametrize(
    ("made", "activation"),
    [(SparseCategoricalCrossentropy, "softmax"), (BinaryCrossentropy, "sigmoid")],
)
def test_a_loss_takes_over_the_activation_before_it(made, activation):
    loss = made()
    assert loss.activation == activation
    assert loss.behind(activation).wants_logits
    assert not loss.behind("tanh").wants_logits and not loss.behind(None).wants_logits
    of_logits = made(from_logits=True)
    assert of_logits.behind("linear").wants_logits and not of_logits.behind(None).wants_logits
    with pytest.raises(
        ValueError, match=f"^loss: expected from_logits=False behind a {activation}"
    ):
        of_logits.behind(activation)
    assert (
        loss.behind(activation) is not loss and not MeanSquaredError().behind("linear").wants_logits
    )


def test_both_ways_through_a_sigmoid_are_the_same():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(5, 3)), rng.integers(0, 2, (5, 3))
    p = 1 / (1 + np.exp(-z))
    fused, slope = BinaryCrossentropy().behind("sigmoid").backward(z, y)
    apart, dp = BinaryCrossentropy().behind("relu").backward(p, y)
    assert fused.mean == pytest.approx(apart.mean, rel=1e-12)
    np.testing.assert_allclose(slope, dp * p * (1 - p), rtol=1e-10)


def test_which_rows_are_right_is_told():
    labels, weights = np.array([1, 0, 2]), np.array([1.0, 0.0, 2.0])
    found = SparseCategoricalCrossentropy().forward(np.eye(3)[[1, 0, 1]], labels, weights)
    assert found.hits.tolist() == [True, True, False] and found.correct == 1
    assert found == BatchLoss(found.total, 3, 1)


@pytest.mark.parametrize(
    "name",
    ["binary_crossentropy", "mae", "Huber", "quantile", "kld", "log_cosh",
     "binary_focal_crossentropy", losses.mean_squared_error, losses.poisson],
)  # fmt: skip
def test_models_learn_with_it(name, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4)).astype("f4")
    y = (x[:, :2] > 0).astype("f4")
    model = Model([Dense(2, "sigmoid")], seed=0)
    model.compile("adam", losses.get(name))
    model.optimizer.learning_rate = 0.05
    history = model.fit(x, y, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.85 * history[0]
    model.save(tmp_path / "m")
    assert type(lstmfast.load(tmp_path / "m").loss) is type(losses.get(name))


# ---------------------------------------------------------------- names, configs, classes of others


@pytest.mark.parametrize(
    ("made", "arguments"),
    [
        (SparseCategoricalCrossentropy, {"ignore_class": -1, "reduction": "sum", "name": "own"}),
        (CategoricalCrossentropy, {"label_smoothing": 0.1, "from_logits": True}),
        (BinaryCrossentropy, {"label_smoothing": 0.1, "reduction": None}),
        (Huber, {"delta": 2.0}),
        (Quantile, {"quantile": [0.1, 0.9]}),
        (KLDivergence, {}),
        (losses.CosineSimilarity, {"reduction": "sum"}),
        (losses.BinaryFocalCrossentropy, {"gamma": 1.0, "apply_class_balancing": True}),
        (losses.CategoricalFocalCrossentropy, {"alpha": [0.5, 1.0], "label_smoothing": 0.1}),
    ],
)
def test_configs_make_twins(made, arguments):
    loss = made(**arguments)
    twin = losses.get(json.loads(json.dumps(loss.get_config())))
    assert type(twin) is made and twin.get_config() == loss.get_config()
    assert all(getattr(twin, key) == value for key, value in arguments.items())
    assert twin.name == loss.name


def test_names_in_any_case():
    for name, made in {
        "MSE": MeanSquaredError, "mae": MeanAbsoluteError, "BCE": BinaryCrossentropy,
        "KLD": KLDivergence, "Huber": Huber, "huber_loss": Huber, "kl_divergence": KLDivergence,
        "BinaryCrossentropy": BinaryCrossentropy, "Mean_Absolute_Error": MeanAbsoluteError,
    }.items():  # fmt: skip
        assert type(losses.get(name)) is made
    assert (Huber().name, KLDivergence().name) == ("huber_loss", "kl_divergence")


class LogCosh(losses.Loss):
    def row_losses(self, outputs, targets, gradient):
        error = outputs - targets
        found = np.log(np.cosh(error)).mean(axis=1)
        return found, np.tanh(error) / error.shape[1] if gradient else None


def test_a_loss_of_ones_own(tmp_path):
    loss, (outputs, y, weights) = LogCosh(), drawn("numbers", (3, 2, 3))
    assert losses.get(loss) is loss and loss.name == "log_cosh"
    rows = loss.row_weights(y, outputs.shape, weights)
    gradient = loss.backward(outputs, y, rows)[1]
    expected = difference_quotient(lambda: loss(y, outputs, weights), outputs)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-8)
    model = Model([Dense(2, input_shape=(3,))], seed=0)
    registry.register_serializable("mine")(LogCosh)
    try:
        model.compile("sgd", loss)
        model.save(tmp_path / "m")
        assert type(lstmfast.load(tmp_path / "m").loss) is LogCosh
        assert type(losses.get("mine>LogCosh")) is LogCosh
    finally:
        registry.unregister(LogCosh)
    with pytest.raises(ValueError, match=r"class: expected one of .*got 'mine>LogCosh'"):
        lstmfast.load(tmp_path / "m")


def fourth(y, p):
    return np.mean((p - y) ** 4, axis=-1)


def slope_of_fourth(y, p):
    return 4 * (p - y) ** 3 / p.shape[-1]


def test_a_loss_of_two_functions(tmp_path):
    loss = losses.LossFunctionWrapper(fourth, slope_of_fourth)
    y, outputs = np.array([[1.0, 2.0]]), np.array([[2.0, 0.0]])
    assert loss(y, outputs) == (1 + 16) / 2 and loss.name == "fourth"
    assert loss.backward(outputs, y)[1].tolist() == [[2.0, -16.0]]
    assert losses.check_gradient(loss, y, outputs) < 1e-8
    model = Model([Dense(2, input_shape=(3,))], seed=0)
    model.compile("sgd", loss)
    with pytest.raises(ValueError, match=r"^fn: expected a function that register_serializable"):
        model.save(tmp_path / "m")
    registry.register_serializable("mine")(fourth)
    registry.register_serializable("mine")(slope_of_fourth)
    try:
        model.save(tmp_path / "m")
        found = lstmfast.load(tmp_path / "m").loss
        assert found.fn is fourth and found.gradient is slope_of_fourth
    finally:
        registry.unregister(fourth), registry.unregister(slope_of_fourth)


def test_gradients_that_are_wrong_are_found():
    y, outputs = np.zeros((3, 2)), np.random.default_rng(0).normal(size=(3, 2))
    wrong = losses.LossFunctionWrapper(fourth, lambda y, p: 4 * (p - y) ** 3)
    with pytest.raises(ValueError, match=r"^gradient: expected one within 1e-05 of differences"):
        losses.check_gradient(wrong, y, outputs)
    for name in ("mse", "huber", "poisson"):
        assert losses.check_gradient(losses.get(name), y + 1, np.abs(outputs) + 2) < 1e-7


@pytest.mark.parametrize(
    ("functions", "text"),
    [
        ([lambda y, p: (y - p) ** 2, lambda y, p: y], r"numbers \(1,\) from fn"),
        ([lambda y, p: p[:, 0], lambda y, p: p[0]], r"numbers \(1, 2\) from gradient"),
        ([lambda y, p: p[:, 0]], r"\(losses, gradient\) from fn"),
    ],
)
def test_functions_that_return_something_else(functions, text):
    loss = losses.LossFunctionWrapper(*functions, name="own")
    with pytest.raises(ValueError, match=f"^own: expected {text}"):
        loss.backward(np.ones((1, 2)), np.ones((1, 2)))


def test_losses_by_hand_of_the_rarer_kinds():
    y, p = np.array([[1.0, 4.0]]), np.array([[2.0, 2.0]])
    assert losses.mape(y, p).tolist() == [(100 + 50) / 2]
    assert losses.hinge([[0, 1]], [[0.5, -2.0]]) == (1.5 + 3) / 2
    assert losses.squared_hinge([[-1, 1]], [[0.5, -2.0]]) == (2.25 + 9) / 2
    assert losses.categorical_hinge([[0, 1, 0]], [[0.5, 2.0, 2.5]]) == 1 + 2.5 - 2
    assert losses.CosineSimilarity()(np.array([[3.0, 4.0]]), np.array([[0.0, 2.0]])) == -0.8
    assert losses.CosineSimilarity()(np.zeros((1, 2)), np.zeros((1, 2))) == 0
    assert losses.log_cosh([[0.0]], [[1000.0]]) == pytest.approx(1000 - np.log(2))
    focal = losses.binary_focal_crossentropy([[1.0]], [[0.5]])
    assert focal == pytest.approx(0.25 * np.log(2), rel=1e-6)


def test_serialized_losses_come_back():
    config = losses.serialize(losses.huber)
    assert type(losses.deserialize(config)) is Huber and losses.deserialize("mse").name
    with pytest.raises(ValueError, match=r"^y_pred: expected an array of numbers"):
        losses.mse([1], "text")
    with pytest.raises(ValueError, match=r"^y: expected numbers of shape \(1, 2\)"):
        losses.mse([[1.0]], [[1.0, 2.0]])


def test_what_cannot_be_registered():
    for call in (
        lambda: registry.register_serializable("a>b"),
        lambda: registry.register_serializable(name=""),
        lambda: registry.register_serializable()(3),
        lambda: registry.register_serializable()(int),
    ):
        with pytest.raises(ValueError, match=r": expected"):
            call()


@pytest.mark.parametrize(
    ("loss", "y", "text"),
    [
        (
            BinaryCrossentropy(),
            [[0, 1.5, 0]] * 2,
            r"targets in \[0, 1\], got targets in \[0",
        ),
        (BinaryCrossentropy(), [[0, np.nan, 0]] * 2, "finite numbers"),
        (BinaryCrossentropy(), [0, 1], r"numbers of shape \(2, 3\)"),
        (KLDivergence(), [0, 1], r"numbers of shape \(2, 3\)"),
        (MeanAbsoluteError(), [0, 1], r"numbers of shape \(2, 3\)"),
        (Quantile(), [0, 1], r"numbers of shape \(2, 3\)"),
        (SparseCategoricalCrossentropy(ignore_class=-1), [-2, -1], r"labels in \[0, 3\)"),
        (SparseCategoricalCrossentropy(ignore_class=-1), [-1], "one target for each row"),
    ],
)
def test_other_targets_that_do_not_fit_are_refused(loss, y, text):
    with pytest.raises(ValueError, match=f"^y: expected {text}"):
        loss(np.array(y), PROBABILITIES)


@pytest.mark.parametrize(
    ("made", "arguments", "text"),
    [
        (MeanSquaredError, {"reduction": "median"}, "reduction: expected one of"),
        (MeanSquaredError, {"dtype": "float32"}, "dtype: expected None"),
        (MeanSquaredError, {"name": 3}, "name: expected a str"),
        (Huber, {"delta": -1}, "delta: expected a finite number >= 0"),
        (Quantile, {"quantile": [0.5, 1.5]}, "quantile: expected a finite number in"),
        (Quantile, {"quantile": []}, "quantile: expected a finite number in"),
        (BinaryCrossentropy, {"axis": 1}, "axis: expected -1"),
        (CategoricalCrossentropy, {"label_smoothing": 1.1}, "label_smoothing: expected"),
        (SparseCategoricalCrossentropy, {"ignore_class": 1.0}, "ignore_class: expected an integer"),
    ],
)
def test_arguments_that_do_not_fit(made, arguments, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        made(**arguments)

"""Metrics: hand-computed values, weights of zero, configs, names, and what is refused."""

import json
import math

import numpy as np
import pytest

from lstmfast import metrics, registry
from lstmfast.arguments import construct
from lstmfast.losses import SparseCategoricalCrossentropy

Y = np.array([0, 2, 1])
P = np.array([[0.5, 0.3, 0.2], [0.4, 0.5, 0.1], [0.2, 0.6, 0.2]])
HOSTILE = [float("nan"), float("inf"), 1j, "1", {}, object(), [10**400], np.array([1, 2]), -1]


def test_values_by_hand():
    assert metrics.SparseCategoricalAccuracy()(Y, P) == 2 / 3
    assert metrics.CategoricalAccuracy()(np.eye(3)[Y], P, [1, 2, 1]) == 2 / 4
    assert metrics.SparseTopKCategoricalAccuracy(2)(Y, P) == 2 / 3
    assert metrics.TopKCategoricalAccuracy(3)(np.eye(3)[Y], P) == 1
    assert metrics.BinaryAccuracy()([1, 0, 1, 1], [0.6, 0.5, 0.5, 0.9]) == 3 / 4
    assert metrics.Accuracy()([1, 2], [1, 3]) == 1 / 2
    assert metrics.RootMeanSquaredError()([[0.0, 0.0]], [[3.0, 1.0]]) == math.sqrt(5)
    assert metrics.MeanAbsolutePercentageError()([[2.0], [4.0]], [[1.0], [5.0]]) == 37.5
    y, p = [1, 0, 1, 0], [0.9, 0.8, 0.3, 0.1]
    assert metrics.Precision()(y, p) == 1 / 2
    assert metrics.Recall()(y, p) == 1 / 2
    assert metrics.Recall()([1, 1], [0.5, 0.6]) == 1 / 2  # above the threshold, not at it
    assert metrics.Recall([0.2, 0.95])(y, p).tolist() == [1, 0]
    assert metrics.AUC()(y, p) == pytest.approx(3 / 4)  # pairs in the right order
    assert metrics.F1Score("micro", 0.5)(np.array(y)[:, None], np.array(p)[:, None]) == (
        pytest.approx(0.5, rel=1e-6)
    )


def test_perplexity():
    expected = math.exp(-(math.log(0.5) + math.log(0.1) + math.log(0.6)) / 3)
    assert metrics.Perplexity()(Y, P) == pytest.approx(expected, rel=1e-12)
    logits = metrics.Perplexity(from_logits=True)
    for row in range(3):  # each row counts the same, in batches of any size
        found = logits(Y[row : row + 1], np.log(P[row : row + 1]))
    assert found == pytest.approx(expected, rel=1e-12)
    ignoring = metrics.Perplexity(ignore_class=-1)
    assert ignoring([0, -1], P[:2]) == pytest.approx(2, rel=1e-12)
    assert ignoring([2], P[1:2], [0.0]) == pytest.approx(2, rel=1e-12)
    ignoring.reset_state()
    assert ignoring.result() == 0


@pytest.mark.parametrize("name", sorted(set(metrics.CLASSES) - {"Mean", "MeanMetricWrapper"}))
def test_what_has_weight_zero_counts_nothing_even_if_it_is_nan(name):
    """Rows of NaN, of labels that are no classes: as if they had not been."""
    rng = np.random.default_rng(0)
    labels = "Sparse" in name or name == "Perplexity"
    y = rng.integers(0, 3, 8) if labels else rng.integers(0, 2, (8, 3)).astype(float)
    p, weights = rng.random((8, 3)), rng.uniform(0.5, 2, 8)
    expected, found = metrics.CLASSES[name](), metrics.CLASSES[name]()
    expected.update_state(y[:6], p[:6], weights[:6])
    y[6:], p[6:], weights[6:] = (-5 if labels else np.nan), np.nan, 0
    with np.errstate(all="raise"):
        found.update_state(y, p, weights)
    np.testing.assert_allclose(found.result(), expected.result(), rtol=1e-12)
    found.reset_state()
    found.update_state(y, p, np.zeros(8))
    assert np.all(found.result() == 0)


def test_masks_become_weights():
    mask = np.array([[True, False], [True, True]])
    assert metrics.masked(None, None) is None
    assert metrics.masked(None, mask).tolist() == [[1, 0], [1, 1]]
    assert metrics.masked([2.0, 3.0], mask).tolist() == [[2, 0], [3, 3]]
    assert metrics.masked([[1, np.nan], [3, 4]], mask).tolist() == [[1, 0], [3, 4]]
    assert metrics.masked([2, 3], [True, False], (2, 2)).tolist() == [[2, 2], [0, 0]]
    with pytest.raises(ValueError, match=r"^mask: expected an array of bool, got dtype float64"):
        metrics.masked(None, np.ones(2))


def test_scores_do_where_only_their_order_counts():
    y, logits = (
        np.random.default_rng(0).integers(0, 4, 9),
        np.random.default_rng(1).normal(size=(9, 4)),
    )
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for made in metrics.CLASSES.values():
        if made.takes_scores:
            targets = y if "Sparse" in made.__name__ else np.eye(4)[y]
            arguments = {"k": 2} if "TopK" in made.__name__ else {}
            scores = [made(**arguments)(targets, outputs) for outputs in (logits, probabilities)]
            assert scores[0] == scores[1]
    assert not metrics.AUC.takes_scores and not metrics.BinaryAccuracy.takes_scores


@pytest.mark.parametrize("name", sorted(set(metrics.CLASSES) - {"MeanMetricWrapper"}))
def test_configs_make_twins(name):
    made = metrics.CLASSES[name]
    other = {"BinaryAccuracy": {"threshold": 0.3}, "AUC": {"num_thresholds": 5, "curve": "pr"},
             "Precision": {"thresholds": [0.7, 0.3], "top_k": 2}, "F1Score": {"average": "micro"},
             "FBetaScore": {"beta": 2, "threshold": 0.5}, "Perplexity": {"ignore_class": 3},
             "TopKCategoricalAccuracy": {"k": 3}}.get(name, {})  # fmt: skip
    for arguments in ({}, other, {"name": "mine"}):
        one = made(**arguments)
        config = json.loads(json.dumps(one.get_config()))
        twin = metrics.get(config)
        assert type(twin) is made and twin.get_config() == config and twin.name == one.name
        assert all(getattr(twin, key) == getattr(one, key) for key in arguments)


def test_functions():
    def near(y_true, y_pred, distance=1.0):
        return np.abs(y_true - y_pred) <= distance

    made = metrics.get(near)
    assert made.name == "near" and made([1, 2], [1.5, 4]) == 0.5
    with pytest.raises(ValueError, match=r"^fn: expected a function that register_serializable"):
        made.get_config()
    registry.register_serializable("mine")(near)
    try:
        made = metrics.MeanMetricWrapper(near, distance=3)
        config = json.loads(json.dumps(made.get_config()))
        twin = metrics.get(config)
        assert twin.fn is near and twin([1, 2], [1.5, 4]) == 1 and twin.get_config() == config
        assert metrics.get("mine>near").name == "near"
    finally:
        registry.unregister(near)
    with pytest.raises(ValueError, match=r"^odd: expected numbers for 2 samples from the func"):
        metrics.MeanMetricWrapper(lambda y, p: np.zeros(3), "odd")([1, 2], [1, 2])


def test_a_class_of_ones_own_is_known_when_registered():
    class Largest(metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            self.most = max(self.most, float(np.max(y_pred)))

        def result(self):
            return self.most

        def reset_state(self):
            self.most = 0.0

    assert metrics.get(Largest()).name == "largest"
    with pytest.raises(ValueError, match=r"^metrics: class: expected one of"):
        metrics.get(Largest().get_config())
    registry.register_serializable("mine")(Largest)
    try:
        assert Largest().get_config() == {"class": "mine>Largest"}
        assert type(metrics.get({"class": "mine>Largest"})) is Largest
        assert type(metrics.get("mine>Largest")) is Largest
        assert "mine>Largest" in metrics.CLASSES and len(metrics.CLASSES) == len(metrics.OWN) + 1
    finally:
        registry.unregister(Largest)
    assert "mine>Largest" not in metrics.CLASSES


def test_names():
    for name, made in {
        "mse": metrics.MeanSquaredError, "rmse": metrics.RootMeanSquaredError,
        "f1_score": metrics.F1Score, "AUC": metrics.AUC, "Perplexity": metrics.Perplexity,
        "sparse_top_k_categorical_accuracy": metrics.SparseTopKCategoricalAccuracy,
        "accuracy": metrics.Accuracy,
    }.items():  # fmt: skip
        assert type(metrics.get(name)) is made and metrics.get(name).name == name
    loss = SparseCategoricalCrossentropy()
    found = metrics.get("acc", loss, (None, 3))
    assert type(found) is metrics.SparseCategoricalAccuracy and found.name == "acc"


@pytest.mark.parametrize("bad", ["f2", "", None, 3, {}, {"class": "F2"}, metrics.AUC, "mean", b"a"])
def test_what_is_no_metric_is_refused(bad):
    with pytest.raises(ValueError, match=r"^metrics: (class: )?expected"):
        metrics.get(bad)


@pytest.mark.parametrize(
    ("made", "arguments", "text"),
    [
        (metrics.AUC, {"num_thresholds": 1}, "num_thresholds: expected an integer >= 2"),
        (metrics.AUC, {"curve": "PRGAIN"}, "curve: expected one of 'ROC', 'PR'"),
        (metrics.AUC, {"multi_label": True}, "multi_label: expected False"),
        (metrics.AUC, {"label_weights": [1.0]}, "label_weights: expected None"),
        (metrics.AUC, {"thresholds": 0.5}, "thresholds: expected a list"),
        (metrics.Precision, {"thresholds": [0.5, 2]}, r"thresholds: expected .* in \[0.0, 1.0\]"),
        (metrics.Precision, {"thresholds": []}, "thresholds: expected one or more"),
        (metrics.F1Score, {"average": "all"}, "average: expected one of None, 'micro'"),
        (metrics.F1Score, {"threshold": 0.0}, "threshold: expected"),
        (metrics.SparseTopKCategoricalAccuracy, {"from_sorted_ids": True}, "from_sorted_ids: exp"),
        (metrics.TopKCategoricalAccuracy, {"k": 0}, "k: expected an integer >= 1"),
        (metrics.Mean, {"dtype": "float32"}, "dtype: expected None"),
        (metrics.Mean, {"name": 3}, "name: expected a str"),
        (metrics.MeanMetricWrapper, {"fn": "near"}, "fn: expected a function"),
    ],
)
def test_arguments_that_do_not_fit(made, arguments, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        made(**arguments)


@pytest.mark.parametrize("name", metrics.CLASSES)
def test_constructors_refuse_what_is_no_number_of_theirs(name):
    made = metrics.CLASSES[name]
    for key in made().get_config() if name != "MeanMetricWrapper" else ["fn"]:
        for value in HOSTILE if key != "class" else ():
            if not (name == "BinaryAccuracy" and value is HOSTILE[-1]):
                with pytest.raises(ValueError):
                    made(**{key: value})


@pytest.mark.parametrize(
    ("metric", "y", "p", "weights", "text"),
    [
        (
            metrics.MeanSquaredError(),
            [1.0, 2],
            [[1.0, 2]],
            None,
            r"y_true: expected shape \(1, 2\)",
        ),
        (
            metrics.SparseCategoricalAccuracy(),
            [1],
            P,
            None,
            r"y_true: expected labels of shape \(3",
        ),
        (metrics.CategoricalAccuracy(), Y, P, None, r"y_true: expected shape \(3, 3\) as"),
        (metrics.Accuracy(), Y, Y, [1, 2], r"sample_weight: expected shape \(3,\), got \(2,\)"),
        (metrics.Accuracy(), Y, Y, [1, 2, np.nan], "sample_weight: expected finite numbers"),
        (metrics.Accuracy(), Y, Y, ["a"] * 3, "sample_weight: expected numbers"),
        (metrics.Accuracy(), ["a"], [1], None, "y_true: expected an array of numbers"),
        (metrics.Accuracy(), [1], None, None, "y_pred: expected an array of numbers"),
        (metrics.AUC(), [1, 0], [1.5, 0], None, r"y_pred: expected probabilities in \[0, 1\]"),
        (metrics.Precision(class_id=3), P, P, None, "y_pred: expected outputs of more than 3"),
        (metrics.F1Score(), Y, Y, None, r"y_pred: expected \(B, ..., N\), got \(3,\)"),
        (metrics.Perplexity(), [3, 0, 0], P, None, r"y: expected labels in \[0, 3\)"),
    ],
)
def test_data_that_do_not_fit_change_nothing(metric, y, p, weights, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        metric.update_state(y, p, weights)
    assert np.all(metric.result() == 0)


def test_construct_takes_further_arguments_only_where_a_class_does():
    with pytest.raises(ValueError, match=r"^metrics: AUC has no argument \"?\['x'\]"):
        metrics.get({"class": "AUC", "x": 1})
    with pytest.raises(ValueError, match=r"^metrics: MeanMetricWrapper has no argument"):
        construct("metrics", {"class": "MeanMetricWrapper", "fn": abs, 3: 1}, metrics.CLASSES)


def test_crossentropy_is_that_which_fits():
    for shape, y_shape, made in (
        ((None, 1), (None, 1), metrics.BinaryCrossentropy),
        ((None, 3), (None, 3), metrics.CategoricalCrossentropy),
        ((None, 3), (None,), metrics.SparseCategoricalCrossentropy),
    ):
        found = metrics.get("crossentropy", None, shape, y_shape)
        assert type(found) is made and found.name == "crossentropy"
    with pytest.raises(ValueError, match=r"^metrics: expected one of"):
        metrics.get("ce")


def test_losses_as_metrics():
    """A function of `losses` is a metric, in files by its name; classes are those of Keras."""
    y, p = np.array([[0.0, 1.0]]), np.array([[0.5, 2.0]])
    metric = metrics.get(metrics.mean_absolute_error)
    assert metric(y, p) == 0.75 and metric.name == "mean_absolute_error"
    assert metrics.get(json.loads(json.dumps(metric.get_config())))(y, p) == 0.75
    assert metrics.CosineSimilarity()(y, p) == pytest.approx(2 / np.sqrt(4.25), rel=1e-12)
    assert metrics.LogCoshError().name == "logcosh"
    assert type(metrics.deserialize(metrics.serialize("kld"))) is metrics.KLDivergence
    for name in ("mape", "msle", "poisson", "hinge", "KLD", "logcosh", "bce"):
        assert metrics.get(name).name == name

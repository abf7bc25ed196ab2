"""Whole Models in the simulator, against those on the CPU: masks, weights, graphs, walks."""

import numpy as np
import pytest
from layer_cases import ROW_LOSSES

from lstmfast import LSTM, SGD, Adam, Dense, Embedding, Input, Model, losses, metrics
from lstmfast.cuda.runtime.array import from_host
from lstmfast.layers import (
    Add,
    Attention,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Dropout,
    GlobalAveragePooling1D,
    LayerNormalization,
    Masking,
)

N, T = 4, 3
BOUND = {"float32": 3e-6, "float64": 1e-12}
IDS = np.array([[1, 2, 0], [3, 0, 0], [4, 0, 1], [2, 2, 2]])


def rng():
    return np.random.default_rng(7)


def steps(*shape):
    return rng().normal(size=shape or (N, T, 2))


def seen(model, x, y, told=None, fit=None):
    """All numbers that a Model gives: of training, evaluation, prediction, its weights."""
    told, fit = told or {}, fit or {}
    history = model.fit(x, y, batch_size=3, epochs=1, verbose=0, **told, **fit).history
    found = [np.array(values) for values in history.values()]
    found.append(np.ravel(model.evaluate(x, y, **told)))
    outputs = model.predict(x, **{k: v for k, v in told.items() if k != "sample_weight"})
    return [*found, *(outputs if isinstance(outputs, list) else [outputs]), *model.get_weights()]


def assert_same(make, x, y, loss, dtype="float32", told=None, fit=None, **compiled):
    results = []
    for device in ("cpu", "cuda"):
        model = make(device, dtype)
        model.compile(SGD(0.1, momentum=0.5), loss, **compiled)
        results.append(seen(model, x, y, told, fit))
    for got, wanted in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=BOUND[dtype], atol=BOUND[dtype])


def chain(*layers):
    return lambda device, dtype: Model(
        [one() for one in layers], seed=3, device=device, dtype=dtype
    )


WORDS = lambda: Embedding(5, 2, mask_zero=True)  # noqa: E731
EVERY = lambda: LSTM(2, return_sequences=True)  # noqa: E731
LAST = lambda: LSTM(2)  # noqa: E731
SHARES = lambda: Dense(3, "softmax")  # noqa: E731
LABELS = np.array([[0, 1, 2], [2, 1, 0], [1, 1, 0], [0, 2, 2]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masked_ids(dtype):
    make = chain(WORDS, EVERY, SHARES)
    assert_same(make, IDS, LABELS, "sparse_categorical_crossentropy", dtype, metrics=["accuracy"])


def test_masked_ids_both_ways():
    make = chain(WORDS, lambda: Bidirectional(LSTM(2)), SHARES)
    assert_same(make, IDS, LABELS[:, 0], "sparse_categorical_crossentropy")


def test_masked_steps_may_hold_anything():
    x, y = steps(), np.eye(3)[LABELS]
    x[1, 1:] = x[2, 0] = 0
    y[1, 1:], y[2, 0] = np.nan, 1e30
    make = chain(Masking, EVERY, SHARES)
    assert_same(make, x, y, losses.CategoricalCrossentropy(label_smoothing=0.1))


TOLD = {
    "lengths": {"lengths": [1, 3, 2, 3]},
    "mask": {"mask": rng().random((N, T)) > 0.4},
    "sample weights": {"sample_weight": np.array([0.0, 1.0, 2.0, 0.5])},
    "weights of steps": {"sample_weight": rng().random((N, T)), "lengths": [2, 3, 1, 3]},
}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy"])
def test_lengths_masks_and_weights(loss, told):
    last = lambda: Dense(2, "sigmoid" if "binary" in loss else "linear")  # noqa: E731
    y = (steps() > 0).astype(float)
    assert_same(chain(EVERY, last), steps(), y, loss, told=told, metrics=["mae"],
                weighted_metrics=["mse"])  # fmt: skip


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
def test_reductions(reduction):
    for told in ({}, TOLD["sample weights"], TOLD["weights of steps"]):
        loss = losses.MeanSquaredError(reduction=reduction)
        assert_same(chain(EVERY, lambda: Dense(2)), steps(), steps(), loss, told=told)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("loss", "last"), ROW_LOSSES, ids=lambda v: getattr(v, "name", v))
def test_losses_of_rows(loss, last, dtype):
    """Forward and back, from outputs that no last layer made."""
    outputs = steps(6, 3).astype(dtype)
    outputs = {"tanh": np.abs(outputs) / 3, "relu": np.abs(outputs)}.get(last, outputs)
    y = (steps(6, 3) > 0).astype(dtype)
    loss = loss.behind(None)
    for weights in (None, np.array([0, 1, 2, 0.5, 1, 3])):
        wanted, slope = loss.backward(outputs, y, weights)
        found, got = loss.backward(from_host(outputs), from_host(y), weights)
        np.testing.assert_allclose(found.mean, wanted.mean, rtol=BOUND[dtype])
        np.testing.assert_allclose(got.copy_to_host(), slope, rtol=BOUND[dtype], atol=BOUND[dtype])
        assert loss.forward(from_host(outputs), from_host(y), weights).mean == found.mean


def test_classes():
    """Class weights, a class that is ignored, and metrics that look at outputs."""
    told = {"class_weight": {0: 2.0, 2: 0.5}}
    assert_same(chain(LAST, SHARES), steps(), LABELS[:, 0], "sparse_categorical_crossentropy",
                fit=told,
                metrics=["accuracy", metrics.SparseTopKCategoricalAccuracy(2)])  # fmt: skip
    loss = losses.SparseCategoricalCrossentropy(ignore_class=1)
    assert_same(chain(EVERY, SHARES), steps(), LABELS, loss, metrics=["accuracy"])


def graph(device, dtype):
    """Two inputs, two outputs, a shared layer, masks, noise, statistics."""
    words, numbers = Input((T,), dtype="int32", name="words"), Input((T, 2), name="numbers")
    read = Embedding(5, 4, mask_zero=True, name="read")(words)
    both = Bidirectional(LSTM(2, return_sequences=True, dropout=0.3), name="both")
    a = both(read)
    b = both(Dense(4, "tanh", name="widen")(numbers))
    joined = LayerNormalization(name="norm")(Add(name="add")([a, b]))
    joined = Dropout(0.3, name="drop")(joined)
    looked = Attention(name="look")([joined, BatchNormalization(name="batch")(b)])
    pooled = GlobalAveragePooling1D(name="pool")(joined)
    every = Dense(3, "softmax", name="every")(Concatenate(name="side")([joined, looked]))
    one = Dense(1, "sigmoid", name="one")(pooled)
    return Model([words, numbers], [every, one], seed=3, device=device, dtype=dtype)


def graph_data():
    return [IDS[:2], steps(2, T, 2)], [LABELS[:2], np.array([[0.0], [1]])]


GRAPH_LOSS = {"every": "sparse_categorical_crossentropy", "one": "binary_crossentropy"}


def test_a_graph_of_several_inputs_and_outputs():
    shares, measured = {"every": 0.5, "one": 2.0}, {"every": ["accuracy"], "one": ["mae"]}
    assert_same(graph, *graph_data(), GRAPH_LOSS, "float64", loss_weights=shares, metrics=measured)


def test_a_walk_from_one_place_to_the_other():
    """What is done on one device goes on on the other, whichever comes when."""
    x, y = IDS, LABELS[:, 0]
    make = chain(WORDS, lambda: Bidirectional(LSTM(2, dropout=0.4)), lambda: Dropout(0.3), SHARES)
    models = [make("cpu", "float64"), make("cuda", "float64")]
    for model in models:
        optimizer = Adam(0.01, amsgrad=True, weight_decay=0.01, use_ema=True)
        model.compile(optimizer, "sparse_categorical_crossentropy")
    chance = np.random.default_rng(1)
    actions = ["fit", "to", "evaluate", "predict", "train_on_batch"]
    for action in ["fit", "to", *chance.choice(actions, 3)]:
        found = []
        for model in models:
            if action == "to":
                model.to("cuda" if model.device == "cpu" else "cpu")
            elif action == "fit":
                found.append([np.array(model.fit(x, y, verbose=0).history["loss"])])
            elif action == "predict":
                found.append([model.predict(x)])
            else:
                found.append([np.ravel(getattr(model, action)(x, y))])
        for got, wanted in zip(*(found or [[], []]), strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-9)
    for got, wanted in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-9)  # Adam divides by roots of tiny sums


def test_a_saved_model_goes_on_on_a_gpu(tmp_path):
    from lstmfast import load

    x, y = IDS, steps()
    model = chain(WORDS, LayerNormalization, lambda: LSTM(2, return_sequences=True))(
        "cuda", "float32"
    )
    model.compile("rmsprop", "mse")
    model.fit(x, y, 2, verbose=0)
    model.save(tmp_path / "graph")
    again = load(tmp_path / "graph").to("cuda")
    assert again.optimizer.iterations == 2
    assert again.train_on_batch(x, y) == model.train_on_batch(x, y)


def test_labels_out_of_range_behind_a_mask_end_training():
    """Nobody waits to look at them: the loss becomes NaN, unless they are masked."""
    from lstmfast.model.diverging import TrainingError

    labels = LABELS.copy()
    labels[0, 2] = 9  # masked
    model = chain(WORDS, EVERY, SHARES)("cuda", "float32")
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(model.fit(IDS, labels, verbose=0).history["loss"][0])
    labels[0, 1] = 9
    with pytest.raises(TrainingError):
        model.fit(IDS, labels, verbose=0)


def test_a_model_within_a_model():
    x, y = IDS[:2], LABELS[:2]
    results = []
    for device in ("cpu", "cuda"):
        inner = Model([Embedding(5, 2, mask_zero=True), LSTM(2, return_sequences=True)], seed=3)
        model = Model([inner, Dense(3, "softmax")], seed=3, dtype="float32", device=device)
        model.compile("sgd", "sparse_categorical_crossentropy")
        results.append([model.train_on_batch(x, y), model.predict(x), inner.predict(x)])
        assert inner.device == device
    for got, wanted in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)

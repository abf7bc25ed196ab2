"""Model: gradients of the whole, the loop of fit, Keras's bookkeeping, and what is refused."""

import re

import numpy as np
import pytest
from agreement import assert_all_equal, difference_quotient

from lstmfast.cuda.runtime import device as cuda_device
from lstmfast.layers import LSTM, Dense, Embedding
from lstmfast.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy
from lstmfast.model import Model
from lstmfast.optimizers import SGD, Adam

GRADIENT_BAR = 1e-9  # measured: 5e-11
SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"
V = 7  # vocabulary


def article(sequences=False, activation="softmax", **arguments):
    """Return a small Embedding, LSTM, Dense."""
    arguments = {"seed": 0, **arguments}
    return Model(
        [Embedding(V, 3), LSTM(4, return_sequences=sequences), Dense(V, activation)], **arguments
    )


def compiled(loss=SPARSE, optimizer="adam", metrics=None, **arguments):
    """Return the small model, compiled."""
    model = article(**arguments)
    model.compile(optimizer, loss, metrics)
    return model


def data(samples=20, time=5, sequences=False, seed=0):
    """Return ids and the labels (x + 1) % V of the last or of every step."""
    x = np.random.default_rng(seed).integers(0, V, (samples, time))
    y = (x + 1) % V
    return x, y if sequences else y[:, -1]


# ---------------------------------------------------------------- gradients

LOSSES = {
    "sparse": ("softmax", SPARSE),
    "categorical": ("softmax", CATEGORICAL),
    "sparse, logits": (None, SparseCategoricalCrossentropy(from_logits=True)),
    "categorical, logits": (None, CategoricalCrossentropy(from_logits=True)),
    "sparse, logits of tanh": ("tanh", SparseCategoricalCrossentropy(from_logits=True)),
    "squared": (None, "mse"),
    "squared, softmax": ("softmax", "mse"),
    "squared, relu": ("relu", "mse"),
}


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_the_whole_model(name, sequences):
    activation, loss = LOSSES[name]
    model = compiled(loss, sequences=sequences, activation=activation, dtype="float64")
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    x, y = data(3, 4, sequences)
    y = y if name.startswith("sparse") else np.eye(V)[y]
    found, grads = model.gradients(x, y)
    assert found == model.evaluate(x, y)
    for param, grad in zip(model.params, grads, strict=True):
        expected = difference_quotient(lambda: model.evaluate(x, y), param)
        np.testing.assert_allclose(grad, expected, rtol=0, atol=GRADIENT_BAR)
        assert np.abs(expected).max() > 1e-4


def test_gradients_when_the_lstm_comes_last():
    """The loss must not overwrite what the LSTM's cache still needs."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3, 4, 2)), rng.integers(0, 5, (3, 4))
    for loss, targets in (
        (SparseCategoricalCrossentropy(from_logits=True), y),
        ("mse", rng.normal(size=(3, 4, 5))),
    ):
        lstms = [LSTM(3, return_sequences=True), LSTM(5, return_sequences=True)]
        model = Model(lstms, dtype="float64", seed=0)
        model.compile("sgd", loss)
        _, grads = model.gradients(x, targets)
        for param, grad in zip(model.params, grads, strict=True):
            expected = difference_quotient(lambda: model.evaluate(x, targets), param)  # noqa: B023
            np.testing.assert_allclose(grad, expected, rtol=0, atol=GRADIENT_BAR)


def test_softmax_with_crossentropy_is_the_same_as_from_logits():
    x, y = data()
    probabilities = compiled(SPARSE)
    logits = compiled(SparseCategoricalCrossentropy(from_logits=True), activation=None)
    assert_all_equal(probabilities.get_weights(), logits.get_weights())
    assert probabilities.train_on_batch(x, y) == logits.train_on_batch(x, y)
    assert_all_equal(probabilities.get_weights(), logits.get_weights())
    direct = SparseCategoricalCrossentropy()(y, probabilities.predict(x))
    assert probabilities.evaluate(x, y) == pytest.approx(direct, rel=1e-6)


# ---------------------------------------------------------------- the loop


@pytest.mark.parametrize("sequences", [False, True])
def test_fit_learns_the_successor(sequences):
    x, y = data(200, 4, sequences)
    model = compiled(SPARSE, Adam(0.02), ["accuracy"], sequences=sequences)
    history = model.fit(x, y, epochs=20, verbose=0)
    assert history.epoch == list(range(20))
    assert history.history["loss"][0] > 1.5 and history.history["loss"][-1] < 0.2
    assert history.history["accuracy"][-1] > 0.98
    assert model.evaluate(x, y)[1] > 0.98
    assert np.mean(model.predict(x).argmax(-1) == y) > 0.98


def test_fit_without_shuffle_is_train_on_batch_in_a_row():
    x, y = data(20)
    model, twin = compiled(metrics=["accuracy"]), compiled(metrics=["accuracy"])
    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
    found = [twin.train_on_batch(x[at : at + 8], y[at : at + 8]) for at in (0, 8, 16)]
    assert_all_equal(model.get_weights(), twin.get_weights())
    weighed = np.average(found, axis=0, weights=[8, 8, 4])
    assert history == {
        "loss": [pytest.approx(weighed[0])], "accuracy": [pytest.approx(weighed[1])]
    }  # fmt: skip


def test_a_loop_of_ones_own_is_fit():
    x, y = data(16)
    model, twin, optimizer = compiled(), compiled(), Adam()
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for at in (0, 8):
        _, grads = twin.gradients(x[at : at + 8], y[at : at + 8])
        optimizer.apply(twin.params, grads)
    assert_all_equal(model.get_weights(), twin.get_weights())


def test_a_seed_decides_every_bit_at_any_number_of_threads(threads):
    x, y = data(50)
    weights = []
    for count, seed in ((1, 3), (2, 3), (3, 3), (1, 4)):
        threads(count)
        model = compiled(seed=seed)
        model.fit(x, y, epochs=2, verbose=0)
        weights.append(model.get_weights())
    assert_all_equal(weights[0], weights[1])
    assert_all_equal(weights[0], weights[2])
    assert not np.array_equal(weights[0][0], weights[3][0])


def test_shuffling_visits_every_sample_once():
    """One step of rate 1/2 on the squared error of one-hot inputs learns that sample alone."""
    model = Model([Dense(1, use_bias=False, kernel_initializer="zeros")], seed=0, dtype="float64")
    model.compile(SGD(0.5), "mse")
    model.fit(np.eye(12), np.arange(12.0), batch_size=1, verbose=0)
    np.testing.assert_array_equal(model.params[0][:, 0], np.arange(12.0))


def test_each_epoch_has_an_order_of_its_own_from_the_models_generator():
    x, y = data(20)
    model, twin = compiled(), compiled()
    model.fit(x, y, batch_size=5, epochs=2, verbose=0)
    orders = [twin.rng.permutation(20) for _ in range(2)]
    assert not np.array_equal(orders[0], orders[1])
    for order in orders:
        twin.fit(x[order], y[order], batch_size=5, shuffle=False, verbose=0)
    assert_all_equal(model.get_weights(), twin.get_weights())


def test_validation_split_keeps_the_last_samples_out():
    x, y = data(20)
    model, twin = compiled(metrics=["accuracy"]), compiled(metrics=["accuracy"])
    history = model.fit(x, y, validation_split=0.3, epochs=2, verbose=0).history
    expected = twin.fit(x[:14], y[:14], validation_data=(x[14:], y[14:]), epochs=2, verbose=0)
    assert_all_equal(model.get_weights(), twin.get_weights())
    assert history == expected.history
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert [history["val_loss"][-1], history["val_accuracy"][-1]] == model.evaluate(x[14:], y[14:])


def test_initial_epoch_counts_on():
    x, y = data()
    model, twin = compiled(), compiled()
    model.fit(x, y, epochs=3, verbose=0)
    twin.fit(x, y, epochs=1, verbose=0)
    history = twin.fit(x, y, epochs=3, initial_epoch=1, verbose=0)
    assert history.epoch == [1, 2] and len(history.history["loss"]) == 2
    assert_all_equal(model.get_weights(), twin.get_weights())
    assert twin.fit(x, y, epochs=3, initial_epoch=3, verbose=0).epoch == []


def test_evaluate_weighs_batches_by_their_rows():
    x, y = data(20, sequences=True)
    model = compiled(sequences=True, metrics=["accuracy"])
    assert model.evaluate(x, y, batch_size=7) == pytest.approx(model.evaluate(x, y, 20), rel=1e-6)
    model.compile("sgd", SPARSE)
    assert isinstance(model.evaluate(x, y), float)


def test_accuracy_counts_for_one_hot_targets_too():
    x, y = data()
    sparse = compiled(SPARSE, metrics=["sparse_categorical_accuracy"])
    dense = compiled(CATEGORICAL, metrics=["categorical_accuracy", "acc"])
    accuracy = np.mean(sparse.predict(x).argmax(-1) == y)
    assert sparse.evaluate(x, y)[1] == accuracy
    assert dense.evaluate(x, np.eye(V, dtype=int)[y])[1:] == [accuracy, accuracy]
    assert list(dense.fit(x, np.eye(V)[y], verbose=0).history) == [
        "loss", "categorical_accuracy", "acc",
    ]  # fmt: skip


def test_predict_is_the_same_in_any_batches():
    x, _ = data(11)
    model = article()
    outputs = model.predict(x, batch_size=4)
    assert outputs.shape == (11, V) and outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, model.predict(x, batch_size=11), rtol=0, atol=1e-6)
    np.testing.assert_allclose(outputs.sum(-1), 1, rtol=1e-6)


def test_inputs_may_have_any_dtype_and_strides():
    model = Model([LSTM(4)], seed=0)
    x = np.random.default_rng(0).integers(-3, 3, (6, 5, 3))
    expected = model.predict(x.astype(np.float32))
    for other in (x, x.astype(np.float64), x.astype(np.float16), x.tolist()):
        np.testing.assert_array_equal(model.predict(other), expected)
    turned = np.asfortranarray(x.astype(np.float32))
    np.testing.assert_array_equal(model.predict(turned), expected)
    ids, words = data()[0], article()
    for other in (ids.astype(np.uint8), ids.astype(np.int32), np.asfortranarray(ids)):
        np.testing.assert_array_equal(words.predict(other), words.predict(ids))


def test_fit_does_not_change_the_data():
    x, y = np.random.default_rng(0).normal(size=(8, 5, 3)), np.ones((8, 4))
    for array in (x, y):
        array.flags.writeable = False
    model = Model([LSTM(4)], seed=0)
    model.compile("adam", "mse")
    before = x.copy(), y.copy()
    model.fit(x, y, verbose=0, batch_size=8, shuffle=False)
    assert_all_equal((x, y), before)


def test_stateful_batches_go_on_row_by_row():
    x = np.random.default_rng(0).normal(size=(2, 6, 3))
    y = np.random.default_rng(1).normal(size=(2, 6, 4))
    layers = [LSTM(4, return_sequences=True, stateful=stateful) for stateful in (False, True)]
    plain, stateful = (Model([layer], seed=0) for layer in layers)
    parts = [stateful.predict(x[:, at : at + 3]) for at in (0, 3)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), plain.predict(x))
    stateful.reset_state()
    np.testing.assert_array_equal(stateful.predict(x[:, :3]), parts[0])
    stateful.reset_state()
    stateful.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"^shuffle: expected False for a model with stateful"):
        stateful.fit(x, y, verbose=0)
    odd = [np.concatenate([array, array[:1]]) for array in (x, y)]
    with pytest.raises(ValueError, match="x: expected a multiple of batch_size 2"):
        stateful.fit(*odd, batch_size=2, shuffle=False, verbose=0)
    assert stateful.layers[0].state is None
    stateful.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    assert stateful.layers[0].state is not None


# ---------------------------------------------------------------- what is printed


def test_summary_lists_layers_shapes_and_counts():
    lines = []
    article().summary(print_fn=lines.append)
    assert [line.split() for line in lines] == [
        ["Model:", "model"],
        ["Layer", "(type)", "Output", "shape", "Parameters"],
        ["embedding", "(Embedding)", "(None,", "None,", "3)", "21"],
        ["lstm", "(LSTM)", "(None,", "4)", "128"],
        ["dense", "(Dense)", "(None,", "7)", "35"],
        ["Total", "parameters:", "184"],
    ]


def test_verbose_decides_where_the_progress_goes(capsys):
    x, y = data()
    model = compiled()
    model.fit(x, y, epochs=2, verbose=0)
    model.evaluate(x, y)
    model.predict(x)
    assert capsys.readouterr() == ("", "")
    model.fit(x, y, epochs=2, verbose=2)
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("Epoch 1/2 - ") and " - loss: " in second and not err
    model.fit(x, y, verbose=1, validation_split=0.5)
    out, err = capsys.readouterr()
    assert not out and re.fullmatch(r"Epoch 1/1 - .*s - loss: .* - val_loss: [0-9.]+\n", err)
    model.evaluate(x, y, verbose=1)
    model.predict(x, verbose=2)
    out, err = capsys.readouterr()
    assert out.startswith("Predict - ") and "Evaluate" in err


# ---------------------------------------------------------------- building


def test_weights_exist_as_soon_as_they_can():
    assert article().built
    assert Model([LSTM(4, input_shape=(None, 3)), Dense(2)]).count_params() == 4 * 4 * 8 + 10
    model = Model([LSTM(4), Dense(2)], seed=0, name="late")
    for use in (model.get_weights, lambda: model.params, model.summary, model.count_params):
        with pytest.raises(ValueError, match=r"^late: is not built"):
            use()
    model.build((None, None, 3))
    by_data = Model([LSTM(4), Dense(2)], seed=0)
    by_data.predict(np.zeros((1, 5, 3)))
    assert_all_equal(model.get_weights(), by_data.get_weights())
    with pytest.raises(ValueError, match=r"^x: expected \(B, T, 3\), got \(1, 5, 4\)"):
        model.predict(np.zeros((1, 5, 4)))


def test_a_build_that_fails_builds_nothing():
    layers = [Dense(4), LSTM(4)]
    model = Model(layers)
    with pytest.raises(ValueError, match=r"^lstm: x: expected \(B, T, I\), got \(None, 4\)"):
        model.build((None, 3))
    assert not any(layer.built for layer in layers) and not model.built


def test_a_built_layer_keeps_its_weights():
    embedding = Embedding(V, 3)
    embedding(np.array([1, 2]))
    table = embedding.get_weights()[0]
    model = Model([embedding, LSTM(4)])
    np.testing.assert_array_equal(model.get_weights()[0], table)
    with pytest.raises(ValueError, match=r"^embedding: expected dtype float64, got float32"):
        Model([embedding, LSTM(4)], dtype="float64")


def test_names_are_unique():
    model = Model([LSTM(2, return_sequences=True), LSTM(2, name="lstm_1"), Dense(2), Dense(2)])
    assert [layer.name for layer in model.layers] == ["lstm", "lstm_1", "dense", "dense_1"]
    three = Model([Dense(2), Dense(2, name="dense"), Dense(2)])
    assert [layer.name for layer in three.layers] == ["dense_1", "dense", "dense_2"]


def test_set_weights_is_all_or_nothing():
    model, other = article(seed=0), article(seed=1)
    model.set_weights(other.get_weights())
    assert_all_equal(model.get_weights(), other.get_weights())
    before = model.get_weights()
    bad = [weight + 1 for weight in before]
    bad[-1] = np.zeros(V + 1)
    with pytest.raises(ValueError, match=r"^dense: weights\[1\]: expected \(7,\), got \(8,\)"):
        model.set_weights(bad)
    with pytest.raises(ValueError, match=r"^weights: expected 6 arrays, got 5"):
        model.set_weights(bad[:-1])
    assert_all_equal(model.get_weights(), before)


DENSE = Dense(2)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Model([]), "layers: expected a list of one layer or more"),
        (lambda: Model(Dense(2)), "layers: expected a list of one layer or more"),
        (lambda: Model([Dense]), "layers: expected a list of one layer or more"),
        (lambda: Model([DENSE, DENSE]), "layers: expected each layer once"),
        (lambda: Model([Dense(2), Embedding(2, 2)]), "layers: expected ids at the inputs"),
        (lambda: Model([Dense(2, name="a"), Dense(2, name="a")]), "layers: expected different"),
        (lambda: Model([Dense(2, name="input")]), "layers: expected different names, none of"),
        (lambda: Model([Dense(2)], dtype="float16"), "dtype: expected one of 'float32'"),
        (lambda: Model([Dense(2)], dtype=np.float32), "dtype: expected one of 'float32'"),
        (lambda: Model([Dense(2)], seed=0.5), "seed: expected an integer"),
        (lambda: Model([Dense(2)], name=3), "name: expected a str"),
        (
            lambda: Model([Dense(2)], device="tpu"),
            "device: expected one of 'cpu', 'cuda', got 'tpu'",
        ),
        (lambda: Model([LSTM(2, input_shape=(None, 3)), LSTM(2)]), r"lstm_1: x: expected \(B, T"),
    ],
)
def test_models_that_cannot_be_are_refused(make, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        make()


def test_cuda_is_refused_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(cuda_device, "explain", lambda: "no driver")
    with pytest.raises(ValueError, match=r"^device: expected 'cpu'.+ \(no driver\), got 'cuda'"):
        Model([Dense(2)], device="cuda")
    model = Model([Dense(2)])
    with pytest.raises(ValueError, match=r"^device: expected 'cpu'"):
        model.to("cuda")
    assert model.device == "cpu"


# ---------------------------------------------------------------- compile and data that do not fit


@pytest.mark.parametrize(
    ("arguments", "activation", "text"),
    [
        ({"optimizer": "ftrl"}, None, "optimizer: expected one of"),
        ({"loss": "ctc"}, None, "loss: expected one of"),
        ({"loss": SPARSE}, None, r"loss: expected a Dense\(activation='softmax'\) at the end"),
        ({"loss": SPARSE}, "sigmoid", r"loss: expected a Dense\(activation='softmax'\)"),
        ({"loss": CategoricalCrossentropy(True)}, "softmax", "loss: expected from_logits=False"),
        ({"loss": SPARSE, "metrics": ["bleu"]}, "softmax", "metrics: expected one of"),
        ({"loss": SPARSE, "metrics": 3}, "softmax", "metrics: expected a list"),
        ({"loss": SPARSE, "metrics": ["acc", "acc"]}, "softmax", "metrics: expected each name"),
    ],
)
def test_compile_refuses_what_does_not_fit_and_changes_nothing(arguments, activation, text):
    model = article(activation=activation)
    model.compile("sgd", "mse")
    before = model.optimizer, model.loss, model.metrics
    with pytest.raises(ValueError, match=f"^{text}"):
        model.compile(**arguments)
    assert (model.optimizer, model.loss, model.metrics) == before


def test_training_needs_a_loss():
    x, y = data()
    model = article()
    for _ in range(2):
        for use in (model.fit, model.evaluate, model.train_on_batch, model.gradients):
            with pytest.raises(ValueError, match=r"^loss: expected one from compile"):
                use(x, y)
        model.compile("adam")


X, Y = data()
FLOATS = np.zeros((20, 5, 3))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"y": Y[:19]}, "y: expected 20 samples, as x has, got 19"),
        ({"x": X[:0], "y": Y[:0]}, "x: expected one sample or more"),
        ({"x": 3, "y": Y}, "x: expected an array of samples, got 3"),
        ({"x": [[1], [1, 2]]}, r"x: expected samples of one length \(pad"),
        ({"x": X.astype(float)}, "x: expected integer ids, got dtype float64"),
        ({"x": X + 1}, r"x: expected ids in \[0, 7\), got ids in \[1, 7\]"),
        ({"x": FLOATS.astype(int)}, r"lstm: x: expected \(B, T, 3\), got \(20, 5, 3, 3\)"),
        ({"y": Y + 1}, r"y: expected labels in \[0, 7\), got labels in \[1, 7\]"),
        ({"y": Y.astype(float)}, "y: expected integer labels"),
        ({"y": np.stack([Y, Y], 1)}, r"y: expected labels of shape \(20,\), got \(20, 2\)"),
        ({"batch_size": 0}, "batch_size: expected an integer >= 1, got 0"),
        ({"batch_size": 2.5}, "batch_size: expected an integer"),
        ({"epochs": 0}, "epochs: expected an integer >= 1"),
        ({"initial_epoch": -1}, "initial_epoch: expected an integer >= 0"),
        ({"verbose": 3}, "verbose: expected one of 0, 1, 2, .auto., got 3"),
        ({"shuffle": "batch"}, "shuffle: expected True or False"),
        ({"validation_split": 1.0}, "validation_split: expected a finite number"),
        ({"validation_split": -0.1}, "validation_split: expected a finite number"),
        ({"validation_split": 0.99}, "validation_split: expected two parts that are not empty"),
        ({"validation_split": 0.5, "validation_data": (X, Y)}, "validation_split: expected 0 with"),
        ({"validation_data": X}, r"validation_data: expected \(x, y\), or what"),
        ({"validation_data": (X, Y[:3])}, "validation_data: y: expected 20 samples"),
        ({"validation_data": (X, Y + 1)}, r"y: expected labels in \[0, 7\)"),
    ],
)
def test_fit_fails_before_any_step(arguments, text):
    model = compiled()
    before, state = model.get_weights(), model.rng.bit_generator.state
    with pytest.raises(ValueError, match=f"^{text}"):
        model.fit(**{"x": X, "y": Y, "verbose": 0, **arguments})
    assert_all_equal(model.get_weights(), before)
    assert model.optimizer.iterations == 0 and model.rng.bit_generator.state == state


def test_nan_is_predicted_from_but_not_learnt_from():
    x, y = np.zeros((4, 5, 3)), np.zeros((4, 2))
    x[0, 0, 0] = np.nan
    model = Model([LSTM(2)], seed=0)
    model.compile("sgd", "mse")
    found = np.isnan(model.predict(x))
    assert found[0].all() and not found[1:].any()
    for use in (model.fit, model.evaluate, model.train_on_batch, model.gradients):
        with pytest.raises(ValueError, match=r"^x: expected finite numbers"):
            use(x, y)
    y[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"^y: expected finite numbers"):
        model.train_on_batch(np.zeros((4, 5, 3)), y)


def test_one_bad_batch_takes_no_step():
    model = compiled(metrics=["accuracy"])
    before = model.get_weights()
    with pytest.raises(ValueError, match="y: expected labels in"):
        model.train_on_batch(X, Y + 1)
    assert_all_equal(model.get_weights(), before)
    loss, accuracy = model.train_on_batch(X, Y)
    assert loss > 1 and 0 <= accuracy <= 1 and model.optimizer.iterations == 1
    assert not np.array_equal(model.get_weights()[0], before[0])

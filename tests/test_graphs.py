"""Graphs of layers: gradients against central differences, shared layers, states, files, names."""

import json
import shutil

import numpy as np
import pytest
from agreement import assert_all_equal, difference_quotient

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Input, Model, SimpleRNN, layers

GRADIENT_BAR = 1e-6  # the issue's; measured: 2e-10
B, T, V = 3, 4, 6


def seq2seq(**arguments):
    """Return an encoder whose state starts a decoder: two inputs, one output."""
    source, target = Input((None,), name="source"), Input((None,), name="target")
    _, h, c = LSTM(3, return_state=True)(Embedding(V, 2)(source))
    y = LSTM(3, return_sequences=True)(Embedding(V, 2)(target), initial_state=[h, c])
    outputs = Dense(V, "softmax")(y)
    return Model(inputs=[source, target], outputs=outputs, **{"seed": 0, **arguments})


def twins(**arguments):
    """Return two inputs that go through the same layers, and one of them through a third."""
    a, b = Input((None, 2), name="a"), Input((None, 2), name="b")
    shared, head = LSTM(3), Dense(2, "tanh")
    first, second = head(shared(a)), head(shared(b))
    return Model([a, b], [first, second, Dense(1)(first)], **{"seed": 0, **arguments})


def data_of(model, seed=0):
    rng = np.random.default_rng(seed)
    if len(model.output_names) == 1:
        return [rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T + 1))], rng.integers(
            0, V, (B, T + 1)
        )
    x = [rng.normal(size=(B, T, 2)), rng.normal(size=(B, T + 2, 2))]
    return x, [rng.normal(size=(B, n)) for n in (2, 2, 1)]


def check_gradients(model, x, y):
    """Hold the gradient of each weight against central differences of `evaluate`."""
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    loss, grads = model.gradients(x, y)
    first = model.evaluate(x, y)
    assert loss == pytest.approx(first[0] if isinstance(first, list) else first, rel=1e-12)
    for param, grad in zip(model.params, grads, strict=True):
        expected = difference_quotient(lambda: np.atleast_1d(model.evaluate(x, y))[0], param)
        np.testing.assert_allclose(grad, expected, rtol=0, atol=GRADIENT_BAR)
        assert np.abs(expected).max() > 1e-4


@pytest.mark.parametrize("make", [seq2seq, twins])
def test_gradients(make):
    model = make(dtype="float64")
    model.compile("sgd", "sparse_categorical_crossentropy" if make is seq2seq else "mse")
    check_gradients(model, *data_of(model))


def test_the_decoder_learns_through_the_encoder():
    model = seq2seq(dtype="float64")
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = data_of(model)
    grads = dict(zip([id(p) for p in model.params], model.gradients(x, y)[1], strict=True))
    assert np.abs(grads[id(model.get_layer("lstm").params["W_hh"])]).max() > 0


# ---------------------------------------------------------------- the order of layers, names


def test_layers_come_in_keras_order(keras):
    for make in (seq2seq, twins, diamond):
        theirs, ours = in_keras(keras, make), make()
        assert [type(one).__name__ for one in ours.layers] == [
            type(one).__name__ for one in theirs.layers
        ]
        shapes = [weight.shape for weight in theirs.get_weights()]
        assert [weight.shape for weight in ours.get_weights()] == shapes


def diamond(**arguments):
    """Return a graph whose two ways are of unlike length."""
    x = Input((4,), name="x")
    short = Dense(3, name="short")(x)
    long = Dense(5, name="second")(Dense(6, name="first")(x))
    return Model(x, {"long": Dense(2, name="end")(long), "short": short}, **arguments)


def in_keras(keras, make):
    """Return the model that `make` makes, of Keras's layers."""
    own = {name: getattr(keras.layers, name) for name in ("LSTM", "Dense", "Embedding", "Input")}
    own["Model"] = lambda *given, seed=None, **named: keras.Model(*given, **named)
    scope = dict(make.__globals__) | own
    return type(make)(make.__code__, scope, make.__name__)()


def test_names():
    model = twins()
    assert [layer.name for layer in model.layers] == ["a", "lstm", "b", "dense", "dense_1"]
    assert model.input_names == ["a", "b"]
    assert model.output_names == ["dense_0", "dense_2", "dense_1"]
    assert SimpleRNN(2).name == "simple_rnn"
    with pytest.raises(ValueError, match="layers: expected different names"):
        Model(x := Input((2,)), Dense(2, name="a")(Dense(2, name="a")(x)))


def test_a_layer_keeps_its_name_in_a_second_model():
    first = seq2seq()
    encoder = first.get_layer("lstm")
    names = [layer.name for layer in first.layers]
    x = Input((None, 2))
    Model(x, encoder(x))
    assert [layer.name for layer in first.layers] == names


# ---------------------------------------------------------------- data in, outputs out


def test_inputs_by_list_and_by_name_are_the_same():
    model = seq2seq()
    x, y = data_of(model)
    expected = model.predict(x)
    named = {"target": x[1], "source": x[0]}
    np.testing.assert_array_equal(model.predict(named), expected)
    np.testing.assert_array_equal(model(x), expected)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    assert model.evaluate(named, y) == model.evaluate(x, y)
    model.fit(named, y, verbose=0, validation_data=(x, y))


def test_outputs_of_a_dict_come_as_a_dict():
    model = diamond(seed=0)
    x = np.ones((5, 4), "f4")
    found = model.predict(x, batch_size=2)
    assert list(found) == ["long", "short"]
    assert [a.shape for a in found.values()] == [(5, 2), (5, 3)]
    model.compile("sgd", {"long": "mse"})
    before = model.get_layer("short").get_weights()
    model.fit(x, {"long": np.ones((5, 2)), "short": np.zeros((5, 3))}, verbose=0)
    assert_all_equal(model.get_layer("short").get_weights(), before)


def test_loss_weights():
    model = diamond(seed=0, dtype="float64")
    x, y = np.ones((5, 4)), {"long": np.ones((5, 2)), "short": np.ones((5, 3))}
    parts = []
    for weights in ({"long": 1, "short": 0}, {"long": 0, "short": 1}, {"long": 2, "short": 0.5}):
        model.compile("sgd", "mse", loss_weights=weights)
        parts.append(model.gradients(x, y))
    assert parts[2][0] == pytest.approx(2 * parts[0][0] + 0.5 * parts[1][0], rel=1e-12)
    for one, other, both in zip(*(grads for _, grads in parts), strict=True):
        np.testing.assert_allclose(both, 2 * one + 0.5 * other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m, x: m.predict(x[0]), "x: expected a list of 2, or a dict by name: source, tar"),
        (lambda m, x: m.predict(x[:1]), "x: expected a list of 2"),
        (lambda m, x: m.predict({"source": x[0]}), "x: expected the keys"),
        (lambda m, x: m.predict([x[0], x[1][:2]]), "x: expected 3 samples"),
        (lambda m, x: m.predict([x[0], x[1] + 0.5]), "x: expected integer ids"),
        (lambda m, x: m.get_layer("gru"), "name: expected one of"),
        (lambda m, x: m.get_layer(index=9), "index: expected"),
        (lambda m, x: Model([Dense(2)], inputs=Input((2,))), "layers: expected None"),
        (lambda m, x: Model(Input((2,)), Dense(2)(Input((2,)))), "inputs: expected all tensors"),
        (lambda m, x: LSTM(3)(Input((5,))), r"lstm: x: expected \(B, T, I\)"),
        (lambda m, x: LSTM(3, name="a")(Input((4, 2)), initial_state=[Input((2,)), Input((3,))]),
         r"a: initial_state\[0\]: expected \(B, 3\), got \(None, 2\)"),
        (lambda m, x: Dense(3)(Input((4,)), gain=2), "dense: argument: expected one of"),
        (lambda m, x: LSTM(2, static_size=2)(Input((4, 2))), "lstm: x_static: expected a tensor"),
        (lambda m, x: Embedding(3, 2)(Dense(2)(Input((4,)))), None),
        (lambda m, x: np.asarray(Input((2,))), TypeError),
    ],
)  # fmt: skip
def test_what_is_refused(call, text):
    model = seq2seq()
    x, _ = data_of(model)
    if text is None:
        tensor = call(model, x)
        with pytest.raises(ValueError, match="layers: expected ids at the inputs alone"):
            Model(next(iter(roots(tensor))), tensor)
        return
    error = text if isinstance(text, type) else ValueError
    with pytest.raises(error, match=None if isinstance(text, type) else f"^({text})"):
        call(model, x)


def roots(tensor):
    """Yield the inputs that a tensor comes from."""
    if not tensor.node.inputs:
        yield tensor
    for source in tensor.node.sources():
        yield from roots(source)


# ---------------------------------------------------------------- training goes on


@pytest.mark.parametrize("make", [seq2seq, twins, diamond])
def test_files(make, tmp_path):
    model = make(seed=3)
    inputs = {
        name: shape for name, shape in zip(model.input_names, model.input_shapes, strict=True)
    }
    rng = np.random.default_rng(0)
    if make is seq2seq:
        x, y = data_of(model)
        loss = "sparse_categorical_crossentropy"
    else:
        x = [rng.normal(size=[B, *(T if n is None else n for n in s[1:])]) for s in inputs.values()]
        x = x if len(x) > 1 else x[0]
        outputs = model.predict(x)
        keyed = isinstance(outputs, dict)
        y = {k: v + 1 for k, v in outputs.items()} if keyed else [v + 1 for v in outputs]
        loss = "mse"
    model.compile("adam", loss)
    model.train_on_batch(x, y)
    model.save(tmp_path / "model")
    other = lstmfast.load(tmp_path / "model")
    assert [a.name for a in other.layers] == [a.name for a in model.layers]
    assert (other.input_names, other.output_names) == (model.input_names, model.output_names)
    assert json.loads(other.to_json()) == json.loads(model.to_json())
    for _ in range(2):
        assert other.train_on_batch(x, y) == model.train_on_batch(x, y)
    assert_all_equal(other.get_weights(), model.get_weights())


def test_layers_that_are_held_stay(tmp_path):
    model = seq2seq()
    x, y = data_of(model)
    encoder = model.get_layer("lstm")
    encoder.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before, head = encoder.get_weights(), model.get_layer("dense").get_weights()
    model.fit(x, y, verbose=0)
    assert_all_equal(encoder.get_weights(), before)
    assert np.abs(model.get_layer("dense").get_weights()[0] - head[0]).max() > 0
    model.save(tmp_path / "held")
    other = lstmfast.load(tmp_path / "held")
    assert not other.get_layer("lstm").trainable
    assert other.train_on_batch(x, y) == model.train_on_batch(x, y)


def test_summary_tells_what_is_connected():
    lines = []
    seq2seq().summary(print_fn=lines.append, show_trainable=True)
    text = "\n".join(lines)
    assert "lstm[1], lstm[2]" in text and "Connected to" in text and "source (InputLayer)" in text
    assert lines[-1] == "Total parameters: 192"


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", [None, "softmax", "tanh", "relu"])
def test_streams_step_the_whole_model(dtype, last):
    model = Model(
        [Embedding(V, 3), LSTM(4, return_sequences=True, num_layers=2),
         SimpleRNN(5, return_sequences=True), Dense(3, last)], seed=0, dtype=dtype,
    )  # fmt: skip
    ids = np.random.default_rng(0).integers(0, V, (2, 7))
    expected = model.predict(ids)
    stream = model.stream(2)
    for _ in range(2):
        found = np.stack([stream.step(ids[:, t]) for t in range(7)], axis=1)
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=3e-7 if dtype == "float32" else 1e-15
        )
        stream.reset()
    for t in range(3):
        stream.step(ids[:, t])
    stream.reset([1])
    found = stream.step(ids[:, 0])
    np.testing.assert_allclose(found[1], expected[1, 0], rtol=0, atol=3e-7)
    assert np.abs(found[0] - expected[0, 0]).max() > 1e-4


def test_a_stream_has_its_own_weights():
    model = Model([LSTM(4, input_shape=(None, 2)), Dense(3)], seed=0)
    stream, x = model.stream(), np.ones((1, 2), "f4")
    first = stream.step(x)
    model.set_weights([weight * 0 for weight in model.get_weights()])
    stream.reset()
    np.testing.assert_array_equal(stream.step(x), first)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Model([LSTM(2, bidirectional=True, input_shape=(None, 2))]), "bidirectional"),
        (lambda: Model([LSTM(2, go_backwards=True, input_shape=(None, 2))]), "lstm: go_backwards"),
        (seq2seq, "lstm_1: expected layers that take one input"),
        (lambda: Model([Dense(2)]), "model: is not built"),
    ],
)
def test_streams_that_cannot_be(make, text):
    with pytest.raises(ValueError, match=text):
        make().stream()


def test_steps_that_do_not_fit():
    model = Model([LSTM(4, input_shape=(None, 2)), Dense(3)], seed=0)
    stream = model.stream()
    first = stream.step(np.ones((1, 2)))
    for bad in (np.ones((2, 2)), np.ones((1, 3)), np.ones((1, 1, 2)), np.array([["a", "b"]])):
        with pytest.raises(ValueError, match=r"^x: expected"):
            stream.step(bad)
    stream.reset()
    np.testing.assert_array_equal(stream.step([[1.0, 1.0]]), first)


def test_sequential_grows():
    from lstmfast import Sequential

    model = Sequential(seed=0)
    model.add(Input((None, 2), name="series"))
    model.add(LSTM(3))
    model.add(Dense(2))
    whole = Model([LSTM(3, input_shape=(None, 2)), Dense(2)], seed=0)
    assert_all_equal(model.get_weights(), whole.get_weights())
    assert (model.input_names, model.name) == (["series"], "sequential")
    with pytest.raises(ValueError, match="dense_1: x: expected"):
        Sequential([Input((3,)), Dense(2), Dense(2, input_shape=(5,))])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="layer: expected a model that is not compiled"):
        model.add(Dense(1))


def test_a_sequential_that_failed_to_grow_is_as_before():
    from lstmfast import Sequential

    model = Sequential([Input((3,)), Dense(2)], seed=0)
    before = model.get_weights()
    with pytest.raises(ValueError, match="lstm: x: expected"):
        model.add(LSTM(2))
    assert [layer.name for layer in model.layers] == ["dense"]
    assert_all_equal(model.get_weights(), before)
    assert model.predict(np.ones((4, 3))).shape == (4, 2)


# ---------------------------------------------------------------- models as layers, merges, masks


def nested(**arguments):
    """Return two inputs that go through one model of several layers, and are added up."""
    x = Input((None, 2))
    encoder = Model(x, Dense(3, "tanh")(LSTM(4)(x)), name="encoder", **arguments)
    a, b = Input((None, 2), name="a"), Input((None, 2), name="b")
    both = layers.Concatenate()([encoder(a), layers.Dropout(0.0)(encoder(b))])
    return Model(
        [a, b], layers.Add()([Dense(2)(both), Dense(2)(encoder(a))]), **{"seed": 0, **arguments}
    )


def test_a_model_as_a_layer(tmp_path):
    model = nested(dtype="float64")
    assert isinstance(model.get_layer("encoder"), Model)
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(B, T, 2)), rng.normal(size=(B, T + 1, 2))]
    y = rng.normal(size=(B, 2))
    model.compile("adam", "mse")
    check_gradients(model, x, y)
    model.train_on_batch(x, y)
    encoder = model.get_layer("encoder")
    np.testing.assert_array_equal(
        encoder.predict(x[0]), model.get_layer("encoder").as_layer().forward(x[0])
    )
    model.save(tmp_path / "nested")
    other = lstmfast.load(tmp_path / "nested")
    assert_all_equal(other.get_weights(), model.get_weights())
    for _ in range(2):
        assert other.train_on_batch(x, y) == model.train_on_batch(x, y)
    np.testing.assert_array_equal(other.get_layer("encoder").predict(x[0]), encoder.predict(x[0]))


def test_a_model_in_a_chain():
    inner = Model([LSTM(3, input_shape=(None, 2)), Dense(2)], seed=1, name="inner")
    outer = Model([inner, Dense(1)], seed=2)
    x = np.ones((2, 3, 2), "f4")
    head = outer.layers[-1].get_weights()
    np.testing.assert_allclose(outer.predict(x), inner.predict(x) @ head[0] + head[1], atol=1e-6)
    outer.compile("sgd", "mse")
    before = inner.get_weights()
    outer.fit(x, np.ones((2, 1)), verbose=0)
    assert np.abs(inner.get_weights()[0] - before[0]).max() > 0


def tagger(**arguments):
    """Return ids to classes of each step, with 0 as padding."""
    return Model(
        [Embedding(V, 3, mask_zero=True), layers.Bidirectional(LSTM(3, return_sequences=True)),
         layers.TimeDistributed(Dense(4, "tanh")), Dense(V, "softmax")], **{"seed": 0, **arguments},
    )  # fmt: skip


def test_masked_steps_count_nothing():
    model = tagger(dtype="float64")
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 1, 2, 3], [2, 0, 0, 0, 0]])
    y = ids.copy()
    y[ids == 0] = 99  # no class: a step that is masked may have any target
    loss, accuracy = model.evaluate(ids, y)
    parts = [model.evaluate(row[None, row > 0], row[None, row > 0]) for row in ids]
    counts = (ids > 0).sum(axis=1)
    assert loss == pytest.approx(np.dot(counts, [p[0] for p in parts]) / counts.sum(), rel=1e-12)
    assert accuracy == pytest.approx(np.dot(counts, [p[1] for p in parts]) / counts.sum())
    check_gradients(model, ids, np.where(ids > 0, ids, 0))
    model.fit(ids, y, verbose=0, epochs=2, batch_size=2)


@pytest.mark.parametrize("kind", ["lengths", "mask"])
def test_lengths_and_masks_of_fit(kind):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 3))
    lengths = np.array([5, 2, 3, 1])
    mask = np.arange(5) < lengths[:, None]
    told = {"lengths": lengths} if kind == "lengths" else {"mask": mask}
    model = Model([LSTM(4, input_shape=(None, 2)), Dense(3)], seed=0, dtype="float64")
    rows = [model.predict(x[n : n + 1, :k])[0] for n, k in enumerate(lengths)]
    np.testing.assert_allclose(model.predict(x, **told), rows, rtol=0, atol=1e-14)
    x[~mask] = 1e6  # padding is not looked at
    np.testing.assert_allclose(model.predict(x, batch_size=3, **told), rows, rtol=0, atol=1e-14)
    model.compile("adam", "mse")
    assert model.evaluate(x, y, **told) == pytest.approx(np.square(rows - y).mean(), rel=1e-12)
    model.fit(x, y, verbose=0, **told)
    for bad in ({"lengths": [1, 2]}, {"lengths": [6, 1, 1, 1]}, {"mask": mask[:, 1:]},
                {"mask": mask.astype(int)}, {"lengths": lengths, "mask": mask}):  # fmt: skip
        with pytest.raises(ValueError, match=r"^(lengths|mask): expected"):
            model.fit(x, y, verbose=0, **bad)


def test_sample_and_class_weights():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
    model = Model([Dense(3, "softmax", input_shape=(4,))], seed=0, dtype="float64")
    model.compile("sgd", "sparse_categorical_crossentropy")
    each = [model.evaluate(x[n : n + 1], y[n : n + 1]) for n in range(6)]
    weights = np.array([1.0, 0, 2, 3, 0.5, 1])
    assert model.evaluate(x, y, sample_weight=weights) == pytest.approx(np.mean(weights * each))
    by_class = {0: 2.0, 2: 0.5}
    history = model.fit(x, y, verbose=0, batch_size=6, class_weight=by_class, shuffle=False)
    expected = np.mean(
        [by_class.get(label, 1.0) * loss for label, loss in zip(y, each, strict=True)]
    )
    assert history.history["loss"] == [pytest.approx(expected, rel=1e-12)]
    with pytest.raises(ValueError, match="class_weight: expected None with sample_weight"):
        model.fit(x, y, verbose=0, sample_weight=weights, class_weight=by_class)


def test_a_loss_of_probabilities_that_no_dense_layer_gives():
    """A softmax that others take, too, or that another layer makes: losses see probabilities."""
    x = Input((4,))
    p = Dense(3, "softmax")(x)
    model = Model(x, [p, Dense(2)(p)], seed=0, dtype="float64")
    model.compile("sgd", ["sparse_categorical_crossentropy", "mse"])
    rng = np.random.default_rng(0)
    check_gradients(
        model, rng.normal(size=(5, 4)), [rng.integers(0, 3, 5), rng.normal(size=(5, 2))]
    )
    model = Model(
        [Dense(3, input_shape=(4,)), layers.Activation("softmax")], dtype="float64", seed=0
    )
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    check_gradients(model, rng.normal(size=(5, 4)), rng.integers(0, 3, 5))


def test_batch_statistics_are_kept_but_not_trained(tmp_path):
    model = Model(
        [Dense(3, input_shape=(2,)), layers.BatchNormalization(), Dense(1)], seed=0, dtype="float64"
    )
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 3, (16, 2)), rng.normal(size=(16, 1))
    assert len(model.params) == 6 and len(model.get_weights()) == 8
    before = model.get_layer("batch_normalization").get_weights()
    model.fit(x, y, verbose=0, epochs=2, batch_size=4)
    after = model.get_layer("batch_normalization").get_weights()
    assert np.abs(after[2] - before[2]).max() > 0.01
    model.save(tmp_path / "bn")
    other = lstmfast.load(tmp_path / "bn")
    assert other.train_on_batch(x, y) == model.train_on_batch(x, y)
    np.testing.assert_array_equal(other.predict(x), model.predict(x))
    lines = []
    model.summary(print_fn=lines.append)
    assert lines[-1] == "Trainable: 19; not trainable: 6"


@pytest.mark.parametrize("optimizer", [lstmfast.SGD(0.5), lstmfast.Adam(0.1, lazy=True)])
def test_tables_of_which_few_rows_are_read(optimizer):
    """Rows that a batch does not read stay; those that it reads go as with a dense gradient."""
    ids = np.array([[1, 4, 1], [2, 4, 5]])
    whole = type(optimizer)(optimizer.learning_rate)
    found = []
    for one in (optimizer, whole):
        model = Model([Embedding(50, 3), LSTM(2), Dense(1)], seed=0, dtype="float64")
        model.compile(one, "mse")
        before = model.get_weights()[0]
        model.train_on_batch(ids, np.ones((2, 1)))
        found.append(model.get_weights())
        rest = np.setdiff1d(np.arange(50), ids)
        np.testing.assert_array_equal(found[-1][0][rest], before[rest])
    assert optimizer.takes_rows and not (lstmfast.Adam().takes_rows)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)
    assert isinstance(model.gradients(ids, np.ones((2, 1)))[1][0], np.ndarray)


def test_averages_of_weights_are_taken_at_the_end():
    model = Model([Dense(1, input_shape=(2,))], seed=0, dtype="float64")
    model.compile(lstmfast.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
    x, y = np.array([[1.0, 2.0]]), np.array([[3.0]])
    model.fit(x, y, epochs=3, verbose=0)
    twin = Model([Dense(1, input_shape=(2,))], seed=0, dtype="float64")
    twin.compile(lstmfast.SGD(0.1), "mse")
    average = None
    for _ in range(3):
        twin.train_on_batch(x, y)
        weights = twin.get_weights()
        average = weights if average is None else [
            0.5 * a + 0.5 * w for a, w in zip(average, weights, strict=True)
        ]  # fmt: skip
    for found, expected in zip(model.get_weights(), average, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_accuracy_is_that_of_the_output():
    """Of one number per row, whatever layer it comes from, right is what lies on the right side."""
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = (x.sum(axis=1) > 0).astype(float)[:, None]
    for last in ([Dense(1, "sigmoid")], [Dense(1), layers.Activation("sigmoid")]):
        model = Model([Input((3,)), *last], seed=0)
        model.compile("adam", "binary_crossentropy", ["accuracy", "auc", "mse"])
        loss, accuracy, auc, mse = model.evaluate(x, y)
        p = model.predict(x)
        assert accuracy == pytest.approx(np.mean((p > 0.5) == y))
        assert mse == pytest.approx(np.square(p - y).mean(), rel=1e-6)
        assert 0 <= auc <= 1 and loss > 0
        history = model.fit(x, y, verbose=0, batch_size=6, epochs=2)
        assert list(history.history) == ["loss", "accuracy", "auc", "mse"]


def test_accuracy_beside_metrics_that_need_outputs():
    ids, labels = np.arange(12).reshape(4, 3) % V, np.array([0, 1, 2, 3])
    model = Model([Embedding(V, 3), LSTM(3), Dense(V, "softmax")], seed=0)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy", "perplexity"])
    loss, accuracy, perplexity = model.evaluate(ids, labels)
    p = model.predict(ids)
    assert accuracy == np.mean(p.argmax(axis=1) == labels)
    assert perplexity == pytest.approx(np.exp(loss), rel=1e-5)
    weights = np.array([1.0, 0, 2, 1])
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    _, accuracy = model.evaluate(ids, labels, sample_weight=weights)
    assert accuracy == pytest.approx(np.average(p.argmax(axis=1) == labels, weights=weights))


def test_stateful_layers_within_others_are_reset():
    layer = layers.Bidirectional(LSTM(2, stateful=True), input_shape=(None, 3))
    model = Model([layer], seed=0)
    x = np.ones((2, 4, 3))
    first = model.predict(x)
    assert np.abs(model.predict(x) - first).max() > 1e-4
    model.reset_state()
    np.testing.assert_array_equal(model.predict(x), first)
    with pytest.raises(ValueError, match="x: expected a multiple of batch_size 2"):
        model.predict(np.ones((3, 4, 3)), batch_size=2)


def test_plot(tmp_path):
    pytest.importorskip("graphviz")
    model = seq2seq()
    model.plot(tmp_path / "model.dot")
    text = (tmp_path / "model.dot").read_text()
    assert "source: Input" in text and text.count("->") == 7
    assert "lstm_1: LSTM" in text and "(None, None, 6)" in text
    if shutil.which("dot") is None:
        with pytest.raises(ImportError, match="plot: expected the program dot"):
            model.plot(tmp_path / "model.png")
    else:
        model.plot(tmp_path / "model.png")
        assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")


def test_streams_of_what_does_the_same_to_each_step():
    x = Input((None, 2))
    y = layers.LayerNormalization()(layers.Dropout(0.5)(LSTM(4, return_sequences=True)(x)))
    y = layers.Concatenate()([layers.Activation("tanh")(y), layers.Add()([y, y])])
    model = Model(x, layers.TimeDistributed(Dense(3, "softmax"))(layers.ReLU()(y)), seed=0)
    series = np.random.default_rng(0).normal(size=(2, 5, 2)).astype("f4")
    stream = model.stream(2)
    found = np.stack([stream.step(series[:, t]) for t in range(5)], axis=1)
    np.testing.assert_allclose(found, model.predict(series), rtol=0, atol=3e-7)


def test_a_stream_takes_no_masked_step():
    stream = Model([Embedding(5, 3, mask_zero=True), LSTM(3)], seed=0).stream()
    first = stream.step(np.array([2]))
    with pytest.raises(ValueError, match="embedding: x: expected ids of steps"):
        stream.step(np.array([0]))
    stream.reset()
    np.testing.assert_array_equal(stream.step(np.array([2])), first)


@pytest.mark.parametrize(
    ("chain", "x"),
    [
        ([Dense(2, input_shape=(3,))], np.ones((2, 3))),
        ([layers.Flatten(input_shape=(4, 3)), Dense(2)], np.ones((2, 4, 3))),
    ],
)
def test_lengths_that_nobody_heeds_are_refused(chain, x):
    with pytest.raises(ValueError, match=r"^lengths: expected (None for x|layers on the way)"):
        Model(chain).predict(x, lengths=[1, 2])

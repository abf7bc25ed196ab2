"""What a Keras user asks a Model: its layers, weights, configs, tables; masks, Models in layers."""

import json

import numpy as np
import pytest

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Input, Model, Sequential, SimpleRNN, layers

B, T, H = 6, 5, 3
X = np.random.default_rng(0).normal(size=(B, T, H))
Y = np.random.default_rng(1).normal(size=(B, 1))


def sequential(**arguments):
    return Sequential([Input((T, H)), LSTM(4), Dense(1)], seed=0, **arguments)


def functional(**arguments):
    x = Input((T, H), name="x")
    hidden = LSTM(4, return_sequences=True)(x)
    return Model(x, Dense(1)(hidden[:, -1] * 2), seed=0, **arguments)


# ---------------------------------------------------------------- layers and weights


def test_layers_and_indices():
    model = functional()
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "LSTM", "Dense"]
    names = [layer.name for layer in model.operations]
    assert names == ["x", "lstm", "get_item", "multiply", "dense"]
    assert model.get_layer(index=1) is model.get_layer("lstm") is model.layers[1]
    assert model.get_layer("x").output is model.input and model.get_layer(index=-1).name == "dense"
    assert model.get_layer("get_item").output.shape == (None, 4)
    with pytest.raises(ValueError, match="index: expected an integer <= 2"):
        model.get_layer(index=3)
    first = model.layers[0]
    assert (first.weights, first.get_weights(), first.count_params()) == ([], [], 0)
    assert first.batch_shape == (None, T, H) and first.built and first.input is first.output
    assert [layer.name for layer in sequential().layers] == ["lstm", "dense"]
    features = Model(model.inputs, [layer.output for layer in model.layers])
    assert [one.shape for one in features.predict(X)] == [(B, T, H), (B, T, 4), (B, 1)]


def test_layers_as_keras_lists_them(keras):

    def names(Input, layers, Model):
        a, b, c = (Input((H,), name=name) for name in "abc")
        x = layers.Dense(4, name="second")(layers.Dense(4, name="first")(a) + 1)
        x = layers.Add(name="sum")([b, x])
        inner = Model(d := Input((4,), name="d"), layers.Dense(2, name="of inner")(d), name="inner")
        model = Model([a, b, c], [inner(x), layers.Dense(1, name="last")(x)])
        found = [layer.name for layer in model.layers]
        return found, [layer.name for layer in model.get_layer("inner").layers]

    b = ("b", 4)

    def own_input(shape, name):
        return Input((b[1],) if name == "b" else shape, name=name)

    def their_input(shape, name):
        return keras.Input((b[1],) if name == "b" else shape, name=name)

    assert names(own_input, layers, Model) == names(their_input, keras.layers, keras.Model)


@pytest.mark.parametrize("make", [sequential, functional])
def test_files_keep_what_a_model_is(make, tmp_path):
    model = make()
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    assert loaded.get_config() == model.get_config()


def test_sequential_with_a_named_input_in_files(tmp_path):
    for kind in (Sequential, Model):
        model = kind([Input((T, H), name="own"), LSTM(2)])
        model.save(tmp_path / "model")
        loaded = lstmfast.load(tmp_path / "model")
        assert type(loaded) is kind and [layer.name for layer in loaded.layers] == ["lstm"]
        assert loaded.input_names == ["own"]


def test_nested_sequential_in_files(tmp_path):
    inner = Sequential([Input((H,)), Dense(2)], name="inner")
    model = Sequential([Input((H,)), inner, Dense(1)])
    assert model.layers[0] is inner
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    assert type(loaded.layers[0]) is Sequential
    np.testing.assert_array_equal(loaded.predict(X[:, 0]), model.predict(X[:, 0]))


def test_weights_and_trainable():
    model = functional()
    for one, weight in zip(model.weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, weight)
    assert [w.path for w in model.weights][:2] == ["lstm/kernel", "lstm/recurrent_kernel"]
    assert model.trainable and len(model.trainable_variables) == 5
    model.trainable = False
    assert not model.trainable and not model.trainable_weights and not model.params
    assert not any(layer.trainable for layer in model.layers)
    model.layers[-1].trainable = True
    assert [w.name for w in model.trainable_weights] == ["kernel", "bias"] and model.trainable
    with pytest.raises(ValueError, match="trainable: expected True or False"):
        model.trainable = None


def test_an_inner_model_that_is_held():
    inner = functional()
    inner.trainable = False
    x = Input((T, H))
    model = Model(x, Dense(1)(inner(x)), seed=0)
    model.compile("sgd", "mse")
    before = inner.get_weights()
    model.fit(X, Y, verbose=0)
    for one, other in zip(before, inner.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(model.trainable_weights) == 2 and len(model.non_trainable_weights) == 5


def test_shapes():
    for model in (sequential(), functional()):
        assert model.compute_output_shape((7, T, H)) == (7, 1)
        assert model.input_shape == (None, T, H) and model.output_shape == (None, 1)
    assert LSTM(2, return_state=True).compute_output_shape((7, T, H)) == ((7, 2),) * 3
    assert Dense(2).compute_output_shape((7, 3)) == (7, 2)
    two = Model([Input((2,)), a := Input((3,))], a + 1)
    assert two.compute_output_shape([(1, 2), (1, 3)]) == (1, 3)
    with pytest.raises(ValueError, match="input_shape: expected a list of 2 shapes"):
        two.compute_output_shape((1, 2))


# ---------------------------------------------------------------- configs


@pytest.mark.parametrize("make", [sequential, functional])
def test_configs(make):
    model = make()
    clones = [
        type(model).from_config(model.get_config()),
        lstmfast.models.model_from_json(model.to_json()),
        lstmfast.models.clone_model(model),
    ]
    for clone in clones:
        assert type(clone) is type(model) and clone.get_config() == model.get_config()
        assert clone.layers[-1] is not model.layers[-1]
        np.testing.assert_array_equal(clone.predict(X), model.predict(X))  # of the same seed
    model.set_weights([w + 1 for w in model.get_weights()])
    assert (clones[0].predict(X) != model.predict(X)).any()
    for bad in ("", "[1]", "{}", 3, "[" * 10**5):
        with pytest.raises(ValueError):
            lstmfast.models.model_from_json(bad)
    config = json.loads(model.to_json())
    with pytest.raises(ValueError, match="class: expected one of None, 'Sequential', 'Model'"):
        Model.from_config({**config, "class": "Other"})


def test_saving_by_other_names(tmp_path):
    model = sequential()
    lstmfast.saving.save_model(model, tmp_path / "model.keras")
    loaded = lstmfast.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert lstmfast.models.load_model is lstmfast.saving.load_model


def test_pop():
    model = sequential()
    hidden = Model(model.inputs, model.layers[0].output).predict(X)
    model.compile("sgd", "mse")
    assert model.pop().name == "dense" and model.output_shape == (None, 4)
    np.testing.assert_array_equal(model.predict(X), hidden)
    with pytest.raises(ValueError, match="loss"):
        model.fit(X, Y)
    model.add(Dense(2))
    model.compile("sgd", "mse")
    model.fit(X, np.ones((B, 2)), verbose=0)
    with pytest.raises(ValueError, match="layers: expected one to take away, got none"):
        Sequential().pop()


def test_compile_arguments():
    model = sequential()
    for jit in ("auto", True, False):
        model.compile("sgd", "mse", run_eagerly=False, jit_compile=jit, steps_per_execution=1)
    model.compile("sgd", "mse", auto_scale_loss=False)
    for name, bad in (("run_eagerly", True), ("jit_compile", None), ("steps_per_execution", 4),
                      ("auto_scale_loss", 1)):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name}: expected"):
            model.compile("sgd", "mse", **{name: bad})


# ---------------------------------------------------------------- tables


def lines_of(model, **arguments):
    lines = []
    model.summary(print_fn=lines.append, **arguments)
    return lines


def test_summary():
    model = functional()
    lines = lines_of(model)
    assert [line.split()[0] for line in lines[2:-1]] == [
        "x", "lstm", "get_item", "multiply", "dense",
    ]  # fmt: skip
    assert lines[2].split()[1:] == ["(InputLayer)", "(None,", "5,", "3)", "0"]
    some = lines_of(model, layer_range=["lstm", "mult.*"])
    assert [line.split()[0] for line in some[2:-1]] == ["lstm", "get_item", "multiply"]
    narrow = lines_of(model, line_length=40, show_trainable=True)
    assert max(map(len, narrow[1:-1])) <= 40 and len(narrow) > len(lines)
    for positions in ([0.4, 0.7, 1.0], [32, 56, 80]):
        placed = lines_of(model, positions=positions)
        assert placed[1].index("Output") == 32 and len(placed[1]) == 78
    for bad in ({"line_length": 3}, {"positions": [1]}, {"positions": [0.5, 0.4, 1.0]},
                {"layer_range": ["lstm", "no"]}, {"layer_range": "lstm"}, {"expand_nested": 1},
                {"layer_range": ["dense", "x"]}, {"layer_range": ["(", ")"]}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(bad))):
            lines_of(model, **bad)


def test_summary_of_inner_models():
    inner = Sequential([Input((T, H)), LSTM(4, name="deep")], name="inner")
    model = Sequential([Input((T, H)), inner, Dense(1)])
    assert "deep" not in "".join(lines_of(model))
    lines = lines_of(model, expand_nested=True)
    assert lines[2].startswith("inner (Sequential)") and lines[3].startswith("  deep (LSTM)")
    assert lines[-1] == "Total parameters: 133"


def test_plot_model(tmp_path):
    pytest.importorskip("graphviz")
    lstmfast.utils.plot_model(functional(), tmp_path / "a.dot", show_shapes=True)
    assert "(None, 5, 3)" in (tmp_path / "a.dot").read_text()


# ---------------------------------------------------------------- inputs and masks


def test_inputs():
    assert Input(batch_shape=(4, T, H)).shape == (None, T, H)
    assert Input(batch_shape=(None, None)).shape == (None, None)
    for dtype in ("bool", "uint8", "int64"):
        assert Input((T,), dtype=dtype).shape == (None, T)
    for bad in ({}, {"batch_shape": 3}, {"batch_shape": (4, 5), "shape": (5,)},
                {"batch_shape": (4, 5), "batch_size": 4}):  # fmt: skip
        with pytest.raises(ValueError, match="shape: expected"):
            Input(**bad)
    for first in (layers.InputLayer((T, H)), layers.InputLayer(batch_shape=(None, T, H))):
        model = Sequential([first])
        model.add(LSTM(2))
        assert model.input_shape == (None, T, H) and model.predict(X).shape == (B, 2)
    assert isinstance(functional().layers[0], layers.InputLayer)
    with pytest.raises(ValueError, match="name: expected a word"):
        layers.InputLayer((2,), name="a/b")
    stateful = Sequential([Input(batch_shape=(4, T, H)), LSTM(2, stateful=True)])
    assert stateful.predict(X[:4]).shape == (4, 2)


MASK = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1], [1] * 5, [0, 0, 1, 1, 1], [1, 1, 0, 0, 1],
                 [1, 0, 0, 0, 0]], bool)  # fmt: skip


def masked(layers, Input, Model, kind, **arguments):
    x, mask = Input((T, H), name="x"), Input((T,), dtype="bool", name="mask")
    made = {
        "lstm": lambda: layers.LSTM(2, return_sequences=True),
        "rnn": lambda: layers.SimpleRNN(2),
        "both": lambda: layers.Bidirectional(layers.LSTM(2)),
        "steps": lambda: layers.TimeDistributed(layers.Dense(2)),
        "mean": lambda: layers.GlobalAveragePooling1D(),
    }[kind]()
    return Model([x, mask], layers.Dense(1)(made(layers.Dense(3)(x), mask=mask)), **arguments)


@pytest.mark.parametrize("kind", ["lstm", "rnn", "both", "mean", "steps"])
def test_a_mask_in_the_call(keras, kind, tmp_path):
    """Beside Keras; and trained, saved and loaded."""
    model = masked(layers, Input, Model, kind, seed=0)
    found = model.predict([X, MASK])
    np.testing.assert_array_equal(model.predict([X, MASK.astype(int)]), found)
    if kind != "steps":
        assert np.abs(model.predict([X, np.ones_like(MASK)]) - found).max() > 1e-3
    model.compile("adam", "mse")
    y = np.zeros((B, T, 1)) if found.ndim == 3 else Y
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict([X, MASK]), found)
    assert loaded.train_on_batch([X, MASK], y) == model.train_on_batch([X, MASK], y)
    theirs = masked(keras.layers, keras.Input, keras.Model, kind)
    theirs.set_weights(loaded.get_weights())
    expected = theirs.predict([X.astype("f4"), MASK], verbose=0)
    np.testing.assert_allclose(loaded.predict([X, MASK]), expected, rtol=0, atol=1e-6)


def test_a_mask_in_the_call_counts_for_more(keras):
    """Than that which comes with the input; as in Keras."""
    values = X.astype("f4")
    values[:, 1] = 0

    def both(layers, Input, Model):
        x, mask = Input((T, H)), Input((T,), dtype="bool")
        return Model([x, mask], layers.LSTM(2)(layers.Masking()(x), mask=mask))

    ours, theirs = both(layers, Input, Model), both(keras.layers, keras.Input, keras.Model)
    theirs.set_weights(ours.get_weights())
    found, expected = ours.predict([values, MASK]), theirs.predict([values, MASK], verbose=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_gradients_beside_a_mask():
    model = masked(layers, Input, Model, "lstm", dtype="float64", seed=0)
    model.compile("sgd", "mse")
    y = np.random.default_rng(2).normal(size=(B, T, 1))
    _, grads = model.gradients([X, MASK], y)
    for w, g in zip(model.params, grads, strict=True):
        at = np.unravel_index(np.abs(g).argmax(), g.shape)
        kept, losses = w[at], []
        for step in (1e-6, -1e-6):
            w[at] = kept + step
            losses.append(model.evaluate([X, MASK], y))
        w[at] = kept
        assert abs(g[at] - (losses[0] - losses[1]) / 2e-6) < 1e-8


def test_masks_that_do_not_fit():
    x = Input((T, H))
    with pytest.raises(ValueError, match=r"lstm: mask: expected \(B, 5\), got \(None, 4\)"):
        LSTM(2)(x, mask=Input((4,), dtype="bool"))
    with pytest.raises(ValueError, match="dense: mask: expected no tensor of a graph"):
        Dense(2)(x, mask=Input((T,), dtype="bool"))


# ---------------------------------------------------------------- Models in layers


@pytest.mark.parametrize("kind", [Sequential, Model])
def test_a_model_on_each_step(kind, tmp_path):
    if kind is Sequential:
        inner = Sequential([Input((H,)), Dense(4, "tanh"), Dense(2)], seed=0)
    else:
        x = Input((H,))
        inner = Model(x, Dense(2)(Dense(4, "tanh")(x) + 1), seed=0)
    model = Sequential([Input((T, H)), layers.TimeDistributed(inner), SimpleRNN(1)], seed=0)
    model.compile("adam", "mse")
    inside = Model(model.inputs, model.layers[0].output).predict(X)
    rows = inner.predict(X.reshape(-1, H)).reshape(B, T, 2)
    np.testing.assert_allclose(inside, rows, rtol=0, atol=1e-6)
    before = inner.get_weights()
    model.fit(X, Y, verbose=0)
    assert all((a != b).any() for a, b in zip(before, inner.get_weights(), strict=True))
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.train_on_batch(X, Y) == model.train_on_batch(X, Y)


def test_embedding_before_bidirectional_of_a_model_is_refused():
    with pytest.raises(ValueError, match="layer: expected a recurrent layer"):
        layers.Bidirectional(Sequential([Embedding(3, 2)]))

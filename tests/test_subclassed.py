"""Subclasses of Model with `call`: the graph is made of one call, and is then as any other."""

import copy

import numpy as np
import pytest
from agreement import assert_all_equal

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Input, Model, Sequential, layers

B, T, H, V = 8, 5, 3, 7
X = np.random.default_rng(0).normal(size=(B, T, H))
IDS = np.random.default_rng(1).integers(1, V, (B, T))
Y = np.random.default_rng(2).normal(size=(B, 1))


class Small(Model):
    def __init__(self, units=4, **arguments):
        super().__init__(**arguments)
        self.dense = Dense(1)
        self.lstm = LSTM(units)

    def call(self, x, training=None):
        return self.dense(self.lstm(x))


def small(**arguments):
    return Small(**{"seed": 0, "name": "small", **arguments})


def test_fit_and_predict():
    """As the same graph does that is made of tensors."""
    model = small(name="own")
    assert not model.built and model.name == "own"
    model.compile("adam", "mse", metrics=["mae"])
    history = model.fit(X, Y, epochs=3, verbose=0).history
    x = Input((None, H))
    lstm, dense = LSTM(4), Dense(1)
    plain = Model(x, dense(lstm(x)), seed=0)
    other = small()
    other.build((None, None, H))
    plain.set_weights([*other.lstm.get_weights(), *other.dense.get_weights()])
    plain.compile("adam", "mse", metrics=["mae"])
    plain.rng = copy.deepcopy(other.rng)
    found = plain.fit(X, Y, epochs=3, verbose=0).history
    assert list(found) == list(history) == ["loss", "mae"]
    np.testing.assert_allclose(history["loss"], found["loss"], rtol=1e-6)
    np.testing.assert_allclose(model.predict(X), plain.predict(X), rtol=0, atol=1e-6)


def test_each_first_call_makes_the_graph():
    compiled = {"optimizer": "sgd", "loss": "mse"}
    expected = None
    for first in (
        lambda m: m.predict(X), lambda m: m(X), lambda m: m.build((None, T, H)),
        lambda m: m.predict(X.tolist()), lambda m: m(Input((T, H))),
        lambda m: (m.compile(**compiled), m.evaluate(X, Y)),
        lambda m: (m.compile(**compiled), m.test_on_batch(X, Y)),
        lambda m: (m.compile(**compiled), m.gradients(X, Y)),
    ):  # fmt: skip
        model = small()
        first(model)
        assert model.built and [layer.name for layer in model.layers] == ["dense", "lstm"]
        expected = model.predict(X) if expected is None else expected
        np.testing.assert_array_equal(model.predict(X), expected)
    model = small()
    model.compile("sgd", "mse")
    loss = model.train_on_batch(X, Y)
    assert loss == pytest.approx(np.mean((expected - Y) ** 2), rel=1e-6)


def test_open_sizes():
    """Sequences of other lengths, where the graph does not ask for one."""
    model = small()
    model.predict(X)
    assert model.input_shape == (None, None, H)
    assert model.predict(X[:, :2]).shape == (B, 1)

    class Flat(Model):
        def call(self, x):
            return layers.Dense(2)(layers.Flatten()(x))

    flat = Flat()
    assert flat.predict(X).shape == (B, 2) and flat.input_shape == (None, T, H)

    class Ids(Model):
        def __init__(self):
            super().__init__()
            self.table = Embedding(V, 4, mask_zero=True)
            self.blocks = [LSTM(4, return_sequences=True), LSTM(2)]

        def call(self, ids, mask=None):
            for block in [self.table, *self.blocks]:
                ids = block(ids)
            return ids

    ids = Ids()
    assert ids.predict(IDS).shape == (B, 2) and ids.input_shape == (None, None)
    assert [layer.name for layer in ids.layers] == ["embedding", "lstm", "lstm_1"]
    assert ids.predict(IDS[:, :3]).shape == (B, 2)


class Several(Model):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.inner = Sequential([Dense(3, "tanh"), Dense(2)])

    def call(self, inputs):
        a, b = (inputs["a"], inputs["b"]) if isinstance(inputs, dict) else inputs
        return {"sum": self.inner(a) + self.inner(b), "one": self.inner(a) * 2}


def test_several_inputs_and_outputs(tmp_path):
    a, b = X[:, 0], X[:, 1]
    model = Several(seed=0)
    found = model.predict({"b": b, "a": a})
    inner = model.inner.predict
    np.testing.assert_allclose(found["sum"], inner(a) + inner(b), rtol=0, atol=1e-6)
    model.compile("sgd", {"sum": "mse", "one": "mae"})
    model.fit({"a": a, "b": b}, {"sum": Y.repeat(2, 1), "one": Y.repeat(2, 1)}, verbose=0)
    listed = Several(seed=0)
    assert listed([a, b])["one"].shape == (B, 2)
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict({"a": a, "b": b})["sum"],
                                  model.predict({"a": a, "b": b})["sum"])  # fmt: skip


def test_files_and_copies(tmp_path):
    model = small()
    model.compile(lstmfast.Adam(0.1), "mse")
    model.fit(X, Y, epochs=2, verbose=0)
    model.save(tmp_path / "model")
    loaded, twin = lstmfast.load(tmp_path / "model"), copy.deepcopy(model)
    assert type(loaded) is Model and type(twin) is Small and twin.lstm is twin.layers[1]
    assert loaded.train_on_batch(X, Y) == model.train_on_batch(X, Y) == twin.train_on_batch(X, Y)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    other = small()
    other.build((None, T, H))
    other.load_weights(tmp_path / "model")
    open_one = copy.deepcopy(small())
    assert open_one.predict(X).shape == (B, 1)


def test_as_a_layer():
    shared = small()
    x = Input((T, H))
    model = Model(x, Dense(2)(shared(x)) + shared(x * 2))
    model.compile("sgd", "mse")
    before = shared.get_weights()
    model.fit(X, Y.repeat(2, 1), verbose=0)
    assert any((a != b).any() for a, b in zip(before, shared.get_weights(), strict=True))
    assert model.layers[1] is shared


def test_as_a_layer_before_there_is_a_graph():
    for use in (
        lambda: Sequential([small()]),
        lambda: layers.TimeDistributed(small()),
    ):
        with pytest.raises(ValueError, match="small: expected a model with a graph"):
            use()
    built = small()
    built.build((None, T, H))
    assert Sequential([built]).predict(X).shape == (B, 1)
    model = Sequential([Input((T, H)), LSTM(2, return_sequences=True), small(), Dense(2)])
    model.add(Several().inner)
    assert model.predict(X).shape == (B, 2) and type(model.layers[1]) is Small
    assert [layer.name for layer in model.layers][:3] == ["lstm", "small", "dense"]


def test_a_layer_with_call():
    class Twice(layers.Layer):
        def call(self, x):
            return 2 * x

    with pytest.raises(ValueError, match="layer: expected one with forward and backward, got Twi"):
        Twice()


def test_training_and_dropout():
    class Dropped(Model):
        def __init__(self):
            super().__init__(seed=0)
            self.dropout, self.dense = layers.Dropout(0.5), Dense(1)

        def call(self, x, training=None):
            return self.dense(self.dropout(x, training=training))

    model = Dropped()
    assert (model(X[:, 0], training=True) != model(X[:, 0])).any()
    np.testing.assert_array_equal(model(X[:, 0]), model.predict(X[:, 0]))


def test_weights_in_keras_order(keras):

    class Theirs(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.lstm = keras.layers.LSTM(4)

        def call(self, x, training=None):
            return self.dense(self.lstm(x))

    theirs, ours = Theirs(), small()
    expected = theirs.predict(X.astype("f4"), verbose=0)
    ours.build((None, T, H))
    ours.set_weights(theirs.get_weights())
    kinds = [type(layer).__name__ for layer in theirs.layers]
    assert kinds == [type(layer).__name__ for layer in ours.layers]
    np.testing.assert_allclose(ours.predict(X), expected, rtol=0, atol=1e-6)


def test_what_is_no_graph():
    class Bad(Model):
        def __init__(self, found):
            super().__init__()
            self.found = found

        def call(self, x):
            return self.found(x)

    for found in (lambda x: None, lambda x: 3.0, lambda x: x, lambda x: [x + 1, 2]):
        model = Bad(found)
        with pytest.raises(ValueError, match="call: expected tensors"):
            model.predict(X)
        assert not model.built
    model = Bad(lambda x: LSTM(2, name="deep")(Dense(2)(x)[:, 0]))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"deep: x: expected \(B, T, I\)"):
            model.predict(X)
    for use in (model.get_weights, model.summary, lambda: model.outputs):
        with pytest.raises(ValueError, match="is not built"):
            use()
    with pytest.raises(ValueError, match="loss: expected one from compile"):
        small().fit(X, Y)
    late = small()
    late.compile("sgd", "no loss")
    with pytest.raises(ValueError, match="loss: expected one of"):
        late.fit(X, Y)
    with pytest.raises(ValueError, match="layers: expected a list of one layer or more"):
        Model()


def test_weights_are_what_was_built():
    model = small()
    model.build((None, T, H))
    assert_all_equal(model.get_weights(), [*model.dense.get_weights(), *model.lstm.get_weights()])

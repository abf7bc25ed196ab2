"""Data that cannot be learnt from: the error says what is wrong and what to do, before any step."""

import io
import sys
from decimal import Decimal

import numpy as np
import pytest
from agreement import same_bits

from lstmfast import LSTM, Dense, Embedding, Layer, Model, losses
from lstmfast.initializers import Constant, RandomNormal
from lstmfast.losses import CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy
from lstmfast.model.fitting import Progress

X = np.random.default_rng(0).normal(size=(6, 4, 3))
Y = np.random.default_rng(1).normal(size=(6, 2))


def model(dtype="float32"):
    found = Model([LSTM(3, input_shape=(None, 3)), Dense(2)], dtype=dtype, seed=1)
    found.compile("adam", "mse")
    return found


def refused_by(model, text, calls=("fit", "evaluate", "train_on_batch", "gradients"), **data):
    """Assert that each call raises this text and leaves the model as it was."""
    data = {"x": X, "y": Y} | data
    before = [w.copy() for w in model.params]
    for name in calls:
        keywords = {"verbose": 0} if name == "fit" else {}
        given = {"x": data["x"]} if name == "predict" else data
        with pytest.raises(ValueError, match=text):
            getattr(model, name)(**given, **keywords)
    assert model.optimizer.iterations == 0 and not model.optimizer.slots
    for param, old in zip(model.params, before, strict=True):
        same_bits(param, old)


def changed(array, value):
    """Return a copy whose last number is another."""
    found = array.copy()
    found.flat[-1] = value
    return found


# ---------------------------------------------------------------- numbers that no float32 holds


@pytest.mark.parametrize("value", [1e39, -1e39, 3.4028236e38, 1e308])
def test_numbers_that_float32_cannot_hold_are_refused_before_the_first_step(value):
    text = r"expected numbers that float32 can hold, got -?\d"
    with np.errstate(all="raise"):
        refused_by(model(), f"^x: {text}", x=changed(X, value))
        refused_by(model(), f"^y: {text}", y=changed(Y, value))
        refused_by(model(), f"^x: {text}", ["predict"], x=changed(X, value))
        with pytest.raises(ValueError, match=f"^x: {text}"):
            model().fit(X, Y, verbose=0, validation_data=(changed(X, value), Y))


def test_what_the_dtype_holds_is_learnt_from():
    largest = float(np.finfo(np.float32).max)
    for dtype, value in (("float32", largest), ("float64", 1e100)):
        found = model(dtype)
        found.fit(changed(X, value), Y, verbose=0)
        assert all(np.isfinite(w).all() for w in found.params)
    found = model()
    found.fit(np.full(X.shape, 2**63, np.uint64), Y.astype(np.float16), verbose=0)
    assert np.isfinite(found.predict(X > 0)).all()  # bools are numbers, as in Keras


def test_every_sample_is_looked_at_in_pieces(monkeypatch):
    monkeypatch.setattr("lstmfast.samples.CHUNK", 24)
    for at in range(len(X)):
        x = X.copy()
        x[at, 2, 1] = 1e39
        refused_by(model(), "^x: expected numbers that float32 can hold, got 1e.39", x=x)


def test_long_doubles_are_looked_at_after_the_cast():
    x = changed(X.astype(np.longdouble), np.longdouble("1e4000"))
    if np.isfinite(x).all():
        refused_by(model("float64"), "^x: expected numbers that float64 can hold", x=x)


def test_a_loss_refuses_targets_that_its_outputs_cannot_meet():
    outputs = np.zeros((2, 2), "f4")
    with pytest.raises(ValueError, match=r"^y_true: expected numbers that float32 can hold, got 1"):
        MeanSquaredError()(np.full((2, 2), 1e39), outputs)


@pytest.mark.parametrize("initializer", [Constant(1e39), RandomNormal(1e300)])
def test_first_weights_are_ones_that_the_dtype_can_hold(initializer):
    layer = Dense(2, kernel_initializer=initializer)
    with pytest.raises(ValueError, match=r"^kernel: expected values that float32 can hold"):
        layer.build((None, 3))
    assert not layer.built and not layer.params and layer.input_shape is None
    layer.build((None, 3), dtype="float64")


# ---------------------------------------------------------------- what is no array


def generator():
    yield X


ENDLESS = [1.0]
ENDLESS.append(ENDLESS)


class Loader:
    def __iter__(self):
        return iter([X])


class Sparse:
    def toarray(self):
        return X


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([[1.0, 2.0], [1.0]], r"samples of one length \(pad them.*, got lengths from 1 to 2"),
        ([np.zeros((2, 3)), np.zeros((5, 3))], "samples of one length .*, got lengths from 2 to 5"),
        ([[[1.0], [2.0]], [[1.0], [2.0, 3.0]]], r"expected samples of one length"),
        ([[1.0, 2.0], 3.0], r"samples of one shape, got 3.0 beside sequences"),
        (np.array([[1.0], [1.0, 2.0]], object), "samples of one length .*, got lengths from 1 to"),
        ([[1.0, None]], "expected numbers, got None among them"),
        ([[1.0, Decimal(1)]], r"expected numbers, got Decimal\('1'\) among them"),
        (np.array([[1.0, 2.0]], object), r"expected numbers, got objects \(see astype\)"),
        (ENDLESS, "expected"),
        ([np.array(1.0), np.zeros(3)], r"samples of one shape, got array\(1.\) beside sequences"),
        (Sparse(), r"got a sparse Sparse; pass its toarray\(\)"),
        ({"x": X}, "got a dict; pass one array"),
        ({1.0}, "got a set; pass one array"),
        (None, "an array of samples, got None"),
        ("words", "an array of samples, got 'words'"),
        (np.float32(3), r"an array of samples, got np.float32\(3.0\)"),
        (np.zeros((0, 2)), r"one sample or more, got shape \(0, 2\)"),
        (np.ma.masked_array(X, X > 0), "an array without masked values"),
    ],
)
def test_what_is_no_array_is_named_with_what_to_do(data, text):
    refused_by(model(), rf"^x.*{text}", ["fit", "evaluate", "predict", "train_on_batch"], x=data)
    refused_by(model(), rf"^y.*{text}", ["fit", "evaluate", "train_on_batch"], y=data)
    with pytest.raises(ValueError, match=f"^validation_data: x.*{text}"):
        model().fit(X, Y, verbose=0, validation_data=(data, Y))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (generator(), r"an array of samples, got a generator; pass np.stack\(list\(...\)\) of it"),
        (iter([X]), r"an array of samples, got a list_iterator; pass np.stack"),
        (Loader(), r"got a Loader; pass np.stack\(list\(...\)\) of it, or its batches to train_on"),
    ],
)
def test_what_brings_its_own_batches_is_x_alone(data, text):
    refused_by(model(), rf"^x: expected .*{text}", ["train_on_batch"], x=data)
    refused_by(model(), rf"^y: expected .*{text}", ["fit", "evaluate", "train_on_batch"], y=data)
    refused_by(model(), "^y: expected None with a .* as x, whose", ["fit", "evaluate"], x=data)
    with pytest.raises(ValueError, match=r"^validation_data: y: expected None with a .* as x"):
        model().fit(X, Y, verbose=0, validation_data=(data, Y))


def test_data_of_words_and_dates_is_named_by_its_dtype():
    for data in (np.array([["a", "b"]] * 6), np.zeros((6, 2), "M8[s]"), np.zeros((6, 2), complex)):
        refused_by(model(), "^x: expected real numbers, got dtype", ["predict"], x=data)
        refused_by(model(), "^y: expected numbers of shape .*, got .* of ", y=data)


def test_tensors_that_need_gradients_are_named_with_what_their_library_says():
    torch = pytest.importorskip("torch")
    x = torch.zeros(6, 4, 3, requires_grad=True)
    refused_by(model(), "^x: expected an array, got Tensor: .*requires grad", ["fit"], x=x)
    model().fit(x.detach(), Y, verbose=0)


def test_tables_of_pandas_are_arrays():
    pandas = pytest.importorskip("pandas")
    found = Model([Dense(2, input_shape=(3,))], seed=0)
    found.compile("sgd", "mse")
    x = pandas.DataFrame(X[:, 0], columns=["a", "b", "c"], index=range(10, 16))
    found.fit(x, pandas.DataFrame(Y), verbose=0)
    same_bits(found.predict(x), found.predict(X[:, 0]))


# ---------------------------------------------------------------- one class


def test_a_cross_entropy_over_one_class_is_refused():
    found = Model([Dense(1, "softmax", input_shape=(3,))])
    for loss in ("sparse_categorical_crossentropy", "categorical_crossentropy", "mse"):
        with pytest.raises(ValueError, match=r"^dense: expected a softmax over two units or more"):
            found.compile("adam", loss)
    found.compile("adam")  # enough to predict
    assert (found.predict(X[:, 0]) == 1.0).all()
    inner = Model([Dense(1, "softmax", input_shape=(3,)), Dense(2)])
    with pytest.raises(ValueError, match=r"^dense: expected a softmax over two"):
        inner.compile("adam", "mse")


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (SparseCategoricalCrossentropy(from_logits=True), np.zeros(6, int)),
        (CategoricalCrossentropy(from_logits=True), np.ones((6, 1))),
    ],
)
def test_so_is_one_over_logits_of_one_class(loss, y):
    text = "^loss: expected outputs of two classes or more for a cross-entropy, got one"
    found = Model([Dense(1, input_shape=(3,))])
    found.compile("adam", loss)
    with pytest.raises(ValueError, match=text):
        found.fit(X[:, 0], y, verbose=0)
    with pytest.raises(ValueError, match=text):
        losses.get(loss.get_config())(y, np.zeros((6, 1), "f4"))


def test_labels_beyond_the_classes_are_refused_whatever_their_type():
    found = Model([Embedding(5, 3), LSTM(3), Dense(2, "softmax")], seed=0)
    found.compile("adam", "sparse_categorical_crossentropy")
    ids = np.zeros((4, 3), int)
    for y in ([2, 3, 4, 5], [-1] * 4, np.full(4, 2**64 - 1, np.uint64)):
        with pytest.raises(ValueError, match=r"^y: expected labels in \[0, 2\), got labels in"):
            found.fit(ids, y, verbose=0)
    found.fit(ids, np.array([True, False, True, False]), verbose=0)


# ---------------------------------------------------------------- a layer without weights


class Doubled(Layer):
    """Twice its input: no weights."""

    def __init__(self, name=None):
        super().__init__(name, None)

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, x, training=False):
        return 2 * x

    def backward(self, dy, need_dx=True):
        return 2 * dy if need_dx else None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_layer_without_weights_is_trained_through(place):
    def made(layers):
        found = Model(layers, seed=1)
        found.compile("sgd", "mse")
        return found

    layers = [Dense(3, seed=1), Dense(2, seed=2)]
    layers.insert(place, Doubled())
    with_it = made(layers)
    history = with_it.fit(X[:, 0], Y, epochs=3, verbose=0).history["loss"]
    assert history[2] < history[0] and with_it.evaluate(X[:, 0], Y) < history[2]
    assert layers[place].dtype == "float32" and layers[place].get_weights() == []
    assert with_it.count_params() == 20
    if place == 0:
        without = made([Dense(3, seed=1), Dense(2, seed=2)])
        assert without.fit(2 * X[:, 0], Y, epochs=3, verbose=0).history["loss"] == history


def test_a_model_without_any_weights_evaluates_and_takes_steps():
    found = Model([Doubled()])
    found.compile("adam", "mse")
    assert found.evaluate(X, 2 * X) == 0.0
    assert found.fit(X, 2 * X, verbose=0).history["loss"] == [0.0]
    assert Doubled()(X.astype("f4")).dtype == np.float32


# ---------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


Notebook = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})


def shown(monkeypatch, file):
    """Return what 200 batches and two epochs write there."""
    monkeypatch.setattr(sys, "stderr", file)
    found = model()
    found.fit(np.repeat(X, 40, 0), np.repeat(Y, 40, 0), batch_size=2, epochs=2, verbose=1)
    return file.getvalue() if file else ""


def test_a_pipe_or_a_file_gets_a_line_for_each_epoch(monkeypatch, capsys):
    lines = shown(monkeypatch, io.StringIO()).splitlines()
    assert [line.split(" - ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
    assert all(" - loss: " in line for line in lines)
    assert shown(monkeypatch, None) == "" and capsys.readouterr().out == ""


@pytest.mark.parametrize("file", [Terminal, Notebook])
def test_terminals_and_notebooks_keep_their_bar(monkeypatch, file):
    found = shown(monkeypatch, file())
    assert "\r" in found and "240/240" in found and "loss=" in found


def test_an_epoch_that_fails_leaves_no_line(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(RuntimeError), Progress(1, "Epoch 1/1", 3) as progress:
        progress.step(1, {})
        raise RuntimeError
    assert sys.stderr.getvalue() == ""

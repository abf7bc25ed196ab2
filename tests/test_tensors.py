"""Arithmetic and indexing of tensors: numbers of NumPy and Keras, gradients, files, refusals."""

import numpy as np
import pytest

import lstmfast
from lstmfast import LSTM, Dense, Input, Model, layers

B, T, H = 3, 5, 4
STEP, BAR = 1e-6, 1e-7  # measured: 2e-9
ROW = np.array([0.5, -1.5, 2.0, 3.0])

BOTH = {  # of two tensors (B, T, H); the same of arrays
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "broadcast": lambda a, b: a[:, :, :1] * b,
    "one step": lambda a, b: a - b[:, 1:2],
    "mixed": lambda a, b: (1 - a) * b + a / 2 - -b,
    "itself": lambda a, b: a * a + b,
}
ALONE = {
    "number": lambda a: a * 2.0,
    "left": lambda a: 3 - a,
    "over": lambda a: 1 / a,
    "negative": lambda a: -a,
    "array": lambda a: ROW * a + ROW,
    "wider": lambda a: a[..., :1] + ROW,
    "by step": lambda a: a * np.arange(1.0, 21.0).reshape(5, 4),
    "numpy's number": lambda a: np.float64(2) * a,
    "square": lambda a: a**2,
    "root": lambda a: (a * a) ** 0.5,
    "last": lambda a: a[:, -1],
    "last and all": lambda a: a[:, -1, :],
    "some": lambda a: a[:, 1:3],
    "features": lambda a: a[..., :2],
    "backwards": lambda a: a[:, ::-2],
    "a new axis": lambda a: a[:, None],
    "a new axis at the end": lambda a: a[..., None],
    "one number": lambda a: a[:, 2, 3],
    "twice": lambda a: a[:, 1:][:, :, 1],
    "all": lambda a: a[...],
}


def data(seed=0):
    """Return two arrays (B, T, H) without small numbers."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.5, 2, (B, T, H)) * rng.choice([-1, 1], (B, T, H)) for _ in range(2)]


def fed(x):
    return x if len(x) > 1 else x[0]


def model_of(function, count):
    tensors = [Input((T, H)) for _ in range(count)]
    return Model(tensors, function(*tensors), dtype="float64")


def cases():
    for name, function in BOTH.items():
        yield pytest.param(function, 2, id=name)
    for name, function in ALONE.items():
        yield pytest.param(function, 1, id=name)


@pytest.mark.parametrize("function, count", [*cases()])
def test_numbers(function, count):
    x = data()[:count]
    expected = function(*x)
    model = model_of(function, count)
    np.testing.assert_allclose(model.predict(fed(x)), expected, rtol=1e-14)
    assert model.output_shape == (None, *expected.shape[1:])


@pytest.mark.parametrize("function, count", [*cases()])
def test_gradients(function, count):
    """Along random directions, of the inputs, against central differences."""
    rng, x = np.random.default_rng(1), data()[:count]
    model = model_of(function, count)
    dy = rng.normal(size=function(*x).shape)
    nested = model.as_layer()
    nested.forward(fed(x), training=True)
    found = nested.backward(dy.copy())
    found = found if count > 1 else [found]
    directions = [rng.normal(size=one.shape) for one in x]
    up, down = (
        [one + sign * STEP * d for one, d in zip(x, directions, strict=True)] for sign in (1, -1)
    )
    expected = np.sum(dy * (function(*up) - function(*down))) / (2 * STEP)
    total = sum(np.sum(g * d) for g, d in zip(found, directions, strict=True))
    assert abs(total - expected) <= BAR * max(1, abs(expected))


# What Keras does not take: an array on the left, an Ellipsis alone, on PyTorch a negative step.
OURS = ("array", "numpy's number", "all", "backwards")


@pytest.mark.parametrize("function, count", [case for case in cases() if case.id not in OURS])
def test_as_keras(keras, function, count):
    tensors = [keras.Input((T, H)) for _ in range(count)]
    model = keras.Model(tensors, function(*tensors))
    x = [one.astype("float32") for one in data()[:count]]
    expected = np.asarray(model.predict(fed(x), verbose=0))
    assert model.output_shape == model_of(function, count).output_shape
    np.testing.assert_allclose(model_of(function, count).predict(fed(x)), expected, rtol=1e-5)


@pytest.mark.parametrize("function, count", [*cases()])
def test_files(function, count, tmp_path):
    x, model = data()[:count], model_of(function, count)
    model.save(tmp_path / "model")
    loaded = lstmfast.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(fed(x)), model.predict(fed(x)))
    assert loaded.to_json() == model.to_json()


def test_open_sizes_and_names():
    x = Input((None, H))
    assert x[:, 1:3].shape == (None, None, H)
    assert x[:, -1].shape == (None, H)
    y = x + 1
    model = Model(x, [x + y, y - x, y[:, 0]])
    names = [layer.name for layer in model.graph.layers]
    assert names == ["add", "add_1", "subtract", "get_item"]
    assert model.predict(np.ones((2, 3, H)))[0].shape == (2, 3, H)
    with pytest.raises(ValueError, match="key: expected an index inside"):
        Model(x, x[:, 4]).predict(np.ones((2, 3, H)))


def test_masks_end_here():
    """As in Keras: the layer behind takes all steps."""
    x = Input((T, H))
    hidden = layers.Masking()(x)
    values = data()[0]
    values[:, 3:] = 0
    for made in (lambda h: h + 1, lambda h: h * 1.0, lambda h: h[:, :], lambda h: h + h):
        model = Model(x, LSTM(2, seed=0)(made(hidden)))
        plain = Model(x, LSTM(2, seed=0)(made(x)))
        np.testing.assert_array_equal(model.predict(values), plain.predict(values))
    kept = Model(x, LSTM(2, seed=0)(layers.add([hidden, hidden])))
    plain = Model(x, LSTM(2, seed=0)(layers.add([x, x])))
    assert np.abs(kept.predict(values) - plain.predict(values)).max() > 1e-3


def test_masks_as_in_keras(keras):
    values = data()[0].astype("f4")
    values[:, 3:] = 0

    def model(keras, layers):
        x = keras.Input((T, H))
        hidden = layers.Masking()(x)
        made = (hidden + 1, hidden[:, 1:], hidden * hidden, layers.add([hidden, hidden]))
        return keras.Model(x, [layers.LSTM(2)(one) for one in made])

    ours, theirs = model(lstmfast, layers), model(keras, keras.layers)
    theirs.set_weights(ours.get_weights())
    expected = theirs.predict(values, verbose=0)
    for one, other in zip(ours.predict(values), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_training():
    """The last step by indexing learns as return_sequences=False does."""
    x, y = np.random.default_rng(0).random((8, T, H)), np.ones((8, 1))
    losses = []
    for whole in (True, False):
        i = Input((T, H))
        h = LSTM(3, return_sequences=whole, seed=0)(i)
        model = Model(i, Dense(1, seed=1)(h[:, -1] if whole else h), seed=0, dtype="float64")
        model.compile("sgd", "mse")
        losses.append(model.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-12)


def test_streams():
    x = Input((None, H))
    model = Model(x, (LSTM(H, return_sequences=True, seed=0)(x) * ROW + x) / 2, dtype="float64")
    values, stream = data()[0], model.stream(B)
    found = np.stack([stream.step(values[:, t]) for t in range(T)], 1)
    np.testing.assert_allclose(found, model.predict(values), rtol=1e-12)


def test_functions():
    a, b = data()
    for name in ("add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate"):
        of_arrays = getattr(layers, name)([a, b])
        i, j = Input((T, H)), Input((T, H))
        model = Model([i, j], getattr(layers, name)([i, j], name="last"), dtype="float64")
        np.testing.assert_array_equal(model.predict([a, b]), of_arrays)
        assert model.output_names == ["last"]
    assert layers.concatenate([a, b], axis=1).shape == (B, 2 * T, H)
    assert layers.dot([a, b], axes=2).shape == (B, T, T)


@pytest.mark.parametrize(
    "made, text",
    [
        (lambda x, y: x[0], "key: expected a key that begins with ':', as the batch stays whole"),
        (lambda x, y: x[:, 9], r"key: expected an index inside \(None, 5, 4\), got 9"),
        (lambda x, y: x[:, 4:2], "key: expected a part of .*, got nothing of it"),
        (lambda x, y: x[:, :, :, 0], "key: expected at most 3 axes, got 4"),
        (lambda x, y: x[..., 0, ...], "key: expected one Ellipsis at most"),
        (lambda x, y: x[:, ::0], "key: expected a step that is not 0"),
        (lambda x, y: x[:, "a"], "key: expected an integer"),
        (lambda x, y: x[:, [0, 1]], "key: expected an integer"),
        (lambda x, y: x + y, "add: x: expected two tensors of one number of axes"),
        (lambda x, y: x[:, :2] + x[:, :3], "add: x: expected inputs of sizes that broadcast"),
        (lambda x, y: x * np.ones(3), "multiply: x: expected inputs of sizes that broadcast"),
        (lambda x, y: x * np.ones((3, 5, 4)), "multiply: constant: expected a shape without the"),
        (lambda x, y: x * np.nan, "constant: expected finite numbers, got nan"),
    ],
)
def test_refused(made, text):
    with pytest.raises(ValueError, match=text):
        made(Input((T, H)), Input((H,)))


def test_refused_by_python():
    x = Input((T, H))
    for made in (lambda: x + "a", lambda: x + None, lambda: 2**x, lambda: x**x, lambda: x * True):
        with pytest.raises(TypeError):
            made()


def test_a_constant_that_float32_cannot_hold():
    x = Input((T, H))
    with pytest.raises(ValueError, match="constant: expected values that float32 can hold"):
        Model(x, x * 1e300)
    Model(x, x * 1e300, dtype="float64")


def test_zero():
    """Where a power has no derivative, and at zeros, nothing is NaN that need not be."""
    x = Input((1,))
    for power, expected in ((0, 0), (1, 1), (2, 0)):
        layer = Model(x, x**power, dtype="float64").as_layer()
        layer.forward(np.zeros((1, 1)), training=True)
        assert layer.backward(np.ones((1, 1))) == expected

"""PReLU and Normalization: values by hand, gradients, what is adapted, saved and refused."""

import json

import numpy as np
import pytest
from agreement import difference_quotient

import lstmfast
from lstmfast import LSTM, Dense, Model, Sequential
from lstmfast.layers import AlphaDropout, GaussianDropout, Normalization, PReLU

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, (20, 4, 3))


def built(layer, shape, dtype="float64"):
    layer.build((None, *shape[1:]), np.random.default_rng(1), dtype)
    return layer


def check_gradients(layer, x):
    """Of x and of all weights that are trained, by central differences."""
    upstream = np.random.default_rng(3).normal(size=x.shape)

    def loss():
        return np.sum(upstream * layer.forward(x))

    layer.forward(x, training=True)
    dx = layer.backward(upstream.copy())
    np.testing.assert_allclose(dx, difference_quotient(loss, x), rtol=0, atol=1e-8)
    for name, w in layer.trained.items():
        found = layer.grads[name]
        np.testing.assert_allclose(found, difference_quotient(loss, w), rtol=0, atol=1e-7)
    layer.forward(x, training=True)
    assert layer.backward(upstream, need_dx=False) is None


# ---------------------------------------------------------------- PReLU


@pytest.mark.parametrize("shared", [None, [1], [2], [1, 2], 1])
def test_gradients_of_prelu(shared):
    layer = built(PReLU("random_uniform", shared_axes=shared), X.shape)
    sizes = [1 if axis in np.atleast_1d(shared or 0) else n for axis, n in ((1, 4), (2, 3))]
    assert layer.params["alpha"].shape == tuple(sizes)
    check_gradients(layer, X[:5].copy())
    twin = PReLU.from_config(json.loads(json.dumps(layer.get_config())))
    assert twin.get_config() == layer.get_config()


def test_prelu_by_hand():
    layer = built(PReLU("ones"), (1, 2))
    layer.set_weights([np.array([0.5, 2.0])])
    assert layer(np.array([[-2.0, -1.0]])).tolist() == [[-1, -2]]
    layer.forward(np.array([[-2.0, 0.0]]), training=True)
    assert layer.backward(np.ones((1, 2))).tolist() == [[0.5, 0]]
    assert layer.grads["alpha"].tolist() == [-2, 0]


def test_prelu_learns_steps_and_is_saved(tmp_path):
    model = Model([LSTM(4, return_sequences=True, input_shape=(None, 3)), PReLU(shared_axes=[1])])
    model.compile("adam", "mse")
    x = X.astype("f4")
    model.fit(x, np.ones((20, 4, 4)), epochs=2, verbose=0)
    assert model.get_weights()[-1].any()
    model.save(tmp_path / "m")
    y = lstmfast.load(tmp_path / "m").predict(x, verbose=0)
    np.testing.assert_array_equal(y, model.predict(x, verbose=0))
    stream = model.stream(batch_size=20)
    for t in range(4):
        np.testing.assert_allclose(stream.step(x[:, t]), y[:, t], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: PReLU().build((None, None, 3)), "input_shape: expected known sizes"),
        (lambda: PReLU(shared_axes=[3]).build((None, 4, 3)), "x: expected axes for shared_axes"),
        (lambda: PReLU(shared_axes=0), "shared_axes: expected an integer >= 1"),
        (lambda: PReLU("nothing"), "alpha_initializer: expected"),
        (lambda: built(PReLU(), X.shape)(X[:, :2]), r"x: expected \(20, 4, 3\), got"),
        (lambda: PReLU(shared_axes=1).check_place("cuda", None), "p_re_lu: expected what runs on"),
    ],
)
def test_prelu_refuses(call, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        call()


# ---------------------------------------------------------------- Normalization


@pytest.mark.parametrize("axis", [-1, 1, [1, 2], None])
def test_adapt_makes_mean_0_and_variance_1(axis):
    layer = Normalization(axis)
    layer.adapt(X)
    y = built(layer, X.shape).forward(X)
    others = {-1: (0, 1), 1: (0, 2), None: (0, 1, 2)}.get(axis if axis != [1, 2] else 5, 0)
    np.testing.assert_allclose(y.mean(axis=others), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(axis=others), 1, rtol=1e-13)
    check_gradients(layer, X[:3].copy())
    back = built(Normalization(axis, invert=True), X.shape)
    back.set_weights(layer.get_weights())
    np.testing.assert_allclose(back.forward(y), X, rtol=1e-12)
    check_gradients(back, X[:3].copy())
    assert not layer.trained and layer.count_params() == 2 * layer.params["mean"].size


def test_batches_add_up_and_another_adapt_begins_anew():
    one, other = Normalization(), Normalization()
    other.adapt(10 * X)
    other.build((None, 4, 3), dtype="float64")
    one.adapt(X)
    one.build((None, 4, 3), dtype="float64")
    other.adapt(batch for batch in (X[:3], X[3:4], X[4:]))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    np.testing.assert_allclose(one.get_weights()[1], X.var(axis=(0, 1)), rtol=1e-13)


def test_told_means_and_variances():
    layer = Normalization(-1, [1.0, 2.0, 3.0], [4.0, 4.0, 0.0])
    y = layer(np.array([[3.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(y, [[1, 0, 0]])
    twin = Normalization.from_config(json.loads(json.dumps(layer.get_config())))
    assert twin.get_config() == layer.get_config()
    assert Normalization(None, 1.0, 4.0)(np.array([[3.0, 1.0]])).tolist() == [[1, 0]]


def test_a_model_keeps_what_was_adapted(tmp_path):
    layer = Normalization()
    layer.adapt(X)
    model = Sequential([layer, LSTM(2), Dense(1)], seed=0)
    model.compile("adam", "mse")
    x = X.astype("f4")
    model.fit(x, x[:, 0, :1], epochs=2, verbose=0)
    np.testing.assert_allclose(layer.get_weights()[0], X.mean(axis=(0, 1)), rtol=1e-6)
    assert layer.dtype == "float32" and len(model.get_weights()) == 7
    model.save(tmp_path / "m")
    loaded = lstmfast.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    model.stream(batch_size=20).step(x[:, 0])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Normalization(mean=1.0), "variance: expected both mean and variance"),
        (lambda: Normalization(mean=1.0, variance=-1.0), "variance: expected a finite number >= 0"),
        (lambda: Normalization(mean=[1.0], variance=[-1.0]), "variance: expected finite numbers"),
        (lambda: Normalization(mean=[[1.0], [2.0, 3.0]], variance=1.0), "mean: expected finite"),
        (lambda: Normalization(3).build((None, 3)), "x: expected axes for axis 3, got 2 axes"),
        (lambda: Normalization([1]).build((None, None, 3)), "input_shape: expected known sizes"),
        (lambda: Normalization().adapt(3), "data: expected an array, or batches"),
        (lambda: Normalization().adapt([]), "data: expected one sample or more"),
        (lambda: Normalization().adapt(np.full((2, 3), np.nan)), "data: expected finite numbers"),
        (lambda: Normalization().adapt(np.array(["a"])), "data: expected numbers of two axes"),
        (lambda: Normalization().adapt([X, X[..., :2]]), r"data: expected \(3,\), got \(2,\)"),
        (lambda: Normalization(-1, 1.0, 1.0).adapt(X), "data: expected none, as mean"),
        (lambda: built(Normalization(), X.shape)(X[..., :2]), "x: expected"),
        (lambda: built(Normalization(-1, [1.0], [1.0]), X.shape), r"mean: expected \(3,\), got"),
    ],
)
def test_normalization_refuses(call, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        call()


# ---------------------------------------------------------------- noise that keeps moments


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_noise_keeps_mean_and_deviation(rate):
    x = np.random.default_rng(0).normal(size=(400, 500))
    y = built(AlphaDropout(rate, seed=1), x.shape).forward(x, training=True)
    assert abs(y.mean()) < 0.01 and y.std() == pytest.approx(1, abs=0.01)
    ones = np.ones((400, 500))
    y = built(GaussianDropout(rate, seed=1), ones.shape).forward(ones, training=True)
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert y.std() == pytest.approx(np.sqrt(rate / (1 - rate)), rel=0.01)

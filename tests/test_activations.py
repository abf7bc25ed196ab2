"""Activations as functions and as arguments of layers: values, slopes, names, what is refused."""

import math
import pickle

import numpy as np
import pytest
from agreement import difference_quotient

import lstmfast
from lstmfast import LSTM, Dense, Model, activations
from lstmfast.layers import Activation, Conv1D, SimpleRNN

X = np.random.default_rng(0).normal(size=(3, 4)) * 3


def test_values_by_hand():
    x = np.array([-4.0, -1.0, 0.0, 2.0, 7.0])
    assert activations.relu6(x).tolist() == [0, 0, 0, 2, 6]
    assert activations.hard_tanh(x).tolist() == [-1, -1, 0, 1, 1]
    assert activations.hard_silu(x) == pytest.approx([0, -1 / 3, 0, 5 / 3, 7])
    assert activations.gelu(x)[3] == pytest.approx(1 + math.erf(math.sqrt(2)), rel=1e-15)
    assert activations.silu(x)[3] == pytest.approx(2 / (1 + math.exp(-2)), rel=1e-15)
    assert activations.selu(x)[3] == pytest.approx(2 * 1.0507009873554805)
    assert activations.mish(x)[3] == pytest.approx(2 * math.tanh(math.log1p(math.exp(2))))
    assert activations.swish is activations.silu and activations.linear(x) is x
    assert activations.relu([-1, 2]).dtype == np.float32


def test_the_error_function_is_good_to_the_last_bit():
    x = np.linspace(-7, 7, 20001)
    expected = [math.erf(one) for one in x]
    np.testing.assert_allclose(activations._erf(x), expected, rtol=0, atol=5e-16)
    strange = activations._erf(np.array([np.nan, np.inf, -np.inf]))
    assert np.isnan(strange[0]) and strange[1:].tolist() == [1, -1]


@pytest.mark.parametrize("name", activations.OF_INPUTS)
def test_dense_and_activation_have_its_slope(name):
    layer, after = Dense(4, name, seed=1), Activation(name)
    x, upstream = X.copy(), np.random.default_rng(1).normal(size=(3, 4))
    layer.build((None, 4), dtype="float64"), after.build((None, 4), dtype="float64")
    for one in (layer, after):
        kept = one.forward(x, training=True).copy()
        dx = one.backward(upstream.copy())
        expected = difference_quotient(lambda one=one: np.sum(upstream * one.forward(x)), x)
        np.testing.assert_allclose(dx, expected, rtol=0, atol=2e-8)
        np.testing.assert_array_equal(kept, one.forward(x))
    linear = Dense(4)
    linear.build((None, 4), dtype="float64")
    linear.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer.forward(x), after.forward(linear.forward(x)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", activations.OF_INPUTS)
def test_large_numbers_and_nan_warn_of_nothing(name, dtype, recwarn):
    layer = Activation(name)
    layer.build((None, 4), dtype=dtype)
    y = layer.forward(np.array([[-1e4, 1e4, np.nan, 0]], dtype), training=True)
    assert y.dtype == dtype and np.isnan(y).ravel().tolist()[2]
    dx = layer.backward(np.ones_like(y))
    assert dx.dtype == dtype and not np.isnan(dx[0, [0, 3]]).any() and not recwarn.list


def test_layers_take_functions_and_names():
    for given, kept in (
        (activations.relu, "relu"), ("swish", "silu"), (None, "linear"),
        (activations.gelu, "gelu"), (activations.hard_swish, "hard_silu"),
    ):  # fmt: skip
        assert Dense(2, activation=given).activation == kept
    assert Conv1D(2, 2, activation=activations.tanh).activation == "tanh"
    assert LSTM(2, activation=activations.softsign).activation.name == "softsign"
    assert SimpleRNN(2, activation=activations.relu).activation.name == "relu"
    assert Activation(activations.softmax).activation == "softmax"
    for made, text in (
        (lambda: Dense(2, activation=np.tanh), "activation: expected one of"),
        (lambda: LSTM(2, activation=activations.gelu), "activation: expected one of"),
        (lambda: Conv1D(2, 2, activation="gelu"), "activation: expected one of"),
        (lambda: Activation(activations.log_softmax), "activation: expected one of"),
        (lambda: Activation(None), "activation: expected one of"),
    ):
        with pytest.raises(ValueError, match=f"^{text}"):
            made()


def test_get_and_serialize():
    assert activations.get("relu") is activations.get(activations.relu) is activations.relu
    assert activations.get(None) is activations.linear
    assert activations.deserialize(activations.serialize(activations.swish)) is activations.silu
    assert pickle.loads(pickle.dumps(activations.mish)) is activations.mish
    for bad in ("nothing", 3, int):
        with pytest.raises(ValueError, match=r"^activation: expected one of"):
            activations.get(bad)
    with pytest.raises(ValueError, match=r"^activation: expected one of"):
        activations.serialize(np.tanh)
    for call in (lambda: activations.relu("x"), lambda: activations.softmax([1.0])):
        with pytest.raises(ValueError, match=r"^x: expected an array"):
            call()


def test_a_model_with_them_learns_streams_and_is_saved(tmp_path):
    model = Model([Dense(8, "gelu", input_shape=(None, 3)), Dense(1, "selu")], seed=0)
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(64, 2, 3)).astype("f4")
    history = model.fit(x, x[..., :1] ** 2, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]
    model.save(tmp_path / "m")
    loaded = lstmfast.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    stepped = model.stream(batch_size=4).step(x[:4, 0])
    np.testing.assert_allclose(stepped, model.predict(x[:4], verbose=0)[:, 0], rtol=1e-5, atol=1e-6)

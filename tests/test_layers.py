"""Layers: initial weights, shapes, Keras's layout, state, and gradients of all they take in."""

import json

import naive
import numpy as np
import pytest
from agreement import assert_all_equal, difference_quotient

from lstmfast import Model, SimpleRNN, constraints, initializers, regularizers
from lstmfast.layers import LSTM, Dense, Embedding

GRADIENT_BAR = 1e-8  # measured: 6e-10


def built(layer, shape, dtype="float64"):
    """Return the layer with random weights, biases too, for inputs of this shape."""
    rng = np.random.default_rng(3)
    layer.build(shape, rng, dtype)
    layer.set_weights([rng.normal(0, 0.5, weight.shape) for weight in layer.get_weights()])
    return layer


def check_gradients(layer, x, zero=()):
    """Hold dx and all grads of a layer against central differences of sum(upstream * y).

    Those named in `zero` must be zero, the others must not.
    """
    upstream = np.random.default_rng(4).normal(size=layer.forward(x).shape)
    layer.forward(x, training=True)
    found = {"x": layer.backward(upstream.copy()), **layer.grads}
    for name, array in {"x": x, **layer.params}.items():
        expected = difference_quotient(lambda: np.sum(upstream * layer.forward(x)), array)
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=GRADIENT_BAR, err_msg=name)
        assert (np.abs(expected).max() < 100 * GRADIENT_BAR) == (name in zero), name


# ---------------------------------------------------------------- building


def test_lstm_starts_like_keras():
    layer = LSTM(8, seed=0)
    layer.build((None, None, 5))
    kernel, recurrent, bias = layer.get_weights()
    assert kernel.shape == (5, 32) and recurrent.shape == (8, 32) and bias.shape == (32,)
    assert 0.9 < np.abs(kernel).max() / np.sqrt(6 / (5 + 32)) <= 1
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(8), atol=1e-6)
    np.testing.assert_array_equal(bias, [0] * 8 + [1] * 8 + [0] * 16)


def test_the_options_of_the_bias_are_used():
    plain = LSTM(2, unit_forget_bias=False, bias_initializer="ones")
    plain.build((None, None, 3))
    np.testing.assert_array_equal(plain.params["b"], np.ones(8))
    without = LSTM(2, use_bias=False)
    without.build((None, None, 3))
    assert list(without.params) == ["W_ih", "W_hh"] and len(without.get_weights()) == 2
    dense = Dense(2, use_bias=False)
    dense.build((None, 3))
    assert list(dense.params) == ["kernel"]


def test_weights_are_the_transposed_params():
    layer = built(LSTM(3, seed=0), (None, None, 2))
    kernel, recurrent, bias = layer.get_weights()
    np.testing.assert_array_equal(kernel.T, layer.params["W_ih"])
    np.testing.assert_array_equal(recurrent.T, layer.params["W_hh"])
    np.testing.assert_array_equal(bias, layer.params["b"])
    assert not any(
        np.shares_memory(weight, param)
        for weight, param in zip(layer.get_weights(), layer.params.values(), strict=True)
    )


def test_a_seed_decides_the_weights_and_float64_rounds_to_float32():
    layers = [LSTM(4, seed=seed) for seed in (1, 1, 2)]
    for layer, dtype in zip(layers, ("float32", "float64", "float32"), strict=True):
        layer.build((None, None, 3), dtype=dtype)
    single, double, other = (layer.get_weights()[0] for layer in layers)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single, double.astype(np.float32))
    assert (single != other).all()


def test_count_params_and_output_shapes():
    embedding, lstm, dense = Embedding(11, 3), LSTM(4, return_sequences=True), Dense(5)
    embedding.build((None, None))
    lstm.build((None, None, 3))
    dense.build((None, None, 4))
    assert [layer.count_params() for layer in (embedding, lstm, dense)] == [33, 16 * 8, 25]
    assert embedding.output_shape((None, 7)) == (None, 7, 3)
    assert lstm.output_shape((2, 7, 3)) == (2, 7, 4)
    assert LSTM(4).output_shape((2, 7, 3)) == (2, 4)
    assert dense.output_shape((2, 7, 4)) == (2, 7, 5)


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (LSTM(4), (None, 3), r"x: expected \(B, T, I\), got \(None, 3\)"),
        (LSTM(4), (None, None, None), "input_shape: expected a known last axis"),
        (LSTM(4, input_shape=(None, 5)), (None, None, 3), r"x: expected \(B, T, 5\)"),
        (Dense(4), (3,), r"x: expected \(B, K\), got \(3,\)"),
        (Dense(4), (None, None), "input_shape: expected a known last axis"),
    ],
)
def test_build_refuses_inputs_that_do_not_fit(layer, shape, text):
    with pytest.raises(ValueError, match=text):
        layer.build(shape)
    assert not layer.built


def test_a_layer_is_built_once_and_before_use():
    layer = Dense(2, name="out")
    for use in (layer.get_weights, layer.count_params, lambda: layer.forward(np.zeros((1, 2)))):
        with pytest.raises(ValueError, match=r"^out: is not built"):
            use()
    layer.build((None, 2))
    with pytest.raises(ValueError, match=r"^out: is built already"):
        layer.build((None, 2))
    with pytest.raises(ValueError, match=r"^dtype: expected one of 'float32', 'float64'"):
        Dense(2).build((None, 2), dtype="float16")


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: LSTM(0), "units"),
        (lambda: LSTM(2.0), "units"),
        (lambda: LSTM(True), "units"),
        (lambda: LSTM(2, use_bias=1), "use_bias"),
        (lambda: LSTM(2, return_sequences="yes"), "return_sequences"),
        (lambda: LSTM(2, stateful=None), "stateful"),
        (lambda: LSTM(2, unit_forget_bias=0), "unit_forget_bias"),
        (lambda: LSTM(2, name=""), "name"),
        (lambda: LSTM(2, name="a/b"), "name"),
        (lambda: LSTM(2, seed=-1), "seed"),
        (lambda: LSTM(2, input_shape=5), "input_shape"),
        (lambda: LSTM(2, input_shape=(5,)), "x"),
        (lambda: LSTM(2, input_shape=(None, 0)), "input_shape"),
        (lambda: Dense(2, activation="glu"), "activation"),
        (lambda: Dense(2, activation=np.tanh), "activation"),
        (lambda: Embedding(0, 2), "input_dim"),
        (lambda: Embedding(2, -1), "output_dim"),
    ],
)
def test_constructors_refuse_bad_arguments(make, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        make()


@pytest.mark.parametrize(
    "layer",
    [
        Embedding(11, 3, "he_uniform", name="words", seed=4),
        LSTM(4, use_bias=False, kernel_initializer=initializers.RandomNormal(0.0, 2.0),
             recurrent_initializer="glorot_normal", bias_initializer="ones", stateful=True,
             unit_forget_bias=False, return_sequences=True, name="memory", input_shape=(None, 6)),
        Dense(5, "relu", False, "he_normal", "ones", seed=2),
        Embedding(11, 3, embeddings_regularizer="l1", embeddings_constraint="unit_norm"),
        LSTM(4, peepholes=True, kernel_regularizer="l2", recurrent_regularizer="l1_l2",
             bias_regularizer=regularizers.L1(0.5), peephole_regularizer="l1",
             kernel_constraint=constraints.MaxNorm(3.0, (0, 1)), recurrent_constraint="unit_norm",
             bias_constraint="non_neg", peephole_constraint=constraints.MinMaxNorm(0.1)),
        Dense(5, kernel_regularizer=regularizers.OrthogonalRegularizer(1.0, "columns"),
              bias_regularizer="l2", kernel_constraint="max_norm", bias_constraint="non_neg"),
    ],
)  # fmt: skip
def test_config_holds_every_argument(layer):
    config = json.loads(json.dumps(layer.get_config()))
    assert config == layer.get_config()
    twin = type(layer).from_config(config)
    assert twin.get_config() == config
    assert {name: getattr(twin, name) for name in config} == {
        name: getattr(layer, name) for name in config
    }


def test_from_config_refuses_unknown_and_missing_arguments():
    with pytest.raises(ValueError, match=r"Dense has no argument \['unit'\]"):
        Dense.from_config({"units": 3, "unit": 3})
    with pytest.raises(ValueError, match=r"Dense lacks the argument \['units'\]"):
        Dense.from_config({})


# ---------------------------------------------------------------- weights in


def test_set_weights_rounds_and_keeps_the_arrays():
    layer = Dense(2)
    layer.build((None, 3))
    kept = layer.params["kernel"]
    kernel, bias = np.arange(6.0).reshape(3, 2) / 3, [1, 2]
    layer.set_weights([kernel, bias])
    assert layer.params["kernel"] is kept
    np.testing.assert_array_equal(kept, kernel.astype(np.float32))
    np.testing.assert_array_equal(layer.params["bias"], [1, 2])


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([np.ones((2, 12))], "weights: expected 3 arrays, got 1"),
        ([np.ones((2, 12)), np.ones((3, 12)), np.ones(11)], r"weights\[2\]: expected \(12,\)"),
        ([np.ones((12, 2)), np.ones((3, 12)), np.ones(12)], r"weights\[0\]: expected \(2, 12\)"),
        ([np.ones((2, 12)), np.ones((3, 12)), np.ones(12, complex)], "expected real numbers"),
        ([np.ones((2, 12)), np.ones((3, 12)), np.full(12, 1e300)], "that float32 can hold"),
    ],
)
def test_set_weights_is_all_or_nothing(weights, text):
    layer = LSTM(3)
    layer.build((None, None, 2))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=text):
        layer.set_weights(weights)
    assert_all_equal(before, layer.get_weights())


# ---------------------------------------------------------------- forward


def test_calling_a_layer_builds_it_for_what_it_sees():
    x = np.ones((2, 3, 4))
    layer = LSTM(5, seed=0)
    assert layer(x).shape == (2, 5) and layer.dtype == "float64"
    np.testing.assert_array_equal(layer(x), layer.forward(x))
    assert LSTM(5, return_sequences=True)(x).shape == (2, 3, 5)
    assert Dense(6)(x.astype(np.float32)).dtype == np.float32
    assert Embedding(7, 2)(np.array([[0, 6]])).shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("layer", "x", "text"),
    [
        (LSTM(2), [[[1.0]]], "x: expected a NumPy array, got list"),
        (LSTM(2), np.zeros((2, 3)), r"x: expected \(B, T, I\), got \(2, 3\)"),
        (LSTM(2), np.zeros((1, 1, 1), complex), "x: expected real numbers"),
        (LSTM(2), np.zeros((1, 1, 1), "f2"), "x: expected dtype float32 or float64, got <f2"),
        (Embedding(3, 2), np.zeros((1, 1)), "x: expected integer ids, got dtype float64"),
        (Embedding(3, 2), np.array([0, 3]), r"x: expected ids in \[0, 3\), got ids in \[0, 3\]"),
        (Embedding(3, 2), np.array([-1, 2]), r"x: expected ids in \[0, 3\)"),
    ],
)
def test_calling_a_layer_with_other_things_is_refused(layer, x, text):
    with pytest.raises(ValueError, match=text):
        layer(x)
    assert not layer.built


def test_lstm_takes_keras_weights_and_batch_first_input():
    layer = built(LSTM(3, return_sequences=True), (None, None, 2))
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    kernel, recurrent, bias = layer.get_weights()
    expected, _ = naive.lstm_forward(x.swapaxes(0, 1), kernel.T, recurrent.T, bias)
    np.testing.assert_allclose(layer(x), expected.swapaxes(0, 1), rtol=0, atol=1e-13)


def test_lstm_agrees_with_torch():
    torch = pytest.importorskip("torch")
    layer = built(LSTM(3, return_sequences=True), (None, None, 2))
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    twin = torch.nn.LSTM(2, 3, batch_first=True, dtype=torch.float64)
    kernel, recurrent, bias = layer.get_weights()
    with torch.no_grad():
        for to, value in zip(
            twin.parameters(), (kernel.T, recurrent.T, bias, 0 * bias), strict=True
        ):
            to.copy_(torch.from_numpy(np.ascontiguousarray(value)))
        expected = twin(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-13)


def test_an_initial_state_continues_a_sequence():
    layer = built(LSTM(3, stateful=True), (None, None, 2))
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    whole = layer(x)
    layer.reset_state()
    layer(x[:, :4])
    state = layer.state
    twin = LSTM(3)
    twin.build((None, None, 2), dtype="float64")
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(x[:, 4:], initial_state=state), whole)
    assert np.abs(twin(x[:, 4:]) - whole).max() > 1e-3
    with pytest.raises(ValueError, match=r"initial_state c: expected \(4, 3\), got \(3, 4\)"):
        twin(x, initial_state=(state[0], state[1].T))
    with pytest.raises(ValueError, match=r"initial_state: expected \(h, c\)"):
        twin(x, initial_state=state[0])


def test_a_stateful_layer_goes_on_where_it_was():
    layer = built(LSTM(3, stateful=True), (None, None, 2))
    plain = built(LSTM(3), (None, None, 2))
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    layer(x[:, :2])[...] = 9  # the caller's array, not the layer's memory
    np.testing.assert_array_equal(layer(x[:, 2:]), plain(x))
    with pytest.raises(ValueError, match="x: expected 4 rows, as the kept state has"):
        layer(x[:2])
    layer.reset_state()
    assert layer.state is None
    np.testing.assert_array_equal(layer(x[:2]), plain(x[:2]))


def test_a_stream_steps_through_the_weights_it_was_made_of():
    layer = built(LSTM(3), (None, None, 2))
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    expected, stream = layer(x), layer.stream(batch_size=4)
    layer.set_weights([0 * weight for weight in layer.get_weights()])
    for t in range(6):
        h = stream.step(np.ascontiguousarray(x[:, t]))
    np.testing.assert_allclose(h, expected, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="batch_size: expected an integer >= 1, got 0"):
        layer.stream(0)


def test_dense_activations_have_hand_computed_values():
    x = np.array([[1.0, 2.0]])
    expected = {
        None: [3.0, -4.0],
        "linear": [3.0, -4.0],
        "relu": [3.0, 0.0],
        "tanh": [0.9950547536867305, -0.9993292997390670],
        "sigmoid": [0.9525741268224334, 0.0179862099620916],
        "softmax": [0.9990889488055994, 0.0009110511944006],
    }
    for activation, values in expected.items():
        layer = Dense(2, activation)
        layer.build((None, 2), dtype="float64")
        layer.set_weights([np.array([[1.0, 0.0], [0.5, -2.0]]), np.array([1.0, 0.0])])
        np.testing.assert_allclose(layer(x), [values], rtol=0, atol=4e-15, err_msg=activation)


def test_dense_over_time_is_dense_over_each_step():
    layer = built(Dense(3, "softmax"), (None, 4))
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    np.testing.assert_array_equal(layer(x), layer(x.reshape(10, 4)).reshape(2, 5, 3))


# ---------------------------------------------------------------- backward


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("time", [1, 4])
def test_gradients_of_lstm(return_sequences, use_bias, time):
    layer = LSTM(3, return_sequences=return_sequences, use_bias=use_bias)
    x = np.random.default_rng(0).normal(size=(2, time, 4))
    check_gradients(built(layer, (None, None, 4)), x, zero=("W_hh",) if time == 1 else ())


def test_gradients_of_the_initial_state():
    layer = built(LSTM(3), (None, None, 2))
    rng = np.random.default_rng(0)
    x, h, c, upstream = (rng.normal(size=shape) for shape in [(2, 4, 2), (2, 3), (2, 3), (2, 3)])
    layer.forward(x, training=True, initial_state=(h, c))
    layer.backward(upstream)

    def weighed():
        return np.sum(upstream * layer.forward(x, initial_state=(h, c)))

    for found, array in zip(layer.initial_state_grads, (h, c), strict=True):
        np.testing.assert_allclose(
            found, difference_quotient(weighed, array), rtol=0, atol=GRADIENT_BAR
        )
        assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_gradients_of_dense(activation, shape):
    layer = built(Dense(5, activation), (None, 4))
    check_gradients(layer, np.random.default_rng(0).normal(size=shape))


def test_gradients_after_forward_linear_are_those_of_the_sums():
    layer, linear = built(Dense(5, "softmax"), (None, 4)), built(Dense(5), (None, 4))
    rng = np.random.default_rng(0)
    x, upstream = rng.normal(size=(3, 4)), rng.normal(size=(3, 5))
    np.testing.assert_array_equal(layer.forward_linear(x, training=True), linear.forward(x, True))
    np.testing.assert_array_equal(layer.backward(upstream.copy()), linear.backward(upstream))
    np.testing.assert_array_equal(layer.grads["kernel"], linear.grads["kernel"])


def test_the_gradient_of_a_table_adds_up_over_repeated_ids():
    layer = built(Embedding(4, 2), (None, None))
    layer.forward(np.array([[1, 3, 1]]), training=True)
    assert layer.backward(np.array([[[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]])) is None
    expected = [[0, 0], [101, 202], [0, 0], [10, 20]]
    np.testing.assert_array_equal(layer.grads["embeddings"], expected)


@pytest.mark.parametrize(
    ("layer", "x", "shape"),
    [
        (LSTM(3), np.zeros((2, 4, 5)), (2, 3)),
        (Dense(3), np.zeros((2, 5)), (2, 3)),
        (Embedding(3, 2), np.zeros((2, 5), int), (2, 5, 2)),
    ],
)
def test_backward_needs_a_forward_in_training_and_a_gradient_that_fits(layer, x, shape):
    layer(x)
    with pytest.raises(ValueError, match="backward needs a forward"):
        layer.backward(np.zeros(shape))
    layer.forward(x, training=True)
    with pytest.raises(ValueError, match="expected"):
        layer.backward(np.zeros((*shape, 1), layer.dtype))
    layer.backward(np.zeros(shape, layer.dtype))  # the cache is still there
    with pytest.raises(ValueError, match="backward needs a forward"):
        layer.backward(np.zeros(shape, layer.dtype))


def test_dx_is_left_out_on_request():
    for layer, x in ((LSTM(3), np.ones((2, 4, 5))), (Dense(3), np.ones((2, 5)))):
        dy = layer(x)
        layer.forward(x, training=True)
        assert layer.backward(dy, need_dx=False) is None
        assert list(layer.grads) == list(layer.params)


@pytest.mark.parametrize("dtype", ("bool", "int8", "uint8", "int64", "uint64"))
@pytest.mark.parametrize("make", (lambda: LSTM(3), lambda: SimpleRNN(3), lambda: Dense(3)))
def test_whole_numbers_and_truth_values_are_taken_as_floats(make, dtype):
    """As Keras's layers take them, also within a Model."""
    layer = make()
    shape = (5, 2) if isinstance(layer, Dense) else (5, 4, 2)
    x = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    y = layer(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, layer.forward(x.astype(np.float32)))
    np.testing.assert_array_equal(y, Model([layer]).predict(x))
    layer.forward(x, training=True)
    layer.backward(np.ones_like(y))
    assert np.abs(layer.grads["bias" if "bias" in layer.grads else "b"]).max() > 0


def test_truth_values_are_ids():
    layer, ids = Embedding(2, 3), np.array([[True, False, True]])
    y = layer(ids)
    np.testing.assert_array_equal(y, layer.params["embeddings"][[[1, 0, 1]]])
    np.testing.assert_array_equal(y, Model([layer]).predict(ids))
    layer.forward(ids, training=True)
    layer.backward(np.ones_like(y))
    assert layer.grads["embeddings"].tolist() == [[1] * 3, [2] * 3]

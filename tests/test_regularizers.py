"""Regularizers: values, gradients, Keras's results, and what training makes of them."""

import json

import numpy as np
import pytest
from agreement import assert_all_equal, difference_quotient

from lstmfast import initializers, regularizers
from lstmfast.layers import LSTM, Dense, Embedding
from lstmfast.layers.base import Layer
from lstmfast.model import Model, load
from lstmfast.optimizers import SGD
from lstmfast.regularizers import L1, L1L2, L2, OrthogonalRegularizer

VALUE_BAR = 1e-14  # of hand-computed values, relative; measured: 2e-16
GRADIENT_BAR = 1e-9  # of central differences; measured: 1e-10
MODEL_BAR = 5e-9  # of a whole model's central differences; measured: 5e-10
KERAS_BAR = 1e-6  # relative, both in float32; measured: 1.3e-7
STEPS_BAR = 1e-13  # of plain NumPy after some steps; measured: 2e-16
SPARSE = "sparse_categorical_crossentropy"
V = 7  # vocabulary

HAND = np.array([[1.0, -2.0], [0.0, 3.0]])
ALL = [
    L1(0.3),
    L2(0.2),
    L1L2(0.3, 0.2),
    OrthogonalRegularizer(0.5),
    OrthogonalRegularizer(0.5, "columns"),
]


def weight(shape=(4, 6), dtype="float64", order="C"):
    """Return a random weight without zeros."""
    return np.random.default_rng(5).normal(size=shape).astype(dtype, order=order)


# ---------------------------------------------------------------- values and gradients


@pytest.mark.parametrize(
    ("regularizer", "value", "gradient"),
    [
        (L1(0.5), 3.0, [[0.5, -0.5], [0.0, 0.5]]),
        (L2(0.5), 7.0, [[1.0, -2.0], [0.0, 3.0]]),
        (L1L2(0.5, 0.25), 6.5, [[1.0, -1.5], [0.0, 2.0]]),
        (L1L2(), 0.0, np.zeros((2, 2))),
        # rows (1, -2)/√5 and (0, 1): their product is -2/√5
        (OrthogonalRegularizer(0.5), 1 / 5**0.5,
         [[-0.2 / 5**0.5, -0.1 / 5**0.5], [-0.5 / 3 / 5**0.5, 0]]),
        # columns (1, 0) and (-2, 3)/√13: their product is -2/√13
        (OrthogonalRegularizer(0.5, "columns"), 1 / 13**0.5,
         [[0, -4.5 / 13**1.5], [-1.5 / 13**0.5, -3 / 13**1.5]]),
    ],
)  # fmt: skip
def test_values_and_gradients_by_hand(regularizer, value, gradient):
    assert regularizer.value(HAND) == regularizer(HAND) == pytest.approx(value, rel=VALUE_BAR)
    np.testing.assert_allclose(regularizer.gradient(HAND), gradient, rtol=0, atol=VALUE_BAR)


@pytest.mark.parametrize("regularizer", ALL)
@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (1, 3), (3, 1)])
def test_gradients_are_central_differences(regularizer, shape):
    w = weight(shape)
    expected = difference_quotient(lambda: regularizer.value(w), w)
    np.testing.assert_allclose(regularizer.gradient(w), expected, rtol=0, atol=GRADIENT_BAR)
    alone = isinstance(regularizer, OrthogonalRegularizer) and 1 in shape
    assert (np.abs(expected).max() > 1e-3) is not alone


@pytest.mark.parametrize("regularizer", ALL)
def test_a_weight_may_have_any_layout_and_both_dtypes(regularizer):
    w = weight()
    gradient = regularizer.gradient(w)
    for other in (weight(order="F"), np.repeat(w, 2, axis=1)[:, ::2]):
        assert regularizer.value(other) == pytest.approx(regularizer.value(w), rel=VALUE_BAR)
        np.testing.assert_allclose(regularizer.gradient(other), gradient, rtol=VALUE_BAR)
    single = w.astype("float32")
    assert isinstance(regularizer.value(single), float)
    assert regularizer.value(single) == pytest.approx(regularizer.value(w), rel=1e-6)
    assert regularizer.gradient(single).dtype == np.float32
    np.testing.assert_allclose(regularizer.gradient(single), gradient, rtol=0, atol=1e-6)


def test_the_gradient_at_zero_is_zero():
    for regularizer in ALL:
        assert regularizer.value(np.zeros((3, 2))) == 0.0
        assert not regularizer.gradient(np.zeros((3, 2))).any()


def test_vectors_shorter_than_epsilon_are_divided_by_it():
    for mode in ("rows", "columns"):
        w = 1e-9 * weight((3, 3))
        regularizer = OrthogonalRegularizer(0.5, mode)
        expected = difference_quotient(lambda: regularizer.value(w), w, 1e-14)  # noqa: B023
        np.testing.assert_allclose(regularizer.gradient(w), expected, rtol=1e-6)


def test_the_bits_are_the_same_at_any_number_of_threads(threads):
    w = weight((130, 257), "float32")
    for regularizer in ALL:
        found = []
        for count in (1, 2, 3):
            threads(count)
            found.append((regularizer.value(w), regularizer.gradient(w).tobytes()))
        assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("regularizer", ALL)
def test_keras_gets_the_same_values(keras, regularizer):
    fields = {k: v for k, v in regularizers.serialize(regularizer).items() if k != "class"}
    theirs = getattr(keras.regularizers, type(regularizer).__name__)(**fields)
    for w in (weight(dtype="float32"), 1e-8 * weight(dtype="float32")):
        expected = float(keras.ops.convert_to_numpy(theirs(keras.ops.convert_to_tensor(w))))
        assert regularizer.value(w) == pytest.approx(expected, rel=KERAS_BAR)


def test_defaults_are_those_of_keras(keras):
    for ours in (L1, L2, L1L2, OrthogonalRegularizer):
        config = getattr(keras.regularizers, ours.__name__)().get_config()
        assert {name: getattr(ours(), name) for name in config} == pytest.approx(config)


# ---------------------------------------------------------------- names and configs


def test_names():
    assert regularizers.get("l1") == L1(0.01) and regularizers.get("l2") == L2(0.01)
    assert regularizers.get("l1_l2") == L1L2(0.01, 0.01)
    assert regularizers.get("orthogonal_regularizer") == OrthogonalRegularizer(0.01, "rows")
    assert regularizers.get(None) is None and regularizers.serialize(None) is None
    assert regularizers.serialize(L2()) == "l2"


@pytest.mark.parametrize("regularizer", [*ALL, *regularizers.NAMED.values(), L2(np.float32(0.5))])
def test_a_regularizer_survives_json(regularizer):
    config = json.loads(json.dumps(regularizers.serialize(regularizer)))
    assert regularizers.get(config) == regularizer
    assert regularizers.get(regularizer) is regularizer


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: L1(-1), r"^l1: expected a finite number >= 0.0, got -1$"),
        (lambda: L2(float("nan")), r"^l2: expected a finite number >= 0.0, got nan$"),
        (lambda: L1L2(0.1, None), r"^l2: expected a finite number >= 0.0, got None$"),
        (lambda: OrthogonalRegularizer("a"), r"^factor: expected a finite number"),
        (lambda: OrthogonalRegularizer(1, "row"), r"^mode: expected one of 'rows', 'columns', got"),
        (lambda: LSTM(2, kernel_regularizer="l3"), r"^kernel_regularizer: expected one of 'l1', "),
        (lambda: LSTM(2, recurrent_regularizer=0.1), r"^recurrent_regularizer: expected .*got 0.1"),
        (lambda: LSTM(2, bias_regularizer={"class": "L3"}), r"^bias_regularizer: class: expected"),
        (lambda: LSTM(2, peephole_regularizer=L2), r"^peephole_regularizer: expected one of"),
        (lambda: Dense(2, kernel_regularizer=sum), r"^kernel_regularizer: expected one of"),
        (lambda: Dense(2, bias_regularizer="max_norm"), r"^bias_regularizer: expected one of"),
        (lambda: Embedding(2, 2, embeddings_regularizer=""), r"^embeddings_regularizer: expected"),
        (lambda: L2().value([1.0]), r"^w: expected a NumPy array of floats, got list"),
        (lambda: L1().gradient(np.ones(2, int)), r"^w: expected dtype float32 or float64"),
        (lambda: OrthogonalRegularizer().value(np.ones(3)), r"^w: expected a weight with two axes"),
    ],
)
def test_what_does_not_fit_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_weight_that_a_regularizer_does_not_take_is_refused_when_built():
    layer = LSTM(2, bias_regularizer="orthogonal_regularizer")
    text = (
        r"^bias_regularizer: expected a weight with two axes for OrthogonalRegularizer, got \(8,\)"
    )
    with pytest.raises(ValueError, match=text):
        layer.build((None, None, 3))
    assert not layer.built
    first = Dense(3)
    with pytest.raises(ValueError, match=text):
        Model([first, layer]).build((None, None, 3))
    assert not first.built


# ---------------------------------------------------------------- layers


def regularized(dtype="float64", optimizer="sgd", **arguments):
    """Return a compiled model in which every weight has a regularizer, some of them alike."""
    layers = [
        Embedding(V, 3, embeddings_regularizer=L1L2(0.01, 0.02)),
        LSTM(4, peepholes=True, kernel_regularizer=OrthogonalRegularizer(0.3, "columns"),
             recurrent_regularizer=OrthogonalRegularizer(0.2), bias_regularizer="l2",
             peephole_regularizer=L1(0.05), **arguments),
        Dense(V, "softmax", kernel_regularizer=L2(0.1), bias_regularizer=L1(0.02)),
    ]  # fmt: skip
    model = Model(layers, dtype=dtype, seed=0)
    model.compile(optimizer, SPARSE, ["accuracy"])
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def data(samples=8, time=4):
    """Return ids and the labels (x + 1) % V of the last step."""
    x = np.random.default_rng(0).integers(0, V, (samples, time))
    return x, (x[:, -1] + 1) % V


def plain(model):
    """Return a model with the weights of `model`, but no regularizer."""
    layers = [Embedding(V, 3), LSTM(4, peepholes=True), Dense(V, "softmax")]
    twin = Model(layers, dtype=model.dtype)
    twin.compile("sgd", SPARSE, ["accuracy"])
    twin.set_weights(model.get_weights())
    return twin


def test_penalties_are_of_weights_in_keras_layout():
    model = regularized()
    table, kernel, recurrent, bias, p, dense, dense_bias = model.get_weights()
    expected = [
        [L1L2(0.01, 0.02)(table)],
        [OrthogonalRegularizer(0.3, "columns")(kernel), OrthogonalRegularizer(0.2)(recurrent),
         L2(0.01)(bias), L1(0.05)(p)],
        [L2(0.1)(dense), L1(0.02)(dense_bias)],
    ]  # fmt: skip
    for layer, parts in zip(model.layers, expected, strict=True):
        assert layer.penalty() == pytest.approx(sum(parts), rel=VALUE_BAR)
        assert list(layer.regularizers()) == list(layer.params)
    assert model.penalty() == pytest.approx(sum(map(sum, expected)), rel=VALUE_BAR)
    assert plain(model).penalty() == 0.0


class Sets(Layer):
    """Weights of two layers and directions, named as a stack names them."""

    transposed = ("W_ih_l0", "W_ih_l1_reverse")
    roles = LSTM.roles
    kernel_regularizer, recurrent_regularizer = L2(1.0), None
    bias_regularizer = peephole_regularizer = projection_regularizer = None
    kernel_constraint = recurrent_constraint = bias_constraint = None
    peephole_constraint = projection_constraint = None

    def weight_shapes(self, input_shape):
        return {"W_ih_l0": (2, 8), "W_hh_l0": (2, 8), "W_ih_l1_reverse": (2, 8), "other": (1,)}

    def output_shape(self, input_shape):
        return input_shape

    def _initial(self, name, shape, rng):
        return initializers.Constant(0.5)(shape, rng)


def test_a_rule_holds_for_all_weights_of_a_kind():
    layer = Sets("sets", None)
    layer.build((None, 2))
    assert layer.regularizers() == {"W_ih_l0": L2(1.0), "W_ih_l1_reverse": L2(1.0)}
    assert layer.penalty() == 2 * 16 * 0.25


# ---------------------------------------------------------------- training


def test_gradients_of_the_whole_model():
    model, (x, y) = regularized(), data(3)
    loss, grads = model.gradients(x, y)
    assert loss == model.evaluate(x, y)[0]
    for param, grad in zip(model.params, grads, strict=True):
        expected = difference_quotient(lambda: model.evaluate(x, y)[0], param)
        np.testing.assert_allclose(grad, expected, rtol=0, atol=MODEL_BAR)
    _, without = plain(model).gradients(x, y)
    for grad, bare in zip(grads, without, strict=True):
        assert np.abs(grad - bare).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_reported_loss_contains_the_penalty(dtype):
    model, (x, y) = regularized(dtype), data(10)
    bare, penalty = plain(model).evaluate(x, y), model.penalty()
    expected = [pytest.approx(bare[0] + penalty, rel=1e-6), bare[1]]
    assert penalty > 1.0
    assert model.evaluate(x, y, batch_size=4) == expected
    assert model.gradients(x, y)[0] == expected[0]
    assert model.train_on_batch(x, y) == expected
    model = regularized(dtype, SGD(0.0))
    history = model.fit(x, y, 4, shuffle=False, verbose=0, validation_data=(x, y)).history
    assert [history["loss"][0], history["accuracy"][0]] == expected
    assert history["val_loss"] == [expected[0]]


def test_training_is_plain_arithmetic():
    """Mean squared error, L2 on the kernel, L1 on the bias, momentum: five steps by hand."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(5, 6, 3)), rng.normal(size=(5, 6, 2))
    kernel, bias = rng.normal(size=(3, 2)), rng.normal(size=2)
    model = Model([Dense(2, kernel_regularizer=L2(0.3), bias_regularizer=L1(0.1))], dtype="float64")
    model.compile(SGD(0.1, 0.5), "mse")
    model.build((None, 3))
    model.set_weights([kernel, bias])
    v_kernel, v_bias = 0 * kernel, 0 * bias
    for inputs, targets in zip(x, y, strict=True):
        difference = inputs @ kernel + bias - targets
        loss = np.mean(difference**2) + 0.3 * np.sum(kernel**2) + 0.1 * np.sum(np.abs(bias))
        d_kernel = 2 * inputs.T @ difference / difference.size + 0.6 * kernel
        d_bias = 2 * difference.sum(0) / difference.size + 0.1 * np.sign(bias)
        v_kernel, v_bias = 0.5 * v_kernel - 0.1 * d_kernel, 0.5 * v_bias - 0.1 * d_bias
        kernel, bias = kernel + v_kernel, bias + v_bias
        assert model.train_on_batch(inputs, targets) == pytest.approx(loss, rel=STEPS_BAR)
    for found, expected in zip(model.get_weights(), (kernel, bias), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=STEPS_BAR)


def test_a_layer_of_ones_own_loop_takes_the_steps_of_a_model():
    x = np.random.default_rng(0).normal(size=(4, 5, 3))
    y = np.random.default_rng(1).normal(size=(4, 2))
    make = {"kernel_regularizer": OrthogonalRegularizer(0.3), "recurrent_constraint": "unit_norm"}
    model = Model([LSTM(2, **make)], dtype="float64", seed=0)
    model.compile(SGD(0.1), "mse")
    model.build((None, None, 3))
    layer, optimizer = LSTM(2, **make), SGD(0.1)
    layer.adopt(model.layers[0].params, (None, None, 3), "float64")
    with pytest.raises(ValueError, match="add_penalty_gradients needs a backward before it"):
        layer.add_penalty_gradients()
    for _ in range(3):
        difference = layer.forward(x, training=True) - y
        loss = np.mean(difference**2) + layer.penalty()
        layer.backward(2 * difference / difference.size)
        layer.add_penalty_gradients()
        optimizer.apply(list(layer.params.values()), list(layer.grads.values()))
        layer.constrain()
        assert model.train_on_batch(x, y) == pytest.approx(loss, rel=STEPS_BAR)
    for found, expected in zip(layer.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=STEPS_BAR)


def test_a_saved_model_keeps_them(tmp_path):
    model, (x, y) = regularized(optimizer="adam"), data()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    assert [layer.regularizers() for layer in twin.layers] == [
        layer.regularizers() for layer in model.layers
    ]
    assert [layer.get_config() for layer in twin.layers] == [
        layer.get_config() for layer in model.layers
    ]
    assert twin.train_on_batch(x, y) == model.train_on_batch(x, y)
    assert_all_equal(twin.get_weights(), model.get_weights())


def test_keras_takes_the_same_steps(keras):
    """Three steps of an LSTM and a Dense layer with regularizers and constraints."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 5, 3)).astype("float32"), rng.normal(size=(6, 2)).astype("float32")
    rules = {
        "kernel_regularizer": ("OrthogonalRegularizer", {"factor": 0.3, "mode": "columns"}),
        "recurrent_regularizer": ("L1L2", {"l1": 0.01, "l2": 0.02}),
        "bias_regularizer": ("L2", {"l2": 0.1}),
        "kernel_constraint": ("MaxNorm", {"max_value": 0.7, "axis": 0}),
        "recurrent_constraint": ("MinMaxNorm", {"min_value": 0.8, "max_value": 0.9, "rate": 0.5}),
        "bias_constraint": ("NonNeg", {}),
    }
    ours = {name: {"class": kind, **fields} for name, (kind, fields) in rules.items()}
    theirs = {
        name: getattr(getattr(keras, f"{name.split('_')[1]}s"), kind)(**fields)
        for name, (kind, fields) in rules.items()
    }
    twin = keras.Sequential(
        [keras.Input((5, 3)), keras.layers.LSTM(4, **theirs),
         keras.layers.Dense(2, kernel_regularizer="l2", kernel_constraint="unit_norm")]
    )  # fmt: skip
    twin.compile(keras.optimizers.SGD(0.1), "mse")
    dense = Dense(2, kernel_regularizer="l2", kernel_constraint="unit_norm")
    model = Model([LSTM(4, **ours), dense])
    model.compile(SGD(0.1), "mse")
    model.build((None, None, 3))
    model.set_weights(twin.get_weights())
    for _ in range(3):
        expected = twin.evaluate(x, y, verbose=0)
        twin.train_on_batch(x, y)
        assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-5)
    for found, expected in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=5 * KERAS_BAR)


def test_keras_names_in_any_case():
    one = regularizers.L2(0.25)
    assert regularizers.l2(0.25) == one == regularizers.deserialize(regularizers.serialize(one))
    for name, known in regularizers.NAMED.items():
        if name != "l1_l2":
            assert regularizers.get(name.upper()) == regularizers.get(type(known).__name__) == known
            assert getattr(regularizers, name) is type(known)
    assert regularizers.get(None) is None

"""Constraints: projections by hand and by Keras, the layout they see, and when they are applied."""

import json

import numpy as np
import pytest
from agreement import assert_all_equal

from lstmfast import constraints
from lstmfast.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from lstmfast.layers import LSTM, Dense, Embedding
from lstmfast.model import Model, load
from lstmfast.optimizers import SGD, Adam

EPSILON = 1e-7  # Keras's
HAND_BAR = 1e-15  # measured: 1e-16
KERAS_BAR = 1e-6  # relative, both in float32; measured: 2.4e-7
STEPS_BAR = 1e-14  # of plain NumPy after some steps; measured: 2e-16
SPARSE = "sparse_categorical_crossentropy"

HAND = np.array([[3.0, 0.0, -0.3], [-4.0, 0.0, 0.4]])  # columns of length 5, 0 and 0.5
ALL = [
    MaxNorm(1.5),
    MaxNorm(1.5, axis=1),
    MaxNorm(2.0, axis=(0, 1)),
    NonNeg(),
    UnitNorm(),
    UnitNorm(axis=-1),
    MinMaxNorm(1.0, 2.0),
    MinMaxNorm(2.0, 2.5, rate=0.3, axis=1),
]


def weight(dtype="float64", order="C"):
    """Return a random weight."""
    return np.random.default_rng(5).normal(size=(4, 6)).astype(dtype, order=order)


# ---------------------------------------------------------------- projections


@pytest.mark.parametrize(
    ("constraint", "factors"),
    [
        (MaxNorm(2.0), [2 / (5 + EPSILON), 0, 0.5 / (0.5 + EPSILON)]),
        (UnitNorm(), [1 / (5 + EPSILON), 0, 1 / (0.5 + EPSILON)]),
        (MinMaxNorm(1.0, 3.0), [3 / (5 + EPSILON), 0, 1 / (0.5 + EPSILON)]),
        (MinMaxNorm(1.0, 3.0, 0.25), [4.5 / (5 + EPSILON), 0, 0.625 / (0.5 + EPSILON)]),
    ],
)
def test_columns_by_hand(constraint, factors):
    np.testing.assert_allclose(constraint(HAND), HAND * factors, rtol=0, atol=HAND_BAR)


def test_other_axes_by_hand():
    rows = np.sqrt([[9.09], [16.16]])
    np.testing.assert_allclose(UnitNorm(1)(HAND), HAND / (rows + EPSILON), rtol=1e-14)
    np.testing.assert_allclose(UnitNorm(-1)(HAND), UnitNorm(1)(HAND), rtol=0)
    whole = MaxNorm(1.0, (0, 1))(HAND)
    np.testing.assert_allclose(whole, HAND / (np.sqrt(25.25) + EPSILON), rtol=1e-14)
    np.testing.assert_array_equal(NonNeg()(HAND), [[3, 0, 0], [0, 0, 0.4]])


@pytest.mark.parametrize("constraint", ALL)
def test_a_projection_is_in_place_in_any_layout_and_dtype(constraint):
    expected = constraint(weight())
    assert np.abs(expected - weight()).max() > 0.1
    for order in "CF":
        w = weight(order=order)
        assert constraint.project(w) is None
        np.testing.assert_allclose(w, expected, rtol=1e-14)
        single = constraint(weight("float32", order))
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, expected, rtol=0, atol=3e-7)


def test_a_call_leaves_its_argument():
    kept = weight()
    kept.flags.writeable = False
    assert not np.shares_memory(NonNeg()(kept), kept)


@pytest.mark.parametrize("constraint", ALL)
def test_keras_projects_to_the_same(keras, constraint):
    found = constraints.serialize(constraint)
    fields = {} if isinstance(found, str) else {k: v for k, v in found.items() if k != "class"}
    theirs = getattr(keras.constraints, type(constraint).__name__)(**fields)
    w = weight("float32")
    w[:, 2] = 0
    expected = keras.ops.convert_to_numpy(theirs(w))
    np.testing.assert_allclose(constraint(w), expected, rtol=KERAS_BAR, atol=0)


def test_defaults_are_those_of_keras(keras):
    for name, ours in constraints.NAMED.items():
        theirs = keras.constraints.get(name)
        assert type(theirs).__name__ == type(ours).__name__
        assert {key: getattr(ours, key) for key in theirs.get_config()} == theirs.get_config()


# ---------------------------------------------------------------- names and configs


def test_names():
    assert constraints.get("max_norm") == MaxNorm(2.0, 0)
    assert constraints.get("min_max_norm") == MinMaxNorm(0.0, 1.0, 1.0, 0)
    assert constraints.get(None) is None and constraints.serialize(None) is None
    assert constraints.serialize(UnitNorm()) == "unit_norm"
    assert MaxNorm(2, [0, 1]) == MaxNorm(2.0, (0, 1))


@pytest.mark.parametrize("constraint", [*ALL, *constraints.NAMED.values(), MaxNorm(np.float32(3))])
def test_a_constraint_survives_json(constraint):
    config = json.loads(json.dumps(constraints.serialize(constraint)))
    assert constraints.get(config) == constraint
    assert config == constraints.serialize(constraint)
    assert constraints.get(constraint) is constraint


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MaxNorm(-1), r"^max_value: expected a finite number >= 0.0, got -1$"),
        (lambda: MaxNorm(1, 0.5), r"^axis: expected an integer >= -2, got 0.5$"),
        (lambda: UnitNorm([]), r"^axis: expected an integer >= -2, got \[\]$"),
        (lambda: UnitNorm((0, "b")), r"^axis: expected an integer >= -2, got 'b'$"),
        (lambda: MinMaxNorm(2, 1), r"^max_value: expected a finite number >= 2.0, got 1$"),
        (lambda: MinMaxNorm(rate=2), r"^rate: expected a finite number in \[0.0, 1.0\], got 2$"),
        (lambda: LSTM(2, kernel_constraint="norm"), r"^kernel_constraint: expected one of 'max_"),
        (lambda: LSTM(2, recurrent_constraint=1), r"^recurrent_constraint: expected .*got 1$"),
        (lambda: LSTM(2, bias_constraint={}), r"^bias_constraint: expected a mapping with the key"),
        (lambda: LSTM(2, peephole_constraint=abs), r"^peephole_constraint: expected one of"),
        (lambda: Dense(2, kernel_constraint="l2"), r"^kernel_constraint: expected one of"),
        (lambda: Dense(2, bias_constraint=NonNeg), r"^bias_constraint: expected one of"),
        (lambda: Embedding(2, 2, embeddings_constraint=""), r"^embeddings_constraint: expected"),
        (lambda: UnitNorm()([1.0]), r"^w: expected a NumPy array of floats, got list"),
        (lambda: NonNeg()(np.ones(2, int)), r"^w: expected dtype float32 or float64"),
        (lambda: UnitNorm(1)(np.ones(2)), r"^w: expected different axes of \(2,\), got axis 1$"),
    ],
)
def test_what_does_not_fit_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize("axis", [1, (0, -1)])
def test_an_axis_that_a_weight_lacks_is_refused_when_it_is_built(axis):
    layer = Dense(2, bias_constraint=UnitNorm(axis))
    with pytest.raises(ValueError, match=r"^bias_constraint: expected different axes of \(2,\)"):
        layer.build((None, 3))
    assert not layer.built


# ---------------------------------------------------------------- training


def constrained(dtype="float64", optimizer="adam"):
    """Return a compiled model in which every weight has a constraint."""
    layers = [
        Embedding(7, 3, embeddings_constraint=MaxNorm(0.1, axis=1)),
        LSTM(4, peepholes=True, peephole_initializer="normal", kernel_constraint=UnitNorm(),
             recurrent_constraint=MinMaxNorm(0.2, 0.3), bias_constraint="non_neg",
             peephole_constraint=MaxNorm(0.05, axis=1)),
        Dense(7, "softmax", kernel_constraint=UnitNorm(1), bias_constraint=UnitNorm()),
    ]  # fmt: skip
    model = Model(layers, dtype=dtype, seed=0)
    model.compile(optimizer, SPARSE)
    return model


X = np.random.default_rng(0).integers(0, 7, (16, 4))
Y = (X[:, -1] + 1) % 7


def check(weights, bar):
    """Assert that the weights, in Keras's layout, keep the constraints of `constrained`."""
    table, kernel, recurrent, bias, p, dense, dense_bias = weights
    assert np.linalg.norm(table, axis=1).max() <= 0.1
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=0, atol=bar)
    lengths = np.linalg.norm(recurrent, axis=0)
    assert lengths.min() >= 0.2 - bar and lengths.max() <= 0.3
    assert bias.min() >= 0 and np.linalg.norm(p, axis=1).max() <= 0.05
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1, rtol=0, atol=bar)
    assert np.linalg.norm(dense_bias) == pytest.approx(1, abs=1e-4)  # it was short: EPSILON shows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_step_ends_with_the_constraints(dtype):
    model = constrained(dtype)
    assert model.layers[1].constraints()["W_hh"] == MinMaxNorm(0.2, 0.3)
    params = list(model.params)
    model.train_on_batch(X, Y)
    check(model.get_weights(), 2e-6)
    model.fit(X, Y, batch_size=5, epochs=2, verbose=0)
    check(model.get_weights(), 2e-6)
    assert all(one is other for one, other in zip(params, model.params, strict=True))


def test_nothing_is_constrained_before_the_first_step():
    model, plain = constrained(), Model([Dense(2)])
    before = model.get_weights()
    model.evaluate(X, Y)
    model.gradients(X, Y)
    assert_all_equal(before, model.get_weights())
    plain.build((None, 3))
    plain.constrain()
    assert plain.layers[0].constraints() == {}


def test_a_loop_of_ones_own_is_fit():
    model, twin, optimizer = constrained(), constrained(), Adam()
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for at in (0, 8):
        _, grads = twin.gradients(X[at : at + 8], Y[at : at + 8])
        optimizer.apply(twin.params, grads)
        twin.constrain()
    assert_all_equal(model.get_weights(), twin.get_weights())


def test_training_is_plain_arithmetic():
    """Mean squared error, a kernel of unit columns, a bias that is not negative: five steps."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(5, 6, 3)), rng.normal(size=(5, 6, 2))
    kernel, bias = rng.normal(size=(3, 2)), np.zeros(2)
    layer = Dense(2, kernel_constraint="unit_norm", bias_constraint="non_neg")
    model = Model([layer], dtype="float64")
    model.compile(SGD(0.1), "mse")
    model.build((None, 3))
    model.set_weights([kernel, bias])
    for inputs, targets in zip(x, y, strict=True):
        difference = inputs @ kernel + bias - targets
        kernel = kernel - 0.2 * inputs.T @ difference / difference.size
        kernel /= EPSILON + np.sqrt(np.sum(kernel**2, axis=0))
        bias = np.maximum(bias - 0.2 * difference.sum(0) / difference.size, 0)
        model.train_on_batch(inputs, targets)
    for found, expected in zip(model.get_weights(), (kernel, bias), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=STEPS_BAR)


def test_a_saved_model_keeps_them(tmp_path):
    model = constrained()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    assert [layer.constraints() for layer in twin.layers] == [
        layer.constraints() for layer in model.layers
    ]
    assert twin.train_on_batch(X, Y) == model.train_on_batch(X, Y)
    assert_all_equal(twin.get_weights(), model.get_weights())


def test_keras_names_in_any_case():
    one = constraints.MaxNorm(3.0)
    assert constraints.max_norm(3.0) == one == constraints.deserialize(constraints.serialize(one))
    for name, known in constraints.NAMED.items():
        if name != "l1_l2":
            assert constraints.get(name.upper()) == constraints.get(type(known).__name__) == known
            assert getattr(constraints, name) is type(known)
    assert constraints.get(None) is None

"""Variants of the cell against the oracle: each option and pair, each activation in each place."""

from itertools import combinations

import family
import naive
import numpy as np
import pytest
from agreement import (
    ACTIVATIONS,
    DTYPES,
    THREADS,
    assert_case_close,
    assert_close,
    assert_gradient_close,
    computed,
    expected,
    lstm_case,
    same_bits,
)

from lstmfast import LSTM, Activation, CellOptions, LSTMStream, Model, load, lstm_forward, ops

OF_CELLS = "peepholes coupled clip cell_clip activation recurrent_activation output_activation"
OPTIONS = {name: family.OPTIONS[name] for name in OF_CELLS.split()}
PAIRS = {f"{a}+{b}": OPTIONS[a] | OPTIONS[b] for a, b in combinations(OPTIONS, 2)}
EVERYTHING = {name: value for option in OPTIONS.values() for name, value in option.items()}
SHAPES = ((5, 7, 9, 37), (1, 1, 3, 16), (3, 2, 4, 3), (2, 33, 5, 65))


def variant_case(shape, dtype, peepholes=False, **options):
    """Return a case, the keyword arguments of `ops` for it and the oracle's variant."""
    case = lstm_case(*shape, dtype)
    if peepholes:
        p = np.random.default_rng(5).uniform(-0.5, 0.5, (3, shape[-1]))
        case.inputs["p"] = p.astype(dtype)
    chosen = CellOptions(**options)
    variant = naive.Variant(
        chosen.activation,
        chosen.recurrent_activation,
        chosen.output_activation,
        chosen.coupled,
        chosen.clip or np.inf,
        chosen.cell_clip or np.inf,
    )
    return case, {"options": chosen}, variant


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", (OPTIONS | PAIRS).values(), ids=OPTIONS | PAIRS)
def test_options_and_pairs(options, shape, dtype):
    case, chosen, variant = variant_case(shape, dtype, **options)
    assert_case_close(case, variant, **chosen)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("place", ("activation", "recurrent_activation", "output_activation"))
def test_each_activation_in_each_place(place, name, dtype):
    options = {"activation": "tanh", "output_activation": "tanh"} | {
        place: (name, *ACTIVATIONS[name])
    }
    case, chosen, variant = variant_case((4, 5, 6, 21), dtype, clip=2.0, **options)
    assert_case_close(case, variant, **chosen)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_slopes(name, dtype):
    activation = (name, *ACTIVATIONS[name])
    x = np.concatenate([np.linspace(-30, 30, 1001), np.linspace(-1e-3, 1e-3, 33)]).astype(dtype)
    full = (*activation, 0.0, 0.0)[:3]
    assert_close(
        ops.activation_forward(activation, x), naive.activate(full, x.astype(float)), dtype
    )
    x = x[np.abs(x) > 1e-4]  # a slope at a kink is a matter of taste
    y = ops.activation_forward(activation, x)
    got = ops.activation_backward(activation, y, np.ones_like(x))
    assert_gradient_close(got, naive.slope(full, x.astype(float)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_at_the_ends(name, dtype):
    """Infinite arguments give the limit, NaN stays NaN."""
    y = ops.activation_forward(
        (name, *ACTIVATIONS[name]), np.array([-np.inf, np.inf, np.nan], dtype)
    )
    limits = {
        "sigmoid": (0, 1),
        "tanh": (-1, 1),
        "hard_sigmoid": (0, 1),
        "relu": (0, np.inf),
        "thresholded_relu": (0, np.inf),
        "elu": (-0.8, np.inf),
        "softsign": (-1, 1),
        "softplus": (0, np.inf),
        "scaled_tanh": (-1.2, 1.2),
    }.get(name, (-np.inf, np.inf))
    assert y[:2] == pytest.approx(limits, rel=1e-6)
    assert np.isnan(y[2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(dtype, threads):
    results = []
    for n in THREADS:
        threads(n)
        case, chosen, _ = variant_case((300, 3, 40, 130), dtype, **EVERYTHING)
        outputs, gradients = computed(case, **chosen)
        results.append((outputs | gradients).values())
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


@pytest.mark.parametrize("dtype", DTYPES)
def test_stream_steps_as_the_sequence(dtype):
    case, chosen, variant = variant_case((6, 2, 5, 35), dtype, **EVERYTHING)
    weights = [case.inputs[name] for name in ("W_ih", "W_hh", "b")]
    stream = LSTMStream(*weights, batch_size=2, p=case.inputs["p"], **chosen)
    stream.set_state(case.inputs["h0"], case.inputs["c0"])
    y = np.array([stream.step(x) for x in case.inputs["x"]])
    assert_close(y, expected(case, variant)[0]["y"], dtype)


def test_a_layer_of_every_option(tmp_path):
    layer = LSTM(21, peephole_initializer="glorot_uniform", return_sequences=True, **EVERYTHING)
    layer.build((None, None, 6), np.random.default_rng(1))
    assert layer.params["p"].shape == (3, 21) and np.ptp(layer.params["p"]) > 0
    x = np.random.default_rng(2).standard_normal((4, 5, 6)).astype(np.float32)
    weights = [layer.params[name] for name in ("W_ih", "W_hh", "b")]
    wanted = lstm_forward(x, *weights, p=layer.params["p"], options=layer.options, batch_first=True)
    assert same_bits(layer(x), wanted[0])
    layer.forward(x, training=True)
    layer.backward(np.ones((4, 5, 21), np.float32))
    assert layer.grads.keys() == layer.params.keys()
    assert all(layer.grads[name].shape == layer.params[name].shape for name in layer.params)
    again = LSTM.from_config(layer.get_config())
    assert again.options == layer.options and again.peepholes


def test_a_model_of_variants_learns_and_comes_back_from_a_file(tmp_path):
    layers = [
        LSTM(8, return_sequences=True, input_shape=(None, 3), **EVERYTHING),
        LSTM(8, "softsign", coupled=True, output_activation="linear"),
    ]
    model = Model(layers, seed=0)
    model.compile(optimizer="adam", loss="mse")
    x = np.random.default_rng(3).standard_normal((16, 6, 3)).astype(np.float32)
    y = np.tanh(x.sum(axis=1) @ np.ones((3, 8), np.float32))
    first = model.train_on_batch(x, y)
    for _ in range(150):
        last = model.train_on_batch(x, y)
    assert last < 0.9 * first
    model.save(tmp_path / "variants")
    again = load(tmp_path / "variants")
    assert same_bits(again.predict(x), model.predict(x))
    assert again.layers[1].output_activation == Activation("affine", 1.0, 0.0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"activation": "swish"}, "activation: expected"),
        ({"activation": ("tanh", 1.0)}, "activation: expected 0 parameters for tanh"),
        ({"activation": ("linear", 2.0)}, "activation: expected 0 parameters for linear"),
        ({"recurrent_activation": ("elu", float("nan"))}, "recurrent_activation alpha: expected"),
        ({"clip": 0}, "clip: expected a number > 0 or None, got 0"),
        ({"cell_clip": -1.0}, "cell_clip: expected"),
        ({"coupled": 1}, "coupled: expected True or False"),
    ],
)
def test_wrong_options(options, text):
    with pytest.raises(ValueError, match=text):
        CellOptions(**options)


def test_linear_is_affine():
    for linear in ("linear", ("linear", 0.0), Activation("linear"), ("affine", 1.0, 0.0)):
        assert CellOptions(linear).activation == Activation("affine", 1.0, 0.0)


def test_slopes_that_cannot_be_told():
    """They serve inference, and are refused in training."""
    case, _, _ = variant_case((2, 1, 3, 4), "float32")
    options = CellOptions(("leaky_relu", -0.5))
    y, _, _ = ops.lstm_forward(**case.inputs, options=options)
    variant = naive.Variant(("leaky_relu", -0.5, 0), output_activation=("leaky_relu", -0.5, 0))
    assert_close(y, naive.lstm_forward(**case.inputs, variant=variant)[0], "float32")
    with pytest.raises(ValueError, match="activation: expected alpha > 0 of leaky_relu"):
        ops.lstm_forward(**case.inputs, options=options, training=True)
    with pytest.raises(ValueError, match="options: expected CellOptions, got dict"):
        ops.lstm_forward(**case.inputs, options={})
    with pytest.raises(ValueError, match="p: expected"):
        ops.lstm_forward(**case.inputs, p=np.zeros((4, 3), np.float32))

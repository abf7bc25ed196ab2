"""The plain recurrent layer against its oracle, torch and Keras; the layer and a Model of it."""

import naive
import naive_rnn
import numpy as np
import pytest
from agreement import (
    ACTIVATIONS,
    BATCHES,
    DTYPES,
    FORWARD_BAR,
    GRADIENT_BAR,
    SIZES,
    THREADS,
    Case,
    assert_close,
    assert_gradient_close,
    forward_error,
    glorot_uniform,
    gradient_error,
    orthogonal,
    same_bits,
)

from lstmfast import LSTM, Adam, Dense, Embedding, Model, SimpleRNN, load, ops

# Twice agreement.py's for float32: a sum of 300 terms reaches h through a slope of up to 1, where
# an LSTM's gates take a quarter of its error. Measured: 2.1e-6 (v3) and 3.6e-15; gradients 2.3e-6.
STATE_BAR = {"float32": 4e-6, "float64": FORWARD_BAR["float64"]}
NUDGE = 1e-5  # of central differences in float64
DIFFERENCE_BAR = 1e-7  # measured: 2e-10
# On one thread; then cut by rows, weight gradients by rows and (many inputs) by columns.
SHARED = ((5, 7, 33, 16), (20, 33, 17, 100), (100, 13, 3, 31), (30, 2, 900, 70), (9, 64, 128, 256))
INPUTS = ("x", "W_ih", "W_hh", "b", "h0")


def covering_shapes():
    """Return (T, B, I, H): every H with three batches, T and I in turn."""
    shapes = []
    for column, H in enumerate(SIZES):
        for row, B in enumerate((1, 3, 33)):
            T, I = (1, 2, 5)[(row + column) % 3], SIZES[(column + 5 * row) % len(SIZES)]
            shapes.append((T, B, I, H))
    shapes += [(3, B, 7, 70) for B in BATCHES if B not in (1, 3, 33)]
    return [*shapes, (100, 3, 20, 65), (100, 1, 300, 300), (2, 7, 5, 530)]


def rnn_case(T, B, I, H, dtype="float32", seed=0):
    """Return a time-major case: default initialisers, a random bias and random upstreams."""
    rng = np.random.default_rng([seed, T, B, I, H])
    draw = rng.standard_normal
    inputs = {
        "x": draw((T, B, I)),
        "W_ih": glorot_uniform(rng, H, I),
        "W_hh": orthogonal(rng, H, H),
        "b": rng.uniform(-0.1, 0.1, H),
        "h0": rng.uniform(-1, 1, (B, H)),
    }
    upstream = {"dy": draw((T, B, H)), "dh_n": draw((B, H))}
    return Case(
        *({name: a.astype(dtype) for name, a in group.items()} for group in (inputs, upstream))
    )


def computed(case, **options):
    """Return every output and gradient of a case, by `lstmfast.ops`."""
    y, h_n, cache = ops.rnn_forward(**case.inputs, training=True, **options)
    return {"y": y, "h_n": h_n}, ops.rnn_backward(cache, **case.upstream)._asdict()


def oracles(activation):
    """Return f and its slope, of the oracle's table of activations."""
    name, alpha, beta = (*activation, 0.0, 0.0)[:3]
    f, slope = naive.ACTIVATIONS[name]
    return lambda z: f(z, alpha, beta), lambda z: slope(z, alpha, beta)


def expected(case, activation=("tanh",), mask=None):
    """Return every output and gradient of a case, by the oracle."""
    pair = oracles(activation)
    h, h_n = naive_rnn.rnn_forward(**case.inputs, activation=pair, mask=mask)
    found = naive_rnn.rnn_backward(**case.inputs, **case.upstream, activation=pair, mask=mask)
    return {"y": h, "h_n": h_n}, found


def assert_agrees(case, got, wanted):
    dtype = case.inputs["x"].dtype
    for name, ref in wanted[0].items():
        assert got[0][name].dtype == dtype
        assert forward_error(got[0][name], ref) <= STATE_BAR[str(dtype)], name
    for name, ref in wanted[1].items():
        if name == "dh0" and case.inputs.get("h0") is None:
            assert got[1][name] is None
        else:
            assert_gradient_close(got[1][name], ref, dtype)


# ---------------------------------------------------------------- the oracle


def loss_of(case, inputs, **options):
    h, h_n = naive_rnn.rnn_forward(**inputs, **options)
    return (case.upstream["dy"] * h).sum() + (case.upstream["dh_n"] * h_n).sum()


@pytest.mark.parametrize("masked", (False, True), ids=("all", "masked"))
@pytest.mark.parametrize("B", (1, 3))
@pytest.mark.parametrize("T", (1, 2, 5))
def test_the_oracle_against_central_differences(T, B, masked):
    case = rnn_case(T, B, 4, 3, "float64")
    mask = np.random.default_rng(1).random((T, B)) < 0.7 if masked else None
    if masked:
        mask[0] = True  # else a gradient may be zeros
    gradients = naive_rnn.rnn_backward(**case.inputs, **case.upstream, mask=mask)
    for name in INPUTS:
        a = case.inputs[name].copy()
        numeric = np.zeros_like(a)
        for at in np.ndindex(a.shape):
            kept = a[at]
            a[at] = kept + NUDGE
            above = loss_of(case, case.inputs | {name: a}, mask=mask)
            a[at] = kept - NUDGE
            numeric[at] = (above - loss_of(case, case.inputs | {name: a}, mask=mask)) / (2 * NUDGE)
            a[at] = kept
        assert np.abs(numeric).max() > 0
        assert gradient_error(gradients["d" + name], numeric) <= DIFFERENCE_BAR, name


def test_one_step_by_hand():
    h, h_n = naive_rnn.rnn_forward(
        np.full((1, 1, 1), 0.5), [[2.0]], np.array([[0.4]]), [0.1], [[0.25]]
    )
    assert h[0, 0, 0] == h_n[0, 0] == pytest.approx(np.tanh(1.2), rel=1e-15)


# ---------------------------------------------------------------- kernels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", covering_shapes(), ids=str)
def test_shapes(shape, dtype):
    case = rnn_case(*shape, dtype)
    assert_agrees(case, computed(case), expected(case))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation(name, dtype):
    activation = (name, *ACTIVATIONS[name])
    case = rnn_case(4, 5, 6, 21, dtype)
    assert_agrees(case, computed(case, activation=activation), expected(case, activation))


@pytest.mark.parametrize("left_out", (("b",), ("h0",), ("b", "h0")), ids="+".join)
@pytest.mark.parametrize("T", (1, 2, 5))
def test_missing_inputs_are_zeros(T, left_out):
    case = rnn_case(T, 3, 7, 19, "float64")
    for name in left_out:
        del case.inputs[name]
    assert_agrees(case, computed(case), expected(case))


@pytest.mark.parametrize("only", ("dy", "dh_n"))
def test_each_upstream_gradient_alone(only):
    case = rnn_case(5, 3, 7, 19, "float64")
    case = Case(case.inputs, {only: case.upstream[only]})
    assert_agrees(case, computed(case), expected(case))


@pytest.mark.parametrize("reverse", (False, True), ids=("forwards", "reverse"))
@pytest.mark.parametrize("batch_first", (False, True), ids=("time first", "batch first"))
def test_layouts(batch_first, reverse):
    """Axes in another order, and strided views, leave the same bits."""

    def turned(a):
        a = a[::-1] if reverse else a
        return a.swapaxes(0, 1) if batch_first else a

    case = rnn_case(6, 5, 7, 19)
    outputs, gradients = computed(case)
    wide = np.zeros((6, 5, 2, 19), np.float32)
    wide[:, :, 1] = case.upstream["dy"]
    inputs = case.inputs | {"x": turned(case.inputs["x"])}
    views = Case(inputs, case.upstream | {"dy": turned(wide[:, :, 1])})
    got, found = computed(views, batch_first=batch_first, reverse=reverse)
    assert same_bits(got["y"], turned(outputs["y"]))
    assert same_bits(got["h_n"], outputs["h_n"])
    assert same_bits(found.pop("dx"), turned(gradients.pop("dx")))
    assert all(same_bits(found[name], gradients[name]) for name in gradients)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHARED, ids=str)
def test_bits_do_not_depend_on_threads(shape, dtype, threads):
    case = rnn_case(*shape, dtype)
    mask = np.random.default_rng(2).random(shape[:2]) < 0.7
    results = []
    for n in THREADS:
        threads(n)
        results.append(
            [a for found in (computed(case), computed(case, mask=mask))
             for group in found for a in group.values()]
        )  # fmt: skip
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


def test_without_sequences_and_dx():
    case = rnn_case(4, 3, 5, 17)
    y, h_n, _ = ops.rnn_forward(**case.inputs)
    none, last, cache = ops.rnn_forward(**case.inputs, training=True, return_sequences=False)
    assert none is None and same_bits(last, h_n) and same_bits(y[-1], h_n)
    gradients = ops.rnn_backward(cache, dh_n=case.upstream["dh_n"], need_dx=False)
    assert gradients.dx is None
    with pytest.raises(ValueError, match="got one already used"):
        ops.rnn_backward(cache, dh_n=case.upstream["dh_n"])


# ---------------------------------------------------------------- steps that are not taken


def padded(states, mask, repeat, reverse=False):
    """What y shows of the states (T, B, H): zeros or the output before where no step is taken."""
    y = np.zeros_like(states)
    T, B = mask.shape
    for b in range(B):
        last = np.zeros(states.shape[2])
        for t in reversed(range(T)) if reverse else range(T):
            if mask[t, b]:
                last = states[t, b]
            if mask[t, b] or repeat:
                y[t, b] = last
    return y


MASKS = {
    "random": np.random.default_rng(3).random((9, 5)) < 0.6,
    "lengths": np.arange(9)[:, None] < [9, 0, 3, 7, 1],
    "none": np.zeros((9, 5), bool),
    "all": np.ones((9, 5), bool),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("repeat", (False, True), ids=("zeros", "repeat"))
@pytest.mark.parametrize("reverse", (False, True), ids=("forwards", "reverse"))
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masks(mask, reverse, repeat, dtype):
    order = slice(None, None, -1 if reverse else 1)
    case = rnn_case(9, 5, 4, 21, dtype)
    got = computed(case, mask=mask, reverse=reverse, pad="repeat" if repeat else "zeros")
    turned = case.inputs | {"x": case.inputs["x"][order]}
    shown = mask[order]
    if repeat:
        shown = np.logical_or.accumulate(shown)
    upstream = case.upstream | {"dy": case.upstream["dy"][order] * shown[:, :, None]}
    outputs, gradients = expected(Case(turned, upstream), mask=mask[order])
    outputs["y"] = padded(outputs["y"][order], mask, repeat, reverse)
    gradients["dx"] = gradients["dx"][order]
    assert_agrees(case, got, (outputs, gradients))


@pytest.mark.parametrize("batch_first", (False, True), ids=("time first", "batch first"))
@pytest.mark.parametrize("reverse", (False, True), ids=("forwards", "reverse"))
def test_lengths_are_a_mask(reverse, batch_first):
    case = rnn_case(9, 5, 4, 21)
    mask = MASKS["lengths"]
    if batch_first:
        mask = mask.T
        case.inputs["x"] = case.inputs["x"].swapaxes(0, 1)
        case.upstream["dy"] = case.upstream["dy"].swapaxes(0, 1)
    options = {"reverse": reverse, "batch_first": batch_first}
    one = computed(case, lengths=np.array([9, 0, 3, 7, 1]), **options)
    for group, other in zip(one, computed(case, mask=mask, **options), strict=True):
        assert all(same_bits(group[name], other[name]) for name in group)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_stands_at_steps_left_out_does_not_matter(dtype):
    case = rnn_case(9, 5, 4, 21, dtype)
    mask = MASKS["random"]
    clean = computed(case, mask=mask)
    case.inputs["x"][~mask] = np.nan
    case.upstream["dy"][~mask] = np.nan
    for group, other in zip(clean, computed(case, mask=mask), strict=True):
        assert all(same_bits(group[name], other[name]) for name in group)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"x": np.zeros((4, 3))}, r"x: expected \(T, B, 5\), got \(4, 3\)"),
        ({"x": np.zeros((4, 3, 6))}, r"x: expected \(T, B, 5\), got \(4, 3, 6\)"),
        ({"x": np.zeros((0, 3, 5))}, "x: expected no axis of size 0"),
        ({"x": [1.0]}, "x: expected a NumPy array of floats, got list"),
        ({"x": np.zeros((4, 3, 5), np.float32)}, "W_ih: expected dtype float32"),
        ({"W_hh": np.zeros((7, 6))}, r"W_hh: expected \(7, 7\), got \(7, 6\)"),
        ({"b": np.zeros(6)}, r"b: expected \(7,\), got \(6,\)"),
        ({"h0": np.zeros((2, 7))}, r"h0: expected \(3, 7\), got \(2, 7\)"),
        ({"activation": "swish"}, "activation: expected one of"),
        ({"activation": ("elu", -1.0), "training": True}, "activation: expected alpha > 0 of elu"),
        ({"pad": "edge"}, "pad: expected one of 'zeros', 'repeat', got 'edge'"),
        ({"lengths": [1, 2]}, r"lengths: expected \(3,\), got \(2,\)"),
        ({"lengths": [1, 2, 5]}, r"lengths: expected integers in \[0, 4\]"),
        ({"mask": np.zeros((4, 3))}, "mask: expected an array of bool, got dtype float64"),
        ({"mask": np.zeros((3, 4), bool)}, r"mask: expected \(4, 3\), got \(3, 4\)"),
        ({"mask": np.zeros((4, 3), bool), "lengths": [1, 1, 1]}, "expected one of the two"),
        ({"reverse": 1}, "reverse: expected True or False"),
    ],
)  # fmt: skip
def test_wrong_arguments(changed, text):
    with pytest.raises(ValueError, match=text):
        ops.rnn_forward(**(rnn_case(4, 3, 5, 7, "float64").inputs | changed))


@pytest.mark.parametrize(
    ("upstream", "text"),
    [
        ({}, "dy, dh_n: expected at least one gradient"),
        ({"dy": np.zeros((3, 4, 7))}, r"dy: expected \(4, 3, 7\), got \(3, 4, 7\)"),
        ({"dh_n": np.zeros((3, 7), np.float32)}, "dh_n: expected dtype float64"),
    ],
)
def test_wrong_gradients(upstream, text):
    _, _, cache = ops.rnn_forward(**rnn_case(4, 3, 5, 7, "float64").inputs, training=True)
    with pytest.raises(ValueError, match=text):
        ops.rnn_backward(cache, **upstream)
    ops.rnn_backward(cache, dh_n=np.zeros((3, 7)))  # it is still good
    with pytest.raises(ValueError, match="cache: expected that of rnn_forward"):
        ops.rnn_backward(None, **upstream)


# ---------------------------------------------------------------- torch and Keras


@pytest.mark.parametrize("shape", ((1, 1, 2, 3), (5, 3, 4, 6), (20, 7, 17, 33)), ids=str)
@pytest.mark.parametrize("activation", ("tanh", "relu"))
def test_torch_agrees(activation, shape):
    torch = pytest.importorskip("torch")
    case = rnn_case(*shape, "float64")
    outputs, gradients = computed(case, activation=activation)
    tensors = {name: torch.tensor(a, requires_grad=True) for name, a in case.inputs.items()}
    x, W_ih, W_hh, b, h0 = tensors.values()
    layer = torch.nn.RNN(x.shape[2], h0.shape[1], nonlinearity=activation, dtype=x.dtype)
    weights = {
        "weight_ih_l0": W_ih,
        "weight_hh_l0": W_hh,
        "bias_ih_l0": b,
        "bias_hh_l0": torch.zeros_like(b),
    }
    y, h_n = torch.func.functional_call(layer, weights, (x, h0[None]))
    loss = (torch.tensor(case.upstream["dy"]) * y).sum()
    (loss + (torch.tensor(case.upstream["dh_n"]) * h_n[0]).sum()).backward()
    assert forward_error(outputs["y"], y.detach().numpy()) <= FORWARD_BAR["float64"]
    assert forward_error(outputs["h_n"], h_n[0].detach().numpy()) <= FORWARD_BAR["float64"]
    for name, tensor in tensors.items():
        error = gradient_error(gradients["d" + name], tensor.grad.numpy())
        assert error <= GRADIENT_BAR["float64"], name


@pytest.mark.parametrize("go_backwards", (False, True))
def test_keras_agrees(go_backwards, keras):
    options = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
    twin = keras.layers.SimpleRNN(6, "relu", **options)
    layer = SimpleRNN(6, "relu", pad="repeat", **options)
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    mask = np.random.default_rng(1).random((4, 5)) < 0.6
    mask[0], mask[1] = True, False
    state = np.full((4, 6), 0.5, np.float32)

    def of_twin(**given):
        return [a.detach().cpu().numpy() for a in twin(x, **given)]

    of_twin()
    layer(x)
    layer.set_weights(twin.get_weights())
    for given in ({}, {"initial_state": state}):
        for ref, found in zip(of_twin(**given), layer(x, **given), strict=True):
            assert forward_error(found, ref) <= FORWARD_BAR["float32"]
    wanted, got = of_twin(mask=mask), layer(x, mask=mask)
    assert forward_error(got[1], wanted[1]) <= FORWARD_BAR["float32"]
    if not go_backwards:
        assert forward_error(got[0], wanted[0]) <= FORWARD_BAR["float32"]


# ---------------------------------------------------------------- the layer


def built(layer, I=2, dtype="float64"):
    layer.build((None, None, I), np.random.default_rng(3), dtype)
    rng = np.random.default_rng(4)
    layer.set_weights([rng.normal(0, 0.5, weight.shape) for weight in layer.get_weights()])
    return layer


def test_it_starts_like_keras():
    layer = SimpleRNN(8, seed=0)
    layer.build((None, None, 5))
    kernel, recurrent, bias = layer.get_weights()
    assert kernel.shape == (5, 8) and recurrent.shape == (8, 8) and bias.shape == (8,)
    assert 0.6 < np.abs(kernel).max() <= np.sqrt(6 / 13)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(8), atol=1e-6)
    assert (bias == 0).all()
    assert list(SimpleRNN(8, use_bias=False).weight_shapes((None, None, 5))) == ["W_ih", "W_hh"]


def test_config_holds_every_argument():
    layer = SimpleRNN(
        4, ("elu", 0.5), use_bias=False, kernel_initializer="he_normal",
        recurrent_initializer="glorot_normal", bias_initializer="ones", return_sequences=True,
        return_state=True, go_backwards=True, pad="repeat", stateful=True, name="memory",
        input_shape=(None, 6), seed=2,
    )  # fmt: skip
    config = layer.get_config()
    twin = SimpleRNN.from_config(config)
    assert twin.get_config() == config
    assert all(getattr(twin, name) == getattr(layer, name) for name in config)


@pytest.mark.parametrize("go_backwards", (False, True))
@pytest.mark.parametrize("return_sequences", (False, True))
def test_the_layer_is_the_operation(return_sequences, go_backwards):
    layer = built(SimpleRNN(3, return_sequences=return_sequences, go_backwards=go_backwards))
    rng = np.random.default_rng(0)
    x, h0 = rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 3))
    kernel, recurrent, bias = layer.get_weights()
    inputs = dict(x=x.swapaxes(0, 1), W_ih=kernel.T, W_hh=recurrent.T, b=bias, h0=h0)
    if go_backwards:
        inputs["x"] = inputs["x"][::-1]
    states, last = naive_rnn.rnn_forward(**inputs)
    y = layer.forward(x, training=True, initial_state=h0)
    assert_close(y, states.swapaxes(0, 1) if return_sequences else last, "float64")
    upstream = rng.normal(size=y.shape)
    dy = {"dy": upstream.swapaxes(0, 1)} if return_sequences else {"dh_n": upstream}
    wanted = naive_rnn.rnn_backward(**inputs, **dy)
    dx = layer.backward(upstream.copy())
    wanted_dx = wanted["dx"][::-1] if go_backwards else wanted["dx"]
    assert_gradient_close(dx, wanted_dx.swapaxes(0, 1), "float64")
    assert_gradient_close(layer.initial_state_grads[0], wanted["dh0"], "float64")
    for name in layer.params:
        assert_gradient_close(layer.grads[name], wanted["d" + name], "float64")


def test_the_last_state_is_returned_and_takes_a_gradient():
    layer = built(SimpleRNN(3, return_sequences=True, return_state=True))
    plain = built(SimpleRNN(3, return_sequences=True))
    last = built(SimpleRNN(3, return_state=True))
    rng = np.random.default_rng(0)
    x, dy, dh_n = (rng.normal(size=shape) for shape in ((4, 5, 2), (4, 5, 3), (4, 3)))
    y, h_n = layer.forward(x, training=True)
    assert same_bits(y, plain(x)) and same_bits(y[:, -1], h_n)
    dx = layer.backward(dy, dh_n=dh_n)
    plain.forward(x, training=True)
    both = dy.copy()
    both[:, -1] += dh_n
    np.testing.assert_allclose(dx, plain.backward(both), rtol=0, atol=1e-14)
    outputs = last.forward(x, training=True)
    assert same_bits(*outputs) and not np.shares_memory(*outputs)
    dx = last.backward(dh_n, dh_n=dh_n)
    last.forward(x, training=True)
    assert same_bits(last.backward(None, dh_n=2 * dh_n), dx)
    with pytest.raises(ValueError, match="layers: expected one output each"):
        Model([layer])


def test_a_stateful_layer_goes_on_where_it_was():
    layer, plain = built(SimpleRNN(3, stateful=True)), built(SimpleRNN(3))
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    layer(x[:, :2])[...] = 9  # the caller's array, not the layer's memory
    np.testing.assert_array_equal(plain(x[:, 2:], initial_state=(layer.state,)), plain(x))
    np.testing.assert_array_equal(layer(x[:, 2:]), plain(x))
    with pytest.raises(ValueError, match="x: expected 4 rows, as the kept state has"):
        layer(x[:2])
    layer.reset_state()
    assert layer.state is None
    np.testing.assert_array_equal(layer(x[:2]), plain(x[:2]))
    with pytest.raises(ValueError, match=r"initial_state: expected \(4, 3\), got \(3, 4\)"):
        plain(x, initial_state=np.zeros((3, 4)))


# ---------------------------------------------------------------- in a Model


def test_a_model_learns_and_comes_back_from_a_file(tmp_path):
    layers = [
        Embedding(12, 6),
        SimpleRNN(16, return_sequences=True),
        SimpleRNN(16, "relu", go_backwards=True),
        Dense(12, "softmax"),
    ]
    model = Model(layers, seed=0)
    model.compile(Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    x = np.random.default_rng(3).integers(0, 12, (64, 7))
    history = model.fit(x, x[:, 2], batch_size=16, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
    model.save(tmp_path / "plain")
    again = load(tmp_path / "plain")
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in layers]
    assert same_bits(again.predict(x), model.predict(x))
    for one in (model, again):
        one.fit(x, x[:, 2], batch_size=16, epochs=1, verbose=0)
    assert all(map(same_bits, again.get_weights(), model.get_weights()))


def test_a_model_of_stateful_layers():
    model = Model([SimpleRNN(4, stateful=True, input_shape=(None, 3))], seed=0)
    model.compile("sgd", "mse")
    x, y = np.ones((4, 5, 3), np.float32), np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="shuffle: expected False for a model with stateful"):
        model.fit(x, y, batch_size=2)
    model.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    assert model.layers[0].state is not None
    model.reset_state()
    assert model.layers[0].state is None


# ---------------------------------------------------------------- why there are LSTMs


def test_gradients_vanish_here_and_not_in_an_lstm():
    """|d h_n / d first state| over 60 steps beside one step: 7e-7 of it here, 17 times it there."""
    T, B, H = 60, 8, 32
    x = np.random.default_rng(0).standard_normal((B, T, 4))
    share = {}
    for layer in (SimpleRNN(H, seed=0), LSTM(H, seed=0)):
        layer.build((None, None, 4), dtype="float64")
        state = np.zeros((B, H))
        if isinstance(layer, LSTM):
            state = (state, state)
            layer.params["b"][H : 2 * H] = 4.0  # gates of 0.98; of 0.73 with Keras's bias of one
        sizes = []
        for steps in (1, T):
            layer.forward(x[:, :steps], training=True, initial_state=state)
            layer.backward(np.ones((B, H)))
            sizes.append(np.abs(layer.initial_state_grads[-1]).max())
        share[type(layer)] = sizes[1] / sizes[0]
    assert share[SimpleRNN] < 1e-4 and share[LSTM] > 0.1

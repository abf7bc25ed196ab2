"""Inputs that are the same in every step; with every other option they are in test_family.py."""

import pickle
from copy import copy

import numpy as np
import pytest
from agreement import (
    DTYPES,
    assert_close,
    assert_gradient_close,
    glorot_uniform,
    lstm_case,
    same_bits,
)
from family import assert_same_at_any_number_of_threads, expected, family_case

from lstmfast import LSTM, Dense, LSTMStream, Model, PreparedLSTM, lstm_backward, lstm_forward

T, B, I, H = SHAPE = (9, 5, 4, 21)
S = 3


def static(dtype="float32", B=B):
    rng = np.random.default_rng(3)
    return rng.standard_normal((B, S)).astype(dtype), glorot_uniform(rng, 4 * H, S).astype(dtype)


@pytest.mark.parametrize("B", (1, 5, 40))
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_if_they_stood_beside_x_in_every_step(dtype, B):
    case, (x_static, W_static) = lstm_case(T, B, I, H, dtype), static(dtype, B)
    x, W_ih = case.inputs["x"], case.inputs["W_ih"]
    both = np.concatenate([x, np.broadcast_to(x_static, (T, B, S))], axis=2)
    wide = case.inputs | {"x": both, "W_ih": np.concatenate([W_ih, W_static], axis=1)}
    given = case.inputs | {"x_static": x_static, "W_static": W_static}
    (y, _, cache), (wanted, _, other) = (lstm_forward(**g, training=True) for g in (given, wide))
    assert_close(y, wanted.astype("float64"), y.dtype)
    found, ref = (lstm_backward(one, **case.upstream) for one in (cache, other))
    pairs = {
        "dx": (found.dx, ref.dx[..., :I]), "dx_static": (found.dx_static, ref.dx[..., I:].sum(0)),
        "dW_ih": (found.dW_ih, ref.dW_ih[:, :I]), "dW_static": (found.dW_static, ref.dW_ih[:, I:]),
        "db": (found.db, ref.db), "dW_hh": (found.dW_hh, ref.dW_hh),
    }  # fmt: skip
    for got, wanted in pairs.values():
        assert_gradient_close(got, wanted, dtype)


def test_sums_over_many_steps_stay_exact():
    """Rounding of a sum in single precision over 6,000 like steps would be 5e-5 of it."""
    rng = np.random.default_rng(5)
    weights = [rng.uniform(-0.3, 0.3, (4 * H, n)) for n in (I, H, S)]
    arrays, given = [np.full((6000, 1, I), 0.5), *weights[:2]], {"x_static": np.ones((1, S))}
    given["W_static"] = weights[2]
    found = []
    for dtype in ("float32", "float64"):
        keywords = {name: array.astype(dtype) for name, array in given.items()}
        made = lstm_forward(*(a.astype(dtype) for a in arrays), training=True, **keywords)
        gradients = lstm_backward(made[2], np.ones_like(made[0]))
        found.append((gradients.dx_static, gradients.dW_static))
    for mine, exact in zip(*found, strict=True):
        assert abs(mine - exact).max() <= 5e-6 * abs(exact).max()


@pytest.mark.parametrize("options", ({}, {"bidirectional": True, "recompute": 7}, {"norm": True},
                                     {"lengths": True, "layers": 2}),
                         ids=lambda options: "+".join(options) or "plain")  # fmt: skip
@pytest.mark.parametrize("B", (1, 3, 40))
def test_bits_do_not_depend_on_threads(B, options, threads):
    case = family_case((30, B, 20, 130), "float32", static=70, **options)
    assert_same_at_any_number_of_threads(case, threads)


@pytest.mark.parametrize("need", ({"need_weights": False}, {"need_dx": False}))
def test_gradients_that_are_not_needed(need):
    case, (x_static, W_static) = lstm_case(*SHAPE), static()
    given = case.inputs | {"x_static": x_static, "W_static": W_static, "training": True}
    every, some = (
        lstm_backward(lstm_forward(**given)[2], **case.upstream, **keywords)
        for keywords in ({}, need)
    )
    assert same_bits(every.dx_static, some.dx_static)
    assert (some.dW_static is None) == ("need_weights" in need)


def test_rows_without_steps():
    case, (x_static, W_static) = lstm_case(*SHAPE), static()
    given = case.inputs | {"x_static": x_static, "W_static": W_static, "training": True}
    found = lstm_backward(lstm_forward(**given, lengths=[0] * B)[2], **case.upstream)
    assert not found.dx_static.any() and not found.dW_static.any()


def test_prepared_weights():
    case = family_case(SHAPE, "float32", training=False, static=S, bidirectional=True)
    outputs, _ = expected(case)
    weights = {name: of for name, of in case.weights.items() if of is not None}
    prepared = PreparedLSTM(**weights, bidirectional=True)
    for one in (prepared, pickle.loads(pickle.dumps(prepared))):
        y, _ = one.forward(case.x, case.h0, case.c0, x_static=case.keywords["x_static"])
        assert_close(y, outputs["y"], "float32")
    with pytest.raises(ValueError, match="expected both or none, got W_static alone"):
        prepared.forward(case.x)


@pytest.mark.parametrize("options", ({}, {"layers": 2}, {"norm": True}, {"proj": 5}),
                         ids=lambda options: "+".join(options) or "plain")  # fmt: skip
@pytest.mark.parametrize("B", (1, 5))
def test_streams(B, options):
    """Step by step and piece by piece, what is static set anew on the way."""
    case = family_case((T, B, I, H), "float32", training=False, state=False, static=S, **options)
    weights = {name: of for name, of in case.weights.items() if of is not None}
    first = case.keywords["x_static"]
    stream = LSTMStream(**weights, batch_size=B, x_static=first)
    outputs, _ = expected(case)
    for n in range(4):
        assert_close(stream.step(case.x[n]), outputs["y"][n], "float32")
    again = [copy(stream), pickle.loads(pickle.dumps(stream))]
    assert_close(stream.forward(case.x[4:]), outputs["y"][4:], "float32")
    for one in again:
        assert_close(one.step(case.x[4]), outputs["y"][4], "float32")
    stream.reset()
    stream.set_static(first + 1)
    moved = case._replace(keywords=case.keywords | {"x_static": first + 1}, x_static=first + 1)
    other, _ = expected(moved)
    assert_close(stream.step(case.x[0]), other["y"][0], "float32")
    assert np.abs(other["y"][0] - outputs["y"][0]).max() > 0.01


def test_streams_that_have_none():
    case, (x_static, W_static) = lstm_case(*SHAPE), static()
    weights = [case.inputs[name] for name in ("W_ih", "W_hh", "b")]
    with pytest.raises(ValueError, match="x_static: expected None without W_static, got one"):
        LSTMStream(*weights, B, x_static=x_static)
    with pytest.raises(ValueError, match="x_static: expected a NumPy array of floats, got None"):
        LSTMStream(*weights, B, W_static=W_static)
    with pytest.raises(ValueError, match=r"x_static: expected \(5, 3\), got \(1, 3\)"):
        LSTMStream(*weights, B, W_static=W_static, x_static=x_static[:1])


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("options", ({}, {"num_layers": 2}, {"bidirectional": True}))
def test_the_layer(options):
    layer = LSTM(H, return_sequences=True, static_size=S, seed=1, **options)
    case, (x_static, _) = lstm_case(*SHAPE), static()
    x = np.ascontiguousarray(case.inputs["x"].swapaxes(0, 1))
    y = layer(x, x_static=x_static)
    assert same_bits(layer.forward(x, True, x_static=x_static), y)
    dy = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
    layer.backward(dy)
    assert layer.grads.keys() == layer.params.keys()
    both = options.get("bidirectional", False)
    name = "W_static_l0" if options else "W_static"
    wanted, _, cache = lstm_forward(x, **layer._weights(), x_static=x_static, batch_first=True,
                                    bidirectional=both, training=True)  # fmt: skip
    found = lstm_backward(cache, dy)
    assert same_bits(y, wanted) and same_bits(layer.static_grad, found.dx_static)
    dW_static = found.dW_static[0] if both else found.dW_static
    assert same_bits(layer.grads[name], dW_static) and dW_static.any()
    again = LSTM.from_config(layer.get_config())
    again.build((None, None, I))
    again.set_parts(layer.get_parts())
    again.set_weights(layer.get_weights())
    assert same_bits(again(x, x_static=x_static), y)
    if not both:
        stream = layer.stream(B, x_static)
        assert_close(stream.step(x[:, 0]), y[:, 0].astype("float64"), "float32")


def test_a_model_has_one_input():
    with pytest.raises(ValueError, match="expected one output each, batch first, of one input"):
        Model([LSTM(H, static_size=S), Dense(2)])
    with pytest.raises(ValueError, match="static_size: expected an integer >= 0, got -1"):
        LSTM(H, static_size=-1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"x_static": static()[0]}, "x_static, W_static: expected both or none, got x_static"),
        ({"W_static": static()[1]}, "x_static, W_static: expected both or none, got W_static"),
        ({"x_static": static()[0][:, :2], "W_static": static()[1]},
         r"x_static: expected \(5, 3\), got \(5, 2\)"),
        ({"x_static": static()[0], "W_static": static()[1][:-1]},
         r"W_static: expected \(84, S\), got \(83, 3\)"),
        ({"x_static": static()[0], "W_static": [static()[1]] * 2},
         "W_static: expected one array, got 2 of them"),
        ({"x_static": static("float64")[0], "W_static": static()[1]}, "x_static: expected dtype"),
    ],
)  # fmt: skip
def test_wrong_arguments(changes, text):
    with pytest.raises(ValueError, match=text):
        lstm_forward(**lstm_case(*SHAPE).inputs, **changes)


def test_wrong_arguments_of_both_directions():
    case, (x_static, W_static) = lstm_case(*SHAPE), static()
    weights = {name: [case.inputs[name]] * 2 for name in ("W_ih", "W_hh", "b")}
    given = weights | {"bidirectional": True, "x_static": x_static}
    with pytest.raises(ValueError, match="a sequence of two, one for each direction, got one arr"):
        lstm_forward(case.inputs["x"], **given, W_static=W_static)
    with pytest.raises(ValueError, match=r"W_static\[1\]: expected \(84, 3\), got \(84, 2\)"):
        lstm_forward(case.inputs["x"], **given, W_static=[W_static, W_static[:, :2]])

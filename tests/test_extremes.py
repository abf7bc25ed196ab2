"""Denormal, huge, infinite and NaN inputs, and the thread's floating-point state."""

import naive
import numpy as np
import pytest
from agreement import (
    DTYPES,
    Case,
    assert_case_close,
    assert_close,
    computed,
    lstm_case,
    same_bits,
)

from lstmfast import ops

DENORMAL = {"float32": 1e-40, "float64": 1e-310}


def denormals_survive(dtype):
    """Return whether this thread still computes with denormal numbers."""
    return bool((np.full(64, DENORMAL[dtype], dtype) * np.ones(64, dtype)).all())


def refused_call():
    """Make a call that raises."""
    with pytest.raises(ValueError, match="expected"):
        ops.lstm_forward(None, None, None)


# ---------------------------------------------------------------- denormals


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("denormal", (("x",), ("h0", "c0"), ("W_ih", "W_hh"), ("x", "h0", "c0")))
def test_denormal_inputs(denormal, dtype):
    case = lstm_case(5, 3, 17, 33, dtype)
    tiny = {name: np.full_like(case.inputs[name], DENORMAL[dtype]) for name in denormal}
    small = {"float32": 1e-30, "float64": 1e-300}[dtype]
    outputs, gradients = computed(Case({**case.inputs, **tiny}, case.upstream))
    y, (h_n, c_n) = naive.lstm_forward(**{**case.inputs, **tiny})
    for got, ref in zip(outputs.values(), (y, h_n, c_n), strict=True):
        assert_close(got, ref, dtype)
    ref = naive.lstm_backward(**{**case.inputs, **tiny}, **case.upstream)
    for name, got in gradients.items():
        bar = {"float32": 1e-5, "float64": 1e-11}[dtype] * np.abs(ref[name]).max() + small
        assert np.abs(got - ref[name]).max() <= bar, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_floating_point_state_is_put_back(dtype):
    case = lstm_case(5, 33, 64, 130, dtype)
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((33, 100)).astype(dtype)
    w, g, m, v = rng.standard_normal((4, 1000)).astype(dtype)
    ids, table = np.zeros(5, np.int64), scores.copy()
    stream = ops.LSTMStream(*(case.inputs[name] for name in ("W_ih", "W_hh", "b")), 33)
    calls = {
        "lstm": lambda: computed(case),
        "stream": lambda: stream.step(case.inputs["x"][0]),
        "dense": lambda: ops.dense_forward(scores, scores.T.copy()),
        "dense_backward": lambda: ops.dense_backward(scores, scores.T.copy(), scores @ scores.T),
        "embedding": lambda: ops.embedding_backward(ids, ops.embedding_forward(ids, table), 33),
        "softmax": lambda: ops.softmax(scores),
        "loss": lambda: ops.softmax_crossentropy(scores.copy(), np.zeros(33, np.int64)),
        "activation": lambda: ops.activation_backward("tanh", ops.activation_forward("tanh", w), g),
        "adam": lambda: ops.adam_update(
            w, g, m, np.abs(v), step_size=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-7
        ),
        "sgd": lambda: ops.sgd_update(w, g, m, learning_rate=0.1, momentum=0.9, nesterov=False),
        "sum_of_squares": lambda: ops.sum_of_squares(w),
        "scale": lambda: ops.scale(w, 0.5),
        "refused": refused_call,
    }
    assert denormals_survive(dtype)
    for name, call in calls.items():
        call()
        assert denormals_survive(dtype), name


# ---------------------------------------------------------------- huge numbers


def saturating_case(dtype):
    """Return a case in which every gate's pre-activation is beyond 1e4 from zero."""
    case = lstm_case(5, 3, 3, 17, dtype)
    rng = np.random.default_rng(0)
    signs = {name: rng.choice([-1.0, 1.0], case.inputs[name].shape) for name in ("x", "W_ih")}
    x, W_ih = (1e4 * signs["x"]).astype(dtype), (3 * signs["W_ih"]).astype(dtype)
    return Case({**case.inputs, "x": x, "W_ih": W_ih}, case.upstream)


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_gates(dtype):
    case = saturating_case(dtype)
    z = case.inputs["x"] @ case.inputs["W_ih"].T
    assert np.abs(z).min() > 1e4
    outputs, gradients = computed(case)
    assert all(np.isfinite(a).all() for a in (*outputs.values(), *gradients.values()))
    assert_case_close(case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("huge", ("x", "W_ih", "W_hh", "b", "h0", "c0"))
def test_huge_inputs_stay_finite(huge, dtype):
    case = lstm_case(5, 3, 7, 18, dtype)
    outputs, gradients = computed(
        Case({**case.inputs, huge: 1e4 * case.inputs[huge]}, case.upstream)
    )
    assert np.abs(outputs["y"]).max() <= 1
    assert all(np.isfinite(a).all() for a in (*outputs.values(), *gradients.values()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("infinity", (np.inf, -np.inf))
def test_an_infinite_feature_saturates_the_gates(infinity, dtype):
    case = lstm_case(5, 3, 7, 18, dtype)
    case.inputs["x"][2, 1, 4] = infinity
    y, (h_n, c_n), _ = ops.lstm_forward(**case.inputs)
    ref, (ref_h, ref_c) = naive.lstm_forward(**case.inputs)
    for got, expected in ((y, ref), (h_n, ref_h), (c_n, ref_c)):
        assert_close(got, expected, dtype)


# ---------------------------------------------------------------- NaN


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", (1, 3, 13))
def test_a_nan_spreads_to_its_own_row_and_later_steps_alone(batch, dtype):
    case = lstm_case(5, batch, 7, 18, dtype)
    clean, _ = computed(case)
    row = batch // 2
    case.inputs["x"][2, row, 4] = np.nan
    outputs, _ = computed(case)
    poisoned = np.isnan(outputs["y"])
    assert poisoned[2:, row].all(), "NaN in gives NaN out"
    assert np.isnan(outputs["h_n"][row]).all() and np.isnan(outputs["c_n"][row]).all()
    assert same_bits(outputs["y"][:2], clean["y"][:2])
    others = np.arange(batch) != row
    assert same_bits(outputs["y"][:, others], clean["y"][:, others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ("x", "W_ih", "W_hh", "b", "h0", "c0"))
def test_a_nan_anywhere_reaches_the_result(name, dtype):
    case = lstm_case(3, 2, 7, 18, dtype)
    case.inputs[name][(0,) * case.inputs[name].ndim] = np.nan
    outputs, gradients = computed(case)
    assert np.isnan(outputs["y"]).any()
    assert np.isnan(gradients["dW_ih"]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ("dy", "dh_n", "dc_n"))
def test_a_nan_gradient_reaches_the_gradients(name, dtype):
    case = lstm_case(3, 2, 7, 18, dtype)
    case.upstream[name][(-1,) * case.upstream[name].ndim] = np.nan
    outputs, gradients = computed(case)
    assert all(np.isfinite(a).all() for a in outputs.values())
    assert np.isnan(gradients["dx"][:, -1]).all()
    assert np.isfinite(gradients["dx"][:, 0]).all(), "the other row is not touched"

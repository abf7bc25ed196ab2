"""The oracle itself: hand-computed values, and its gradients against central differences."""

import math

import naive
import numpy as np
import pytest

GRADIENT_BAR = 1e-6  # measured: 1e-9, the differences' own error
EXACT = 1e-14
NUDGE = 1e-5
LSTM_INPUTS = ("x", "W_ih", "W_hh", "b", "h0", "c0")
VARIANTS = {
    "peepholes": {},
    "coupled": {"coupled": True},
    "clip": {"clip": 1.5},
    "cell_clip": {"cell_clip": 0.7},
    "all": {"coupled": True, "clip": 2.0, "cell_clip": 1.0, "activation": ("softsign", 0, 0)},
}


def central_differences(value, a):
    """Return the gradient of a scalar function at a, two evaluations per entry."""
    gradient = np.zeros_like(a)
    for where in np.ndindex(a.shape):
        kept = a[where]
        a[where] = kept + NUDGE
        above = value(a)
        a[where] = kept - NUDGE
        below = value(a)
        a[where] = kept
        gradient[where] = (above - below) / (2 * NUDGE)
    return gradient


def relative_error(got, ref):
    """Return max |got - ref| as a share of max |ref|."""
    assert got.shape == ref.shape
    assert np.abs(ref).max() > 0, "a gradient of zeros proves nothing"
    return np.abs(got - ref).max() / np.abs(ref).max()


def lstm_case(T, B, I, H, seed=0):
    """Return the six inputs of a layer, and random upstream gradients dy, dh_n, dc_n."""
    draw = np.random.default_rng(seed).standard_normal
    inputs = {
        "x": draw((T, B, I)),
        "W_ih": draw((4 * H, I)),
        "W_hh": draw((4 * H, H)),
        "b": draw(4 * H),
        "h0": draw((B, H)),
        "c0": draw((B, H)),
    }
    upstream = {"dy": draw((T, B, H)), "dh_n": draw((B, H)), "dc_n": draw((B, H))}
    return inputs, upstream


def weighted_outputs(inputs, upstream, variant=naive.PLAIN):
    """Return the scalar whose gradient `lstm_backward` computes."""
    y, (h_n, c_n) = naive.lstm_forward(**inputs, variant=variant)
    outputs = {"dy": y, "dh_n": h_n, "dc_n": c_n}
    return sum((d * outputs[name]).sum() for name, d in upstream.items())


def test_one_step_by_hand():
    x, h, c = 0.5, 0.25, -0.75
    weights = np.array([[1.0], [2.0], [3.0], [4.0]])
    recurrent = np.array([[0.1], [0.2], [0.3], [0.4]])
    b = np.array([0.01, 0.02, 0.03, 0.04])
    i, f, o = (1 / (1 + math.exp(-z)) for z in (0.535, 1.07, 2.14))
    c_n = f * c + i * math.tanh(1.605)
    y, state = naive.lstm_forward(
        np.full((1, 1, 1), x), weights, recurrent, b, np.full((1, 1), h), np.full((1, 1), c)
    )
    assert state[1][0, 0] == pytest.approx(c_n, rel=EXACT)
    assert state[0][0, 0] == y[0, 0, 0] == pytest.approx(o * math.tanh(c_n), rel=EXACT)


def test_missing_inputs_are_zeros():
    inputs, _ = lstm_case(3, 2, 3, 2)
    some = {name: inputs[name] for name in ("x", "W_ih", "W_hh")}
    zeros = {name: np.zeros_like(inputs[name]) for name in ("b", "h0", "c0")}
    assert np.array_equal(naive.lstm_forward(**some)[0], naive.lstm_forward(**some, **zeros)[0])


def test_sigmoid_is_exact_at_both_ends():
    assert naive.sigmoid(np.array([-np.inf, -1e4, 0.0, 1e4, np.inf])).tolist() == [0, 0, 0.5, 1, 1]
    assert naive.sigmoid(np.array([-700.0]))[0] == pytest.approx(math.exp(-700), rel=EXACT)


@pytest.mark.parametrize("name", LSTM_INPUTS)
@pytest.mark.parametrize("B", (1, 3))
@pytest.mark.parametrize("T", (1, 2, 5))
def test_lstm_gradient(T, B, name):
    inputs, upstream = lstm_case(T, B, I=4, H=3, seed=10 * T + B)
    numeric = central_differences(
        lambda a: weighted_outputs({**inputs, name: a}, upstream), inputs[name].copy()
    )
    gradients = naive.lstm_backward(**inputs, **upstream)
    assert relative_error(gradients["d" + name], numeric) <= GRADIENT_BAR


@pytest.mark.parametrize("only", ("dy", "dh_n", "dc_n"))
def test_lstm_gradient_of_each_output_alone(only):
    inputs, upstream = lstm_case(3, 2, I=2, H=3, seed=7)
    one = {only: upstream[only]}
    gradients = naive.lstm_backward(**inputs, **one)
    for name in LSTM_INPUTS:
        numeric = central_differences(
            lambda a, name=name: weighted_outputs({**inputs, name: a}, one), inputs[name].copy()
        )
        assert relative_error(gradients["d" + name], numeric) <= GRADIENT_BAR


@pytest.mark.parametrize("name", (*LSTM_INPUTS, "p"))
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_lstm_gradient_of_variants(options, name):
    inputs, upstream = lstm_case(4, 2, I=4, H=3, seed=3)
    inputs["p"] = np.random.default_rng(4).standard_normal((3, 3))
    variant = naive.Variant(**options)
    numeric = central_differences(
        lambda a: weighted_outputs({**inputs, name: a}, upstream, variant), inputs[name].copy()
    )
    gradients = naive.lstm_backward(**inputs, **upstream, variant=variant)
    assert relative_error(gradients["d" + name], numeric) <= GRADIENT_BAR


@pytest.mark.parametrize("name", naive.ACTIVATIONS)
def test_slopes(name):
    x, activation = np.linspace(-4, 4, 41) + 0.013, (name, 0.7, 0.4)
    numeric = central_differences(lambda a: naive.activate(activation, a).sum(), x.copy())
    assert relative_error(naive.slope(activation, x), numeric) <= GRADIENT_BAR


def test_dense_gradient():
    draw = np.random.default_rng(1).standard_normal
    x, W, b, dy = draw((3, 4)), draw((4, 2)), draw(2), draw((3, 2))
    dx, dW, db = naive.dense_backward(x, W, dy)
    for got, numeric in (
        (dx, central_differences(lambda a: (dy * naive.dense_forward(a, W, b)).sum(), x.copy())),
        (dW, central_differences(lambda a: (dy * naive.dense_forward(x, a, b)).sum(), W.copy())),
        (db, central_differences(lambda a: (dy * naive.dense_forward(x, W, a)).sum(), b.copy())),
    ):
        assert relative_error(got, numeric) <= GRADIENT_BAR


def test_embedding_gradient_adds_repeated_ids():
    ids, dy = np.array([[2, 0], [2, 2]]), np.array([[[1.0], [2.0]], [[4.0], [8.0]]])
    assert naive.embedding_backward(ids, dy, vocabulary=4).tolist() == [[2], [0], [13], [0]]


@pytest.mark.parametrize("kind", ("classes", "distributions"))
@pytest.mark.parametrize("loss", (naive.softmax_crossentropy, naive.crossentropy))
def test_crossentropy_gradient(loss, kind):
    rng = np.random.default_rng(2)
    scores = naive.softmax(rng.standard_normal((4, 5)))
    targets = np.array([0, 3, 4, 3]) if kind == "classes" else rng.dirichlet(np.ones(5), 4)
    numeric = central_differences(lambda a: loss(a, targets)[0].sum(), scores.copy())
    assert relative_error(loss(scores, targets)[2], numeric) <= GRADIENT_BAR


def test_crossentropy_by_hand():
    p, targets = np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([0, 1])
    losses, correct, _ = naive.crossentropy(p, targets)
    assert losses == pytest.approx([math.log(4), -math.log(1e-7)], rel=EXACT)
    assert correct.tolist() == [False, False]
    assert naive.softmax_crossentropy(np.log(p[:1]), targets[:1])[0] == pytest.approx([math.log(4)])


@pytest.mark.parametrize("name", ("relu", "sigmoid", "tanh"))
def test_activation_gradient(name):
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal(20), rng.standard_normal(20)
    numeric = central_differences(
        lambda a: (dy * naive.activation_forward(name, a)).sum(), x.copy()
    )
    got = naive.activation_backward(name, naive.activation_forward(name, x), dy)
    assert relative_error(got, numeric) <= GRADIENT_BAR


def test_adam_by_hand():
    w, m, v = naive.adam(np.array([1.0]), [np.array([0.5])], learning_rate=0.1, epsilon=0.25)
    assert (m[0], v[0]) == pytest.approx((0.05, 0.00025), rel=EXACT)
    step_size = 0.1 * math.sqrt(0.001) / 0.1
    assert w[0] == pytest.approx(1 - step_size * 0.05 / (math.sqrt(0.00025) + 0.25), rel=1e-12)


def test_sgd_by_hand():
    ones = [np.array([1.0]), np.array([1.0])]
    assert naive.sgd(np.array([1.0]), ones, 0.1)[0] == pytest.approx([0.8])
    assert naive.sgd(np.array([1.0]), ones, 0.1, 0.5)[0] == pytest.approx([1 - 0.1 - 0.15])
    assert naive.sgd(np.array([1.0]), ones, 0.1, 0.5, nesterov=True)[0] == pytest.approx(
        [1 - 0.15 - 0.175]
    )

"""precision="int8": factors of products in 8 bits, in inference."""

import copy
import pickle

import naive
import numpy as np
import pytest
from agreement import covering_shapes, forward_error, same_bits
from family import (
    OPTIONS,
    assert_case_close,
    assert_same_at_any_number_of_threads,
    computed,
    family_case,
)
from test_family import HANDFULS, PAIRS

from lstmfast import LSTMStream, Model, PreparedLSTM, capi, layers, lstm_forward, ops

SHAPES = covering_shapes()[::3]
OPTIONS = {name: chosen for name, chosen in OPTIONS.items() if name != "bfloat16"}
PAIRS = {name: chosen for name, chosen in PAIRS.items() if "bfloat16" not in chosen}
STREAMS = {
    "plain": {},
    "stack": {"layers": 2, "peepholes": True},
    "projection": {"proj": 5, "layers": 2},
    "layer_norm": {"norm": True},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.1},
    "unbounded": {"activation": ("elu", 0.8), "recurrent_activation": "softplus"},
    "static": {"static": 3},
}


def int8_case(shape, seed=0, **chosen):
    chosen = {name: value for name, value in chosen.items() if name != "bfloat16"}
    return family_case(shape, "float32", training=False, seed=seed, int8=True, **chosen)


def given(case):
    return case.x, case.weights["W_ih"], case.weights["W_hh"], case.weights["b"]


def results(case, **others):
    """y, h_n, c_n and the cells of a case by `lstm_forward`."""
    weights = {name: case.weights[name] for name in ("p", "W_hr", "norm", "W_static")}
    state = {"h0": case.h0, "c0": case.c0}
    y, (h_n, c_n), _, cells = lstm_forward(
        *given(case), **state, **weights, **case.keywords | others
    )
    return y, h_n, c_n, cells


# ---------------------------------------------------------------- products


def test_rows_and_columns_are_rounded_by_their_largest():
    """To the nearest, ties to even, on a product with a matrix of one entry for each row."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 33)).astype(np.float32)
    x[:, 0] = 127 * 2.0 ** rng.integers(-9, 9, 40)
    x[::2, 1:] = 2.0 ** rng.integers(-9, 9, (20, 32)) * rng.integers(0, 9, (20, 32)) / 2  # middles
    one = 127 * np.eye(33, dtype=np.float32)  # whose scales are 1
    close = {"rtol": 3e-7, "atol": 0}
    found = ops.dense_forward(x, one, precision="int8")
    np.testing.assert_allclose(found, 127 * naive.int8(x), **close)
    found = ops.dense_forward(one, np.ascontiguousarray(x.T), precision="int8").T
    np.testing.assert_allclose(found, 127 * naive.int8_weights(x), **close)


def test_scales_are_short_enough_to_be_told_from_the_weights():
    """What is rounded once is rounded again to itself: so copies and files keep the bits."""
    rng = np.random.default_rng(1)
    W = rng.standard_normal((300, 50)) * 10.0 ** rng.integers(-20, 20, (300, 1))
    once = naive.int8_weights(W).astype(np.float32)
    assert same_bits(naive.int8_weights(once).astype(np.float32), once)


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (3, 7, 5), (70, 33, 129), (5, 1300, 66), (200, 64, 9), (2, 4096, 3)]
)
def test_dense(sizes, threads):
    (M, K, N), rng = sizes, np.random.default_rng(sizes)
    x, W = (rng.standard_normal(s).astype(np.float32) for s in ((M, K), (K, N)))
    b = rng.standard_normal(N).astype(np.float32)
    y = ops.dense_forward(x, W, b, precision="int8")
    assert forward_error(y, naive.int8(x) @ naive.int8_weights(W.T).T + b) <= 1e-6
    strided = np.asfortranarray(W)
    for n in (1, 2, 3):
        threads(n)
        assert same_bits(ops.dense_forward(x, W, b, precision="int8"), y)
        assert same_bits(ops.dense_forward(x, strided, b, precision="int8"), y)
        assert same_bits(ops.dense_forward(x[:1], W, b, precision="int8"), y[:1])


def test_sums_are_exact_however_long():
    """The largest sum there may be, of either sign, and one of which every partial sum is large."""
    K = capi.LARGEST_SUM
    x, W = np.ones((3, K), np.float32), np.ones((K, 2), np.float32)
    x[1] = -1
    x[2, K // 2 :] = -1
    y = ops.dense_forward(x, W, precision="int8")
    np.testing.assert_allclose(y, [[K] * 2, [-K] * 2, [0] * 2], rtol=4e-5)
    assert (y[2] == 0).all()
    with pytest.raises(ValueError, match=rf"x: expected at most {K} columns in int8, got {K + 1}"):
        ops.dense_forward(np.ones((1, K + 1), np.float32), np.ones((K + 1, 1), np.float32),
                          precision="int8")  # fmt: skip


def test_what_is_no_number_stays_so():
    x = np.array([[np.nan, 1], [np.inf, 1], [-np.inf, 1], [1, 1], [0, 0]], np.float32)
    y = ops.dense_forward(x, np.ones((2, 3), np.float32), precision="int8")
    assert not np.isfinite(y[:3]).any() and np.isnan(y[0]).all()
    np.testing.assert_allclose(y[3:], [[2] * 3, [0] * 3], rtol=1e-4)
    W = np.ones((2, 3), np.float32)
    W[0, 1] = np.nan
    y = ops.dense_forward(x[3:], W, precision="int8")
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, ::2]).all()


@pytest.mark.parametrize("size", (1e-38, 1e-28, 1e-20, 1.0, 1e20, 3e38))
def test_numbers_of_any_size(size):
    x, W = np.array([[1, -0.5]], np.float32) * np.float32(size), np.eye(2, dtype=np.float32)
    y = ops.dense_forward(x, W, precision="int8")
    np.testing.assert_allclose(y, x, rtol=0.01, atol=1e-31)


# ---------------------------------------------------------------- layers on arrays


@pytest.mark.parametrize("shape", SHAPES, ids=map(str, SHAPES))
def test_shapes(shape):
    assert_case_close(int8_case(shape))


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option(name):
    for shape in ((5, 4, 6, 19), (1, 1, 5, 16), (6, 3, 4, 33)):
        assert_case_close(int8_case(shape, **OPTIONS[name]))


@pytest.mark.parametrize("name", list(PAIRS)[::7])
def test_pairs(name):
    assert_case_close(int8_case((5, 4, 6, 19), **PAIRS[name]))


@pytest.mark.parametrize("seed", range(0, len(HANDFULS), 3))
def test_handfuls(seed):
    shape, chosen = HANDFULS[seed]
    assert_case_close(int8_case(shape, seed=seed, **chosen))


def test_states_may_be_larger_than_outputs():
    case = int8_case((4, 3, 5, 21), resets=True)
    large = case._replace(
        h0=7 * case.h0, resets=case.resets._replace(h=5 * case.resets.h),
        keywords=case.keywords | {"reset_h": 5 * case.keywords["reset_h"]},
    )  # fmt: skip
    assert_case_close(large)


def test_it_is_not_float32():
    case = int8_case((6, 3, 5, 37), **STREAMS["stack"])
    apart = forward_error(results(case)[0], results(case, precision=None)[0])
    assert 1e-3 < apart < 0.05


@pytest.mark.parametrize("name", STREAMS)
def test_same_bits_at_any_number_of_threads(name, threads):
    for shape in ((40, 24, 33, 70), (3, 1, 600, 520)):  # by rows, by panels
        case = int8_case(shape, resets=True, lengths=True, **STREAMS[name])
        assert_same_at_any_number_of_threads(case, threads)


@pytest.mark.parametrize("name", STREAMS)
def test_prepared_streams_and_copies_have_the_same_bits(name):
    case = int8_case((6, 3, 5, 37), **STREAMS[name])
    y, h_n, c_n, _ = results(case)
    weights = {of: case.weights[of] for of in ("p", "W_hr", "norm", "W_static")}
    keywords = weights | {of: case.keywords[of] for of in ("options", "noise", "precision")}
    prepared = PreparedLSTM(*given(case)[1:], **keywords)
    for one in (prepared, copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        found, state = one.forward(case.x, case.h0, case.c0, x_static=case.x_static)
        assert all(map(same_bits, (found, *state), (y, h_n, c_n)))
    stream = LSTMStream(*given(case)[1:], case.x.shape[1], x_static=case.x_static, **keywords)
    stream.set_state(case.h0, case.c0)
    whole = copy.deepcopy(stream)
    for t, x in enumerate(case.x):
        stream = pickle.loads(pickle.dumps(stream))
        assert same_bits(stream.step(x), y[t])
    assert all(map(same_bits, stream.state, (h_n, c_n)))
    assert same_bits(whole.forward(case.x), y)


def test_outputs_alone_are_those_of_all_outputs():
    case = int8_case((5, 4, 6, 19))
    outputs, _ = computed(case)
    _, h_n, c_n, _ = results(case, return_sequences=False)
    assert same_bits(h_n, outputs["h_n"]) and same_bits(c_n, outputs["c_n"])


# ---------------------------------------------------------------- what it cannot


def test_refused():
    x, W = np.ones((2, 1, 3), np.float32), [np.ones((8, n), np.float32) for n in (3, 2)]
    with pytest.raises(ValueError, match=r"precision: expected None, .* in training, got 'int8'"):
        lstm_forward(x, *W, precision="int8", training=True)
    with pytest.raises(ValueError, match=r"precision: expected None, .* in training, got 'int8'"):
        ops.dense_backward(x[0], W[0].T.copy(), np.ones((1, 8), np.float32), precision="int8")
    double = [w.astype(float) for w in W]
    with pytest.raises(ValueError, match=r"precision: expected one of 'float64', got 'int8'"):
        lstm_forward(x.astype(float), *double, precision="int8")
    for make in (LSTMStream, PreparedLSTM):
        with pytest.raises(ValueError, match=r"precision: expected one of 'float64', got 'int8'"):
            make(*double, precision="int8")
    wide = np.ones((4, capi.LARGEST_SUM + 1), np.float32)
    with pytest.raises(
        ValueError, match=r"W_ih: expected at most 131072 columns in int8, got 1310"
    ):
        LSTMStream(wide, np.ones((4, 1), np.float32), precision="int8")
    with pytest.raises(ValueError, match="cannot take"):
        capi.Handle(3, 2, False, True, 1, {"precision": 8.0})


def test_a_model_predicts_but_does_not_train():
    x = np.random.default_rng(0).standard_normal((5, 6, 3)).astype(np.float32)
    model = Model([layers.LSTM(20), layers.Dense(4, "softmax")], seed=3)
    plain = model.predict(x)
    narrow = model.to("cpu", "int8").predict(x)
    assert 0 < abs(plain - narrow).max() < 0.02
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"precision: expected .* to train, got 'int8'"):
        model.fit(x, np.zeros(5, int), verbose=0)
    assert all(map(same_bits, model.get_weights(), before))
    assert same_bits(model.to("cpu").predict(x), plain)

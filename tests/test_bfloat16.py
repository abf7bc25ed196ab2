"""precision="bfloat16" on the CPU, beside what test_family.py holds: exactness, shapes, layers."""

import copy
import pickle

import naive
import numpy as np
import pytest
from agreement import covering_shapes, forward_error, same_bits
from family import assert_case_close, assert_same_at_any_number_of_threads, family_case

from lstmfast import LSTMStream, Model, PreparedLSTM, capi, layers, lstm_forward, ops
from lstmfast.kernels import isa

SHAPES = covering_shapes()[::3]
STACK = {"layers": 2, "peepholes": True, "bfloat16": True}


@pytest.fixture
def case():
    return family_case((6, 3, 5, 37), "float32", training=False, **STACK)


def given(case):
    return case.x, case.weights["W_ih"], case.weights["W_hh"], case.weights["b"]


def results(case, **others):
    """y, h_n and c_n of a case by `lstm_forward`."""
    state = {"h0": case.h0, "c0": case.c0, "p": case.weights["p"]}
    y, (h_n, c_n), _ = lstm_forward(*given(case), **state, **others)
    return y, h_n, c_n


# ---------------------------------------------------------------- products


def test_every_number_is_rounded_to_the_nearest():
    """Ties to even, by either factor, on a product of one term."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20000, np.uint32)
    bits[::4] = bits[::4] & 0xFFFF0000 | 0x8000  # in the middle
    x = bits.view(np.float32)
    x = x[np.isfinite(x) & (abs(x) > 1e-30) & (abs(x) < 1e30)]
    assert len(x) > 10000
    one, column = np.ones((1, 1), np.float32), np.ascontiguousarray(x[:, None])
    expected = naive.bfloat16(x).astype(np.float32)
    for y in (ops.dense_forward(column, one, precision="bfloat16"),
              ops.dense_forward(one, column.T.copy(), precision="bfloat16").T):  # fmt: skip
        assert same_bits(np.ascontiguousarray(y[:, 0]), expected)


def test_what_is_no_number_stays_so():
    x = np.array([[np.nan, 1], [np.inf, 1], [-np.inf, 1], [1, 1]], np.float32)
    x[0, 0] = np.uint32(0x7F800001).view(np.float32)  # a NaN of which rounding would make inf
    y = ops.dense_forward(x, np.ones((2, 3), np.float32), precision="bfloat16")
    assert np.isnan(y[0]).all()
    np.testing.assert_array_equal(y[1:, 0], [np.inf, -np.inf, 2])


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (3, 7, 5), (70, 33, 129), (5, 1300, 66), (200, 64, 9)]
)
def test_dense(sizes):
    (M, K, N), rng = sizes, np.random.default_rng(sizes)
    x, W, dy = (rng.standard_normal(s).astype(np.float32) for s in ((M, K), (K, N), (M, N)))
    b = rng.standard_normal(N).astype(np.float32)
    y = ops.dense_forward(x, W, b, precision="bfloat16")
    dx, dW, db = ops.dense_backward(x, W, dy, precision="bfloat16")
    x, W, dy_rounded = map(naive.bfloat16, (x, W, dy))
    for found, wanted in ((y, x @ W + b), (dx, dy_rounded @ W.T), (dW, x.T @ dy_rounded),
                          (db, naive.double(dy).sum(0))):  # fmt: skip
        assert forward_error(found, wanted) <= 1e-6 * max(1, K, M) ** 0.5


# ---------------------------------------------------------------- layers on arrays


@pytest.mark.parametrize("shape", SHAPES, ids=map(str, SHAPES))
def test_shapes(shape):
    assert_case_close(family_case(shape, "float32", bfloat16=True))


def test_it_is_not_float32(case):
    apart = forward_error(results(case, precision="bfloat16")[0], results(case)[0])
    assert 1e-4 < apart < 0.02


def test_same_bits_at_any_number_of_threads(threads):
    for shape in ((40, 24, 33, 70), (3, 1, 600, 520)):  # by rows, by panels
        case = family_case(shape, "float32", bfloat16=True, truncate=3)
        assert_same_at_any_number_of_threads(case, threads)


def test_prepared_streams_and_copies_have_the_same_bits(case):
    y, h_n, c_n = results(case, precision="bfloat16")
    keywords = {"p": case.weights["p"], "precision": "bfloat16"}
    prepared = PreparedLSTM(*given(case)[1:], **keywords)
    for one in (prepared, copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        found, state = one.forward(case.x, case.h0, case.c0)
        assert all(map(same_bits, (found, *state), (y, h_n, c_n)))
    stream = LSTMStream(*given(case)[1:], case.x.shape[1], **keywords)
    stream.set_state(case.h0, case.c0)
    for t, x in enumerate(case.x):
        stream = pickle.loads(pickle.dumps(stream))
        assert same_bits(stream.step(x), y[t])
    assert all(map(same_bits, stream.state, (h_n, c_n)))


def test_refused():
    x, W = np.ones((2, 1, 3)), (np.ones((8, 3)), np.ones((8, 2)))
    with pytest.raises(ValueError, match=r"precision: expected one of 'float64', got 'bfloat16'"):
        lstm_forward(x, *W, precision="bfloat16")
    single = [a.astype(np.float32) for a in (x, *W)]
    known = r"'float32', 'bfloat16', 'int8'"
    for wrong in ("tf32", "float16", "float64", 16, ""):
        with pytest.raises(ValueError, match=f"precision: expected one of {known}, "):
            lstm_forward(*single, precision=wrong)
        with pytest.raises(ValueError, match="precision: "):
            LSTMStream(*single[1:], precision=wrong)
        with pytest.raises(ValueError, match="precision: "):
            PreparedLSTM(*single[1:], precision=wrong)
        with pytest.raises(ValueError, match="precision: "):
            ops.dense_forward(single[0][0], single[1].T.copy(), precision=wrong)


# ---------------------------------------------------------------- Model


def trained(precision, epochs=3):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 12, (96, 9))
    model = Model([layers.Embedding(12, 8), layers.LSTM(20), layers.Dense(12, "softmax")],
                  seed=3, precision=precision)  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(x, x[:, -2], epochs=epochs, batch_size=16, verbose=0)
    return model, x, np.array(history.history["loss"])


def test_a_model_trains(tmp_path):
    model, x, losses = trained("bfloat16")
    plain, _, others = trained(None)
    assert losses[-1] < losses[0]
    assert 0 < abs(losses - others).max() < 0.01
    predicted = model.predict(x)
    assert not same_bits(predicted, model.to("cpu").predict(x))
    assert same_bits(predicted, model.to("cpu", "bfloat16").predict(x))
    assert model.precision == "bfloat16" and plain.precision is None
    model.save(tmp_path / "model.lstm")


def test_layers_go_to_a_precision_and_back():
    layer = layers.LSTM(7, return_sequences=True)
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    plain = layer(x)
    narrow = layer.to("cpu", "bfloat16")(x)
    assert 0 < abs(plain - narrow).max() < 0.02
    steps = layer.stream(2).forward(x.swapaxes(0, 1).copy())
    assert same_bits(np.ascontiguousarray(steps.swapaxes(0, 1)), narrow)
    assert same_bits(layer.to("cpu")(x), plain)
    known = r"'float32', 'bfloat16', 'int8'"
    with pytest.raises(ValueError, match=rf"precision: expected one of {known}, got"):
        layer.to("cpu", "tf32")
    double = layers.LSTM(7)
    double.build((None, None, 3), dtype="float64")
    with pytest.raises(ValueError, match=r"precision: expected one of 'float64', got 'bfloat16'"):
        double.to("cpu", "bfloat16")


def test_models_of_float64_refuse_it():
    with pytest.raises(ValueError, match=r"precision: expected one of 'float64', got 'bfloat16'"):
        Model([layers.LSTM(3)], dtype="float64", precision="bfloat16")


def test_the_instruction_set_has_a_step_down():
    best = capi.best_isa()
    assert best == "none" or isa.up_to(best)[-1] == best

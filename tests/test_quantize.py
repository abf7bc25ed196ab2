"""Model.quantize: weights held in int8, what becomes of them, and the files they are kept in."""

import copy
import json
import pickle

import numpy as np
import pytest
from agreement import same_bits

import lstmfast
from lstmfast import Model, layers, ops
from lstmfast.layers.quantized import quantized
from lstmfast.ops.quantize import joined, split

LSTMS = {
    "last output": {},
    "sequences": {"return_sequences": True},
    "stack": {"num_layers": 2, "return_sequences": True, "peepholes": True},
    "both directions": {"bidirectional": True, "return_state": True},
    "projection": {"projection": 5, "return_sequences": True},
    "layer norm": {"layer_norm": True, "return_sequences": True, "return_state": True},
    "zoneout": {"zoneout_h": 0.2, "zoneout_c": 0.1, "return_sequences": True},
    "static": {"static_size": 3, "return_sequences": True},
    "cells": {"return_cells": True, "go_backwards": True},
    "time major": {"time_major": True, "return_sequences": True, "pad": "repeat"},
    "no bias": {"use_bias": False, "activation": "relu"},
}


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def built(layer, *shape):
    layer.build((None, *shape))
    return layer


def as_tuple(output):
    return output if isinstance(output, tuple) else (output,)


@pytest.fixture
def model():
    """A small trained one, its ids and its labels."""
    ids = np.random.default_rng(1).integers(0, 12, (40, 9))
    made = Model(
        [layers.Embedding(12, 8), layers.LSTM(20, return_sequences=True), layers.LSTM(17),
         layers.Dense(12, "softmax")], seed=3,
    )  # fmt: skip
    made.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    made.fit(ids, ids[:, -2], epochs=3, batch_size=8, verbose=0)
    return made, ids, ids[:, -2]


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("name", LSTMS)
def test_an_lstm_gives_the_bits_of_precision_int8(name):
    layer = built(layers.LSTM(21, seed=1, **LSTMS[name]), None, 6)
    small, x = quantized(layer), drawn(4, 4, 6)
    layer.to("cpu", "int8")
    given = [{}, {"lengths": [2, 0, 4, 1]}, {"mask": drawn(4, 4) > 0}, {"resets": drawn(4, 4) > 1}]
    if layer.static_size:
        given = [one | {"x_static": drawn(4, 3)} for one in given]
    for call in given:
        for found, wanted in zip(
            *(as_tuple(one(x, **call)) for one in (small, layer)), strict=True
        ):
            assert same_bits(found, wanted)


def test_an_lstm_goes_on_from_a_state_and_streams():
    layer = built(layers.LSTM(21, stateful=True, return_sequences=True, seed=1), None, 6)
    small, x = quantized(layer), drawn(4, 5, 6)
    layer.to("cpu", "int8")
    for _ in range(3):
        assert same_bits(small(x), layer(x))
    state = 3 * drawn(4, 21), drawn(4, 21)
    assert same_bits(small(x, state), layer(x, state))
    steps, wanted = small.stream(4), layer.stream(4)
    for t in range(5):
        step = np.ascontiguousarray(x[:, t])
        assert same_bits(steps.step(step), wanted.step(step))


def test_random_calls_do_not_depend_on_those_before(model):
    """What is packed once serves calls of any shape and kind; beside a fresh layer each time."""
    rng = np.random.default_rng(0)
    small = quantized(built(layers.LSTM(19, return_sequences=True, seed=2), None, 5))
    for n in range(60):
        if rng.integers(8) == 0:
            small = pickle.loads(pickle.dumps(small)) if rng.integers(2) else copy.copy(small)
        B, T = rng.integers(1, 9, 2)
        x = drawn(B, T, 5, seed=n)
        keywords = {}
        if rng.integers(2):
            keywords["lengths"] = rng.integers(0, T + 1, B)
        if rng.integers(3) == 0:
            keywords["resets"] = rng.random((B, T)) < 0.3
        state = (drawn(B, 19, seed=n), drawn(B, 19, seed=n + 1)) if rng.integers(2) else None
        fresh = copy.deepcopy(small)
        fresh._prepared = None
        assert same_bits(small(x, state, **keywords), fresh(x, state, **keywords))


def test_dense():
    layer = built(layers.Dense(33, "tanh", seed=1), 70)
    small, x = quantized(layer), drawn(5, 7, 70)
    assert same_bits(small(x), layer.to("cpu", "int8")(x))
    assert same_bits(small(x[:1, 0]), layer(x[:1, 0]))
    layer = built(layers.Dense(4, use_bias=False, seed=1), 3)
    assert same_bits(quantized(layer)(drawn(2, 3)), layer.to("cpu", "int8")(drawn(2, 3)))


def test_embedding():
    layer = built(layers.Embedding(9, 6, seed=1), None)
    small, ids = quantized(layer), np.array([[0, 8], [3, 3]])
    table = layer.params["embeddings"]
    step = abs(table).max(1) / 127
    assert small(ids).shape == (2, 2, 6) and small(ids).dtype == np.float32
    assert (abs(small(ids) - table[ids]) <= 0.51 * step[ids][..., None]).all()
    with pytest.raises(ValueError, match=r"x: expected ids in \[0, 9\)"):
        small(ids + 1)


@pytest.mark.parametrize("axis", (0, 1))
def test_a_matrix_is_split_into_the_same_again(axis):
    rng = np.random.default_rng(2)
    W = (rng.standard_normal((40, 30)) * 10.0 ** rng.integers(-20, 20, (40, 1))).astype("f4")
    W[3], W[:, 4] = 0, 0
    steps, scale = split(W, axis)
    whole = joined(steps, scale, axis)
    assert whole.dtype == np.float32 and abs(steps).max() == 127
    assert (abs(whole - W) <= 0.51 * np.expand_dims(scale, axis)).all()
    again = split(whole, axis)
    assert same_bits(again[0], steps) and same_bits(again[1], scale)


# ---------------------------------------------------------------- models


def test_a_model_predicts_and_evaluates(model):
    large, ids, labels = model
    small = large.quantize()
    assert [type(layer).__name__ for layer in small.layers] == [
        "QuantizedEmbedding", "QuantizedLSTM", "QuantizedLSTM", "QuantizedDense"
    ]  # fmt: skip
    assert [layer.name for layer in small.layers] == [layer.name for layer in large.layers]
    assert 0 < abs(small.predict(ids) - large.predict(ids)).max() < 0.01
    assert small.precision == "int8" and small.count_params() == large.count_params()
    loss, accuracy = small.evaluate(ids, labels)
    assert abs(loss - large.evaluate(ids, labels)[0]) < 0.01 and 0 <= accuracy <= 1
    held = sum(param.nbytes for param in small.params)
    assert held < 0.35 * sum(param.nbytes for param in large.params)


def test_the_model_before_is_left_as_it_was(model):
    large, ids, labels = model
    before, weights = large.predict(ids), large.get_weights()
    small = large.quantize(calibration=ids)
    assert same_bits(large.predict(ids), before)
    found = small.predict(ids)
    large.fit(ids, labels, verbose=0)
    assert same_bits(small.predict(ids), found)
    assert not same_bits(large.get_weights()[1], weights[1])


def test_the_report_tells_errors_layer_by_layer(model):
    large, ids, _ = model
    plain, small = large.quantize().report, large.quantize(calibration=ids, batch_size=7)
    rows = small.report.layers
    assert [row.name for row in rows] == [layer.name for layer in large.layers]
    assert all(row.outputs is None and row.largest is None for row in plain.layers)
    for row, layer in zip(rows, large.layers, strict=True):
        assert row.held_in == "int8" and row.bytes_after < 0.6 * row.bytes_before
        assert row.bytes_before == sum(param.nbytes for param in layer.params.values())
        assert 1e-4 < row.weights < 0.01 and 1e-4 < row.outputs < 0.1
    last = abs(small.predict(ids) - large.predict(ids)).astype(float)
    assert abs(rows[-1].largest - last.max()) < 1e-6
    size = np.sqrt(np.square(large.predict(ids), dtype=float).sum())
    assert abs(rows[-1].outputs - np.sqrt(np.square(last).sum()) / size) < 1e-6
    table = str(small.report).splitlines()
    assert len(table) == 5 and table[1].startswith("embedding") and "int8" in table[1]


def test_a_calibration_leaves_states_as_they_were():
    large = Model([layers.LSTM(5, stateful=True, input_shape=(None, 3))], seed=1)
    x = drawn(4, 6, 3)
    large.predict(x, batch_size=4)
    (h, c) = large.layers[0].state
    small = large.quantize(calibration=2 * x, batch_size=4)
    assert all(map(same_bits, large.layers[0].state, (h, c)))
    assert small.layers[0].state is None


def test_layers_without_such_a_form_stay():
    large = Model([layers.SimpleRNN(5, input_shape=(None, 3)), layers.Dense(2)], seed=1)
    small, x = large.quantize(), drawn(4, 6, 3)
    assert small.report.layers[0][1:5] == ("float32", 180, 180, 0.0)
    assert 0 < abs(small.predict(x) - large.predict(x)).max() < 0.05


def test_copies_have_the_same_bits(model):
    large, ids, _ = model
    small = large.quantize()
    wanted = small.predict(ids)
    for one in (copy.copy(small), copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert same_bits(one.predict(ids), wanted)


def test_weights_come_out_as_they_are_rounded(model):
    large, _, _ = model
    small = large.quantize()
    for narrow, wide in zip(small.get_weights(), large.get_weights(), strict=True):
        assert narrow.dtype == np.float32 and narrow.shape == wide.shape
        assert abs(narrow - wide).max() <= abs(wide).max() / 200
    part = small.layers[1].get_parts()[0]
    assert same_bits(part["W_ih"].T, small.get_weights()[1])


# ---------------------------------------------------------------- files


def test_files(model, tmp_path):
    large, ids, labels = model
    small = large.quantize()
    large.save(tmp_path / "large")
    small.save(tmp_path / "small")
    again = lstmfast.load(tmp_path / "small")
    assert same_bits(again.predict(ids), small.predict(ids))
    assert again.evaluate(ids, labels) == small.evaluate(ids, labels)
    assert again.precision == "int8" and again.report is None
    assert format_of(tmp_path / "large") == "1" and format_of(tmp_path / "small") == "2"
    with pytest.raises(ValueError, match="tensors: expected"):
        large.load_weights(tmp_path / "small")
    for name in ("large", "small"):
        with pytest.raises(ValueError, match="embedding: expected weights that stay"):
            again.load_weights(tmp_path / name)
    with pytest.raises(ValueError, match="lstm: expected weights that stay"):
        again.layers[1].set_weights(small.layers[1].get_weights())
    with pytest.raises(ValueError, match="read-only"):
        again.layers[1].params["W_hh"][0] = 0


def header_of(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def format_of(path):
    return header_of(path)[0]["__metadata__"]["format"]


def rewritten(path, header, content):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def test_format_1_has_no_int8(model, tmp_path):
    large, _, _ = model
    large.quantize().save(tmp_path / "small")
    header, content = header_of(tmp_path / "small")
    header["__metadata__"]["format"] = "1"
    rewritten(tmp_path / "small", header, content)
    with pytest.raises(ValueError, match=r"expected dtype int8, got I8 in format 1"):
        lstmfast.load(tmp_path / "small")


def test_scales_are_checked_as_all_tensors_are(model, tmp_path):
    large, _, _ = model
    large.quantize().save(tmp_path / "small")
    header, content = header_of(tmp_path / "small")
    name = "layers/lstm/W_ih_scale"
    start, _ = header[name]["data_offsets"]
    nan = np.float32(np.nan).tobytes()
    rewritten(tmp_path / "small", header, content[:start] + nan + content[start + 4 :])
    with pytest.raises(ValueError, match=f"{name}: expected finite values"):
        lstmfast.load(tmp_path / "small")


def test_bfloat16_in_format_2_is_read_as_float32(model, tmp_path):
    large, ids, _ = model
    large.save(tmp_path / "large", include_optimizer=False)
    header, content = header_of(tmp_path / "large")
    header["__metadata__"]["format"], found = "2", b""
    for name in sorted(header.keys() - {"__metadata__"}, key=lambda n: header[n]["data_offsets"]):
        begin, end = header[name]["data_offsets"]
        halves = np.frombuffer(content[begin:end], np.uint32) >> 16
        header[name] |= {"dtype": "BF16"}
        header[name]["data_offsets"] = [len(found), len(found) + 2 * len(halves)]
        found += halves.astype("<u2").tobytes()
    rewritten(tmp_path / "half", header, found)
    half = lstmfast.load(tmp_path / "half")
    for narrow, wide in zip(half.params, large.params, strict=True):
        assert narrow.dtype == np.float32
        assert same_bits(narrow.view(np.uint32), wide.view(np.uint32) & np.uint32(0xFFFF0000))
    assert abs(half.predict(ids) - large.predict(ids)).max() < 0.02


# ---------------------------------------------------------------- what it cannot


def test_refused(model):
    large, ids, labels = model
    small = large.quantize()
    for train in (small.fit, small.train_on_batch, small.gradients):
        with pytest.raises(ValueError, match=r"precision: expected .* to train, got 'int8'"):
            train(ids, labels)
    with pytest.raises(ValueError, match="expected a model that is not quantized yet"):
        small.quantize()
    for place in (("cpu", "bfloat16"), ("cpu", "float32")):
        with pytest.raises(ValueError, match="expected the CPU and int8 once quantized"):
            small.to(*place)
    with pytest.raises(ValueError, match="precision: expected one of 'int8'"):
        large.quantize("int4")
    with pytest.raises(ValueError, match="expected a float32 model"):
        Model([layers.Dense(2, input_shape=(3,))], dtype="float64").quantize()
    with pytest.raises(ValueError, match="is not built"):
        Model([layers.Dense(2)]).quantize()
    with pytest.raises(ValueError, match="x: expected ids"):
        large.quantize(calibration=ids + 20)
    with pytest.raises(ValueError, match=r"expected weights from Model\.quantize"):
        layers.QuantizedDense(2)(drawn(1, 3))
    with pytest.raises(ValueError, match="expected training=False"):
        small.layers[1].forward(drawn(1, 2, 8), training=True)
    large.layers[1].params["W_hh"][0, 0] = np.nan
    with pytest.raises(ValueError, match="lstm: expected finite weights, got NaN or Inf in W_hh"):
        large.quantize()


def test_products_of_packed_matrices(threads):
    for M, K, N in ((1, 1, 1), (5, 300, 70), (40, 64, 9)):
        x, W, b = drawn(M, K), drawn(K, N), drawn(N)
        packed = ops.dense.PreparedDense(W, b)
        for n in (1, 2, 3):
            threads(n)
            assert same_bits(packed.forward(x), ops.dense_forward(x, W, b, precision="int8"))
    with pytest.raises(ValueError, match=r"x: expected \(M, 64\), got \(1, 63\)"):
        packed.forward(drawn(1, 63))
    with pytest.raises(TypeError, match="PackedQuads"):
        copy.copy(packed._W)

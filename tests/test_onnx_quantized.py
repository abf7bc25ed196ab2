"""ONNX files with weights in int8: of quantized Models, of ONNX Runtime's own tool, and damaged."""

import numpy as np
import pytest
from agreement import same_bits

from lstmfast import Model, capi, layers
from lstmfast.kernels.isa import up_to
from lstmfast.onnx import export, load

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_files import model_of, node, onnx, run, weights

LAYERS = {
    "plain": {},
    "sequences": {"return_sequences": True},
    "backwards": {"go_backwards": True, "return_sequences": True, "use_bias": False},
    "both": {"bidirectional": True, "return_sequences": True},
    "stack": {"num_layers": 2, "peepholes": True, "clip": 0.7},
    "coupled": {"coupled": True, "activation": "softsign"},
}
# Outputs are at most 1. Without VNNI ONNX Runtime's sums of 16 bits saturate, so that its results
# are off by tenths; with it, by what rounding x and h costs.
BAR = 0.05 if "v4vnni" in up_to(capi.best_isa()) else 0.4


def drawn(made, seed=0):
    rng = np.random.default_rng(seed)
    made.set_weights([rng.uniform(-0.4, 0.4, w.shape) for w in made.get_weights()])
    return made


def small_and_ids(**options):
    """A quantized Model, and ids for it."""
    made = Model(
        [layers.Embedding(12, 8), layers.LSTM(21, **options), layers.Dense(5, "softmax")], seed=1
    )
    return drawn(made).quantize(), np.random.default_rng(2).integers(0, 12, (6, 9))


@pytest.mark.parametrize("name", LAYERS)
def test_a_quantized_model_runs_and_comes_back(name, tmp_path):
    small, ids = small_and_ids(**LAYERS[name])
    export(small, tmp_path / "small.onnx")
    proto = onnx.load(tmp_path / "small.onnx")
    kinds = [(one.domain, one.op_type) for one in proto.graph.node]
    assert ("com.microsoft", "DynamicQuantizeLSTM") in kinds and ("", "LSTM") not in kinds
    held = {onnx.TensorProto.DataType.Name(one.data_type) for one in proto.graph.initializer}
    assert held <= {"INT8", "FLOAT", "INT64"}
    assert abs(run(tmp_path / "small.onnx", ids) - small.predict(ids)).max() < BAR
    large = load(tmp_path / "small.onnx")
    assert all(map(same_bits, large.get_weights(), small.get_weights()))
    assert same_bits(large.quantize().predict(ids), small.predict(ids))


def test_a_float_model_is_written_as_before(tmp_path):
    large = drawn(Model([layers.LSTM(3, input_shape=(None, 2)), layers.Dense(2)]))
    export(large, tmp_path / "large.onnx")
    proto = onnx.load(tmp_path / "large.onnx")
    assert [one.domain for one in proto.opset_import] == [""]
    kinds = [(one.domain, one.op_type) for one in proto.graph.node]
    assert kinds == [("", kind) for kind in ("Transpose", "LSTM", "Squeeze", "MatMul", "Add")]


@pytest.mark.parametrize("by_channel", (False, True))
@pytest.mark.parametrize("kind", ("QInt8", "QUInt8"))
def test_what_onnx_runtime_quantizes(kind, by_channel, tmp_path):
    """Its tool's file, read as float32 weights: off by no more than half a step of each."""
    tool = pytest.importorskip("onnxruntime.quantization")
    large = drawn(Model([layers.LSTM(20, input_shape=(None, 6)), layers.Dense(3)], seed=1))
    export(large, tmp_path / "large.onnx")
    tool.quantize_dynamic(
        tmp_path / "large.onnx", tmp_path / "small.onnx", op_types_to_quantize=["LSTM"],
        weight_type=getattr(tool.QuantType, kind), per_channel=by_channel,
    )  # fmt: skip
    proto = onnx.load(tmp_path / "small.onnx")
    assert "DynamicQuantizeLSTM" in {one.op_type for one in proto.graph.node}
    found = load(tmp_path / "small.onnx")
    for narrow, wide in zip(found.get_weights(), large.get_weights(), strict=True):
        assert abs(narrow - wide).max() <= 0.51 * 0.8 / 127
    x = np.random.default_rng(3).standard_normal((4, 7, 6)).astype(np.float32)
    assert abs(run(tmp_path / "small.onnx", x) - found.predict(x)).max() < BAR
    assert 0 < abs(found.predict(x) - large.predict(x)).max() < 0.05


# ---------------------------------------------------------------- by hand


def by_hand(change=lambda arrays: None, inputs=None, outputs="- Y_h", domain="com.microsoft"):
    """A file of one DynamicQuantizeLSTM with zero points, a scale for each direction."""
    rng = np.random.default_rng(0)
    arrays = {
        "W": rng.integers(0, 256, (1, 3, 16)).astype(np.uint8),
        "R": rng.integers(0, 256, (1, 4, 16)).astype(np.uint8),
        "B": weights()["B"], "ws": np.array([0.01], np.float32),
        "wz": np.array([120], np.uint8), "rs": np.array([0.02], np.float32),
        "rz": np.array([130], np.uint8), "axes": np.array([0]),
    }  # fmt: skip
    change(arrays)
    inputs = inputs or "x W R B - - - - ws wz rs rz"
    nodes = [
        node("DynamicQuantizeLSTM", inputs, outputs, hidden_size=4, domain=domain),
        node("Squeeze", "Y_h axes", "y"),
    ]
    proto = model_of(nodes, arrays, shape=("time", "batch", 3))
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    proto.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("batch", 4))
    )
    return proto, arrays


def loaded(proto, tmp_path):
    onnx.save(proto, tmp_path / "file.onnx")
    return load(tmp_path / "file.onnx", time_major=True)


def test_zero_points(tmp_path):
    proto, arrays = by_hand()
    found = loaded(proto, tmp_path)
    (part,) = found.layers[0].get_parts()
    i, o, f, c = np.split((arrays["W"][0].astype("f4") - 120) * np.float32(0.01), 4, axis=1)
    assert same_bits(part["W_ih"], np.ascontiguousarray(np.concatenate([i, f, c, o], axis=1).T))
    x = np.random.default_rng(1).standard_normal((5, 2, 3)).astype(np.float32)
    wanted = run(tmp_path / "file.onnx", x)
    assert abs(found.predict(x.swapaxes(0, 1)) - wanted).max() < BAR


def test_numbers_may_be_listed(tmp_path):
    proto, arrays = by_hand()
    plain = loaded(proto, tmp_path).get_weights()
    tensor = next(one for one in proto.graph.initializer if one.name == "W")
    tensor.ClearField("raw_data")
    tensor.int32_data[:] = arrays["W"].reshape(-1).tolist()
    assert all(map(same_bits, loaded(proto, tmp_path).get_weights(), plain))
    tensor.int32_data[3] = 256
    with pytest.raises(ValueError, match="W: expected numbers of UINT8, got larger ones"):
        loaded(proto, tmp_path)


def put(**changed):
    return lambda arrays: arrays.update(changed)


FLOATS = np.ones((1, 3, 16), np.float32)
BAD = {
    "floats for W": (put(W=FLOATS), "W: expected int8 or uint8"),
    "another shape": (put(W=np.ones((1, 16), np.uint8)), "W: expected"),
    "R of another H": (put(R=np.ones((1, 5, 16), np.uint8)), "R: expected"),
    "scales of another shape": (put(ws=np.ones((2,), np.float32)), "W_scale: expected"),
    "scales in float64": (put(rs=np.ones((1,))), "R_scale: expected float32"),
    "a scale that is NaN": (put(ws=np.full((1,), np.nan, np.float32)), "expected finite"),
    "zero points of another dtype": (put(wz=np.zeros((1,), np.int8)), "W_zero_point: expected"),
    "zero points of another shape": (put(rz=np.zeros((16,), np.uint8)), "R_zero_point: expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files(name, tmp_path):
    change, text = BAD[name]
    with pytest.raises(ValueError, match=text):
        loaded(by_hand(change)[0], tmp_path)


def test_wrong_nodes(tmp_path):
    for inputs, text in (
        ("x W R B - - - - ws wz", "inputs: expected 1[01] to 12, got 10|expected an input"),
        ("x W R B - - - - - wz rs rz", "expected"),
        ("x W W B - - - - ws wz rs rz", "R: expected"),
        ("x W R B - - - - ws wz rs rz B", "inputs: expected .* got 13"),
        ("x x R B - - - - ws wz rs rz", "W: expected int8 or uint8"),
    ):
        with pytest.raises(ValueError, match=text):
            loaded(by_hand(inputs=inputs)[0], tmp_path)
    for domain in ("", "org.example"):
        proto, _ = by_hand(domain=domain)
        proto.opset_import.append(onnx.helper.make_opsetid("org.example", 1))
        with pytest.raises(ValueError, match="expected an operator of those"):
            loaded(proto, tmp_path)


def of_dequantize(steps, scale, *zero, **attributes):
    """A file of x · DequantizeLinear(steps)."""
    arrays = {"q": steps, "s": scale} | ({"z": zero[0]} if zero else {})
    nodes = [
        node("DequantizeLinear", " ".join(arrays), "kernel", **attributes),
        node("MatMul", "x kernel", "y"),
    ]
    return model_of(nodes, arrays, opset=attributes.pop("opset", 21))


def test_dequantize_linear(tmp_path):
    rng = np.random.default_rng(4)
    q, s = rng.integers(-128, 128, (3, 2)).astype(np.int8), np.array([0.5, 0.25], np.float32)
    one, three = np.float32(0.125), np.array([1, 2, 3], np.int8)
    for given, attributes, wanted in (
        ((q, s), {"axis": 1}, q * s),
        ((q, s), {"axis": -1}, q * s),
        ((q, one), {}, q * one),
        ((q, np.float32([1, 2, 4]), three), {"axis": 0}, (q - three[:, None].astype("f4"))
         * np.float32([[1], [2], [4]])),
    ):  # fmt: skip
        onnx.save(of_dequantize(*given, **attributes), tmp_path / "file.onnx")
        assert same_bits(load(tmp_path / "file.onnx").get_weights()[0], wanted.astype(np.float32))
    for given, attributes, text in (
        ((q, s), {"axis": 0}, "x_scale: expected"),
        ((q, s), {"axis": 2}, "x_scale: expected"),
        ((q, s[:1]), {"axis": 1}, "x_scale: expected"),
        ((q, one, np.int8(1), ), {"block_size": 2}, "block_size: expected 0"),
        ((q, s, np.zeros(2, np.uint8)), {"axis": 1}, "expected"),
    ):  # fmt: skip
        onnx.save(of_dequantize(*given, **attributes), tmp_path / "file.onnx")
        with pytest.raises(ValueError, match=text):
            load(tmp_path / "file.onnx")

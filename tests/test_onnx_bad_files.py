"""Files that lstmfast.onnx.load refuses: no chain, not for a Model, damaged, or hostile."""

import tracemalloc

import numpy as np
import pytest

from lstmfast import LSTM, Dense, Embedding, Model
from lstmfast.onnx import export, load

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_files import FLOAT, model_of, node, onnx, weights

TENSOR = onnx.TensorProto
TURN = node("Transpose", "x", "turned", perm=[1, 0, 2])
CELL = node("LSTM", "turned W R B", "Y Y_h Y_c", hidden_size=4)
LAST = node("Squeeze", "Y_h zero", "h")
DENSE = node("MatMul", "h kernel", "y")
ARRAYS = weights() | {"zero": np.array([0]), "one": np.array([1]), "minus": np.array([-1])}


def lstm(inputs="turned W R B", outputs="Y Y_h", **attributes):
    return node("LSTM", inputs, outputs, **{"hidden_size": 4} | attributes)


def saved(path, nodes, arrays=ARRAYS, **options):
    """Write a graph with those of the arrays that it uses."""
    used = {name for one in nodes for name in one.input}
    proto = model_of(nodes, {n: a for n, a in arrays.items() if n in used}, **options)
    path.write_bytes(proto.SerializeToString())
    return path


F = np.float32
OTHERS = {
    "half": F(0.5) * np.ones((1, 2, 4), F),
    "lengths": np.array([2, 2], np.int32),
    "P9": np.ones((1, 9), F),
    "big": np.ones((5, 2), F),
    "cube": np.ones((1, 4, 2), F),
    "bias3": np.ones(3, F),
    "doubles": np.ones((4, 2)),
    "halves": np.ones((4, 2), np.float16),
    "nan": np.full((4, 2), np.nan, F),
    "W5": np.ones((1, 16, 5), F),
    "R2": np.ones((2, 16, 4), F),
    "empty": np.ones((0, 4), F),
    "table": np.ones((9, 3), F),
    "two": np.array([2]),
    "shape": np.array([0, 0, 0, 0]),
    "negative": np.array([-2, 8]),
    "huge": np.array([2**40, 2**40]),
    "true": np.array(True),
    "ratio": F(0.5),
    "minus1": np.array(-1),
    "first": np.array(0),
}
END = [LAST, DENSE]
REFUSED = {
    # What a Model does not have.
    "operator": ([TURN, node("GRU", "turned W R B", "y")], r"'GRU of y' \(GRU\): expected an"),
    "domain": ([TURN, CELL, LAST, node("MatMul", "h kernel", "y", domain="com.x")], "got com.x"),
    "loop": ([TURN, CELL, LAST, node("Abs", "h", "a"), node("Loop", "one - a", "y")], "got Loop"),
    "initial_h": ([TURN, lstm("turned W R B - half"), *END], "initial_h: expected zeros"),
    "initial_c": ([TURN, lstm("turned W R B - - half"), *END], "initial_c: expected zeros"),
    "lengths": ([TURN, lstm("turned W R B lengths"), *END], "sequence_lens: expected none"),
    "Y_c": ([TURN, CELL, node("Squeeze", "Y_c zero", "h"), DENSE], "got output 3 of node"),
    "weights": ([TURN, lstm("turned x R B"), *END], "W: expected weights that the file holds, got"),
    "computed": ([TURN, lstm("turned turned R"), *END], "W: expected weights that the file holds"),
    "kernel": ([TURN, CELL, LAST, node("MatMul", "h h", "y")], "expected weights that the file"),
    "state_in": ([TURN, lstm("turned W R B - x"), *END], "initial_h: expected zeros"),
    "activation": ([TURN, lstm(activations=["Sigmoid", "Tanh", "Gelu"]), *END], "'Gelu'"),
    "parameters": ([TURN, lstm(activation_alpha=[1.0]), *END], "activation_alpha: expected no"),
    "clip": ([TURN, lstm(clip=-1.0), *END], "clip: expected"),
    "direction": ([TURN, lstm(direction="both"), *END], "direction: expected one of"),
    "hidden_size": ([TURN, lstm(hidden_size=5), *END], "hidden_size: expected 4, as R has it"),
    "attribute": ([TURN, lstm(surprise=1), *END], r"expected no attribute \['surprise'\]"),
    "type": ([TURN, lstm(clip=1), *END], "clip: expected an attribute of type FLOAT"),
    "rnn_clip": ([TURN, node("RNN", "turned V V4", "Y Y_h", clip=1.0), *END], "'clip'"),
    "leaky": ([TURN, CELL, LAST, DENSE, node("LeakyRelu", "y", "z")], "alpha: expected 0.2"),
    "two_activations": ([TURN, CELL, LAST, DENSE, node("Tanh", "y", "a"), node("Relu", "a", "z")],
                        "expected one activation of a Dense, got relu as the second"),
    "activation_of_lstm": ([TURN, CELL, LAST, node("Relu", "h", "y")], "expected a Dense"),
    "bias_of_lstm": ([TURN, CELL, LAST, node("Add", "h bias3", "y")], "expected a Dense"),
    "softmax": ([TURN, CELL, LAST, DENSE, node("Softmax", "y", "z", axis=0)], "axis: expected"),
    "alpha": ([TURN, CELL, LAST, node("Gemm", "h kernel", "y", alpha=2.0)], "alpha = beta = 1"),
    "training": ([TURN, CELL, LAST, node("Dropout", "h ratio true", "y")], "training_mode"),
    "half_float": ([TURN, CELL, LAST, node("MatMul", "h halves", "y")], "got tensor.float16"),
    # No chain.
    "branch": ([TURN, CELL, LAST, node("MatMul", "h kernel", "a"), node("MatMul", "h kernel", "b"),
                node("Concat", "a b", "y", axis=1)], "expected a chain of layers, got a second"),
    "residual": ([TURN, CELL, LAST, DENSE, node("Tanh", "y", "a"), node("Add", "a y", "z")],
                 "expected the bias of a Dense or sizes"),
    "parallel": ([TURN, CELL, lstm("turned W R", "Z Z_h"),
                  node("Concat", "Y_h Z_h", "both", axis=2), node("Squeeze", "both zero", "y")],
                 "expected the two directions of a layer|expected a chain"),
    "first_of_stack": ([TURN, CELL, node("Squeeze", "Y one", "y1"), lstm("y1 W4 R", "Z Z_h"),
                        node("Concat", "Y_h Z_h", "all", axis=0),
                        node("Gather", "all first", "h"), DENSE], "got a second use"),
    "one_half": ([TURN, lstm("turned W2 R22", direction="bidirectional"),
                  node("Gather", "Y_h first", "h"), DENSE], "expected both directions side by"),
    "halves_swapped": ([TURN, lstm("turned W2 R22", direction="bidirectional"),
                        node("Gather", "Y_h first", "f"), node("Gather", "Y_h minus1", "b"),
                        node("Concat", "b f", "y", axis=1)], "the forward and the backward"),
    "interleaved": ([TURN, lstm("turned W2 R22", direction="bidirectional"),
                     node("Transpose", "Y_h", "a", perm=[1, 2, 0]),
                     node("Reshape", "a flat", "y")], r"features along the last axis"),
    "first_step": ([TURN, CELL, node("Squeeze", "Y one", "a"), node("Gather", "a first", "h"),
                    DENSE], "the last one that the layer takes"),
    "no_layers": ([node("Identity", "x", "y")], "output .y.: expected"),
    "in_reverse": ([TURN, lstm(direction="reverse"), node("Squeeze", "Y one", "a"),
                    node("Transpose", "a", "y", perm=[1, 0, 2])], "output .y.: .* got the reverse"),
    "time_first_out": ([TURN, CELL, node("Squeeze", "Y one", "y")], r"output .y.: expected"),
    "an_axis_more": ([TURN, CELL, node("Transpose", "Y", "y", perm=[2, 0, 1, 3])], "output .y."),
    "not_turned": ([lstm("x W R B"), *END], r"X: expected \(time, batch, features\), got numbers"),
    "flattened": ([TURN, CELL, node("Reshape", "Y shape", "y")], "output .y.: expected"),
    "shift": ([TURN, CELL, LAST, DENSE, node("Add", "y x", "z")], "expected the bias"),
    # Wrong shapes.
    "W_shape": ([TURN, lstm("turned R R B"), *END], "expected 4 features, as the weights have"),
    "W_size": ([TURN, lstm("turned W5 R B"), *END], "expected 5 features, as the weights have"),
    "R_shape": ([TURN, lstm("turned W W B"), *END], "R: expected"),
    "R_directions": ([TURN, lstm("turned W R2 B"), *END], "R: expected"),
    "P_shape": ([TURN, lstm("turned W R B - - - P9"), *END], "P: expected"),
    "kernel_size": ([TURN, CELL, LAST, node("MatMul", "h big", "y")], "expected 5 features"),
    "kernel_rank": ([TURN, CELL, LAST, node("MatMul", "h cube", "y")], "expected a matrix"),
    "kernel_empty": ([TURN, CELL, LAST, node("MatMul", "h empty", "y")], "expected a matrix"),
    "kernel_dtype": ([TURN, CELL, LAST, node("MatMul", "h doubles", "y")],
                     "got tensor.double"),
    "kernel_nan": ([TURN, CELL, LAST, node("MatMul", "h nan", "y")], "kernel: expected finite"),
    "bias_size": ([TURN, CELL, LAST, DENSE, node("Add", "y bias3", "z")], "expected a bias .2,."),
    "perm": ([node("Transpose", "x", "turned", perm=[0, 0, 1]), CELL, *END], "perm: expected an"),
    "squeeze": ([node("Squeeze", "x zero", "turned"), CELL, *END], "of size 1 that mean nothing"),
    "axis": ([TURN, CELL, node("Squeeze", "Y_h two9", "h"), DENSE], "expected an axis in"),
    "reshape": ([node("Reshape", "x huge", "turned"), CELL, *END], "can be reshaped"),
    "gather": ([node("Gather", "table x", "y")], "indices: expected one of .'tensor.int32"),
    # Damaged graphs.
    "missing_input": ([TURN, CELL, LAST, node("MatMul", "h nowhere", "y")], "the input 'nowhere'"),
    "missing_weight": ([TURN, lstm("turned W"), *END], "inputs: expected 3 to 8, got 2"),
    "cycle": ([TURN, node("Identity", "b", "a"), node("Identity", "a", "b"), CELL,
               node("Add", "a h", "y")], "expected the input 'b' from a node before it"),
    "itself": ([node("Identity", "y", "y")], "expected the input 'y' from a node before it"),
    "twice": ([TURN, CELL, LAST, DENSE, node("Identity", "h", "y")], "expected an output of its"),
    "output": ([TURN, CELL], "output .y.: expected"),
}  # fmt: skip
OTHERS |= {"W4": weights(I=4)["W"], "V": np.ones((1, 4, 3), F), "V4": np.ones((1, 4, 4), F)}
OTHERS |= {"W2": weights(D=2)["W"], "R22": weights(D=2)["R"], "flat": np.array([0, 8])}
OTHERS |= {"two9": np.array([9])}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    nodes, message = REFUSED[case]
    last = nodes[-1].output[0]
    output = last if last in ("y", "z") else "y"
    path = saved(tmp_path / "model.onnx", nodes, ARRAYS | OTHERS, output=output)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)
    named = ("node", "output", "initializer")
    assert any(word in str(error.value) for word in named)


ENDS = {
    "two_outputs": lambda g: g.output.append(g.output[0]),
    "no_output": lambda g: g.output.pop(),
    "two_inputs": lambda g: g.input.append(onnx.helper.make_tensor_value_info("z", FLOAT, [1])),
    "no_input": lambda g: g.input.pop(),
    "rank": lambda g: g.input[0].type.tensor_type.shape.dim.pop(),
    "no_shape": lambda g: g.input[0].type.tensor_type.ClearField("shape"),
    "negative": lambda g: setattr(g.input[0].type.tensor_type.shape.dim[0], "dim_value", -3),
    "text": lambda g: setattr(g.input[0].type.tensor_type, "elem_type", TENSOR.STRING),
    "sequence": lambda g: g.input[0].type.sequence_type.elem_type.tensor_type.Clear(),
    "named_twice": lambda g: g.initializer.append(g.initializer[0]),
    "no_name": lambda g: setattr(g.initializer[0], "name", ""),
    "no_initializer": lambda g: g.initializer.pop(0),
    "sparse": lambda g: g.sparse_initializer.add(),
    "node_twice": lambda g: g.node.append(g.node[0]),
    "attribute_twice": lambda g: g.node[1].attribute.append(g.node[1].attribute[0]),
    "reference": lambda g: setattr(g.node[1].attribute[0], "ref_attr_name", "outer"),
    "no_nodes": lambda g: g.ClearField("node"),
}


@pytest.fixture
def good():
    """Return a ModelProto that loads."""
    return model_of(
        [TURN, CELL, LAST, DENSE], {n: ARRAYS[n] for n in ("W", "R", "B", "kernel", "zero")}
    )


@pytest.mark.parametrize("case", ENDS)
def test_damaged_graphs(case, good, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(good.SerializeToString())
    load(path)
    ENDS[case](good.graph)
    path.write_bytes(good.SerializeToString())
    with pytest.raises(ValueError, match="expected"):
        load(path)


@pytest.mark.parametrize("versions", ([], [6], [10**6], [18, 18], [-1]))
def test_opsets(versions, good, tmp_path):
    del good.opset_import[:]
    good.opset_import.extend(onnx.helper.make_opsetid("", v) for v in versions)
    path = tmp_path / "model.onnx"
    path.write_bytes(good.SerializeToString())
    with pytest.raises(ValueError, match=r"opset: expected one in \[7, "):
        load(path)


TENSORS = {
    "external": lambda t: setattr(t, "data_location", TENSOR.EXTERNAL),
    "external_path": lambda t: t.external_data.add(key="location", value="/etc/passwd"),
    "huge": lambda t: t.dims.__setitem__(0, 2**40),
    "overflow": lambda t: t.dims.extend([2**62] * 4),
    "negative": lambda t: t.dims.__setitem__(0, -1),
    "many_axes": lambda t: t.dims.extend([1] * 100),
    "zero": lambda t: t.dims.__setitem__(0, 0),
    "short": lambda t: setattr(t, "raw_data", t.raw_data[:-4]),
    "odd": lambda t: setattr(t, "raw_data", t.raw_data[:-1]),
    "both": lambda t: t.float_data.append(1.0),
    "none": lambda t: t.ClearField("raw_data"),
    "kind": lambda t: setattr(t, "data_type", 999),
    "no_kind": lambda t: t.ClearField("data_type"),
    "text": lambda t: setattr(t, "data_type", TENSOR.STRING),
    "integers": lambda t: setattr(t, "data_type", TENSOR.INT32),
    "segment": lambda t: t.segment.Clear() or setattr(t.segment, "begin", 1),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors(case, good, tmp_path):
    """Nothing is allocated by a declared size, and no other file is read."""
    TENSORS[case](next(i for i in good.graph.initializer if i.name == "W"))
    path = tmp_path / "model.onnx"
    path.write_bytes(good.SerializeToString())
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected"):
        load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6


ELSEWHERE = {
    "another name": {"location": "data"},
    "a path": {"location": "./model.data"},
    "a folder above": {"location": "../model.data"},
    "an absolute path": {"location": "/etc/passwd"},
    "a link": {"location": "model.link"},
    "a folder": {"location": "model.folder"},
    "nothing": {"location": "model.none"},
    "a null": {"location": "model\0.data"},
    "no location": {"offset": "0"},
    "an empty file": {"location": "model.empty"},
    "behind the end": {"location": "model.data", "offset": "8"},
    "too long": {"location": "model.data", "length": "20"},
    "too short": {"location": "model.data", "length": "12"},
    "a negative offset": {"location": "model.data", "offset": "-8"},
    "no number": {"location": "model.data", "length": "many"},
    "another key": {"location": "model.data", "basepath": ".."},
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_data_in_other_files(case, good, tmp_path):
    """Read from a file beside the model that is named after it, and from no other."""
    for name in ("data", "model.data"):
        (tmp_path / name).write_bytes(bytes(16))
    (tmp_path / "model.empty").write_bytes(b"")
    (tmp_path / "model.link").symlink_to(tmp_path / "data")
    (tmp_path / "model.folder").mkdir()
    tensor = good.graph.initializer.add(name="unused", data_type=FLOAT, dims=[4])
    tensor.data_location = TENSOR.EXTERNAL
    path = tmp_path / "model.onnx"

    def written(told):
        del tensor.external_data[:]
        for key, value in told.items():
            tensor.external_data.add(key=key, value=value)
        path.write_bytes(good.SerializeToString())
        return path

    load(written({"location": "model.data"}))
    with pytest.raises(ValueError, match="unused: expected"):
        load(written(ELSEWHERE[case]))


BOMBS = {
    "shapes": lambda: [
        node("Shape", "x", "s0"),
        *(node("Concat", f"s{n} s{n}", f"s{n + 1}", axis=0) for n in range(60)),
        node("ConstantOfShape", "s60", "y"),
    ],
    "sizes": lambda: [
        node("Constant", "", "s0", value_int=3),
        *(node("Mul", f"s{n} s{n}", f"s{n + 1}") for n in range(60)),
        node("Expand", "half s60", "y"),
    ],
    "symbols": lambda: [
        node("Shape", "x", "s0"),
        *(node("Mul", f"s{n} s{n}", f"s{n + 1}") for n in range(60)),
        node("Expand", "half s60", "y"),
    ],
    "axes": lambda: [
        node("Identity", "x", "s0"),
        *(node("Unsqueeze", f"s{n} zero", f"s{n + 1}") for n in range(60)),
        node("Identity", "s60", "y"),
    ],
    "states": lambda: [
        TURN,
        lstm(outputs="Y s0"),
        *(node("Concat", f"s{n} s{n}", f"s{n + 1}", axis=0) for n in range(60)),
        node("Identity", "s60", "y"),
    ],
    "weights": lambda: [  # one matrix of 1 MB for 60 layers
        node("Identity", "x", "a0"),
        *(node("MatMul", f"a{n} square", f"a{n + 1}") for n in range(60)),
        node("Identity", "a60", "y"),
    ],
    "array": lambda: [
        node("ConstantOfShape", "huge", "zeros"),
        TURN,
        lstm("turned W R B - zeros zeros", outputs="Y Y_h"),
        node("Identity", "zeros", "y"),
    ],
}


@pytest.mark.parametrize("case", BOMBS)
def test_what_would_grow(case, tmp_path):
    """Small files that ask for much: an error, and no memory."""
    arrays = ARRAYS | OTHERS | {"square": np.ones((512, 512), F)}
    shape = ("batch", "time", 512 if case == "weights" else 3)
    path = saved(tmp_path / "model.onnx", BOMBS[case](), arrays, shape=shape)
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected"):
        load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6 + 20 * path.stat().st_size


# ---------------------------------------------------------------- damaged bytes


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """Return the bytes of three good files."""
    folder, found = tmp_path_factory.mktemp("good"), []
    for layers in (
        [LSTM(2, input_shape=(None, 2))],
        [Embedding(5, 2), LSTM(2, bidirectional=True, return_sequences=True), Dense(2, "softmax")],
        [Embedding(3, 2), LSTM(2, num_layers=2, go_backwards=True, peepholes=True), Dense(1)],
    ):
        export(Model(layers, seed=0), folder / "model.onnx")
        found.append((folder / "model.onnx").read_bytes())
    return found


def attempt(path, content):
    """Load these bytes; only ValueError may come out. Return whether they made a model."""
    path.write_bytes(content)
    try:
        model = load(path)
    except ValueError as error:
        assert str(error).startswith(str(path)) and len(str(error)) > len(str(path)) + 10
        return False
    return isinstance(model, Model)


def test_truncated(contents, tmp_path):
    for content in contents:
        made = [attempt(tmp_path / "m", content[:n]) for n in range(0, len(content), 3)]
        assert attempt(tmp_path / "m", content)
        assert sum(made) <= 0.1 * len(made)  # only what is cut off behind the graph


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bytes(seed, contents, tmp_path):
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(250):
        content = bytearray(contents[rng.integers(len(contents))])
        for _ in range(int(rng.integers(1, 4))):
            content[rng.integers(len(content))] = rng.integers(256)
        refused += not attempt(tmp_path / "m", bytes(content))
    assert refused > 100


def test_other_content(tmp_path):
    for content in (
        b"",
        b"\0" * 1000,
        b"not a model",
        bytes(range(256)) * 20,
        b"\x80\x04\x95pickle",
    ):
        assert not attempt(tmp_path / "m", content)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")

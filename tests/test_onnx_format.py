"""What the standard says of operators and files, held against ONNX files."""

import os

import numpy as np
import pytest
from agreement import assert_all_equal

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Model
from lstmfast.onnx import export, load

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_files import FLOAT, model_of, node, onnx, run, weights

from lstmfast.onnx import limits

TENSOR = onnx.TensorProto
helper = onnx.helper


@pytest.fixture
def proto(tmp_path):
    """Return an export with every kind of node: Gather, LSTM, MatMul, Add, Softmax, ..."""
    chain = [Embedding(9, 3), LSTM(4, bidirectional=True), Dense(2, "softmax")]
    export(Model(chain, seed=0), tmp_path / "model.onnx")
    return onnx.load(tmp_path / "model.onnx")


def kind_of(proto, kind):
    return next(one for one in proto.graph.node if one.op_type == kind)


def refused(proto, path, match):
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=match) as error:
        load(path)
    return str(error.value)


# ---------------------------------------------------------------- number and kinds


def test_an_add_that_became_identity(tmp_path):
    """Both inputs are still there: the second would be lost without a word."""
    chain = [LSTM(3, input_shape=(None, 2)), Dense(1, bias_initializer="ones")]
    export(Model(chain, seed=0), tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    kind_of(proto, "Add").op_type = "Identity"
    refused(proto, tmp_path / "model.onnx", "inputs: expected 1, got 2")


def inputs_more(kind, name="more"):
    def alter(proto):
        kind_of(proto, kind).input.append(name)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, "f4"), name))

    return alter


def outputs_more(kind, count=1):
    def alter(proto):
        kind_of(proto, kind).output.extend(f"more{n}" for n in range(count))

    return alter


def no_input(kind, at):
    def alter(proto):
        kind_of(proto, kind).input[at] = ""

    return alter


def initializer(suffix, array):
    def alter(proto):
        tensor = next(t for t in proto.graph.initializer if t.name.endswith(suffix))
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))

    return alter


def renamed(kind, to):
    def alter(proto):
        kind_of(proto, kind).op_type = to

    return alter


def output_of(kind):
    def alter(proto):
        proto.graph.output[0].type.tensor_type.elem_type = kind

    return alter


def told(name, kind):
    def alter(proto):
        value = helper.make_tensor_value_info(name, kind, None)
        proto.graph.value_info.append(value)

    return alter


def functions(proto):
    made = helper.make_function(
        "", "Add", ["a", "b"], ["c"], [helper.make_node("Sub", ["a", "b"], ["c"])],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    proto.functions.append(made)


ALTERED = {
    "Softmax of two": (inputs_more("Softmax"), "inputs: expected 1, got 2"),
    "MatMul of three": (inputs_more("MatMul"), "inputs: expected 2, got 3"),
    "Add of three": (inputs_more("Add"), "inputs: expected 2, got 3"),
    "Gather of three": (inputs_more("Gather"), "inputs: expected 2, got 3"),
    "Transpose of two": (inputs_more("Transpose"), "inputs: expected 1, got 2"),
    "Reshape of three": (inputs_more("Reshape"), "inputs: expected 2, got 3"),
    "LSTM to RNN": (renamed("LSTM", "RNN"), "direction: expected one of"),
    "Add to Relu": (renamed("Add", "Relu"), "inputs: expected 1, got 2"),
    "MatMul to Identity": (renamed("MatMul", "Identity"), "inputs: expected 1, got 2"),
    "an output more": (outputs_more("MatMul"), "outputs: expected 1, got 2"),
    "LSTM of four outputs": (outputs_more("LSTM", 3), "outputs: expected 0 to 3, got"),
    "no W": (no_input("LSTM", 1), "expected an input W, got none"),
    "no bias": (no_input("Add", 1), "expected an input B, got none"),
    "axes of rank 0": (initializer("/shape", np.array(8)), "shape: expected a list"),
    "an input of no rows": (
        lambda p: setattr(p.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 0),
        "expected sizes >= 1",
    ),
    "shape of int32": (initializer("/shape", np.array([0, 0, 8], "i4")), r"shape: expected"),
    "double among floats": (initializer("dense/bias", np.ones(2)), "like the others, got tensor.d"),
    "ids of float": (
        lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", FLOAT),
        "indices: expected one of|expected ids",
    ),
    "output told double": (output_of(TENSOR.DOUBLE), "expected tensor.double., as the file tells"),
    "output told int64": (output_of(TENSOR.INT64), "expected tensor.int64., as the file tells"),
    "a value told double": (told("lstm/Transpose", TENSOR.DOUBLE), "as the file tells of it"),
    "a function called Add": (functions, "functions: expected none in the place of operators"),
    "no ir_version": (lambda p: p.ClearField("ir_version"), "what onnx.checker accepts, got: .*ir"),
    "an ir_version to come": (lambda p: setattr(p, "ir_version", 99), "what onnx.checker accepts"),
    "metadata twice": (
        lambda p: [p.metadata_props.add(key="a", value="b") for _ in range(2)],
        "what onnx.checker accepts",
    ),
    "a text that is no UTF-8": (None, "codec can't decode"),
}


@pytest.mark.parametrize("case", ALTERED)
def test_what_the_standard_does_not_have(case, proto, tmp_path):
    alter, match = ALTERED[case]
    path = tmp_path / "model.onnx"
    if alter is None:
        path.write_bytes(path.read_bytes().replace(b"dense/kernel", b"dense/kerne\xff"))
        with pytest.raises(ValueError, match=match):
            load(path)
        return
    alter(proto)
    text = refused(proto, path, match)
    assert len(text) < 700 and text.isprintable()


def test_the_version_of_the_operators_counts(tmp_path):
    """Squeeze takes its axes as an input from 13 on, and as an attribute before."""
    arrays = weights()
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "t W R B", "Y Y_h", hidden_size=4),
        node("Squeeze", "Y_h zero", "y"),
    ]
    used = {name: arrays[name] for name in "WRB"} | {"zero": np.array([0])}
    path = tmp_path / "model.onnx"
    for opset, match in ((18, None), (12, "inputs: expected 1, got 2")):
        proto = model_of(nodes, used, opset=opset)
        path.write_bytes(proto.SerializeToString())
        if match is None:
            x = np.ones((2, 5, 3), "f4")
            np.testing.assert_allclose(load(path).predict(x, verbose=0), run(path, x), atol=1e-6)
        else:
            refused(proto, path, match)
    proto = model_of([*nodes[:2], node("Squeeze", "Y_h", "y", axes=[0])], used, opset=18)
    refused(proto, path, "expected what onnx.checker accepts, got")
    proto = model_of(nodes, used | {"zero": np.array(0)}, opset=18)
    refused(proto, path, "expected a list of integers, got the single one")


def test_lstm_of_too_many_or_too_few():
    """The operator on arrays takes Python's arguments: what it does not have is a TypeError."""
    X, arrays = np.ones((2, 1, 3), "f4"), weights()
    with pytest.raises(TypeError):
        lstmfast.onnx.lstm(X, *(arrays[k] for k in "WRB"), None, None, None, None, X)
    with pytest.raises(TypeError):
        lstmfast.onnx.lstm(X, arrays["W"])
    with pytest.raises(TypeError):
        lstmfast.onnx.lstm(X, arrays["W"], arrays["R"], surprise=1)


# ---------------------------------------------------------------- weights in a second file


@pytest.fixture
def beside(tmp_path):
    """Return the path of a model whose weights are in a second file, and that file's."""
    path = tmp_path / "model.onnx"
    export(Model([LSTM(8, input_shape=(None, 4)), Dense(2)], seed=0), path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx.data",
              size_threshold=64)  # fmt: skip
    return path, tmp_path / "model.onnx.data"


def test_data_that_is_no_file(beside):
    path, data = beside
    load(path)
    for make in (os.mkfifo, os.mkdir, lambda name: os.symlink("/dev/zero", name)):
        data.rename(f"{data}.kept")
        make(data)
        with pytest.raises(ValueError, match=r"expected a regular file, got|expected its data in"):
            load(path)
        os.rmdir(data) if data.is_dir() else data.unlink()
        os.rename(f"{data}.kept", data)


def test_data_that_is_cut_short_while_it_is_read(beside, monkeypatch):
    path, data = beside
    read = lstmfast.disk.Source.read

    def cut(source, start, length):
        os.truncate(data, 10)
        return read(source, start, length)

    monkeypatch.setattr(lstmfast.disk.Source, "read", cut)
    with pytest.raises(ValueError, match="expected a file that stays as it is, got one cut short"):
        load(path)


def test_data_that_is_written_to_while_it_is_read(beside, monkeypatch):
    path, data = beside
    read = lstmfast.disk.Source.read

    def touched(source, start, length):
        os.utime(data, ns=(0, 0))
        return read(source, start, length)

    monkeypatch.setattr(lstmfast.disk.Source, "read", touched)
    with pytest.raises(ValueError, match=r"model.onnx.data: .* got one that was written to"):
        load(path)


def test_data_that_many_tensors_claim(beside):
    """A file of a few bytes cannot be read a thousand times; the same part is read once."""
    path, _ = beside
    proto = onnx.load(path, load_external_data=False)
    tensor = next(t for t in proto.graph.initializer if t.external_data)
    for n in range(3):
        proto.graph.initializer.append(tensor)
        proto.graph.initializer[-1].name = f"same{n}"
    path.write_bytes(proto.SerializeToString())
    load(path)
    for n in range(3):
        other = proto.graph.initializer[-1 - n]
        offset = next(entry for entry in other.external_data if entry.key == "offset")
        length = next(entry for entry in other.external_data if entry.key == "length")
        offset.value, length.value = str(int(offset.value) + 4 * n + 4), str(int(length.value) - 64)
        other.dims[:] = [int(length.value) // 4]
    refused(proto, path, "expected data of its own, got what others have")


# ---------------------------------------------------------------- limits


def many_fields(proto):
    proto.graph.node.extend(proto.graph.node[0] for _ in range(limits.MOST_FIELDS // 5))


def many_numbers(proto):
    kind_of(proto, "LSTM").attribute.add(name="n", type=7).ints.extend([1] * limits.MOST_FIELDS)


def many_integers(proto):
    proto.graph.initializer.add(name="n", data_type=7, int64_data=[1] * limits.MOST_FIELDS)


def deep(proto):
    graph = proto.graph
    for _ in range(limits.MOST_DEPTH // 3 + 1):
        graph = graph.node.add().attribute.add().g


LIMITS = {
    "fields": (many_fields, "at most 100000 fields"),
    "numbers": (many_numbers, "at most 100000 fields, and numbers"),
    "integers": (many_integers, "at most 100000 fields, and numbers"),
    "depth": (deep, "nested at most 32 deep"),
    "name": (lambda p: setattr(p.graph, "name", "x" * 5000), "names of at most 4096 bytes"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits_are_told_before_anything_is_parsed(case, proto, tmp_path, monkeypatch):
    alter, match = LIMITS[case]
    alter(proto)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    monkeypatch.setattr(lstmfast.onnx.load.__globals__["onnx_package"]("load"), "checker", None)
    with pytest.raises(ValueError, match=match):
        load(path)


def test_what_is_exported_loads_or_is_not_exported(tmp_path):
    path = tmp_path / "model.onnx"
    for name, fits in (("é😀", True), ("x" * 3000, True), ("x" * 5000, False)):
        model = Model([LSTM(2, input_shape=(None, 2), name=name)], seed=0)
        if fits:
            export(model, path)
            assert load(path).built
        else:
            with pytest.raises(ValueError, match="names of at most 4096 bytes"):
                export(model, path)
            assert load(path).built


def test_weights_do_not_count(tmp_path):
    """Neither as bytes nor as a list of floats."""
    path = tmp_path / "model.onnx"
    model = Model([LSTM(160, input_shape=(None, 16)), Dense(1)], seed=0)
    export(model, path)
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.data_type == FLOAT:
            array = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(helper.make_tensor(tensor.name, FLOAT, array.shape, array.ravel()))
    path.write_bytes(proto.SerializeToString())
    assert sum(w.size for w in model.get_weights()) > limits.MOST_FIELDS
    assert_all_equal(load(path).get_weights(), model.get_weights())

"""ONNX files for tests: graphs by hand, and what ONNX Runtime makes of a file."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

FLOAT, DOUBLE, INT64 = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.INT64,
)


def session(path):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path, x):
    """Return what ONNX Runtime makes of x."""
    opened = session(path)
    (given,), (output,) = opened.get_inputs(), opened.get_outputs()
    return opened.run([output.name], {given.name: x})[0]


def node(kind, inputs, outputs, **attributes):
    """Return a NodeProto of names between blanks; "-" is an input left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    made = onnx.helper.make_node(kind, names, outputs.split(), f"{kind} of {outputs}", **attributes)
    for attribute in made.attribute:  # [] has no type of its own
        attribute.type = attribute.type or onnx.AttributeProto.INTS
    return made


def model_of(nodes, arrays, kind=FLOAT, shape=("batch", "time", 3), output="y", opset=18):
    """Return a ModelProto with the input x, of this kind and shape, and one output."""
    make = onnx.helper
    graph = make.make_graph(
        nodes, "by hand",
        [make.make_tensor_value_info("x", kind, shape)],
        [make.make_tensor_value_info(output, DOUBLE if kind == DOUBLE else FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )  # fmt: skip
    opsets = [make.make_opsetid("", opset)]
    return with_shape(make.make_model(graph, opset_imports=opsets, ir_version=8))


def with_shape(proto):
    """Let the output have the shape that it will have, which onnx.checker asks for."""
    try:
        known = onnx.shape_inference.infer_shapes(proto).graph.output[0].type.tensor_type
    except Exception:  # a graph that is meant to be damaged
        return proto
    if known.HasField("shape"):
        proto.graph.output[0].type.tensor_type.shape.CopyFrom(known.shape)
    return proto


def weights(I=3, H=4, D=1, dtype="float32", seed=0):
    """Return W, R, B, kernel (D H, 2) and bias (2,)."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (D, 4 * H, I), "R": (D, 4 * H, H), "B": (D, 8 * H), "kernel": (D * H, 2)}
    shapes["bias"] = (2,)
    return {name: rng.uniform(-0.6, 0.6, shape).astype(dtype) for name, shape in shapes.items()}

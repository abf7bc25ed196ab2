"""ONNX Runtime: a session with one LSTM node, weights as initializers, inputs and outputs bound.

Bound buffers (IOBinding) save the copy and the allocation of outputs. A step has two bindings that
hand the state to and fro, so that nothing is bound or copied between calls.
"""

from __future__ import annotations

from itertools import cycle

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benches.arrays import inputs, weights
from benches.peers import Job
from benches.shapes import Shape

OPSET, IR_VERSION = 22, 10
_options = onnxruntime.SessionOptions()


def start(threads: int) -> str:
    _options.intra_op_num_threads = threads
    _options.inter_op_num_threads = 1
    _options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.__version__


def onnx_order(w: np.ndarray) -> np.ndarray:
    """Gates i, f, g, o to ONNX's i, o, f, c."""
    i, f, g, o = np.split(w, 4)
    return np.concatenate((i, o, f, g))


def model(shape: Shape, outputs: tuple[str, ...], state: bool = False) -> bytes:
    """One LSTM node from X (T, B, I), with `state` also initial_h and initial_c, to `outputs`."""
    T, B, I, H = shape
    W, R, b = (onnx_order(w) for w in weights(shape))
    arrays = {"W": W[None], "R": R[None], "B": np.concatenate((b, np.zeros_like(b)))[None]}
    sizes = {"X": (T, B, I), "Y": (T, 1, B, H)}
    sizes |= dict.fromkeys(("initial_h", "initial_c", "Y_h", "Y_c"), (1, B, H))
    into = ["X", "W", "R", "B"] + ["", "initial_h", "initial_c"] * state
    out = [name if name in outputs else "" for name in ("Y", "Y_h", "Y_c")]
    node = helper.make_node("LSTM", into, out, hidden_size=H)

    def values(names):
        kind = TensorProto.FLOAT
        return [helper.make_tensor_value_info(n, kind, sizes[n]) for n in names if n in sizes]

    initializers = [numpy_helper.from_array(a, name) for name, a in arrays.items()]
    graph = helper.make_graph([node], "lstm", values(into), values(out), initializers)
    opset = helper.make_opsetid("", OPSET)
    made = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def session(content: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(content, _options, providers=["CPUExecutionProvider"])


def bind(session, into: dict[str, np.ndarray], out: dict[str, np.ndarray]):
    """A binding to these arrays, read and written in place."""
    binding = session.io_binding()
    for function, arrays in ((binding.bind_input, into), (binding.bind_output, out)):
        for name, a in arrays.items():
            function(name, "cpu", 0, a.dtype, a.shape, a.ctypes.data)
    return binding


def forward(shape: Shape) -> Job:
    run, x = session(model(shape, ("Y",))), inputs(shape)
    y = np.empty((shape.T, 1, shape.B, shape.H), np.float32)
    binding = bind(run, {"X": x}, {"Y": y})

    def call():
        run.run_with_iobinding(binding)
        return x, y  # x too: the binding holds only its address

    return Job(call, read=lambda result: (result[1][:, 0].copy(),))


def step(shape: Shape) -> Job:
    run, x = session(model(shape, ("Y_h", "Y_c"), state=True)), inputs(shape)
    states = np.zeros((2, 2, 1, 1, shape.H), np.float32)  # two of (h, c)
    turns = []
    for old, new in (states, states[::-1]):
        into = {"X": x, "initial_h": old[0], "initial_c": old[1]}
        turns.append((bind(run, into, {"Y_h": new[0], "Y_c": new[1]}), new[0, 0]))
    following = cycle(turns).__next__

    def call():
        binding, h = following()
        run.run_with_iobinding(binding)
        return x, h

    return Job(call, read=lambda result: (result[1].copy(),))


JOBS = {"forward": forward, "step": step}

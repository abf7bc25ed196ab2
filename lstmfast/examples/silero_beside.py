"""Other runtimes of Silero's model, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .silero import CONTEXT, RATE, folder, lstm_of

__all__ = ["Step", "beside", "cells", "report", "runtimes", "times"]

Array = np.ndarray[Any, np.dtype[Any]]
Step = Callable[[Array], Any]


def onnx_step(path: Path) -> Step:
    """Return what ONNX Runtime does with a chunk (1, 512)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    kept = {"state": np.zeros((2, 1, 128), np.float32), "context": np.zeros((1, CONTEXT), "f4")}
    rate = np.array(RATE, np.int64)

    def step(chunk: Array) -> Any:
        x = np.concatenate((kept["context"], chunk), axis=1)
        y, kept["state"] = session.run(None, {"input": x, "state": kept["state"], "sr": rate})
        kept["context"] = chunk[:, -CONTEXT:]
        return y

    return step


def torch_step(path: Path) -> Step:
    """Return what PyTorch does with a chunk (1, 512)."""
    import torch

    model = torch.jit.load(str(path)).eval()
    model.reset_states()

    def step(chunk: Array) -> Any:
        with torch.no_grad():
            return model(torch.from_numpy(chunk), RATE).numpy()

    return step


def runtimes(kind: str) -> dict[str, Callable[[], Step]]:
    """Return what makes a step of each runtime that has the weights of this kind."""
    data = folder()
    if kind == "safetensors":
        return {}
    return {
        "ONNX Runtime": lambda: onnx_step(data / "silero_vad.onnx"),
        "PyTorch": lambda: torch_step(data / "silero_vad.jit"),
    }


def cells(weights: dict[str, Array]) -> dict[str, Callable[[], Step]]:
    """Return what makes a step of the LSTM alone, of each runtime."""
    return {
        "ONNX Runtime": lambda: onnx_lstm(weights),
        "PyTorch": lambda: torch_lstm(weights),
    }


def torch_lstm(weights: dict[str, Array]) -> Callable[[Array], Any]:
    """Return a step of PyTorch's own LSTMCell with these weights."""
    import torch

    cell = torch.nn.LSTMCell(128, 128)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({n: torch.tensor(weights[f"lstm_cell.{n}"]) for n in names})
    state = torch.zeros(1, 128), torch.zeros(1, 128)

    def step(x: Array) -> Any:
        nonlocal state
        with torch.no_grad():
            state = cell(torch.from_numpy(x), state)
        return state[0].numpy()

    return step


def onnx_lstm(weights: dict[str, Array]) -> Callable[[Array], Any]:
    """Return a step of ONNX Runtime's LSTM with these weights."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rows = np.arange(512).reshape(4, 128)[[0, 3, 1, 2]].reshape(-1)  # i, f, g, o to i, o, f, g
    w_ih, w_hh, b = (part[rows] for part in lstm_of(weights))
    held = {"W": w_ih[None], "R": w_hh[None], "B": np.concatenate((b, 0 * b))[None]}
    states = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 1, 128)) for n in "xhc"]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 1, 128)) for n in ("hn", "cn")]
    node = helper.make_node(
        "LSTM", ["x", "W", "R", "B", "", "h", "c"], ["", "hn", "cn"], hidden_size=128
    )
    tensors = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph([node], "lstm", states, ends, tensors)
    opsets = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    state = [np.zeros((1, 1, 128), np.float32)] * 2

    def step(x: Array) -> Any:
        nonlocal state
        state = session.run(None, {"x": x[None], "h": state[0], "c": state[1]})
        return state[0][0]

    return step


def beside(made: dict[str, Callable[[], Step]]) -> dict[str, Step]:
    """Return the steps of those runtimes that are installed."""
    steps = {}
    for name, make in made.items():
        try:
            steps[name] = make()
        except ImportError:
            print(f"{name}: not installed, and not measured")
    return steps


def times(steps: dict[str, Step], x: Array, rounds: int) -> dict[str, float]:
    """Return the median microseconds of each step with x, all of them by turns."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step(x)  # wakes its code and data
            begin = time.perf_counter()
            for _ in range(10):
                step(x)
            taken[name].append((time.perf_counter() - begin) / 10)
    return {name: 1e6 * float(np.median(each)) for name, each in taken.items()}


def report(title: str, taken: dict[str, float]) -> str:
    """Return a line with the microseconds of each, and ours against the others."""
    ours = taken["lstmfast"]
    others = [f"{name} {us:.1f} us ({us / ours:.1f} x)" for name, us in taken.items()][1:]
    return f"{title}: lstmfast {ours:.1f} us; {', '.join(others) or 'nothing beside it'}"

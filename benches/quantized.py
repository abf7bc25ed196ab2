"""What int8 gains over float32, and over ONNX Runtime's and PyTorch's LSTMs in int8.

    python -m benches.quantized [-o quantized.md]

Whole sequences and single steps, on one thread, by turns in one process; medians. All are given
the same float32 weights and quantise x and h as they come: ONNX Runtime by `DynamicQuantizeLSTM`
(weights in int8 with a scale for each row, session bound to its arrays), PyTorch by
`quantize_dynamic`. What they give is held against float32 first: so where the processor has no
VNNI, ONNX Runtime gets weights in 7 bits, as its manual says, for its sums of 16 bits saturate
there. R is the ratio of the rates of the instructions, measured in the same run.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

import lstmfast
from benches.arrays import inputs, weights
from benches.floors import fma_rate
from benches.origin import origin
from benches.peers import Job
from benches.precisions import STEPS, medians
from benches.report import table
from benches.shapes import Shape
from lstmfast import LSTMStream, PreparedLSTM, capi
from lstmfast.kernels.isa import up_to

SHAPES = [Shape(T=T, B=B, I=I, H=H) for T, B, I, H in (
    (100, 1, 128, 256), (100, 4, 128, 256), (100, 16, 128, 256), (100, 32, 128, 256),
    (50, 1, 256, 512), (50, 8, 256, 512), (50, 32, 256, 512), (20, 32, 64, 64),
)]  # fmt: skip
UNITS = (64, 256, 512, 1024)  # of single steps, with as many inputs
SECONDS = 2.0
CLOSE = 0.06  # outputs, at most 1, against float32


def onnx_session(shape: Shape, state: bool) -> tuple[Any, list[str]]:
    """A session with one DynamicQuantizeLSTM node, and its outputs' names."""
    from onnx import TensorProto, helper, numpy_helper

    from benches.peers.onnx_runtime import onnx_order, session

    T, B, I, H = shape
    arrays, limit = {}, np.float32(127 if "v4vnni" in up_to(capi.best_isa()) else 63)
    for name, w in zip(("W", "R"), weights(shape), strict=False):
        scale = abs(onnx_order(w)).max(1) / limit
        steps = np.rint(onnx_order(w) / scale[:, None]).astype(np.int8)
        arrays |= {name: np.ascontiguousarray(steps.T)[None], f"{name}_scale": scale[None],
                   f"{name}_zero": np.zeros((1, 4 * H), np.int8)}  # fmt: skip
    b = onnx_order(weights(shape)[2])
    arrays["B"] = np.concatenate((b, np.zeros_like(b)))[None]
    states = ["initial_h", "initial_c"]
    into = ["X", "W", "R", "B", "", *(states if state else ["", ""]), ""]
    into += ["W_scale", "W_zero", "R_scale", "R_zero"]
    out = ["", "Y_h", "Y_c"] if state else ["Y"]
    node = helper.make_node("DynamicQuantizeLSTM", into, out, domain="com.microsoft", hidden_size=H)
    sizes = {"X": (T, B, I), "Y": (T, 1, B, H)} | dict.fromkeys([*states, "Y_h", "Y_c"], (1, B, H))

    def values(names: list[str]) -> list[Any]:
        kind = TensorProto.FLOAT
        return [helper.make_tensor_value_info(n, kind, sizes[n]) for n in names if n in sizes]

    initializers = [numpy_helper.from_array(a, name) for name, a in arrays.items()]
    graph = helper.make_graph([node], "lstm", values(into), values(out), initializers)
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return session(made.SerializeToString()), out


def by_onnxruntime(shape: Shape) -> Job:
    from benches.peers.onnx_runtime import bind

    run, _ = onnx_session(shape, state=False)
    x, y = inputs(shape), np.empty((shape.T, 1, shape.B, shape.H), np.float32)
    binding = bind(run, {"X": x}, {"Y": y})
    return Job(lambda: (run.run_with_iobinding(binding), x, y), read=lambda found: found[2][:, 0])


def steps_by_onnxruntime(shape: Shape) -> Job:
    from benches.peers.onnx_runtime import bind

    run, _ = onnx_session(shape, state=True)
    x, states = inputs(shape), np.zeros((2, 2, 1, shape.B, shape.H), np.float32)
    turns = [
        bind(run, {"X": x, "initial_h": old[0], "initial_c": old[1]},
             {"Y_h": new[0], "Y_c": new[1]})
        for old, new in (states, states[::-1])
    ]  # fmt: skip

    def call() -> Any:
        for n in range(STEPS):
            run.run_with_iobinding(turns[n % 2])
        return x, states

    return Job(call, read=lambda found: found[1][STEPS % 2, 0])


def torch_layer(shape: Shape) -> Any:
    """torch.ao's dynamically quantized LSTM."""
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.LSTM(shape.I, shape.H)
    given = [torch.from_numpy(w) for w in (*weights(shape), np.zeros(4 * shape.H, np.float32))]
    layer.load_state_dict(dict(zip(layer.state_dict(), given, strict=True)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, for torchao, which has no LSTM
        return torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(layer), {torch.nn.LSTM}, torch.qint8
        )[0]


def by_torch(shape: Shape) -> Job:
    import torch

    layer, x = torch_layer(shape), torch.from_numpy(inputs(shape))

    def call() -> Any:
        with torch.inference_mode():
            return layer(x)[0]

    return Job(call, read=lambda y: y.numpy())


def steps_by_torch(shape: Shape) -> Job:
    import torch

    layer, x = torch_layer(shape), torch.from_numpy(inputs(shape))

    def call() -> Any:
        with torch.inference_mode():
            state = torch.zeros(2, 1, shape.B, shape.H).unbind()
            for _ in range(STEPS):
                y, state = layer(x, state)
        return y

    return Job(call, read=lambda y: y.numpy()[0])


def by_us(shape: Shape, precision: str) -> Job:
    layer, x = PreparedLSTM(*weights(shape), precision=precision), inputs(shape)
    return Job(lambda: layer.forward(x)[0], read=np.asarray)


def steps_by_us(shape: Shape, precision: str) -> Job:
    stream = LSTMStream(*weights(shape), shape.B, precision=precision)
    x, out = inputs(shape)[0], np.empty((shape.B, shape.H), np.float32)

    def call() -> Any:
        stream.reset()
        for _ in range(STEPS):
            stream.step(x, out=out)
        return out

    return Job(call, read=np.asarray)


def rows(shapes: list[Shape], ours: Any, peers: list[Any], unit: float, count: int) -> list[Any]:
    """A row of the table for each shape, and at its end the ratios of the peers' times to ours."""
    found = []
    for shape in shapes:
        jobs = [ours(shape, "float32"), ours(shape, "int8"), *(peer(shape) for peer in peers)]
        exact, *others = (np.array(job.read(job.run())) for job in jobs)
        for y in others:
            assert abs(y - exact).max() < CLOSE, (shape, abs(y - exact).max())
        single, narrow, *theirs = (of / count for of in medians([j.run for j in jobs], SECONDS))
        ratios = [single / narrow, *(of / narrow for of in theirs)]
        found.append((shape, [unit * single, unit * narrow], ratios))
    return found


def told(found: list[Any]) -> list[list[str]]:
    return [
        [" ".join(map(str, shape)), *(f"{t:.2f}" for t in times), *(f"{r:.2f}" for r in ratios)]
        for shape, times, ratios in found
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    lstmfast.set_num_threads(1)
    from benches.peers import onnx_runtime

    onnx_runtime.start(1)
    rates = fma_rate(), fma_rate("i8")
    ratio = f"R = {rates[1] / rates[0]:.2f} ({1e-9 * rates[0]:.0f}, {1e-9 * rates[1]:.0f} GOP/s)"
    isa = lstmfast.show_config()["isa"]
    lines = ["# int8 on the CPU", "", f"{origin()}; {isa}; one thread. {ratio}.", ""]
    head = ["T B I H", "float32", "int8", "times", "ONNX Runtime over it", "PyTorch over it"]
    whole = rows(SHAPES, by_us, [by_onnxruntime, by_torch], 1e3, 1)
    lines += ["Sequences, ms:", "", table(head, told(whole)), ""]
    shapes = [Shape(T=1, B=1, I=H, H=H) for H in UNITS]
    steps = rows(shapes, steps_by_us, [steps_by_onnxruntime, steps_by_torch], 1e6, STEPS)
    lines += ["Single steps, µs:", "", table(head, told(steps)), ""]
    for name, at in (("ONNX Runtime", 1), ("PyTorch", 2)):
        ratios = [row[2][at] for row in whole + steps]
        lines += [f"Over {name}: {geometric_mean(ratios):.2f} (least {min(ratios):.2f})."]
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()

"""Operators that are layers, or parts of them; called as those of `arithmetic`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import interop
from ..arguments import Array, check_shape, choice
from ..layers import LSTM, Embedding, SimpleRNN
from ..ops import activations
from ..ops.options import CellOptions
from . import quantized
from .activations import NAMES, activations_of
from .arithmetic import OPERATORS as ARITHMETIC
from .arithmetic import Inputs, add_integers, optional, required, sizes
from .chain import Chain, features
from .flow import DIRECTIONS, Flow, Group
from .operator import DIRECTIONS as COUNTS
from .operator import cell_options
from .reader import Node
from .values import Value, Weight

__all__ = ["OPERATORS"]


def weight(inputs: Inputs, at: int, name: str) -> Array:
    """Return the array of an input that must be weights."""
    value = required(inputs, at)
    if not isinstance(value, Weight):
        raise ValueError(f"{name}: expected weights that the file holds, got {value}")
    return value.array


def optional_weight(inputs: Inputs, at: int, name: str) -> Array | None:
    return None if optional(inputs, at) is None else weight(inputs, at, name)


# ---------------------------------------------------------------- Embedding and Dense


def gather(chain: Chain, node: Node, inputs: Inputs) -> Value:
    table, index, axis = required(inputs, 0), required(inputs, 1), node.integer("axis", 0)
    if not isinstance(table, Weight):
        return table.take(axis, sizes(index))
    flow, array = chain.take(index, "ids"), table.array
    if array.ndim != 2 or not array.size or axis not in (0, -2):
        raise ValueError(f"expected rows of a table, got axis {axis} of {table}")
    V, E = array.shape
    chain.add(Embedding, {"input_dim": V, "output_dim": E}, {"embeddings": array})
    return chain.next(flow, kind="numbers", groups=(*flow.groups, features(E)))


def matmul(chain: Chain, node: Node, inputs: Inputs) -> Value:
    return chain.dense(required(inputs, 0), weight(inputs, 1, "the second factor"))


def gemm(chain: Chain, node: Node, inputs: Inputs) -> Value:
    B, C = weight(inputs, 1, "B"), optional_weight(inputs, 2, "C")
    factors = [node.number("alpha", 1.0), node.number("beta", 1.0)]
    turned = [node.integer("transA", 0), node.integer("transB", 0)]
    if factors != [1, 1] or turned[0]:
        found = f"alpha, beta {factors}, transA {turned[0]}"
        raise ValueError(f"expected alpha = beta = 1 and transA = 0, got {found}")
    x = required(inputs, 0)
    if len(x.shape) != 2:
        raise ValueError(f"expected a matrix, got {x}")
    flow = chain.dense(x, B.T if turned[1] else B)
    return flow if C is None else chain.bias(flow, C)


def add(chain: Chain, node: Node, inputs: Inputs) -> Value:
    a, b = required(inputs, 0), required(inputs, 1)
    for flow, bias in ((a, b), (b, a)):
        if isinstance(flow, Flow) and flow.kind == "numbers" and isinstance(bias, Weight):
            return chain.bias(flow, bias.array)
    return add_integers(a, b)


def softmax(chain: Chain, node: Node, inputs: Inputs) -> Value:
    flow = chain.take(required(inputs, 0))
    rank = len(flow.groups)
    axis = node.integer("axis", 1 if node.opset < 13 else -1)
    if axis not in (-1, rank - 1):
        raise ValueError(f"axis: expected the last of {rank}, the features, got {axis}")
    return chain.activate(flow, "softmax")


def pointwise(chain: Chain, node: Node, inputs: Inputs) -> Value:
    """An activation of a Dense, which has its usual parameters alone."""
    wanted = activations.get("activation", NAMES[node.kind])
    usual = {"alpha": wanted.alpha, "beta": wanted.beta}
    if wanted.name == "thresholded_relu":  # which is x > alpha in ONNX
        usual["alpha"] = float(np.nextafter(np.float32(wanted.alpha), np.float32(-np.inf)))
    for name, default in zip(("alpha", "beta"), ONNX_DEFAULTS.get(node.kind, ()), strict=False):
        found = node.number(name, default)
        if np.float32(found) != np.float32(usual[name]):
            expected = f"{usual[name]:g}, which Dense({wanted.name!r}) has"
            raise ValueError(f"{name}: expected {expected}, got {found:g}")
    return chain.activate(required(inputs, 0), wanted.name)


ONNX_DEFAULTS = {
    "Elu": (1.0,), "HardSigmoid": (0.2, 0.5), "LeakyRelu": (0.01,), "ThresholdedRelu": (1.0,),
}  # fmt: skip


# ---------------------------------------------------------------- recurrent layers


def lstm(chain: Chain, node: Node, inputs: Inputs) -> list[Value]:
    direction = choice("direction", node.text("direction", "forward"), COUNTS)
    options = cell_options(
        COUNTS[direction], *_activations(node), node.number("clip"),
        node.integer("input_forget", 0),
    )  # fmt: skip
    if options[0] != options[-1]:
        raise ValueError("activations: expected the same ones in both directions, got others")
    weights = _matrices(node, inputs)
    others = (optional_weight(inputs, 3, "B"), optional_weight(inputs, 7, "P"))
    check_shape("W", weights[0].shape, (COUNTS[direction], "4H", "I"))
    parts = interop.from_onnx(*weights, *others)
    H, I = parts[0]["W_hh"].shape[1], parts[0]["W_ih"].shape[1]
    flow = _sequence(chain, node, inputs, H, I)
    arguments = _arguments(options[0]) | {"units": H, "peepholes": "p" in parts[0]}
    arguments["use_bias"] = "b" in parts[0]
    return _added(chain, flow, LSTM, arguments, parts, direction, node)


def _matrices(node: Node, inputs: Inputs) -> tuple[Array, Array]:
    """W and R; of a DynamicQuantizeLSTM as the float32 numbers that they stand for."""
    if node.kind == quantized.OPERATOR:
        return quantized.matrices_of(node, inputs)
    return weight(inputs, 1, "W"), weight(inputs, 2, "R")


def _arguments(options: CellOptions) -> dict[str, Any]:
    """What of a cell's options LSTM's constructor is told."""
    names = ("activation", "recurrent_activation", "output_activation", "coupled", "clip")
    return {name: getattr(options, name) for name in names}


def rnn(chain: Chain, node: Node, inputs: Inputs) -> list[Value]:
    direction = choice("direction", node.text("direction", "forward"), ("forward", "reverse"))
    (f,) = activations_of(*_activations(node), ("Tanh",))
    W, R, B = weight(inputs, 1, "W"), weight(inputs, 2, "R"), optional_weight(inputs, 3, "B")
    check_shape("W", W.shape, (1, "H", "I"))
    _, H, I = W.shape
    check_shape("R", R.shape, (1, H, H))
    part = {"W_ih": W[0], "W_hh": R[0]}
    if B is not None:
        check_shape("B", B.shape, (1, 2 * H))
        part["b"] = B[0, :H] + B[0, H:]
    flow = _sequence(chain, node, inputs, H, I)
    arguments = {"units": H, "activation": f, "use_bias": B is not None}
    return _added(chain, flow, SimpleRNN, arguments, [part], direction, node)


def _activations(node: Node) -> tuple[Any, Any, Any]:
    return (
        node.texts("activations"),
        node.numbers("activation_alpha"),
        node.numbers("activation_beta"),
    )


def _sequence(chain: Chain, node: Node, inputs: Inputs, H: int, I: int) -> Flow:
    """The signal X, (time, batch, I); all that the Model's layers cannot be told is an error."""
    hidden = node.integer("hidden_size", H)
    if hidden != H:
        raise ValueError(f"hidden_size: expected {H}, as R has it, got {hidden}")
    if optional(inputs, 4) is not None:
        raise ValueError("sequence_lens: expected none, as a Model takes all steps, got some")
    for at, name in ((5, "initial_h"), (6, "initial_c")):
        state = optional(inputs, at)
        if state is not None and not state.zero:
            raise ValueError(f"{name}: expected zeros, with which a Model begins, got {state}")
    flow = chain.take(required(inputs, 0))
    axes = ["time", "batch"] if not node.integer("layout", 0) else ["batch", "time"]
    if flow.kinds[:-1] != axes:
        raise ValueError(f"X: expected ({', '.join(axes)}, features), got {flow}; see `time_major`")
    chain.check_features(flow, I)
    return flow


def _added(
    chain: Chain, flow: Flow, kind: Any, arguments: dict[str, Any], parts: list[dict[str, Array]],
    direction: str, node: Node,
) -> list[Value]:  # fmt: skip
    """Put the layer at the chain's end and return Y, Y_h and, of an LSTM, nothing for Y_c.

    ONNX gives outputs in the order of X, a Model in the order in which the steps are taken.
    """
    both, reverse = direction == "bidirectional", direction == "reverse"
    if both and flow.turned:
        raise ValueError("X: expected steps in the order of the graph's input, got them reversed")
    backwards = {"go_backwards": reverse != flow.turned} if not both else {"bidirectional": True}
    arguments = arguments | backwards | {"return_sequences": True}
    ends = ("_l0", "_l0_reverse") if both else ("",)
    params = {n + end: a for part, end in zip(parts, ends, strict=True) for n, a in part.items()}
    chain.add(kind, arguments, params)
    directions: Group = (DIRECTIONS,) if both else ()
    first, second, _ = flow.groups
    H = features(arguments["units"])
    layout = [axis.kind for axis in first] == ["batch"]
    steps = (first, second, directions, H) if layout else (first, directions, second, H)
    state = (first, directions, H) if layout else (directions, second, H)
    Y = chain.next(flow, groups=steps, turned=reverse, last="")
    return [Y, Flow(state, Y.at, dtype=Y.dtype, last="state")]


OPERATORS: dict[str, Callable[[Chain, Node, Inputs], Any]] = {
    **ARITHMETIC,
    "Add": add,
    "DequantizeLinear": quantized.dequantize,
    quantized.OPERATOR: lstm,
    "Gather": gather,
    "Gemm": gemm,
    "LSTM": lstm,
    "MatMul": matmul,
    "RNN": rnn,
    "Softmax": softmax,
}
OPERATORS |= {name: pointwise for name in NAMES if name not in ("Affine", "ScaledTanh")}

"""Models to ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import disk
from ..arguments import Shape, integer
from ..config import __version__
from ..interop import to_onnx
from ..layers import LSTM, Dense, Embedding, Layer, SimpleRNN
from ..layers.quantized import Quantized, QuantizedDense, QuantizedEmbedding, QuantizedLSTM
from ..model import Model
from ..ops import activations
from ..ops.placement import to_host
from . import quantized
from .activations import ONNX_NAMES, attributes_of
from .graph import Graph, Signal
from .limits import check_limits
from .package import onnx_package

__all__ = ["export"]

OPSET = 18
FIRST_OPSET = 14  # Squeeze takes its axes as an input (13), Reshape and LSTM as they are now
MOST_BYTES = 2**31 - 2**20  # of a protobuf message, with room for what is not weights


def export(model: Model, path: disk.StrPath, *, opset: int = OPSET) -> None:
    """Write a Model as an ONNX file that does what `predict` does.

    Parameters
    ----------
    model : Model
        Built. Its float32 or float64 weights become initializers named as layers and weights are:
        "lstm/W", "lstm/R", "lstm/B", "dense/kernel".
    path : str or path-like
        An earlier file is replaced, at once and only by a complete one that onnx.checker accepts;
        see `Model.save`.
    opset : int
        Version of the operators, from 14 to what the installed package onnx knows.

    Raises
    ------
    ValueError
        For what ONNX's operators cannot say (the text names the layer and the option), a model that
        is not built, weights that are NaN or Inf, or 2 GB of them, or a path that is no regular
        file. Nothing is written.
    ImportError
        Without the package onnx.

    Notes
    -----
    The input "input" is (batch, time, I), or for an Embedding ids (batch, time) of int64; the
    output is "output". Batch and time are symbolic. Of a quantized Model weights stay int8: its
    LSTM is ONNX Runtime's DynamicQuantizeLSTM, which rounds x and h in its own way. What happens in
    training alone (dropout, regularizers, truncation) leaves no trace. ONNX Runtime has no LSTM in
    float64.
    """
    onnx = onnx_package("export")
    if not isinstance(model, Model) or not model.built:
        found = "one that is not" if isinstance(model, Model) else type(model).__name__
        raise ValueError(f"model: expected a Model that is built, got {found}")
    newest = onnx.defs.onnx_opset_version()
    if integer("opset", opset, FIRST_OPSET) > newest:
        raise ValueError(f"opset: expected at most {newest}, the installed onnx's, got {opset}")
    _check_weights(model)
    made = _model_proto(onnx, model, opset)
    onnx.checker.check_model(made, full_check=True)
    content = made.SerializeToString()
    check_limits(content, made.DESCRIPTOR)  # what is written can be loaded
    disk.replace(path, content)


def _check_weights(model: Model) -> None:
    total = 0
    for layer in model.graph.layers:
        for name, param in layer.params.items():
            total += param.nbytes
            if not np.isfinite(to_host(param)).all():
                raise ValueError(f"{layer.name}: {name}: expected finite values, got NaN or Inf")
    if total > MOST_BYTES:
        raise ValueError(
            f"model: expected weights below 2 GB, as one file holds, got {total} bytes"
        )


def _model_proto(onnx: Any, model: Model, opset: int) -> Any:
    """Return onnx.ModelProto."""
    assert model.input_shape is not None
    if not model.graph.is_chain:
        raise ValueError(f"model: expected a chain of layers, got a graph ({model.name})")
    shapes = model.graph.shapes([model.input_shape])
    graph, signal = Graph(onnx), Signal("input", len(shapes[0]))
    for layer in model.graph.layers:
        signal = _writer(layer)(graph, layer, signal)
    graph.time_first(f"{model.graph.layers[-1].name}/out", signal, False)
    graph.call_last("output")
    helper, ids = onnx.helper, model.graph.layers[0].takes_ids
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(model.dtype))
    described = helper.make_tensor_value_info
    first = described("input", onnx.TensorProto.INT64 if ids else dtype, _symbolic(shapes[0], ids))
    last = described("output", dtype, _symbolic(shapes[-1], False))
    made = helper.make_graph(
        graph.nodes, model.name or "model", [first], [last], graph.initializers
    )
    opsets = [helper.make_opsetid("", opset)]
    if any(node.domain for node in graph.nodes):
        opsets.append(helper.make_opsetid(quantized.DOMAIN, 1))
    return helper.make_model(
        made, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets[:1]),
        producer_name="lstmfast", producer_version=__version__,
    )  # fmt: skip


def _symbolic(shape: Shape, ids: bool) -> list[str | int | None]:
    """Names for all axes but the features."""
    names = ["batch", "time", *(f"axis_{n}" for n in range(2, len(shape)))]
    return [*names[: len(shape)]] if ids else [*names[: len(shape) - 1], shape[-1]]


# ---------------------------------------------------------------- layers


def _writer(layer: Layer) -> Callable[[Graph, Any, Signal], Signal]:
    if type(layer) not in WRITERS:
        expected = ", ".join(kind.__name__ for kind in WRITERS)
        raise ValueError(f"{layer.name}: expected one of {expected}, got {type(layer).__name__}")
    return WRITERS[type(layer)]


def _embedding(graph: Graph, layer: Embedding, x: Signal) -> Signal:
    _refuse(layer, mask_zero=False)
    table = _matrix(graph, layer, "embeddings")
    vectors = graph.node("Gather", f"{layer.name}/Gather", [table, x.name], axis=0)
    return replace(x, name=vectors, rank=x.rank + 1)


def _lstm(graph: Graph, layer: LSTM, x: Signal) -> Signal:
    _refuse(
        layer, layer_norm=False, projection=None, cell_clip=None, zoneout_h=0.0, zoneout_c=0.0,
        stateful=False,
    )  # fmt: skip
    D, attributes, parts = layer.directions, _cell_attributes(layer), layer.get_parts()
    x = graph.time_first(f"{layer.name}/in", x, True)
    for k in range(layer.num_layers):
        name = f"{layer.name}/{k}" if layer.num_layers > 1 else layer.name
        W, R, B, P = to_onnx(parts[k * D : (k + 1) * D])
        more: list[str] = []
        if isinstance(layer, QuantizedLSTM):
            of = quantized.written(layer, k)
            W, R = of.W, of.R
            more = _weights(graph, name, W_scale=of.W_scale, W_zero_point=of.zero,
                            R_scale=of.R_scale, R_zero_point=of.zero)  # fmt: skip
        inputs = [x.name, *_weights(graph, name, W=W, R=R, B=B), *[""] * 3]
        inputs += [*_weights(graph, name, P=P), *more]
        steps = k < layer.num_layers - 1 or layer.return_sequences
        kind, domain = ("LSTM", "") if not more else (quantized.OPERATOR, quantized.DOMAIN)
        output = _recurrent(
            graph, kind, name, layer, inputs, steps, attributes | {"domain": domain}
        )
        x = _side_by_side(graph, name, layer, output, steps)
    return _in_order_of_steps(graph, layer, x)


def _cell_attributes(layer: LSTM) -> dict[str, Any]:
    options = layer.options
    chosen = (options.recurrent_activation, options.activation, options.output_activation)
    attributes = attributes_of(chosen * layer.directions)
    if options.coupled:
        attributes["input_forget"] = 1
    if options.clip is not None:
        attributes["clip"] = options.clip
    return attributes


def _simple_rnn(graph: Graph, layer: SimpleRNN, x: Signal) -> Signal:
    _refuse(layer, stateful=False)
    W, R, b = (None if p is None else to_host(p)[None] for p in map(layer.params.get, RNN_PARAMS))
    B = None if b is None else np.concatenate([b, np.zeros_like(b)], axis=1)
    x = graph.time_first(f"{layer.name}/in", x, True)
    inputs = [x.name, *_weights(graph, layer.name, W=W, R=R, B=B)]
    steps, attributes = layer.return_sequences, attributes_of([layer.activation])
    output = _recurrent(graph, "RNN", layer.name, layer, inputs, steps, attributes)
    x = _side_by_side(graph, layer.name, layer, output, steps)
    return _in_order_of_steps(graph, layer, x)


def _dense(graph: Graph, layer: Dense, x: Signal) -> Signal:
    name = f"{layer.name}/MatMul"
    value = graph.node("MatMul", name, [x.name, _matrix(graph, layer, "kernel")])
    if layer.use_bias:
        bias = graph.weight(f"{layer.name}/bias", to_host(layer.params["bias"]))
        value = graph.node("Add", f"{layer.name}/Add", [value, bias])
    if layer.activation == "softmax":
        value = graph.node("Softmax", f"{layer.name}/Softmax", [value], axis=-1)
    elif layer.activation != "linear":
        kind, attributes = pointwise_node(layer)
        value = graph.node(kind, f"{layer.name}/{kind}", [value], **attributes)
    return replace(x, name=value)


RNN_PARAMS = ("W_ih", "W_hh", "b")
WRITERS: dict[type[Layer], Callable[[Graph, Any, Signal], Signal]] = {
    Embedding: _embedding, LSTM: _lstm, SimpleRNN: _simple_rnn, Dense: _dense,
    QuantizedEmbedding: _embedding, QuantizedLSTM: _lstm, QuantizedDense: _dense,
}  # fmt: skip


# ---------------------------------------------------------------- what layers share


def _refuse(layer: Layer, **wanted: Any) -> None:
    """Raise ValueError unless the layer's options are these."""
    for option, value in wanted.items():
        found = getattr(layer, option)
        if found != value:
            expected = f"{value}, as ONNX has no such option"
            raise ValueError(f"{layer.name}: {option}: expected {expected}, got {found!r}")


def _matrix(graph: Graph, layer: Embedding | Dense, name: str) -> str:
    """Add a matrix; of a quantized layer in int8, behind a node that gives it as floats."""
    matrix = graph.weight(f"{layer.name}/{name}", to_host(layer.params[name]))
    if not isinstance(layer, Quantized):
        return matrix
    scale = graph.weight(f"{layer.name}/{name}_scale", layer.params[f"{name}_scale"])
    axis = 1 - layer.axes[name]
    place = f"{layer.name}/DequantizeLinear"
    return graph.node("DequantizeLinear", place, [matrix, scale], axis=axis)


def _weights(graph: Graph, name: str, **arrays: Any) -> list[str]:
    """Add what is not None; return the names, "" for what is."""
    return [
        "" if array is None else graph.weight(f"{name}/{key}", to_host(array))
        for key, array in arrays.items()
    ]


def _recurrent(
    graph: Graph, kind: str, name: str, layer: Any, inputs: list[str], steps: bool,
    attributes: dict[str, Any],
) -> str:  # fmt: skip
    """Add a recurrent operator; return its Y if `steps`, else its Y_h."""
    both = getattr(layer, "bidirectional", False)
    direction = "bidirectional" if both else "reverse" if layer.go_backwards else "forward"
    while not inputs[-1]:
        inputs.pop()
    outputs = [f"{name}/Y"] if steps else ["", f"{name}/Y_h"]
    graph.node(
        kind, f"{name}/{kind}", inputs, outputs, hidden_size=layer.units, direction=direction,
        **attributes,
    )  # fmt: skip
    return outputs[-1]


def _side_by_side(graph: Graph, name: str, layer: Any, output: str, steps: bool) -> Signal:
    """Y (T, D, B, H) to (T, B, D H), or Y_h (D, B, H) to (B, D H)."""
    leading = 1 if steps else 0  # axes before that of directions
    if not getattr(layer, "bidirectional", False):
        value = graph.squeezed(f"{name}/Squeeze", output, leading)
    else:
        order = [0, 2, 1, 3] if steps else [1, 0, 2]
        value = graph.node("Transpose", f"{name}/Transpose", [output], perm=order)
        shape = [0] * (leading + 1) + [layer.output_size]
        value = graph.reshaped(f"{name}/Reshape", value, shape)
    return Signal(value, 2 + leading, time_first=steps)


def _in_order_of_steps(graph: Graph, layer: Any, x: Signal) -> Signal:
    """Turn the outputs of a layer that goes backwards: ONNX keeps them in the order of x."""
    if not (layer.go_backwards and layer.return_sequences):
        return x
    return replace(x, name=graph.turned(f"{layer.name}/Slice", x.name))


def pointwise_node(layer: Dense) -> tuple[str, dict[str, Any]]:
    """The operator of a Dense's activation, and its attributes."""
    f = activations.get("activation", layer.activation)
    if f.name == "scaled_tanh":  # of 1, 1
        return "Tanh", {}
    if f.name == "affine":
        return "Identity", {}
    if f.name == "thresholded_relu":
        return "ThresholdedRelu", {"alpha": threshold(layer, f.alpha)}
    names = ("alpha", "beta")[: len(activations.PARAMETERS.get(f.name, ()))]
    return ONNX_NAMES[f.name], {name: getattr(f, name) for name in names}


def threshold(layer: Dense, alpha: float) -> float:
    """ONNX's operator takes x > alpha, a layer x >= alpha: the same with the float32 below."""
    if layer.dtype != "float32":
        expected = "float32, whose steps ONNX's attributes have"
        raise ValueError(f"{layer.name}: thresholded_relu: expected {expected}, got {layer.dtype}")
    return float(np.nextafter(np.float32(alpha), np.float32(-np.inf)))

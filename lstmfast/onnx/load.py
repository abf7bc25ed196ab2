"""ONNX files to Models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arguments import flag, one_line
from ..disk import StrPath
from ..model import Model
from .beside import Beside
from .chain import Chain
from .flow import Axis, Flow
from .layer_operators import OPERATORS
from .limits import check_limits
from .package import onnx_package
from .quantized import DOMAIN, OPERATOR
from .reader import Node, Unreadable, content_of, value_of
from .signatures import Kinds
from .values import Size, Value

__all__ = ["load"]

FIRST_OPSET = 7
SHARED = 16  # times the file's size that weights may take: layers may share some
IDS = ("INT32", "INT64")
NUMBERS = {"FLOAT": "float32", "DOUBLE": "float64"}


def load(path: StrPath, *, time_major: bool = False) -> Model:
    """Return the Model that an ONNX file holds: a chain of LSTM, RNN, Embedding and Dense.

    Weights in int8 or uint8 (ONNX Runtime's DynamicQuantizeLSTM, DequantizeLinear) become float32
    ones of the same values; `Model.quantize` makes them int8 again.

    Parameters
    ----------
    path : str or path-like
        Of `export`, torch.onnx.export, Keras's `model.export(format="onnx")` or others. Weights may
        be in a second file in the same folder, named after it ("model.onnx.data"); no other file is
        read.
    time_major : bool
        The file's input, and its output if that has all steps, are (time, batch, ...), as those of
        a torch.nn.LSTM without `batch_first`; a Model's are (batch, time, ...) all the same.

    Returns
    -------
    Model
        Of the file's dtype, not compiled; its layers have new names.

    Raises
    ------
    ValueError
        The file is damaged, no chain, or holds what a Model does not; the text names the node. So
        are files that onnx.checker refuses, that are no regular files or change while they are
        read, and those with more than 100,000 fields (and numbers that are not weights), names
        beyond 4096 bytes or messages nested more than 32 deep, before they are parsed.
    FileNotFoundError
    ImportError
        Without the package onnx.
    """
    onnx, time_major = onnx_package("load"), flag("time_major", time_major)
    try:
        with Beside(path) as beside:
            return _model(onnx, content_of(path), beside, time_major)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None


def _model(onnx: Any, content: bytes, beside: Beside, time_major: bool) -> Model:
    proto = _parsed(onnx, content)
    opset, graph = _opset(onnx, proto), proto.graph
    values, kinds = _initial_values(onnx, graph, beside), Kinds(onnx, graph)
    name, flow = _input(onnx, graph, values, time_major)
    values[name] = flow
    if len(graph.output) != 1:
        found = [value.name for value in graph.output]
        raise ValueError(f"outputs: expected one, as a Model has it, got {found}")
    chain = Chain(SHARED * (len(content) + beside.size))
    for node in _needed(onnx, graph, opset):
        _follow(chain, node, values, kinds)
    _check_output(chain, graph.output[0].name, values, time_major)
    _check_format(onnx, proto)
    assert chain.dtype is not None
    return Model(chain.layers(len(flow.groups)), dtype=chain.dtype)


def _parsed(onnx: Any, content: bytes) -> Any:
    """Return the ModelProto that a file holds."""
    proto = onnx.ModelProto()
    check_limits(content, proto.DESCRIPTOR)
    try:
        proto.ParseFromString(content)
    except Exception as error:  # of google.protobuf, or of what stands in for it
        raise ValueError(f"expected a whole ONNX file, got one that ends in: {error}") from error
    return proto


def _check_format(onnx: Any, proto: Any) -> None:
    """Raise ValueError for what onnx.checker refuses; tensors in other files were read by then.

    They lose their data here, as the checker would look for them in the present folder.
    """
    for tensor in proto.graph.initializer:
        if tensor.external_data:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.dims[:] = [0]
            tensor.raw_data = b""
    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # ValidationError is an Exception alone
        raise ValueError(f"expected what onnx.checker accepts, got: {error}") from error


def _opset(onnx: Any, proto: Any) -> int:
    found = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if len(found) != 1 or not FIRST_OPSET <= found[0] <= newest:
        raise ValueError(f"opset: expected one in [{FIRST_OPSET}, {newest}], got {found}")
    if proto.graph.sparse_initializer:
        raise ValueError("sparse_initializer: expected none, got some")
    if any(one.domain in ("", "ai.onnx") for one in proto.functions):
        raise ValueError("functions: expected none in the place of operators, got some")
    return int(found[0])


def _initial_values(onnx: Any, graph: Any, beside: Beside) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in values:
            raise ValueError(f"initializer {tensor.name!r}: expected a name of its own")
        values[tensor.name] = value_of(onnx, tensor, beside)
    beside.check_same()
    return values


# ---------------------------------------------------------------- the ends


def _input(
    onnx: Any, graph: Any, values: Mapping[str, Value], time_major: bool
) -> tuple[str, Flow]:
    """The only input that is no initializer, and what is known of it."""
    given = [value for value in graph.input if value.name not in values]
    if len(given) != 1:
        found = [value.name for value in given]
        raise ValueError(f"inputs: expected one, as a Model has it, got {found}")
    described = given[0].type.tensor_type
    numbers = {number: name for name, number in onnx.TensorProto.DataType.items()}
    kind, rank = numbers.get(described.elem_type), len(described.shape.dim)
    name, ids = given[0].name, kind in IDS
    if not (ids or kind in NUMBERS) or rank not in ((2,) if ids else (2, 3)):
        expected = "ids (batch, time) or floats (batch, time, features)"
        raise ValueError(f"input {name!r}: expected {expected}, got {rank} axes of {kind}")
    kinds = ["batch", "time", "features"][:rank] if ids or rank == 3 else ["batch", "features"]
    if time_major and "time" in kinds:
        kinds[:2] = ["time", "batch"]
    told = [dim.WhichOneof("value") == "dim_value" for dim in described.shape.dim]
    sizes = [dim.dim_value for dim in described.shape.dim]
    if any(size < 1 for size, given in zip(sizes, told, strict=True) if given):
        raise ValueError(f"input {name!r}: expected sizes >= 1, got {sizes}")
    axes = [
        Axis(axis, Size(size) if size else Size(1, (axis,)))
        for axis, size in zip(kinds, sizes, strict=True)
    ]
    groups = tuple((axis,) for axis in axes)
    return name, Flow(groups, kind="ids" if ids else "numbers")


def _check_output(chain: Chain, name: str, values: Mapping[str, Value], time_major: bool) -> None:
    """Raise ValueError unless the value of this name is what the Model puts out."""
    order = ["time", "batch"] if time_major else ["batch", "time"]
    try:
        flow = chain.take(_given(values, name))
        if not chain.plans or flow.kinds[:-1] not in (order, ["batch"]):
            expected = f"({', '.join(order)}, features) or (batch, features) of a layer"
            raise ValueError(f"expected {expected}, got {flow}")
        if flow.turned and "time" in flow.kinds:
            raise ValueError("expected steps as the last layer takes them, got the reverse")
    except ValueError as error:
        raise ValueError(f"output {name!r}: {error}") from error


# ---------------------------------------------------------------- the nodes between


def _needed(onnx: Any, graph: Any, opset: int) -> list[Node]:
    """Return the nodes that the output depends on, in the file's order."""
    wanted, made, found = {graph.output[0].name}, set(), []
    for proto in graph.node:
        for name in filter(None, proto.output):
            if name in made:
                raise ValueError(
                    f"node {proto.name!r}: expected an output of its own, got {name!r}"
                )
            made.add(name)
    for proto in reversed(graph.node):
        if wanted.intersection(filter(None, proto.output)):
            wanted.update(proto.input)
            found.append(Node(onnx, proto, opset))
    unknown = [node for node in reversed(found) if not _is_known(node)]
    if unknown:
        node = next((node for node in unknown if node.kind in ("Loop", "Scan")), unknown[0])
        expected = f"an operator of those that layers are made of ({', '.join(sorted(OPERATORS))})"
        found_one = f"{node.domain} {node.kind}".strip()
        raise ValueError(f"{node.label}: expected {expected}, got {found_one}")
    return found[::-1]


def _is_known(node: Node) -> bool:
    return node.kind in OPERATORS and node.domain == (DOMAIN if node.kind == OPERATOR else "")


def _follow(chain: Chain, node: Node, values: dict[str, Value], kinds: Kinds) -> None:
    """Add what a node puts out to `values`."""
    try:
        kinds.follow(node)
        with np.errstate(all="ignore"):  # weights that are not finite are an error a little later
            outputs = OPERATORS[node.kind](chain, node, [_given(values, n) for n in node.inputs])
        node.check_all_read()
    except ValueError as error:
        raise ValueError(f"{node.label}: {error}") from error
    outputs = outputs if isinstance(outputs, list) else [outputs]
    nothing = [Unreadable(f"output {n + 1} of {node.label}") for n in range(len(node.outputs))]
    for name, value in zip(node.outputs, [*outputs, *nothing[len(outputs) :]], strict=False):
        if name in values:
            raise ValueError(f"{node.label}: expected an output of its own, got {name!r}")
        if name:
            values[name] = value


def _given(values: Mapping[str, Value], name: str) -> Value | None:
    if name and name not in values:
        raise ValueError(f"expected the input {name!r} from a node before it, got none")
    return values.get(name)

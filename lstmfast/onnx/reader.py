"""Files and their protobuf messages, read and checked.

Nothing here trusts a file: declared shapes must be those of the bytes that are there, and an
attribute that nobody asks for is an error, as it may mean something.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from ..arguments import Array
from ..disk import Source
from .beside import Beside
from .values import MOST_SIZES, Size, Sizes, Value, Weight

__all__ = ["Node", "Steps", "Unreadable", "content_of", "value_of"]

MOST_BYTES = 2**31  # of a protobuf message
FLOATS = {"FLOAT": "<f4", "DOUBLE": "<f8"}
INTEGERS = {"INT32": "<i4", "INT64": "<i8", "BOOL": "?"}
STEPS = {"INT8": "i1", "UINT8": "u1"}
FIELDS = {"FLOAT": "float_data", "DOUBLE": "double_data", "INT32": "int32_data",
          "INT64": "int64_data", "BOOL": "int32_data", "INT8": "int32_data",
          "UINT8": "int32_data"}  # fmt: skip
MOST_DIMS = 8

T = TypeVar("T")


class Unreadable(Value):
    """A tensor that may stand in a file as long as nothing asks for it."""

    def __init__(self, what: str):
        self.what = what


class Steps(Value):
    """An array of int8 or uint8, which scales make weights of."""

    def __init__(self, array: Array):
        self.array, self.what = array, f"{array.dtype} numbers {list(array.shape)}"


def content_of(path: Any) -> bytes:
    """Return the bytes of a file that may be an ONNX model."""
    with Source(path) as file:
        return file.content(MOST_BYTES - 1)


def value_of(onnx: Any, tensor: Any, beside: Beside | None = None) -> Value:
    """Return what a TensorProto holds: a view of its bytes, or a few integers.

    Raises
    ------
    ValueError
        Its data are not as many as its shape says, or in a file that is not `beside` the model.
    """
    external = None
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        if beside is None or tensor.data_location != onnx.TensorProto.EXTERNAL:
            raise ValueError(f"{tensor.name}: expected data in the file itself, got external data")
        external = beside.content(tensor)
    if tensor.HasField("segment"):
        raise ValueError(f"{tensor.name}: expected a whole tensor, got a segment")
    kind, dims = _kind(onnx, tensor.data_type), list(tensor.dims)
    if len(dims) > MOST_DIMS or any(size < 0 for size in dims):
        raise ValueError(f"{tensor.name}: expected sizes of at most {MOST_DIMS} axes, got {dims}")
    if kind not in FIELDS:
        return Unreadable(f"a tensor of {kind}")
    array = _data(tensor, kind, math.prod(dims), external).reshape(dims)
    if kind in FLOATS:
        return Weight(array)
    if kind in STEPS:
        return Steps(array)
    if array.ndim > 1 or array.size > MOST_SIZES:
        return Unreadable(f"a tensor of {kind} with the shape {dims}")
    return Sizes(tuple(Size(int(i)) for i in array.reshape(-1)), array.ndim == 0)


def _kind(onnx: Any, number: int) -> str:
    try:
        return str(onnx.TensorProto.DataType.Name(number))
    except ValueError:
        return str(number)


def _data(tensor: Any, kind: str, count: int, external: memoryview | None) -> Array:
    """The elements of a tensor, of which there must be `count`."""
    dtype = np.dtype((FLOATS | INTEGERS | STEPS)[kind])
    field = getattr(tensor, FIELDS[kind])
    listed = external is None and not tensor.HasField("raw_data")
    raw: Any = tensor.raw_data if external is None else external
    found = len(field) if listed else len(raw) / dtype.itemsize
    if found != count or (raw and len(field)) or (external is not None and tensor.raw_data):
        raise ValueError(f"{tensor.name}: expected {count} elements by its shape, got {found:g}")
    if listed and kind in STEPS:
        whole = np.fromiter(field, np.int32, count)
        if count and not np.iinfo(dtype).min <= whole.min() <= whole.max() <= np.iinfo(dtype).max:
            raise ValueError(f"{tensor.name}: expected numbers of {kind}, got larger ones")
        return whole.astype(dtype)
    if listed:
        return np.fromiter(field, dtype, count)
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="), copy=False)


class Node:
    """A NodeProto whose attributes are each read once, in the type that is expected."""

    def __init__(self, onnx: Any, proto: Any, opset: int):
        self.kind, self.opset = proto.op_type, opset
        self.inputs, self.outputs = list(proto.input), list(proto.output)
        self.label = f"node {proto.name or (self.outputs or [''])[0]!r} ({self.kind})"
        self.domain = "" if proto.domain == "ai.onnx" else proto.domain
        self._onnx = onnx
        self._attributes = {a.name: a for a in proto.attribute}
        if len(self._attributes) < len(proto.attribute):
            raise ValueError(f"{self.label}: expected each attribute once")

    def peek(self, name: str) -> Any:
        """Return an AttributeProto that is still to be read, or None."""
        return self._attributes.get(name)

    def _read(self, name: str, kind: str, default: T, get: Any) -> T:
        if name not in self._attributes:
            return default
        attribute = self._attributes.pop(name)
        if attribute.type != getattr(self._onnx.AttributeProto, kind) or attribute.ref_attr_name:
            raise ValueError(f"{name}: expected an attribute of type {kind}, got another")
        return get(attribute)  # type: ignore[no-any-return]

    def integer(self, name: str, default: int | None = None) -> Any:
        return self._read(name, "INT", default, lambda a: a.i)

    def number(self, name: str, default: float | None = None) -> Any:
        return self._read(name, "FLOAT", default, lambda a: a.f)

    def text(self, name: str, default: str) -> str:
        return self._read(name, "STRING", default, lambda a: a.s.decode())

    def integers(self, name: str) -> list[int] | None:
        return self._read(name, "INTS", None, lambda a: list(a.ints))

    def numbers(self, name: str) -> list[float] | None:
        return self._read(name, "FLOATS", None, lambda a: list(a.floats))

    def texts(self, name: str) -> list[str] | None:
        return self._read(name, "STRINGS", None, lambda a: [s.decode() for s in a.strings])

    def tensor(self, name: str) -> Value | None:
        return self._read(name, "TENSOR", None, lambda a: value_of(self._onnx, a.t))

    def check_all_read(self) -> None:
        """Raise ValueError for attributes that nobody asked for."""
        if self._attributes:
            raise ValueError(f"expected no attribute {sorted(self._attributes)}")

"""Graphs before there are numbers: `Input`, and what a layer gives that is called with a `Tensor`.

>>> ids = Input((None,), dtype="int32")
>>> y, h, c = LSTM(64, return_state=True)(Embedding(1000, 32)(ids))
>>> h                                           # <Tensor lstm: (None, 64)>

A `Tensor` knows the `Node` that it comes from, a node its layer and the tensors it takes. `Model`
makes a graph of them; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..arguments import Shape, check_shape, choice, shape_text, shown
from .checks import sizes
from .variables import HasWeights, Variable

if TYPE_CHECKING:
    from .base import Layer

__all__ = ["Input", "InputLayer", "Node", "Tensor", "connected", "is_symbolic", "tensors_in"]

KINDS = {
    "float32": "float", "float64": "float", "float": "float", "int32": "ids", "int64": "ids",
    "int": "ids", **dict.fromkeys(("int8", "int16", "uint8", "uint16", "uint32", "uint64"), "ids"),
    "bool": "bool",
}  # fmt: skip
serials = count()


class InputLayer(HasWeights):
    """Where a graph begins: a shape, the batch included, and what comes in.

    Among the layers of a Model it is one without weights, as in Keras. A Sequential may begin with
    it.

    Parameters
    ----------
    shape, batch_size, dtype, name, batch_shape
        As of `Input`, whose `output` it gives.
    """

    built = trainable = True
    is_operation = False
    node: Node

    def __init__(
        self,
        shape: Shape | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        name: str | None = None,
        *,
        batch_shape: Shape | None = None,
    ):
        self._begin((None, *_shape_of(shape, batch_size, batch_shape)), None, name)
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name: expected a word without '/', got {shown(name)}")
        self.kind = None if dtype is None else KINDS[choice("dtype", dtype, KINDS)]

    @classmethod
    def of(cls, shape: Shape, kind: str | None = None, name: str | None = None) -> InputLayer:
        """Return one for inputs of this shape, batch included, and kind: see `graph.Entry`."""
        found = cls.__new__(cls)
        found._begin(shape, kind, name)
        return found

    def _begin(self, shape: Shape, kind: str | None, name: str | None) -> None:
        self.shape, self.kind = shape, kind
        self.name, self.has_own_name = name or "input_layer", name is not None
        self.node = Node(self, [], {}, {}, [shape])

    @property
    def batch_shape(self) -> Shape:
        return self.shape

    @property
    def output(self) -> Tensor:
        """The tensor that the graph begins with."""
        return self.node.outputs[0]

    @property
    def input(self) -> Tensor:
        """The same, as in Keras."""
        return self.output

    @property
    def weights(self) -> list[Variable]:
        return []

    def get_weights(self) -> list[Any]:
        return []

    def set_weights(self, weights: Any) -> None:
        """Raise ValueError for any."""
        if len(weights):
            raise ValueError(f"weights: expected 0 arrays, got {len(weights)}")

    def count_params(self) -> int:
        return 0

    def get_config(self) -> dict[str, Any]:
        """Return shape and name; "dtype" is "ids", "float", "bool" or None, as in files."""
        return {"batch_shape": list(self.shape), "dtype": self.kind, "name": self.name}


class Node:
    """One call of a layer.

    Attributes
    ----------
    layer : Layer or InputLayer
    inputs : list of Tensor
        One, unless the layer `takes_list`.
    sides : dict of str to Tensor or tuple of Tensor
        Arguments of the call, such as `initial_state`, that are tensors, too.
    constants : dict
        The others.
    outputs : list of Tensor
    """

    def __init__(self, layer: Any, inputs: list[Tensor], sides: dict[str, Any],
                 constants: dict[str, Any], shapes: list[Shape]):  # fmt: skip
        self.serial = next(serials)  # later than those of all that it takes
        self.layer, self.inputs, self.sides, self.constants = layer, inputs, sides, constants
        self.outputs = [Tensor(shape, self, index) for index, shape in enumerate(shapes)]
        layer.node = self

    def sources(self) -> Iterator[Tensor]:
        """Yield all tensors that the call takes."""
        yield from self.inputs
        for side in self.sides.values():
            yield from tensors_in(side)


class Tensor:
    """What a layer will give: its shape, None for the sizes that are open (the batch first)."""

    def __init__(self, shape: Shape, node: Node, index: int):
        self.shape, self.node, self.index = shape, node, index

    @property
    def name(self) -> str:
        """The name of the layer that it comes from."""
        return str(self.node.layer.name)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    # Arithmetic, each a small layer in the graph; `lstmfast.layers` says which.

    operation: ClassVar[Any]
    get_item: ClassVar[Any]
    __array_ufunc__ = None  # so that `array * tensor` comes here, too

    def _with(self, operator: str, other: Any, reverse: bool = False) -> Any:
        if isinstance(other, Tensor):
            return self.operation(operator)([self, other])
        if not isinstance(other, (int, float, np.number, np.ndarray)) or isinstance(other, bool):
            return NotImplemented
        return self.operation(operator, other, reverse)(self)

    def __add__(self, other: Any) -> Any:
        return self._with("add", other)

    def __radd__(self, other: Any) -> Any:
        return self._with("add", other, True)

    def __sub__(self, other: Any) -> Any:
        return self._with("subtract", other)

    def __rsub__(self, other: Any) -> Any:
        return self._with("subtract", other, True)

    def __mul__(self, other: Any) -> Any:
        return self._with("multiply", other)

    def __rmul__(self, other: Any) -> Any:
        return self._with("multiply", other, True)

    def __truediv__(self, other: Any) -> Any:
        return self._with("true_divide", other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with("true_divide", other, True)

    def __pow__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Tensor) else self._with("power", other)

    def __neg__(self) -> Any:
        return self._with("multiply", -1)

    def __getitem__(self, key: Any) -> Any:
        return self.get_item(key)(self)

    def __repr__(self) -> str:
        return f"<Tensor {self.name}: {shape_text(self.shape)}>"

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self!r}: expected an array, got a tensor of a graph, without numbers")

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r}: is one tensor, not several")


def Input(
    shape: Shape | None = None,
    dtype: str | None = None,
    name: str | None = None,
    batch_size: int | None = None,
    *,
    batch_shape: Shape | None = None,
) -> Tensor:
    """Begin a graph.

    Parameters
    ----------
    shape : tuple
        Of one sample, without the batch: (None, 8) for sequences of any length of eight numbers.
    dtype : str, optional
        "int32" or another one of integers for ids, "bool" for a mask, else a float dtype: data is
        cast to the Model's own anyway. Without it, ids where an Embedding takes them.
    name : str, optional
        By which `fit` finds this input in a dict.
    batch_size : int, optional
        For the reader; any number of samples is taken.
    batch_shape : tuple, optional
        `batch_size` and `shape` in one.

    Returns
    -------
    Tensor
        To call layers with.

    Raises
    ------
    ValueError
        For a shape that is none, an unknown dtype, or a name that is none.
    """
    return InputLayer(shape, batch_size, dtype, name, batch_shape=batch_shape).output


def _shape_of(shape: Any, batch_size: Any, batch_shape: Any) -> Shape:
    """Return the shape of one sample; ValueError for none, for two, or for bad sizes."""
    if batch_shape is not None:
        if shape is not None or batch_size is not None:
            raise ValueError("batch_shape: expected no shape and no batch_size beside it, got one")
        batch_size, *rest = sizes("batch_shape", batch_shape, 1)
        shape = tuple(rest)
    if shape is None:
        raise ValueError("shape: expected a tuple such as (None, 8), got None")
    if shape != () or not isinstance(shape, tuple):
        shape = sizes("shape", (shape,) if isinstance(shape, int) else shape, 1)
    if batch_size is not None:
        sizes("batch_size", (batch_size,), 1)
    return tuple(shape)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of a tensor, a list or a dict, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)


def is_symbolic(x: Any) -> bool:
    """Is this a tensor, or a list that holds one?"""
    return isinstance(x, Tensor) or (
        isinstance(x, (list, tuple)) and any(isinstance(part, Tensor) for part in x)
    )


def connected(layer: Layer, x: Any, arguments: dict[str, Any]) -> Any:
    """Return what `layer` gives for x, a tensor or a list of them: a tensor, or a tuple of several.

    Raises
    ------
    ValueError
        Named by the layer, when it does not take inputs of these shapes, or such arguments.
    """
    try:
        inputs = _inputs_of(layer, x)
        shape = [one.shape for one in inputs] if layer.takes_list else inputs[0].shape
        sides, constants = _arguments_of(layer, shape, arguments)
        shapes = layer.output_shapes(shape, **constants)
    except ValueError as error:
        raise ValueError(f"{layer.name}: {error}") from error
    outputs = Node(layer, inputs, sides, constants, shapes).outputs
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _inputs_of(layer: Layer, x: Any) -> list[Tensor]:
    found = list(x) if isinstance(x, (list, tuple)) else [x]
    if not all(isinstance(one, Tensor) for one in found):
        kinds = ", ".join(type(one).__name__ for one in found)
        raise ValueError(f"x: expected tensors of a graph alone, got {kinds}")
    if isinstance(x, Tensor) == layer.takes_list:
        expected = "a list of tensors" if layer.takes_list else "one tensor"
        raise ValueError(f"x: expected {expected}, got {shown(x)}")
    return found


def _arguments_of(
    layer: Layer, shape: Any, arguments: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell tensors from constants; ValueError for tensors where none are taken, or of other shapes.

    And for constants that the call does not know.
    """
    sides: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    expected = layer.side_shapes(shape)
    if layer.takes_mask and not layer.takes_list:
        expected = {**expected, "mask": shape[:2]}
    for name, value in arguments.items():
        if value is None:
            continue
        if not any(True for _ in tensors_in(value)):
            layer.check_constant(name, value)
            constants[name] = value
            continue
        if name not in expected:
            raise ValueError(f"{name}: expected no tensor of a graph, got {shown(value)}")
        sides[name] = _side(name, value, expected[name])
    if missing := [name for name in layer.needed_sides() if name not in sides]:
        raise ValueError(f"{missing[0]}: expected a tensor in the call, got none")
    return sides, constants


def _side(name: str, value: Any, expected: Shape | list[Shape]) -> Any:
    if not isinstance(expected, list):
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: expected one tensor, got {shown(value)}")
        _check_side(name, value, expected)
        return value
    parts = (value,) if isinstance(value, Tensor) else tuple(value)
    if len(parts) != len(expected) or not all(isinstance(part, Tensor) for part in parts):
        raise ValueError(f"{name}: expected {len(expected)} tensors, got {shown(value)}")
    for index, (part, shape) in enumerate(zip(parts, expected, strict=True)):
        _check_side(f"{name}[{index}]", part, shape)
    return parts


def _check_side(name: str, tensor: Tensor, expected: Shape) -> None:
    letters = "BTUVW"
    wanted = [letters[n] if size is None else size for n, size in enumerate(expected)]
    check_shape(name, tensor.shape, wanted)

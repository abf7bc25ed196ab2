"""What `a + b`, `2 * x`, `x[:, -1]` of tensors are: `Operation` and `GetItem`.

As in Keras, neither hands on a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import LARGEST, Array, Shape, choice, flag, integer, shape_text, shown
from ..ops.dispatch import float_like
from ..ops.operators import OPERATORS, operate, operate_backward
from .base import Layer
from .checks import rounded
from .merging import broadcast_size, listed
from .weightless import Weightless, gradient_of

__all__ = ["GetItem", "Operation"]

REST = "..."
NEW = "new"
Part = int | slice | str


class Operation(Layer):
    """Arithmetic of two tensors, or of one and a constant, broadcast as NumPy does it.

    Two tensors have one number of axes, batch first; a constant has no more, and no batch.

    Parameters
    ----------
    operator : {"add", "subtract", "multiply", "true_divide", "power"}
        "power" takes a constant exponent.
    constant : float or array_like, optional
        The second operand; without it the layer takes a list of two.
    reverse : bool
        The constant comes first.
    name : str, optional
    """

    draws = False
    is_operation = True

    def __init__(
        self, operator: str, constant: Any = None, reverse: bool = False, *, name: str | None = None
    ):
        super().__init__(name, None)
        self.operator = choice("operator", operator, OPERATORS)
        self.constant = None if constant is None else _constant(constant)
        self.reverse = flag("reverse", reverse)
        if operator == "power" and (constant is None or reverse):
            raise ValueError("constant: expected a constant exponent of a power, got a tensor")
        self.takes_list = constant is None
        self.stepwise = constant is None or np.ndim(constant) < 2
        if name is None:
            self.name = self.base_name

    @property
    def base_name(self) -> str:
        return self.operator

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.constant is not None:
            config["constant"] = self.constant.tolist()
        return config

    def output_shape(self, input_shape: Any) -> Shape:
        """Return the broadcast shape; ValueError for shapes that do not fit."""
        if self.takes_list:
            shapes = [tuple(one) for one in input_shape]
            if len(shapes) != 2 or len(shapes[0]) != len(shapes[1]):
                expected = "two tensors of one number of axes"
                raise ValueError(f"x: expected {expected}, got {listed(shapes)}")
        else:
            shapes = [tuple(input_shape), self._spread(len(input_shape))]
            shapes[1] = (shapes[0][0], *shapes[1][1:])
        columns = enumerate(zip(*shapes, strict=True))
        return tuple(broadcast_size(sizes, i, shapes) for i, sizes in columns)

    def _spread(self, ndim: int) -> tuple[int, ...]:
        """The constant's shape with as many axes as the input; ValueError if it has more."""
        assert self.constant is not None
        shape = (1,) * (ndim - self.constant.ndim) + self.constant.shape
        if len(shape) > ndim or shape[0] != 1:
            expected = f"a shape without the batch, for {ndim} axes"
            raise ValueError(f"constant: expected {expected}, got {shape_text(shape)}")
        return shape

    def adopt(self, params: dict[str, Array], input_shape: Shape, dtype: str) -> None:
        if self.constant is not None:
            rounded("constant", self.constant, self.constant.shape, dtype)
        super().adopt(params, input_shape, dtype)

    def forward(self, x: Any, training: bool = False) -> Array:
        """Return the result for an array of the layer's dtype, or for a list of two."""
        self._check_built()
        a, b = self._operands(x)
        if training:
            self._cache = a, b
        return operate(self.operator, a, b)

    def _operands(self, x: Any) -> list[Array]:
        given = self._inputs(x) if self.takes_list else [("x", x)]
        dtype = np.dtype(self.dtype)
        found = [float_like(name, self._as_floats(one, name), dtype) for name, one in given]
        self.output_shape([one.shape for one in found] if self.takes_list else found[0].shape)
        if self.constant is not None:
            shape = self._spread(found[0].ndim)
            found.append(self.constant.astype(dtype).reshape(shape))
        return found[::-1] if self.reverse else found

    def backward(self, dy: Array, need_dx: bool = True) -> Any:
        """Return the gradient of x, a list for a list; None unless `need_dx`."""
        a, b = self._cached()
        shape = np.broadcast_shapes(a.shape, b.shape)
        dy = gradient_of(self._placed("dy", dy), shape, self.dtype)
        self.grads, self._cache = {}, None
        if not need_dx:
            return None
        found = [np.array(one) for one in operate_backward(self.operator, dy, a, b)]
        return found if self.takes_list else found[self.reverse]


class GetItem(Weightless):
    """A part of an array, as `x[key]` of NumPy takes it; the batch stays whole.

    Parameters
    ----------
    key : tuple
        Of integers, slices, None (a new axis) and at most one Ellipsis, the batch first: `:`. As
        `get_config` tells it: slices as [start, stop, step], Ellipsis as "...", None as "new".
    name : str, optional
    """

    is_operation = True

    def __init__(self, key: Any, *, name: str | None = None):
        super().__init__(name)
        parts = key if isinstance(key, (tuple, list)) else (key,)
        self.key = tuple(_part(one) for one in parts)
        if self.key.count(REST) > 1:
            raise ValueError(f"key: expected one Ellipsis at most, got {shown(key)}")

    def get_config(self) -> dict[str, Any]:
        parts = [
            [one.start, one.stop, one.step] if isinstance(one, slice) else one for one in self.key
        ]
        return {**super().get_config(), "key": parts}

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the part; ValueError for what lies outside, and for nothing."""
        found: list[int | None] = []
        sizes = iter(input_shape)
        for one in self._full(len(input_shape)):
            if one == NEW:
                found.append(1)
            elif isinstance(one, slice):
                found.append(_length(one, next(sizes), input_shape))
            else:
                _check_inside(one, next(sizes), input_shape)
        return tuple(found)

    def _full(self, ndim: int) -> list[Part]:
        """The key with a part for each axis; ValueError for too many, or if it cuts the batch."""
        taken = sum(one not in (REST, NEW) for one in self.key)
        if taken > ndim:
            raise ValueError(f"key: expected at most {ndim} axes, got {taken}")
        key = list(self.key) if REST in self.key else [*self.key, REST]
        at = key.index(REST)
        key[at : at + 1] = [slice(None)] * (ndim - taken)
        if key[0] != slice(None):
            expected = "a key that begins with ':', as the batch stays whole"
            raise ValueError(f"key: expected {expected}, got {shown(self.get_config()['key'])}")
        return key

    def _numpy_key(self, ndim: int) -> tuple[Any, ...]:
        return tuple(None if one == NEW else one for one in self._full(ndim))

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return np.ascontiguousarray(x[self._numpy_key(x.ndim)]), x.shape

    def _backward(self, dy: Array, kept: Any) -> Array:
        dx = np.zeros(kept, dy.dtype)
        dx[self._numpy_key(len(kept))] = dy
        return dx


def _constant(value: Any) -> Array:
    """Return a constant as float64; ValueError for what is no number, NaN or Inf."""
    found = np.asarray(value)
    if found.dtype.kind in "iuf" and found.size:
        with np.errstate(over="ignore"):
            found = found.astype(np.float64)
        if np.isfinite(found).all():
            return found
    raise ValueError(f"constant: expected finite numbers, got {shown(value)}")


def _part(one: Any) -> Part:
    if one is Ellipsis or (isinstance(one, str) and one == REST):
        return REST
    if one is None or (isinstance(one, str) and one == NEW):
        return NEW
    if isinstance(one, slice):
        one = [one.start, one.stop, one.step]
    if isinstance(one, list) and len(one) == 3:
        start, stop, step = (None if at is None else integer("key", at, -LARGEST) for at in one)
        if step == 0:
            raise ValueError("key: expected a step that is not 0, got 0")
        return slice(start, stop, step)
    return integer("key", one, -LARGEST)


def _length(part: slice, size: int | None, shape: Sequence[int | None]) -> int | None:
    if size is None:
        return None
    length = len(range(*part.indices(size)))
    if size and not length:
        found = shown([part.start, part.stop, part.step])
        raise ValueError(f"key: expected a part of {shape_text(shape)}, got nothing of it: {found}")
    return length


def _check_inside(index: Any, size: int | None, shape: Sequence[int | None]) -> None:
    if size is not None and not -size <= index < size:
        raise ValueError(f"key: expected an index inside {shape_text(shape)}, got {index}")

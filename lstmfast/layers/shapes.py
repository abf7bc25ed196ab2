"""Flatten, Reshape, Permute, RepeatVector, ZeroPadding1D, Cropping1D, UpSampling1D: numbers move.

None of them hands on a mask, as in Keras.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import Array, Shape, check_shape, choice, integer, shape_text, shown
from ..ops.layouts import in_order, summed
from .weightless import Weightless

__all__ = [
    "Cropping1D", "Flatten", "Permute", "RepeatVector", "Reshape", "UpSampling1D", "ZeroPadding1D",
]  # fmt: skip

DATA_FORMATS = ("channels_last",)
STEPS = ("B", "T", "I")


class Flatten(Weightless):
    """All axes but the batch become one: (B, ...) to (B, N); (B,) to (B, 1).

    Parameters
    ----------
    data_format : {"channels_last"}, optional
        For Keras's sake.
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.
    """

    def __init__(
        self,
        data_format: str | None = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.data_format = channels_last(data_format)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], _product(input_shape[1:]))

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return x.reshape(len(x), _product(x.shape[1:]) or 0), None

    def _backward(self, dy: Array, kept: Any) -> Array:
        return dy


class Reshape(Weightless):
    """(B, ...) to (B, *target_shape), the numbers in the same order.

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch; one size may be -1, which then follows from the others.
    name, input_shape : optional
        As of `Flatten`.
    """

    def __init__(
        self, target_shape: Any, *, name: str | None = None, input_shape: Shape | None = None
    ):
        super().__init__(name, input_shape)
        self.target_shape = _target_shape(target_shape)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        target, total = self.target_shape, _product(input_shape[1:])
        known = math.prod(size for size in target if size != -1)
        if total is None:
            return (input_shape[0], *(None if size == -1 else size for size in target))
        if total % known if -1 in target else total != known:
            expected = f"{'a multiple of ' if -1 in target else ''}{known} numbers a row"
            found = f"{total} in {shape_text(input_shape)}"
            raise ValueError(f"x: expected {expected}, as target_shape has, got {found}")
        return (input_shape[0], *(total // known if size == -1 else size for size in target))

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return x.reshape(self.output_shape(x.shape)), None  # type: ignore[arg-type]

    def _backward(self, dy: Array, kept: Any) -> Array:
        return dy


class Permute(Weightless):
    """The axes in another order: of (B, T, I) with dims (2, 1) (B, I, T).

    Parameters
    ----------
    dims : tuple of int
        The axes of x, 1 to their number without the batch, in the order of the output.
    name, input_shape : optional
        As of `Flatten`.
    """

    def __init__(self, dims: Any, *, name: str | None = None, input_shape: Shape | None = None):
        super().__init__(name, input_shape)
        if not isinstance(dims, (tuple, list)) or not dims:
            raise ValueError(f"dims: expected a tuple such as (2, 1), got {shown(dims)}")
        self.dims = tuple(integer("dims", one, 1) for one in dims)
        if sorted(self.dims) != list(range(1, len(dims) + 1)):
            expected = f"each of 1 to {len(dims)} once"
            raise ValueError(f"dims: expected {expected}, got {shown(self.dims)}")
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != len(self.dims) + 1:
            expected = f"{len(self.dims) + 1} axes, as dims has with the batch"
            raise ValueError(f"x: expected {expected}, got {shape_text(input_shape)}")
        return (input_shape[0], *(input_shape[one] for one in self.dims))

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return in_order(x.transpose(0, *self.dims)), None

    def _backward(self, dy: Array, kept: Any) -> Array:
        back = np.argsort((0, *self.dims)).tolist()
        return in_order(dy.transpose(back))


class RepeatVector(Weightless):
    """The same vector in each of n steps: (B, I) to (B, n, I).

    Parameters
    ----------
    n : int
    name, input_shape : optional
        As of `Flatten`.
    """

    def __init__(self, n: int, *, name: str | None = None, input_shape: Shape | None = None):
        super().__init__(name, input_shape)
        self.n = integer("n", n, 1)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, ("B", "I"))
        return (input_shape[0], self.n, input_shape[1])

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return np.repeat(x[:, None], self.n, axis=1), None

    def _backward(self, dy: Array, kept: Any) -> Array:
        return summed(dy, 1)


class UpSampling1D(Weightless):
    """Each step `size` times, one after the other: (B, T, I) to (B, size T, I).

    Parameters
    ----------
    size : int
    name, input_shape : optional
        As of `Flatten`.
    """

    def __init__(self, size: int = 2, *, name: str | None = None, input_shape: Shape | None = None):
        super().__init__(name, input_shape)
        self.size = integer("size", size, 1)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, STEPS)
        B, T, I = input_shape
        return (B, None if T is None else self.size * T, I)

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return np.repeat(x, self.size, axis=1), None

    def _backward(self, dy: Array, kept: Any) -> Array:
        B, T, I = dy.shape
        return summed(dy.reshape(B, T // self.size, self.size, I), 2)


class ZeroPadding1D(Weightless):
    """Zeros before the first step and behind the last: (B, T, I) to (B, before + T + behind, I).

    Parameters
    ----------
    padding : int, or tuple of two
        The steps of zeros on both sides, or (before, behind).
    data_format, name, input_shape : optional
        As of `Flatten`.
    """

    def __init__(
        self,
        padding: Any = 1,
        data_format: str | None = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.padding = _two("padding", padding)
        self.data_format = channels_last(data_format)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, STEPS)
        B, T, I = input_shape
        return (B, None if T is None else T + sum(self.padding), I)

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return np.pad(x, ((0, 0), self.padding, (0, 0))), x.shape[1]

    def _backward(self, dy: Array, kept: Any) -> Array:
        before = self.padding[0]
        return in_order(dy[:, before : before + kept])


class Cropping1D(Weightless):
    """Without the first and the last steps: (B, T, I) to (B, T - first - last, I).

    Parameters
    ----------
    cropping : int, or tuple of two
        The steps to leave out on both sides, or (first, last).
    name, input_shape : optional
        As of `Flatten`.
    """

    def __init__(
        self,
        cropping: Any = (1, 1),
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.cropping = _two("cropping", cropping)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, STEPS)
        B, T, I = input_shape
        left_out = sum(self.cropping)
        if T is not None and left_out >= T:
            expected = f"more than {left_out} steps, as cropping leaves out"
            raise ValueError(f"x: expected {expected}, got {T}")
        return (B, None if T is None else T - left_out, I)

    def _forward(self, x: Array) -> tuple[Array, Any]:
        first, last = self.cropping
        return in_order(x[:, first : x.shape[1] - last]), None

    def _backward(self, dy: Array, kept: Any) -> Array:
        return np.pad(dy, ((0, 0), self.cropping, (0, 0)))


def channels_last(data_format: Any) -> str:
    """Return "channels_last", of that or None; ValueError for what is not done here."""
    told = "channels_last" if data_format is None else data_format
    return choice("data_format", told, DATA_FORMATS)


def _product(sizes: Shape) -> int | None:
    """Return the number of numbers, None where a size is open."""
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def _target_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, (tuple, list)):
        raise ValueError(f"target_shape: expected a tuple such as (-1, 8), got {shown(shape)}")
    found = tuple(integer("target_shape", size, -1) for size in shape)
    if found.count(-1) > 1 or 0 in found:
        expected = "sizes >= 1 and at most one -1"
        raise ValueError(f"target_shape: expected {expected}, got {shown(found)}")
    return found


def _two(name: str, value: Any) -> tuple[int, int]:
    """Return what an argument tells of both sides."""
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name}: expected an integer or two, got {shown(value)}")
    first, last = (integer(name, one, 0) for one in pair)
    return first, last

"""What the names in a graph stand for while it is read: sizes, weights, uniform arrays.

A graph is not run but followed: see `flow` for what goes through the layers. Nothing is allocated
by sizes that a file declares: weights are the file's own bytes, and a uniform array is one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..arguments import Array, shape_text

__all__ = [
    "ONE",
    "Fill",
    "Size",
    "Sizes",
    "Value",
    "Weight",
    "checked_order",
    "position",
    "product",
]

MOST_SIZES = 64  # in one list; an array has 8 axes at most
MOST = 2**62


class Size(NamedTuple):
    """The size of an axis: a number, times what only the input will tell."""

    factor: int
    symbols: tuple[str, ...] = ()

    def __mul__(self, other: Any) -> Size:
        factor = self.factor * other.factor
        if abs(factor) > MOST or len(self.symbols) + len(other.symbols) > 8:
            raise ValueError(f"expected sizes below 2**62, got {self} times {other}")
        return Size(factor, tuple(sorted(self.symbols + other.symbols)) if factor else ())

    def __str__(self) -> str:
        factor = [] if self.factor == 1 and self.symbols else [str(self.factor)]
        return "*".join([*factor, *self.symbols])


ONE = Size(1)


def product(sizes: Sequence[Size]) -> Size:
    total = ONE
    for size in sizes:
        total = total * size
    return total


def position(axis: int, rank: int) -> int:
    """Return `axis`, counted from the front; ValueError if there is none such."""
    if not -rank <= axis < rank:
        raise ValueError(f"expected an axis in [{-rank}, {rank}), got {axis}")
    return axis % rank


class Value:
    """Anything that a name may stand for. What it cannot do raises ValueError."""

    what = "a value"

    @property
    def shape(self) -> tuple[Size, ...]:
        self._cannot("has a known shape")

    def transpose(self, order: Sequence[int] | None) -> Value:
        self._cannot("can be transposed")

    def reshape(self, shape: Sequence[Size], zero_copies: bool) -> Value:
        self._cannot("can be reshaped")

    def squeeze(self, axes: Sequence[int] | None) -> Value:
        self._cannot("can be squeezed")

    def unsqueeze(self, axes: Sequence[int]) -> Value:
        self._cannot("can be unsqueezed")

    def take(self, axis: int, index: Sizes) -> Value:
        """Gather."""
        self._cannot("can be gathered from")

    def cut(self, axis: int, start: int, stop: int, step: int) -> Value:
        """Slice along one axis."""
        self._cannot("can be sliced")

    def cast(self, dtype: str) -> Value:
        self._cannot(f"can be cast to {dtype}")

    def numbers(self) -> list[int]:
        """The values, if they are integers that the file tells."""
        self._cannot("is a list of known integers")

    @property
    def zero(self) -> bool:
        """Is every element zero?"""
        return False

    def _cannot(self, what: str) -> NoReturn:
        raise ValueError(f"expected an input that {what}, got {self}")

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class Sizes(Value):
    """A short list of integers, or with `scalar` a single one: axes, indices, shapes."""

    values: tuple[Size, ...]
    scalar: bool = False

    @property
    def shape(self) -> tuple[Size, ...]:
        return () if self.scalar else (Size(len(self.values)),)

    def transpose(self, order: Sequence[int] | None) -> Value:
        return self

    def reshape(self, shape: Sequence[Size], zero_copies: bool) -> Value:
        if len(shape) > 1 or (not shape and len(self.values) != 1):
            self._cannot("can have such a shape")
        if shape and shape[0] not in (Size(-1), Size(len(self.values))):
            self._cannot("can have such a shape")
        return replace(self, scalar=not shape)

    def squeeze(self, axes: Sequence[int] | None) -> Value:
        if axes is not None and list(axes) not in ([0], [-1]):
            self._cannot("has such axes")
        if len(self.values) != 1:
            self._cannot("has an axis of size 1")
        return replace(self, scalar=True)

    def unsqueeze(self, axes: Sequence[int]) -> Value:
        if not self.scalar or list(axes) not in ([0], [-1]):
            self._cannot("takes such axes")
        return replace(self, scalar=False)

    def take(self, axis: int, index: Sizes) -> Value:
        if self.scalar:
            self._cannot("has an axis")
        position(axis, 1)
        count = len(self.values)
        found = tuple(self.values[position(i, count)] for i in index.numbers())
        return Sizes(found, index.scalar)

    def cut(self, axis: int, start: int, stop: int, step: int) -> Value:
        if self.scalar:
            self._cannot("has an axis")
        position(axis, 1)
        return replace(self, values=self.values[start:stop:step])

    def cast(self, dtype: str) -> Value:
        if dtype not in ("int32", "int64"):
            self._cannot(f"can be cast to {dtype}")
        return self

    def numbers(self) -> list[int]:
        if any(size.symbols for size in self.values):
            self._cannot("is a list of known integers")
        return [size.factor for size in self.values]

    @property
    def zero(self) -> bool:
        return all(size.factor == 0 for size in self.values)

    def __str__(self) -> str:
        return f"the integers [{', '.join(map(str, self.values))}]"


@dataclass(frozen=True)
class Weight(Value):
    """An array of floats that the file holds; it is only viewed, and never grows."""

    array: Array

    @property
    def shape(self) -> tuple[Size, ...]:
        return tuple(map(Size, self.array.shape))

    def transpose(self, order: Sequence[int] | None) -> Value:
        return Weight(self.array.transpose(checked_order(order, self.array.ndim)))

    def reshape(self, shape: Sequence[Size], zero_copies: bool) -> Value:
        known = Sizes(tuple(shape)).numbers()
        if not self.array.flags.c_contiguous:  # it would be copied
            self._cannot("can be reshaped where it lies")
        if zero_copies:
            sizes = self.array.shape
            known = [sizes[n] if s == 0 and n < len(sizes) else s for n, s in enumerate(known)]
        return Weight(self.array.reshape(known))

    def squeeze(self, axes: Sequence[int] | None) -> Value:
        rank = self.array.ndim
        gone = None if axes is None else tuple(position(axis, rank) for axis in axes)
        return Weight(self.array.squeeze(gone))

    def unsqueeze(self, axes: Sequence[int]) -> Value:
        rank = self.array.ndim + len(axes)
        return Weight(np.expand_dims(self.array, tuple(position(axis, rank) for axis in axes)))

    def cast(self, dtype: str) -> Value:
        if dtype != self.array.dtype.name:
            self._cannot(f"can be cast to {dtype}")
        return self

    @property
    def zero(self) -> bool:
        return not self.array.any()

    def __str__(self) -> str:
        return f"the weights {shape_text(self.array.shape)} of {self.array.dtype}"


@dataclass(frozen=True)
class Fill(Value):
    """An array of one number everywhere; of ids: one that was told from ids, in their shape."""

    number: float
    of_ids: bool = False

    def transpose(self, order: Sequence[int] | None) -> Value:
        return self._moved()

    def reshape(self, shape: Sequence[Size], zero_copies: bool) -> Value:
        return self._moved()

    def squeeze(self, axes: Sequence[int] | None) -> Value:
        return self._moved()

    def unsqueeze(self, axes: Sequence[int]) -> Value:
        return self._moved()

    def cut(self, axis: int, start: int, stop: int, step: int) -> Value:
        return self._moved()

    def cast(self, dtype: str) -> Value:
        return self

    def _moved(self) -> Fill:
        return replace(self, of_ids=False)

    @property
    def zero(self) -> bool:
        return self.number == 0

    def __str__(self) -> str:
        return f"an array of {self.number:g} everywhere"


@dataclass(frozen=True)
class Repeated(Value):
    """An array of one size everywhere, such as the number of steps for each row."""

    size: Size

    def cast(self, dtype: str) -> Value:
        return self if dtype in ("int32", "int64") else super().cast(dtype)

    def __str__(self) -> str:
        return f"an array of {self.size} everywhere"


def checked_order(order: Sequence[int] | None, rank: int) -> list[int]:
    """The order of axes that a Transpose asks for; None: the last one first."""
    found = list(reversed(range(rank))) if order is None else list(order)
    if sorted(found) != list(range(rank)):
        raise ValueError(f"perm: expected an order of {rank} axes, got {found}")
    return found

"""Dot: products of two inputs, row by row, summed over one axis; arithmetic in `ops`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arguments import LARGEST, Array, Shape, flag, integer, shown
from ..ops import merging
from .checks import axis_of
from .merging import Merge, listed, two_of

__all__ = ["Dot"]


class Dot(Merge):
    """Products of two inputs, summed over one axis of each, row by row. No mask is handed on.

    The output has the other axes of the first behind the batch, then those of the second; (B, 1)
    where there are none. (B, T, I) and (B, S, I) with axes=2 give (B, T, S).

    Parameters
    ----------
    axes : int, or tuple of two
        The axis of each, not the batch: of both the same, or the first's and the second's.
    normalize : bool
        Divide the vectors along these axes by their lengths first (of below 1e-7, by that).
    name : str, optional
    """

    def __init__(self, axes: Any, normalize: bool = False, *, name: str | None = None):
        super().__init__(name=name)
        pair = axes if isinstance(axes, (tuple, list)) else (axes, axes)
        if len(pair) != 2:
            raise ValueError(f"axes: expected an integer or two, got {shown(axes)}")
        self.axes = tuple(integer("axes", one, -LARGEST) for one in pair)
        self.normalize = flag("normalize", normalize)

    def output_shape(self, input_shape: Any) -> Shape:
        shapes = two_of(self._shapes(input_shape))
        first, second = map(list, shapes)
        batch = {first[0], second[0]} - {None}
        at = self._axes(shapes)
        summed = {first.pop(at[0]), second.pop(at[1])} - {None}
        if len(batch) > 1 or len(summed) > 1:
            expected = f"two of one batch, and of one size along axes {at}"
            raise ValueError(f"x: expected {expected}, got {listed(shapes)}")
        return (*(batch or {None}), *([*first[1:], *second[1:]] or [1]))

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None

    def _axes(self, shapes: Sequence[Sequence[Any]]) -> tuple[int, int]:
        first, second = (axis_of(a, len(one)) for a, one in zip(self.axes, shapes, strict=True))
        return first, second

    def _forward(self, arrays: list[Array], masks: list[Any]) -> tuple[Array, Any]:
        axes = self._axes([one.shape for one in arrays])
        first, second = self._factors(arrays, axes)
        return merging.dot(first, second, axes), arrays

    def _factors(self, arrays: list[Array], axes: tuple[int, int]) -> list[Array]:
        if not self.normalize:
            return arrays
        return [merging.normalized(one, axis) for one, axis in zip(arrays, axes, strict=True)]

    def _backward(self, dy: Array, kept: Any, shapes: Any) -> list[Array]:
        axes = self._axes(shapes)
        first, second = self._factors(kept, axes)
        found = merging.dot_backward(dy, first, second, axes)
        if not self.normalize:
            return found
        triples = zip(found, kept, axes, strict=True)
        return [merging.normalized_backward(d, one, axis) for d, one, axis in triples]

"""Identity, Rescaling and UnitNormalization: x, a multiple of it, or vectors of length one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import LARGEST, Array, Shape, integer, number, shape_text, shown
from ..ops.norms import lengths_along
from .checks import axis_of
from .weightless import Weightless

__all__ = ["Identity", "Rescaling", "UnitNormalization"]

LEAST = 1e-12  # of a length that divides, as in Keras


class Identity(Weightless):
    """x itself.

    Parameters
    ----------
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.
    """

    supports_masking = True

    stepwise = True

    def __init__(self, *, name: str | None = None, input_shape: Shape | None = None):
        super().__init__(name, input_shape)

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return x, None

    def _backward(self, dy: Array, kept: Any) -> Array:
        return dy


class Rescaling(Weightless):
    """x `scale` + `offset`.

    Parameters
    ----------
    scale, offset : float, or a list of them
        A list has one for each feature, the last axis of x.
    name, input_shape : optional
        As of `Identity`.
    """

    supports_masking = True

    stepwise = True

    def __init__(
        self,
        scale: Any,
        offset: Any = 0.0,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.scale = _one_or_listed("scale", scale)
        self.offset = _one_or_listed("offset", offset)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        for name in ("scale", "offset"):
            told = getattr(self, name)
            if isinstance(told, list) and input_shape[-1:] != (len(told),):
                expected = f"{len(told)} features, as {name} has numbers"
                raise ValueError(f"x: expected {expected}, got {shape_text(input_shape)}")
        return tuple(input_shape)

    def _forward(self, x: Array) -> tuple[Array, Any]:
        with np.errstate(over="ignore", invalid="ignore"):
            y = x * np.asarray(self.scale, x.dtype)
            y += np.asarray(self.offset, x.dtype)
        return y, None

    def _backward(self, dy: Array, kept: Any) -> Array:
        dy *= np.asarray(self.scale, dy.dtype)
        return dy


class UnitNormalization(Weightless):
    """x over its length along an axis, or along several; a length below 1e-12 counts as that.

    Parameters
    ----------
    axis : int or list of int
        Not the batch.
    name, input_shape : optional
        As of `Identity`.
    """

    supports_masking = True

    def __init__(
        self, axis: Any = -1, *, name: str | None = None, input_shape: Shape | None = None
    ):
        super().__init__(name, input_shape)
        if isinstance(axis, (list, tuple)) and axis:
            self.axis: Any = [integer("axis", one, -LARGEST) for one in axis]
        else:
            self.axis = integer("axis", axis, -LARGEST)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        self._axes(len(input_shape))
        return tuple(input_shape)

    def _axes(self, ndim: int) -> tuple[int, ...]:
        told = self.axis if isinstance(self.axis, list) else [self.axis]
        return tuple({axis_of(axis, ndim) for axis in told})

    def _forward(self, x: Array) -> tuple[Array, Any]:
        size = np.maximum(lengths_along(x, self._axes(x.ndim)), LEAST)
        y = np.divide(x, size).astype(x.dtype)
        return y, (y, size)

    def _backward(self, dy: Array, kept: Any) -> Array:
        y, size = kept
        along = np.sum(dy * y, axis=self._axes(y.ndim), keepdims=True, dtype=np.float64)
        along = np.where(size > LEAST, along, 0.0)  # a length below counts as it, and stays
        found: Array = ((dy - along * y) / size).astype(y.dtype)
        return found


def _one_or_listed(name: str, told: Any) -> Any:
    if isinstance(told, np.ndarray) and told.ndim == 1 and told.dtype.kind in "iuf":
        told = told.tolist()
    if isinstance(told, (list, tuple)) and told:
        return [number(name, one, -math.inf) for one in told]
    if isinstance(told, (list, tuple)):
        raise ValueError(f"{name}: expected a number, or one for each feature, got {shown(told)}")
    return number(name, told, -math.inf)

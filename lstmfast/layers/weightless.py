"""The base of layers without weights that make one array of floats of another."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array, Shape, check_shape
from ..ops.dispatch import float_like
from ..ops.layouts import owned
from .base import Layer

__all__ = ["Weightless", "gradient_of"]


class Weightless(Layer):
    """What layers without weights share; each says what it does to an array in two methods.

    `_forward(x)` returns the output and what the way back needs; `_backward(dy, kept)` returns the
    gradient of x, contiguous, in memory that no other array of the pass has but perhaps dy.
    Whole numbers become floats of the layer's dtype.
    """

    draws = False

    def __init__(self, name: str | None, input_shape: Shape | None = None, seed: int | None = None):
        super().__init__(name, seed, input_shape)

    def _check_told(self) -> None:
        """At the end of a constructor: raise ValueError if its `input_shape` is not taken."""
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input: that of the output unless a layer says otherwise."""
        return tuple(input_shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the output for x of the layer's dtype; with `training`, for one `backward`."""
        x = self._floats(x)
        y, kept = self._forward(x)
        if training:
            self._cache = (x.shape, kept)
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Return the gradient of x, or None unless `need_dx`. See `Layer.backward`."""
        shape, kept = self._cached()
        dy = gradient_of(self._placed("dy", dy), self.output_shape(shape), self.dtype)
        dx = self._backward(dy, kept) if need_dx else None
        self.grads, self._cache = {}, None
        return None if dx is None else dx.reshape(shape)

    def _forward(self, x: Array) -> tuple[Array, Any]:
        raise NotImplementedError

    def _backward(self, dy: Array, kept: Any) -> Array:
        raise NotImplementedError

    def _floats(self, x: Any) -> Array:
        """Return x as floats of the layer's dtype in a shape that it takes, or raise ValueError."""
        self._check_built()
        x = float_like("x", self._as_floats(x), np.dtype(self.dtype))
        self.output_shape(x.shape)
        found: Array = x
        return found


def gradient_of(dy: Array, shape: Shape, dtype: str) -> Array:
    """Return dy, C-contiguous and writable: itself or a copy; ValueError if it does not fit."""
    check_shape("dy", float_like("dy", dy, np.dtype(dtype)).shape, tuple(map(_open, shape)))
    return owned(dy)


def _open(size: int | None) -> int | str:
    return "N" if size is None else size

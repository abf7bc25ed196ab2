"""Masking: steps that hold one value alone become steps that do not count."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array, Shape, check_shape, number
from .weightless import Weightless

__all__ = ["Masking"]


class Masking(Weightless):
    """Steps of (..., T, I) whose numbers are all `mask_value` become zeros, and masked.

    Parameters
    ----------
    mask_value : float
        Compared in the dtype of x.
    name : str, optional
    input_shape : tuple, optional
        (None, I), without the batch: a Model that begins with the layer is built at once.
    """

    supports_masking = makes_mask = True

    def __init__(
        self,
        mask_value: float = 0.0,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.mask_value = number("mask_value", mask_value, -1e38, 1e38)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2:
            check_shape("x", input_shape, ("B", "T", "I"))
        return tuple(input_shape)

    def compute_mask(self, x: Any, mask: Any = None) -> Array:
        """Return where steps hold another number, bool in the shape of x but for its last axis.

        A mask of x does not matter, as in Keras.
        """
        found: Array = np.any(x != self.mask_value, axis=-1)
        return found

    def _forward(self, x: Array) -> tuple[Array, Any]:
        kept = self.compute_mask(x)[..., None]
        return np.where(kept, x, x.dtype.type(0)), kept

    def _backward(self, dy: Array, kept: Any) -> Array:
        return np.where(kept, dy, dy.dtype.type(0))

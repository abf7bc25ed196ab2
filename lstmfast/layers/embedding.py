"""Embedding: a table of vectors; arithmetic in `ops`."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any, ClassVar

import numpy as np

from .. import constraints, initializers, regularizers
from ..arguments import Array, Shape, check_shape, flag, integer
from ..ops.rows import RowGradient
from .base import Layer
from .checks import rounded
from .stepping import Stepper, same_stepper

__all__ = ["Embedding"]


class Embedding(Layer):
    """A row of a table for each id: ids (...) to vectors (..., output_dim).

    Parameters
    ----------
    input_dim : int
        Size of the vocabulary: ids lie in [0, input_dim).
    output_dim : int
        Length of a row.
    embeddings_initializer : str or Initializer
    embeddings_regularizer : str or Regularizer, optional
        What the table adds to the loss, all its rows at each step; see `Layer`.
    embeddings_constraint : str or Constraint, optional
        What the table is brought back to after each step.
    mask_zero : bool
        0 stands for no step: the output's mask is False there, for the layers behind that heed it.
    weights : array_like (input_dim, output_dim), or a list of one, optional
        The table to begin with, in place of a drawn one; a config does not hold it.
    name : str, optional
    seed : int, optional
        Of the initial weights; without it they come from the Model's generator, or from chance.
    """

    takes_ids = True
    supports_masking = True
    draws = False
    gives_rows = False  # is the gradient a `RowGradient`, for optimizers that take one?
    roles: ClassVar = {"embeddings": "embeddings"}

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        *,
        name: str | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed)
        self.input_dim = integer("input_dim", input_dim, 1)
        self.output_dim = integer("output_dim", output_dim, 1)
        self.embeddings_initializer = initializers.get(
            embeddings_initializer, "embeddings_initializer"
        )
        self.embeddings_regularizer = regularizers.get(
            embeddings_regularizer, "embeddings_regularizer"
        )
        self.embeddings_constraint = constraints.get(embeddings_constraint, "embeddings_constraint")
        self.mask_zero = self.makes_mask = flag("mask_zero", mask_zero)
        self._first = None if weights is None else self._table(weights)
        self.input_shape = (None, None)  # so that a Model that begins with ids is built at once

    def _table(self, weights: Any) -> Array:
        found = weights[0] if isinstance(weights, (list, tuple)) and len(weights) == 1 else weights
        return rounded("weights", found, (self.input_dim, self.output_dim), "float64")

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return super()._initial(name, shape, rng) if self._first is None else self._first

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"embeddings": (self.input_dim, self.output_dim)}

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.output_dim)

    def check_input(self, x: Array) -> None:
        """Raise ValueError unless x holds integers in [0, input_dim).

        Of ids on a GPU the range is not looked at: rows for others are NaN.
        """
        if x.dtype.kind not in "biu":
            raise ValueError(f"x: expected integer ids, got dtype {x.dtype}")
        if isinstance(x, np.ndarray) and x.size and not 0 <= x.min() <= x.max() < self.input_dim:
            found = f"[{x.min()}, {x.max()}]"
            raise ValueError(f"x: expected ids in [0, {self.input_dim}), got ids in {found}")

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return (*x.shape, output_dim) for ids x, int32 or int64 of any shape.

        False is 0, True is 1.
        """
        self._check_built()
        x = self._placed("x", x)
        if x.dtype.kind == "b":
            x = x.astype(np.int64)
        y = self._ops.embedding_forward(x, self.params["embeddings"])
        if training:
            self._cache = x
        return y

    def stepper(self, batch_size: int) -> Stepper:
        return (
            same_stepper(self)
            if not self.mask_zero
            else Stepper(partial(_unmasked, deepcopy(self)))
        )

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return where ids are not 0, bool in the shape of x, with `mask_zero`; and in the mask."""
        if not self.mask_zero:
            return mask
        return x != 0 if mask is None else (x != 0) & mask

    def backward(self, dy: Array, need_dx: bool = True) -> None:
        """Fill `grads`; ids have no gradient, so the answer is None. See `Layer.backward`."""
        ids = self._cached()
        dy = self._placed("dy", dy)
        check_shape("dy", dy.shape, (*ids.shape, self.output_dim))
        made: Any = RowGradient.of if self.gives_rows else self._ops.embedding_backward
        self.grads = {"embeddings": made(ids, dy, self.input_dim)}
        self._cache = None


def _unmasked(layer: Embedding, ids: Array) -> Array:
    """The rows of ids, of which none may stand for no step."""
    if (ids == 0).any():
        expected = "ids of steps (0 is masked: a stream leaves such a step out by not taking it)"
        raise ValueError(f"{layer.name}: x: expected {expected}, got 0")
    return layer.forward(ids)

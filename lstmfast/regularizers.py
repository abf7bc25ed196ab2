"""Penalties on weights, with Keras 3's names, formulas and defaults.

A regularizer is asked with a weight in Keras's layout (inputs, outputs), float32 or float64, of any
strides. The penalty is added to the loss, its gradient to the weight's.

>>> LSTM(64, kernel_regularizer="l2", recurrent_regularizer=L1L2(l1=1e-5, l2=1e-4))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import ops
from .arguments import Array, choice, described, named, number, shape_text
from .ops.checks import float_array
from .ops.norms import lengths_along, squares_of, times_power
from .registry import any_case

__all__ = [
    "L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "deserialize", "get", "l1",
    "l1_l2", "l2", "orthogonal_regularizer", "serialize",
]  # fmt: skip

EPSILON = 1e-7  # Keras's backend.epsilon(): no vector counts as shorter


class Regularizer:
    """Base of the regularizers below: frozen values that are compared by their fields."""

    def value(self, w: Array) -> float:
        """Return the penalty; the same bits at any number of threads."""
        raise NotImplementedError

    def gradient(self, w: Array) -> Array:
        """Return the gradient of `value`, a new array of the shape and dtype of w."""
        raise NotImplementedError

    @property
    def factors(self) -> tuple[float, float] | None:
        """(l1, l2), where the penalty is `l1 Σ |w| + l2 Σ w²`; else None."""
        return None

    def check(self, argument: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError, naming `argument`, unless a weight may have this shape."""

    def __call__(self, w: Array) -> float:
        """Return `value(w)`, as in Keras."""
        return self.value(w)


@dataclass(frozen=True)
class L1(Regularizer):
    """`l1 Σ |w|`; the gradient at zero is zero."""

    l1: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "l1", number("l1", self.l1, 0.0))

    @property
    def factors(self) -> tuple[float, float]:
        return self.l1, 0.0

    def value(self, w: Array) -> float:
        return self.l1 * _sum_of_magnitudes(w)

    def gradient(self, w: Array) -> Array:
        return self.l1 * np.sign(float_array("w", w))


@dataclass(frozen=True)
class L2(Regularizer):
    """`l2 Σ w²`, without a half."""

    l2: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "l2", number("l2", self.l2, 0.0))

    @property
    def factors(self) -> tuple[float, float]:
        return 0.0, self.l2

    def value(self, w: Array) -> float:
        return _times_squares(self.l2, w)

    def gradient(self, w: Array) -> Array:
        return 2.0 * self.l2 * float_array("w", w)


@dataclass(frozen=True)
class L1L2(Regularizer):
    """`l1 Σ |w| + l2 Σ w²`: both zero unless told, but 0.01 by the name "l1_l2"."""

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "l1", number("l1", self.l1, 0.0))
        object.__setattr__(self, "l2", number("l2", self.l2, 0.0))

    @property
    def factors(self) -> tuple[float, float]:
        return self.l1, self.l2

    def value(self, w: Array) -> float:
        return self.l1 * _sum_of_magnitudes(w) + _times_squares(self.l2, w)

    def gradient(self, w: Array) -> Array:
        return self.l1 * np.sign(float_array("w", w)) + 2.0 * self.l2 * w


@dataclass(frozen=True)
class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean of |n_i · n_j| over all pairs of rows (columns) n of length one.

    In Keras's layout the rows of a kernel belong to its inputs, the columns to its outputs. A
    weight with one row has no pair, and no penalty. Arithmetic is in float64.
    """

    factor: float = 0.01
    mode: str = "rows"

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", number("factor", self.factor, 0.0))
        choice("mode", self.mode, ("rows", "columns"))

    def check(self, argument: str, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            expected = "a weight with two axes for OrthogonalRegularizer"
            raise ValueError(f"{argument}: expected {expected}, got {shape_text(shape)}")

    def value(self, w: Array) -> float:
        n, _ = self._normalized(w)
        return 0.5 * self._weight(n) * _sum_of_magnitudes(_products(n))

    def gradient(self, w: Array) -> Array:
        n, norms = self._normalized(w)
        dn = self._weight(n) * ops.dense_forward(np.sign(_products(n)), n)
        # A vector shorter than EPSILON is divided by it; along all others n keeps its length.
        along = np.where(norms > EPSILON, np.sum(dn * n, axis=1, keepdims=True), 0.0)
        dw = ((dn - along * n) / np.maximum(norms, EPSILON)).astype(w.dtype)
        return dw if self.mode == "rows" else dw.T

    def _normalized(self, w: Array) -> tuple[Array, Array]:
        """Return the vectors as rows of a C-contiguous matrix in float64, and their norms."""
        self.check("w", float_array("w", w).shape)
        rows = np.array(w if self.mode == "rows" else w.T, np.float64, order="C")
        norms = lengths_along(rows, 1)
        rows /= np.maximum(norms, EPSILON)
        return rows, norms

    def _weight(self, n: Array) -> float:
        """Return `factor` over the number of pairs."""
        return self.factor / max(1.0, len(n) * (len(n) - 1.0) / 2.0)


def get(
    identifier: str | dict[str, Any] | Regularizer | None, argument: str = "regularizer"
) -> Regularizer | None:
    """Return the regularizer of this name, of this config, or itself; None for None.

    Parameters
    ----------
    identifier : str, dict, Regularizer or None
        A Keras name such as "l2", what `serialize` made, or one of the classes above.
    argument : str
        What the caller calls it; errors begin with it.

    Raises
    ------
    ValueError
        For anything else; the message lists the names.
    """
    found = any_case(identifier, NAMED)
    return None if found is None else named(argument, found, NAMED, CLASSES)


def serialize(regularizer: Regularizer | None) -> str | dict[str, Any] | None:
    """Return the name of a regularizer, or its class and fields, or None: JSON for `get`."""
    return None if regularizer is None else described(regularizer, NAMED)


def deserialize(config: Any) -> Regularizer | None:
    """Return the regularizer that `serialize` told of; see `get`."""
    return get(config)


def _sum_of_magnitudes(w: Array) -> float:
    return float(np.sum(np.abs(float_array("w", w)), dtype=np.float64))


def _times_squares(factor: float, w: Array) -> float:
    """factor Σ w²"""
    found, exponent = squares_of(float_array("w", w).ravel(order="K"))  # no copy of a transpose
    return times_power(factor * found, exponent)


def _products(n: Array) -> Array:
    """Return n_i · n_j of all pairs of rows, zero for i = j."""
    products = ops.dense_forward(n, np.ascontiguousarray(n.T))
    np.fill_diagonal(products, 0.0)
    return products


CLASSES: dict[str, type[Regularizer]] = {
    made.__name__: made for made in (L1, L2, L1L2, OrthogonalRegularizer)
}

NAMED: dict[str, Regularizer] = {
    "l1": L1(),
    "l2": L2(),
    "l1_l2": L1L2(0.01, 0.01),  # what Keras's manual says; its own look-up by name fails
    "orthogonal_regularizer": OrthogonalRegularizer(),
}

# Keras's other names of the classes.
l1, l2, l1_l2 = L1, L2, L1L2
orthogonal_regularizer = OrthogonalRegularizer

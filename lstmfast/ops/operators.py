"""Arithmetic of two arrays that broadcast, and the way back; on NumPy arrays. Part of `ops`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arguments import Array
from .merging import summed_to

__all__ = ["OPERATORS", "operate", "operate_backward"]

# What an operator does to a and b, and the gradients of both for the gradient of what it gave.
OPERATORS: dict[str, tuple[Callable[..., Array], Callable[..., tuple[Array, Array]]]] = {
    "add": (np.add, lambda dy, a, b: (dy, dy)),
    "subtract": (np.subtract, lambda dy, a, b: (dy, -dy)),
    "multiply": (np.multiply, lambda dy, a, b: (dy * b, dy * a)),
    "true_divide": (np.divide, lambda dy, a, b: (dy / b, -dy * (a / b) / b)),
    "power": (np.power, lambda dy, a, b: (dy * b * _power(a, b - 1), np.zeros_like(dy))),
}


def operate(operator: str, a: Array, b: Array) -> Array:
    """Return a + b and so on; what divides by zero, or overflows, is Inf or NaN."""
    with np.errstate(all="ignore"):
        return OPERATORS[operator][0](a, b)


def operate_backward(operator: str, dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Return the gradients of a and b, each in its shape; both have as many axes as dy.

    Of "power" that of b is not told: zeros.
    """
    with np.errstate(all="ignore"):
        first, second = OPERATORS[operator][1](dy, a, b)
        return summed_to(first, a.shape), summed_to(second, b.shape)


def _power(a: Array, b: Array) -> Array:
    """a ** b, finite for an exponent of -1 that is multiplied by 0 later."""
    return np.where(b == -1, np.where(a == 0, 0, 1 / a), np.power(a, b))

"""Merging layers as functions, as Keras has them: `concatenate([a, b])`, `add([a, b])`, ..."""

from __future__ import annotations

from typing import Any

from .dot import Dot
from .merging import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract

__all__ = [
    "add", "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract",
]  # fmt: skip


def add(inputs: Any, **arguments: Any) -> Any:
    """Return `Add(**arguments)(inputs)`."""
    return Add(**arguments)(inputs)


def subtract(inputs: Any, **arguments: Any) -> Any:
    """Return `Subtract(**arguments)(inputs)`."""
    return Subtract(**arguments)(inputs)


def multiply(inputs: Any, **arguments: Any) -> Any:
    """Return `Multiply(**arguments)(inputs)`."""
    return Multiply(**arguments)(inputs)


def average(inputs: Any, **arguments: Any) -> Any:
    """Return `Average(**arguments)(inputs)`."""
    return Average(**arguments)(inputs)


def maximum(inputs: Any, **arguments: Any) -> Any:
    """Return `Maximum(**arguments)(inputs)`."""
    return Maximum(**arguments)(inputs)


def minimum(inputs: Any, **arguments: Any) -> Any:
    """Return `Minimum(**arguments)(inputs)`."""
    return Minimum(**arguments)(inputs)


def concatenate(inputs: Any, axis: int = -1, **arguments: Any) -> Any:
    """Return `Concatenate(axis, **arguments)(inputs)`."""
    return Concatenate(axis, **arguments)(inputs)


def dot(inputs: Any, axes: Any = -1, **arguments: Any) -> Any:
    """Return `Dot(axes, **arguments)(inputs)`."""
    return Dot(axes, **arguments)(inputs)

"""Initial weights that are given, not drawn: constants, the identity, functions of yours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import registry
from ..arguments import Array, number, shape_text, shown
from .base import Initializer

__all__ = ["Constant", "FunctionInitializer", "Identity", "Ones", "Zeros"]


@dataclass(frozen=True, eq=False)
class Constant(Initializer):
    """Every weight is `value`, or that of an array of the weights' shape, such as word vectors.

    A config holds an array of up to 1024 numbers; of a larger one it says that it is not there
    (None), as a file holds the weights themselves.
    """

    value: Any = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.value, (np.ndarray, list, tuple)):
            object.__setattr__(self, "value", _numbers(self.value))
        elif self.value is not None:
            number("value", self.value, -math.inf)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        if self.value is None:
            raise ValueError("value: expected the numbers of a Constant, got a config without them")
        if isinstance(self.value, np.ndarray) and self.value.shape != shape:
            found = shape_text(self.value.shape)
            raise ValueError(f"value: expected {shape_text(shape)}, got {found}")
        return np.full(shape, self.value, np.float64)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant) or (self.value is None) != (other.value is None):
            return False
        return np.array_equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash(np.asarray(self.value).tobytes())


@dataclass(frozen=True)
class Identity(Initializer):
    """`gain` on the main diagonal of a matrix, zero elsewhere: of (H, 4H), in the gate i alone."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        number("gain", self.gain, -math.inf)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        if len(shape) != 2:
            raise ValueError(f"shape: expected two axes for Identity, got {shape}")
        return self.gain * np.eye(*shape)


class Zeros(Constant):
    """Every weight is 0."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every weight is 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


@dataclass(frozen=True)
class FunctionInitializer(Initializer):
    """What a function `fn(shape, dtype=None)` of yours returns; `get` makes it of a function.

    A file can hold it when the function is registered (`registry.register_serializable`).
    """

    fn: Any

    def __post_init__(self) -> None:
        if isinstance(self.fn, str):
            object.__setattr__(self, "fn", registry.registered(self.fn))
        if not callable(self.fn) or isinstance(self.fn, type):
            raise ValueError(f"fn: expected a function of a shape, got {shown(self.fn)}")

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        found = np.asarray(self.fn(shape, dtype="float64"))
        if found.dtype.kind not in "iufb" or found.shape != tuple(shape):
            got = f"{shape_text(found.shape)} of {found.dtype}"
            raise ValueError(f"initializer: expected numbers of {shape_text(shape)}, got {got}")
        return found.astype(np.float64)


def _numbers(value: Any) -> Array:
    """Return an array as float64; ValueError for what is no number, NaN or Inf."""
    try:
        found = np.asarray(value)
    except ValueError:  # of rows of unlike lengths
        found = np.asarray(None)
    if found.dtype.kind in "iuf":
        with np.errstate(over="ignore"):
            found = found.astype(np.float64)
        if np.isfinite(found).all():
            return found
    raise ValueError(f"value: expected finite numbers, got {shown(value)}")

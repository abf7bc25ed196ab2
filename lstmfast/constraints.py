"""What weights are brought back to after each step, with Keras 3's names, formulas and defaults.

A constraint is asked with a weight in Keras's layout (inputs, outputs), float32 or float64, of any
strides: `axis=0` makes one vector of the weights into each output, `axis=1` of a row of a table.

>>> Embedding(10000, 128, embeddings_constraint=MaxNorm(1.0, axis=1))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .arguments import Array, described, integer, named, number, shape_text
from .ops.checks import float_array
from .ops.norms import lengths_along
from .registry import any_case

__all__ = [
    "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize", "get",
    "max_norm", "min_max_norm", "non_neg", "serialize", "unit_norm",
]  # fmt: skip

EPSILON = 1e-7  # Keras's backend.epsilon(): added to each norm that divides

Axis = int | tuple[int, ...]


class Constraint:
    """Base of the constraints below: frozen values that are compared by their fields."""

    def project(self, w: Array) -> None:
        """Change w, a writeable array of float32 or float64, in place."""
        raise NotImplementedError

    def check(self, argument: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError, naming `argument`, unless a weight may have this shape."""

    def __call__(self, w: Array) -> Array:
        """Return what `project` makes of w, a new array; as in Keras."""
        found = float_array("w", w).copy(order="K")
        self.project(found)
        return found


@dataclass(frozen=True)
class NonNeg(Constraint):
    """`max(w, 0)`."""

    def project(self, w: Array) -> None:
        np.maximum(float_array("w", w), 0.0, out=w)


class ScaledVectors(Constraint):
    """Base of those that scale each vector along `axis`: `w · wanted(norm) / (EPSILON + norm)`."""

    axis: Axis

    def wanted(self, norms: Array) -> Array | float:
        """Return the norms that vectors of these norms shall have."""
        raise NotImplementedError

    def project(self, w: Array) -> None:
        self.check("w", float_array("w", w).shape)
        norms = lengths_along(w, self.axis)
        factors = self.wanted(norms) / (EPSILON + norms)
        if np.any((factors > 0.0) & (factors < np.finfo(w.dtype).tiny)):
            w[...] = w / (EPSILON + norms) * self.wanted(norms)  # in float64, and no such factor
        else:
            w *= factors.astype(w.dtype)

    def check(self, argument: str, shape: tuple[int, ...]) -> None:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        inside = {axis % len(shape) for axis in axes if -len(shape) <= axis < len(shape)}
        if len(inside) < len(axes):
            expected = f"different axes of {shape_text(shape)}"
            raise ValueError(f"{argument}: expected {expected}, got axis {self.axis}")


@dataclass(frozen=True)
class MaxNorm(ScaledVectors):
    """Shortens vectors along `axis` that are longer than `max_value` (Srivastava et al. 2014)."""

    max_value: float = 2.0
    axis: Axis = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_value", number("max_value", self.max_value, 0.0))
        object.__setattr__(self, "axis", _axis(self.axis))

    def wanted(self, norms: Array) -> Array:
        return np.minimum(norms, self.max_value)


@dataclass(frozen=True)
class UnitNorm(ScaledVectors):
    """Brings each vector along `axis` to length one."""

    axis: Axis = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "axis", _axis(self.axis))

    def wanted(self, norms: Array) -> float:
        return 1.0


@dataclass(frozen=True)
class MinMaxNorm(ScaledVectors):
    """Brings lengths along `axis` into [min_value, max_value], by the share `rate` of the way."""

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Axis = 0

    def __post_init__(self) -> None:
        low = number("min_value", self.min_value, 0.0)
        object.__setattr__(self, "min_value", low)
        object.__setattr__(self, "max_value", number("max_value", self.max_value, low))
        object.__setattr__(self, "rate", number("rate", self.rate, 0.0, 1.0))
        object.__setattr__(self, "axis", _axis(self.axis))

    def wanted(self, norms: Array) -> Array:
        inside = np.clip(norms, self.min_value, self.max_value)
        return self.rate * inside + (1.0 - self.rate) * norms


def get(
    identifier: str | dict[str, Any] | Constraint | None, argument: str = "constraint"
) -> Constraint | None:
    """Return the constraint of this name, of this config, or itself; None for None.

    Parameters
    ----------
    identifier : str, dict, Constraint or None
        A Keras name such as "unit_norm", what `serialize` made, or one of the classes above.
    argument : str
        What the caller calls it; errors begin with it.

    Raises
    ------
    ValueError
        For anything else; the message lists the names.
    """
    found = any_case(identifier, NAMED)
    return None if found is None else named(argument, found, NAMED, CLASSES)


def serialize(constraint: Constraint | None) -> str | dict[str, Any] | None:
    """Return the name of a constraint, or its class and fields, or None: JSON for `get`."""
    return None if constraint is None else described(constraint, NAMED)


def deserialize(config: Any) -> Constraint | None:
    """Return the constraint that `serialize` told of; see `get`."""
    return get(config)


def _axis(found: Any) -> Axis:
    """Return an axis, or a tuple of them; JSON and Keras write a list."""
    if isinstance(found, (list, tuple)) and found:
        return tuple(integer("axis", axis, -2) for axis in found)
    return integer("axis", found, -2)


CLASSES: dict[str, type[Constraint]] = {
    made.__name__: made for made in (MaxNorm, NonNeg, UnitNorm, MinMaxNorm)
}

NAMED: dict[str, Constraint] = {
    "max_norm": MaxNorm(),
    "non_neg": NonNeg(),
    "unit_norm": UnitNorm(),
    "min_max_norm": MinMaxNorm(),
}

# Keras's other names of the classes.
max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

"""What an LSTM may be other than plain: its cell, and the noise in training."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from ..arguments import flag, number, shown
from ..kernels.options import Cell, Rates, row_of
from . import activations

__all__ = ["CellOptions", "Noise"]


def _limit(name: str, value: Any) -> float | None:
    if value is not None and number(name, value, 0) == 0:
        raise ValueError(f"{name}: expected a number > 0 or None, got {shown(value)}")
    return None if value is None else float(value)


def _rate(name: str, value: Any) -> float:
    if number(name, value, 0, 1) == 1:
        raise ValueError(f"{name}: expected a rate in [0, 1), got {value}")
    return float(value)


def _real(name: str, value: Any) -> float:
    return number(name, value, -1e30, 1e30)


CHECKS: dict[str, Any] = {
    "ACTIVATION": activations.get, "FLAG": flag, "LIMIT": _limit, "REAL": _real, "RATE": _rate,
}  # fmt: skip
ROWS_OF_CELL = [row_of(field) for field in fields(Cell)]
ROWS_OF_NOISE = [row_of(field) for field in fields(Rates)]


@dataclass(frozen=True)
class CellOptions(Cell):
    __doc__ = Cell.__doc__

    def __post_init__(self) -> None:
        if self.output_activation is None:
            object.__setattr__(self, "output_activation", self.activation)
        for row in ROWS_OF_CELL:
            checked = CHECKS[row.values](row.python, getattr(self, row.python))
            object.__setattr__(self, row.python, checked)

    def check_training(self) -> None:
        """Raise ValueError if the gradient cannot be computed from what is kept."""
        for row in ROWS_OF_CELL:
            if row.values == "ACTIVATION":
                activations.check_slope(row.python, getattr(self, row.python))

    def keys(self) -> dict[str, float]:
        """Return the keys of the C-level configuration."""
        found: dict[str, float] = {}
        for row in ROWS_OF_CELL:
            value = getattr(self, row.python)
            if row.values == "ACTIVATION":
                given = {"kind": value.kind, "alpha": value.alpha, "beta": value.beta}
                found |= {f"{row.name}_{field}": number for field, number in given.items()}
            else:
                found[row.name] = math.inf if value is None else value
        return found


PLAIN = CellOptions()


@dataclass(frozen=True)
class Noise(Rates):
    __doc__ = Rates.__doc__

    def __post_init__(self) -> None:
        for row in ROWS_OF_NOISE:
            object.__setattr__(self, row.name, _rate(row.name, getattr(self, row.name)))

    def keys(self) -> dict[str, float]:
        """Return the keys of the C-level configuration."""
        rates = {row.name: getattr(self, row.name) for row in ROWS_OF_NOISE}
        return {name: rate for name, rate in rates.items() if rate > 0}


QUIET = Noise()

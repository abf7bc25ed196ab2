"""What the kernels of a part's steps are built for: one Kernel for each `CellKind`."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any, NamedTuple

from ...kernels.activations import ELU, HARD_SIGMOID, KINDS, SOFTPLUS
from ...kernels.options import CELL, Key
from .numbers import REALS, Number

__all__ = ["CellKind", "Formula"]


# Constants that `kernels.cell` reads where the cell is varied: a field for each of its keys.
Formula: Any = namedtuple("Formula", [key.name for key in CELL])


class CellKind(NamedTuple):
    """How a part's cells are calculated, and what their kernels read and write.

    Attributes
    ----------
    array : kind of number of y, dy and dcells
    operand : kind of number that W_hh is multiplied with
    formula : None for the plain cell
    bias, masked, counted, outputs : are there a bias, a mask of recurrent dropout, counts of the
        steps taken (`order`), outputs y of every step
    repeat : y of a step not taken is the one before it, not zeros
    keep : training: leave the activations for the way back
    projected : h is a product (`settle` kernels) of what the cells give
    zoneout_h, zoneout_c : rates; `drawing` in training, else these parts stay
    truncate : gradients do not flow from a step n > 0 that is a multiple of it; 0: everywhere
    """

    array: str
    operand: str
    formula: Any = None
    bias: bool = True
    masked: bool = False
    counted: bool = False
    outputs: bool = True
    repeat: bool = False
    keep: bool = True
    projected: bool = False
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0
    drawing: bool = False
    truncate: int = 0

    @property
    def numbers(self) -> tuple[Number, Number]:
        """Those of arrays and of operands."""
        return REALS[self.array], REALS[self.operand]

    @property
    def real(self) -> Any:
        """The type of states, activations, gradients and sums."""
        return REALS[self.operand].real

    @property
    def zoneout(self) -> bool:
        return self.zoneout_h > 0 or self.zoneout_c > 0

    @property
    def carries(self) -> bool:
        """Does some gradient reach h of a step by another way than W_hh?"""
        return self.counted or self.masked or self.zoneout_h > 0

    @property
    def peepholes(self) -> bool:
        return self.formula is not None and bool(self.formula.peepholes)

    @property
    def text(self) -> str:
        """What it is, in a few words, for the names of kernels."""
        more = [
            name if value is True else f"{name} {value}"
            for name, value in self._asdict().items()
            if name not in ("array", "operand", "formula")
            and value != CellKind._field_defaults[name]
        ]
        varied = [] if self.formula is None else [f"varied {hash(self.formula) & 0xFFFFFF:06x}"]
        return ", ".join([f"{self.array} by {self.operand}", *varied, *more])


def constant(key: Key, value: Any) -> Any:
    """The value of a key as kernels read it: whole numbers as integers."""
    if key.values == "KIND":
        return KINDS.index(value) if isinstance(value, str) else int(value)
    if key.values == "FLAG":
        return int(value)
    return math.inf if value is None else float(value)


PLAIN = Formula(*(constant(key, key.default) for key in CELL))
VARIED = PLAIN._replace(
    peepholes=1, coupled=1, clip=3.0, cell_clip=2.0, gate_kind=HARD_SIGMOID, gate_alpha=0.2,
    gate_beta=0.5, candidate_kind=ELU, candidate_alpha=1.0, output_kind=SOFTPLUS,
)  # fmt: skip
FORMS = (
    {}, {"bias": False, "outputs": False, "keep": False}, {"formula": VARIED},
    {"counted": True, "repeat": True, "truncate": 2}, {"masked": True, "projected": True},
    {"zoneout_h": 0.1, "zoneout_c": 0.1, "drawing": True, "counted": True},
    {"zoneout_h": 0.1, "projected": True, "formula": VARIED, "keep": False},
)  # fmt: skip
STRICT = (("float64", "float64"), ("float32", "float32"))
ROUNDED = (("float32", "bfloat16"), ("float32", "float16"), ("bfloat16", "bfloat16"),
           ("float16", "float16"))  # fmt: skip


def examples() -> list[CellKind]:
    """Return kinds of all arrays and operands; every option is in one of the strict ones."""
    strict = [CellKind(*pair, **form) for pair in STRICT for form in FORMS]
    return strict + [CellKind(*pair, **form) for pair in ROUNDED for form in FORMS[::4]]


def formula_of(keys: dict[str, float], peepholes: bool) -> Any:
    """Return the formula for the keys of `CellOptions.keys()`; None for the plain cell."""
    given = {"peepholes": peepholes, **keys}
    found = PLAIN._replace(**{k.name: constant(k, given[k.name]) for k in CELL if k.name in given})
    chosen = [key.name for key in CELL if key.values != "PARAMETER"]  # those belong to kinds
    return None if all(getattr(found, k) == getattr(PLAIN, k) for k in chosen) else found

"""What the kernels of a part's steps are built for: one Kernel for each `CellKind`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...kernels.activations import SIGMOID, TANH
from .numbers import REALS, Number

__all__ = ["CellKind", "Formula"]


class Formula(NamedTuple):
    """Constants that `kernels.cell` reads where the cell is varied."""

    peepholes: int
    coupled: int
    clip: float
    cell_clip: float
    gate_kind: int
    gate_alpha: float
    gate_beta: float
    candidate_kind: int
    candidate_alpha: float
    candidate_beta: float
    output_kind: int
    output_alpha: float
    output_beta: float


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
    formula: Formula | None = None
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


PLAIN = Formula(0, 0, math.inf, math.inf, SIGMOID, 0.0, 0.0, TANH, 0.0, 0.0, TANH, 0.0, 0.0)
VARIED = Formula(1, 1, 3.0, 2.0, 3, 0.2, 0.5, 8, 1.0, 0.0, 10, 0.0, 0.0)
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


def formula_of(keys: dict[str, float], peepholes: bool) -> Formula | None:
    """Return the formula for the keys of `CellOptions.keys()`; None for the plain cell."""
    found = PLAIN._replace(peepholes=int(peepholes))
    for key, value in keys.items():
        kind = type(getattr(PLAIN, key))
        found = found._replace(**{key: kind(value)})
    # sigmoid and tanh have no alpha and no beta, whatever the keys say
    told = {k: v for k, v in found._asdict().items() if not k.endswith(("alpha", "beta"))}
    return None if PLAIN._replace(**told) == PLAIN else found

"""The plain cell with the hardware's tanh, for tensor-core precisions: the one named exception.

Everywhere else σ and tanh are those of `lstmfast.kernels`. Here the same cell is made of others, as
numbers of tf32, float16 or bfloat16 keep no more digits than `tanh.approx` gives (2^-11 of the
value), and a step's tanh and σ are on the way from one h to the next.

Source: σ(z) = ½ + ½ tanh(z / 2).
"""

from __future__ import annotations

from types import SimpleNamespace

from numba import njit
from numba.types import float32

from ....kernels.cell import make_cell
from .. import formulas, ptx  # noqa: F401  # formulas: what the cell is built of
from .share import Share

__all__ = ["cell_of"]


@njit(error_model="numpy")
def approximate_tanh(z):
    return ptx.tanh_approx(z)


@njit(error_model="numpy")
def approximate_sigmoid(z):
    half = float32(0.5)
    return half + half * ptx.tanh_approx(half * z)


def cell_of(share: Share) -> SimpleNamespace:
    """The steps of the plain cell for a share's precision."""
    if share.tensor:
        return make_cell(False, approximate_sigmoid, approximate_tanh)
    return make_cell(False)

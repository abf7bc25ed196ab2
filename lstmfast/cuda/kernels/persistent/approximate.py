"""The plain cell with the hardware's tanh, for tensor-core precisions: the one named exception.

Everywhere else the gate formulas are those of `lstmfast.kernels.cell`. Here they stand a second
time, as numbers of tf32, float16 or bfloat16 keep no more digits than `tanh.approx` gives
(2^-11 of the value), and a step's tanh and σ are on the way from one h to the next.

Source: as cell.py; σ(z) = ½ + ½ tanh(z / 2). The derivatives are those of cell.py.
"""

from __future__ import annotations

from types import SimpleNamespace

from numba.types import float32

from ....kernels.activations import sigmoid_slope, tanh_slope
from ....kernels.cell import make_cell
from .. import formulas, ptx  # noqa: F401  # formulas: what the derivatives are built of
from .share import Share, inlined

__all__ = ["cell_of"]


@inlined
def approximate_sigmoid(z):
    half = float32(0.5)
    return half + half * ptx.tanh_approx(half * z)


@inlined
def forward(v, z_i, z_f, z_g, z_o, c_prev, p_i, p_f, p_o):
    """One step of one unit up to its cell: (i, f, g, o, c)."""
    i, f, o = approximate_sigmoid(z_i), approximate_sigmoid(z_f), approximate_sigmoid(z_o)
    g = ptx.tanh_approx(z_g)
    return i, f, g, o, f * c_prev + i * g


@inlined
def output(v, o, c):
    """The h of a unit."""
    return o * ptx.tanh_approx(c)


@inlined
def output_backward(v, o, c, dh):
    """(dz_o, dc) from the gradient to h."""
    s = ptx.tanh_approx(c)
    return dh * s * sigmoid_slope(o), dh * o * tanh_slope(s)


CELL = SimpleNamespace(
    forward=forward, output=output, output_backward=output_backward,
    backward=make_cell(False).backward,
)  # fmt: skip


def cell_of(share: Share) -> SimpleNamespace:
    """The steps of the plain cell for a share's precision, as of cell.make_cell."""
    return CELL if share.tensor else make_cell(False)

"""THE gate formulas, with zoneout and truncation: the only place in the repository for them.

Ordinary Python on numbers of one kind: float32 or float64 scalars, the SIMD vectors of `simd`
or scalars in a CUDA kernel. `like(x, 1)` is a constant of x's kind; a literal would turn float32
into float64. tests/test_formulas.py looks for their shape everywhere else.

Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000):

    i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)        z = W_ih x + W_hh h_prev + b
    c = f c_prev + i g
    h = o tanh(c)

and its variants: peepholes p (Gers and Schmidhuber 2000: p_i c_prev and p_f c_prev are added to
z_i and z_f, p_o c to z_o), the coupled gate f = 1 - i (Greff et al. 2017, CIFG), z and c clipped,
other activations for the gates, for g and for c; zoneout, which keeps a part k of the old state
(Krueger et al. 2017). What comes between c and o tanh(c), or after h, is in cells.py, and for the
GPU in cuda/kernels/cells.py and persistent/.
"""

from functools import lru_cache
from math import inf, tanh
from types import SimpleNamespace

from numba import njit

from .activations import (
    activate,
    clipped,
    like,
    magnitude,
    sigmoid,
    sigmoid_slope,
    slope,
    tanh_slope,
    where_positive,
)


@lru_cache(None)
def make_cell(varied, sigmoid=sigmoid, tanh=tanh):
    """The steps of the plain cell, forward and back; or, `varied`, of that which `v` describes.

    forward, then output; back again output_backward, then backward. `sigmoid` and `tanh` are how
    the plain cell computes these.

    v has `peepholes` and `coupled` (0 or 1), `clip` and `cell_clip` (inf: none), and for the gates,
    for g (`candidate_`) and for c (`output_`) the kind, alpha and beta of activations.py. The plain
    cell does not look at v, nor at the peepholes' weights p.
    """

    @njit(error_model="numpy")
    def gate(v, z):
        if varied:
            return activate(v.gate_kind, v.gate_alpha, v.gate_beta, clipped(z, v.clip))
        return sigmoid(z)

    @njit(error_model="numpy")
    def candidate(v, z):
        if varied:
            z = clipped(z, v.clip)
            return activate(v.candidate_kind, v.candidate_alpha, v.candidate_beta, z)
        return tanh(z)

    @njit(error_model="numpy")
    def squashed(v, c):
        if varied:
            return activate(v.output_kind, v.output_alpha, v.output_beta, c)
        return tanh(c)

    @njit(error_model="numpy")
    def next_cell(v, i, f, g, c_prev):
        c = f * c_prev + i * g
        if varied:
            c = clipped(c, v.cell_clip)
        return c

    @njit(error_model="numpy")
    def cell_forward(v, z_i, z_f, z_g, z_o, c_prev, p_i, p_f, p_o):
        """One step of one unit up to its cell: (i, f, g, o, c)."""
        if varied and v.peepholes:
            z_i, z_f = z_i + p_i * c_prev, z_f + p_f * c_prev
        i = gate(v, z_i)
        f = like(i, 1) - i if varied and v.coupled else gate(v, z_f)
        g = candidate(v, z_g)
        c = next_cell(v, i, f, g, c_prev)
        if varied and v.peepholes:
            z_o = z_o + p_o * c
        return i, f, g, gate(v, z_o), c

    @njit(error_model="numpy")
    def cell_output(v, o, c):
        """The h of a unit."""
        return o * squashed(v, c)

    @njit(error_model="numpy")
    def slope_at(v, kind, alpha, beta, y):
        """The slope of an activation whose argument was clipped: zero where that cut."""
        s = slope(kind, alpha, beta, y)
        if v.clip < inf:
            limit = like(y, v.clip)
            high, low = activate(kind, alpha, beta, limit), activate(kind, alpha, beta, -limit)
            s = where_positive((high - y) * (y - low), s, like(y, 0))
        return s

    @njit(error_model="numpy")
    def gate_slope(v, y):
        if varied:
            return slope_at(v, v.gate_kind, v.gate_alpha, v.gate_beta, y)
        return sigmoid_slope(y)

    @njit(error_model="numpy")
    def candidate_slope(v, y):
        if varied:
            return slope_at(v, v.candidate_kind, v.candidate_alpha, v.candidate_beta, y)
        return tanh_slope(y)

    @njit(error_model="numpy")
    def squashed_slope(v, y):
        if varied:
            return slope(v.output_kind, v.output_alpha, v.output_beta, y)
        return tanh_slope(y)

    @njit(error_model="numpy")
    def cell_output_backward(v, o, c, dh):
        """(dz_o, dc) from the gradient to h."""
        s = squashed(v, c)
        return dh * s * gate_slope(v, o), dh * o * squashed_slope(v, s)

    @njit(error_model="numpy")
    def cell_backward(v, i, f, g, c_prev, c, dz_o, dc, p_i, p_f, p_o):
        """(dz_i, dz_f, dz_g, dc_prev) from the gradients to z_o and to c, of all that follows."""
        if varied:
            if v.peepholes:
                dc = dc + p_o * dz_o
            if v.cell_clip < inf:
                dc = where_positive(like(c, v.cell_clip) - magnitude(c), dc, like(c, 0))
        dz_i = dc * g * gate_slope(v, i)
        dz_f = dc * c_prev * gate_slope(v, f)
        if varied and v.coupled:
            dz_i, dz_f = dc * (g - c_prev) * gate_slope(v, i), like(c, 0)
        dz_g = dc * i * candidate_slope(v, g)
        dc_prev = dc * f
        if varied and v.peepholes:
            dc_prev = dc_prev + p_i * dz_i + p_f * dz_f
        return dz_i, dz_f, dz_g, dc_prev

    return SimpleNamespace(
        forward=cell_forward, output=cell_output, output_backward=cell_output_backward,
        backward=cell_backward,
    )  # fmt: skip


@njit(error_model="numpy")
def zoned(k, before, now):
    """A state of which the part k stays as it was: exactly, where k is 0 or 1."""
    return k * before + (like(k, 1) - k) * now


@njit(error_model="numpy")
def unzoned(k, d):
    """The gradients to `before` and to `now` of `zoned`, from that to what it gives."""
    return k * d, (like(k, 1) - k) * d


@njit(error_model="numpy")
def peephole_products(dz_i, dz_f, dz_o, c_prev, c):
    """The pairs whose products add up to the gradients of p_i, p_f, p_o; c is before zoneout."""
    return (dz_i, c_prev), (dz_f, c_prev), (dz_o, c)


@njit(error_model="numpy")
def is_cut(truncate, n):
    """Does no gradient flow from the n-th step that a row takes to the one before?"""
    return truncate > 0 and n > 0 and n % truncate == 0

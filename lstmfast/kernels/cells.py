"""The cells of W hidden units of one row in one step, forward and back: loads, formulas, stores.

The plain cell is one function of a few pointers. The varied one (`a.varied`) reads all it needs
from a Row; what comes between its cell and its output, the norm of a whole row, is in norm.py.
"""

from collections import namedtuple
from functools import lru_cache

from numba import njit

from .cell import make_cell, unzoned, zoned
from .fields import c_at, c_before, h_at, h_before, number_of, out_at, r_at, raw_at, z_at
from .philox import make_drawn
from .simd import at, is_null

# Where a row's numbers of one step lie (fields.py), by whom they are drawn, and in which step.
Row = namedtuple(
    "Row",
    "z c_before c raw h_before h r mask out number step dh dc carry scratch dout sums",
)


@njit(error_model="numpy")
def row_of_step(a, t, row):
    H, P = a.H, a.P
    return Row(
        z_at(a, t, row), c_before(a, t, row), c_at(a, t, row), raw_at(a, t, row),
        h_before(a, t, row), h_at(a, t, row), r_at(a, t, row), at(a.mask, row * P),
        out_at(a, t, row), number_of(a, row), a.first + t, at(a.dh, row * P), at(a.dc, row * H),
        at(a.carry, row * P), at(a.scratch, row * H), at(a.dout, row * H), at(a.sums, row * 14 * H),
    )  # fmt: skip


@lru_cache(None)
def make_peepholes(simd):
    """peepholes(a, j, n): p_i, p_f and p_o of W units from j on, zeros where there are none."""
    load, splat, real = simd.load_n, simd.splat, simd.real

    @njit(error_model="numpy")
    def peepholes(a, j, n):
        if a.peepholes:
            return load(a.p, j, n), load(a.p, a.H + j, n), load(a.p, 2 * a.H + j, n)
        return splat(real(0)), splat(real(0)), splat(real(0))

    return peepholes


@lru_cache(None)
def make_kept(simd):
    """kept(a, u, j): how much of h and c zoneout lets stay, for the units from j on."""
    drawn, splat, real = make_drawn(simd), simd.splat, simd.real

    @njit(error_model="numpy")
    def kept(a, u, j):
        if a.zoneout and a.drawing:
            return drawn(a.seed, j, u.number, u.step, a.stream, a.h_threshold, a.c_threshold)
        return splat(real(a.zoneout_h)), splat(real(a.zoneout_c))

    return kept


# ---------------------------------------------------------------- forward


@lru_cache(None)
def make_plain_forward(simd):
    """unit(a, z, c_prev, c, h, j, n): W units from j on of one row, or n of them if n < W."""
    load, store, cell = simd.load_n, simd.store_n, make_cell(False)
    splat, real, forward, output = simd.splat, simd.real, cell.forward, cell.output

    @njit(error_model="numpy")
    def unit(a, z, c_prev, c, h, j, n):
        H, none = a.H, splat(real(0))
        z_i, z_f = load(z, j, n), load(z, H + j, n)
        z_g, z_o = load(z, 2 * H + j, n), load(z, 3 * H + j, n)
        before = load(c_prev, j, n)
        i, f, g, o, c_new = forward(a, z_i, z_f, z_g, z_o, before, none, none, none)
        store(c, j, c_new, n)
        store(h, j, output(a, o, c_new), n)
        if a.keep:
            store(z, j, i, n)
            store(z, H + j, f, n)
            store(z, 2 * H + j, g, n)
            store(z, 3 * H + j, o, n)

    return unit


@lru_cache(None)
def make_settle(simd):
    """settle(a, u, j, n, h, k): the outputs from j on, and what W_hh will be multiplied with.

    k is how much of h stays.
    """
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def settle(a, u, j, n, h, k):
        if a.zoneout:
            h = zoned(k, load(u.h_before, j, n), h)
        store(u.h, j, h, n)
        if not is_null(a.mask):
            store(u.r, j, h * load(u.mask, j, n), n)

    return settle


@lru_cache(None)
def make_emit(simd):
    """emit(a, u, j, n, h, k): h of units goes where it is projected, or becomes outputs."""
    store, settle = simd.store_n, make_settle(simd)

    @njit(error_model="numpy")
    def emit(a, u, j, n, h, k):
        if is_null(a.w_hr):
            settle(a, u, j, n, h, k)
        else:
            store(u.out, j, h, n)

    return emit


@lru_cache(None)
def make_varied_forward(simd):
    """unit(a, u, j, n): with a layer_norm up to the cell, else up to the output."""
    load, store, peepholes, kept = simd.load_n, simd.store_n, make_peepholes(simd), make_kept(simd)
    cell, emit = make_cell(True), make_emit(simd)
    forward, output = cell.forward, cell.output

    @njit(error_model="numpy")
    def store_cell(a, u, j, n, before, c, k):
        if a.zoneout:
            store(u.raw, j, c, n)
            c = zoned(k, before, c)
        store(u.c, j, c, n)

    @njit(error_model="numpy")
    def varied_unit(a, u, j, n):
        H, z = a.H, u.z
        z_i, z_f = load(z, j, n), load(z, H + j, n)
        z_g, z_o = load(z, 2 * H + j, n), load(z, 3 * H + j, n)
        before = load(u.c_before, j, n)
        i, f, g, o, c = forward(a, z_i, z_f, z_g, z_o, before, *peepholes(a, j, n))
        k_h, k_c = kept(a, u, j)
        store_cell(a, u, j, n, before, c, k_c)
        if a.keep:
            store(z, j, i, n)
            store(z, H + j, f, n)
            store(z, 2 * H + j, g, n)
        if a.keep or a.layer_norm:
            store(z, 3 * H + j, o, n)
        if not a.layer_norm:
            emit(a, u, j, n, output(a, o, c), k_h)

    return varied_unit


# ---------------------------------------------------------------- backward


@lru_cache(None)
def make_plain_backward(simd):
    """unit(a, z, c_prev, c, dh, dc, j, n): dz takes the place of i, f, g, o; dc moves to t-1."""
    load, store, cell = simd.load_n, simd.store_n, make_cell(False)
    output_backward, backward = cell.output_backward, cell.backward
    splat, real = simd.splat, simd.real

    @njit(error_model="numpy")
    def unit(a, z, c_prev, c, dh, dc, j, n):
        H, none = a.H, splat(real(0))
        i, f = load(z, j, n), load(z, H + j, n)
        g, o = load(z, 2 * H + j, n), load(z, 3 * H + j, n)
        before, now = load(c_prev, j, n), load(c, j, n)
        dz_o, dc_now = output_backward(a, o, now, load(dh, j, n))
        dz_i, dz_f, dz_g, dc_before = backward(
            a, i, f, g, before, now, dz_o, load(dc, j, n) + dc_now, none, none, none
        )
        store(z, j, dz_i, n)
        store(z, H + j, dz_f, n)
        store(z, 2 * H + j, dz_g, n)
        store(z, 3 * H + j, dz_o, n)
        store(dc, j, dc_before, n)

    return unit


@lru_cache(None)
def make_unsettle(simd):
    """unsettle(a, u, j, n, k): what of dh reaches the outputs; the rest goes into `carry`."""
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unsettle(a, u, j, n, k):
        dh = load(u.dh, j, n)
        if a.zoneout:
            stays, dh = unzoned(k, dh)
            store(u.carry, j, stays, n)
        return dh

    return unsettle


@lru_cache(None)
def make_receive(simd):
    """receive(a, u, j, n, k): the gradient to h of units, from behind a projection or none."""
    load, unsettle = simd.load_n, make_unsettle(simd)

    @njit(error_model="numpy")
    def receive(a, u, j, n, k):
        if is_null(a.w_hr):
            return unsettle(a, u, j, n, k)
        return load(u.dout, j, n)

    return receive


@lru_cache(None)
def make_varied_backward(simd):
    """unit(a, u, j, n): with a layer_norm dz_o stands in z and dc, from the output, in scratch."""
    load, store, peepholes, kept = simd.load_n, simd.store_n, make_peepholes(simd), make_kept(simd)
    cell, receive = make_cell(True), make_receive(simd)
    output_backward, backward = cell.output_backward, cell.backward

    @njit(error_model="numpy")
    def from_output(a, u, j, n, c, k):
        if a.layer_norm:
            return load(u.z, 3 * a.H + j, n), load(u.scratch, j, n)
        return output_backward(a, load(u.z, 3 * a.H + j, n), c, receive(a, u, j, n, k))

    @njit(error_model="numpy")
    def varied_unit(a, u, j, n):
        H, z = a.H, u.z
        i, f, g = load(z, j, n), load(z, H + j, n), load(z, 2 * H + j, n)
        before, c = load(u.c_before, j, n), load(u.raw, j, n)
        k_h, k_c = kept(a, u, j)
        dz_o, dc = from_output(a, u, j, n, c, k_h)
        stays, later = unzoned(k_c, load(u.dc, j, n))
        dz_i, dz_f, dz_g, dc_before = backward(
            a, i, f, g, before, c, dz_o, later + dc, *peepholes(a, j, n)
        )
        store(z, j, dz_i, n)
        store(z, H + j, dz_f, n)
        store(z, 2 * H + j, dz_g, n)
        store(z, 3 * H + j, dz_o, n)
        store(u.dc, j, dc_before + stays, n)

    return varied_unit

"""The cells of one step where a unit needs its whole row: layer normalisation, projection.

Forward:   z from the two normalised products, the cells, their normalised outputs, and then
           y[t] = W_hr out[t] (Sak, Senior and Beaufays 2014).
Backward:  the same in the opposite order, from dh[t], which is complete.
"""

from functools import lru_cache

from numba import njit

from .cells import (
    make_kept,
    make_settle,
    make_unsettle,
    make_varied_backward,
    make_varied_forward,
    row_of_step,
)
from .fields import h_at, out_at, zh_at, zx_at
from .matmul import GROUP, make_fill, make_multiply
from .norm import make_normalise, make_normalise_backward, make_outputs, make_outputs_backward
from .simd import at, is_null
from .tiles import Matrix, Panels, matrix_of, panel_count, plain_out


@lru_cache(None)
def make_plain_product(simd):
    """product(M, K, A, weights, pointer, row, columns): M rows of A times a packed matrix."""
    multiply, fill, W = make_multiply(simd), make_fill(simd), simd.width

    @njit(error_model="numpy")
    def product(M, K, A, weights, pointer, row, columns):
        C = plain_out(pointer, row, columns, W)
        count = panel_count(columns, 4 * W)
        for p in range(0, count, GROUP):
            panels = min(GROUP, count - p)
            fill(M, C, p, panels)
            B = Panels(at(weights, p * 4 * K * W), 4 * K * W, 4 * W)
            multiply(M, K, A, B, C, matrix_of(C), p, panels)

    return product


@lru_cache(None)
def make_row_cells_forward(simd):
    """row_cells(a, t, row_begin, row_end): step t of these rows, all units."""
    W, load, product = simd.width, simd.load_n, make_plain_product(simd)
    normalise, outputs = make_normalise(simd), make_outputs(simd)
    unit, settle, kept = make_varied_forward(simd), make_settle(simd), make_kept(simd)

    @njit(error_model="numpy")
    def project(a, t, row_begin, row_end):
        A = Matrix(out_at(a, t, row_begin), a.H)
        product(row_end - row_begin, a.H, A, a.w_hr, h_at(a, t, row_begin), a.y_b, a.P)
        for row in range(row_begin, row_end):
            u = row_of_step(a, t, row)
            for j in range(0, a.P, W):
                k, _ = kept(a, u, j)
                settle(a, u, j, a.P - j, load(u.h, j, a.P - j), k)

    @njit(error_model="numpy")
    def row_cells_forward(a, t, row_begin, row_end):
        for row in range(row_begin, row_end):
            u = row_of_step(a, t, row)
            if a.layer_norm:
                normalise(a, u.z, zx_at(a, t, row), zh_at(a, t, row))
            for j in range(0, a.H, W):
                unit(a, u, j, a.H - j)
            if a.layer_norm:
                outputs(a, u)
        if not is_null(a.w_hr):
            project(a, t, row_begin, row_end)

    return row_cells_forward


@lru_cache(None)
def make_row_cells_backward(simd):
    """row_cells(a, t, row_begin, row_end): step t of these rows backwards, all units."""
    W, store, product = simd.width, simd.store_n, make_plain_product(simd)
    normalise_backward = make_normalise_backward(simd)
    outputs_backward = make_outputs_backward(simd)
    unit, unsettle, kept = make_varied_backward(simd), make_unsettle(simd), make_kept(simd)

    @njit(error_model="numpy")
    def project_backward(a, t, row_begin, row_end):
        """The gradients behind the projection (dproj, for W_hr) and before it (dout)."""
        dproj = at(a.dproj, t * a.dproj_t + row_begin * a.P)
        for row in range(row_begin, row_end):
            u = row_of_step(a, t, row)
            for j in range(0, a.P, W):
                k, _ = kept(a, u, j)
                dh = unsettle(a, u, j, a.P - j, k)
                store(dproj, (row - row_begin) * a.P + j, dh, a.P - j)
        dout = at(a.dout, row_begin * a.H)
        product(row_end - row_begin, a.P, Matrix(dproj, a.P), a.w_hr_back, dout, a.H, a.H)

    @njit(error_model="numpy")
    def row_cells_backward(a, t, row_begin, row_end):
        if not is_null(a.w_hr):
            project_backward(a, t, row_begin, row_end)
        for row in range(row_begin, row_end):
            u = row_of_step(a, t, row)
            if a.layer_norm:
                outputs_backward(a, u)
            for j in range(0, a.H, W):
                unit(a, u, j, a.H - j)
            if a.layer_norm:
                normalise_backward(a, u.z, zx_at(a, t, row), zh_at(a, t, row), u.sums)

    return row_cells_backward

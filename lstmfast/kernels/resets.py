"""Rows that begin anew inside a sequence (a.resets), forward and back.

Forward:   the state before such a step is read elsewhere (fields.py). What W_hh is multiplied with
           is a copy of h, r, in which those rows hold reset_r: products take all rows at once.
Backward:  what such a step leaves for the state before it goes to dreset_h and dreset_c, and the
           step before it gets nothing from it.
"""

from functools import lru_cache

from numba import njit

from .cell import is_cut
from .fields import h_at, is_reset, r_at, rows_of_step
from .simd import at, is_null


@lru_cache(None)
def make_hand_on(simd):
    """hand_on(a, t, row_begin, row_end, j_begin, j_end): of r[t], which step t + 1 reads."""
    W, load_n, store_n = simd.width, simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def hand_on(a, t, row_begin, row_end, j_begin, j_end):
        for row in range(row_begin, min(row_end, rows_of_step(a, t + 1))):
            anew = is_reset(a, t + 1, row)
            if anew or is_null(a.mask):
                source = at(a.reset_r, row * a.P) if anew else h_at(a, t, row)
                for j in range(j_begin, min(j_end, a.P), W):
                    store_n(r_at(a, t, row), j, load_n(source, j, a.P - j), a.P - j)

    return hand_on


@njit(error_model="numpy")
def ends(a, t, row):
    """Does no gradient flow from step t of a row to the one before?"""
    return is_reset(a, t, row) or is_cut(a.truncate, a.first + t)


@lru_cache(None)
def make_take_out(simd):
    """take_out(a, t, row_begin, row_end, source, target, columns, j_begin, j_end).

    What rows of `source` hold that step t must not hand back is set to zero; it is added to that
    row of `target`, unless this is null, where the row began anew.
    """
    W, load_n, store_n, splat = simd.width, simd.load_n, simd.store_n, simd.splat
    real = simd.real

    @njit(error_model="numpy")
    def take_out(a, t, row_begin, row_end, source, target, columns, j_begin, j_end):
        for row in range(row_begin, row_end):
            if ends(a, t, row):
                adds = is_reset(a, t, row) and not is_null(target)
                for j in range(j_begin, min(j_end, columns), W):
                    o, n = row * columns + j, columns - j
                    if adds:
                        total = load_n(target, o, n) + load_n(source, o, n)
                        store_n(target, o, total, n)
                    store_n(source, o, splat(real(0)), n)

    return take_out

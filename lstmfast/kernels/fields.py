"""What the kernels of an LSTM layer read and write, and where each step of each row lies.

Sizes: T steps, B rows, I inputs, H units, P outputs (H, or fewer where they are projected).
"""

from numba import njit

from .options import cell_fields
from .simd import at, is_null
from .struct import Struct
from .tiles import Matrix

LAYER = Struct(
    "lf_layer",
    size="T B I H P x_t x_b y_t y_b y_slots r_t r_b r_slots z_t z_slots c_t c_slots raw_slots "
    "out_t keep projects turn fresh dy_t dy_b dx_t dx_b dcells_t dcells_b dproj_t first truncate "
    "adds b_row row_cells layer_norm zoneout drawing seed stream h_threshold c_threshold "
    "turned ih_panel ih_row hh_panel hh_row "
    "multiply_gates multiply_plain quads K_x K_h K_z fx_t fx_b fh_t fh_b fh_slots fz_t fz_b "
    "varied " + cell_fields(integers=True),
    data="x y r h0 r0 c0 z zx zh c raw out w_ih w_hh b p w_hr mask gain_x gain_h b_norm gain_c b_c "
    "dy dh_n dc dh dh0 dx dp dcells carry scratch dproj dout sums w_hh_back w_ih_back w_hr_back "
    "fx fh fh0 fzx fzh W_ih W_hh reset_h reset_r reset_c dreset_h dreset_c step_sums",
    ids="lengths offsets active row_ids",
    flags="resets",
    real="zoneout_h zoneout_c " + cell_fields(integers=False),
)
# x[t, b]   at x + t·x_t + b·x_b, (I,)        read
# y[t, b]   at y + (t mod y_slots)·y_t + b·y_b, (P,): h of every step; two slots are a ring
# r[t, b]   the same of what W_hh is multiplied with: y, or y · mask
# z[t, b]   at z + (t mod z_slots)·z_t + b·4H, (4H,): pre-activations, then (if `keep`) i, f, g, o,
#           then dz
# zx, zh    laid out as z: W_ih x and W_hh h, then their gradients, of a layer_norm; else z itself
# c[t, b]   at c + (t mod c_slots)·c_t + b·H, (H,): with one slot the cell is updated in place
# raw       laid out as c with raw_slots: the cell before zoneout; without one c itself
# out[t, b] at out + t·out_t + b·H, (H,): o φ(c) where that is projected
# projects  steps projects x itself; turn: even steps take the panels forwards if it is 0, else odd
#           ones do. Back and forth, the weights used last are met first, in cache.
# fresh     h0 is zero: the first step needs no product with it
# fx, fh, fz  what W_ih, W_hh and the weights of the way back are multiplied with, K_x, K_h and K_z
#           numbers a row: x, r and dz themselves, where multiply_gates and multiply_plain are 0.
#           Else these are kernels (factors.py), and the numbers are made of x, r and dz: pairs of
#           bfloat16 or, if `quads`, quads of int8 behind their head:
# fx[t, b]  at fx + t·fx_t + b·fx_b
# fh[t, b]  at fh + (t mod fh_slots)·fh_t + b·fh_b; fh0 (B, K_h) before the first step
# fzx, fzh  of zx and zh: [t, b] at t·fz_t + b·fz_b
# h0, c0    (B, P), (B, H); r0 (B, P): h0, or h0 · mask
# b         b_row apart for each row; 0: one for all
# resets    (T, B): rows that begin step t anew, from reset_h (B, P) and reset_c (B, H); or null:
#           none does. reset_r (B, P): reset_h, or reset_h · mask. Forward r is then a copy of y, or
#           y · mask, in which the rows that begin t + 1 anew hold reset_r; and so is r0
# dreset_h, dreset_c    their gradients, added to; or null
# step_sums (2, B, 4H): the sum of dz, or dzx, over the steps of each row, added to, and what is not
#           in it yet (none after step 0); or null
# first     steps taken before these ones: of segments of a longer sequence
# truncate  steps that gradients flow back through at most, counted from the first of all; or 0
# dh_n, dy  (B, P) or null; dy[t, b] at dy + t·dy_t + b·dy_b, or dy null
# dcells    gradient to every c: at dcells + t·dcells_t + b·dcells_b, (H,), or null
# dc, dh    (B, H), (B, P) work: dc holds dc_n before and dc0 after
# lengths   (B,), falling: row b takes the steps 0..lengths[b]. Or null: all take T steps. Then
# offsets   (T + 1,): offsets[t] steps are taken before t, by all rows; offsets[t + 1] - offsets[t]
#           rows, the first ones, take step t
# active    (offsets[T],): t·B + b of each step taken, in order of t and b
# row_ids   (B,): the number by which each row's random numbers are drawn, or null: its own
# varied    the cell is not the plain one: what it is, the keys of options.CELL, cell.py reads
# p, dp     (3, H): the peepholes of i, f and o, and their gradient, added to it if `adds`
# mask      (B, P): what recurrent dropout multiplies h with, or null
# zoneout   the fractions zoneout_h, zoneout_c of the state stay; if `drawing`, those units of which
#           a random word lies below a threshold (philox.py). carry (B, P): what that leaves of dh
# row_cells layer_norm or a projection: no unit's output is ready before its row is (row_cells.py);
#           or quads of outputs that may be larger than 1, which need their row's largest number
# layer_norm  gain_x, gain_h, b_norm (4H,), gain_c, b_c (H,); b is zeros. scratch (B, H) work,
#           sums (B, 14H): each row's gradients of gain_x, gain_h, b_norm, gain_c, b_c
# dproj, dout (T, B, P) at t·dproj_t, (B, H) work: the gradients after and before the projection
# w_ih, w_hh            packed, gates map, K = K_x and K = K_h; or work for that, where W_ih (4H, I)
#                       and W_hh (4H, P), or `turned` ones, (I, 4H) and (P, 4H), are not null:
#                       then `steps` packs what it needs (unpacked.py)
# w_hr                  packed, plain map, K = H, columns P
# w_hh_back, w_ih_back  plain map, K = K_z, columns P and I; w_hr_back packed, K = P, columns H
# ih_panel, ih_row      of w_ih_back: panel p, row k at p·ih_panel + k·ih_row. hh likewise


@njit(error_model="numpy")
def fx_at(a, t, row):
    return at(a.fx, t * a.fx_t + row * a.fx_b)


@njit(error_model="numpy")
def fz_at(a, fz, t, row):
    """Of a.fzx or a.fzh."""
    return at(fz, t * a.fz_t + row * a.fz_b)


@njit(error_model="numpy")
def z_at(a, t, row):
    return at(a.z, (t % a.z_slots) * a.z_t + row * 4 * a.H)


@njit(error_model="numpy")
def zx_at(a, t, row):
    return at(a.zx, (t % a.z_slots) * a.z_t + row * 4 * a.H)


@njit(error_model="numpy")
def zh_at(a, t, row):
    return at(a.zh, (t % a.z_slots) * a.z_t + row * 4 * a.H)


@njit(error_model="numpy")
def h_at(a, t, row):
    return at(a.y, (t % a.y_slots) * a.y_t + row * a.y_b)


@njit(error_model="numpy")
def is_reset(a, t, row):
    """Does the row begin step t anew?"""
    return not is_null(a.resets) and a.resets[t * a.B + row] != 0


@njit(error_model="numpy")
def h_before(a, t, row):
    if is_reset(a, t, row):
        return at(a.reset_h, row * a.P)
    return at(a.h0, row * a.P) if t == 0 else h_at(a, t - 1, row)


@njit(error_model="numpy")
def r_at(a, t, row):
    return at(a.r, (t % a.r_slots) * a.r_t + row * a.r_b)


@njit(error_model="numpy")
def fh_at(a, t, row):
    return at(a.fh, (t % a.fh_slots) * a.fh_t + row * a.fh_b)


@njit(error_model="numpy")
def fh_before(a, t, row):
    """What W_hh is multiplied with at step t, and the distance to the next row."""
    if t == 0:
        return Matrix(at(a.fh0, row * a.K_h), a.K_h)
    return Matrix(fh_at(a, t - 1, row), a.fh_b)


@njit(error_model="numpy")
def c_before(a, t, row):
    if is_reset(a, t, row):
        return at(a.reset_c, row * a.H)
    if t == 0:
        return at(a.c0, row * a.H)
    return at(a.c, ((t - 1) % a.c_slots) * a.c_t + row * a.H)


@njit(error_model="numpy")
def c_at(a, t, row):
    return at(a.c, (t % a.c_slots) * a.c_t + row * a.H)


@njit(error_model="numpy")
def raw_at(a, t, row):
    return at(a.raw, (t % a.raw_slots) * a.c_t + row * a.H)


@njit(error_model="numpy")
def out_at(a, t, row):
    return at(a.out, t * a.out_t + row * a.H)


@njit(error_model="numpy")
def number_of(a, row):
    """The number by which the row's random numbers are drawn."""
    return row if is_null(a.row_ids) else a.row_ids[row]


@njit(error_model="numpy")
def rows_of_step(a, t):
    """How many rows, the first ones, take step t; all are there before the first step."""
    if t < 0:
        return a.B
    if t >= a.T:
        return 0
    return a.B if is_null(a.offsets) else a.offsets[t + 1] - a.offsets[t]


@njit(error_model="numpy")
def steps_of_row(a, row):
    return a.T if is_null(a.lengths) else a.lengths[row]


@njit(error_model="numpy")
def step_taken(a, n):
    """Of the steps that are taken, the n-th: t·B + b."""
    return n if is_null(a.active) else a.active[n]


@njit(error_model="numpy")
def steps_taken(a):
    return a.T * a.B if is_null(a.offsets) else a.offsets[a.T]

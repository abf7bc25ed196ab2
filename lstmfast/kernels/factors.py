"""The factors of a layer's products, x, h and dz: as they are, as pairs of bfloat16, quads of int8.

Where products take bfloat16 (bfloat16.py) or int8 (int8.py), C code hands over kernels that
multiply pairs or quads, and x as such; h and dz become so here, step by step, as soon as they are
there. All else that kernels do with a layer is the same.
"""

from functools import lru_cache

from numba import njit

from .bfloat16 import has_halves, make_store_halves
from .fields import fh_at, fz_at, is_reset, r_at, rows_of_step, zh_at, zx_at
from .int8 import LEAST, make_largest_of, make_quantise
from .matmul import make_multiply
from .simd import at, call_kernel
from .struct import Struct
from .tiles import Matrix, Out, Panels

MULTIPLY = Struct(
    "lf_multiply",
    size="M K A_row B_panel B_row C_row C_panel C_vector C_limit_vector C_limit S_row p panels",
    data="A B C S",
)
# The arguments of `multiply` in matmul.py: C = S + A·B for some panels from p on; K is that of A's
# rows of pairs or quads.

NARROW = Struct("lf_narrow", size="B columns x_t x_b y_b", data="x y", real="least")
# y, row t·B + b at y + (t·B + b)·y_b: x[t, b], which lies at x + t·x_t + b·x_b, as pairs or quads;
# what is left of the last one is zeros. least: the largest number of a row is taken for no less
# (int8).


def make_multiply_kernel(simd, gates):
    """A product of pairs or quads (MULTIPLY)."""
    multiply = make_multiply(simd, gates=gates, prefetches=not gates)

    def multiply_narrow(a):
        C = Out(a.C, a.C_row, a.C_panel, a.C_vector, a.C_limit_vector, a.C_limit)
        B = Panels(a.B, a.B_panel, a.B_row)
        multiply(a.M, a.K, Matrix(a.A, a.A_row), B, C, Matrix(a.S, a.S_row), a.p, a.panels)
        return 0

    return multiply_narrow


def make_multiply_gates(simd):
    return make_multiply_kernel(simd, gates=True)


def make_multiply_plain(simd):
    return make_multiply_kernel(simd, gates=False)


@lru_cache(None)
def make_multiply_factors(simd, gates=False, prefetches=False):
    """multiply(a, M, K, A, B, C, S, p, panels): by the layer's kernel for its factors, if any."""
    plain = make_multiply(simd, gates=gates, prefetches=prefetches)
    if not has_halves(simd):
        return njit(error_model="numpy")(
            lambda a, M, K, A, B, C, S, p, panels: plain(M, K, A, B, C, S, p, panels)
        )

    @njit(error_model="numpy")
    def multiply(a, M, K, A, B, C, S, p, panels):
        kernel = a.multiply_gates if gates else a.multiply_plain
        if kernel == 0:
            plain(M, K, A, B, C, S, p, panels)
        else:
            call_kernel(kernel, (
                M, K, A.stride, B.panel, B.row, C.row, C.panel, C.vector, C.limit_vector, C.limit,
                S.stride, p, panels, A.pointer, B.pointer, C.pointer, S.pointer,
            ))  # fmt: skip

    return multiply


@lru_cache(None)
def make_narrow_h(simd):
    """narrow_h(a, t, row_begin, row_end, j_begin, j_end): fh[t] of these units, for step t + 1."""
    W, load_n, store_halves = simd.width, simd.load_n, make_store_halves(simd)
    quantise, largest_of_h = make_quantise(simd), make_largest_of_h(simd)

    @njit(error_model="numpy")
    def narrow_h(a, t, row_begin, row_end, j_begin, j_end):
        for row in range(row_begin, min(row_end, rows_of_step(a, t + 1))):
            r, fh = r_at(a, t, row), fh_at(a, t, row)
            if a.quads:
                quantise(r, j_begin, j_end, a.P, largest_of_h(a, t, row), fh)
            else:
                for j in range(j_begin, min(j_end, a.P), W):
                    store_halves(fh, j, load_n(r, j, a.P - j), a.P - j)

    return narrow_h


@lru_cache(None)
def make_largest_of_h(simd):
    """largest_of_h(a, t, row): what stands for the largest number of r[t], which step t + 1 reads.

    Outputs are at most 1 in magnitude, and are taken for that: so units are quantised that do not
    know the others of their row. Where that is not so, rows come whole.
    """
    largest_of, real = make_largest_of(simd), simd.real

    @njit(error_model="numpy")
    def largest_of_h(a, t, row):
        if a.row_cells:
            return largest_of(r_at(a, t, row), a.P, LEAST)
        if is_reset(a, t + 1, row):
            return largest_of(at(a.reset_r, row * a.P), a.P, 1.0)
        return real(1)

    return largest_of_h


@lru_cache(None)
def make_narrow_dz(simd):
    """narrow_dz(a, t, row_begin, row_end, j_begin, j_end): fzx[t] and fzh[t] of these units."""
    W, load_n, store_halves = simd.width, simd.load_n, make_store_halves(simd)

    @njit(error_model="numpy")
    def narrow_gates(a, dz, fz, j_begin, j_end):
        for gate in range(4):
            for j in range(j_begin, min(j_end, a.H), W):
                o, n = gate * a.H + j, a.H - j
                store_halves(fz, o, load_n(dz, o, n), n)

    @njit(error_model="numpy")
    def narrow_dz(a, t, row_begin, row_end, j_begin, j_end):
        for row in range(row_begin, row_end):
            narrow_gates(a, zx_at(a, t, row), fz_at(a, a.fzx, t, row), j_begin, j_end)
            if a.layer_norm:
                narrow_gates(a, zh_at(a, t, row), fz_at(a, a.fzh, t, row), j_begin, j_end)

    return narrow_dz


def make_narrow(simd):
    """The rows begin..end of x become pairs or quads (NARROW)."""
    row_of, last, real = (make_quads if simd.head else make_pairs)(simd), simd.terms, simd.real

    def narrow(a, begin, end, worker):
        for row in range(begin, end):
            t = row // a.B
            x, y = at(a.x, t * a.x_t + (row - t * a.B) * a.x_b), at(a.y, row * a.y_b)
            if a.columns % last != 0:
                y[a.y_b - 1] = real(0)
            row_of(a, x, y)
        return 0

    return narrow


def make_pairs(simd):
    """pairs(a, x, y): of one row."""
    W, load_n, store_halves = simd.width, simd.load_n, make_store_halves(simd)

    @njit(error_model="numpy")
    def pairs(a, x, y):
        for j in range(0, a.columns, W):
            store_halves(y, j, load_n(x, j, a.columns - j), a.columns - j)

    return pairs


def make_quads(simd):
    """quads(a, x, y): of one row, by its own largest number."""
    quantise, largest_of = make_quantise(simd), make_largest_of(simd)

    @njit(error_model="numpy")
    def quads(a, x, y):
        n = a.columns
        quantise(x, 0, n, n, largest_of(x, n, a.least), y)

    return quads

"""The factors of a layer's products, x, h and dz, as they are or as pairs of bfloat16.

Where products take bfloat16 (bfloat16.py), C code hands over kernels that multiply pairs, and x as
pairs; h and dz become pairs here, step by step, as soon as they are there. All else that kernels do
with a layer is the same.
"""

from functools import lru_cache

from numba import njit

from .bfloat16 import has_halves, make_store_halves
from .fields import fh_at, fz_at, r_at, rows_of_step, zh_at, zx_at
from .matmul import make_multiply
from .simd import at, call_kernel
from .struct import Struct
from .tiles import Matrix, Out, Panels

MULTIPLY = Struct(
    "lf_multiply",
    size="M K A_row B_panel B_row C_row C_panel C_vector C_limit_vector C_limit S_row p panels",
    data="A B C S",
)
# The arguments of `multiply` in matmul.py: C = S + A·B for some panels from p on, K pairs a row.

NARROW = Struct("lf_narrow", size="B columns x_t x_b y_b", data="x y")
# y, row t·B + b at y + (t·B + b)·y_b: x[t, b], which lies at x + t·x_t + b·x_b, as pairs; behind an
# odd number of columns half a pair of zeros.


def make_multiply_kernel(simd, gates):
    """A product of pairs (MULTIPLY)."""
    multiply = make_multiply(simd, gates=gates, prefetches=not gates)

    def multiply_pairs(a):
        C = Out(a.C, a.C_row, a.C_panel, a.C_vector, a.C_limit_vector, a.C_limit)
        B = Panels(a.B, a.B_panel, a.B_row)
        multiply(a.M, a.K, Matrix(a.A, a.A_row), B, C, Matrix(a.S, a.S_row), a.p, a.panels)
        return 0

    return multiply_pairs


def make_multiply_gates(simd):
    return make_multiply_kernel(simd, gates=True)


def make_multiply_plain(simd):
    return make_multiply_kernel(simd, gates=False)


@lru_cache(None)
def make_multiply_factors(simd, gates=False, prefetches=False):
    """multiply(a, M, K, A, B, C, S, p, panels): by the layer's kernel for pairs if there is one."""
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

    @njit(error_model="numpy")
    def narrow_h(a, t, row_begin, row_end, j_begin, j_end):
        for row in range(row_begin, min(row_end, rows_of_step(a, t + 1))):
            r, fh = r_at(a, t, row), fh_at(a, t, row)
            for j in range(j_begin, min(j_end, a.P), W):
                store_halves(fh, j, load_n(r, j, a.P - j), a.P - j)

    return narrow_h


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
    """The rows begin..end of x become pairs (NARROW)."""
    W, load_n, store_halves, real = simd.width, simd.load_n, make_store_halves(simd), simd.real

    def narrow(a, begin, end, worker):
        for row in range(begin, end):
            t = row // a.B
            x, y = at(a.x, t * a.x_t + (row - t * a.B) * a.x_b), at(a.y, row * a.y_b)
            if a.columns % 2 == 1:
                y[a.columns // 2] = real(0)
            for j in range(0, a.columns, W):
                store_halves(y, j, load_n(x, j, a.columns - j), a.columns - j)
        return 0

    return narrow

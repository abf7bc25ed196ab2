"""The gradient of the peepholes' weights, a sum over all steps and rows after BPTT."""

from numba import njit

from .cell import peephole_products
from .fields import c_before, raw_at, step_taken, steps_taken, z_at
from .matmul import BLOCK
from .simd import at, fma


def make_peephole_gradient(simd):
    """Of dp (3, H) the vectors begin..end of units: sums of `cell.peephole_products`.

    They run over t, then over the rows, in blocks as those of matmul.py.
    """
    W, load, store, splat, real = simd.width, simd.load_n, simd.store_n, simd.splat, simd.real

    @njit(error_model="numpy")
    def block_sums(a, first, last, j, n):
        p_i, p_f, p_o = splat(real(0)), splat(real(0)), splat(real(0))
        for n_taken in range(first, last):
            r = step_taken(a, n_taken)
            t = r // a.B
            row = r - t * a.B
            dz, before = z_at(a, t, row), load(c_before(a, t, row), j, n)
            i, f, o = peephole_products(
                load(dz, j, n), load(dz, a.H + j, n), load(dz, 3 * a.H + j, n),
                before, load(raw_at(a, t, row), j, n),
            )  # fmt: skip
            p_i, p_f, p_o = fma(i[0], i[1], p_i), fma(f[0], f[1], p_f), fma(o[0], o[1], p_o)
        return p_i, p_f, p_o

    @njit(error_model="numpy")
    def add(target, j, n, first, value):
        old = load(target, j, n)
        store(target, j, value if first else old + value, n)

    def peephole_gradient(a, begin, end, worker):
        rows = steps_taken(a)
        for j in range(begin * W, min(end * W, a.H), W):
            for r in range(0, rows, BLOCK):
                p_i, p_f, p_o = block_sums(a, r, min(r + BLOCK, rows), j, a.H - j)
                first = r == 0 and not a.adds
                add(a.dp, j, a.H - j, first, p_i)
                add(at(a.dp, a.H), j, a.H - j, first, p_f)
                add(at(a.dp, 2 * a.H), j, a.H - j, first, p_o)
        return 0

    return peephole_gradient

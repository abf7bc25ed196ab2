"""Layer normalisation of one row, forward and back (Ba, Kiros and Hinton 2016, eq. 20 to 22).

    z = LN(W_ih x) gain_x + LN(W_hh h) gain_h + b        over the row's 4H numbers
    h = o φ(LN(c) gain_c + b_c)                          over its H units
    LN(v) = (v - mean v) / sqrt(var v + ε)

Sums run through a row in one fixed order. Gradients of gains and biases are summed up for each row
apart, over its steps, and then over the rows (column_sums): so they do not depend on who took which
rows.
"""

from functools import lru_cache

from numba import njit

from .cell import make_cell
from .cells import make_emit, make_kept, make_receive
from .simd import at, fma, sqrt
from .struct import Struct

EPSILON = 1e-5

SUMS = Struct("lf_sums", data="x sums", size="rows columns")
# sums (columns,) = Σ of the rows of x (rows, columns)


@lru_cache(None)
def make_statistics(simd):
    """statistics(x, N): the mean of N numbers and 1 / sqrt(variance + ε), in every lane."""
    W, load_n, load_or, total = simd.width, simd.load_n, simd.load_or, simd.total
    splat, real = simd.splat, simd.real

    @njit(error_model="numpy")
    def statistics(x, N):
        sums = splat(real(0))
        for j in range(0, N, W):
            sums = sums + load_n(x, j, N - j)
        mean = splat(total(sums) / real(N))
        squares = splat(real(0))
        for j in range(0, N, W):
            d = load_or(x, j, N - j, mean) - mean
            squares = fma(d, d, squares)
        variance = splat(total(squares) / real(N) + real(EPSILON))
        return mean, splat(real(1)) / sqrt(variance)

    return statistics


@lru_cache(None)
def make_normalise(simd):
    """normalise(a, z, zx, zh): a row's pre-activations from its two products."""
    W, load, store, statistics = simd.width, simd.load_n, simd.store_n, make_statistics(simd)

    @njit(error_model="numpy")
    def normalise(a, z, zx, zh):
        N = 4 * a.H
        mean_x, scale_x = statistics(zx, N)
        mean_h, scale_h = statistics(zh, N)
        for j in range(0, N, W):
            n = N - j
            normed_x = (load(zx, j, n) - mean_x) * scale_x
            normed_h = (load(zh, j, n) - mean_h) * scale_h
            total = fma(normed_x, load(a.gain_x, j, n), load(a.b_norm, j, n))
            total = fma(normed_h, load(a.gain_h, j, n), total)
            store(z, j, total, n)

    return normalise


@lru_cache(None)
def make_normed(simd):
    """normed(a, u, j, n, mean, scale): LN(c) gain_c + b_c of the units from j on."""
    load = simd.load_n

    @njit(error_model="numpy")
    def normed(a, u, j, n, mean, scale):
        c = (load(u.raw, j, n) - mean) * scale
        return fma(c, load(a.gain_c, j, n), load(a.b_c, j, n))

    return normed


@lru_cache(None)
def make_outputs(simd):
    """outputs(a, u): o φ(LN(c) gain_c + b_c) of a row whose cells are done."""
    W, load, statistics, normed = simd.width, simd.load_n, make_statistics(simd), make_normed(simd)
    output, emit, kept = make_cell(True).output, make_emit(simd), make_kept(simd)

    @njit(error_model="numpy")
    def outputs(a, u):
        H = a.H
        mean, scale = statistics(u.raw, H)
        for j in range(0, H, W):
            n = H - j
            c = normed(a, u, j, n, mean, scale)
            k, _ = kept(a, u, j)
            emit(a, u, j, n, output(a, load(u.z, 3 * H + j, n), c), k)

    return outputs


@lru_cache(None)
def make_add_to(simd):
    """add_to(p, j, n, value): p[j...] += value."""
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def add_to(p, j, n, value):
        store(p, j, load(p, j, n) + value, n)

    return add_to


@lru_cache(None)
def make_through_norm(simd):
    """through_norm(x, dy, dx, gain, dgain, N, mean, scale): back through y = LN(x) · gain.

    dx may be x or dy; dgain is added to.
    """
    W, load, store, total = simd.width, simd.load_n, simd.store_n, simd.total
    splat, real, add_to = simd.splat, simd.real, make_add_to(simd)

    @njit(error_model="numpy")
    def through_norm(x, dy, dx, gain, dgain, N, mean, scale):
        sums, products = splat(real(0)), splat(real(0))
        for j in range(0, N, W):
            n = N - j
            normed, d = (load(x, j, n) - mean) * scale, load(dy, j, n)
            add_to(dgain, j, n, d * normed)
            d = d * load(gain, j, n)
            sums, products = sums + d, fma(d, normed, products)
        sums, products = splat(total(sums) / real(N)), splat(total(products) / real(N))
        for j in range(0, N, W):
            n = N - j
            normed, d = (load(x, j, n) - mean) * scale, load(dy, j, n) * load(gain, j, n)
            store(dx, j, scale * (d - sums - normed * products), n)

    return through_norm


@lru_cache(None)
def make_outputs_backward(simd):
    """outputs_backward(a, u): dz_o into z, and into scratch the gradient to c from the outputs."""
    W, load, store, statistics = simd.width, simd.load_n, simd.store_n, make_statistics(simd)
    output_backward, normed = make_cell(True).output_backward, make_normed(simd)
    receive, kept, add_to = make_receive(simd), make_kept(simd), make_add_to(simd)
    through_norm = make_through_norm(simd)

    @njit(error_model="numpy")
    def outputs_backward(a, u):
        H = a.H
        mean, scale = statistics(u.raw, H)
        for j in range(0, H, W):
            n = H - j
            c = normed(a, u, j, n, mean, scale)
            k, _ = kept(a, u, j)
            dh = receive(a, u, j, n, k)
            dz_o, dc = output_backward(a, load(u.z, 3 * H + j, n), c, dh)
            store(u.z, 3 * H + j, dz_o, n)
            store(u.scratch, j, dc, n)
            add_to(u.sums, 13 * H + j, n, dc)
        dgain = at(u.sums, 12 * H)
        through_norm(u.raw, u.scratch, u.scratch, a.gain_c, dgain, H, mean, scale)

    return outputs_backward


@lru_cache(None)
def make_normalise_backward(simd):
    """normalise_backward(a, z, zx, zh, sums): the gradients to a row's two products, from dz."""
    W, load, statistics = simd.width, simd.load_n, make_statistics(simd)
    through_norm, add_to = make_through_norm(simd), make_add_to(simd)

    @njit(error_model="numpy")
    def normalise_backward(a, z, zx, zh, sums):
        N = 4 * a.H
        mean, scale = statistics(zx, N)
        through_norm(zx, z, zx, a.gain_x, sums, N, mean, scale)
        mean, scale = statistics(zh, N)
        through_norm(zh, z, zh, a.gain_h, at(sums, N), N, mean, scale)
        for j in range(0, N, W):
            add_to(sums, 2 * N + j, N - j, load(z, j, N - j))

    return normalise_backward


def make_column_sums(simd):
    """Of SUMS the vectors begin..end of columns, over the rows in their order."""
    W, load, store, splat, real = simd.width, simd.load_n, simd.store_n, simd.splat, simd.real

    def column_sums(a, begin, end, worker):
        for j in range(begin * W, min(end * W, a.columns), W):
            total = splat(real(0))
            for row in range(a.rows):
                total = total + load(at(a.x, row * a.columns), j, a.columns - j)
            store(a.sums, j, total, a.columns - j)
        return 0

    return column_sums

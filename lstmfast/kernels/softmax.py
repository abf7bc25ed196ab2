"""Row by row: softmax, cross-entropy, the gradient of an embedding, sums of squares.

Sums within a row run in one fixed order, so any cut of the rows leaves the same bits. Logarithms
are left to the caller (libm is not to be had in a kernel): a row leaves the sum under the log.
"""

import math
from functools import lru_cache

from numba import njit

from .simd import at, at_least, fma, is_null
from .struct import Struct

SOFTMAX = Struct(
    "lf_softmax",
    data="x targets totals shifted weights",
    ids="labels",
    flags="correct",
    size="N x_row target_row gradient",
    real="scale",
)
# x (M, N) logits. Targets: labels (M,), or rows of weights `targets` (M, N), the other being null.
# Left for each row: totals = Σ exp(x - max), shifted = Σ target·(x - max), weights = Σ target,
# correct = 1 if the first largest of x is that of the target. Then the loss of a row is
# weights · log(totals) - shifted. With `gradient` x becomes scale · (weights · softmax - target).

SCATTER = Struct("lf_scatter", data="dy table", ids="ids", size="M E")
# table[ids[r]] += dy[r] for M rows of E columns, in order of r.

SQUARES = Struct("lf_squares", data="x sums", size="count")
# sums[i] = Σ of the squares of x's elements i·CHUNK to (i+1)·CHUNK
CHUNK = 4096


@lru_cache(None)
def make_row_maximum(simd):
    W, load_or, splat, largest, real = (
        simd.width, simd.load_or, simd.splat, simd.largest, simd.real
    )  # fmt: skip
    lowest = -math.inf

    @njit(error_model="numpy")
    def row_maximum(x, N):
        bottom = splat(real(lowest))
        most = bottom
        for j in range(0, N, W):
            most = at_least(most, load_or(x, j, N - j, bottom))
        return largest(most)

    return row_maximum


@lru_cache(None)
def make_row_exp(simd):
    """row_exp(x, N, most, keep): Σ exp(x - most); with `keep`, x becomes exp(x - most)."""
    W, load_or, store_n, splat, real = (
        simd.width, simd.load_or, simd.store_n, simd.splat, simd.real
    )  # fmt: skip
    exp, total_of, lowest = math.exp, simd.total, -math.inf

    @njit(error_model="numpy")
    def row_exp(x, N, most, keep):
        bottom = splat(real(lowest))
        total = splat(real(0))
        for j in range(0, N, W):
            value = exp(load_or(x, j, N - j, bottom) - splat(most))
            total = total + value
            if keep:
                store_n(x, j, value, N - j)
        return total_of(total)

    return row_exp


@lru_cache(None)
def make_row_scale(simd):
    W, load_n, store_n, splat = simd.width, simd.load_n, simd.store_n, simd.splat

    @njit(error_model="numpy")
    def row_scale(x, N, factor):
        for j in range(0, N, W):
            store_n(x, j, load_n(x, j, N - j) * splat(factor), N - j)

    return row_scale


def make_softmax(simd):
    """Rows begin..end: x becomes softmax(x)."""
    row_maximum, row_exp = make_row_maximum(simd), make_row_exp(simd)
    row_scale, real = make_row_scale(simd), simd.real

    def softmax(a, begin, end, worker):
        for r in range(begin, end):
            x = at(a.x, r * a.x_row)
            total = row_exp(x, a.N, row_maximum(x, a.N), True)
            row_scale(x, a.N, real(1) / total)
        return 0

    return softmax


@lru_cache(None)
def make_row_weighted(simd):
    """row_weighted(x, target, N, most): Σ target·(x - most) and Σ target."""
    W, load_n, splat, total_of, real = (
        simd.width, simd.load_n, simd.splat, simd.total, simd.real
    )  # fmt: skip

    @njit(error_model="numpy")
    def row_weighted(x, target, N, most):
        shifted, weight = splat(real(0)), splat(real(0))
        for j in range(0, N, W):
            t = load_n(target, j, N - j)
            shifted = fma(t, load_n(x, j, N - j) - splat(most), shifted)
            weight = weight + t
        return total_of(shifted), total_of(weight)

    return row_weighted


@njit(error_model="numpy")
def first_index(x, N, value):
    """The first place where x holds `value`; N if none does (x holds NaN)."""
    j = 0
    while j < N and x[j] != value:
        j += 1
    return j


@lru_cache(None)
def make_subtract(simd):
    """subtract(x, y, N, factor): x -= factor · y."""
    W, load_n, store_n, splat = simd.width, simd.load_n, simd.store_n, simd.splat

    @njit(error_model="numpy")
    def subtract(x, y, N, factor):
        for j in range(0, N, W):
            store_n(x, j, fma(splat(-factor), load_n(y, j, N - j), load_n(x, j, N - j)), N - j)

    return subtract


def make_crossentropy(simd):
    """Rows begin..end of softmax with cross-entropy (SOFTMAX)."""
    row_maximum, row_exp, row_scale = (
        make_row_maximum(simd), make_row_exp(simd), make_row_scale(simd)
    )  # fmt: skip
    row_weighted, subtract, real = make_row_weighted(simd), make_subtract(simd), simd.real

    @njit(error_model="numpy")
    def labelled(a, r, x, most):
        label = a.labels[r]
        a.shifted[r] = x[label] - most
        a.weights[r] = real(1)
        a.correct[r] = x[label] == most and first_index(x, label, most) == label

    @njit(error_model="numpy")
    def weighted(a, r, x, target, most):
        a.shifted[r], a.weights[r] = row_weighted(x, target, a.N, most)
        best = first_index(x, a.N, most)
        a.correct[r] = best == first_index(target, a.N, row_maximum(target, a.N))

    @njit(error_model="numpy")
    def gradient(a, r, x):
        scale = real(a.scale)
        row_scale(x, a.N, scale * a.weights[r] / a.totals[r])
        if is_null(a.targets):
            x[a.labels[r]] -= scale
        else:
            subtract(x, at(a.targets, r * a.target_row), a.N, scale)

    def crossentropy(a, begin, end, worker):
        for r in range(begin, end):
            x = at(a.x, r * a.x_row)
            most = row_maximum(x, a.N)
            if is_null(a.targets):
                labelled(a, r, x, most)
            else:
                weighted(a, r, x, at(a.targets, r * a.target_row), most)
            a.totals[r] = row_exp(x, a.N, most, a.gradient != 0)
            if a.gradient:
                gradient(a, r, x)
        return 0

    return crossentropy


def make_scatter(simd):
    """Vectors of columns begin..end of an embedding's gradient (SCATTER)."""
    W, load_n, store_n = simd.width, simd.load_n, simd.store_n

    def scatter(a, begin, end, worker):
        for r in range(a.M):
            row, dy = at(a.table, a.ids[r] * a.E), at(a.dy, r * a.E)
            for j in range(begin * W, min(end * W, a.E), W):
                store_n(row, j, load_n(row, j, a.E - j) + load_n(dy, j, a.E - j), a.E - j)
        return 0

    return scatter


def make_squares(simd):
    """Chunks begin..end of a sum of squares (SQUARES)."""
    W, load_n, splat, total_of, real = (
        simd.width, simd.load_n, simd.splat, simd.total, simd.real
    )  # fmt: skip

    def squares(a, begin, end, worker):
        for i in range(begin, end):
            stop = min((i + 1) * CHUNK, a.count)
            total = splat(real(0))
            for j in range(i * CHUNK, stop, W):
                x = load_n(a.x, j, stop - j)
                total = fma(x, x, total)
            a.sums[i] = total_of(total)
        return 0

    return squares

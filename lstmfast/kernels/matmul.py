"""Products of matrices from tiles: C = S + A·B, and sums of outer products, on raw pointers.

Sums over k run in equal blocks of about BLOCK: a block starts from zero, in order of k, and is
added to what is there. That order is the same for every tile shape, edge and shard, so results do
not depend on how the work is split; and blocked sums lose less than one long one. Sums of int8 are
exact, and a single block.
"""

from functools import lru_cache

from numba import njit

from .packing import make_pack_panel, make_packed_rows
from .simd import at, is_null, prefetch
from .struct import Struct
from .tiles import Matrix, Out, Panels, make_strips, matrix_of, panel_count, plain_out

BLOCK = 256  # k per block, and up to half as many more: a panel's block is 64 KB, and stays in L2
GROUP = 4  # panels that are worked on together: a block of them is 256 KB
OUTER_PANELS = 8  # panels of the right factor that a sum of outer products packs at once


@njit(error_model="numpy")
def block_count(K):
    """Into how many blocks a sum over K is cut."""
    return max(1, (K + BLOCK // 2) // BLOCK)


@lru_cache(None)
def make_multiply(simd, packed=False, gates=False, prefetches=False):
    """multiply(M, K, A, B, C, S, p, panels): C = S + A·B, M rows and `panels` panels from p on.

    B's panels and C follow the plain map, or the `gates` map.
    S is a Matrix with C's columns: a stride of 0 repeats one row (a bias); `matrix_of(C)` adds to
    C. B's pointer stands at panel p. Callers hand over at most GROUP panels, so that their block of
    B stays in L2 while the rows pass by. `prefetches`: each strip's rows of A are asked for while
    the strip before is at work, where they are short pieces of long rows that the processor does
    not foresee.
    """
    tile_rows, is_exact = simd.isa.rows, simd.head > 0
    strips, W = make_strips(simd, packed, gates), simd.width

    @njit(error_model="numpy")
    def ask_for(A, rows, count):
        for i in range(rows):
            for k in range(0, count, W):
                prefetch(A.pointer, i * A.stride + k)

    @njit(error_model="numpy")
    def multiply(M, K, A, B, C, S, p, panels):
        row_step = 1 if packed else A.stride
        k_step = A.stride if packed else 1
        k = 0
        for blocks in range(1 if is_exact else block_count(K), 0, -1):
            b = Panels(at(B.pointer, k * B.row), B.panel, B.row)
            count = panel_count(K - k, blocks)
            r = 0
            for left in range(panel_count(M, tile_rows), 0, -1):
                rows = panel_count(M - r, left)  # strips of nearly equal height: no lone row
                a = Matrix(at(A.pointer, r * row_step + k * k_step), A.stride)
                c = Out(at(C.pointer, r * C.row), C.row, C.panel, C.vector, C.limit_vector, C.limit)
                s = Matrix(at(S.pointer, r * S.stride), S.stride)
                if prefetches and left > 1:
                    ask_for(Matrix(at(a.pointer, rows * A.stride), A.stride), rows, count)
                strips(rows, panels, count, a, b, c, s, p)
                r += rows
            k += count
            S = matrix_of(C)

    return multiply


@lru_cache(None)
def make_fill(simd):
    """fill(M, C, p, panels): C = 0."""
    store_n, splat, real = simd.store_n, simd.splat, simd.real

    @njit(error_model="numpy")
    def fill(M, C, p, panels):
        for i in range(M):
            for q in range(p, p + panels):
                for v in range(4):
                    n = C.limit - q * C.panel - v * C.limit_vector
                    o = i * C.row + q * C.panel + v * C.vector
                    store_n(C.pointer, o, splat(real(0)), n)

    return fill


PRODUCT = Struct(
    "lf_product",
    data="A B C bias scratch",
    size="M N K a_row b_k b_n c_row by_rows scratch_stride",
)
# C (M, N) = A (M, K) · B (K, N) + bias (N,), or without bias if that is null. Rows of A and C are
# contiguous, A's of numbers that hold Lanes.terms of the K terms each; element (k, n) of B lies at
# k·b_k + n·b_n. scratch: GROUP panels for each worker; none of int8, whose B is packed before.


@lru_cache(None)
def make_range_of_product(simd):
    """range_of(a, begin, end): the first row and the rows, the first panel and the panels' end."""
    W = simd.width

    @njit(error_model="numpy")
    def range_of(a, begin, end):
        if a.by_rows:
            return begin, end - begin, 0, panel_count(a.N, 4 * W)
        return 0, a.M, begin, end

    return range_of


def make_packed_product(simd):
    """make_product's of a matrix that is packed."""
    multiply, fill, W = make_multiply(simd), make_fill(simd), simd.width
    range_of, packed_rows = make_range_of_product(simd), make_packed_rows(simd)

    def product(a, begin, end, worker):
        first, M, p_begin, p_end = range_of(a, begin, end)
        C, rows = plain_out(at(a.C, first * a.c_row), a.c_row, a.N, W), packed_rows(a.K)
        A, size = Matrix(at(a.A, first * a.a_row), a.a_row), rows * 4 * W
        for p in range(p_begin, p_end, GROUP):
            panels = min(GROUP, p_end - p)
            S = Matrix(a.bias, 0)
            if is_null(a.bias):
                fill(M, C, p, panels)
                S = matrix_of(C)
            multiply(M, rows, A, Panels(at(a.B, p * size), size, 4 * W), C, S, p, panels)
        return 0

    return product


def make_product(simd):
    """The panels begin..end of a product, or its rows begin..end if `by_rows` (PRODUCT)."""
    if simd.head:
        return make_packed_product(simd)
    range_of = make_range_of_product(simd)
    multiply, fill = make_multiply(simd, prefetches=True), make_fill(simd)
    pack_panel, W, terms = make_pack_panel(simd), simd.width, simd.terms
    panel_size = 4 * W * BLOCK

    @njit(error_model="numpy")
    def block(a, first, M, C, S, p, panels, k, scratch):
        """C = S + A·B over one block of k, its panels packed just before they are used."""
        count = min(BLOCK * terms, a.K - k)
        source = at(a.B, k * a.b_k)
        for q in range(panels):
            pack_panel(source, a.b_k, a.b_n, count, C, p + q, at(scratch, q * panel_size))
        A = Matrix(at(a.A, first * a.a_row + k // terms), a.a_row)
        B = Panels(scratch, panel_size, 4 * W)
        multiply(M, panel_count(count, terms), A, B, C, S, p, panels)

    def product(a, begin, end, worker):
        first, M, p_begin, p_end = range_of(a, begin, end)
        C = plain_out(at(a.C, first * a.c_row), a.c_row, a.N, W)
        scratch = at(a.scratch, worker * a.scratch_stride)
        for p in range(p_begin, p_end, GROUP):
            panels = min(GROUP, p_end - p)
            S = Matrix(a.bias, 0)
            if is_null(a.bias):
                fill(M, C, p, panels)
                S = matrix_of(C)
            for k in range(0, a.K, BLOCK * terms):
                block(a, first, M, C, S, p, panels, k, scratch)
                S = matrix_of(C)
        return 0

    return product


OUTER = Struct(
    "lf_outer",
    data="A first rest C column_sums right_sums scratch",
    ids="active",
    size="T B M N a_row first_row rest_t rest_b c_row by_columns count adds scratch_stride",
)
# C (M, N) = Σ over t, b of A[t, b] ⊗ X[t, b]; column_sums (M,) = Σ A[t, b] and right_sums (N,) =
# Σ X[t, b], unless null. With `adds` they are added to what is there.
# The sum has `count` terms: active[n] = t·B + b is the n-th; or all T·B in order, if that is null.
# A: row (t, b) at (t·B + b)·a_row. X: row (0, b) at first + b·first_row, row (t, b) with t >= 1 at
# rest + (t-1)·rest_t + b·rest_b: so h[t-1] stands beside dz[t], with h0 as the first.


def make_outer(simd):
    """Of a sum of outer products the rows begin·W..end·W, or its panels begin..end (OUTER).

    Panels if `by_columns`. Worked on are 3·W rows and up to OUTER_PANELS panels at a time.
    """
    multiply, fill = make_multiply(simd, packed=True), make_fill(simd)
    W, load_n, store, splat, real = simd.width, simd.load_n, simd.store, simd.splat, simd.real
    load, store_n, new_tile, get, put = simd.load, simd.store_n, simd.new_tile, simd.get, simd.put
    high, rows, columns = 3, 3 * W, 4 * W
    terms, join, new_sums = simd.terms, simd.join, new_tile(high)

    @njit(error_model="numpy")
    def term(a, n):
        return n if is_null(a.active) else a.active[n]

    @njit(error_model="numpy")
    def input_row(a, n):
        r = term(a, n)
        t = r // a.B
        b = r - t * a.B
        if t == 0:
            return at(a.first, b * a.first_row)
        return at(a.rest, (t - 1) * a.rest_t + b * a.rest_b)

    @njit(error_model="numpy")
    def pack_inputs(a, r, count, p, panels, target):
        for k in range(0, count, terms):
            row = input_row(a, r + k)
            is_pair = terms == 2 and k + 1 < count
            other = input_row(a, r + k + 1) if is_pair else row
            for q in range(panels):
                for v in range(4):
                    n = (p + q) * columns + v * W
                    value = load_n(row, n, a.N - n)
                    if terms == 2:
                        value = join(value, load_n(other, n, a.N - n if is_pair else 0))
                    store(target, (q * BLOCK + k // terms) * columns + v * W, value)

    @njit(error_model="numpy")
    def right_part(a, k, n, packed, o):
        """Some of X's k-th row; packed, it lies at o, unless it has been rounded."""
        if terms == 1:
            return load(packed, o)
        return load_n(input_row(a, k), n, a.N - n)

    @njit(error_model="numpy")
    def add_right_sums(a, r, count, p, panels, packed):
        for q in range(panels):
            for v in range(4):
                n = (p + q) * columns + v * W
                if n < a.N:
                    old = load_n(a.right_sums, n, a.N - n) if r > 0 or a.adds else splat(real(0))
                    total = splat(real(0))
                    for k in range(count):
                        total = total + right_part(
                            a, r + k, n, packed, (q * BLOCK + k) * columns + v * W
                        )
                    store_n(a.right_sums, n, old + total, a.N - n)

    @njit(error_model="numpy")
    def pack_left(a, r, count, m, target, sums):
        """Three vectors of A's columns side by side; their sums over the rows go to `sums`."""
        for v in range(high):
            total = splat(real(0))
            n = a.M - m - v * W
            for k in range(0, count, terms):
                value = load_n(a.A, term(a, r + k) * a.a_row + m + v * W, n)
                total = total + value
                if terms == 2:
                    other = splat(real(0))
                    if k + 1 < count:
                        other = load_n(a.A, term(a, r + k + 1) * a.a_row + m + v * W, n)
                    total = total + other
                    value = join(value, other)
                store(target, k // terms * rows + v * W, value)
            put(sums, v, total)

    @njit(error_model="numpy")
    def add_column_sums(a, r, m, M, sums):
        for v in range(panel_count(M, W)):
            n = M - v * W
            old = load_n(a.column_sums, m + v * W, n) if r > 0 or a.adds else splat(real(0))
            store_n(a.column_sums, m + v * W, old + get(sums, v), n)

    def outer(a, begin, end, worker):
        left = at(a.scratch, worker * a.scratch_stride)
        right = at(left, BLOCK * rows)
        sums = new_sums()
        wanted = not is_null(a.column_sums)
        m_begin, m_end, p_begin, p_end = begin * W, end * W, 0, panel_count(a.N, columns)
        if a.by_columns:
            m_begin, m_end, p_begin, p_end = 0, a.M, begin, end
        for p in range(p_begin, p_end, OUTER_PANELS):
            panels = min(OUTER_PANELS, p_end - p)
            for r in range(0, a.count, BLOCK * terms):
                count = min(BLOCK * terms, a.count - r)
                pack_inputs(a, r, count, p, panels, right)
                if m_begin == 0 and not is_null(a.right_sums):
                    add_right_sums(a, r, count, p, panels, right)
                for m in range(m_begin, m_end, rows):
                    M = min(rows, min(m_end, a.M) - m)
                    pack_left(a, r, count, m, left, sums)
                    if wanted and p == 0:
                        add_column_sums(a, r, m, M, sums)
                    C = plain_out(at(a.C, m * a.c_row), a.c_row, a.N, W)
                    if r == 0 and not a.adds:
                        fill(M, C, p, panels)
                    A = Matrix(left, rows)
                    B = Panels(right, BLOCK * columns, columns)
                    multiply(M, panel_count(count, terms), A, B, C, matrix_of(C), p, panels)
        return 0

    return outer

"""Packing and register-tiled products: C = S + A·B on raw pointers.

B is packed into panels of four vectors: for each panel and each k, 4·W numbers side by side,
zeros where the matrix ends. Two maps lead from a panel's column to the matrix's column:

    plain   panel p, vector v, lane w  ->  column p·4W + v·W + w          (any matrix)
    gates   panel p, vector v, lane w  ->  gate v of unit p·W + w         (columns v·H + p·W + w)

so that in a gates panel one register tile holds all four gates of W units. A map is three strides
and a limit (`Out`). The last panel has as many vectors as its columns need: in a gates panel with
few units left each vector holds W/4 units, their gates in its quarters (`parts`); its sums are
regrouped in registers before they go to C.

Sums over k run in equal blocks of about BLOCK: a block starts from zero, in order of k, and is
added to what is there. That order is the same for every tile shape, edge and shard, so results do
not depend on how the work is split; and blocked sums lose less than one long one.
"""

from collections import namedtuple
from functools import lru_cache

from numba import njit

from .simd import at, fma, is_null
from .struct import Struct

BLOCK = 256  # k per block, and up to half as many more: a panel's block is 64 KB, and stays in L2
GROUP = 4  # panels that are worked on together: a block of them is 256 KB
OUTER_PANELS = 8  # panels of the right factor that a sum of outer products packs at once

# What a product reads and writes. Pointers already stand at the first row, panel and column.
Rows = namedtuple("Rows", "pointer stride")  # A: element (i, k) at i·stride + k
Panels = namedtuple("Panels", "pointer panel row")  # B: panel p, row k at p·panel + k·row
Out = namedtuple("Out", "pointer row panel vector limit_vector limit")
# C: row i, panel p, vector v at i·row + p·panel + v·vector;
# its first lane is column p·panel + v·limit_vector of `limit` columns.


@njit(error_model="numpy")
def plain_out(pointer, row, columns, width):
    """C as an ordinary matrix of `columns` columns."""
    return Out(pointer, row, 4 * width, width, width, columns)


@njit(error_model="numpy")
def gates_out(pointer, row, units, width):
    """C as rows of four gates of `units` units each."""
    return Out(pointer, row, width, units, 0, units)


@njit(error_model="numpy")
def rows_of(C):
    """C as what a product starts from, to add to what is there."""
    return Rows(C.pointer, C.row)


@njit(error_model="numpy")
def panel_count(columns, panel):
    return (columns + panel - 1) // panel


@lru_cache(None)
def make_sums(simd, rows, panels, vectors, packed):
    """sums(acc, count, A, B): acc = A·B for `rows` rows, `panels` panels and the first `vectors`.

    The sum runs over `count` values of k. With `packed`, A is packed: for each k the rows of the
    tile lie side by side, element (i, k) at k·stride + i.
    """
    W, load, splat, get, put = simd.width, simd.load, simd.splat, simd.get, simd.put
    size, real = rows * panels * vectors, simd.real

    @njit(error_model="numpy")
    def sums(acc, count, A, B):
        for n in range(size):
            put(acc, n, splat(real(0)))
        for k in range(count):
            for i in range(rows):
                a = splat(A.pointer[k * A.stride + i] if packed else A.pointer[i * A.stride + k])
                for q in range(panels):
                    for v in range(vectors):
                        b = load(B.pointer, q * B.panel + k * B.row + v * W)
                        n = (i * panels + q) * vectors + v
                        put(acc, n, fma(a, b, get(acc, n)))

    return sums


@lru_cache(None)
def make_tile(simd, rows, panels, vectors, packed):
    """tile(count, A, B, C, S, p): C = S + A·B for `rows` rows and `panels` panels from p on.

    Of each panel the first `vectors`. S has C's columns and may be C itself.
    """
    W, load, store, get = simd.width, simd.load, simd.store, simd.get
    load_n, store_n = simd.load_n, simd.store_n
    sums = make_sums(simd, rows, panels, vectors, packed)
    new_tile = simd.new_tile(rows * panels * vectors)

    @njit(error_model="numpy")
    def tile(count, A, B, C, S, p):
        acc = new_tile()
        sums(acc, count, A, B)
        last = (p + panels - 1) * C.panel + (vectors - 1) * C.limit_vector
        whole = C.limit - last >= W
        for i in range(rows):
            for q in range(panels):
                for v in range(vectors):
                    o = (p + q) * C.panel + v * C.vector
                    n = C.limit - (p + q) * C.panel - v * C.limit_vector
                    total = get(acc, (i * panels + q) * vectors + v)
                    if whole:
                        store(C.pointer, i * C.row + o, load(S.pointer, i * S.stride + o) + total)
                    else:
                        total = load_n(S.pointer, i * S.stride + o, n) + total
                        store_n(C.pointer, i * C.row + o, total, n)

    return tile


@lru_cache(None)
def make_parts_tile(simd, rows, parts, packed):
    """tile(count, A, B, C, S, p): the last gates panel p, of `parts` vectors of W/4 units each."""
    new_tile, regroup, get, put = simd.new_tile(rows * parts), simd.regroup, simd.get, simd.put
    load_n, store_n, splat, real = simd.load_n, simd.store_n, simd.splat, simd.real
    sums, new_gates = make_sums(simd, rows, 1, parts, packed), simd.new_tile(4)

    @njit(error_model="numpy")
    def tile(count, A, B, C, S, p):
        acc, gates = new_tile(), new_gates()
        sums(acc, count, A, B)
        n = C.limit - p * C.panel
        for i in range(rows):
            for v in range(4):
                put(gates, v, get(acc, i * parts + v) if v < parts else splat(real(0)))
            regroup(gates)
            for v in range(4):
                o = p * C.panel + v * C.vector
                total = load_n(S.pointer, i * S.stride + o, n) + get(gates, v)
                store_n(C.pointer, i * C.row + o, total, n)

    return tile


@lru_cache(None)
def make_parts(simd, gates):
    """parts(C, p): how many vectors panel p has."""
    if gates and not simd.regroup:
        return njit(error_model="numpy")(lambda C, p: 4)
    size = simd.width // 4 if gates else simd.width

    @njit(error_model="numpy")
    def parts(C, p):
        return min(4, panel_count(C.limit - p * C.panel, size))

    return parts


@lru_cache(None)
def make_last(simd, rows, packed, gates):
    """last(parts, count, A, B, C, S, p): the last panel, of 1, 2 or 3 vectors."""
    if gates and not simd.regroup:
        return njit(error_model="numpy")(lambda parts, count, A, B, C, S, p: None)
    make = make_parts_tile if gates else (lambda s, r, n, packed: make_tile(s, r, 1, n, packed))
    one, two, three = (make(simd, rows, n, packed) for n in (1, 2, 3))

    @njit(error_model="numpy")
    def last(parts, count, A, B, C, S, p):
        if parts == 1:
            one(count, A, B, C, S, p)
        elif parts == 2:
            two(count, A, B, C, S, p)
        else:
            three(count, A, B, C, S, p)

    return last


@lru_cache(None)
def make_strip(simd, rows, packed, gates):
    """strip(panels, count, A, B, C, S, p): `rows` rows of C, several panels at a time if few rows.

    Only then are enough sums in flight to hide the latency of the fma.
    """
    wide, parts = simd.isa.panels_at_once(rows), make_parts(simd, gates)
    wide_tile = make_tile(simd, rows, wide, 4, packed)
    tile, last = make_tile(simd, rows, 1, 4, packed), make_last(simd, rows, packed, gates)

    @njit(error_model="numpy")
    def strip(panels, count, A, B, C, S, p):
        left = parts(C, p + panels - 1)
        whole = panels - (1 if left < 4 else 0)
        q = 0
        while q + wide <= whole:
            wide_tile(count, A, Panels(at(B.pointer, q * B.panel), B.panel, B.row), C, S, p + q)
            q += wide
        while q < whole:
            tile(count, A, Panels(at(B.pointer, q * B.panel), B.panel, B.row), C, S, p + q)
            q += 1
        if left < 4:
            last(left, count, A, Panels(at(B.pointer, q * B.panel), B.panel, B.row), C, S, p + q)

    return strip


@lru_cache(None)
def make_strips(simd, packed, gates):
    """strips(M, ...): the strip of M rows, at most those of the instruction set's tile (six)."""
    heights = [min(n, simd.isa.rows) for n in (1, 2, 3, 4, 5, 6)]
    one, two, three, four, five, six = (make_strip(simd, n, packed, gates) for n in heights)

    @njit(error_model="numpy")
    def strips(M, n, count, A, B, C, S, p):
        if M == 1:
            one(n, count, A, B, C, S, p)
        elif M == 2:
            two(n, count, A, B, C, S, p)
        elif M == 3:
            three(n, count, A, B, C, S, p)
        elif M == 4:
            four(n, count, A, B, C, S, p)
        elif M == 5:
            five(n, count, A, B, C, S, p)
        else:
            six(n, count, A, B, C, S, p)

    return strips


@lru_cache(None)
def make_multiply(simd, packed=False, gates=False):
    """multiply(M, K, A, B, C, S, p, panels): C = S + A·B, M rows and `panels` panels from p on.

    B's panels and C follow the plain map, or the `gates` map.
    S is Rows with C's columns: a stride of 0 repeats one row (a bias); `rows_of(C)` adds to C. B's
    pointer stands at panel p. Callers hand over at most GROUP panels, so that their block of B
    stays in L2 while the rows pass by.
    """
    tile_rows = simd.isa.rows
    strips = make_strips(simd, packed, gates)

    @njit(error_model="numpy")
    def multiply(M, K, A, B, C, S, p, panels):
        row_step = 1 if packed else A.stride
        k_step = A.stride if packed else 1
        k = 0
        for blocks in range(max(1, (K + BLOCK // 2) // BLOCK), 0, -1):
            b = Panels(at(B.pointer, k * B.row), B.panel, B.row)
            count = panel_count(K - k, blocks)
            r = 0
            for left in range(panel_count(M, tile_rows), 0, -1):
                rows = panel_count(M - r, left)  # strips of nearly equal height: no lone row
                a = Rows(at(A.pointer, r * row_step + k * k_step), A.stride)
                c = Out(at(C.pointer, r * C.row), C.row, C.panel, C.vector, C.limit_vector, C.limit)
                s = Rows(at(S.pointer, r * S.stride), S.stride)
                strips(rows, panels, count, a, b, c, s, p)
                r += rows
            k += count
            S = rows_of(C)

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


PACK = Struct(
    "lf_pack",
    data="source target",
    size="k_stride n_stride K columns gates",
)
# source: element (k, n) of B at k·k_stride + n·n_stride (k_stride 1 with the gates map, else the
# plain map is meant); target: the panels, 4·W·K numbers each.


@lru_cache(None)
def make_turn(simd, run):
    """turn(source, n_stride, jump, K, n, target): W rows of length K become K rows of W.

    The rows come in runs of `run`, n_stride apart, each run `jump` after the one before; only the
    first n of each run are there.
    """
    W, load_n, store, splat, real = simd.width, simd.load_n, simd.store, simd.splat, simd.real
    get, put, transpose, new_tile = simd.get, simd.put, simd.transpose, simd.new_tile(simd.width)

    @njit(error_model="numpy")
    def turn(source, n_stride, jump, K, n, target):
        block = new_tile()
        for k in range(0, K, W):
            for w in range(W):
                put(block, w, splat(real(0)))
                if w % run < n:
                    o = w // run * jump + w % run * n_stride
                    put(block, w, load_n(source, o + k, K - k))
            transpose(block)
            for w in range(W):
                if k + w < K:
                    store(target, (k + w) * 4 * W, get(block, w))

    return turn


@lru_cache(None)
def make_pack_panel(simd, gates=False):
    """pack_panel(source, k_stride, n_stride, K, C, p, target): one panel of B, zeros past the end.

    C tells the map (its pointer and row do not matter). One of the strides is usually 1: rows are
    copied as vectors, columns are turned W × W at a time in registers. `gates` takes columns only.
    """
    W, load_n, store, real = simd.width, simd.load_n, simd.store, simd.real
    turn, parts, part = make_turn(simd, W), make_parts(simd, gates), max(1, W // 4)
    turn_part = make_turn(simd, part)

    @njit(error_model="numpy")
    def copy_rows(source, k_stride, K, n, target):
        for k in range(K):
            store(target, k * 4 * W, load_n(source, k * k_stride, n))

    @njit(error_model="numpy")
    def gather(source, k_stride, n_stride, K, n, target):
        for k in range(K):
            for w in range(W):
                o = k * k_stride + w * n_stride
                target[k * 4 * W + w] = source[o] if w < n else real(0)

    @njit(error_model="numpy")
    def pack_parts(source, n_stride, K, C, p, vectors, target):
        for v in range(vectors):
            unit = p * C.panel + v * part
            start, jump = at(source, unit * n_stride), C.vector * n_stride
            turn_part(start, n_stride, jump, K, C.limit - unit, at(target, v * W))

    @njit(error_model="numpy")
    def pack_panel(source, k_stride, n_stride, K, C, p, target):
        vectors = parts(C, p)
        if gates and vectors < 4:
            pack_parts(source, n_stride, K, C, p, vectors, target)
            return
        for v in range(vectors):
            n = C.limit - p * C.panel - v * C.limit_vector
            start = at(source, (p * C.panel + v * C.vector) * n_stride)
            lanes = at(target, v * W)
            if gates or k_stride == 1:
                turn(start, n_stride, 0, K, n, lanes)
            elif n_stride == 1:
                copy_rows(start, k_stride, K, n, lanes)
            else:
                gather(start, k_stride, n_stride, K, n, lanes)

    return pack_panel


def make_pack(simd):
    """Pack panels begin..end of a matrix (PACK)."""
    pack_plain, pack_gates = make_pack_panel(simd), make_pack_panel(simd, gates=True)
    W = simd.width

    def pack(a, begin, end, worker):
        for p in range(begin, end):
            target = at(a.target, p * a.K * 4 * W)
            if a.gates:
                C = gates_out(a.source, 0, a.columns // 4, W)
                pack_gates(a.source, 1, a.n_stride, a.K, C, p, target)
            else:
                C = plain_out(a.source, 0, a.columns, W)
                pack_plain(a.source, a.k_stride, a.n_stride, a.K, C, p, target)
        return 0

    return pack


PRODUCT = Struct(
    "lf_product",
    data="A B C bias scratch",
    size="M N K a_row b_k b_n c_row by_rows scratch_stride",
)
# C (M, N) = A (M, K) · B (K, N) + bias (N,), or without bias if that is null. Rows of A and C are
# contiguous; element (k, n) of B lies at k·b_k + n·b_n. scratch: GROUP panels for each worker.


def make_product(simd):
    """The panels begin..end of a product, or its rows begin..end if `by_rows` (PRODUCT)."""
    multiply, fill, pack_panel = make_multiply(simd), make_fill(simd), make_pack_panel(simd)
    W = simd.width
    panel_size = 4 * W * BLOCK

    @njit(error_model="numpy")
    def block(a, first, M, C, S, p, panels, k, scratch):
        """C = S + A·B over one block of k, its panels packed just before they are used."""
        count = min(BLOCK, a.K - k)
        source = at(a.B, k * a.b_k)
        for q in range(panels):
            pack_panel(source, a.b_k, a.b_n, count, C, p + q, at(scratch, q * panel_size))
        A = Rows(at(a.A, first * a.a_row + k), a.a_row)
        multiply(M, count, A, Panels(scratch, panel_size, 4 * W), C, S, p, panels)

    def product(a, begin, end, worker):
        first, M, p_begin, p_end = 0, a.M, begin, end
        if a.by_rows:
            first, M, p_begin, p_end = begin, end - begin, 0, panel_count(a.N, 4 * W)
        C = plain_out(at(a.C, first * a.c_row), a.c_row, a.N, W)
        scratch = at(a.scratch, worker * a.scratch_stride)
        for p in range(p_begin, p_end, GROUP):
            panels = min(GROUP, p_end - p)
            S = Rows(a.bias, 0)
            if is_null(a.bias):
                fill(M, C, p, panels)
                S = rows_of(C)
            for k in range(0, a.K, BLOCK):
                block(a, first, M, C, S, p, panels, k, scratch)
                S = rows_of(C)
        return 0

    return product


OUTER = Struct(
    "lf_outer",
    data="A first rest C column_sums scratch",
    size="T B M N a_row first_row rest_t rest_b c_row scratch_stride",
)
# C (M, N) = Σ over t, b of A[t, b] ⊗ X[t, b], and column_sums (M,) = Σ A[t, b] unless null.
# A: row (t, b) at (t·B + b)·a_row. X: row (0, b) at first + b·first_row, row (t, b) with t >= 1 at
# rest + (t-1)·rest_t + b·rest_b: so h[t-1] stands beside dz[t], with h0 as the first.


def make_outer(simd):
    """The rows begin·W..end·W of a sum of outer products, 3·W of them at a time (OUTER)."""
    multiply, fill = make_multiply(simd, packed=True), make_fill(simd)
    W, load_n, store, splat, real = simd.width, simd.load_n, simd.store, simd.splat, simd.real
    store_n, new_tile, get, put = simd.store_n, simd.new_tile, simd.get, simd.put
    high, rows, columns = 3, 3 * W, 4 * W
    new_sums = new_tile(high)

    @njit(error_model="numpy")
    def input_row(a, r):
        t = r // a.B
        b = r - t * a.B
        if t == 0:
            return at(a.first, b * a.first_row)
        return at(a.rest, (t - 1) * a.rest_t + b * a.rest_b)

    @njit(error_model="numpy")
    def pack_inputs(a, r, count, p, panels, target):
        for k in range(count):
            row = input_row(a, r + k)
            for q in range(panels):
                for v in range(4):
                    n = (p + q) * columns + v * W
                    value = load_n(row, n, a.N - n) if n < a.N else splat(real(0))
                    store(target, (q * BLOCK + k) * columns + v * W, value)

    @njit(error_model="numpy")
    def pack_left(a, r, count, m, target, sums):
        """Three vectors of A's columns side by side; their sums over the rows go to `sums`."""
        for v in range(high):
            total = splat(real(0))
            n = a.M - m - v * W
            for k in range(count):
                value = splat(real(0))
                if n > 0:
                    value = load_n(a.A, (r + k) * a.a_row + m + v * W, n)
                store(target, k * rows + v * W, value)
                total = total + value
            put(sums, v, total)

    @njit(error_model="numpy")
    def add_column_sums(a, r, m, M, sums):
        for v in range(panel_count(M, W)):
            n = M - v * W
            old = load_n(a.column_sums, m + v * W, n) if r > 0 else splat(real(0))
            store_n(a.column_sums, m + v * W, old + get(sums, v), n)

    def outer(a, begin, end, worker):
        left = at(a.scratch, worker * a.scratch_stride)
        right = at(left, BLOCK * rows)
        sums = new_sums()
        wanted = not is_null(a.column_sums)
        N_panels = panel_count(a.N, columns)
        for p in range(0, N_panels, OUTER_PANELS):
            panels = min(OUTER_PANELS, N_panels - p)
            for r in range(0, a.T * a.B, BLOCK):
                count = min(BLOCK, a.T * a.B - r)
                pack_inputs(a, r, count, p, panels, right)
                for m in range(begin * W, end * W, rows):
                    M = min(rows, min(end * W, a.M) - m)
                    pack_left(a, r, count, m, left, sums)
                    if wanted and p == 0:
                        add_column_sums(a, r, m, M, sums)
                    C = plain_out(at(a.C, m * a.c_row), a.c_row, a.N, W)
                    if r == 0:
                        fill(M, C, p, panels)
                    A = Rows(left, rows)
                    B = Panels(right, BLOCK * columns, columns)
                    multiply(M, count, A, B, C, rows_of(C), p, panels)
        return 0

    return outer

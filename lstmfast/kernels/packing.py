"""Packing: a matrix becomes panels, as tiles read them (tiles.py says how they lie).

Where a number holds several terms of the sum over k (Lanes.terms), so many rows of B become one;
those of int8 come after a head (int8.py).
"""

from functools import lru_cache

from numba import njit

from .int8 import LEAST, STEPS, join_four, larger_magnitude, make_without_zero, nearest, short_scale
from .simd import at
from .struct import Struct
from .tiles import gates_out, make_vectors_of, panel_count, plain_out

ROWS = 16  # that are copied into all panels before the next ones
JOINED = 32  # that are packed as they are before they are joined

PACK = Struct(
    "lf_pack",
    data="source target",
    size="k_stride n_stride K columns gates",
)
# source: element (k, n) of B at k·k_stride + n·n_stride; target: the panels, `packed_rows` rows of
# 4·W numbers each; gates: packed by that map, else by the plain one.


def make_packed_rows(simd):
    """packed_rows(K): rows of a panel of K terms."""
    head, terms = simd.head, simd.terms

    @njit(error_model="numpy")
    def packed_rows(K):
        return head + panel_count(K, terms)

    return packed_rows


@lru_cache(None)
def make_turn(simd, run):
    """turn(source, n_stride, jump, K, n, target): W rows of length K become K rows of W.

    The rows come in runs of `run`, n_stride apart, each run `jump` after the one before; only the
    first n of each run are there.
    """
    W, load_n, store, splat, real = simd.width, simd.load_n, simd.store, simd.splat, simd.real
    get, put, transpose, new_tile = simd.get, simd.put, simd.transpose, simd.new_tile(simd.width)
    load_turned = simd.load_turned

    @njit(error_model="numpy")
    def turn(source, n_stride, jump, K, n, target):
        block, edge = new_tile(), new_tile()
        whole = K // W * W if run == W and n >= W else 0
        for k in range(0, whole, W):
            load_turned(block, at(source, k), n_stride)
            for w in range(W):
                store(target, (k + w) * 4 * W, get(block, w))
        for k in range(whole, K, W):
            for w in range(W):
                put(edge, w, splat(real(0)))
                if w % run < n:
                    o = w // run * jump + w % run * n_stride
                    put(edge, w, load_n(source, o + k, K - k))
            transpose(edge)
            for w in range(W):
                if k + w < K:
                    store(target, (k + w) * 4 * W, get(edge, w))

    return turn


@lru_cache(None)
def make_pack_panel(simd, gates=False):
    """pack_panel(source, k_stride, n_stride, K, C, p, target): one panel of B (make_pack_terms)."""
    if simd.terms == 1:
        return make_pack_terms(simd, gates)
    if simd.head:
        return make_pack_quads(simd, gates)
    W, load, store, splat, real = simd.width, simd.load, simd.store, simd.splat, simd.real
    pack_terms, join, terms = make_pack_terms(simd, gates), simd.join, simd.terms
    new_tile, start_of = simd.new_tile(4 * JOINED), simd.start_of

    @njit(error_model="numpy")
    def join_rows(rows, K, target):
        for k in range(0, K, terms):
            for v in range(0, 4 * W, W):
                first = load(rows, k * 4 * W + v)
                second = load(rows, (k + 1) * 4 * W + v) if k + 1 < K else splat(real(0))
                store(target, k // terms * 4 * W + v, join(first, second))

    @njit(error_model="numpy")
    def pack_panel(source, k_stride, n_stride, K, C, p, target):
        rows = start_of(new_tile())
        for k in range(0, K, JOINED):
            count = min(JOINED, K - k)
            pack_terms(at(source, k * k_stride), k_stride, n_stride, count, C, p, rows)
            join_rows(rows, count, at(target, k // terms * 4 * W))

    return pack_panel


@lru_cache(None)
def make_pack_quads(simd, gates):
    """pack_panel(...): one panel of B in int8, each column by its own largest number."""
    W, load, store, splat, real = simd.width, simd.load, simd.store, simd.splat, simd.real
    get, put, new_tile, start_of = simd.get, simd.put, simd.new_tile, simd.start_of
    pack_terms, vectors_of = make_pack_terms(simd, gates), make_vectors_of(simd, gates)
    new_rows, new_columns, head = new_tile(4 * JOINED), new_tile(4), simd.head
    without_zero = make_without_zero(simd)

    @njit(error_model="numpy")
    def find_largest(rows, K, vectors, largest):
        for k in range(K):
            for v in range(vectors):
                found = larger_magnitude(get(largest, v), load(rows, (k * 4 + v) * W))
                put(largest, v, found)

    @njit(error_model="numpy")
    def scaled(rows, k, K, o, steps):
        return nearest(load(rows, k * 4 * W + o) * steps) if k < K else nearest(splat(real(0)))

    @njit(error_model="numpy")
    def join_rows(rows, K, vectors, above, target):
        """`above`: the head, whose scales are read and whose corrections grow."""
        for v in range(vectors):
            o = v * W
            steps, correction = splat(real(1)) / load(above, o), load(above, 4 * W + o)
            for k in range(0, K, 4):
                quads = join_four(
                    scaled(rows, k, K, o, steps), scaled(rows, k + 1, K, o, steps),
                    scaled(rows, k + 2, K, o, steps), scaled(rows, k + 3, K, o, steps),
                )  # fmt: skip
                correction = without_zero(correction, quads)
                store(target, k // 4 * 4 * W + o, quads)
            store(above, 4 * W + o, correction)

    @njit(error_model="numpy")
    def pack_panel(source, k_stride, n_stride, K, C, p, target):
        rows, largest, vectors = start_of(new_rows()), new_columns(), vectors_of(C, p)
        for v in range(vectors):
            put(largest, v, splat(real(LEAST)))
        for k in range(0, K, JOINED):
            count = min(JOINED, K - k)
            pack_terms(at(source, k * k_stride), k_stride, n_stride, count, C, p, rows)
            find_largest(rows, count, vectors, largest)
        for v in range(vectors):
            store(target, v * W, short_scale(get(largest, v) / splat(real(STEPS))))
            store(target, (4 + v) * W, splat(real(0)))
        for k in range(0, K, JOINED):
            count = min(JOINED, K - k)
            pack_terms(at(source, k * k_stride), k_stride, n_stride, count, C, p, rows)
            join_rows(rows, count, vectors, target, at(target, (head + k // 4) * 4 * W))

    return pack_panel


@lru_cache(None)
def make_pack_terms(simd, gates=False):
    """pack_panel(source, k_stride, n_stride, K, C, p, target): one panel of B, zeros past the end.

    C tells the map (its pointer and row do not matter). One of the strides is usually 1: rows are
    copied as vectors, columns are turned W × W at a time in registers. With `gates` one always is.
    """
    W, load_n, store, real = simd.width, simd.load_n, simd.store, simd.real
    turn, vectors_of, quarter = make_turn(simd, W), make_vectors_of(simd, gates), max(1, W // 4)
    turn_quarter = make_turn(simd, quarter)

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
    def pack_quarters(source, n_stride, K, C, p, vectors, target):
        for v in range(vectors):
            unit = p * C.panel + v * quarter
            start, jump = at(source, unit * n_stride), C.vector * n_stride
            turn_quarter(start, n_stride, jump, K, C.limit - unit, at(target, v * W))

    @njit(error_model="numpy")
    def gather_quarters(source, k_stride, K, C, p, vectors, target):
        for k in range(K):
            for v in range(vectors):
                for w in range(W):
                    unit = p * C.panel + v * quarter + w % quarter
                    o = k * k_stride + w // quarter * C.vector + unit
                    target[(k * 4 + v) * W + w] = source[o] if unit < C.limit else real(0)

    @njit(error_model="numpy")
    def pack_panel(source, k_stride, n_stride, K, C, p, target):
        vectors = vectors_of(C, p)
        if gates and vectors < 4:
            if k_stride == 1:
                pack_quarters(source, n_stride, K, C, p, vectors, target)
            else:
                gather_quarters(source, k_stride, K, C, p, vectors, target)
            return
        for v in range(vectors):
            n = C.limit - p * C.panel - v * C.limit_vector
            start = at(source, (p * C.panel + v * C.vector) * n_stride)
            lanes = at(target, v * W)
            if k_stride == 1:
                turn(start, n_stride, 0, K, n, lanes)
            elif gates or n_stride == 1:
                copy_rows(start, k_stride, K, n, lanes)
            else:
                gather(start, k_stride, n_stride, K, n, lanes)

    return pack_panel


def make_pack(simd):
    """Pack panels begin..end of a matrix (PACK)."""
    pack_plain, pack_gates = make_pack_panel(simd), make_pack_panel(simd, gates=True)
    W, terms, packed_rows, head = simd.width, simd.terms, make_packed_rows(simd), simd.head

    @njit(error_model="numpy")
    def pack_rows(a, k, K, begin, end):
        source = at(a.source, k * a.k_stride)
        for p in range(begin, end):
            target = at(a.target, (p * packed_rows(a.K) + k // terms) * 4 * W)
            if a.gates:
                C = gates_out(source, 0, a.columns // 4, W)
                pack_gates(source, a.k_stride, a.n_stride, K, C, p, target)
            else:
                C = plain_out(source, 0, a.columns, W)
                pack_plain(source, a.k_stride, a.n_stride, K, C, p, target)

    def pack(a, begin, end, worker):
        some = a.K if a.k_stride == 1 or head else ROWS  # a source is read as it lies
        k = 0
        while k < a.K:
            pack_rows(a, k, min(some, a.K - k), begin, end)
            k += some
        return 0

    return pack

"""Register tiles: C = S + A·B for a few rows of C and a panel or some of B, on raw pointers.

B is packed into panels of four vectors (packing.py): for each panel and each k, 4·W numbers side by
side, zeros where the matrix ends. Two maps lead from a panel's column to the matrix's column:

    plain   panel p, vector v, lane w  ->  column p·4W + v·W + w          (any matrix)
    gates   panel p, vector v, lane w  ->  gate v of unit p·W + w         (columns v·H + p·W + w)

so that in a gates panel one register tile holds all four gates of W units. A map is three strides
and a limit (`Out`). The last panel has as many vectors as its columns need: in a gates panel with
few units left each vector holds W/4 units, their gates in its quarters; its sums are
regrouped in registers before they go to C.
"""

from collections import namedtuple
from functools import lru_cache

from numba import njit

from .simd import at

# What a product reads and writes. Pointers already stand at the first row, panel and column.
Matrix = namedtuple("Matrix", "pointer stride")  # A: element (i, k) at i·stride + k
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
def matrix_of(C):
    """C as what a product starts from, to add to what is there."""
    return Matrix(C.pointer, C.row)


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
    size, real, dot = rows * panels * vectors, simd.real, simd.dot

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
                        put(acc, n, dot(a, b, get(acc, n)))

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
def make_panel_tile(simd, rows, packed):
    """tile(count, A, B, C, S, p): one panel, or its halves one after the other (isa.Isa.whole)."""
    if rows <= simd.isa.whole:
        return make_tile(simd, rows, 1, 4, packed)
    half, W = make_tile(simd, rows, 1, 2, packed), simd.width

    @njit(error_model="numpy")
    def tile(count, A, B, C, S, p):
        half(count, A, B, C, S, p)
        o, limit = 2 * C.vector, C.limit - 2 * C.limit_vector
        right = Out(at(C.pointer, o), C.row, C.panel, C.vector, C.limit_vector, limit)
        B_right = Panels(at(B.pointer, 2 * W), B.panel, B.row)
        half(count, A, B_right, right, Matrix(at(S.pointer, o), S.stride), p)

    return tile


@lru_cache(None)
def make_quartered_tile(simd, rows, vectors, packed):
    """tile(count, A, B, C, S, p): the last gates panel p, whose `vectors` hold W/4 units each."""
    new_tile, regroup, get, put = simd.new_tile(rows * vectors), simd.regroup, simd.get, simd.put
    load_n, store_n, splat, real = simd.load_n, simd.store_n, simd.splat, simd.real
    sums, new_gates = make_sums(simd, rows, 1, vectors, packed), simd.new_tile(4)

    @njit(error_model="numpy")
    def tile(count, A, B, C, S, p):
        acc, gates = new_tile(), new_gates()
        sums(acc, count, A, B)
        n = C.limit - p * C.panel
        for i in range(rows):
            for v in range(4):
                put(gates, v, get(acc, i * vectors + v) if v < vectors else splat(real(0)))
            regroup(gates)
            for v in range(4):
                o = p * C.panel + v * C.vector
                total = load_n(S.pointer, i * S.stride + o, n) + get(gates, v)
                store_n(C.pointer, i * C.row + o, total, n)

    return tile


@lru_cache(None)
def make_vectors_of(simd, gates):
    """vectors_of(C, p): how many vectors panel p has."""
    if gates and not simd.regroup:
        return njit(error_model="numpy")(lambda C, p: 4)
    size = simd.width // 4 if gates else simd.width

    @njit(error_model="numpy")
    def vectors_of(C, p):
        return min(4, panel_count(C.limit - p * C.panel, size))

    return vectors_of


@lru_cache(None)
def make_last(simd, rows, packed, gates):
    """last(vectors, count, A, B, C, S, p): the last panel, of 1, 2 or 3 vectors."""
    if gates and not simd.regroup:
        return njit(error_model="numpy")(lambda vectors, count, A, B, C, S, p: None)
    if rows > simd.isa.whole:
        return make_last_by_turns(simd, rows, packed, gates)
    make = make_quartered_tile if gates else (lambda s, r, n, packed: make_tile(s, r, 1, n, packed))
    one, two, three = (make(simd, rows, n, packed) for n in (1, 2, 3))

    @njit(error_model="numpy")
    def last(vectors, count, A, B, C, S, p):
        if vectors == 1:
            one(count, A, B, C, S, p)
        elif vectors == 2:
            two(count, A, B, C, S, p)
        else:
            three(count, A, B, C, S, p)

    return last


@lru_cache(None)
def make_last_by_turns(simd, rows, packed, gates):
    """last(...) for more rows than a tile of whole panels has: some after the other."""
    step = simd.isa.whole
    full, rest = (make_last(simd, n, packed, gates) for n in (step, rows % step or step))

    @njit(error_model="numpy")
    def last(vectors, count, A, B, C, S, p):
        for r in range(0, rows, step):
            a = Matrix(at(A.pointer, r if packed else r * A.stride), A.stride)
            c = Out(at(C.pointer, r * C.row), C.row, C.panel, C.vector, C.limit_vector, C.limit)
            s = Matrix(at(S.pointer, r * S.stride), S.stride)
            if r + step <= rows:
                full(vectors, count, a, B, c, s, p)
            else:
                rest(vectors, count, a, B, c, s, p)

    return last


@lru_cache(None)
def make_strip(simd, rows, packed, gates):
    """strip(panels, count, A, B, C, S, p): `rows` rows of C, several panels at a time if few rows.

    Only then are enough sums in flight to hide the latency of the fma.
    """
    wide, vectors_of = simd.isa.panels_at_once(rows), make_vectors_of(simd, gates)
    tile, last = make_panel_tile(simd, rows, packed), make_last(simd, rows, packed, gates)
    wide_tile = make_tile(simd, rows, wide, 4, packed) if wide > 1 else tile

    @njit(error_model="numpy")
    def strip(panels, count, A, B, C, S, p):
        left = vectors_of(C, p + panels - 1)
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

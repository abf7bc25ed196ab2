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

from .simd import at, unrolled

# What a product reads and writes. Pointers already stand at the first row, panel and column.
Matrix = namedtuple("Matrix", "pointer stride")  # A: element (i, k) at i·stride + k
Panels = namedtuple("Panels", "pointer panel row")  # B: panel p, row k at p·panel + k·row
Out = namedtuple("Out", "pointer row panel vector limit_vector limit")
# C: row i, panel p, vector v at i·row + p·panel + v·vector;
# its first lane is column p·panel + v·limit_vector of `limit` columns.


# Of C so many rows, panels and first vectors of each. Numba compiles a function of a Shape once;
# callers name constants, for each of which LLVM unrolls it. (Were they plain arguments, or a plain
# tuple, they would be part of the types, and Numba would compile anew for each.)
Shape = namedtuple("Shape", "rows panels vectors")


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
def make_sums(simd, packed):
    """sums(shape, acc, count, A, B): acc = A·B for a Shape of C.

    The sum runs over `count` values of k. With `packed`, A is packed: for each k the rows of the
    tile lie side by side, element (i, k) at k·stride + i.
    """
    W, load, splat, get, put = simd.width, simd.load, simd.splat, simd.get, simd.put
    real, dot, head, begin, end = simd.real, simd.dot, simd.head, simd.begin, simd.end

    @unrolled
    def sums(shape, acc, count, A, B):
        rows, panels, vectors = shape
        for n in range(rows * panels * vectors):
            put(acc, n, splat(real(0)))
        begin(shape, acc, B)
        for k in range(head, count):
            for i in range(rows):
                a = splat(A.pointer[k * A.stride + i] if packed else A.pointer[i * A.stride + k])
                for q in range(panels):
                    for v in range(vectors):
                        b = load(B.pointer, q * B.panel + k * B.row + v * W)
                        n = (i * panels + q) * vectors + v
                        put(acc, n, dot(a, b, get(acc, n)))
        end(shape, acc, A, B)

    return sums


@lru_cache(None)
def make_tile(simd, packed):
    """tile(shape, count, A, B, C, S, p): C = S + A·B for a Shape of C, its panels from p on.

    S has C's columns and may be C itself.
    """
    W, load, store, get = simd.width, simd.load, simd.store, simd.get
    load_n, store_n = simd.load_n, simd.store_n
    sums, new_tile = make_sums(simd, packed), simd.new_tile(simd.isa.largest_tile)

    @unrolled
    def tile(shape, count, A, B, C, S, p):
        acc, (rows, panels, vectors) = new_tile(), shape
        sums(shape, acc, count, A, B)
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
def make_panel_tile(simd, packed):
    """tile(rows, count, A, B, C, S, p): a panel, or its halves one after the other (Isa.whole)."""
    some, W, whole = make_tile(simd, packed), simd.width, simd.isa.whole

    @unrolled
    def tile(rows, count, A, B, C, S, p):
        if rows <= whole:
            some(Shape(rows, 1, 4), count, A, B, C, S, p)
            return
        some(Shape(rows, 1, 2), count, A, B, C, S, p)
        o, limit = 2 * C.vector, C.limit - 2 * C.limit_vector
        right = Out(at(C.pointer, o), C.row, C.panel, C.vector, C.limit_vector, limit)
        B_right = Panels(at(B.pointer, 2 * W), B.panel, B.row)
        some(Shape(rows, 1, 2), count, A, B_right, right, Matrix(at(S.pointer, o), S.stride), p)

    return tile


@lru_cache(None)
def make_quartered_tile(simd, packed):
    """tile(shape, count, A, B, C, S, p): the last gates panel p, whose vectors hold W/4 units."""
    regroup, get, put, real = simd.regroup, simd.get, simd.put, simd.real
    load_n, store_n, splat = simd.load_n, simd.store_n, simd.splat
    sums, new_tile = make_sums(simd, packed), simd.new_tile(simd.isa.largest_tile)
    new_gates = simd.new_tile(4)

    @unrolled
    def tile(shape, count, A, B, C, S, p):
        acc, gates, (rows, _, vectors) = new_tile(), new_gates(), shape
        sums(shape, acc, count, A, B)
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
def make_last(simd, packed, gates):
    """last(rows, vectors, count, A, B, C, S, p): the last panel, of 1, 2 or 3 vectors.

    Where a tile of whole panels has fewer rows, some after the other.
    """
    if gates and not simd.regroup:
        return njit(error_model="numpy")(lambda rows, vectors, count, A, B, C, S, p: None)
    tile, step = (make_quartered_tile if gates else make_tile)(simd, packed), simd.isa.whole

    @unrolled
    def some(shape, count, A, B, C, S, p):
        rows, _, vectors = shape
        if vectors == 1:
            tile(Shape(rows, 1, 1), count, A, B, C, S, p)
        elif vectors == 2:
            tile(Shape(rows, 1, 2), count, A, B, C, S, p)
        else:
            tile(Shape(rows, 1, 3), count, A, B, C, S, p)

    @unrolled
    def last(rows, vectors, count, A, B, C, S, p):
        if rows <= step:
            some(Shape(rows, 1, vectors), count, A, B, C, S, p)
            return
        for r in range(0, rows, step):
            a = Matrix(at(A.pointer, r if packed else r * A.stride), A.stride)
            c = Out(at(C.pointer, r * C.row), C.row, C.panel, C.vector, C.limit_vector, C.limit)
            s = Matrix(at(S.pointer, r * S.stride), S.stride)
            if r + step <= rows:
                some(Shape(step, 1, vectors), count, a, B, c, s, p)
            else:
                some(Shape(rows % step, 1, vectors), count, a, B, c, s, p)

    return last


@lru_cache(None)
def make_panels(simd, packed, gates):
    """panels(shape, number, count, A, B, C, S, p): the Shape's rows of so many panels of C.

    As many at a time as the Shape has, which are some if rows are few: only then are enough sums in
    flight to hide the latency of the fma.
    """
    tile, last = make_panel_tile(simd, packed), make_last(simd, packed, gates)
    wide_tile, vectors_of = make_tile(simd, packed), make_vectors_of(simd, gates)

    @unrolled
    def panels(shape, number, count, A, B, C, S, p):
        rows, wide, _ = shape
        left = vectors_of(C, p + number - 1)
        whole = number - (1 if left < 4 else 0)
        q = 0
        while wide > 1 and q + wide <= whole:
            b = Panels(at(B.pointer, q * B.panel), B.panel, B.row)
            wide_tile(shape, count, A, b, C, S, p + q)
            q += wide
        while q < whole:
            b = Panels(at(B.pointer, q * B.panel), B.panel, B.row)
            tile(rows, count, A, b, C, S, p + q)
            q += 1
        if left < 4:
            b = Panels(at(B.pointer, q * B.panel), B.panel, B.row)
            last(rows, left, count, A, b, C, S, p + q)

    return panels


@lru_cache(None)
def make_strip(simd, rows, packed, gates):
    """strip(number, count, A, B, C, S, p): `rows` rows of so many panels of C."""
    panels, wide = make_panels(simd, packed, gates), simd.isa.panels_at_once(rows)

    @njit(error_model="numpy")
    def strip(number, count, A, B, C, S, p):
        panels(Shape(rows, wide, 4), number, count, A, B, C, S, p)

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

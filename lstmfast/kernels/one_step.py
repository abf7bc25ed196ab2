"""One step of one row through a plain LSTM layer: what `lf_step` calls for small ones.

The arithmetic is that of sequence.py, number by number, so the bits are the same; but nothing is
decided here that a handle can decide when it is built, and pre-activations never leave registers.

Pointers and sizes are in STEP. Sums over k are not cut into blocks: neither I nor H may reach
`LARGEST`.
"""

from functools import lru_cache

from numba import njit

from .cell import make_cell
from .matmul import BLOCK
from .simd import at, unrolled
from .struct import Struct
from .tiles import Matrix, Panels, Shape, make_sums, panel_count

LARGEST = BLOCK + BLOCK // 2  # from here on make_multiply has more than one block

STEP = Struct("lf_one_step", size="I H", data="x h c next w_ih w_hh b")
# x, h, c     (I,) read, (H,) and (H,): the state, which moves one step on
# next        (H,) work
# w_ih, w_hh  packed, gates map, K = I and K = H; b (4H,)


@lru_cache(None)
def make_gates(simd):
    """gates(shape, found, K, x, B): x·B for one row and a panel of a Shape, as four gates.

    Fewer than four vectors hold the gates in their quarters (tiles.py).
    """
    sums, new_sums = make_sums(simd, False), simd.new_tile(4)
    get, put, splat, real, size = simd.get, simd.put, simd.splat, simd.real, 4 * simd.width
    regroup = simd.regroup or njit(lambda tile: None)

    @unrolled
    def gates(shape, found, K, x, B):
        acc, vectors = new_sums(), shape.vectors
        sums(shape, acc, K, Matrix(x, 0), Panels(B, 0, size))
        for v in range(4):
            put(found, v, get(acc, v) if v < vectors else splat(real(0)))
        if vectors < 4:
            regroup(found)

    return gates


@lru_cache(None)
def make_units(simd):
    """units(shape, a, p, h): the units of panel p, of a Shape; their outputs go to h."""
    load, store, get, new_gates = simd.load_n, simd.store_n, simd.get, simd.new_tile(4)
    splat, real, W = simd.splat, simd.real, simd.width
    gates, cell = make_gates(simd), make_cell(False)
    forward, output = cell.forward, cell.output

    @unrolled
    def units(shape, a, p, h):
        of_x, of_h, none = new_gates(), new_gates(), splat(real(0))
        H, j, n = a.H, p * W, a.H - p * W
        gates(shape, of_x, a.I, a.x, at(a.w_ih, 4 * j * a.I))
        gates(shape, of_h, H, a.h, at(a.w_hh, 4 * j * H))
        z_i = load(a.b, j, n) + get(of_x, 0) + get(of_h, 0)
        z_f = load(a.b, H + j, n) + get(of_x, 1) + get(of_h, 1)
        z_g = load(a.b, 2 * H + j, n) + get(of_x, 2) + get(of_h, 2)
        z_o = load(a.b, 3 * H + j, n) + get(of_x, 3) + get(of_h, 3)
        _, _, _, o, c = forward(a, z_i, z_f, z_g, z_o, load(a.c, j, n), none, none, none)
        store(a.c, j, c, n)
        store(h, j, output(a, o, c), n)

    return units


@lru_cache(None)
def make_last_units(simd):
    """last_units(a, p, h): those of the last panel, of as many vectors as they need."""
    units, W, quarter = make_units(simd), simd.width, simd.width // 4
    has_quarters = simd.regroup is not None

    @njit(error_model="numpy")
    def last_units(a, p, h):
        vectors = panel_count(a.H - p * W, quarter) if has_quarters else 4
        if vectors == 1:
            units(Shape(1, 1, 1), a, p, h)
        elif vectors == 2:
            units(Shape(1, 1, 2), a, p, h)
        elif vectors == 3:
            units(Shape(1, 1, 3), a, p, h)
        else:
            units(Shape(1, 1, 4), a, p, h)

    return last_units


def make_one_step(simd):
    """The step; `next` holds the outputs until all panels have read h."""
    W, load, store = simd.width, simd.load_n, simd.store_n
    units, last = make_units(simd), make_last_units(simd)

    def one_step(a):
        panels = panel_count(a.H, W)
        if panels == 1:
            last(a, 0, a.h)
            return 0
        for p in range(panels - 1):
            units(Shape(1, 1, 4), a, p, a.next)
        last(a, panels - 1, a.next)
        for j in range(0, a.H, W):
            store(a.h, j, load(a.next, j, a.H - j), a.H - j)
        return 0

    return one_step

"""Products with W_ih and W_hh as users have them: for calls that take one step.

To pack a matrix that is used once takes as long as a product with many rows. Here it is packed
panel by panel just before use, into a room that stays in cache; or, for a single row, not at all.
The order of sums is that of matmul.py, and so are the bits.
"""

from functools import lru_cache

from numba import njit

from .matmul import block_count, make_multiply
from .packing import make_pack_panel
from .simd import at, fma
from .tiles import Panels, gates_out, panel_count


@lru_cache(None)
def make_unpacked(simd):
    """unpacked(M, K, A, given, turned, room, C, S, p, panels): C = S + A·B for some gates panels.

    B's columns are the rows of `given` (4H, K); if that is `turned`, (K, 4H), its columns.
    room: `panels` panels of K rows.
    """
    multiply, pack_panel = make_multiply(simd, gates=True), make_pack_panel(simd, gates=True)
    by_rows, by_columns, W = make_row_times_rows(simd), make_row_times_columns(simd), simd.width

    @njit(error_model="numpy")
    def packed(M, K, A, given, turned, room, C, S, p, panels):
        k_stride, n_stride = (4 * C.limit, 1) if turned else (1, K)
        source, size = gates_out(given, 0, C.limit, W), K * 4 * W
        for q in range(panels):
            pack_panel(given, k_stride, n_stride, K, source, p + q, at(room, q * size))
        multiply(M, K, A, Panels(room, size, 4 * W), C, S, p, panels)

    @njit(error_model="numpy")
    def unpacked(M, K, A, given, turned, room, C, S, p, panels):
        whole = p
        if M == 1 and turned:
            whole = p + panels
        elif M == 1 and K % (block_count(K) * W) == 0:
            whole = min(p + panels, C.limit // W)
        for q in range(p, whole):
            if turned:
                by_columns(K, A.pointer, given, C, S, q)
            else:
                by_rows(K, A.pointer, given, C, S, q)
        if whole < p + panels:
            packed(M, K, A, given, turned, room, C, S, whole, p + panels - whole)

    return unpacked


@lru_cache(None)
def make_row_times_rows(simd):
    """times_rows(K, x, given, C, S, p): one whole panel of S + x·B for x (K,) and `given` (4H, K).

    Squares of it are turned in registers: K must be as many blocks of a multiple of W.
    """
    W, load, store, get, splat = simd.width, simd.load, simd.store, simd.get, simd.splat
    load_turned, real, new_tile = simd.load_turned, simd.real, simd.new_tile(simd.width)

    @njit(error_model="numpy")
    def sums(x, count, source, stride):
        """Σ over k of x[k] times the k-th numbers of W rows."""
        square, total = new_tile(), splat(real(0))
        for k in range(0, count, W):
            load_turned(square, at(source, k), stride)
            for w in range(W):
                total = fma(splat(x[k + w]), get(square, w), total)
        return total

    @njit(error_model="numpy")
    def times_rows(K, x, given, C, S, p):
        blocks = block_count(K)
        count = K // blocks
        for v in range(4):
            o = p * C.panel + v * C.vector
            total = load(S.pointer, o)
            for n in range(blocks):
                total = total + sums(at(x, n * count), count, at(given, o * K + n * count), K)
            store(C.pointer, o, total)

    return times_rows


@lru_cache(None)
def make_row_times_columns(simd):
    """times_columns(K, x, given, C, S, p): the same for `given` (K, 4H)."""
    load_n, store_n, get, put = simd.load_n, simd.store_n, simd.get, simd.put
    splat, real, new_gates = simd.splat, simd.real, simd.new_tile(4)

    @njit(error_model="numpy")
    def sums(acc, x, count, source, H, n):
        """Four vectors of Σ over k of x[k] times row k, H columns apart."""
        for v in range(4):
            put(acc, v, splat(real(0)))
        for k in range(count):
            a = splat(x[k])
            for v in range(4):
                put(acc, v, fma(a, load_n(source, (4 * k + v) * H, n), get(acc, v)))

    @njit(error_model="numpy")
    def times_columns(K, x, given, C, S, p):
        H, n, acc, totals = C.limit, C.limit - p * C.panel, new_gates(), new_gates()
        for v in range(4):
            put(totals, v, load_n(S.pointer, p * C.panel + v * C.vector, n))
        k = 0
        for blocks in range(block_count(K), 0, -1):
            count = panel_count(K - k, blocks)
            sums(acc, at(x, k), count, at(given, 4 * k * H + p * C.panel), H, n)
            for v in range(4):
                put(totals, v, get(totals, v) + get(acc, v))
            k += count
        for v in range(4):
            store_n(C.pointer, p * C.panel + v * C.vector, get(totals, v), n)

    return times_columns

"""One LSTM layer over time, on one CPU thread's share of the work.

A share is a range of batch rows, or a range of panels (hidden units). Rows never meet, so a share
of rows may run through all steps at once; shares of panels must wait for each other after every
step. Whoever calls these kernels (native/layer.c) does the waiting: they know nothing of threads.

Forward:   `project` puts  z = W_ih x + b  for some steps into z;
           `steps` adds  W_hh h[t-1]  and applies the cell. With `projects`, `steps` does both for
           each group of panels: that keeps z in cache where there are rows enough.
           In training, z then holds the activations i, f, g, o instead of pre-activations.
Backward:  `steps_backward` goes from the last step to the first:
           dh[t] = dy[t] + dz[t+1] W_hh, then the cell: dz[t] takes the activations' place.
           `input_gradient` is dx = dz W_ih. Weight gradients are in matmul.py: outer products.

Pointers and strides are in LAYER. Sizes: T steps, B rows, I inputs, H units.
"""

from functools import lru_cache

from numba import njit

from .cell import make_cell
from .matmul import GROUP, make_fill, make_multiply
from .simd import at, is_null
from .struct import Struct
from .tiles import Panels, Rows, gates_out, panel_count, plain_out, rows_of

LAYER = Struct(
    "lf_layer",
    size="T B I H x_t x_b y_t y_b y_slots z_t z_slots c_t c_slots keep projects turn fresh "
    "dy_t dy_b dx_t dx_b varied peepholes coupled gate_kind candidate_kind output_kind",
    data="x y h0 c0 z c w_ih w_hh b p dy dh_n dc dh dh0 dx dp w_hh_back w_ih_back",
    ids="lengths offsets active",
    real="clip cell_clip gate_alpha gate_beta candidate_alpha candidate_beta output_alpha "
    "output_beta",
)
# x[t, b]   at x + t·x_t + b·x_b, (I,)        read
# y[t, b]   at y + (t mod y_slots)·y_t + b·y_b, (H,): h of every step; two slots are a ring
# z[t, b]   at z + (t mod z_slots)·z_t + b·4H, (4H,): pre-activations, then (if `keep`) i, f, g, o,
#           then dz
# c[t, b]   at c + (t mod c_slots)·c_t + b·H, (H,): with one slot the cell is updated in place
# projects  steps projects x itself; turn: even steps take the panels forwards if it is 0, else odd
#           ones do. Back and forth, the weights used last are met first, in cache.
# fresh     h0 is zero: the first step needs no product with it
# h0, c0    (B, H); dh_n (B, H) or null; dy[t, b] at dy + t·dy_t + b·dy_b, or dy null
# dc, dh    (B, H) work: dc holds dc_n before and dc0 after
# lengths   (B,), falling: row b takes the steps 0..lengths[b]. Or null: all take T steps. Then
# offsets   (T + 1,): offsets[t] steps are taken before t, by all rows; offsets[t + 1] - offsets[t]
#           rows, the first ones, take step t
# active    (offsets[T],): t·B + b of each step taken, in order of t and b
# varied    the cell is not the plain one: what it is, peepholes to output_beta, cell.py reads
# p, dp     (3, H): the peepholes of i, f and o, and their gradient
# w_ih, w_hh            packed, gates map, K = I and K = H
# w_hh_back, w_ih_back  packed, plain map, K = 4H, columns H and I


@njit(error_model="numpy")
def x_at(a, t, row):
    return at(a.x, t * a.x_t + row * a.x_b)


@njit(error_model="numpy")
def z_at(a, t, row):
    return at(a.z, (t % a.z_slots) * a.z_t + row * 4 * a.H)


@njit(error_model="numpy")
def h_before(a, t, row):
    """h[t-1] of a row, and the distance to the next row."""
    if t == 0:
        return Rows(at(a.h0, row * a.H), a.H)
    return Rows(at(a.y, ((t - 1) % a.y_slots) * a.y_t + row * a.y_b), a.y_b)


@njit(error_model="numpy")
def c_before(a, t, row):
    if t == 0:
        return at(a.c0, row * a.H)
    return at(a.c, ((t - 1) % a.c_slots) * a.c_t + row * a.H)


@njit(error_model="numpy")
def c_at(a, t, row):
    return at(a.c, (t % a.c_slots) * a.c_t + row * a.H)


@njit(error_model="numpy")
def rows_of_step(a, t):
    """How many rows, the first ones, take step t; all are there before the first step."""
    if t < 0:
        return a.B
    if t >= a.T:
        return 0
    return a.B if is_null(a.offsets) else a.offsets[t + 1] - a.offsets[t]


@njit(error_model="numpy")
def steps_of_row(a, row):
    return a.T if is_null(a.lengths) else a.lengths[row]


@njit(error_model="numpy")
def step_taken(a, n):
    """Of the steps that are taken, the n-th: t·B + b."""
    return n if is_null(a.active) else a.active[n]


@njit(error_model="numpy")
def steps_taken(a):
    return a.T * a.B if is_null(a.offsets) else a.offsets[a.T]


def make_project(simd):
    """z = W_ih x + b for the steps t_begin..t_end of the rows and panels given."""
    multiply, W = make_multiply(simd, gates=True), simd.width

    def project(a, t_begin, t_end, row_begin, row_end, p_begin, p_end):
        for p in range(p_begin, p_end, GROUP):
            panels = min(GROUP, p_end - p)
            B = Panels(at(a.w_ih, p * a.I * 4 * W), a.I * 4 * W, 4 * W)
            if t_end - t_begin <= row_end - row_begin:
                for t in range(t_begin, t_end):
                    C = gates_out(z_at(a, t, row_begin), 4 * a.H, a.H, W)
                    x = Rows(x_at(a, t, row_begin), a.x_b)
                    M = min(row_end, rows_of_step(a, t)) - row_begin
                    multiply(M, a.I, x, B, C, Rows(a.b, 0), p, panels)
            else:  # few rows: the steps of a row are the rows of the product (z does not wrap here)
                for row in range(row_begin, row_end):
                    C = gates_out(z_at(a, t_begin, row), a.z_t, a.H, W)
                    x = Rows(x_at(a, t_begin, row), a.x_t)
                    M = min(t_end, steps_of_row(a, row)) - t_begin
                    multiply(M, a.I, x, B, C, Rows(a.b, 0), p, panels)
        return 0

    return project


@lru_cache(None)
def make_peepholes(simd, varied):
    """peepholes(a, j, n): p_i, p_f and p_o of W units from j on, zeros where there are none."""
    load, splat, real = simd.load_n, simd.splat, simd.real

    @njit(error_model="numpy")
    def peepholes(a, j, n):
        if varied and a.peepholes:
            return load(a.p, j, n), load(a.p, a.H + j, n), load(a.p, 2 * a.H + j, n)
        return splat(real(0)), splat(real(0)), splat(real(0))

    return peepholes


@lru_cache(None)
def make_unit_forward(simd, varied):
    """unit(a, z, c_prev, c, h, j, n): W units from j on of one row, or n of them if n < W."""
    load, store, peepholes = simd.load_n, simd.store_n, make_peepholes(simd, varied)
    cell_forward, _ = make_cell(varied)

    @njit(error_model="numpy")
    def unit(a, z, c_prev, c, h, j, n):
        H = a.H
        z_i, z_f = load(z, j, n), load(z, H + j, n)
        z_g, z_o = load(z, 2 * H + j, n), load(z, 3 * H + j, n)
        i, f, g, o, c_new, h_new = cell_forward(
            a, z_i, z_f, z_g, z_o, load(c_prev, j, n), *peepholes(a, j, n)
        )
        store(c, j, c_new, n)
        store(h, j, h_new, n)
        if a.keep:
            store(z, j, i, n)
            store(z, H + j, f, n)
            store(z, 2 * H + j, g, n)
            store(z, 3 * H + j, o, n)

    return unit


def make_varied(unit):
    """The unit of a varied cell under a name of its own: it is compiled once (native/aot.py)."""

    @njit(error_model="numpy")
    def varied_unit(a, *arguments):
        unit(a, *arguments)

    return varied_unit


def make_steps(simd):
    """The steps t_begin..t_end, for the rows and panels given; z holds the projections."""
    multiply, W = make_multiply(simd, gates=True), simd.width
    plain, varied = make_unit_forward(simd, False), make_varied(make_unit_forward(simd, True))

    @njit(error_model="numpy")
    def cells(a, t, row_begin, row_end, p_begin, p_end):
        for row in range(row_begin, row_end):
            z, c_prev, c = z_at(a, t, row), c_before(a, t, row), c_at(a, t, row)
            h = at(a.y, (t % a.y_slots) * a.y_t + row * a.y_b)
            if a.varied:
                for j in range(p_begin * W, min(p_end * W, a.H), W):
                    varied(a, z, c_prev, c, h, j, a.H - j)
            else:
                for j in range(p_begin * W, min(p_end * W, a.H), W):
                    plain(a, z, c_prev, c, h, j, a.H - j)

    @njit(error_model="numpy")
    def pre_activations(a, t, row, M, p, panels):
        """z += W_hh h[t-1], after z = W_ih x + b if that is left to do."""
        C = gates_out(z_at(a, t, row), 4 * a.H, a.H, W)
        if a.projects:
            B = Panels(at(a.w_ih, p * a.I * 4 * W), a.I * 4 * W, 4 * W)
            multiply(M, a.I, Rows(x_at(a, t, row), a.x_b), B, C, Rows(a.b, 0), p, panels)
        if t > 0 or not a.fresh:
            B = Panels(at(a.w_hh, p * a.H * 4 * W), a.H * 4 * W, 4 * W)
            multiply(M, a.H, h_before(a, t, row), B, C, rows_of(C), p, panels)

    def steps(a, t_begin, t_end, row_begin, row_end, p_begin, p_end):
        groups = panel_count(p_end - p_begin, GROUP)
        for t in range(t_begin, t_end):
            end = min(row_end, rows_of_step(a, t))
            for n in range(groups if end > row_begin else 0):
                g = n if (t + a.turn) % 2 == 0 else groups - 1 - n
                p = p_begin + g * GROUP
                panels = min(GROUP, p_end - p)
                pre_activations(a, t, row_begin, end - row_begin, p, panels)
                cells(a, t, row_begin, end, p, p + panels)
        return 0

    return steps


@lru_cache(None)
def make_unit_backward(simd, varied):
    """unit(a, z, c_prev, c, dh, dc, j, n): dz takes the place of i, f, g, o; dc moves to t-1."""
    load, store, peepholes = simd.load_n, simd.store_n, make_peepholes(simd, varied)
    _, cell_backward = make_cell(varied)

    @njit(error_model="numpy")
    def unit(a, z, c_prev, c, dh, dc, j, n):
        H = a.H
        i, f = load(z, j, n), load(z, H + j, n)
        g, o = load(z, 2 * H + j, n), load(z, 3 * H + j, n)
        c_before, c_now, dh_now, dc_now = (
            load(c_prev, j, n), load(c, j, n), load(dh, j, n), load(dc, j, n)
        )  # fmt: skip
        dz_i, dz_f, dz_g, dz_o, dc_before = cell_backward(
            a, i, f, g, o, c_before, c_now, dh_now, dc_now, *peepholes(a, j, n)
        )
        store(z, j, dz_i, n)
        store(z, H + j, dz_f, n)
        store(z, 2 * H + j, dz_g, n)
        store(z, 3 * H + j, dz_o, n)
        store(dc, j, dc_before, n)

    return unit


def make_steps_backward(simd):
    """The steps t_end-1 down to t_begin, for the rows and panels given (plain panels of units).

    t = -1 is the step before the first: it leaves dh0 and has no cell.
    """
    multiply, fill, add, W = make_multiply(simd), make_fill(simd), make_add(simd), simd.width
    plain, varied = make_unit_backward(simd, False), make_varied(make_unit_backward(simd, True))

    @njit(error_model="numpy")
    def cells(a, t, row_begin, row_end, j_begin, j_end):
        for row in range(row_begin, row_end):
            z, c_prev, c = z_at(a, t, row), c_before(a, t, row), c_at(a, t, row)
            dh, dc = at(a.dh, row * a.H), at(a.dc, row * a.H)
            if a.varied:
                for j in range(j_begin, min(j_end, a.H), W):
                    varied(a, z, c_prev, c, dh, dc, j, a.H - j)
            else:
                for j in range(j_begin, min(j_end, a.H), W):
                    plain(a, z, c_prev, c, dh, dc, j, a.H - j)

    @njit(error_model="numpy")
    def upstream(a, t, row, end, going_on, p, panels):
        """dh = what reaches h[t] from outside: dy[t]; and dh_n, in the rows that end with t."""
        H, dh = a.H, a.dh0 if t < 0 else a.dh
        C = plain_out(at(dh, row * H), H, H, W)
        fill(end - row, C, p, panels)
        if t >= 0 and not is_null(a.dy):
            add(end - row, C, p, panels, at(a.dy, t * a.dy_t + row * a.dy_b), a.dy_b)
        if going_on < end and not is_null(a.dh_n):
            last = plain_out(at(dh, going_on * H), H, H, W)
            add(end - going_on, last, p, panels, at(a.dh_n, going_on * H), H)
        return C

    def steps_backward(a, t_begin, t_end, row_begin, row_end, p_begin, p_end):
        H = a.H
        for t in range(t_end - 1, t_begin - 1, -1):
            end = min(row_end, rows_of_step(a, t))
            going_on = max(row_begin, min(row_end, rows_of_step(a, t + 1)))
            for p in range(p_begin, p_end if end > row_begin else p_begin, GROUP):
                panels = min(GROUP, p_end - p)
                C = upstream(a, t, row_begin, end, going_on, p, panels)
                if going_on > row_begin:
                    B = Panels(at(a.w_hh_back, p * 16 * H * W), 16 * H * W, 4 * W)
                    A = Rows(z_at(a, t + 1, row_begin), 4 * H)
                    multiply(going_on - row_begin, 4 * H, A, B, C, rows_of(C), p, panels)
                if t >= 0:
                    cells(a, t, row_begin, end, p * 4 * W, (p + panels) * 4 * W)
        return 0

    return steps_backward


@lru_cache(None)
def make_add(simd):
    """add(M, C, p, panels, source, source_row): C += the rows of `source`."""
    W, load_n, store_n = simd.width, simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def add(M, C, p, panels, source, source_row):
        for i in range(M):
            for j in range(p * 4 * W, min((p + panels) * 4 * W, C.limit), W):
                total = load_n(C.pointer, i * C.row + j, C.limit - j)
                total = total + load_n(source, i * source_row + j, C.limit - j)
                store_n(C.pointer, i * C.row + j, total, C.limit - j)

    return add


def make_input_gradient(simd):
    """dx = dz W_ih for the steps begin..end of all that are taken.

    They are counted as T·B rows, step by step; but batch row by batch row if those are longer and
    dx is not one matrix of T·B rows, as z is. Products have as many rows as there are side by side.
    """
    multiply, fill, W = make_multiply(simd, ahead=True), make_fill(simd), simd.width

    @njit(error_model="numpy")
    def rows(a, t, row, M, z_row, dx_row):
        """M rows of dx from (t, row) on."""
        A = Rows(z_at(a, t, row), z_row)
        C = plain_out(at(a.dx, t * a.dx_t + row * a.dx_b), dx_row, a.I, W)
        count = panel_count(a.I, 4 * W)
        for p in range(0, count, GROUP):
            panels = min(GROUP, count - p)
            fill(M, C, p, panels)
            B = Panels(at(a.w_ih_back, p * 16 * a.H * W), 16 * a.H * W, 4 * W)
            multiply(M, 4 * a.H, A, B, C, rows_of(C), p, panels)

    @njit(error_model="numpy")
    def falling_rows(a, begin, end):
        """The steps of rows of unlike length, which `offsets` counts."""
        t = 0
        while begin < end:
            while a.offsets[t + 1] <= begin:
                t += 1
            M = min(end, a.offsets[t + 1]) - begin
            rows(a, t, begin - a.offsets[t], M, 4 * a.H, a.dx_b)
            begin += M

    def input_gradient(a, begin, end, worker):
        if not is_null(a.offsets):
            falling_rows(a, begin, end)
            return 0
        if a.dx_t == a.B * a.dx_b:
            rows(a, begin // a.B, begin % a.B, end - begin, 4 * a.H, a.dx_b)
            return 0
        by_steps = a.T <= a.B
        length = a.B if by_steps else a.T
        while begin < end:
            first = begin % length
            M = min(length - first, end - begin)
            if by_steps:
                rows(a, begin // length, first, M, 4 * a.H, a.dx_b)
            else:
                rows(a, first, begin // length, M, a.z_t, a.dx_t)
            begin += M
        return 0

    return input_gradient

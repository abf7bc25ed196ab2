"""One LSTM layer over time, on one CPU thread's share of the work.

A share is a range of batch rows, or a range of panels (hidden units). Rows never meet, so a share
of rows may run through all steps at once; shares of panels must wait for each other after every
step. native/schedule.c, which calls these kernels, does the waiting: they know nothing of threads.

Forward:   `project` puts  z = W_ih x + b  for some steps into z;
           `steps` adds  W_hh h[t-1]  and applies the cell. With `projects`, `steps` does both for
           each group of panels: that keeps z in cache where there are rows enough.
           In training, z then holds the activations i, f, g, o instead of pre-activations.
Backward:  `steps_backward` goes from the last step to the first:
           dh[t] = dy[t] + dz[t+1] W_hh, then the cell: dz[t] takes the activations' place.
           `input_gradient` is dx = dz W_ih. Weight gradients are in matmul.py: outer products.

Pointers, strides and sizes are in LAYER (fields.py), the cells in cells.py. Where a unit is not
ready before its whole row is, as it is projected or normalised, row_cells.py takes the cells after
all panels of a step.
"""

import operator
from functools import lru_cache

from numba import njit

from .cell import is_cut
from .cells import (
    make_plain_backward,
    make_plain_forward,
    make_varied_backward,
    make_varied_forward,
    row_of_step,
)
from .factors import make_multiply_factors, make_narrow_dz, make_narrow_h
from .fields import (
    c_at,
    c_before,
    fh_before,
    fx_at,
    fz_at,
    h_at,
    rows_of_step,
    steps_of_row,
    z_at,
    zh_at,
    zx_at,
)
from .matmul import GROUP, make_fill
from .resets import ends, make_hand_on, make_take_out
from .row_cells import make_row_cells_backward, make_row_cells_forward
from .simd import at, is_null
from .tiles import Matrix, Panels, gates_out, matrix_of, panel_count, plain_out
from .unpacked import make_unpacked

SUMMED = 256  # steps that are summed before they join the sum of all: rounding does not add up


def make_project(simd):
    """z = W_ih x + b for the steps t_begin..t_end of the rows and panels given."""
    multiply, W = make_multiply_factors(simd, gates=True), simd.width

    def project(a, t_begin, t_end, row_begin, row_end, p_begin, p_end):
        for p in range(p_begin, p_end, GROUP):
            panels = min(GROUP, p_end - p)
            B = Panels(at(a.w_ih, p * a.K_x * 4 * W), a.K_x * 4 * W, 4 * W)
            if t_end - t_begin <= row_end - row_begin:
                for t in range(t_begin, t_end):
                    C = gates_out(zx_at(a, t, row_begin), 4 * a.H, a.H, W)
                    x = Matrix(fx_at(a, t, row_begin), a.fx_b)
                    M = min(row_end, rows_of_step(a, t)) - row_begin
                    b = Matrix(at(a.b, row_begin * a.b_row), a.b_row)
                    multiply(a, M, a.K_x, x, B, C, b, p, panels)
            else:  # few rows: the steps of a row are the rows of the product (z does not wrap here)
                for row in range(row_begin, row_end):
                    C = gates_out(zx_at(a, t_begin, row), a.z_t, a.H, W)
                    x = Matrix(fx_at(a, t_begin, row), a.fx_t)
                    M = min(t_end, steps_of_row(a, row)) - t_begin
                    b = Matrix(at(a.b, row * a.b_row), 0)
                    multiply(a, M, a.K_x, x, B, C, b, p, panels)
        return 0

    return project


def make_steps(simd):
    """The steps t_begin..t_end, for the rows and panels given; z holds the projections."""
    multiply, fill = make_multiply_factors(simd, gates=True), make_fill(simd)
    plain, varied = make_plain_forward(simd), make_varied_forward(simd)
    row_cells, unpacked = make_row_cells_forward(simd), make_unpacked(simd)
    hand_on, narrow_h, W = make_hand_on(simd), make_narrow_h(simd), simd.width

    @njit(error_model="numpy")
    def product(a, M, K, A, packed, given, room, C, S, p, panels):
        """C = S + A·W, of packed weights or, if they are `given`, of these."""
        if is_null(given):
            B = Panels(at(packed, p * K * 4 * W), K * 4 * W, 4 * W)
            multiply(a, M, K, A, B, C, S, p, panels)
        else:
            memory = at(packed, room * K * 4 * W)
            unpacked(M, K, A, given, a.turned, memory, C, S, p, panels)

    @njit(error_model="numpy")
    def cells(a, t, row_begin, row_end, p_begin, p_end):
        for row in range(row_begin, row_end):
            if a.varied:
                u = row_of_step(a, t, row)
                for j in range(p_begin * W, min(p_end * W, a.H), W):
                    varied(a, u, j, a.H - j)
            else:
                z, c_prev, c = z_at(a, t, row), c_before(a, t, row), c_at(a, t, row)
                h = h_at(a, t, row)
                for j in range(p_begin * W, min(p_end * W, a.H), W):
                    plain(a, z, c_prev, c, h, j, a.H - j)

    @njit(error_model="numpy")
    def pre_activations(a, t, row, M, p, panels, room):
        """z += W_hh h[t-1], after z = W_ih x + b if that is left to do; with a norm zh and zx."""
        if a.projects:
            C = gates_out(zx_at(a, t, row), 4 * a.H, a.H, W)
            x, b = Matrix(fx_at(a, t, row), a.fx_b), Matrix(at(a.b, row * a.b_row), a.b_row)
            product(a, M, a.K_x, x, a.w_ih, a.W_ih, room, C, b, p, panels)
        C = gates_out(zh_at(a, t, row), 4 * a.H, a.H, W)
        if a.layer_norm:
            fill(M, C, p, panels)
        if t > 0 or not a.fresh:
            h = fh_before(a, t, row)
            product(a, M, a.K_h, h, a.w_hh, a.W_hh, room, C, matrix_of(C), p, panels)

    def steps(a, t_begin, t_end, row_begin, row_end, p_begin, p_end):
        groups = panel_count(p_end - p_begin, GROUP)
        for t in range(t_begin, t_end):
            end = min(row_end, rows_of_step(a, t))
            for n in range(groups if end > row_begin else 0):
                g = n if (t + a.turn) % 2 == 0 else groups - 1 - n
                p = p_begin + g * GROUP
                panels = min(GROUP, p_end - p)
                pre_activations(a, t, row_begin, end - row_begin, p, panels, p_begin)
                if not a.row_cells:
                    cells(a, t, row_begin, end, p, p + panels)
            if a.row_cells and end > row_begin:
                row_cells(a, t, row_begin, end)
            if t + 1 < a.T:
                j_begin, j_end = (0, a.P) if a.row_cells else (p_begin * W, p_end * W)
                if not is_null(a.resets):
                    hand_on(a, t, row_begin, end, j_begin, j_end)
                if a.multiply_gates != 0:
                    narrow_h(a, t, row_begin, end, j_begin, j_end)
        return 0

    return steps


def make_steps_backward(simd):
    """The steps t_end-1 down to t_begin, for the rows and panels given (plain panels of outputs).

    t = -1 is the step before the first: it leaves dh0 and has no cell.
    """
    multiply, fill = make_multiply_factors(simd), make_fill(simd)
    narrow_dz, W = make_narrow_dz(simd), simd.width
    add, scale_rows = make_join(simd, operator.add), make_join(simd, operator.mul)
    row_cells = make_row_cells_backward(simd)
    take_out, add_steps = make_take_out(simd), make_add_steps(simd)
    plain, varied = make_plain_backward(simd), make_varied_backward(simd)

    @njit(error_model="numpy")
    def cells(a, t, row_begin, row_end, j_begin, j_end):
        for row in range(row_begin, row_end):
            if a.varied:
                u = row_of_step(a, t, row)
                for j in range(j_begin, min(j_end, a.H), W):
                    varied(a, u, j, a.H - j)
            else:
                z, c_prev, c = z_at(a, t, row), c_before(a, t, row), c_at(a, t, row)
                dh, dc = at(a.dh, row * a.H), at(a.dc, row * a.H)
                for j in range(j_begin, min(j_end, a.H), W):
                    plain(a, z, c_prev, c, dh, dc, j, a.H - j)

    @njit(error_model="numpy")
    def upstream(a, t, row, end, going_on, fed, p, panels, C):
        """dh += what reaches h[t] but through W_hh: dy[t], dh_n in the rows that end with t, ..."""
        P = a.P
        if t >= 0 and not is_null(a.dy):
            add(end - row, C, p, panels, at(a.dy, t * a.dy_t + row * a.dy_b), a.dy_b)
        if going_on < end and not is_null(a.dh_n):
            last = plain_out(at(C.pointer, (going_on - row) * P), P, P, W)
            add(end - going_on, last, p, panels, at(a.dh_n, going_on * P), P)
        if a.zoneout and fed > row:
            add(fed - row, C, p, panels, at(a.carry, row * P), P)

    @njit(error_model="numpy")
    def clear_ended(a, t, row, fed, p, panels):
        """dh[t] = 0 in the rows to whose h[t] no gradient flows from t + 1."""
        for n in range(row, fed):
            if ends(a, t + 1, n):
                fill(1, plain_out(at(a.dh0 if t < 0 else a.dh, n * a.P), a.P, a.P, W), p, panels)

    @njit(error_model="numpy")
    def part_ended(a, t, row, fed, p, panels):
        """What there is in these rows now belongs to reset_h; dh[t] is what t gives them itself."""
        P, dh = a.P, a.dh0 if t < 0 else a.dh
        j_begin, j_end = p * 4 * W, (p + panels) * 4 * W
        take_out(a, t + 1, row, fed, dh, a.dreset_h, P, j_begin, j_end)
        if a.zoneout:
            take_out(a, t + 1, row, fed, a.carry, a.dreset_h, P, j_begin, j_end)
        for n in range(row, fed if is_null(a.mask) else row):
            if ends(a, t + 1, n):
                C = plain_out(at(dh, n * P), P, P, W)
                upstream(a, t, n, n + 1, n + 1, n + 1, p, panels, C)

    @njit(error_model="numpy")
    def outputs(a, t, row, end, going_on, fed, p, panels):
        """dh[t] of the rows from `row` on, of which those before `fed` get some from t + 1."""
        P = a.P
        C = plain_out(at(a.dh0 if t < 0 else a.dh, row * P), P, P, W)
        fill(end - row, C, p, panels)
        if is_null(a.mask):
            upstream(a, t, row, end, going_on, fed, p, panels, C)
        if not is_null(a.resets):
            clear_ended(a, t, row, fed, p, panels)
        if fed > row:
            B = Panels(at(a.w_hh_back, p * a.hh_panel), a.hh_panel, a.hh_row)
            A = Matrix(fz_at(a, a.fzh, t + 1, row), a.fz_b)
            multiply(a, fed - row, a.K_z, A, B, C, matrix_of(C), p, panels)
        if not is_null(a.mask):
            scale_rows(fed - row, C, p, panels, at(a.mask, row * P), P)
        if not is_null(a.resets):
            part_ended(a, t, row, fed, p, panels)
        if not is_null(a.mask):
            upstream(a, t, row, end, going_on, fed, p, panels, C)

    @njit(error_model="numpy")
    def gradients_of_cells(a, t, row, end, going_on, fed, p, panels):
        """dc as it reaches c[t]: nothing from t + 1 in rows cut off from it; and dcells[t]."""
        C = plain_out(at(a.dc, row * a.H), a.H, a.H, W)
        if fed < going_on:
            fill(going_on - row, C, p, panels)
        if not is_null(a.resets):
            j_begin, j_end = p * 4 * W, (p + panels) * 4 * W
            take_out(a, t + 1, row, fed, a.dc, a.dreset_c, a.H, j_begin, j_end)
        if t >= 0 and not is_null(a.dcells):
            source = at(a.dcells, t * a.dcells_t + row * a.dcells_b)
            add(end - row, C, p, panels, source, a.dcells_b)

    @njit(error_model="numpy")
    def after(a, t, row_begin, row_end, j_begin, j_end):
        """What else dz[t] is needed for."""
        add_steps(a, t, row_begin, row_end, j_begin, j_end)
        if a.multiply_plain != 0:
            narrow_dz(a, t, row_begin, row_end, j_begin, j_end)

    def steps_backward(a, t_begin, t_end, row_begin, row_end, p_begin, p_end):
        for t in range(t_end - 1, t_begin - 1, -1):
            end = min(row_end, rows_of_step(a, t))
            if end <= row_begin:
                continue
            going_on = max(row_begin, min(row_end, rows_of_step(a, t + 1)))
            cut = is_null(a.resets) and is_cut(a.truncate, a.first + t + 1)
            fed = row_begin if cut else going_on
            for p in range(p_begin, p_end, GROUP):
                panels = min(GROUP, p_end - p)
                outputs(a, t, row_begin, end, going_on, fed, p, panels)
                if not a.row_cells:
                    gradients_of_cells(a, t, row_begin, end, going_on, fed, p, panels)
                    if t >= 0:
                        cells(a, t, row_begin, end, p * 4 * W, (p + panels) * 4 * W)
                        after(a, t, row_begin, end, p * 4 * W, (p + panels) * 4 * W)
            if a.row_cells:
                panels = panel_count(a.H, 4 * W)
                gradients_of_cells(a, t, row_begin, end, going_on, fed, 0, panels)
                if t >= 0:
                    row_cells(a, t, row_begin, end)
                    after(a, t, row_begin, end, 0, a.H)
        return 0

    return steps_backward


@lru_cache(None)
def make_add_steps(simd):
    """add_steps(a, t, row_begin, row_end, j_begin, j_end): step_sums += dz[t] of these units."""
    W, load_n, store_n, splat, real = simd.width, simd.load_n, simd.store_n, simd.splat, simd.real

    @njit(error_model="numpy")
    def add_steps(a, t, row_begin, row_end, j_begin, j_end):
        H = a.H
        for row in range(row_begin, row_begin if is_null(a.step_sums) else row_end):
            dz, sums = zx_at(a, t, row), at(a.step_sums, row * 4 * H)
            recent = at(a.step_sums, (a.B + row) * 4 * H)
            for gate in range(4):
                for j in range(j_begin, min(j_end, H), W):
                    o, n = gate * H + j, H - j
                    total = load_n(recent, o, n) + load_n(dz, o, n)
                    if (a.first + t) % SUMMED == 0:
                        store_n(sums, o, load_n(sums, o, n) + total, n)
                        total = splat(real(0))
                    store_n(recent, o, total, n)

    return add_steps


@lru_cache(None)
def make_join(simd, operation):
    """join(M, C, p, panels, other, other_row): C becomes operation(C, the rows of `other`)."""
    W, load_n, store_n = simd.width, simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def join(M, C, p, panels, other, other_row):
        for i in range(M):
            for j in range(p * 4 * W, min((p + panels) * 4 * W, C.limit), W):
                own = load_n(C.pointer, i * C.row + j, C.limit - j)
                joined = operation(own, load_n(other, i * other_row + j, C.limit - j))
                store_n(C.pointer, i * C.row + j, joined, C.limit - j)

    return join


def make_input_gradient(simd):
    """dx = dz W_ih for the steps begin..end of all that are taken.

    They are counted as T·B rows, step by step; but batch row by batch row if those are longer and
    dx is not one matrix of T·B rows, as z is. Products have as many rows as there are side by side.
    """
    multiply, fill = make_multiply_factors(simd, prefetches=True), make_fill(simd)
    W = simd.width

    @njit(error_model="numpy")
    def rows(a, t, row, M, fz_row, dx_row):
        """M rows of dx from (t, row) on."""
        A = Matrix(fz_at(a, a.fzx, t, row), fz_row)
        C = plain_out(at(a.dx, t * a.dx_t + row * a.dx_b), dx_row, a.I, W)
        count = panel_count(a.I, 4 * W)
        for p in range(0, count, GROUP):
            panels = min(GROUP, count - p)
            fill(M, C, p, panels)
            B = Panels(at(a.w_ih_back, p * a.ih_panel), a.ih_panel, a.ih_row)
            multiply(a, M, a.K_z, A, B, C, matrix_of(C), p, panels)

    @njit(error_model="numpy")
    def falling_rows(a, begin, end):
        """The steps of rows of unlike length, which `offsets` counts."""
        t = 0
        while begin < end:
            while a.offsets[t + 1] <= begin:
                t += 1
            M = min(end, a.offsets[t + 1]) - begin
            rows(a, t, begin - a.offsets[t], M, a.fz_b, a.dx_b)
            begin += M

    def input_gradient(a, begin, end, worker):
        if not is_null(a.offsets):
            falling_rows(a, begin, end)
            return 0
        if a.dx_t == a.B * a.dx_b:
            rows(a, begin // a.B, begin % a.B, end - begin, a.fz_b, a.dx_b)
            return 0
        by_steps = a.T <= a.B
        length = a.B if by_steps else a.T
        while begin < end:
            first = begin % length
            M = min(length - first, end - begin)
            if by_steps:
                rows(a, begin // length, first, M, a.fz_b, a.dx_b)
            else:
                rows(a, first, begin // length, M, a.fz_t, a.dx_t)
            begin += M
        return 0

    return input_gradient

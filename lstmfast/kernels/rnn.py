"""A plain recurrent layer over time (Elman 1990), on one CPU thread's share of batch rows.

    h[t] = f(W_ih x[t] + b + W_hh h[t-1])

Rows never meet, so a share of rows runs through all steps at once and the bits do not depend on how
the batch is cut. The outputs are the state: y[t] first takes the projection W_ih x[t] + b, then the
product with y[t-1], then the activation, in place.

Forward:   `rnn_steps`.
Backward:  `rnn_steps_backward` goes from the last step to the first:
           dz[t] = (dy[t] + dz[t+1] W_hh) f'(.), the slope being told from y[t].
           dx = dz W_ih is a `product`, weight gradients are `outer` products: see matmul.py.

Pointers and strides are in RNN. Sizes: T steps, B rows, I inputs, H units.
"""

import operator

from numba import njit

from .activations import activate, slope
from .matmul import GROUP, make_fill, make_multiply
from .sequence import make_join
from .simd import at, is_null
from .struct import Struct
from .tiles import Matrix, Panels, matrix_of, panel_count, plain_out

PROJECTED = 64  # rows whose projections are made together: they stay in L2 until their steps

RNN = Struct(
    "lf_rnn",
    size="T B I H x_t x_b y_t y_b dy_t dy_b mask_t mask_b kind t_begin t_end",
    data="x y h0 b w_ih w_hh w_hh_back dy dz dh dh0",
    flags="mask",
    real="alpha beta",
)
# x[t, b]   at x + t·x_t + b·x_b, (I,)        read
# y[t, b]   at y + t·y_t + b·y_b, (H,)        the state after every step: written, then read
# h0, b     (B, H) or null: zeros; (H,)
# mask      element (t, b) at t·mask_t + b·mask_b: 0 where a row does not take the step and y[t] is
#           y[t-1]. Or null: all steps are taken
# kind, alpha, beta     the activation, as in activations.py
# t_begin, t_end        the steps of this call: all of 0..T, or one piece after another (backward
#                       the last one first), which leaves the same bits
# dy[t, b]  at dy + t·dy_t + b·dy_b, or dy null
# dz        (T, B, H), zeros where no step is taken
# dh        (B, H): holds dh_n before; then what reaches h[t-1] past steps that are not taken
# dh0       (B, H) or null
# w_ih, w_hh, w_hh_back   packed, plain map, H columns, K = I, H and H


@njit(error_model="numpy")
def y_at(a, t, row):
    return at(a.y, t * a.y_t + row * a.y_b)


@njit(error_model="numpy")
def dz_at(a, t, row):
    return at(a.dz, (t * a.B + row) * a.H)


@njit(error_model="numpy")
def state_before(a, t, row):
    """h[t-1] of a row, and the distance to the next row; null if that is h0 and zeros."""
    if t == 0:
        return Matrix(a.h0 if is_null(a.h0) else at(a.h0, row * a.H), a.H)
    return Matrix(y_at(a, t - 1, row), a.y_b)


@njit(error_model="numpy")
def is_taken(a, t, row):
    return is_null(a.mask) or a.mask[t * a.mask_t + row * a.mask_b] != 0


@njit(error_model="numpy")
def packed_panels(w, K, p, width):
    """A packed matrix of K rows, from panel p on."""
    return Panels(at(w, p * K * 4 * width), K * 4 * width, 4 * width)


def make_rnn_steps(simd):
    """The steps t_begin..t_end of the rows begin..end."""
    multiply, W = make_multiply(simd), simd.width
    load, store, splat, real = simd.load_n, simd.store_n, simd.splat, simd.real

    @njit(error_model="numpy")
    def project(a, t_begin, t_end, begin, end, p, panels):
        """y = W_ih x + b."""
        B, b = packed_panels(a.w_ih, a.I, p, W), Matrix(a.b, 0)
        if t_end - t_begin <= end - begin:
            for t in range(t_begin, t_end):
                x = Matrix(at(a.x, t * a.x_t + begin * a.x_b), a.x_b)
                C = plain_out(y_at(a, t, begin), a.y_b, a.H, W)
                multiply(end - begin, a.I, x, B, C, b, p, panels)
        else:  # few rows: the steps of a row are the rows of the product
            for row in range(begin, end):
                x = Matrix(at(a.x, t_begin * a.x_t + row * a.x_b), a.x_t)
                C = plain_out(y_at(a, t_begin, row), a.y_t, a.H, W)
                multiply(t_end - t_begin, a.I, x, B, C, b, p, panels)

    @njit(error_model="numpy")
    def finish(a, t, begin, end, j_begin, j_end):
        """y[t] = f(y[t]), or y[t-1] where the step is not taken."""
        for row in range(begin, end):
            y = y_at(a, t, row)
            if is_taken(a, t, row):
                for j in range(j_begin, j_end, W):
                    value = activate(a.kind, a.alpha, a.beta, load(y, j, a.H - j))
                    store(y, j, value, a.H - j)
            else:
                before = state_before(a, t, row).pointer
                for j in range(j_begin, j_end, W):
                    value = splat(real(0)) if is_null(before) else load(before, j, a.H - j)
                    store(y, j, value, a.H - j)

    @njit(error_model="numpy")
    def step(a, t, begin, end, p, panels):
        before = state_before(a, t, begin)
        if not is_null(before.pointer):
            C = plain_out(y_at(a, t, begin), a.y_b, a.H, W)
            B = packed_panels(a.w_hh, a.H, p, W)
            multiply(end - begin, a.H, before, B, C, matrix_of(C), p, panels)
        finish(a, t, begin, end, p * 4 * W, min((p + panels) * 4 * W, a.H))

    def rnn_steps(a, begin, end, worker):
        count = panel_count(a.H, 4 * W)
        first = a.t_begin
        while first < a.t_end:  # (a range whose step is no constant could raise)
            last = min(first + panel_count(PROJECTED, end - begin), a.t_end)
            for p in range(0, count, GROUP):
                project(a, first, last, begin, end, p, min(GROUP, count - p))
            for t in range(first, last):
                for p in range(0, count, GROUP):
                    step(a, t, begin, end, p, min(GROUP, count - p))
            first = last
        return 0

    return rnn_steps


def make_rnn_steps_backward(simd):
    """dz of the steps t_end-1 down to t_begin of the rows begin..end.

    After step 0 comes dh0 (as step -1), unless that is null.
    """
    multiply, fill, W = make_multiply(simd), make_fill(simd), simd.width
    add = make_join(simd, operator.add)
    load, store, splat, real = simd.load_n, simd.store_n, simd.splat, simd.real

    @njit(error_model="numpy")
    def gradient_of_state(a, t, begin, end, p, panels):
        """dz[t] = dy[t] + dz[t+1] W_hh, and what came past steps that were not taken."""
        M, H = end - begin, a.H
        C = plain_out(at(a.dh0, begin * H) if t < 0 else dz_at(a, t, begin), H, H, W)
        fill(M, C, p, panels)
        if t >= 0 and not is_null(a.dy):
            add(M, C, p, panels, at(a.dy, t * a.dy_t + begin * a.dy_b), a.dy_b)
        if t == a.T - 1 or not is_null(a.mask):
            add(M, C, p, panels, at(a.dh, begin * H), H)
        if t < a.T - 1:
            A = Matrix(dz_at(a, t + 1, begin), H)
            multiply(M, H, A, packed_panels(a.w_hh_back, H, p, W), C, matrix_of(C), p, panels)

    @njit(error_model="numpy")
    def through_activation(a, t, row):
        dz, y, dh = dz_at(a, t, row), y_at(a, t, row), at(a.dh, row * a.H)
        zero, taken = splat(real(0)), is_taken(a, t, row)
        for j in range(0, a.H, W):
            n = a.H - j
            gradient = load(dz, j, n)
            if taken:
                gradient = gradient * slope(a.kind, a.alpha, a.beta, load(y, j, n))
            store(dz, j, gradient if taken else zero, n)
            if not is_null(a.mask):
                store(dh, j, zero if taken else gradient, n)

    def rnn_steps_backward(a, begin, end, worker):
        count = panel_count(a.H, 4 * W)
        last = -1 if a.t_begin == 0 and not is_null(a.dh0) else a.t_begin
        for t in range(a.t_end - 1, last - 1, -1):
            for p in range(0, count, GROUP):
                gradient_of_state(a, t, begin, end, p, min(GROUP, count - p))
            if t >= 0:
                for row in range(begin, end):
                    through_activation(a, t, row)
        return 0

    return rnn_steps_backward

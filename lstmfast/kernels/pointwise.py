"""Element by element: activations and optimizer updates over flat arrays.

Each kernel works on the elements begin..end; elements never meet, so any cut leaves the same bits.
"""

import math

from numba import njit

from .cell import like, sigmoid, sigmoid_slope, tanh_slope
from .simd import at_least, fma, is_null, sqrt, where_positive
from .struct import Struct

UPDATE = Struct(
    "lf_update",
    data="w g m v",
    real="rate beta_1 beta_2 epsilon",
    size="nesterov",
)
# Adam: weights w, gradient g, moments m and v. SGD: m is the velocity or null, beta_1 the momentum.

ACTIVATION = Struct("lf_activation", data="x y", size="kind")
# forward: y = f(x), x may be y. backward: x = dy is multiplied by f'(.), told from the output y.
RELU, SIGMOID, TANH = 0, 1, 2


def make_range(simd, unit):
    """A kernel over begin..end from unit(a, j, n), which does the vector at j, or n lanes of it."""
    W = simd.width

    def kernel(a, begin, end, worker):
        for j in range(begin, end, W):
            unit(a, j, end - j)
        return 0

    return kernel


def make_adam(simd):
    """Adam (Kingma and Ba 2014) as Keras writes it: `rate` holds both bias corrections."""
    real, splat = simd.real, simd.splat
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        g, m, v = load(a.g, j, n), load(a.m, j, n), load(a.v, j, n)
        m = fma(g - m, splat(real(1.0 - a.beta_1)), m)
        v = fma(g * g - v, splat(real(1.0 - a.beta_2)), v)
        step = splat(real(a.rate)) * m / (sqrt(v) + splat(real(a.epsilon)))
        store(a.m, j, m, n)
        store(a.v, j, v, n)
        store(a.w, j, load(a.w, j, n) - step, n)

    return make_range(simd, unit)


def make_sgd(simd):
    """w -= rate g; or, with a velocity, v = momentum v - rate g and w += v (or Nesterov's step)."""
    real, splat = simd.real, simd.splat
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        step = -splat(real(a.rate)) * load(a.g, j, n)
        if not is_null(a.m):
            momentum = splat(real(a.beta_1))
            velocity = fma(momentum, load(a.m, j, n), step)
            store(a.m, j, velocity, n)
            step = fma(momentum, velocity, step) if a.nesterov else velocity
        store(a.w, j, load(a.w, j, n) + step, n)

    return make_range(simd, unit)


def make_activation(simd):
    """y = relu(x), sigmoid(x) or tanh(x)."""
    tanh = math.tanh
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        x = load(a.x, j, n)
        if a.kind == RELU:
            store(a.y, j, at_least(x, like(x, 0)), n)
        elif a.kind == SIGMOID:
            store(a.y, j, sigmoid(x), n)
        else:
            store(a.y, j, tanh(x), n)

    return make_range(simd, unit)


def make_activation_backward(simd):
    """x (the gradient to y) becomes the gradient to the activation's input."""
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        dy, y = load(a.x, j, n), load(a.y, j, n)
        if a.kind == RELU:
            store(a.x, j, where_positive(y, dy, like(dy, 0)), n)
        elif a.kind == SIGMOID:
            store(a.x, j, dy * sigmoid_slope(y), n)
        else:
            store(a.x, j, dy * tanh_slope(y), n)

    return make_range(simd, unit)

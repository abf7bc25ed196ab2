"""Element by element: activations and optimizer updates over flat arrays.

Each kernel works on the elements begin..end; elements never meet, so any cut leaves the same bits.
"""

from numba import njit

from .activations import activate, slope
from .simd import fma, is_null, sqrt
from .struct import Struct

UPDATE = Struct(
    "lf_update",
    data="w g m v",
    real="rate beta_1 beta_2 epsilon",
    size="nesterov",
)
# Adam: weights w, gradient g, moments m and v. SGD: m is the velocity or null, beta_1 the momentum.

ACTIVATION = Struct("lf_activation", data="x y", size="kind", real="alpha beta")
# forward: y = f(x), x may be y. backward: x = dy is multiplied by f'(.), told from the output y.
# kind, alpha and beta are those of activations.py.


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
    """y = f(x)."""
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        store(a.y, j, activate(a.kind, a.alpha, a.beta, load(a.x, j, n)), n)

    return make_range(simd, unit)


def make_activation_backward(simd):
    """x (the gradient to y) becomes the gradient to the activation's input."""
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        slope_at = slope(a.kind, a.alpha, a.beta, load(a.y, j, n))
        store(a.x, j, load(a.x, j, n) * slope_at, n)

    return make_range(simd, unit)

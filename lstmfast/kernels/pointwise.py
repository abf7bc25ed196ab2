"""Element by element: activations and optimizer updates over flat arrays.

Each kernel works on the elements begin..end; elements never meet, so any cut leaves the same bits.
"""

from numba import njit

from .activations import activate, slope
from .simd import at_least, fma, is_null, sqrt
from .struct import Struct

UPDATE = Struct(
    "lf_update",
    data="w g m v h",
    real="rate beta_1 beta_2 epsilon gain decay",
    size="nesterov",
)
# Weights w, gradient g; w first loses the share `decay` of itself. What each kernel reads besides:
#   adam: m and v, the means of g and g²; h, null or the largest v so far, which then stands for v;
#     gain is the share of g itself in the step (Nadam), else 0
#   sgd: m, null or the velocity; beta_1, the momentum
#   rmsprop: v, beta_1 v + beta_2 g²; h, null or the mean of g; m, null or the sum of steps, of
#     which a share `gain` is kept

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


def make_decayed(simd):
    """w - decay w, as of a number apart: the bits of two steps, one after another."""
    real, splat = simd.real, simd.splat

    @njit(error_model="numpy")
    def decayed(a, w):
        if a.decay != 0.0:
            w = w - splat(real(a.decay)) * w
        return w

    return decayed


def make_adam(simd):
    """Adam (Kingma and Ba 2014) as Keras writes it: `rate` holds both bias corrections.

    With h AMSGrad (Reddi et al. 2018), with a gain Nadam (Dozat 2016).
    """
    real, splat, decayed = simd.real, simd.splat, make_decayed(simd)
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        g, m, v = load(a.g, j, n), load(a.m, j, n), load(a.v, j, n)
        m = fma(g - m, splat(real(1.0 - a.beta_1)), m)
        v = fma(g * g - v, splat(real(1.0 - a.beta_2)), v)
        store(a.m, j, m, n)
        store(a.v, j, v, n)
        if not is_null(a.h):
            v = at_least(v, load(a.h, j, n))
            store(a.h, j, v, n)
        step = splat(real(a.rate)) * m
        if a.gain != 0.0:
            step = fma(splat(real(a.gain)), g, step)
        step = step / (sqrt(v) + splat(real(a.epsilon)))
        store(a.w, j, decayed(a, load(a.w, j, n)) - step, n)

    return make_range(simd, unit)


def make_sgd(simd):
    """w -= rate g; or, with a velocity, v = momentum v - rate g and w += v (or Nesterov's step)."""
    real, splat, decayed = simd.real, simd.splat, make_decayed(simd)
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        step = -splat(real(a.rate)) * load(a.g, j, n)
        if not is_null(a.m):
            momentum = splat(real(a.beta_1))
            velocity = fma(momentum, load(a.m, j, n), step)
            store(a.m, j, velocity, n)
            step = fma(momentum, velocity, step) if a.nesterov else velocity
        store(a.w, j, decayed(a, load(a.w, j, n)) + step, n)

    return make_range(simd, unit)


def make_rmsprop(simd):
    """w -= rate g / √(v + epsilon), v = beta_1 v + beta_2 g² (Tieleman and Hinton 2012).

    With h, the mean of g, its square is taken from v. Adagrad (Duchi et al. 2011) has both betas 1.
    """
    real, splat, decayed = simd.real, simd.splat, make_decayed(simd)
    load, store = simd.load_n, simd.store_n

    @njit(error_model="numpy")
    def unit(a, j, n):
        g, kept, new = load(a.g, j, n), splat(real(a.beta_1)), splat(real(a.beta_2))
        v = fma(new, g * g, kept * load(a.v, j, n))
        store(a.v, j, v, n)
        if not is_null(a.h):
            mean = fma(new, g, kept * load(a.h, j, n))
            store(a.h, j, mean, n)
            v = at_least(v - mean * mean, splat(real(0)))
        step = splat(real(a.rate)) * g / sqrt(v + splat(real(a.epsilon)))
        if not is_null(a.m):
            step = fma(splat(real(a.gain)), load(a.m, j, n), step)
            store(a.m, j, step, n)
        store(a.w, j, decayed(a, load(a.w, j, n)) - step, n)

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

"""Activations by kind, with ONNX's names, formulas and parameters, and their slopes.

Ordinary Python on numbers of one kind, as in `cell.py`: float32 or float64 scalars, or the SIMD
vectors of `simd` (through the overloads of `vecmath`).

A slope is told from the activation's value y = f(x), so that a backward pass keeps y alone. That
needs alpha > 0 for the leaky relu and elu: with another sign y does not tell where x was.
"""

from math import exp, expm1, log1p, tanh

from numba import njit

KINDS = (
    "sigmoid", "tanh", "relu", "hard_sigmoid", "affine", "leaky_relu", "thresholded_relu",
    "scaled_tanh", "elu", "softsign", "softplus",
)  # fmt: skip
(
    SIGMOID, TANH, RELU, HARD_SIGMOID, AFFINE, LEAKY_RELU, THRESHOLDED_RELU,
    SCALED_TANH, ELU, SOFTSIGN, SOFTPLUS,
) = range(len(KINDS))  # fmt: skip


def like(x, value):
    """`value` as a number of x's kind."""
    return type(x)(value)


def quotient(x, y):
    """x / y; of vectors by the fastest way that is good to a bit."""
    return x / y


def where_positive(condition, x, y):
    """x where the condition is above zero, else y (there too where it is NaN)."""
    return x if condition > 0 else y


def at_least(x, low):
    """The larger of the two; NaN where x is NaN."""
    return low if low > x else x


def at_most(x, high):
    """The smaller of the two; NaN where x is NaN."""
    return high if high < x else x


@njit(error_model="numpy")
def magnitude(x):
    return at_least(x, -x)


@njit(error_model="numpy")
def clipped(x, limit):
    """x held in -limit..limit."""
    high = like(x, limit)
    return at_least(at_most(x, high), -high)


@njit(error_model="numpy")
def sigmoid(z):
    one = like(z, 1)
    return quotient(one, one + exp(-z))


@njit(error_model="numpy")
def sigmoid_slope(s):
    """The derivative of sigmoid where its value is s."""
    return s * (like(s, 1) - s)


@njit(error_model="numpy")
def tanh_slope(t):
    """The derivative of tanh where its value is t."""
    return like(t, 1) - t * t


@njit(error_model="numpy")
def softsign(x):
    x = clipped(x, 1e18)  # beyond, ±1 is exact, and ∞ / ∞ is not
    return quotient(x, like(x, 1) + magnitude(x))


@njit(error_model="numpy")
def softplus(x):
    return at_least(x, like(x, 0)) + log1p(exp(-magnitude(x)))


@njit(error_model="numpy")
def rarer_activation(kind, alpha, beta, x):
    a, b, zero, one = like(x, alpha), like(x, beta), like(x, 0), like(x, 1)
    if kind == RELU:
        return at_least(x, zero)
    if kind == HARD_SIGMOID:
        return at_least(at_most(a * x + b, one), zero)
    if kind == AFFINE:
        return a * x + b
    if kind == LEAKY_RELU:
        return where_positive(-x, a * x, x)
    if kind == THRESHOLDED_RELU:
        return where_positive(a - x, zero, x)
    if kind == SCALED_TANH:
        return a * tanh(b * x)
    if kind == ELU:
        return where_positive(-x, a * expm1(x), x)
    if kind == SOFTSIGN:
        return softsign(x)
    return softplus(x)


@njit(error_model="numpy")
def rarer_slope(kind, alpha, beta, y):
    a, b, zero, one = like(y, alpha), like(y, beta), like(y, 0), like(y, 1)
    if kind == RELU:
        return where_positive(y, one, zero)
    if kind == HARD_SIGMOID:
        return where_positive(sigmoid_slope(y), a, zero)
    if kind == AFFINE:
        return a
    if kind == LEAKY_RELU:
        return where_positive(-y, a, one)
    if kind == THRESHOLDED_RELU:
        return where_positive(magnitude(y), one, zero)
    if kind == SCALED_TANH:
        return b * (a - quotient(y * y, a))
    if kind == ELU:
        return where_positive(-y, y + a, one)
    if kind == SOFTSIGN:
        rest = one - magnitude(y)
        return rest * rest
    return -expm1(-y)


@njit(error_model="numpy")
def activate(kind, alpha, beta, x):
    """f(x) for the kind and its parameters (float64 scalars)."""
    if kind == SIGMOID:
        return sigmoid(x)
    if kind == TANH:
        return tanh(x)
    return rarer_activation(kind, alpha, beta, x)


@njit(error_model="numpy")
def slope(kind, alpha, beta, y):
    """f'(x) where f(x) = y."""
    if kind == SIGMOID:
        return sigmoid_slope(y)
    if kind == TANH:
        return tanh_slope(y)
    return rarer_slope(kind, alpha, beta, y)

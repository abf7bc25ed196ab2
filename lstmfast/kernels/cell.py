"""THE gate formulas: the only place in the repository where they stand.

Ordinary Python on numbers of one kind: float32 or float64 scalars, the SIMD vectors of `simd`
(through overloads of exp, tanh and quotient) or scalars in a CUDA kernel. `like(x, 1)` is a
constant of x's kind; a literal would turn float32 into float64.

Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000):

    i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)        z = W_ih x + W_hh h_prev + b
    c = f c_prev + i g
    h = o tanh(c)
"""

from math import exp, tanh

from numba import njit


def like(x, value):
    """`value` as a number of x's kind."""
    return type(x)(value)


def quotient(x, y):
    """x / y; of vectors by the fastest way that is good to a bit."""
    return x / y


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
def cell_forward(z_i, z_f, z_g, z_o, c_prev):
    """One step of one unit: (i, f, g, o, c, h)."""
    i = sigmoid(z_i)
    f = sigmoid(z_f)
    g = tanh(z_g)
    o = sigmoid(z_o)
    c = f * c_prev + i * g
    return i, f, g, o, c, o * tanh(c)


@njit(error_model="numpy")
def cell_backward(i, f, g, o, c_prev, c, dh, dc):
    """The step backwards: (dz_i, dz_f, dz_g, dz_o, dc_prev).

    `dh` and `dc` are the gradients that reach h and c from all that follows.
    """
    tanh_c = tanh(c)
    dc = dc + dh * o * tanh_slope(tanh_c)
    dz_i = dc * g * sigmoid_slope(i)
    dz_f = dc * c_prev * sigmoid_slope(f)
    dz_g = dc * i * tanh_slope(g)
    dz_o = dh * tanh_c * sigmoid_slope(o)
    return dz_i, dz_f, dz_g, dz_o, dc * f

"""The oracle: what lstmfast computes, written as slowly and as plainly as possible.

Everything is float64 NumPy, one row of the batch at a time, with no shortcut that would need
a proof of its own. Nothing here is shared with the library: this file imports numpy alone.
Arrays are time-major, the gates stand in the order i, f, g, o, and a state is (h, c).

The backward passes are in turn held against central differences in ``test_naive.py``.
"""

from typing import NamedTuple

import numpy as np


class Cell(NamedTuple):
    """All that the cell of one row saw and made in one step; every field is a vector of H."""

    c_prev: np.ndarray
    z: np.ndarray  # (4, H): the pre-activations with the peepholes, not clipped
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    raw_c: np.ndarray  # before the cell is clipped
    c: np.ndarray
    h: np.ndarray


class Step(NamedTuple):
    """What one row saw in one step, x of I entries, followed by its `Cell`."""

    x: np.ndarray
    h_prev: np.ndarray
    c_prev: np.ndarray
    z: np.ndarray
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    raw_c: np.ndarray
    c: np.ndarray
    h: np.ndarray


class Variant(NamedTuple):
    """What a cell may be other than plain; activations as (name, alpha, beta)."""

    activation: tuple = ("tanh", 0, 0)
    recurrent_activation: tuple = ("sigmoid", 0, 0)
    output_activation: tuple = ("tanh", 0, 0)
    coupled: bool = False
    clip: float = np.inf
    cell_clip: float = np.inf


PLAIN = Variant()


def double(a):
    """Return a float64 copy of an array."""
    return np.array(a, dtype=np.float64)


def bfloat16(a):
    """Return the nearest numbers whose significand has 8 bits, ties to even, as float64."""
    bits = np.asarray(a, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return double((rounded & np.uint32(0xFFFF0000)).view(np.float32))


def int8(a, least=1e-30):
    """Return rows in steps of a 127th of their largest magnitude, or of `least`, as float64."""
    largest = np.maximum(abs(np.asarray(a, np.float32)).max(-1, keepdims=True), np.float32(least))
    steps = np.rint(np.asarray(a, np.float32) * (np.float32(127) / largest))
    return steps * double(largest / np.float32(127))


def int8_weights(W):
    """The same, the steps rounded up to 16 bits of significand."""
    largest = np.maximum(abs(np.asarray(W, np.float32)).max(-1, keepdims=True), np.float32(1e-30))
    bits = (largest / np.float32(127)).view(np.uint32) + np.uint32(0xFF)
    scale = (bits & np.uint32(0xFFFFFF00)).view(np.float32)
    return np.rint(np.asarray(W, np.float32) * (np.float32(1) / scale)) * double(scale)


class Rounding(NamedTuple):
    """What factors of products with W_ih and W_hh are rounded by."""

    weights: object = double
    inputs: object = double  # x; and dz
    outputs: object = double  # h


EXACT = Rounding()
BFLOAT16 = Rounding(bfloat16, bfloat16, bfloat16)
INT8 = Rounding(int8_weights, int8, lambda h: int8(h, 1.0))  # outputs are at most 1,
INT8_OF_ANY = Rounding(int8_weights, int8, int8)  # or not


def sigmoid(z):
    """Return 1 / (1 + exp(-z)) without overflow at either end."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


# ---------------------------------------------------------------- activations

# name: f(x, alpha, beta) and its derivative, as the ONNX operator LSTM names and defines them.
ACTIVATIONS = {
    "sigmoid": (lambda x, a, b: sigmoid(x), lambda x, a, b: sigmoid(x) * sigmoid(-x)),
    "tanh": (lambda x, a, b: np.tanh(x), lambda x, a, b: 1 - np.tanh(x) ** 2),
    "relu": (lambda x, a, b: np.maximum(x, 0), lambda x, a, b: np.where(x > 0, 1.0, 0)),
    "hard_sigmoid": (
        lambda x, a, b: np.clip(a * x + b, 0, 1),
        lambda x, a, b: np.where((a * x + b > 0) & (a * x + b < 1), a, 0),
    ),
    "affine": (lambda x, a, b: a * x + b, lambda x, a, b: np.full_like(x, a)),
    "leaky_relu": (
        lambda x, a, b: np.where(x >= 0, x, a * x),
        lambda x, a, b: np.where(x >= 0, 1, a),
    ),
    "thresholded_relu": (
        lambda x, a, b: np.where(x >= a, x, 0),
        lambda x, a, b: np.where(x >= a, 1.0, 0),
    ),
    "scaled_tanh": (
        lambda x, a, b: a * np.tanh(b * x),
        lambda x, a, b: a * b * (1 - np.tanh(b * x) ** 2),
    ),
    "elu": (
        lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))),
        lambda x, a, b: np.where(x >= 0, 1, a * np.exp(np.minimum(x, 0))),
    ),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), lambda x, a, b: 1 / (1 + np.abs(x)) ** 2),
    "softplus": (lambda x, a, b: np.logaddexp(0, x), lambda x, a, b: sigmoid(x)),
}


def activate(activation, x):
    """Return f(x)."""
    name, alpha, beta = activation
    return ACTIVATIONS[name][0](x, alpha, beta)


def slope(activation, x):
    """Return f'(x)."""
    name, alpha, beta = activation
    return ACTIVATIONS[name][1](x, alpha, beta)


# ---------------------------------------------------------------- random numbers


def philox(counter, key):
    """Return the four words of Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011).

    Parameters
    ----------
    counter : four uint32, or arrays of them
    key : two uint32
    """
    x0, x1, x2, x3 = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        left, right = x0 * 0xD2511F53, x2 * 0xCD9E8D57
        x0, x1 = (right >> 32) ^ x1 ^ k0, right & 0xFFFFFFFF
        x2, x3 = (left >> 32) ^ x3 ^ k1, left & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return x0, x1, x2, x3


# ---------------------------------------------------------------- layer normalisation


def layer_norm(v, epsilon=1e-5):
    """Return (v - mean v) / sqrt(var v + epsilon) of a vector (Ba, Kiros and Hinton, 2016)."""
    return (v - v.mean()) / np.sqrt(v.var() + epsilon)


def layer_norm_backward(v, d, epsilon=1e-5):
    """Return the gradient of v from the gradient d of `layer_norm`."""
    n = layer_norm(v, epsilon)
    return (d - d.mean() - n * (d * n).mean()) / np.sqrt(v.var() + epsilon)


# ---------------------------------------------------------------- LSTM


def lstm_cell(z, c_prev, p, v, norm=None):
    """Take one row from its pre-activations to its state (Gers, Schmidhuber and Cummins, 2000).

    Parameters
    ----------
    z : (4H,): W_ih x + W_hh h_prev + b, or what stands for it
    c_prev : (H,), p : (3, H)
    v : Variant
    norm : (g_c, b_c), each (H,), or None
        Scale and shift of the layer-normalised cell that the output is read from.

    Returns
    -------
    Cell
    """
    z_i, z_f, z_g, z_o = np.split(z, 4)
    z_i, z_f = z_i + p[0] * c_prev, z_f + p[1] * c_prev
    i = activate(v.recurrent_activation, np.clip(z_i, -v.clip, v.clip))
    f = 1 - i if v.coupled else activate(v.recurrent_activation, np.clip(z_f, -v.clip, v.clip))
    g = activate(v.activation, np.clip(z_g, -v.clip, v.clip))
    raw_c = f * c_prev + i * g
    c = np.clip(raw_c, -v.cell_clip, v.cell_clip)
    z_o = z_o + p[2] * c
    o = activate(v.recurrent_activation, np.clip(z_o, -v.clip, v.clip))
    h = o * activate(v.output_activation, output_cell(c, norm))
    return Cell(c_prev, np.array([z_i, z_f, z_g, z_o]), i, f, g, o, raw_c, c, h)


def output_cell(c, norm):
    """Return the cell as the output activation sees it."""
    return c if norm is None else layer_norm(c) * norm[0] + norm[1]


def lstm_cell_backward(cell, dh, dc, p, v, norm=None):
    """Take the gradients of a cell's h and c back through the gates.

    Returns
    -------
    dz : (4H,), gradient of the pre-activations
    dc_prev : (H,)
    dnorm : (dg_c, db_c), or None without `norm`
    """
    c_prev, z, i, f, g, o, raw_c, c, _ = cell
    inside = np.abs(z) < v.clip
    gates = slope(v.recurrent_activation, np.clip(z, -v.clip, v.clip)) * inside
    candidate = slope(v.activation, np.clip(z[2], -v.clip, v.clip)) * inside[2]
    n = output_cell(c, norm)
    dz_o = dh * activate(v.output_activation, n) * gates[3]
    dn, dnorm = dh * o * slope(v.output_activation, n), None
    if norm is not None:
        dnorm, dn = (dn * layer_norm(c), dn), layer_norm_backward(c, dn * norm[0])
    dc = dc + dn + p[2] * dz_o
    dc = dc * (np.abs(raw_c) < v.cell_clip)
    di, df, dg = dc * g, dc * c_prev, dc * i
    if v.coupled:
        di, df = di - df, np.zeros_like(df)
    dz_i, dz_f, dz_g = di * gates[0], df * gates[1], dg * candidate
    dc_prev = dc * f + p[0] * dz_i + p[1] * dz_f
    return np.concatenate([dz_i, dz_f, dz_g, dz_o]), dc_prev, dnorm


def peephole_gradient(dz, cell):
    """Return the gradient (3, H) of the peepholes from that of the pre-activations, (4H,)."""
    dz_i, dz_f, _, dz_o = np.split(dz, 4)
    return np.array([dz_i * cell.c_prev, dz_f * cell.c_prev, dz_o * cell.c])


def lstm_step(x, h_prev, c_prev, W_ih, W_hh, b, p, v):
    """Take one row through one step; W_ih (4H, I), W_hh (4H, H), b (4H,), p (3, H).

    Returns
    -------
    Step
    """
    return Step(x, h_prev, *lstm_cell(W_ih @ x + W_hh @ h_prev + b, c_prev, p, v))


def lstm_step_backward(step, dh, dc, p, v):
    """Take the gradients of one step's h and c back through the gates.

    Returns
    -------
    dz : (4H,), gradient of the pre-activations
    dc_prev : (H,)
    """
    return lstm_cell_backward(Cell(*step[2:]), dh, dc, p, v)[:2]


def lstm_trace(x, W_ih, W_hh, b=None, h0=None, c0=None, p=None, variant=PLAIN):
    """Run the layer and keep every step: ``trace[n][t]`` is row n at time t."""
    T, B, _ = x.shape
    H = W_hh.shape[1]
    x, W_ih, W_hh = double(x), double(W_ih), double(W_hh)
    b = np.zeros(4 * H) if b is None else double(b)
    h0 = np.zeros((B, H)) if h0 is None else double(h0)
    c0 = np.zeros((B, H)) if c0 is None else double(c0)
    p = np.zeros((3, H)) if p is None else double(p)
    trace = []
    for n in range(B):
        h, c, steps = h0[n], c0[n], []
        for t in range(T):
            steps.append(lstm_step(x[t, n], h, c, W_ih, W_hh, b, p, variant))
            h, c = steps[-1].h, steps[-1].c
        trace.append(steps)
    return trace


def lstm_forward(x, W_ih, W_hh, b=None, h0=None, c0=None, p=None, variant=PLAIN):
    """Run one LSTM layer.

    Parameters
    ----------
    x : (T, B, I)
    W_ih : (4H, I), W_hh : (4H, H), b : (4H,) or None for zeros
    h0, c0 : (B, H) or None for zeros
    p : (3, H) or None for zeros: the peepholes of i, f and o
    variant : Variant

    Returns
    -------
    y : (T, B, H)
    (h_n, c_n) : each (B, H)
    """
    trace = lstm_trace(x, W_ih, W_hh, b, h0, c0, p, variant)
    y = np.array([[step.h for step in steps] for steps in trace]).swapaxes(0, 1)
    h_n = np.array([steps[-1].h for steps in trace])
    c_n = np.array([steps[-1].c for steps in trace])
    return y, (h_n, c_n)


def lstm_backward(
    x, W_ih, W_hh, b=None, h0=None, c0=None, p=None, variant=PLAIN, dy=None, dh_n=None, dc_n=None
):
    """Backpropagate through time; the gradient of sum(dy*y) + sum(dh_n*h_n) + sum(dc_n*c_n).

    Parameters
    ----------
    x, W_ih, W_hh, b, h0, c0, p, variant
        As in `lstm_forward`.
    dy : (T, B, H) or None for zeros
    dh_n, dc_n : (B, H) or None for zeros

    Returns
    -------
    dict of str to array
        ``dx, dh0, dc0, dW_ih, dW_hh, db, dp``, each shaped like what it is the gradient of.
    """
    T, B, I = x.shape
    H = W_hh.shape[1]
    trace = lstm_trace(x, W_ih, W_hh, b, h0, c0, p, variant)
    W_ih, W_hh = double(W_ih), double(W_hh)
    p, dp = np.zeros((3, H)) if p is None else double(p), np.zeros((3, H))
    dy = np.zeros((T, B, H)) if dy is None else double(dy)
    dh0 = np.zeros((B, H)) if dh_n is None else double(dh_n)
    dc0 = np.zeros((B, H)) if dc_n is None else double(dc_n)
    dx, db = np.zeros((T, B, I)), np.zeros(4 * H)
    dW_ih, dW_hh = np.zeros((4 * H, I)), np.zeros((4 * H, H))
    for n in range(B):
        for t in reversed(range(T)):
            step = trace[n][t]
            dz, dc0[n] = lstm_step_backward(step, dy[t, n] + dh0[n], dc0[n], p, variant)
            dx[t, n] = dz @ W_ih
            dh0[n] = dz @ W_hh
            dW_ih += np.outer(dz, step.x)
            dW_hh += np.outer(dz, step.h_prev)
            db += dz
            dp += peephole_gradient(dz, step)
    weights = {"dW_ih": dW_ih, "dW_hh": dW_hh, "db": db, "dp": dp}
    return {"dx": dx, "dh0": dh0, "dc0": dc0, **weights}


# ---------------------------------------------------------------- dense, embedding


def dense_forward(x, W, b=None):
    """Return y (M, N) of x (M, K), W (K, N), b (N,) or None."""
    y = double(x) @ double(W)
    return y if b is None else y + double(b)


def dense_backward(x, W, dy):
    """Return dx (M, K), dW (K, N) and db (N,) for the upstream gradient dy (M, N)."""
    return double(dy) @ double(W).T, double(x).T @ double(dy), double(dy).sum(axis=0)


def embedding_backward(ids, dy, vocabulary):
    """Return the gradient (vocabulary, E) of a table whose rows `ids` were looked up."""
    dtable = np.zeros((vocabulary, dy.shape[-1]))
    for where in np.ndindex(ids.shape):
        dtable[ids[where]] += double(dy[where])
    return dtable


# ---------------------------------------------------------------- softmax, cross-entropy


def log_softmax(logits):
    """Return log softmax of each row of (M, N)."""
    shifted = double(logits)
    shifted -= shifted.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(logits):
    """Return softmax of each row of (M, N)."""
    return np.exp(log_softmax(logits))


def distribution(targets, N):
    """Return targets as an (M, N) float64 distribution, whether given as ids (M,) or as one."""
    return double(targets) if targets.ndim == 2 else np.eye(N)[targets]


def softmax_crossentropy(logits, targets):
    """Cross-entropy of softmax(logits) with the targets.

    Parameters
    ----------
    logits : (M, N)
    targets : (M,) integer classes, or (M, N) distributions

    Returns
    -------
    losses : (M,)
    correct : (M,) bool, whether the largest logit is that of the (largest) target
    gradient : (M, N), of the sum of the losses with respect to the logits
    """
    wanted = distribution(targets, logits.shape[1])
    losses = -(wanted * log_softmax(logits)).sum(axis=1)
    correct = logits.argmax(axis=1) == wanted.argmax(axis=1)
    return losses, correct, softmax(logits) * wanted.sum(axis=1, keepdims=True) - wanted


def crossentropy(probabilities, targets, epsilon=1e-7):
    """Cross-entropy from probabilities (M, N), clipped to [epsilon, 1 - epsilon] as Keras does.

    Returns
    -------
    losses, correct, gradient
        As `softmax_crossentropy`, the gradient being that of the sum with respect to the
        probabilities: 0 where the clip holds.
    """
    p, wanted = double(probabilities), distribution(targets, probabilities.shape[1])
    clipped = np.clip(p, epsilon, 1 - epsilon)
    losses = -(wanted * np.log(clipped)).sum(axis=1)
    correct = p.argmax(axis=1) == wanted.argmax(axis=1)
    return losses, correct, np.where(clipped == p, -wanted / clipped, 0.0)


# ---------------------------------------------------------------- activations


def relu(x):
    """Return max(x, 0)."""
    return np.maximum(double(x), 0.0)


def activation_forward(name, x):
    """Return relu, sigmoid or tanh of x."""
    return {"relu": relu, "sigmoid": sigmoid, "tanh": np.tanh}[name](double(x))


def activation_backward(name, y, dy):
    """Return the gradient of an activation's input from its output y and the gradient dy."""
    y, dy = double(y), double(dy)
    slope = {"relu": y > 0, "sigmoid": y * (1 - y), "tanh": 1 - y**2}[name]
    return dy * slope


# ---------------------------------------------------------------- optimizers


def adam(w, gradients, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Run Adam as Keras 3 does (epsilon outside the bias correction) over given gradients.

    Source: Kingma and Ba (2015), algorithm 1 as reordered at the end of its section 2.

    Returns
    -------
    w, m, v
        The weights and both moments after the last gradient.
    """
    w = double(w)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(map(double, gradients), start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        step_size = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        w = w - step_size * m / (np.sqrt(v) + epsilon)
    return w, m, v


def sgd(w, gradients, learning_rate=0.01, momentum=0.0, nesterov=False):
    """Run SGD as Keras 3 does over given gradients; return the weights and the velocity."""
    w = double(w)
    velocity = np.zeros_like(w)
    for g in map(double, gradients):
        velocity = momentum * velocity - learning_rate * g
        w = w + (momentum * velocity - learning_rate * g if nesterov else velocity)
    return w, velocity

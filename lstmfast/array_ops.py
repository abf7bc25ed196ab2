"""The operations around the LSTM, on NumPy arrays: Dense, Embedding, losses, optimizer updates.

Part of `ops`, which is where to import them from; see there for what holds of all of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import activations, capi
from .arguments import Array, check_shape, flag, integer, number
from .arrays import (
    check_precision,
    dense,
    float_array,
    new,
    not_empty,
    rows_in_place,
    whole_numbers,
    writable,
)
from .squares import squares_of, times_power

KERAS_EPSILON = 1e-7


def _double(array: Array) -> bool:
    return array.dtype == np.float64


# ---------------------------------------------------------------- Dense


def dense_forward(
    x: Array, W: Array, b: Array | None = None, *, precision: str | None = None
) -> Array:
    """y (M, N) = x (M, K) W (K, N) + b (N,), a new array; b None: zeros.

    precision: None or the arrays' own; a smaller one is for arrays on a GPU.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    x, W = _matrix("x", x), _matrix("W", W)
    (M, K), N = x.shape, W.shape[1]
    check_shape("W", W.shape, (K, "N"))
    float_array("W", W, x.dtype)
    check_precision(precision, x.dtype)
    b = None if b is None else dense("b", b, (N,), x.dtype)
    y = new((M, N), x.dtype)
    capi.product(_double(x), M, N, K, x, _row(x), W, _row(W), 1, y, b)
    return y


def dense_backward(
    x: Array, W: Array, dy: Array, *, need_dx: bool = True, precision: str | None = None
) -> tuple[Array | None, Array, Array]:
    """(dx (M, K) or None, dW (K, N), db (N,)) for dy (M, N), new arrays.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    x, W = np.ascontiguousarray(_matrix("x", x)), _matrix("W", W)
    (M, K), N = x.shape, W.shape[1]
    check_shape("W", W.shape, (K, "N"))
    float_array("W", W, x.dtype)
    check_precision(precision, x.dtype)
    dy = dense("dy", dy, (M, N), x.dtype)
    dx = _input_gradient(dy, W) if need_dx else None
    dW, db = new((K, N), x.dtype), np.empty(N, x.dtype)
    capi.outer(_double(x), M, K, N, x, dy, dW, db)
    return dx, dW, db


def _input_gradient(dy: Array, W: Array) -> Array:
    """dy (M, N) Wᵀ: the left factor is read as it is, so the smaller one shall be the right one."""
    (M, N), K = dy.shape, W.shape[0]
    if 2 * M > K:
        dx = new((M, K), dy.dtype)
        capi.product(_double(dy), M, K, N, dy, N, W, 1, _row(W), dx, None)
        return dx
    turned = np.empty((K, M), dy.dtype)
    capi.product(_double(dy), K, M, N, W, _row(W), dy, 1, N, turned, None)
    return np.ascontiguousarray(turned.T)


def _matrix(name: str, value: Any) -> Array:
    """A matrix whose rows are contiguous and do not overlap."""
    array = float_array(name, value)
    check_shape(name, array.shape, ("M", "N"))
    not_empty(name, array)
    return rows_in_place(name, array)


def _row(matrix: Array) -> int:
    return int(matrix.strides[0] // matrix.itemsize)


# ---------------------------------------------------------------- Embedding


def embedding_forward(ids: Array, table: Array) -> Array:
    """table[ids]: (*ids.shape, E) for ids of any integer type and table (V, E).

    Raises
    ------
    ValueError
        An id is not in 0..V-1, or is no integer.
    """
    float_array("table", table)
    check_shape("table", table.shape, ("V", "E"))
    return np.take(table, whole_numbers("ids", ids, len(table)), axis=0)


def embedding_backward(ids: Array, dy: Array, vocabulary: int) -> Array:
    """The gradient (V, E) to the table: the rows of dy (*ids.shape, E) added up by id.

    Raises
    ------
    ValueError
        An id is not in 0..vocabulary-1, or dy does not fit.
    """
    ids = whole_numbers("ids", ids, integer("vocabulary", vocabulary, 1))
    check_shape("dy", float_array("dy", dy).shape, (*ids.shape, "E"))
    E = dy.shape[-1]
    gradient = np.zeros((vocabulary, E), dy.dtype)
    if dy.size:
        capi.scatter(_double(dy), ids.size, E, ids, np.ascontiguousarray(dy), gradient)
    return gradient


# ---------------------------------------------------------------- softmax and cross-entropy


def softmax(x: Array, out: Array | None = None) -> Array:
    """The softmax of each row of x (M, N), in a new array or in `out`, which may be x.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    x = dense("x", x, ("M", "N"), float_array("x", x).dtype)
    out = np.empty_like(x) if out is None else writable("out", out, x.shape, x.dtype)
    if out is not x:
        out[...] = x
    capi.softmax(_double(x), x.shape[0], x.shape[1], out)
    return out


def softmax_backward(y: Array, dy: Array) -> Array:
    """dy (M, N) becomes the gradient to the argument of y = softmax(x); returns dy."""
    dy = writable("dy", dy, y.shape, float_array("y", y).dtype)
    dy -= np.sum(dy * y, axis=-1, keepdims=True)
    dy *= y
    return dy


def softmax_crossentropy(
    logits: Array, targets: Array, *, gradient: bool = True, scale: float = 1.0
) -> tuple[Array, Array]:
    """Cross-entropy of softmax(logits) against the targets, row by row.

    Parameters
    ----------
    logits : (M, N), C-contiguous. With `gradient`, it becomes the gradient of the sum of the
        losses times `scale`, `scale * (softmax - targets)`. No second array of this size is made.
    targets : (M,) integers in 0..N-1, or (M, N) weights of the same dtype (usually summing to 1).
    scale : factor of the gradient alone, such as 1 / M for that of the mean.

    Returns
    -------
    losses : (M,) of the logits' dtype.
    correct : (M,) bool: the largest logit (the first one of equals) is that of the target.

    Raises
    ------
    ValueError
        A shape, a dtype, a label or `scale` (>= 0) does not fit; the logits are as they were.
    """
    dtype = float_array("logits", logits).dtype
    check = writable if gradient else dense
    logits = check("logits", logits, ("M", "N"), dtype)
    M, N = logits.shape
    labels, weights = _targets(targets, M, N, dtype)
    totals, shifted, sums = np.empty((3, M), dtype)
    correct = np.empty(M, np.bool_)
    capi.crossentropy(_double(logits), M, N, logits, labels, weights, totals, shifted, sums,
                      correct.view(np.uint8), gradient, number("scale", scale, 0.0))  # fmt: skip
    return sums * np.log(totals) - shifted, correct


def crossentropy(
    probabilities: Array, targets: Array, *, gradient: bool = False
) -> tuple[Array, Array]:
    """Cross-entropy of rows of probabilities, which are clipped to [1e-7, 1 - 1e-7] as in Keras.

    Parameters
    ----------
    probabilities : (M, N). With `gradient` it becomes the gradient of the sum of the losses, zero
        where the clipping acts. Rows are taken as they are: they should sum to 1.
    targets : (M,) integers in 0..N-1, or (M, N) weights of the same dtype.

    Returns
    -------
    losses, correct : as `softmax_crossentropy`.

    Raises
    ------
    ValueError
        A shape, a dtype or a label does not fit.
    """
    dtype = float_array("probabilities", probabilities).dtype
    check = writable if gradient else dense
    p = check("probabilities", probabilities, ("M", "N"), dtype)
    labels, weights = _targets(targets, p.shape[0], p.shape[1], dtype)
    if weights is None:
        return _of_labels(p, np.asarray(labels), gradient)
    return _of_weights(p, weights, gradient)


def squared_error(
    outputs: Array, targets: Array, *, gradient: bool = True, scale: float = 1.0
) -> tuple[float, Array | None]:
    """`(outputs - targets)²`, its mean over the last axis, summed over all rows.

    Returns
    -------
    total : float
    gradient : that of the total times `scale`, a new array; None without `gradient`.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    dtype = float_array("outputs", outputs).dtype
    check_shape("targets", float_array("targets", targets, dtype).shape, outputs.shape)
    with np.errstate(over="ignore"):
        difference, features = outputs - targets, outputs.shape[-1]
    found, exponent = squares_of(difference)
    if not math.isfinite(found):  # float32 may hold both numbers, but not what lies between them
        difference = np.subtract(outputs, targets, dtype=np.float64)
        found, exponent = squares_of(difference)
    total = times_power(found / features, exponent)
    if not gradient:
        return total, None
    difference *= difference.dtype.type(2 * number("scale", scale, 0.0) / features)
    return total, difference.astype(dtype, copy=False)


def sum_losses(losses: Array, correct: Array) -> tuple[float, int]:
    """The sum of the losses of rows, in float64, and how many rows are correct."""
    return float(np.sum(losses, dtype=np.float64)), int(np.count_nonzero(correct))


def _limits(p: Array) -> tuple[Any, Any]:
    return p.dtype.type(KERAS_EPSILON), p.dtype.type(1 - KERAS_EPSILON)


def _of_labels(p: Array, labels: Array, gradient: bool) -> tuple[Array, Array]:
    """Losses and hits of probabilities p against labels; p may become the gradient."""
    low, high = _limits(p)
    rows, best = np.arange(len(p)), p.argmax(axis=1)
    chosen = p[rows, labels]
    if gradient:
        inside = (chosen > low) & (chosen < high)
        p[...] = 0
        p[rows[inside], labels[inside]] = -1 / chosen[inside]
    return -np.log(np.clip(chosen, low, high)), best == labels


def _of_weights(p: Array, weights: Array, gradient: bool) -> tuple[Array, Array]:
    """The same for rows of weights."""
    low, high = _limits(p)
    correct = p.argmax(axis=1) == weights.argmax(axis=1)
    losses = -(weights * np.log(np.clip(p, low, high))).sum(axis=1)
    if gradient:
        inside = (p > low) & (p < high)
        np.divide(-weights, p, out=p, where=inside)
        p[~inside] = 0
    return losses, correct


def _targets(
    targets: Any, M: int, N: int, dtype: np.dtype[Any]
) -> tuple[Array | None, Array | None]:
    """(labels, None) or (None, weights)."""
    array = np.asarray(targets)
    if array.dtype.kind in "iu":
        check_shape("targets", array.shape, (M,))
        return whole_numbers("targets", array, N), None
    return None, dense("targets", targets, (M, N), dtype)


# ---------------------------------------------------------------- activations


def activation_forward(name: Any, x: Array, out: Array | None = None) -> Array:
    """f(x), any shape, in a new array or in `out`, which may be x.

    `name` is that of an `Activation`, (name, alpha, beta), or an `Activation`.

    Raises
    ------
    ValueError
        The name is unknown, or an array does not fit.
    """
    f = activations.get("name", name)
    x = dense("x", x, float_array("x", x).shape, x.dtype)
    out = np.empty_like(x) if out is None else writable("out", out, x.shape, x.dtype)
    if np.may_share_memory(x, out) and x.ctypes.data != out.ctypes.data:
        raise ValueError(
            "out: expected x itself or memory apart from x, got memory that overlaps x"
        )
    capi.activation(_double(x), x.size, f.kind, f.alpha, f.beta, x, out)
    return out


def activation_backward(name: Any, y: Array, dy: Array) -> Array:
    """dy becomes the gradient to the activation's input, told from its output y; returns dy.

    Raises
    ------
    ValueError
        The name is unknown, an array does not fit, or y does not tell the slope
        (`activations.check_slope`).
    """
    f = activations.get("name", name)
    activations.check_slope("name", f)
    y = dense("y", y, float_array("y", y).shape, y.dtype)
    dy = writable("dy", dy, y.shape, y.dtype)
    capi.activation_backward(_double(y), y.size, f.kind, f.alpha, f.beta, dy, y)
    return dy


# ---------------------------------------------------------------- optimizer updates


def adam_update(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    step_size: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """One step of Adam (Kingma and Ba 2014) in Keras's form, in place on w, m and v.

    m += (1 - beta_1) (g - m), v += (1 - beta_2) (g² - v), w -= step_size m / (√v + epsilon), where
    step_size = rate √(1 - beta_2^t) / (1 - beta_1^t). All arrays have w's shape and dtype.

    Raises
    ------
    ValueError
        A shape or dtype does not fit; nothing has changed.
    """
    w = writable("w", w, float_array("w", w).shape, w.dtype)
    g = dense("g", g, w.shape, w.dtype)
    m, v = writable("m", m, w.shape, w.dtype), writable("v", v, w.shape, w.dtype)
    step_size, epsilon = number("step_size", step_size, -math.inf), number("epsilon", epsilon, 0)
    beta_1, beta_2 = number("beta_1", beta_1, 0, 1), number("beta_2", beta_2, 0, 1)
    capi.adam(_double(w), w.size, w, g, m, v, step_size, beta_1, beta_2, epsilon)


def sgd_update(
    w: Array,
    g: Array,
    velocity: Array | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> None:
    """One step of gradient descent in place: w -= rate g; or with a velocity, as Keras has it:

    velocity = momentum velocity - rate g, then w += velocity (Nesterov: w += momentum velocity -
    rate g).

    Raises
    ------
    ValueError
        A shape or dtype does not fit, or momentum is given without a velocity.
    """
    if velocity is None and (momentum or nesterov):
        raise ValueError("velocity: expected an array for momentum or nesterov, got None")
    w = writable("w", w, float_array("w", w).shape, w.dtype)
    g = dense("g", g, w.shape, w.dtype)
    velocity = None if velocity is None else writable("velocity", velocity, w.shape, w.dtype)
    rate, kept = number("learning_rate", learning_rate, -math.inf), number("momentum", momentum, 0)
    capi.sgd(_double(w), w.size, w, g, velocity, rate, kept, flag("nesterov", nesterov))


def clip_by_value(a: Array, limit: float) -> None:
    """Bring each element into [-limit, limit], in place."""
    writable("a", a, float_array("a", a).shape, a.dtype)
    limit = number("limit", limit, 0.0)
    if limit <= float(np.finfo(a.dtype).max):
        np.clip(a, -limit, limit, out=a)


def zeros_like(a: Array, shape: tuple[int, ...] | None = None) -> Array:
    """A new array of zeros of the dtype of a, of its shape or another one."""
    return np.zeros(a.shape if shape is None else shape, a.dtype)


def side_by_side(states: Array) -> Array:
    """(B, D · P) of states (D, B, P)."""
    return np.concatenate(list(states), axis=-1)


def add_to(a: Array, b: Array) -> None:
    """a += b, in place, for arrays of one shape and any strides."""
    check_shape("b", b.shape, a.shape)
    a += b


def flipped(a: Array, axis: int) -> Array:
    """a with one of its axes the other way round: a view, or on a GPU a copy."""
    return np.flip(a, axis)


def scale(a: Array, factor: float) -> None:
    """a *= factor, in place."""
    writable("a", a, float_array("a", a).shape, a.dtype)
    a *= a.dtype.type(number("factor", factor, -math.inf))

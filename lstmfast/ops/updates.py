"""What optimizers change weights with, in place, on NumPy arrays. Part of `ops`."""

from __future__ import annotations

import math

import numpy as np

from .. import capi
from ..arguments import Array, flag, number
from .checks import dense, float_array, is_double, writable

__all__ = ["adam_update", "clip_by_value", "scale", "sgd_update"]


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
    capi.adam(is_double(w), w.size, w, g, m, v, step_size, beta_1, beta_2, epsilon)


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
    capi.sgd(is_double(w), w.size, w, g, velocity, rate, kept, flag("nesterov", nesterov))


def clip_by_value(a: Array, limit: float) -> None:
    """Bring each element into [-limit, limit], in place; NaN stays."""
    writable("a", a, float_array("a", a).shape, a.dtype)
    limit = number("limit", limit, 0.0)
    if limit <= float(np.finfo(a.dtype).max):
        np.clip(a, -limit, limit, out=a)


def scale(a: Array, factor: float) -> None:
    """a *= factor, in place."""
    writable("a", a, float_array("a", a).shape, a.dtype)
    a *= a.dtype.type(number("factor", factor, -math.inf))

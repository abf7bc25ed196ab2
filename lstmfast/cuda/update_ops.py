"""Activations, sums, clipping, penalties and optimizer updates on arrays in the GPU's memory.

Part of `array_ops`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import activations
from ..arguments import flag, number
from . import array
from .array import DeviceArray
from .checks import apart, dense, float_array, writable
from .kernels import elementwise, reductions, updates
from .kernels.numbers import name_of

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_update",
    "add",
    "add_penalty_gradient",
    "clip_by_norm",
    "clip_by_value",
    "fill",
    "penalty",
    "scale",
    "sgd_update",
    "sum_of_squares",
]


def _in_place(name: str, value: Any) -> DeviceArray:
    value = float_array(name, value)
    return writable(name, value, value.shape, value.dtype)


# ---------------------------------------------------------------- activations


def activation_forward(
    name: Any, x: DeviceArray, out: DeviceArray | None = None, *, stream: Any = None
) -> DeviceArray:
    """f(x), any shape, in a new array or in `out`, which may be x.

    `name` is that of an `Activation`, (name, alpha, beta), or an `Activation`.

    Raises
    ------
    ValueError
        The name is unknown, or an array does not fit.
    """
    f = activations.get("name", name)
    x = dense("x", x, float_array("x", x).shape, x.dtype, stream)
    if out is None:
        out = array.empty(x.shape, x.dtype, stream)
    else:
        apart("out", writable("out", out, x.shape, x.dtype), x)
    kernel = elementwise.make_activation(name_of(x.dtype), f.kind, f.alpha, f.beta)
    kernel.launch(stream, elementwise.blocks_for(kernel, x.size), x, out, x.size)
    return out


def activation_backward(
    name: Any, y: DeviceArray, dy: DeviceArray, *, stream: Any = None
) -> DeviceArray:
    """dy becomes the gradient to the activation's input, told from its output y; returns dy.

    Raises
    ------
    ValueError
        The name is unknown, an array does not fit, or y does not tell the slope
        (`activations.check_slope`).
    """
    f = activations.get("name", name)
    activations.check_slope("name", f)
    y = dense("y", y, float_array("y", y).shape, y.dtype, stream)
    dy = writable("dy", dy, y.shape, y.dtype)
    kernel = elementwise.make_activation_backward(name_of(y.dtype), f.kind, f.alpha, f.beta)
    kernel.launch(stream, elementwise.blocks_for(kernel, y.size), y, dy, y.size)
    return dy


# ---------------------------------------------------------------- optimizer updates


def adam_update(
    w: DeviceArray, g: DeviceArray, m: DeviceArray, v: DeviceArray, *,
    step_size: float, beta_1: float, beta_2: float, epsilon: float, stream: Any = None,
) -> None:  # fmt: skip
    """One step of Adam (Kingma and Ba 2014) in Keras's form, in place on w, m and v.

    m += (1 - beta_1) (g - m), v += (1 - beta_2) (g² - v), w -= step_size m / (√v + epsilon), where
    step_size = rate √(1 - beta_2^t) / (1 - beta_1^t). All arrays have w's shape and dtype.

    Raises
    ------
    ValueError
        A shape or dtype does not fit; nothing has changed.
    """
    w = _in_place("w", w)
    g = dense("g", g, w.shape, w.dtype, stream)
    m, v = writable("m", m, w.shape, w.dtype), writable("v", v, w.shape, w.dtype)
    step_size, epsilon = number("step_size", step_size, -math.inf), number("epsilon", epsilon, 0)
    beta_1, beta_2 = number("beta_1", beta_1, 0, 1), number("beta_2", beta_2, 0, 1)
    kernel = updates.make_adam(name_of(w.dtype))
    kernel.launch(
        stream, elementwise.blocks_for(kernel, w.size), w, g, m, v, w.size, step_size, 1.0 - beta_1,
        1.0 - beta_2, epsilon,
    )  # fmt: skip


def sgd_update(
    w: DeviceArray, g: DeviceArray, velocity: DeviceArray | None, *,
    learning_rate: float, momentum: float = 0.0, nesterov: bool = False, stream: Any = None,
) -> None:  # fmt: skip
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
    w = _in_place("w", w)
    g = dense("g", g, w.shape, w.dtype, stream)
    velocity = None if velocity is None else writable("velocity", velocity, w.shape, w.dtype)
    rate, kept = number("learning_rate", learning_rate, -math.inf), number("momentum", momentum, 0)
    kernel = updates.make_sgd(name_of(w.dtype), velocity is not None, flag("nesterov", nesterov))
    kernel.launch(
        stream, elementwise.blocks_for(kernel, w.size), w, g, velocity, w.size, rate, kept
    )


# ---------------------------------------------------------------- sums and penalties


def sum_of_squares(a: DeviceArray, *, stream: Any = None) -> DeviceArray:
    """Σ a², (1,) of float64; the same bits at every run."""
    a = dense("a", a, float_array("a", a).shape, a.dtype, stream)
    return reductions.penalties_of([a], 0.0, 1.0, stream)


def penalty(w: DeviceArray, l1: float, l2: float, *, stream: Any = None) -> DeviceArray:
    """l1 Σ |w| + l2 Σ w², (1,) of float64; the same bits at every run.

    Raises
    ------
    ValueError
        An argument does not fit.
    """
    w = dense("w", w, float_array("w", w).shape, w.dtype, stream)
    l1, l2 = number("l1", l1, 0.0), number("l2", l2, 0.0)
    return reductions.penalties_of([w], l1, l2, stream)


def add_penalty_gradient(
    g: DeviceArray, w: DeviceArray, l1: float, l2: float, *, stream: Any = None
) -> None:
    """g += l1 sign(w) + 2 l2 w, the gradient of `penalty`; that of |w| at zero is zero.

    Raises
    ------
    ValueError
        An argument does not fit.
    """
    g = _in_place("g", g)
    w = dense("w", w, g.shape, g.dtype, stream)
    l1, l2 = number("l1", l1, 0.0), number("l2", l2, 0.0)
    if l1 or l2:
        kernel = elementwise.make_penalty_gradient(name_of(g.dtype), l1 > 0, l2 > 0)
        kernel.launch(stream, elementwise.blocks_for(kernel, g.size), g, w, g.size, l1, 2.0 * l2)


# ---------------------------------------------------------------- clipping, scaling, adding


def clip_by_norm(grads: Sequence[DeviceArray], limit: float, *, stream: Any = None) -> None:
    """Scale all arrays in place so that the norm of them all is `limit` at most.

    Raises
    ------
    ValueError
        An array or the limit (> 0) does not fit; nothing has changed.
    """
    grads = [_in_place(f"grads[{index}]", g) for index, g in enumerate(grads)]
    limit = number("limit", limit, math.ulp(0.0))
    if not grads:
        return
    squares = scaled = reductions.penalties_of(grads, 0.0, 1.0, stream)
    if any(g.dtype == np.float64 for g in grads):  # squares of float32 are finite in float64
        scaled = reductions.penalties_of(grads, 0.0, 1.0, stream, elementwise.DOWN)
    for name in sorted({name_of(g.dtype) for g in grads}):
        factor = array.empty((2,), name, stream)
        elementwise.make_shrink_factor(name).launch(stream, 1, squares, scaled, limit, factor)
        for g in grads:
            if name_of(g.dtype) == name:
                kernel = elementwise.make_shrink(name)
                kernel.launch(stream, elementwise.blocks_for(kernel, g.size), g, g.size, factor)


def clip_by_value(g: DeviceArray, limit: float, *, stream: Any = None) -> None:
    """Bring each element into [-limit, limit], in place; NaN stays."""
    _change("clip", "g", g, number("limit", limit, 0.0), stream)


def scale(a: DeviceArray, factor: float, *, stream: Any = None) -> None:
    """a *= factor, in place."""
    _change("scale", "a", a, factor, stream)


def fill(a: DeviceArray, value: float, *, stream: Any = None) -> None:
    """Set all elements to a number."""
    _change("fill", "a", a, value, stream)


def _change(what: str, name: str, a: DeviceArray, value: float, stream: Any) -> None:
    a = _in_place(name, a)
    kernel = elementwise.make_change(what, name_of(a.dtype))
    kernel.launch(stream, elementwise.blocks_for(kernel, a.size), a, a.size, value)


def add(a: DeviceArray, b: DeviceArray, *, stream: Any = None) -> None:
    """a += b, in place.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    a = _in_place("a", a)
    b = dense("b", b, a.shape, a.dtype, stream)
    kernel = elementwise.make_add(name_of(a.dtype))
    kernel.launch(stream, elementwise.blocks_for(kernel, a.size), a, b, a.size)

"""What optimizers change weights with, in the GPU's memory: the twins of `lstmfast.ops.updates`.

What is said there holds here. `stream` is one of cuda.core; None: the default stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arguments import flag, number
from ..kernels import elementwise, updates
from ..kernels.numbers import name_of
from ..runtime.array import DeviceArray, clear
from .checks import dense, in_place, writable

__all__ = ["adam_update", "add", "change_all", "clip_by_value", "scale", "sgd_update"]


def adam_update(
    w: DeviceArray, g: DeviceArray, m: DeviceArray, v: DeviceArray, *,
    step_size: float, beta_1: float, beta_2: float, epsilon: float, stream: Any = None,
) -> None:  # fmt: skip
    """See `lstmfast.ops.adam_update`."""
    w = in_place("w", w)
    g = dense("g", g, w.shape, w.dtype, stream)
    m, v = writable("m", m, w.shape, w.dtype), writable("v", v, w.shape, w.dtype)
    step_size, epsilon = number("step_size", step_size, -math.inf), number("epsilon", epsilon, 0)
    beta_1, beta_2 = number("beta_1", beta_1, 0, 1), number("beta_2", beta_2, 0, 1)
    _adam(w, g, m, v, None, step_size, beta_1, beta_2, epsilon, 0.0, 0.0, stream)


def sgd_update(
    w: DeviceArray, g: DeviceArray, velocity: DeviceArray | None, *,
    learning_rate: float, momentum: float = 0.0, nesterov: bool = False, stream: Any = None,
) -> None:  # fmt: skip
    """See `lstmfast.ops.sgd_update`."""
    if velocity is None and (momentum or nesterov):
        raise ValueError("velocity: expected an array for momentum or nesterov, got None")
    w = in_place("w", w)
    g = dense("g", g, w.shape, w.dtype, stream)
    velocity = None if velocity is None else writable("velocity", velocity, w.shape, w.dtype)
    rate, kept = number("learning_rate", learning_rate, -math.inf), number("momentum", momentum, 0)
    _sgd(w, g, velocity, rate, kept, flag("nesterov", nesterov), 0.0, stream)


def change_all(changes: Sequence[Any]) -> None:
    """Make changes of contiguous arrays one after the other, as `capi.change_all` does on the host.

    Parameters
    ----------
    changes : sequence of optimizers.changes.Change, without rows
    """
    for change in changes:
        kernel, w, g, m, v, h, _, decay, numbers = change
        rate, beta_1, beta_2, epsilon, gain, nesterov = numbers
        if kernel == "copy" and g is None:
            clear(w)
        elif kernel == "copy":
            w.copy_bytes(g)
        elif kernel == "adam":
            _adam(w, g, m, v, h, rate, beta_1, beta_2, epsilon, gain, decay, None)
        elif kernel == "sgd":
            _sgd(w, g, m, rate, beta_1, nesterov, decay, None)
        else:
            made = updates.make_rmsprop(name_of(w.dtype), h is not None, m is not None)
            _launch(made, (w, g, m, v, h), (rate, beta_1, beta_2, epsilon, gain, decay), None)


def _adam(
    w: Any, g: Any, m: Any, v: Any, h: Any, rate: float, beta_1: float, beta_2: float,
    epsilon: float, gain: float, decay: float, stream: Any,
) -> None:  # fmt: skip
    kernel = updates.make_adam(name_of(w.dtype), h is not None, gain != 0)
    numbers = rate, 1.0 - beta_1, 1.0 - beta_2, epsilon, gain, decay
    _launch(kernel, (w, g, m, v, h), numbers, stream)


def _sgd(
    w: Any, g: Any, velocity: Any, rate: float, kept: float, nesterov: bool, decay: float,
    stream: Any,
) -> None:  # fmt: skip
    kernel = updates.make_sgd(name_of(w.dtype), velocity is not None, nesterov)
    _launch(kernel, (w, g, velocity), (rate, kept, decay), stream)


def _launch(kernel: Any, arrays: Sequence[Any], numbers: Sequence[float], stream: Any) -> None:
    n = arrays[0].size
    if n:
        blocks = elementwise.blocks_for(kernel, n)
        kernel.launch(stream, blocks, *arrays, n, *numbers)


def clip_by_value(a: DeviceArray, limit: float, *, stream: Any = None) -> None:
    """See `lstmfast.ops.clip_by_value`."""
    _change("clip", "a", a, number("limit", limit, 0.0), stream)


def scale(a: DeviceArray, factor: float, *, stream: Any = None) -> None:
    """See `lstmfast.ops.scale`."""
    _change("scale", "a", a, factor, stream)


def _change(what: str, name: str, a: DeviceArray, value: float, stream: Any) -> None:
    elementwise.change(what, in_place(name, a), value, stream)


def add(a: DeviceArray, b: DeviceArray, *, stream: Any = None) -> None:
    """a += b, in place.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    a = in_place("a", a)
    b = dense("b", b, a.shape, a.dtype, stream)
    kernel = elementwise.make_add(name_of(a.dtype))
    kernel.launch(stream, elementwise.blocks_for(kernel, a.size), a, b, a.size)

"""Activations on arrays in the GPU's memory. Part of `ops` there."""

from __future__ import annotations

from typing import Any

from ...ops import activations
from ..kernels import elementwise
from ..kernels.numbers import name_of
from ..runtime import array
from ..runtime.array import DeviceArray
from .checks import apart, dense, float_array, writable

__all__ = ["activation_backward", "activation_forward"]


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

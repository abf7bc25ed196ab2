"""Softmax, cross-entropy and squared error in the GPU's memory: the twins of `lstmfast.ops.losses`.

What is said there of arguments, results and errors holds here, with two differences. Labels are of
int32 or int64, and one out of range raises nothing, as the host would have to wait: its loss, and
its row of the gradient, are NaN. Every function takes a `stream` of cuda.core; None: the default.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import check_shape, flag, number
from ...ops.losses import KERAS_EPSILON
from ..kernels import losses, reductions
from ..kernels.numbers import name_of
from ..runtime import array
from ..runtime.array import DeviceArray
from .checks import apart, dense, float_array, whole_numbers, writable

__all__ = [
    "crossentropy",
    "softmax",
    "softmax_backward",
    "softmax_crossentropy",
    "squared_error",
    "sum_losses",
]


def softmax(x: DeviceArray, out: DeviceArray | None = None, *, stream: Any = None) -> DeviceArray:
    """See `lstmfast.ops.softmax`."""
    x = dense("x", x, ("M", "N"), float_array("x", x).dtype, stream)
    if out is None:
        out = array.empty(x.shape, x.dtype, stream)
    else:
        apart("out", writable("out", out, x.shape, x.dtype), x)
    M, N = x.shape
    kernel = losses.make_softmax(name_of(x.dtype), losses.side_for(N))
    kernel.launch(stream, M, x, out, N)
    return out


def softmax_backward(y: DeviceArray, dy: DeviceArray, *, stream: Any = None) -> DeviceArray:
    """See `lstmfast.ops.softmax_backward`."""
    y = dense("y", y, ("M", "N"), float_array("y", y).dtype, stream)
    dy = writable("dy", dy, y.shape, y.dtype)
    M, N = y.shape
    kernel = losses.make_softmax_backward(name_of(y.dtype), losses.side_for(N))
    kernel.launch(stream, M, y, dy, N)
    return dy


def softmax_crossentropy(
    logits: DeviceArray, targets: DeviceArray, *,
    gradient: bool = True, scale: float = 1.0, stream: Any = None,
) -> tuple[DeviceArray, DeviceArray]:  # fmt: skip
    """See `lstmfast.ops.softmax_crossentropy`."""
    logits = _rows("logits", logits, gradient, stream)
    (M, N), name, side = logits.shape, name_of(logits.dtype), losses.side_for(logits.shape[1])
    targets = _targets(targets, logits, stream)
    if targets.ndim == 1:
        kernel = losses.make_label_crossentropy(name, name_of(targets.dtype), gradient, side)
    else:
        kernel = losses.make_weight_crossentropy(name, gradient, side)
    scale = number("scale", scale, 0.0)
    found, correct = array.empty((M,), name, stream), array.empty((M,), np.bool_, stream)
    kernel.launch(stream, M, logits, targets, found, correct, N, scale)
    return found, correct


def crossentropy(
    probabilities: DeviceArray, targets: DeviceArray, *, gradient: bool = False, stream: Any = None
) -> tuple[DeviceArray, DeviceArray]:
    """See `lstmfast.ops.crossentropy`."""
    p = _rows("probabilities", probabilities, gradient, stream)
    (M, N), name, side = p.shape, name_of(p.dtype), losses.side_for(p.shape[1])
    targets = _targets(targets, p, stream)
    if targets.ndim == 1:
        labels = name_of(targets.dtype)
        kernel = losses.make_label_loss(name, labels, gradient, KERAS_EPSILON, side)
    else:
        kernel = losses.make_weight_loss(name, gradient, KERAS_EPSILON, side)
    found, correct = array.empty((M,), name, stream), array.empty((M,), np.bool_, stream)
    kernel.launch(stream, M, p, targets, found, correct, N)
    return found, correct


def _rows(name: str, value: Any, gradient: bool, stream: Any) -> DeviceArray:
    dtype = float_array(name, value).dtype
    if flag("gradient", gradient):
        return writable(name, value, ("M", "N"), dtype)
    return dense(name, value, ("M", "N"), dtype, stream)


def _targets(targets: Any, rows: DeviceArray, stream: Any) -> DeviceArray:
    """Return labels (M,) or weights (M, N) for these rows."""
    if isinstance(targets, DeviceArray) and targets.dtype.kind in "iu":
        check_shape("targets", targets.shape, rows.shape[:1])
        return whole_numbers("targets", targets, stream)
    return dense("targets", targets, rows.shape, rows.dtype, stream)


def squared_error(
    outputs: DeviceArray, targets: DeviceArray, *,
    gradient: bool = True, scale: float = 1.0, stream: Any = None,
) -> tuple[DeviceArray, DeviceArray | None]:  # fmt: skip
    """See `lstmfast.ops.squared_error`.

    The total is (1,) of float64, the same bits at every run.
    """
    outputs = float_array("outputs", outputs)
    outputs = dense("outputs", outputs, outputs.shape, outputs.dtype, stream)
    targets = dense("targets", targets, outputs.shape, outputs.dtype, stream)
    features, n, side = outputs.shape[-1], outputs.size, reductions.SIDE
    factor = 2.0 * number("scale", scale, 0.0) / features
    made = array.empty(targets.shape, targets.dtype, stream) if flag("gradient", gradient) else None
    partials = array.empty((reductions.blocks_for(n, side),), np.float64, stream)
    kernel = losses.make_squared_error(name_of(targets.dtype), gradient, side)
    kernel.launch(stream, len(partials), outputs, targets, made, n, factor, partials)
    return reductions.totals_of(partials, 1.0 / features, stream), made


def sum_losses(losses: DeviceArray, correct: DeviceArray, *, stream: Any = None) -> DeviceArray:
    """[Σ losses, number of hits], (2,) of float64: all that one small copy to the host need bring.

    See `lstmfast.ops.sum_losses`.
    """
    dtype = float_array("losses", losses).dtype
    losses = dense("losses", losses, ("M",), dtype, stream)
    M, side = len(losses), reductions.SIDE
    if not isinstance(correct, DeviceArray) or correct.dtype != np.bool_:
        raise ValueError(f"correct: expected a DeviceArray of bool, got {correct!r}")
    check_shape("correct", correct.shape, (M,))
    correct = correct if correct.is_contiguous else array.copy(correct, stream)
    partials = array.empty((2, reductions.blocks_for(M, side)), np.float64, stream)
    kernel = reductions.make_loss_sums(name_of(dtype), side)
    kernel.launch(stream, partials.shape[1], losses, correct, M, partials)
    return reductions.totals_of(partials, 1.0, stream)

"""Convolutions along time, as products of matrices. Part of `ops`.

    y[b, t] = Σ_k x[b, stride t + dilation k] · W[k] + bias

The K steps of x under a window are one row of a matrix. Without dilation they lie side by side as
they are: rows overlap, and nothing is copied. `of` has the products where the arrays are:
`ops.host`, or `lstmfast.cuda.ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array, check_shape
from .checks import floats_anywhere, not_empty
from .layouts import in_order, windows

__all__ = ["convolve", "convolve_backward", "padded", "steps_out"]


def steps_out(steps: int, window: int, stride: int, dilation: int) -> int:
    """How many windows there are in so many steps; less than one where there is none."""
    return (steps - dilation * (window - 1) - 1) // stride + 1


def padded(x: Array, left: int, right: int) -> Array:
    """x (B, T, C) with steps of zeros before and behind; x itself where there are none."""
    if not left and not right:
        return x
    B, T, C = x.shape
    found = np.zeros_like(x, shape=(B, left + T + right, C))
    found[:, left : left + T] = x
    return found


def convolve(
    of: Any, x: Array, W: Array, b: Array | None = None, *, stride: int = 1, dilation: int = 1,
    groups: int = 1, precision: str | None = None,
) -> Array:  # fmt: skip
    """y (B, N, F), a new array, of x (B, T, C), W (K, C / groups, F) and b (F,); None: zeros.

    Raises
    ------
    ValueError
        A shape or dtype does not fit, or T is less than a window.
    """
    x = _checked(x, W, stride, dilation, groups)
    if groups == 1:
        return _one_group(of, x, W, b, stride, dilation, precision)
    size = W.shape[2] // groups
    parts = [
        _one_group(of, part, kernel, b if b is None else b[g * size : (g + 1) * size],
                   stride, dilation, precision)
        for g, (part, kernel) in enumerate(_grouped(x, W, groups))
    ]  # fmt: skip
    return np.concatenate(parts, axis=-1)


def convolve_backward(
    of: Any, x: Array, W: Array, dy: Array, *, stride: int = 1, dilation: int = 1, groups: int = 1,
    need_dx: bool = True, precision: str | None = None,
) -> tuple[Array | None, Array, Array]:  # fmt: skip
    """(dx or None, dW, db) for dy (B, N, F), new arrays.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    x = _checked(x, W, stride, dilation, groups)
    count = steps_out(x.shape[1], len(W), stride, dilation)
    dy = floats_anywhere("dy", dy, x.dtype)
    check_shape("dy", dy.shape, (len(x), count, W.shape[2]))
    size, found = W.shape[2] // groups, []
    for g, (part, kernel) in enumerate(_grouped(x, W, groups)):
        d = in_order(dy[..., g * size : (g + 1) * size])
        found.append(_group_backward(of, part, kernel, d, stride, dilation, need_dx, precision))
    if groups == 1:
        return found[0]
    dx, dW, db = zip(*found, strict=True)
    whole = np.concatenate(dx, axis=-1) if need_dx else None
    return whole, np.concatenate(dW, axis=-1), np.concatenate(db)


def _checked(x: Array, W: Array, stride: int, dilation: int, groups: int) -> Array:
    check_shape("W", floats_anywhere("W", W).shape, ("K", "C", "F"))
    channels = W.shape[1] * groups
    check_shape("x", floats_anywhere("x", x, W.dtype).shape, ("B", "T", channels))
    not_empty("x", x)
    if steps_out(x.shape[1], len(W), stride, dilation) < 1:
        least = dilation * (len(W) - 1) + 1
        raise ValueError(f"x: expected at least {least} steps, got {x.shape[1]}")
    return in_order(x)


def _grouped(x: Array, W: Array, groups: int) -> list[tuple[Array, Array]]:
    """The channels of x and the filters of W of each group."""
    if groups == 1:
        return [(x, W)]
    C, F = W.shape[1], W.shape[2] // groups
    return [
        (
            in_order(x[..., g * C : (g + 1) * C]),
            in_order(W[..., g * F : (g + 1) * F]),
        )
        for g in range(groups)
    ]


def _one_group(
    of: Any, x: Array, W: Array, b: Array | None, stride: int, dilation: int, precision: str | None
) -> Array:
    (B, T, C), (K, _, F) = x.shape, W.shape
    count = steps_out(T, K, stride, dilation)
    kernel = in_order(W).reshape(K * C, F)
    if dilation > 1 or T % stride:
        rows = _rows(x, K, stride, dilation).reshape(B * count, K * C)
        return of.dense_forward(rows, kernel, b, precision=precision).reshape(B, count, F)  # type: ignore[no-any-return]
    # One window after the other through all sequences; those that hold two of them are left out.
    item, M = x.itemsize, (B * T - K) // stride + 1
    rows = windows(x, (M, K * C), (stride * C * item, item))
    y = of.dense_forward(rows, kernel, b, precision=precision)
    sequences = windows(y, (B, count, F), (T // stride * F * item, F * item, item), True)
    return in_order(sequences)


def _rows(x: Array, K: int, stride: int, dilation: int) -> Array:
    """(B, N, K, C): the steps under each window, a view."""
    (B, T, C), (b, t, c) = x.shape, x.strides
    shape = (B, steps_out(T, K, stride, dilation), K, C)
    return windows(x, shape, (b, stride * t, dilation * t, c))


def _group_backward(
    of: Any,
    x: Array,
    W: Array,
    dy: Array,
    stride: int,
    dilation: int,
    need_dx: bool,
    precision: str | None,
) -> tuple[Array | None, Array, Array]:
    (K, C, F), (B, count, _) = W.shape, dy.shape
    rows = _rows(x, K, stride, dilation).reshape(B * count, K * C)
    kernel = in_order(W).reshape(K * C, F)
    d_rows, dW, db = of.dense_backward(
        rows, kernel, dy.reshape(B * count, F), need_dx=need_dx, precision=precision
    )
    if d_rows is None:
        return None, dW.reshape(W.shape), db
    dx, steps = np.zeros_like(x), d_rows.reshape(B, count, K, C)
    for k in range(K):
        start = k * dilation
        dx[:, start : start + stride * (count - 1) + 1 : stride] += steps[:, :, k]
    return dx, dW.reshape(W.shape), db

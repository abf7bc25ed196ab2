"""The largest, and the mean, of some steps of (B, T, I), on NumPy arrays. Part of `ops`.

Windows of `size` steps begin every `stride` steps, the first `before` steps ahead of x; what of
them lies outside of x does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..arguments import Array
from .layouts import an_array, summed

__all__ = [
    "average_over_steps", "average_over_steps_backward", "average_pool", "average_pool_backward",
    "max_over_steps", "max_over_steps_backward", "max_pool", "max_pool_backward",
]  # fmt: skip


def max_pool(x: Array, size: int, stride: int, before: int, count: int) -> tuple[Array, Array]:
    """The largest of each of `count` windows, (B, count, I), and which of its steps that is.

    Of equal ones it is the first. NaN is larger than any number.
    """
    y = np.full_like(x, -np.inf, shape=(x.shape[0], count, x.shape[2]))
    which = np.full_like(y, -1, np.int64)
    for k, outputs, steps in _parts(x.shape[1], size, stride, before, count):
        at, best = x[:, steps], y[:, outputs]
        better = (at > best) | np.isnan(at) | (which[:, outputs] < 0)
        better &= ~np.isnan(best)
        np.copyto(best, at, where=better)
        np.copyto(which[:, outputs], k, where=better)
    return y, which


def max_pool_backward(
    dy: Array, which: Array, T: int, size: int, stride: int, before: int
) -> Array:
    """The gradient (B, T, I) of what `max_pool` got, told from that of its output."""
    dx = np.zeros_like(dy, shape=(dy.shape[0], T, dy.shape[2]))
    for k, outputs, steps in _parts(T, size, stride, before, dy.shape[1]):
        dx[:, steps] += np.where(which[:, outputs] == k, dy[:, outputs], dy.dtype.type(0))
    return dx


def average_pool(x: Array, size: int, stride: int, before: int, count: int) -> Array:
    """The mean of each of `count` windows, (B, count, I)."""
    y = np.zeros_like(x, shape=(x.shape[0], count, x.shape[2]))
    for _, outputs, steps in _parts(x.shape[1], size, stride, before, count):
        y[:, outputs] += x[:, steps]
    y /= _counts(x.shape[1], size, stride, before, count, x.dtype)
    return y


def average_pool_backward(dy: Array, T: int, size: int, stride: int, before: int) -> Array:
    """The gradient (B, T, I) of what `average_pool` got, told from that of its output."""
    dx = np.zeros_like(dy, shape=(dy.shape[0], T, dy.shape[2]))
    shares = dy / _counts(T, size, stride, before, dy.shape[1], dy.dtype)
    for _, outputs, steps in _parts(T, size, stride, before, dy.shape[1]):
        dx[:, steps] += shares[:, outputs]
    return dx


def average_over_steps(x: Array, mask: Array | None) -> Array:
    """The mean (B, I) of the steps of x (B, T, I) that a bool mask (B, T) takes; NaN of none."""
    if mask is None:
        return an_array(np.mean(x, axis=1, dtype=np.float64).astype(x.dtype))
    sums = np.sum(np.where(mask[:, :, None], x, x.dtype.type(0)), axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return an_array((sums / np.sum(mask, axis=1)[:, None]).astype(x.dtype))


def average_over_steps_backward(dy: Array, mask: Array | None, T: int) -> Array:
    """The gradient (B, T, I), told from that of the means, dy (B, I); zeros where masked."""
    if mask is None:
        return np.repeat((dy / T)[:, None], T, axis=1)
    counts = np.maximum(np.sum(mask, axis=1), 1).astype(dy.dtype)
    return np.where(mask[:, :, None], (dy / counts[:, None])[:, None], dy.dtype.type(0))


def max_over_steps(x: Array) -> Array:
    """The largest (B, I) of all steps of x (B, T, I)."""
    return an_array(np.max(x, axis=1))


def max_over_steps_backward(x: Array, y: Array, dy: Array) -> Array:
    """The gradient (B, T, I) of x, of the largest y (B, I): equal ones share theirs evenly."""
    largest = x == y[:, None]
    counts = np.maximum(summed(largest.astype(dy.dtype), 1), 1)
    return np.where(largest, (dy / counts)[:, None], dy.dtype.type(0))


def _parts(
    T: int, size: int, stride: int, before: int, count: int
) -> Iterator[tuple[int, slice, slice]]:
    """Yield k, the outputs whose windows have their step k within x, and these steps of x."""
    for k in range(size):
        first = max(0, -((k - before) // stride))  # of the outputs: stride first + k >= before
        last = min(count, (T - 1 + before - k) // stride + 1)
        if first < last:
            start = first * stride + k - before
            yield (
                k,
                slice(first, last),
                slice(start, start + (last - first - 1) * stride + 1, stride),
            )


def _counts(T: int, size: int, stride: int, before: int, count: int, dtype: np.dtype[Any]) -> Array:
    """How many steps of x each window has, (count, 1)."""
    start = np.arange(count) * stride - before
    found = np.minimum(start + size, T) - np.maximum(start, 0)
    return found.astype(dtype)[:, None]

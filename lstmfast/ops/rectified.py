"""What ReLU does with a limit, a slope and a threshold, on NumPy arrays. Part of `ops`."""

from __future__ import annotations

import numpy as np

from ..arguments import Array

__all__ = ["rectified", "rectified_backward"]


def rectified(x: Array, most: float | None, slope: float, threshold: float) -> Array:
    """x above the threshold, at most `most`; elsewhere slope (x - threshold). A new array.

    NaN stays NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        below = np.multiply(x - threshold, slope) if slope else np.where(np.isnan(x), x, 0)
        above = x if most is None else np.minimum(x, most)
    return np.where(x > threshold, above, below).astype(x.dtype, copy=False)


def rectified_backward(
    x: Array, dy: Array, most: float | None, slope: float, threshold: float
) -> Array:
    """The gradient of x, told from x and the gradient dy of the output: dy, changed in place."""
    above = x > threshold
    if most is not None:
        np.copyto(dy, 0, where=above & (x > most))
    if slope:
        np.multiply(dy, slope, out=dy, where=~above)
    else:
        np.copyto(dy, 0, where=~above)
    return dy

"""What layers draw in training, from a seed for each pass. Part of `ops`.

It is drawn on the host, so that it is the same on a GPU, and goes there with the first operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array
from .layouts import an_array

__all__ = ["dropped", "kept_of", "noisy"]


def kept_of(shape: Any, rate: float, seed: int) -> Array:
    """Return a bool array: True, with probability 1 - rate, for what dropout keeps.

    It does not depend on the dtype of what is dropped.
    """
    drawn = np.random.default_rng(seed).random(shape, np.float32)
    return np.asarray(drawn >= np.float32(rate))


def dropped(x: Array, kept: Array, rate: float) -> Array:
    """Return x / (1 - rate) where `kept`, broadcast, is True, and zeros elsewhere: a new array."""
    y = np.zeros_like(x)
    with np.errstate(over="ignore"):
        return np.multiply(x, 1 / (1 - rate), out=y, where=kept)


def noisy(x: Array, stddev: float, seed: int) -> Array:
    """Return x and draws of a normal distribution, of its dtype, together: a new array."""
    drawn = np.random.default_rng(seed).standard_normal(x.shape, x.dtype.type)
    return an_array(x + stddev * drawn)

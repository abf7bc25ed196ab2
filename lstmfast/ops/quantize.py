"""Matrices in int8 and scales, as the kernels of `precision="int8"` round them."""

from __future__ import annotations

import numpy as np

from ..arguments import Array

__all__ = ["joined", "split"]

LEAST = np.float32(1e-30)  # as kernels/int8.py has it
STEPS = np.float32(127)


def split(matrix: Array, axis: int) -> tuple[Array, Array]:
    """Return q, int8, and scales, float32, of a finite float32 matrix: it is about q · scale.

    A scale serves the numbers along `axis`: a 127th of the largest, rounded up to 16 bits of
    significand. So q · scale is exact in float32, and is split into the same again.
    """
    largest = np.maximum(abs(matrix).max(axis, keepdims=True), LEAST)
    bits = (largest / STEPS).view(np.uint32) + np.uint32(0xFF) & np.uint32(0xFFFFFF00)
    scale = bits.view(np.float32)
    steps = np.rint(matrix * (np.float32(1) / scale)).astype(np.int8)
    return np.ascontiguousarray(steps), scale.squeeze(axis)


def joined(steps: Array, scale: Array, axis: int) -> Array:
    """Return q · scale, float32; `axis` as in `split`."""
    return steps * np.expand_dims(scale, axis)

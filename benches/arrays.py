"""The numbers that every library gets: weights and inputs from seeds that name the shape."""

from __future__ import annotations

import numpy as np

from benches.shapes import Shape

Arrays = tuple[np.ndarray, ...]


def weights(shape: Shape) -> Arrays:
    """W_ih (4H, I), W_hh (4H, H), b (4H,), gates i, f, g, o, drawn as torch draws them."""
    I, H = shape.I, shape.H
    rng, limit = np.random.default_rng((1, I, H)), H**-0.5
    shapes = ((4 * H, I), (4 * H, H), (4 * H,))
    return tuple(rng.uniform(-limit, limit, s).astype(np.float32) for s in shapes)


def inputs(shape: Shape) -> np.ndarray:
    """x (T, B, I)."""
    return _normal(2, shape.T, shape.B, shape.I)


def upstream(shape: Shape) -> np.ndarray:
    """dy (T, B, H): the gradient that a training job gets for the output of every step."""
    return _normal(3, shape.T, shape.B, shape.H)


def _normal(stream: int, *sizes: int) -> np.ndarray:
    return np.random.default_rng((stream, *sizes)).standard_normal(sizes).astype(np.float32)

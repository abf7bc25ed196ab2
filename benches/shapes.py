"""The shapes that are measured: drawn once from a fixed seed, before any tuning; none is removed.

B in 1..256, T in 1..1000, I and H in 16..1024, each log-uniform; every third shape has an odd I and
an odd H. A shape whose forward pass takes more than MOST operations is drawn again, so that a run
over all peers ends within an evening.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SEED = 20261123
COUNT = 42
MOST = 4e10  # floating-point operations of one forward pass: some 0.2 s on one core


class Shape(NamedTuple):
    """Sizes of one layer's job: T steps of B sequences, I inputs, H hidden units."""

    T: int
    B: int
    I: int
    H: int

    @property
    def operations(self) -> float:
        """Multiplications and additions of the forward products (training takes three times it)."""
        return 8.0 * self.T * self.B * self.H * (self.I + self.H)

    def __str__(self) -> str:
        return f"T{self.T}-B{self.B}-I{self.I}-H{self.H}"


def log_uniform(rng: np.random.Generator, low: int, high: int) -> int:
    return min(high, int(np.exp(rng.uniform(np.log(low), np.log(high + 1)))))


def draw(count: int = COUNT, seed: int = SEED) -> list[Shape]:
    rng, shapes = np.random.default_rng(seed), []
    while len(shapes) < count:
        odd = int(len(shapes) % 3 == 2)
        T, B = log_uniform(rng, 1, 1000), log_uniform(rng, 1, 256)
        I, H = (log_uniform(rng, 16, 1024 - odd) | odd for _ in range(2))
        if Shape(T, B, I, H).operations <= MOST:
            shapes.append(Shape(T, B, I, H))
    return shapes


SHAPES = draw()
STREAMING = tuple(Shape(1, 1, n, n) for n in (32, 64, 128, 256, 512, 1024)) + tuple(
    Shape(1, 1, s.I, s.H) for s in SHAPES[:6]
)

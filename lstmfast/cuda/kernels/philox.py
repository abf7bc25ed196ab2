"""Random numbers by their coordinates, as on the CPU: see `lstmfast.kernels.philox`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba import njit, types

from ...kernels.philox import KEY_STEPS, MULTIPLIERS, PURPOSES, ROUNDS

__all__ = ["make_drawn", "stream_of", "threshold"]

U32, U64 = types.uint32, types.uint64
M0, M1 = (U64(m) for m in MULTIPLIERS)
K0, K1 = KEY_STEPS


def threshold(rate: float) -> int:
    """The number that a share `rate` of all 32-bit words is below."""
    return int(rate * 2**32)


def stream_of(part: int, purpose: str) -> int:
    return 4 * part + PURPOSES.index(purpose)


@njit(error_model="numpy")
def words(seed, column, row, step, stream):
    """Words 0 and 1 of Philox4x32-10 for a seed of 64 bits and a counter of four numbers."""
    mask = U64(0xFFFFFFFF)
    k0, k1 = U64(seed) & mask, U64(seed) >> U64(32)
    c0, c1, c2, c3 = U64(column), U64(row), U64(step), U64(stream)
    for _ in range(ROUNDS):
        p0, p1 = M0 * c0, M1 * c2
        c0, c2 = (p1 >> U64(32)) ^ c1 ^ k0, (p0 >> U64(32)) ^ c3 ^ k1
        c1, c3 = p1 & mask, p0 & mask
        k0, k1 = (k0 + U64(K0)) & mask, (k1 + U64(K1)) & mask
    return c0, c1


@lru_cache(None)
def make_drawn(real: Any, first: float, second: float = 0.0) -> Any:
    """drawn(seed, column, row, step, stream): two numbers, 1 with these probabilities, else 0."""
    low, high = threshold(first), threshold(second)

    @njit(error_model="numpy")
    def drawn(seed, column, row, step, stream):
        word_0, word_1 = words(seed, column, row, step, stream)
        return real(word_0 < U64(low)), real(word_1 < U64(high))

    return drawn

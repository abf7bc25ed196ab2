"""Random numbers by their coordinates: `lstmfast.kernels.philox` on 32-bit words in uint64."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba import njit, types

from ... import capi
from ...kernels.philox import PURPOSES, make_words

__all__ = ["make_drawn", "stream_of"]

U64 = types.uint64


def stream_of(part: int, purpose: str) -> int:
    return capi.stream(part, PURPOSES.index(purpose))


@njit(error_model="numpy")
def low(number):
    return number & U64(0xFFFFFFFF)


@njit(error_model="numpy")
def multiply(word, multiplier):
    product = U64(multiplier) * word
    return product >> U64(32), low(product)


@njit(error_model="numpy")
def mix(word, other, key):
    return word ^ other ^ key


@njit(error_model="numpy")
def advance(key, by):
    return low(key + U64(by))


four_words = njit(error_model="numpy")(make_words(multiply, mix, advance))


@njit(error_model="numpy")
def words(seed, column, row, step, stream):
    """Words 0 and 1 of Philox4x32-10 for a seed of 64 bits and a counter of four numbers."""
    c0, c1, c2, c3 = U64(column), U64(row), U64(step), U64(stream)
    found = four_words(c0, c1, c2, c3, low(U64(seed)), U64(seed) >> U64(32))
    return found[0], found[1]


@lru_cache(None)
def make_drawn(real: Any, first: float, second: float = 0.0) -> Any:
    """drawn(seed, column, row, step, stream): two numbers, 1 with these probabilities, else 0."""
    limit_0, limit_1 = capi.threshold(first), capi.threshold(second)

    @njit(error_model="numpy")
    def drawn(seed, column, row, step, stream):
        word_0, word_1 = words(seed, column, row, step, stream)
        return real(word_0 < U64(limit_0)), real(word_1 < U64(limit_1))

    return drawn

"""Where random numbers come from that nobody gave a seed for."""

from __future__ import annotations

import random

import numpy as np

from .arguments import integer

__all__ = ["generator", "set_random_seed"]

_sequence: np.random.SeedSequence | None = None  # None: from the operating system


def set_random_seed(seed: int) -> None:
    """Seed Python's `random`, NumPy's old generator, and what is made without a seed of its own.

    Models and layers that are made after it, in the same order, have the same weights, shuffle and
    drop alike, at any number of threads.

    Raises
    ------
    ValueError
        When seed is no integer in 0..2**32-1.
    """
    global _sequence
    seed = integer("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)
    _sequence = np.random.SeedSequence(seed)


def generator(seed: int | None) -> np.random.Generator:
    """Return a generator of this seed, or for None the next one of `set_random_seed`'s."""
    if seed is None and _sequence is not None:
        return np.random.default_rng(_sequence.spawn(1)[0])
    return np.random.default_rng(seed)

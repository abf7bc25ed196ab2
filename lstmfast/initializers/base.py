"""What all initializers are, and where their numbers come from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import LARGEST_SEED, Array, integer
from ..seeding import generator

__all__ = ["Initializer", "check_seed", "generator_of"]


class Initializer:
    """Base of the initializers below: frozen values that are compared by their fields."""

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        """Draw an array.

        Parameters
        ----------
        shape : tuple of int
            (fan_in, fan_out) for a matrix, (n,) for a bias, (steps, channels, filters) for a
            convolution.
        rng : numpy.random.Generator, optional
            Advanced by as many draws as the initializer needs. An initializer with a `seed` draws
            from that alone, the same numbers at each call, as in Keras.

        Returns
        -------
        ndarray of `shape`, float64
        """
        raise NotImplementedError


def check_seed(seed: Any) -> None:
    """Raise ValueError unless it is None or a seed."""
    if seed is not None:
        integer("seed", seed, 0, LARGEST_SEED)


def generator_of(seed: int | None, rng: np.random.Generator | None) -> np.random.Generator:
    """Return what an initializer draws from: its own seed's generator, or the caller's."""
    return generator(seed) if seed is not None or rng is None else rng

"""GaussianDropout and AlphaDropout: noise that keeps means and deviations as they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..activations import SELU_ALPHA, SELU_SCALE
from ..arguments import Array, Shape
from ..ops.noise import kept_of
from .dropout import Dropout, Noisy, rate_of

__all__ = ["AlphaDropout", "GaussianDropout"]

DROPPED = -SELU_ALPHA * SELU_SCALE  # what a SELU tends to: the value of what is dropped


class GaussianDropout(Noisy):
    """In training, x times numbers of a normal distribution of mean 1.

    Their standard deviation is √(rate / (1 - rate)), that of `Dropout`.

    Parameters
    ----------
    rate : float
        In [0, 1).
    seed : int, optional
        Of what is drawn without a Model.
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.

    Notes
    -----
    Source: Srivastava et al. 2014, section 10.
    """

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape, seed)
        self.rate = rate_of(rate)
        self.draws = self.rate > 0

    def _drawn(self, x: Array, seed: int) -> tuple[Array, Any]:
        stddev = math.sqrt(self.rate / (1 - self.rate))
        drawn = np.random.default_rng(seed).standard_normal(x.shape, x.dtype.type)
        drawn *= x.dtype.type(stddev)
        drawn += 1
        with np.errstate(over="ignore"):
            return x * drawn, drawn

    def _backward(self, dy: Array, kept: Any) -> Array:
        if kept is not None:
            dy *= kept
        return dy


class AlphaDropout(Dropout):
    """Dropout for activations of a SELU: what is dropped becomes what that tends to.

    Then all is scaled and shifted so that numbers of mean 0 and deviation 1 stay such.

    Parameters
    ----------
    rate : float
        In [0, 1).
    noise_shape, seed, name, input_shape : optional
        As of `Dropout`.

    Notes
    -----
    Source: Klambauer et al. 2017.
    """

    def _drawn(self, x: Array, seed: int) -> tuple[Array, Any]:
        kept = kept_of(self._shape_drawn(x.shape), self.rate, seed)
        scale = self._scale()
        y = np.where(kept, x, x.dtype.type(DROPPED))
        y *= x.dtype.type(scale)
        y -= x.dtype.type(scale * DROPPED * self.rate)
        return y, kept

    def _scale(self) -> float:
        """One over the deviation of what is dropped or not."""
        return 1 / math.sqrt((1 - self.rate) * (1 + self.rate * DROPPED**2))

    def _backward(self, dy: Array, kept: Any) -> Array:
        if kept is None:
            return dy
        dy *= np.where(kept, dy.dtype.type(self._scale()), dy.dtype.type(0))
        return dy

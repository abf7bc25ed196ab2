"""Dropout, SpatialDropout1D and GaussianNoise: what is random in training, and nothing else."""

from __future__ import annotations

from typing import Any

from ..arguments import Array, Shape, check_shape, integer, number, shape_text, shown
from ..ops.noise import dropped, kept_of, noisy
from ..ops.placement import to_device
from ..seeding import generator
from .stepping import Stepper
from .weightless import Weightless

__all__ = ["Dropout", "GaussianNoise", "SpatialDropout1D"]


class Noisy(Weightless):
    """The base of what only training changes: in inference the output is x itself.

    Each pass in training draws one integer from the Model's generator, or without a Model from one
    of the layer's `seed`; all that is random follows from it.
    """

    supports_masking = True

    def _forward(self, x: Array) -> tuple[Array, Any]:
        return x, None

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return x, or with `training` what becomes of it at random."""
        x = self._floats(x)
        if not training:
            return x
        y, kept = self._drawn(x, self._noise_seed()) if self.draws else (x, None)
        self._cache = (x.shape, kept)
        return y

    def stepper(self, batch_size: int) -> Stepper:
        return Stepper(lambda x: x)

    def _drawn(self, x: Array, seed: int) -> tuple[Array, Any]:
        """Return what becomes of x, and what the way back needs."""
        raise NotImplementedError

    def _noise_seed(self) -> int:
        if self.rng is None:
            self.rng = generator(self.seed)
        return int(self.rng.integers(2**63))


class Dropout(Noisy):
    """In training each number is 0 with probability `rate`, else 1 / (1 - rate) times as large.

    Parameters
    ----------
    rate : float
        In [0, 1).
    noise_shape : tuple, optional
        The shape of what is drawn, the batch included: None for x's size, 1 where one draw shall do
        for the whole axis. (None, 1, None) of (B, T, I) drops the same units in all steps.
    seed : int, optional
        Of what is dropped without a Model.
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.

    Notes
    -----
    Source: Srivastava et al. 2014.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Any = None,
        seed: int | None = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape, seed)
        self.rate = rate_of(rate)
        self.noise_shape = None if noise_shape is None else _noise_shape(noise_shape)
        self.draws = self.rate > 0
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        self._shape_drawn(input_shape)
        return tuple(input_shape)

    def _shape_drawn(self, shape: Shape) -> Shape:
        """Return the shape of what is drawn for an input of this shape; ValueError if none fits."""
        wanted = self.noise_shape
        if wanted is None:
            return shape
        if len(wanted) != len(shape) or any(
            None not in (size, of_x) and size not in (1, of_x)
            for size, of_x in zip(wanted, shape, strict=True)
        ):
            expected = f"a shape for noise_shape {shape_text(wanted)}"
            raise ValueError(f"x: expected {expected}, got {shape_text(shape)}")
        pairs = zip(wanted, shape, strict=True)
        return tuple(of_x if size is None else size for size, of_x in pairs)

    def _drawn(self, x: Array, seed: int) -> tuple[Array, Any]:
        kept = to_device(kept_of(self._shape_drawn(x.shape), self.rate, seed), self.device)
        return dropped(x, kept, self.rate), kept

    def _backward(self, dy: Array, kept: Any) -> Array:
        return dy if kept is None else dropped(dy, kept, self.rate)


class SpatialDropout1D(Dropout):
    """Dropout of whole units: of (B, T, I) the same ones in all steps, as Keras names it.

    Parameters
    ----------
    rate : float
        In [0, 1).
    seed, name, input_shape : optional
        As of `Dropout`.

    Notes
    -----
    Source: Tompson et al. 2015.
    """

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(rate, (None, 1, None), seed, name=name, input_shape=input_shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, ("B", "T", "I"))
        return tuple(input_shape)


class GaussianNoise(Noisy):
    """In training, numbers of a normal distribution are added.

    Parameters
    ----------
    stddev : float
        In [0, 1], as in Keras.
    seed, name, input_shape : optional
        As of `Dropout`.
    """

    def __init__(
        self,
        stddev: float,
        seed: int | None = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape, seed)
        self.stddev = number("stddev", stddev, 0, 1)
        self.draws = self.stddev > 0

    def _drawn(self, x: Array, seed: int) -> tuple[Array, Any]:
        return noisy(x, self.stddev, seed), None

    def _backward(self, dy: Array, kept: Any) -> Array:
        return dy


def rate_of(rate: Any) -> float:
    found = number("rate", rate, 0, 1)
    if found == 1:
        raise ValueError(f"rate: expected a rate in [0, 1), got {rate}")
    return found


def _noise_shape(shape: Any) -> Shape:
    if not isinstance(shape, (tuple, list)) or not shape:
        raise ValueError(f"noise_shape: expected a tuple such as (None, 1), got {shown(shape)}")
    return tuple(None if size is None else integer("noise_shape", size, 1) for size in shape)

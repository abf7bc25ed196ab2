"""Initial weights that are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..arguments import Array, choice, integer, number, shape_text
from .base import Initializer, check_seed, generator_of

__all__ = [
    "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform",
    "Orthogonal", "RandomNormal", "RandomUniform", "RecurrentUniform", "TruncatedNormal",
    "VarianceScaling",
]  # fmt: skip

DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")
STDDEV_OF_TRUNCATED_NORMAL = 0.87962566103423978  # of a standard normal cut at +-2


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Uniform in [minval, maxval)."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def __post_init__(self) -> None:
        number("maxval", self.maxval, number("minval", self.minval, -math.inf))
        check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = generator_of(self.seed, rng)
        return rng.uniform(self.minval, self.maxval, shape)


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """Normal with this mean and standard deviation."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __post_init__(self) -> None:
        number("mean", self.mean, -math.inf)
        number("stddev", self.stddev, 0.0)
        check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = generator_of(self.seed, rng)
        return rng.normal(self.mean, self.stddev, shape)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal with this mean and standard deviation, drawn anew beyond two deviations of the mean.

    The cut takes the deviation of what is left to 0.88 `stddev`.
    """

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __post_init__(self) -> None:
        number("mean", self.mean, -math.inf)
        number("stddev", self.stddev, 0.0)
        check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = generator_of(self.seed, rng)
        return self.mean + self.stddev * _standard_normal_within_two(shape, rng)


@dataclass(frozen=True)
class RecurrentUniform(Initializer):
    """Uniform in ±1/√H, where H = columns / `gates`: how PyTorch starts its recurrent layers.

    The columns of an LSTM's kernel (I, 4H), recurrent kernel (H, 4H) and bias (4H,) are its four
    gates side by side, so all three tell H. Peepholes (3, H) and layers without gates take
    `gates=1`. The columns of a projection (H, P) do not tell H: take RandomUniform there.

    >>> uniform = RecurrentUniform()  # or "recurrent_uniform"
    >>> LSTM(64, kernel_initializer=uniform, recurrent_initializer=uniform,
    ...      bias_initializer=uniform, unit_forget_bias=False)

    PyTorch has two biases, each drawn so; their sum is what one bias here stands for.
    """

    gates: int = 4

    def __post_init__(self) -> None:
        integer("gates", self.gates, 1)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        if not shape or shape[-1] % self.gates:
            expected = f"a last axis of {self.gates} gates side by side for RecurrentUniform"
            raise ValueError(f"shape: expected {expected}, got {shape_text(shape)}")
        limit = 1.0 / math.sqrt(shape[-1] // self.gates)
        return generator_of(None, rng).uniform(-limit, limit, shape)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Zero mean, variance `scale / n`, where n counts inputs, outputs or their mean.

    Source: Glorot and Bengio 2010, eq. 16 (fan_avg, uniform); He et al. 2015, eq. 10 (fan_in,
    scale 2); LeCun et al. 1998 (fan_in).
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None

    def __post_init__(self) -> None:
        number("scale", self.scale, 0.0)
        choice("mode", self.mode, ("fan_in", "fan_out", "fan_avg"))
        choice("distribution", self.distribution, DISTRIBUTIONS)
        check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = generator_of(self.seed, rng)
        variance = self.scale / max(1.0, _fan(shape, self.mode))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return rng.normal(0.0, math.sqrt(variance), shape)
        stddev = math.sqrt(variance) / STDDEV_OF_TRUNCATED_NORMAL
        return stddev * _standard_normal_within_two(shape, rng)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """A matrix with orthonormal columns (rows, when it is wider than high), times `gain`.

    Of more than two axes all but the last one are the matrix's rows, as for a convolution.
    Source: Saxe et al. 2014; the signs of R's diagonal make the draw uniform (Mezzadri 2007).
    """

    gain: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        number("gain", self.gain, -math.inf)
        check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = generator_of(self.seed, rng)
        if len(shape) < 2:
            raise ValueError(f"shape: expected two axes or more for Orthogonal, got {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


class GlorotUniform(VarianceScaling):
    """`VarianceScaling(1.0, "fan_avg", "uniform")`."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """`VarianceScaling(1.0, "fan_avg", "truncated_normal")`."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """`VarianceScaling(2.0, "fan_in", "uniform")`."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """`VarianceScaling(2.0, "fan_in", "truncated_normal")`."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """`VarianceScaling(1.0, "fan_in", "uniform")`."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """`VarianceScaling(1.0, "fan_in", "truncated_normal")`."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


def _fan(shape: tuple[int, ...], mode: str) -> float:
    if len(shape) < 2:
        fan_in = fan_out = math.prod(shape)
    else:
        *window, inputs, outputs = shape  # of a convolution each step of the window counts
        fan_in, fan_out = math.prod(window) * inputs, math.prod(window) * outputs
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def _standard_normal_within_two(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2.0).any():
        values[outside] = rng.standard_normal(np.count_nonzero(outside))
    return values

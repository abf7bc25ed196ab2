"""Initial weights, with Keras 3's names, formulas and defaults.

An initializer is called with a shape in Keras's layout (inputs, outputs) and a NumPy generator; it
answers in float64, so that a float32 layer gets the rounded weights of its float64 twin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arguments import Array, choice, described, integer, named, number, shape_text, shown

__all__ = [
    "Constant",
    "Identity",
    "Initializer",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "RecurrentUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "get",
    "serialize",
]

DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")
MOST_TOLD = 1024  # numbers of an array in a config
STDDEV_OF_TRUNCATED_NORMAL = 0.87962566103423978  # of a standard normal cut at +-2


class Initializer:
    """Base of the initializers below: frozen values that are compared by their fields."""

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Draw an array.

        Parameters
        ----------
        shape : tuple of int
            (fan_in, fan_out) for a matrix, (n,) for a bias, (steps, channels, filters) for a
            convolution.
        rng : numpy.random.Generator
            Advanced by as many draws as the initializer needs.

        Returns
        -------
        ndarray of `shape`, float64
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Constant(Initializer):
    """Every weight is `value`, or that of an array of the weights' shape, such as word vectors.

    A config holds an array of up to 1024 numbers; of a larger one it says that it is not there
    (None), as a file holds the weights themselves.
    """

    value: Any = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.value, (np.ndarray, list, tuple)):
            object.__setattr__(self, "value", _numbers(self.value))
        elif self.value is not None:
            number("value", self.value, -math.inf)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        if self.value is None:
            raise ValueError("value: expected the numbers of a Constant, got a config without them")
        if isinstance(self.value, np.ndarray) and self.value.shape != shape:
            found = shape_text(self.value.shape)
            raise ValueError(f"value: expected {shape_text(shape)}, got {found}")
        return np.full(shape, self.value, np.float64)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant) or (self.value is None) != (other.value is None):
            return False
        return np.array_equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash(np.asarray(self.value).tobytes())


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Uniform in [minval, maxval)."""

    minval: float = -0.05
    maxval: float = 0.05

    def __post_init__(self) -> None:
        number("maxval", self.maxval, number("minval", self.minval, -math.inf))

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.uniform(self.minval, self.maxval, shape)


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """Normal with this mean and standard deviation."""

    mean: float = 0.0
    stddev: float = 0.05

    def __post_init__(self) -> None:
        number("mean", self.mean, -math.inf)
        number("stddev", self.stddev, 0.0)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.normal(self.mean, self.stddev, shape)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal with this mean and standard deviation, drawn anew beyond two deviations of the mean.

    The cut takes the deviation of what is left to 0.88 `stddev`.
    """

    mean: float = 0.0
    stddev: float = 0.05

    def __post_init__(self) -> None:
        number("mean", self.mean, -math.inf)
        number("stddev", self.stddev, 0.0)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
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

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        if not shape or shape[-1] % self.gates:
            expected = f"a last axis of {self.gates} gates side by side for RecurrentUniform"
            raise ValueError(f"shape: expected {expected}, got {shape_text(shape)}")
        limit = 1.0 / math.sqrt(shape[-1] // self.gates)
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Zero mean, variance `scale / n`, where n counts inputs, outputs or their mean.

    Source: Glorot and Bengio 2010, eq. 16 (fan_avg, uniform); He et al. 2015, eq. 10 (fan_in,
    scale 2); LeCun et al. 1998 (fan_in).
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"

    def __post_init__(self) -> None:
        number("scale", self.scale, 0.0)
        choice("mode", self.mode, ("fan_in", "fan_out", "fan_avg"))
        choice("distribution", self.distribution, DISTRIBUTIONS)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
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

    def __post_init__(self) -> None:
        number("gain", self.gain, -math.inf)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        if len(shape) < 2:
            raise ValueError(f"shape: expected two axes or more for Orthogonal, got {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@dataclass(frozen=True)
class Identity(Initializer):
    """`gain` on the main diagonal of a matrix, zero elsewhere: of (H, 4H), in the gate i alone."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        number("gain", self.gain, -math.inf)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        if len(shape) != 2:
            raise ValueError(f"shape: expected two axes for Identity, got {shape}")
        return self.gain * np.eye(*shape)


def get(
    identifier: str | dict[str, Any] | Initializer | Array, argument: str = "initializer"
) -> Initializer:
    """Return the initializer of this name, of this config, or itself.

    Parameters
    ----------
    identifier : str, dict, Initializer or ndarray
        A Keras name such as "glorot_uniform", what `serialize` made, one of the classes below, or
        the weights themselves: `Constant`.
    argument : str
        What the caller calls it; errors begin with it.

    Raises
    ------
    ValueError
        For anything else; the message lists the names.
    """
    if isinstance(identifier, np.ndarray):
        return Constant(identifier)
    return named(argument, identifier, NAMED, CLASSES)


def serialize(initializer: Initializer) -> str | dict[str, Any]:
    """Return the first name of an initializer, or its class and fields: JSON for `get`."""
    if isinstance(initializer, Constant) and np.size(initializer.value) > MOST_TOLD:
        return {"class": "Constant", "value": None}
    return described(initializer, NAMED)


def _numbers(value: Any) -> Array:
    """Return an array as float64; ValueError for what is no number, NaN or Inf."""
    try:
        found = np.asarray(value)
    except ValueError:  # of rows of unlike lengths
        found = np.asarray(None)
    if found.dtype.kind in "iuf":
        with np.errstate(over="ignore"):
            found = found.astype(np.float64)
        if np.isfinite(found).all():
            return found
    raise ValueError(f"value: expected finite numbers, got {shown(value)}")


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


CLASSES: dict[str, type[Initializer]] = {
    made.__name__: made
    for made in (
        Constant,
        RandomUniform,
        RandomNormal,
        TruncatedNormal,
        RecurrentUniform,
        VarianceScaling,
        Orthogonal,
        Identity,
    )
}

NAMED: dict[str, Initializer] = {
    "zeros": Constant(0.0),
    "zero": Constant(0.0),
    "ones": Constant(1.0),
    "one": Constant(1.0),
    "uniform": RandomUniform(),
    "random_uniform": RandomUniform(),
    "normal": RandomNormal(),
    "random_normal": RandomNormal(),
    "truncated_normal": TruncatedNormal(),
    "glorot_uniform": VarianceScaling(1.0, "fan_avg", "uniform"),
    "glorot_normal": VarianceScaling(1.0, "fan_avg", "truncated_normal"),
    "he_uniform": VarianceScaling(2.0, "fan_in", "uniform"),
    "he_normal": VarianceScaling(2.0, "fan_in", "truncated_normal"),
    "lecun_uniform": VarianceScaling(1.0, "fan_in", "uniform"),
    "lecun_normal": VarianceScaling(1.0, "fan_in", "truncated_normal"),
    "variance_scaling": VarianceScaling(),
    "orthogonal": Orthogonal(),
    "identity": Identity(),
    # PyTorch's words; its normal distributions are not cut.
    "xavier_uniform": VarianceScaling(1.0, "fan_avg", "uniform"),
    "xavier_normal": VarianceScaling(1.0, "fan_avg", "untruncated_normal"),
    "kaiming_uniform": VarianceScaling(2.0, "fan_in", "uniform"),
    "kaiming_normal": VarianceScaling(2.0, "fan_in", "untruncated_normal"),
    "recurrent_uniform": RecurrentUniform(),
}

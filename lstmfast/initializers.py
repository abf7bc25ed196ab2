"""Initial weights, with Keras 3's names, formulas and defaults.

An initializer is called with a shape in Keras's layout (inputs, outputs) and a NumPy generator; it
answers in float64, so that a float32 layer gets the rounded weights of its float64 twin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from . import registry
from .arguments import (
    LARGEST_SEED,
    Array,
    choice,
    described,
    integer,
    named,
    number,
    shape_text,
    shown,
)
from .seeding import generator

__all__ = [
    "Constant", "FunctionInitializer", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform",
    "Identity", "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal",
    "RandomNormal", "RandomUniform", "RecurrentUniform", "TruncatedNormal", "VarianceScaling",
    "Zeros", "constant", "deserialize", "get", "glorot_normal", "glorot_uniform", "he_normal",
    "he_uniform", "identity", "lecun_normal", "lecun_uniform", "ones", "orthogonal",
    "random_normal", "random_uniform", "serialize", "truncated_normal", "variance_scaling",
    "zeros",
]  # fmt: skip

DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")
MOST_TOLD = 1024  # numbers of an array in a config
STDDEV_OF_TRUNCATED_NORMAL = 0.87962566103423978  # of a standard normal cut at +-2


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

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
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
    seed: int | None = None

    def __post_init__(self) -> None:
        number("maxval", self.maxval, number("minval", self.minval, -math.inf))
        _check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = _generator(self.seed, rng)
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
        _check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = _generator(self.seed, rng)
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
        _check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = _generator(self.seed, rng)
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
        return _generator(None, rng).uniform(-limit, limit, shape)


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
        _check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = _generator(self.seed, rng)
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
        _check_seed(self.seed)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        rng = _generator(self.seed, rng)
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

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        if len(shape) != 2:
            raise ValueError(f"shape: expected two axes for Identity, got {shape}")
        return self.gain * np.eye(*shape)


class Zeros(Constant):
    """Every weight is 0."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every weight is 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


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


@dataclass(frozen=True)
class FunctionInitializer(Initializer):
    """What a function `fn(shape, dtype=None)` of yours returns; `get` makes it of a function.

    A file can hold it when the function is registered (`registry.register_serializable`).
    """

    fn: Any

    def __post_init__(self) -> None:
        if isinstance(self.fn, str):
            object.__setattr__(self, "fn", registry.registered(self.fn))
        if not callable(self.fn) or isinstance(self.fn, type):
            raise ValueError(f"fn: expected a function of a shape, got {shown(self.fn)}")

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator | None = None) -> Array:
        found = np.asarray(self.fn(shape, dtype="float64"))
        if found.dtype.kind not in "iufb" or found.shape != tuple(shape):
            got = f"{shape_text(found.shape)} of {found.dtype}"
            raise ValueError(f"initializer: expected numbers of {shape_text(shape)}, got {got}")
        return found.astype(np.float64)


def get(identifier: Any, argument: str = "initializer") -> Initializer:
    """Return the initializer of this name, of this config, of a function, or itself.

    Parameters
    ----------
    identifier : str, dict, Initializer, ndarray or function
        A Keras name such as "glorot_uniform" or "GlorotUniform", what `serialize` made, one of the
        classes above or an object of it, the weights themselves, which become a `Constant`, or a
        function `fn(shape, dtype=None)`.
    argument : str
        What the caller calls it; errors begin with it.

    Raises
    ------
    ValueError
        For anything else; the message lists the names.
    """
    if isinstance(identifier, np.ndarray):
        return Constant(identifier)
    if isinstance(identifier, type) and identifier in CLASSES.values():
        identifier = identifier.__name__
    if isinstance(identifier, str) and identifier not in NAMED:
        identifier = registry.any_case(identifier, NAMED)
    is_ours = isinstance(identifier, type) or type(identifier) in CLASSES.values()
    if callable(identifier) and not is_ours:
        return FunctionInitializer(identifier)
    return _of_base(named(argument, identifier, NAMED, CLASSES))


def serialize(initializer: Initializer) -> str | dict[str, Any]:
    """Return the first name of an initializer, or its class and fields: JSON for `get`.

    Raises
    ------
    ValueError
        For a function that is not registered.
    """
    found = _of_base(initializer)
    if isinstance(found, FunctionInitializer):
        name = registry.name_of(found.fn) if hasattr(found.fn, "__name__") else ""
        if registry.registered(name) is not found.fn:
            expected = "a function that register_serializable has registered"
            raise ValueError(
                f"initializer: expected {expected} to write its name, got {shown(found.fn)}"
            )
        return {"class": "FunctionInitializer", "fn": name}
    if isinstance(found, Constant) and np.size(found.value) > MOST_TOLD:
        return {"class": "Constant", "value": None}
    config = described(found, NAMED)
    if isinstance(config, dict) and config.get("seed", 0) is None:
        del config["seed"]
    return config


def deserialize(config: Any) -> Initializer:
    """Return the initializer that `serialize` told of; see `get`."""
    return get(config)


def _of_base(found: Initializer) -> Initializer:
    """Return one of a class that only names arguments as one of its base."""
    for base in (Constant, VarianceScaling):
        if isinstance(found, base) and type(found) is not base:
            return base(**{field.name: getattr(found, field.name) for field in fields(base)})
    return found


def _check_seed(seed: Any) -> None:
    if seed is not None:
        integer("seed", seed, 0, LARGEST_SEED)


def _generator(seed: int | None, rng: np.random.Generator | None) -> np.random.Generator:
    return generator(seed) if seed is not None or rng is None else rng


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
        Zeros,
        Ones,
        GlorotUniform,
        GlorotNormal,
        HeUniform,
        HeNormal,
        LecunUniform,
        LecunNormal,
        FunctionInitializer,
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

# Keras's other names of the classes.
constant, zeros, ones = Constant, Zeros, Ones
random_uniform, random_normal, truncated_normal = RandomUniform, RandomNormal, TruncatedNormal
glorot_uniform, glorot_normal = GlorotUniform, GlorotNormal
he_uniform, he_normal, lecun_uniform, lecun_normal = HeUniform, HeNormal, LecunUniform, LecunNormal
variance_scaling, orthogonal, identity = VarianceScaling, Orthogonal, Identity

"""Initial weights, with Keras 3's names, formulas and defaults.

An initializer is called with a shape in Keras's layout (inputs, outputs) and a NumPy generator; it
answers in float64, so that a float32 layer gets the rounded weights of its float64 twin.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from .. import registry
from ..arguments import described, named, shown
from .base import Initializer
from .drawn import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    RecurrentUniform,
    TruncatedNormal,
    VarianceScaling,
)
from .given import Constant, FunctionInitializer, Identity, Ones, Zeros

__all__ = [
    "Constant", "FunctionInitializer", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform",
    "Identity", "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal",
    "RandomNormal", "RandomUniform", "RecurrentUniform", "TruncatedNormal", "VarianceScaling",
    "Zeros", "constant", "deserialize", "get", "glorot_normal", "glorot_uniform", "he_normal",
    "he_uniform", "identity", "lecun_normal", "lecun_uniform", "ones", "orthogonal",
    "random_normal", "random_uniform", "serialize", "truncated_normal", "variance_scaling",
    "zeros",
]  # fmt: skip

MOST_TOLD = 1024  # numbers of an array in a config


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

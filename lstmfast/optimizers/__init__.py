"""Optimizers and learning-rate schedules, with Keras 3's formulas, arguments and defaults.

>>> optimizer = Adam(schedules.CosineDecay(0.001, 10_000), global_clipnorm=5.0)
>>> loss, grads = model.gradients(x, y)
>>> optimizer.apply(model.params, grads)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arguments import choice, construct
from ..ops.rows import RowGradient
from . import schedules
from .adagrad import Adagrad
from .adam import Adam, AdamW, Nadam
from .base import Optimizer
from .plain import Adadelta, Adamax, Lion
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = [
    "CLASSES", "NAMED", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion",
    "Nadam", "Optimizer", "RMSprop", "RowGradient", "deserialize", "get", "schedules",
    "serialize",
]  # fmt: skip

CLASSES: dict[str, type[Optimizer]] = {
    made.__name__: made
    for made in (SGD, Adam, AdamW, RMSprop, Adagrad, Nadam, Adadelta, Adamax, Lion)
}
NAMED: dict[str, Callable[[], Optimizer]] = {
    name.lower(): made  # type: ignore[misc]
    for name, made in CLASSES.items()
}


def get(identifier: str | dict[str, Any] | Optimizer) -> Optimizer:
    """Return a new optimizer of this name or config, or itself; ValueError for others.

    Names in capitals are names, too: "Adam", "SGD".
    """
    if type(identifier) in CLASSES.values():
        return identifier  # type: ignore[return-value]
    if isinstance(identifier, dict):
        return construct("optimizer", identifier, CLASSES)
    name = identifier.lower() if isinstance(identifier, str) else identifier
    return NAMED[choice("optimizer", name, NAMED)]()


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Return the config of an optimizer, for `deserialize`."""
    return get(optimizer).get_config()


def deserialize(config: str | dict[str, Any]) -> Optimizer:
    """Return the optimizer that `serialize` told of, or of a name; see `get`."""
    return get(config)

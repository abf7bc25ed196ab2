"""Losses, with Keras 3's names and numbers; see `base` for what they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..arguments import construct, shown
from ..registry import Known, snake_case
from .base import AnyLoss, BatchLoss, Loss, PendingLoss
from .crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Crossentropy,
    KLDivergence,
    SparseCategoricalCrossentropy,
)
from .regression import Huber, MeanAbsoluteError, MeanSquaredError, Quantile
from .weights import class_weights, row_weights

__all__ = [
    "CLASSES",
    "NAMED",
    "AnyLoss",
    "BatchLoss",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Crossentropy",
    "Huber",
    "KLDivergence",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "PendingLoss",
    "Quantile",
    "SparseCategoricalCrossentropy",
    "class_weights",
    "get",
    "row_weights",
]

CLASSES: Mapping[str, type[Loss]] = Known(
    Loss,
    (
        SparseCategoricalCrossentropy,
        CategoricalCrossentropy,
        BinaryCrossentropy,
        MeanSquaredError,
        MeanAbsoluteError,
        Huber,
        Quantile,
        KLDivergence,
    ),
)

NAMED: dict[str, type[Loss]] = {
    **{snake_case(name): made for name, made in CLASSES.items()},
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "bce": BinaryCrossentropy,
    "kld": KLDivergence,
    "huber_loss": Huber,
    "pinball": Quantile,
}


def get(identifier: str | dict[str, Any] | Loss) -> Loss:
    """Return the loss of this Keras name, of this config, or itself.

    Names count in any case: "mse", "MSE", "binary_crossentropy", "BinaryCrossentropy", and
    "package>name" of a registered class.

    Raises
    ------
    ValueError
        For anything else, such as a function: that has no gradient, so subclass `Loss`.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, dict):
        return construct("loss", identifier, CLASSES)
    if isinstance(identifier, str):
        made = CLASSES.get(identifier) or _ANY_CASE.get(identifier.lower())
        if made is not None:
            return made()
    instead = ""
    if callable(identifier):
        instead = " (a function has no gradient: subclass lstmfast.losses.Loss, and pass an object)"
    listed = ", ".join(map(repr, [*NAMED, *list(CLASSES)[len(_OWN) :]]))
    raise ValueError(f"loss: expected one of {listed}, got {shown(identifier)}{instead}")


_OWN = tuple(CLASSES)
_ANY_CASE = {**NAMED, **{name.lower(): CLASSES[name] for name in _OWN}}

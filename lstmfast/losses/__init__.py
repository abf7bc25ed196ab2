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
from .elementwise import (
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    LogCosh,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    Poisson,
    SquaredHinge,
)
from .focal import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from .functions import LossFunction, LossFunctionWrapper, check_gradient
from .regression import Huber, MeanAbsoluteError, MeanSquaredError, Quantile
from .weights import class_weights, row_weights

__all__ = [
    "CLASSES", "FUNCTIONS", "KLD", "MAE", "MAPE", "MSE", "MSLE", "NAMED", "AnyLoss",
    "BatchLoss", "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy", "CategoricalHinge", "CosineSimilarity", "Crossentropy",
    "Hinge", "Huber", "KLDivergence", "LogCosh", "Loss", "LossFunction", "LossFunctionWrapper",
    "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "PendingLoss", "Poisson", "Quantile",
    "SparseCategoricalCrossentropy", "SquaredHinge", "bce", "binary_crossentropy",
    "binary_focal_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy",
    "categorical_hinge", "check_gradient", "class_weights", "cosine_similarity", "deserialize",
    "get", "hinge", "huber", "kl_divergence", "kld", "kullback_leibler_divergence", "log_cosh",
    "logcosh", "mae", "mape", "mean_absolute_error", "mean_absolute_percentage_error",
    "mean_squared_error", "mean_squared_logarithmic_error", "mse", "msle", "poisson",
    "row_weights", "serialize", "sparse_categorical_crossentropy", "squared_hinge",
]  # fmt: skip

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
        MeanAbsolutePercentageError,
        MeanSquaredLogarithmicError,
        LogCosh,
        Poisson,
        CosineSimilarity,
        Hinge,
        SquaredHinge,
        CategoricalHinge,
        BinaryFocalCrossentropy,
        CategoricalFocalCrossentropy,
        LossFunctionWrapper,
    ),
)

# Keras's losses as functions: of each row, and what `compile` takes.
binary_crossentropy = LossFunction(BinaryCrossentropy, "binary_crossentropy")
binary_focal_crossentropy = LossFunction(BinaryFocalCrossentropy, "binary_focal_crossentropy")
categorical_crossentropy = LossFunction(CategoricalCrossentropy, "categorical_crossentropy")
categorical_focal_crossentropy = LossFunction(
    CategoricalFocalCrossentropy, "categorical_focal_crossentropy"
)
categorical_hinge = LossFunction(CategoricalHinge, "categorical_hinge")
cosine_similarity = LossFunction(CosineSimilarity, "cosine_similarity")
hinge = LossFunction(Hinge, "hinge")
huber = LossFunction(Huber, "huber")
kl_divergence = LossFunction(KLDivergence, "kl_divergence")
log_cosh = LossFunction(LogCosh, "log_cosh")
mean_absolute_error = LossFunction(MeanAbsoluteError, "mean_absolute_error")
mean_absolute_percentage_error = LossFunction(
    MeanAbsolutePercentageError, "mean_absolute_percentage_error"
)
mean_squared_error = LossFunction(MeanSquaredError, "mean_squared_error")
mean_squared_logarithmic_error = LossFunction(
    MeanSquaredLogarithmicError, "mean_squared_logarithmic_error"
)
poisson = LossFunction(Poisson, "poisson")
sparse_categorical_crossentropy = LossFunction(
    SparseCategoricalCrossentropy, "sparse_categorical_crossentropy"
)
squared_hinge = LossFunction(SquaredHinge, "squared_hinge")
MSE = mse = mean_squared_error
MAE = mae = mean_absolute_error
MAPE = mape = mean_absolute_percentage_error
MSLE = msle = mean_squared_logarithmic_error
KLD = kld = kullback_leibler_divergence = kl_divergence
bce, logcosh = binary_crossentropy, log_cosh

FUNCTIONS: dict[str, LossFunction] = {
    name: found for name, found in globals().items() if isinstance(found, LossFunction)
}
_MADE = {name: made for name, made in CLASSES.items() if made is not LossFunctionWrapper}

NAMED: dict[str, type[Loss]] = {
    **{snake_case(name): made for name, made in _MADE.items()},
    **{name: function.made for name, function in FUNCTIONS.items() if name.islower()},
    "huber_loss": Huber,
    "pinball": Quantile,
}


def get(identifier: str | dict[str, Any] | Loss | LossFunction) -> Loss:
    """Return the loss of this Keras name, of this config, of this function, or itself.

    Names count in any case: "mse", "MSE", "binary_crossentropy", "BinaryCrossentropy", and
    "package>name" of a registered class. Functions are those above, such as `mean_squared_error`.

    Raises
    ------
    ValueError
        For anything else, such as a function of your own: that has no gradient, so write a
        `LossFunctionWrapper` of two functions, or subclass `Loss`.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, LossFunction):
        return identifier.loss()
    if isinstance(identifier, dict):
        return construct("loss", identifier, CLASSES)
    if isinstance(identifier, str) and identifier != LossFunctionWrapper.__name__:
        made = CLASSES.get(identifier) or _ANY_CASE.get(identifier.lower())
        if made is not None:
            return made()
    instead = ""
    if callable(identifier):
        instead = (
            " (a function has no gradient: subclass lstmfast.losses.Loss, and pass an object, or "
            "pass lstmfast.losses.LossFunctionWrapper(function, gradient))"
        )
    listed = ", ".join(map(repr, [*NAMED, *list(CLASSES)[len(_OWN) :]]))
    raise ValueError(f"loss: expected one of {listed}, got {shown(identifier)}{instead}")


def serialize(loss: Any) -> dict[str, Any]:
    """Return the config of what `get` takes, for `deserialize`."""
    return get(loss).get_config()


def deserialize(config: str | dict[str, Any]) -> Loss:
    """Return the loss that `serialize` told of, or of a name; see `get`."""
    return get(config)


_OWN = tuple(CLASSES)
_ANY_CASE = {**NAMED, **{name.lower(): made for name, made in _MADE.items()}}

"""Metrics, with Keras 3's names and numbers; see `base.Metric` for what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import losses as _losses
from ..arguments import construct, shown
from ..losses import (
    KLD,
    MAE,
    MAPE,
    MSE,
    MSLE,
    Loss,
    bce,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    kld,
    kullback_leibler_divergence,
    log_cosh,
    logcosh,
    mae,
    mape,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    mse,
    msle,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from ..registry import Known, registered, snake_case
from .accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from .base import Mean, MeanMetricWrapper, Metric, masked
from .confusion import AUC, F1Score, FBetaScore, Precision, Recall
from .of_losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from .regression import (
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    Perplexity,
    RootMeanSquaredError,
)

__all__ = [
    "AUC", "CLASSES", "KLD", "MAE", "MAPE", "MSE", "MSLE", "NAMED", "Accuracy",
    "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "CategoricalHinge", "CosineSimilarity", "F1Score", "FBetaScore", "Hinge", "KLDivergence",
    "LogCoshError", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanMetricWrapper", "MeanSquaredError", "MeanSquaredLogarithmicError", "Metric",
    "Perplexity", "Poisson", "Precision", "Recall", "RootMeanSquaredError",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy", "SquaredHinge", "TopKCategoricalAccuracy", "bce",
    "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy",
    "categorical_focal_crossentropy", "categorical_hinge", "deserialize", "get", "hinge",
    "huber", "kl_divergence", "kld", "kullback_leibler_divergence", "log_cosh", "logcosh",
    "mae", "mape", "masked", "mean_absolute_error", "mean_absolute_percentage_error",
    "mean_squared_error", "mean_squared_logarithmic_error", "mse", "msle", "poisson",
    "resolve_accuracy", "serialize", "sparse_categorical_crossentropy", "squared_hinge",
]  # fmt: skip

ANY_ACCURACY = ("accuracy", "acc")
ANY_CROSSENTROPY = ("crossentropy", "ce")
OWN: tuple[type[Metric], ...] = (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    TopKCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    Precision,
    Recall,
    AUC,
    F1Score,
    FBetaScore,
    MeanSquaredError,
    RootMeanSquaredError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    Perplexity,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanSquaredLogarithmicError,
    Poisson,
    SquaredHinge,
    Mean,
    MeanMetricWrapper,
)
CLASSES: Mapping[str, type[Metric]] = Known(Metric, OWN)

NAMED: dict[str, type[Metric]] = {
    **{snake_case(made.__name__): made for made in OWN if made not in (Mean, MeanMetricWrapper)},
    "fbeta_score": FBetaScore,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
    "bce": BinaryCrossentropy,
    "kld": KLDivergence,
    "logcosh": LogCoshError,
    "rmse": RootMeanSquaredError,
}
_ENTROPIES: dict[type[Metric], type[Metric]] = {
    BinaryAccuracy: BinaryCrossentropy,
    CategoricalAccuracy: CategoricalCrossentropy,
    SparseCategoricalAccuracy: SparseCategoricalCrossentropy,
}
_ANY_CASE = {**NAMED, **{made.__name__.lower(): made for made in NAMED.values()}}


def get(
    identifier: Any,
    loss: Loss | None = None,
    output_shape: Sequence[int | None] | None = None,
    y_shape: Sequence[int | None] | None = None,
) -> Metric:
    """Return the metric of this Keras name, of this config, of a function, or itself.

    Parameters
    ----------
    identifier : str, dict, Metric or function
        Names count in any case, and "package>name" is that of what was registered. A function
        `fn(y_true, y_pred)` becomes the mean of what it returns, under its own name; Keras's own
        functions are those of `losses`.
    loss, output_shape, y_shape
        What "accuracy" and "acc" are to fit, see `resolve_accuracy`; without an output shape they
        stand for `Accuracy`. "crossentropy" and "ce" are chosen in the same way.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, dict):
        return construct("metrics", identifier, CLASSES)
    found = registered(identifier) if isinstance(identifier, str) else identifier
    if callable(found) and not isinstance(found, (type, Loss)):
        return MeanMetricWrapper(found, getattr(found, "__name__", None))
    if isinstance(identifier, str):
        if identifier.lower() in ANY_ACCURACY and output_shape is not None:
            return resolve_accuracy(loss, output_shape, y_shape)(name=identifier)
        if identifier.lower() in ANY_CROSSENTROPY and output_shape is not None:
            return _ENTROPIES[resolve_accuracy(loss, output_shape, y_shape)](name=identifier)
        return _of_name(identifier)
    raise _unknown(identifier)


def serialize(metric: Any) -> dict[str, Any]:
    """Return the config of what `get` takes, for `deserialize`."""
    return get(metric).get_config()


def deserialize(config: Any) -> Metric:
    """Return the metric that `serialize` told of, or of a name; see `get`."""
    return get(config)


def _of_name(name: str) -> Metric:
    """Return the metric, whose name in a history is `name`, as in Keras."""
    if name.lower() in ANY_ACCURACY:
        return Accuracy(name=name)
    if name in CLASSES and name not in (Mean.__name__, MeanMetricWrapper.__name__):
        made = CLASSES[name]()
    elif name.lower() in _ANY_CASE:
        made = _ANY_CASE[name.lower()]()
    else:
        raise _unknown(name)
    made.name = name
    return made


def _unknown(identifier: Any) -> ValueError:
    listed = ", ".join(map(repr, [*ANY_ACCURACY, *NAMED, *list(CLASSES)[len(OWN) :]]))
    return ValueError(f"metrics: expected one of {listed}, got {shown(identifier)}")


def resolve_accuracy(
    loss: Loss | None,
    output_shape: Sequence[int | None],
    y_shape: Sequence[int | None] | None = None,
) -> type[Metric]:
    """Return the accuracy that "accuracy" stands for, as Keras's `compile` chooses.

    Of one output per row, the binary one; of labels (by the shape of y if that is known, else by
    the loss), the sparse one; else the categorical one.

    Parameters
    ----------
    loss : Loss or None
    output_shape : sequence of int or None
        (B, ..., N)
    y_shape : sequence of int or None
        That of the targets, if it is known.
    """
    if output_shape[-1] == 1:
        return BinaryAccuracy
    sparse = isinstance(loss, _losses.SparseCategoricalCrossentropy)
    if y_shape is not None:
        sparse = len(y_shape) < len(output_shape) or y_shape[-1] == 1
    return SparseCategoricalAccuracy if sparse else CategoricalAccuracy

"""What callbacks share that watch one of the logs' values for getting better."""

from __future__ import annotations

import math
from typing import Any

from ..arguments import choice, number, shown
from .base import Callback

__all__ = ["Monitor", "every_or_epoch", "kept_number"]

UP = (
    "acc", "auc", "precision", "recall", "sensitivity", "specificity", "f1", "fbeta", "f_score",
    "iou", "r2", "similarity", "positives", "negatives",
)  # fmt: skip
DOWN = (
    "loss", "error", "mse", "mae", "rmse", "mape", "msle", "crossentropy", "perplexity",
    "divergence", "hinge", "logcosh", "poisson", "huber", "false_",
)  # fmt: skip


class Monitor(Callback):
    """The base of callbacks that watch a value.

    Parameters
    ----------
    monitor : str
        A key of an epoch's logs.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" knows it of losses and of Keras's metrics.
    min_delta : float
        What is nearer to the best than this is no improvement. Its sign is dropped.

    Notes
    -----
    NaN is no improvement on anything, and anything else is one on NaN.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        super().__init__()
        if not isinstance(monitor, str):
            raise ValueError(f"monitor: expected a str, got {shown(monitor)}")
        self.monitor, self.mode = monitor, choice("mode", mode, ("auto", "min", "max"))
        self.min_delta = abs(number("min_delta", min_delta, -math.inf))
        self.best: float | None = None

    def _direction(self) -> str:
        """Return "min" or "max"; ValueError where "auto" does not know."""
        if self.mode != "auto":
            return self.mode
        name = self.monitor.removeprefix("val_")
        for metric in getattr(self.model, "metrics", None) or ():
            known = getattr(metric, "_direction", None)
            if getattr(metric, "name", None) == name and known in ("up", "down"):
                return "max" if known == "up" else "min"
        if any(part in name for part in DOWN):
            return "min"
        if any(part in name for part in UP):
            return "max"
        kind = type(self).__name__
        raise ValueError(
            f"mode: expected 'min' or 'max' for {self.monitor!r} of {kind}, got 'auto'"
        )

    def _is_better(self, value: float, reference: float | None) -> bool:
        if math.isnan(value):
            return False
        if reference is None or math.isnan(reference):
            return True
        if self._direction() == "min":
            return value + self.min_delta < reference
        return value - self.min_delta > reference

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._direction()  # before the first step


def kept_number(value: Any) -> float | None:
    """Return a value of the logs as a float; None where it is none."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def every_or_epoch(name: str, value: Any) -> Any:
    """Return "epoch" or a number of batches, at least 1; ValueError for all else."""
    if isinstance(value, str) and value == "epoch":
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"{name}: expected 'epoch' or a number of batches >= 1, got {shown(value)}")

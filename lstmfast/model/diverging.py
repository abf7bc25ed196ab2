"""Training that went astray: a loss or weights that are no finite numbers, told with advice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array
from ..losses import AnyLoss
from ..ops.placement import to_host
from ..ops.rows import RowGradient

if TYPE_CHECKING:
    from . import Model

__all__ = ["TrainingError", "check_weights", "diverged"]

MOST = 4  # of the weights that a message tells


class TrainingError(FloatingPointError):
    """The loss, or a weight, became NaN or Inf.

    Attributes
    ----------
    loss : BatchLoss or None
        Of the batch; None where weights were found.
    step : int
        Steps that the optimizer had taken.
    learning_rate : float
    gradient_norms : dict of str to float
        By weight, largest first.
    epoch, batch : int or None
        Where `fit` was, from 0.
    """

    def __init__(
        self,
        found: str,
        loss: AnyLoss | None,
        step: int,
        learning_rate: Any,
        gradient_norms: dict[str, float],
        epoch: int | None = None,
        batch: int | None = None,
    ):
        self.found, self.loss, self.step, self.learning_rate = found, loss, step, learning_rate
        self.gradient_norms, self.epoch, self.batch = gradient_norms, epoch, batch
        super().__init__(found)

    def __str__(self) -> str:
        place = f"after {self.step} steps"
        if self.epoch is not None:
            batch = "" if self.batch is None else f", batch {self.batch + 1}"
            place = f"in epoch {self.epoch + 1}{batch}, {place}"
        first = list(self.gradient_norms.items())[:MOST]
        norms = ", ".join(f"{name} {norm:.3g}" for name, norm in first)
        more = ", ..." if len(self.gradient_norms) > MOST else ""
        return (
            f"{self.found} ({place})\n"
            f"gradient norms, the largest first: {norms}{more}\n"
            f"try a learning rate below {self.learning_rate}, or clip: global_clipnorm=1.0"
        )

    def __reduce__(self) -> Any:
        return type(self), (
            self.found, self.loss, self.step, self.learning_rate, self.gradient_norms,
            self.epoch, self.batch,
        )  # fmt: skip


def diverged(model: Model, loss: AnyLoss, taken: bool = False) -> TrainingError:
    """Return the error for a loss that is NaN or Inf, of a step that was `taken` or not."""
    what = "with that step taken" if taken else "as before that step"
    found = f"loss: expected a finite number, got {loss.mean}; the weights are {what}"
    return _error(model, found, loss)


def check_weights(model: Model) -> None:
    """Raise TrainingError if a weight is NaN or Inf."""
    bad = [name for name, weight in _named(model, "params") if not _finite(weight)]
    if bad:
        listed = ", ".join(bad[:MOST]) + (", ..." if len(bad) > MOST else "")
        raise _error(model, f"weights: expected finite numbers, got NaN or Inf in {listed}", None)


def _error(model: Model, found: str, loss: AnyLoss | None) -> TrainingError:
    optimizer = model.optimizer
    assert optimizer is not None
    return TrainingError(found, loss, optimizer.iterations, optimizer.learning_rate, _norms(model))


def _finite(array: Any) -> bool:
    here: Array = to_host(array)
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(here.sum(dtype=np.float64)) or bool(np.isfinite(here).all())


def _norms(model: Model) -> dict[str, float]:
    """Return the norm of each gradient of the last backward pass, NaN and the largest first."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = {
            name: float(np.sqrt(np.square(_values(grad), dtype=np.float64).sum()))
            for name, grad in _named(model, "grads")
        }
    order = sorted(found, key=lambda name: -math.inf if math.isnan(found[name]) else -found[name])
    return {name: found[name] for name in order}


def _values(gradient: Any) -> Array:
    return gradient.values if isinstance(gradient, RowGradient) else to_host(gradient)


def _named(model: Model, what: str) -> list[tuple[str, Any]]:
    return [
        (f"{layer.name}/{name}", array)
        for layer in model.graph.layers
        for name, array in getattr(layer, what).items()
    ]

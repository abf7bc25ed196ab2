"""What `Model.fit` needs around its arithmetic: batches, running means, whole steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import capi
from ..arguments import Array
from ..callbacks.history import History
from ..callbacks.progress import Progress
from ..losses import AnyLoss, BatchLoss
from ..optimizers import Optimizer
from ..whole import Attributes
from .diverging import diverged

if TYPE_CHECKING:
    from . import Model
    from .data import Samples

__all__ = ["History", "Progress", "RunningMean", "Steps"]


class RunningMean:
    """Loss and metrics over the rows seen so far, as Keras shows them during an epoch."""

    def __init__(self, metrics: list[str]):
        self.metrics = metrics
        self.total, self.correct, self.rows = 0.0, 0, 0

        self.pending: list[AnyLoss] = []

    def add(self, loss: AnyLoss) -> None:
        """Take the loss of a batch in; what was added before it is then read from the GPU."""
        self._read()
        self.pending.append(loss)
        if isinstance(loss, BatchLoss) or not self.rows:
            self._read()

    def _read(self) -> None:
        for loss in self.pending:
            found = loss.read()
            self.total += found.total
            self.correct += found.correct or 0
            self.rows += found.rows
        self.pending = []

    def result(self) -> dict[str, float]:
        """Return the means of all that was added."""
        self._read()
        return self.logs()

    def seen(self) -> BatchLoss:
        """Return all that has been read, as one loss."""
        return BatchLoss(self.total, self.rows, self.correct)

    def get_state(self) -> dict[str, Any]:
        """Return the sums, for `set_state`."""
        self._read()
        return {"total": self.total, "correct": self.correct, "rows": self.rows}

    def set_state(self, state: dict[str, Any]) -> None:
        self.total, self.correct, self.rows = state["total"], state["correct"], state["rows"]

    def logs(self) -> dict[str, float]:
        """Return the means of what has been read."""
        share = self.correct / self.rows
        return {"loss": self.total / self.rows, **{metric: share for metric in self.metrics}}


class Steps:
    """Steps of a model, of which each is whole or did not happen, whatever exception comes.

    Without constraints a step ends in one call that no signal divides, so nothing is copied;
    with them, weights and slots are, to go back to.
    """

    def __init__(self, model: Model, optimizer: Optimizer):
        self.model, self.optimizer, self.params = model, optimizer, model.params
        self.constrained = any([layer.is_constrained for layer in model.layers])
        self.draws = any([layer.draws for layer in model.layers])

    def take(self, batch: Samples) -> AnyLoss:
        """Take a step on a batch as the layers take it; return the loss before it.

        Raises
        ------
        TrainingError
            When the loss is NaN or Inf; the step did not happen then. (On a GPU the loss is not
            known yet.)
        """
        model, optimizer = self.model, self.optimizer
        weights, attributes, iterations = *self._before(), optimizer.iterations
        copies = [weight.copy() for weight in weights]
        try:
            loss, grads = model._gradients(batch)
            if isinstance(loss, BatchLoss) and not math.isfinite(loss.total):
                raise diverged(model, loss)
            optimizer.apply(self.params, grads)
            if self.constrained:
                model.constrain()
            return loss
        except BaseException:
            if self.constrained or optimizer.iterations == iterations:
                capi.copy_all(weights, copies, attributes)
            raise

    def _before(self) -> tuple[list[Array], Attributes]:
        """What a step may leave half-changed: arrays, and attributes with what they are now."""
        model, optimizer = self.model, self.optimizer
        attributes = model._states() + (model._generator() if self.draws else [])
        if not self.constrained:
            return [], attributes
        slots = optimizer.slots
        attributes += [(optimizer, "slots", slots), (optimizer, "iterations", optimizer.iterations)]
        return [*self.params, *(slot for kept in slots.values() for slot in kept)], attributes

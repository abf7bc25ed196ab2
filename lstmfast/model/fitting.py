"""What `Model.fit` needs around its arithmetic: batches, running means, whole steps."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from .. import capi
from ..arguments import Array
from ..callbacks.history import History
from ..callbacks.progress import Progress
from ..layers import Embedding
from ..losses import BatchLoss
from ..metrics import Metric
from ..optimizers import Optimizer
from ..whole import Attributes
from .diverging import diverged
from .heads import Heads, Seen, tell

if TYPE_CHECKING:
    from . import Model
    from .given import Samples

__all__ = ["History", "Progress", "RunningMean", "Steps"]


class RunningMean:
    """Loss and metrics over the rows seen so far, as Keras shows them during an epoch.

    Metrics are copies of the model's, so that several means can run at a time.
    """

    def __init__(self, heads: Heads):
        self.heads = heads
        self.total, self.rows = 0.0, 0
        self.parts = [[0.0, 0] for _ in heads.each]  # of the outputs: total and rows
        self.each: list[float | None] = [None] * (1 + len(heads.each))  # see `_of_samples`
        self.metrics = [deepcopy([*head.metrics, *head.weighted]) for head in heads.each]
        for metric in self._all_metrics():
            metric.reset_state()
        self.pending: list[Seen] = []

    def add(self, seen: Seen) -> None:
        """Take a batch in; what was added before it is then read from the GPU."""
        self._read()
        self.pending.append(seen)
        if isinstance(seen.loss, BatchLoss) or not self.rows:
            self._read()

    def _read(self) -> None:
        for seen in self.pending:
            total, rows = self._of_samples(0, seen.loss.read(), seen)
            self.total += total
            self.rows += rows
            if len(self.parts) > 1:
                self._read_parts(seen)
            for head, view, metrics in zip(self.heads.each, seen.views, self.metrics, strict=False):
                for n, metric in enumerate(metrics):
                    tell(metric, view, n >= len(head.metrics))
        self.pending = []

    def _read_parts(self, seen: Seen) -> None:
        for n, (part, loss) in enumerate(zip(self.parts, seen.each, strict=False)):
            if loss is not None:
                total, rows = self._of_samples(n + 1, loss.read(), seen)
                part[0] += total
                part[1] += rows

    def _of_samples(self, place: int, loss: BatchLoss, seen: Seen) -> tuple[float, int]:
        """Return total and rows of a loss, so that samples count alike, as in Keras.

        Those of this batch may have more or fewer rows, one for each step, than those of the first.
        """
        if not seen.views:
            return loss.total, loss.rows
        each = loss.rows / seen.views[max(0, place - 1)].rows[0]
        first = self.each[place] = self.each[place] or each
        return loss.total * (first / each), round(loss.rows * (first / each))

    def result(self) -> dict[str, float]:
        """Return the means of all that was added."""
        self._read()
        return self.logs()

    def seen(self) -> BatchLoss:
        """Return all that has been read, as one loss."""
        return BatchLoss(self.total, self.rows, None)

    def get_state(self) -> dict[str, Any]:
        """Return the sums, for `set_state`."""
        self._read()
        states = [metric.get_state() for metric in self._all_metrics()]
        return {
            "total": self.total, "rows": self.rows, "parts": self.parts, "each": self.each,
            "metrics": states,
        }  # fmt: skip

    def set_state(self, state: dict[str, Any]) -> None:
        self.total, self.rows = state["total"], state["rows"]
        self.parts = [list(part) for part in state["parts"]]
        self.each = list(state["each"])
        for metric, kept in zip(self._all_metrics(), state["metrics"], strict=True):
            metric.set_state(kept)

    def logs(self) -> dict[str, Any]:
        """Return the means of what has been read."""
        found = {"loss": self.total / self.rows if self.rows else 0.0}
        for head, (total, rows) in zip(self.heads.each, self.parts, strict=True):
            if rows:
                found[f"{head.name}_loss"] = total / rows
        for head, metrics in zip(self.heads.each, self.metrics, strict=True):
            found |= {self.heads.called(head, metric): metric.result() for metric in metrics}
        return found

    def _all_metrics(self) -> list[Metric]:
        return [metric for metrics in self.metrics for metric in metrics]


class Steps:
    """Steps of a model, of which each is whole or did not happen, whatever exception comes.

    Without constraints a step ends in one call that no signal divides, so nothing is copied;
    with them, weights and slots are, to go back to.
    """

    def __init__(self, model: Model, optimizer: Optimizer):
        self.model, self.optimizer, self.params = model, optimizer, model.params
        self.names = [
            f"{layer.name}/{name}" for layer in model.graph.layers for name in layer.trained
        ]
        self.tables = _tables(model) if optimizer.takes_rows and model.device == "cpu" else []
        self.constrained = any([layer.is_constrained for layer in model.graph.layers])
        self.draws = any([layer.draws for layer in model.graph.layers])

    def take(self, batch: Samples) -> Seen:
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
            for table in self.tables:
                table.gives_rows = True
            seen, grads = model._gradients(batch)
            if isinstance(seen.loss, BatchLoss) and not math.isfinite(seen.loss.total):
                raise diverged(model, seen.loss)
            optimizer.apply(self.params, grads, self.names)
            if self.constrained:
                model.constrain()
            return seen
        except BaseException:
            if self.constrained or optimizer.iterations == iterations:
                capi.copy_all(weights, copies, attributes)
            raise
        finally:
            for table in self.tables:
                table.gives_rows = False

    def _before(self) -> tuple[list[Array], Attributes]:
        """What a step may leave half-changed: arrays, and attributes with what they are now."""
        model, optimizer = self.model, self.optimizer
        attributes = model._states() + (model._generator() if self.draws else [])
        if not self.constrained:
            return [], attributes
        slots = optimizer.slots
        attributes += [(optimizer, "slots", slots), (optimizer, "iterations", optimizer.iterations)]
        return [*self.params, *(slot for kept in slots.values() for slot in kept)], attributes


def _tables(model: Model) -> list[Embedding]:
    """The tables that are read once in a pass and get no gradient but the batch's."""
    calls = [step.layer for step in model.graph.steps]
    return [
        layer
        for layer in model.graph.layers
        if isinstance(layer, Embedding) and calls.count(layer) == 1 and not layer.regularizers()
    ]

"""What `Model.fit` needs around its arithmetic: batches, running means, history, the bar."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from .. import capi
from ..arguments import Array, choice
from ..losses import AnyLoss, BatchLoss
from ..optimizers import Optimizer
from ..whole import Attributes

if TYPE_CHECKING:
    from . import Model
    from .feeding import Samples

__all__ = ["History", "Progress", "RunningMean", "Steps"]


class History:
    """What `fit` returns.

    Attributes
    ----------
    epoch : list of int
    history : dict of str to list of float
        `loss`, the metrics, then `val_loss` and `val_` metrics; one value per epoch.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, epoch: int, logs: dict[str, float]) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)


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

    def logs(self) -> dict[str, float]:
        """Return the means of what has been read."""
        share = self.correct / self.rows
        return {"loss": self.total / self.rows, **{metric: share for metric in self.metrics}}


class Progress:
    """The signs of life of one epoch.

    Parameters
    ----------
    verbose : {0, 1, 2}
        Nothing; on stderr a bar with loss and speed, or one line at the end where that is no
        terminal and no notebook; or one line at the end on stdout.
    title : str
    samples : int
    """

    def __init__(self, verbose: int, title: str, samples: int):
        self.verbose = choice("verbose", verbose, (0, 1, 2))
        self.title, self.start = title, time.perf_counter()
        self.bar: Any = None
        if self.verbose == 1 and _shows_bars(sys.stderr):
            from tqdm import tqdm  # here: it costs more to import than all of lstmfast

            self.bar = tqdm(total=samples, desc=title, unit=" samples")

    def step(self, samples: int, logs: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.set_postfix(logs, refresh=False)
            self.bar.update(samples)

    def finish(self, logs: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.set_postfix(logs, refresh=False)
        elif self.verbose:
            values = "".join(f" - {name}: {value:.4f}" for name, value in logs.items())
            line = f"{self.title} - {time.perf_counter() - self.start:.1f}s{values}"
            file = sys.stderr if self.verbose == 1 else sys.stdout
            if file is not None:  # as in programs without a console
                print(line, file=file, flush=self.verbose == 1)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def _shows_bars(file: Any) -> bool:
    """Is this a terminal or a notebook's output, where a line can be written over?"""
    if type(file).__module__.startswith(("ipykernel.", "spyder_kernels.")):
        return True
    try:
        return bool(file.isatty())
    except Exception:  # None, or closed
        return False


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
        """Take a step on a batch as the layers take it; return the loss before it."""
        model, optimizer = self.model, self.optimizer
        weights, attributes, iterations = *self._before(), optimizer.iterations
        copies = [weight.copy() for weight in weights]
        try:
            loss, grads = model._gradients(batch)
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

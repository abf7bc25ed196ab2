"""One call of `Model.fit`: its steps, what callbacks hear of it, and how it is taken up again."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..arguments import LARGEST, flag, integer, keys, number, one_line, shown
from ..callbacks.callback_list import CallbackList
from ..ops.placement import on_device, to_device, to_host
from ..whole import or_as_before
from . import saving
from .diverging import TrainingError, check_weights, diverged
from .feeding import Feed
from .fitting import RunningMean, Steps
from .heads import Seen

if TYPE_CHECKING:
    from . import Model

__all__ = ["Run"]

BATCH = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
KEPT = (
    "epoch", "batch", "stop", "feed", "mean", "learning_rate", "states", "logs", "callbacks",
)  # fmt: skip


class Run:
    """One call of `fit`: where it is, and how it is taken up again.

    Parameters
    ----------
    model : Model
        Built and compiled.
    feed : Feed
    callbacks : CallbackList
    first, last : int
        Runs the epochs first ... last - 1.
    validate : callable
        Given an epoch, returns what validation adds to its logs.

    Attributes
    ----------
    epoch, batch : int
        The epoch that is next or running, and how many of its batches have been learnt from.
    """

    def __init__(
        self,
        model: Model,
        feed: Feed,
        callbacks: CallbackList,
        first: int,
        last: int,
        validate: Callable[[int], dict[str, float]],
    ):
        self.model, self.feed, self.callbacks, self.validate = model, feed, callbacks, validate
        self.epoch, self.last, self.batch = first, last, 0
        self.mean = RunningMean(model._compiled()[1])
        self.logs: dict[str, float] | None = None  # of the epoch before
        self.quiet = any(getattr(one, "ends_quietly", False) for one in callbacks.callbacks)
        self._restored: saving.Backup | None = None

    def train(self) -> None:
        """Train until the last epoch, or until a callback stops it."""
        model, callbacks = self.model, self.callbacks
        model.stop_training = False
        callbacks.on_train_begin()
        callbacks._start(self)
        ended = self._restored is not None and not self.batch and model.stop_training
        while self.epoch < self.last and not ended and self._has_batches():
            self._train_epoch()
            ended = model.stop_training
        model._optimizer().finalize_variable_values(model.params)
        callbacks.on_train_end(self.logs)
        callbacks._done(self)

    def _has_batches(self) -> bool:
        """Is there an epoch's first batch? A generator may have come to its end."""
        if self.feed.goes_on():
            return True
        text = f"x: no batches are left for epoch {self.epoch + 1}; training ends"
        warnings.warn(f"{text} (see steps_per_epoch)", stacklevel=5)
        return False

    def _train_epoch(self) -> None:
        model, epoch, within = self.model, self.epoch, self.batch > 0
        if not within:
            self.mean = RunningMean(model._compiled()[1])
        self.callbacks.on_epoch_begin(epoch)
        if within:  # again, as callbacks may have begun an epoch that had begun
            self._take_up()
        else:
            self.feed.start_epoch()
        self._restored = None
        if not (within and model.stop_training):
            self._take_steps()
        self._check_weights()
        logs = self.mean.result()
        self._check_read()
        logs |= self.validate(epoch)
        self.callbacks.on_epoch_end(epoch, logs)
        self.logs, self.epoch, self.batch = logs, epoch + 1, 0
        self.callbacks._settled(self)

    def _take_steps(self) -> None:
        model, callbacks = self.model, self.callbacks
        steps, heard = Steps(model, model._optimizer()), callbacks.hears(*BATCH)
        with closing(self.feed.batches(self.batch)) as batches:
            for batch in batches:
                callbacks.on_train_batch_begin(self.batch)
                try:
                    seen = steps.take(batch)
                except TrainingError as error:
                    seen = self._heard(error)
                self.mean.add(seen)
                self._check_read()
                self.batch += 1
                callbacks.on_train_batch_end(self.batch - 1, self.mean.logs() if heard else {})
                callbacks._settled(self)
                if model.stop_training:
                    break

    def _heard(self, error: TrainingError) -> Seen:
        """Return the loss that is no number, for a callback that ends with it; else raise."""
        if self.quiet and error.loss is not None:
            return Seen(error.loss, [], [])
        error.epoch, error.batch = self.epoch, self.batch
        raise error

    def _check_read(self) -> None:
        """Raise TrainingError if a loss that came late, from a GPU, is NaN or Inf."""
        if not math.isfinite(self.mean.total) and not self.quiet:
            error = diverged(self.model, self.mean.seen(), taken=True)
            error.epoch, error.batch = self.epoch, self.batch
            raise error

    def _check_weights(self) -> bool:
        """Raise TrainingError if weights are NaN or Inf; return False where that ends quietly."""
        try:
            check_weights(self.model)
        except TrainingError as error:
            error.epoch = self.epoch
            if not self.quiet:
                raise
            self.model.stop_training = True
            return False
        return True

    # Backups.

    def backup(self, path: str, previous: str | None = None) -> None:
        """Write all that `restore` needs to one file; the one before becomes `previous`.

        Raises
        ------
        TrainingError
            When a weight is NaN or Inf; nothing is written. With TerminateOnNaN nothing is raised.
        ValueError
            When a callback's state cannot be written.
        """
        if not self._check_weights():
            return
        state = self.get_state()
        if previous is not None and os.path.lexists(path):
            os.replace(path, previous)
        saving.save(self.model, path, True, fit=state)

    def restore(self, path: str) -> None:
        """Go on where `backup` was called.

        Raises
        ------
        ValueError
            When the file is damaged or of another run; the model is as before.
        """
        self._restored = saving.read_backup(self.model, path)
        try:
            self._check(self._restored.fit)
            or_as_before(self.model._generator(), self._take_up)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # of states, too
            raise ValueError(f"{path}: {one_line(error)}") from error

    def get_state(self) -> dict[str, Any]:
        """Return what a file keeps beside weights, the optimizer's state and the generator's."""
        optimizer = self.model._optimizer()
        rate = optimizer.learning_rate
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "stop": bool(self.model.stop_training),
            "feed": self.feed.get_state(self.batch > 0),
            "mean": self.mean.get_state() if self.batch else None,
            "learning_rate": rate if isinstance(rate, (int, float)) else None,
            "states": [_kept(state) for _, _, state in self.model._states()],
            "logs": self.logs,
            "callbacks": self.callbacks.get_state(),
        }

    def _check(self, state: Any) -> None:
        keys("fit", state, KEPT)
        integer("fit: epoch", state["epoch"], 0)
        integer("fit: batch", state["batch"], 0, self.feed.steps or LARGEST)
        flag("fit: stop", state["stop"])
        if state["learning_rate"] is not None:
            number("fit: learning_rate", state["learning_rate"], 0.0)
        if not isinstance(state["callbacks"], dict):
            raise ValueError(f"fit: callbacks: expected states, got {shown(state['callbacks'])}")
        if not isinstance(state["states"], list) or len(state["states"]) != len(
            self.model._states()
        ):
            raise ValueError(f"fit: states: expected those of layers, got {shown(state['states'])}")

    def _take_up(self) -> None:
        assert self._restored is not None
        model, state = self.model, self._restored.fit
        within = state["batch"] > 0
        self.feed.set_state(state["feed"], within)
        self.callbacks.set_state(state["callbacks"])
        self.mean = RunningMean(model._compiled()[1])
        if within:
            self.mean.set_state(state["mean"])
        self._restored.restore()
        if state["learning_rate"] is not None:
            model._optimizer().learning_rate = state["learning_rate"]
        for (layer, name, _), kept in zip(model._states(), state["states"], strict=True):
            setattr(layer, name, _again(kept, model.device))
        self.epoch, self.batch, self.logs = state["epoch"], state["batch"], state["logs"]
        model.stop_training = state["stop"]


def _kept(state: Any) -> Any:
    """Return what a stateful layer goes on from, as a file keeps it."""
    if isinstance(state, (tuple, list)):
        return [_kept(part) for part in state]
    return to_host(state) if on_device(state) else state


def _again(kept: Any, device: str) -> Any:
    if isinstance(kept, list):
        return tuple(_again(part, device) for part in kept)
    return None if kept is None else to_device(kept, device)

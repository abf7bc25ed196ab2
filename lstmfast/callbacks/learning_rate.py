"""Callbacks that change the optimizer's learning rate."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arguments import choice, integer, number, shown
from .base import Callback, Logs
from .monitor import Monitor, kept_number

__all__ = ["LearningRateScheduler", "ReduceLROnPlateau"]


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by a factor when a value has stopped getting better.

    Parameters
    ----------
    monitor : str
        A key of an epoch's logs.
    factor : float in (0, 1)
    patience : int
        After so many epochs without improvement.
    verbose : {0, 1}
        1: tell it on stdout.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" knows it of losses and of Keras's metrics.
    min_delta : float
        What is nearer to the best than this is no improvement.
    cooldown : int
        So many epochs after a change do not count.
    min_lr : float
        Never below this.

    Notes
    -----
    Adds "learning_rate" to the epoch's logs.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.factor = number("factor", factor, 0.0, np.nextafter(1.0, 0.0))
        self.patience = integer("patience", patience, 0)
        self.verbose = choice("verbose", verbose, (0, 1))
        self.cooldown = integer("cooldown", cooldown, 0)
        self.min_lr = number("min_lr", min_lr, 0.0)
        self._reset()

    def _reset(self) -> None:
        self.best = None
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        rate_of(self.model)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = rate_of(self.model)
        value = kept_number(logs.get(self.monitor))
        if value is None:
            text = f"ReduceLROnPlateau: expected {self.monitor!r} among the logs, got {list(logs)}"
            warnings.warn(text, stacklevel=2)
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self._reduce(epoch):
                self.cooldown_counter, self.wait = self.cooldown, 0

    def _reduce(self, epoch: int) -> bool:
        before = rate_of(self.model)
        if before <= self.min_lr:
            return False
        after = max(before * self.factor, self.min_lr)
        self.model.optimizer.learning_rate = after
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: the learning rate goes down to {after}")
        return True

    def in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def get_state(self) -> Logs:
        names = ("best", "wait", "cooldown_counter")
        return {name: getattr(self, name) for name in names}

    def set_state(self, state: Logs) -> None:
        self.__dict__.update(state)


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        `schedule(epoch, learning_rate)`, or `schedule(epoch)`, gives the new one; epochs from 0.
    verbose : {0, 1}
        1: tell it on stdout.

    Raises
    ------
    ValueError
        When `schedule` cannot be called; in `fit`, when it returns no number >= 0.

    Notes
    -----
    Adds "learning_rate" to the epoch's logs.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        if not callable(schedule):
            raise ValueError(f"schedule: expected a function, got {shown(schedule)}")
        self.schedule, self.verbose = schedule, choice("verbose", verbose, (0, 1))
        self._takes_rate = _takes_two(schedule)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        rate_of(self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        arguments = (epoch, rate_of(self.model)) if self._takes_rate else (epoch,)
        found = number("schedule", self.schedule(*arguments), 0.0)
        self.model.optimizer.learning_rate = found
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: the learning rate is set to {found}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = rate_of(self.model)


def rate_of(model: Any) -> float:
    """Return the optimizer's learning rate; ValueError where it is a schedule of its own."""
    rate = model.optimizer.learning_rate
    if not isinstance(rate, (int, float)):
        expected = "a number that a callback can change"
        raise ValueError(f"learning_rate: expected {expected}, got {shown(rate)}")
    return float(rate)


def _takes_two(schedule: Callable[..., float]) -> bool:
    try:
        inspect.signature(schedule).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a function that does not tell
        return True
    return True

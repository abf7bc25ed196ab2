"""EarlyStopping: no more epochs once nothing gets better."""

from __future__ import annotations

import math
import warnings

from ..arguments import Array, choice, flag, integer, number
from .base import Logs
from .monitor import Monitor, kept_number

__all__ = ["EarlyStopping"]


class EarlyStopping(Monitor):
    """Ends `fit` when a value has not got better for some epochs.

    Parameters
    ----------
    monitor : str
        A key of an epoch's logs; see `History.history`.
    min_delta : float
        What is nearer to the best than this is no improvement.
    patience : int
        So many epochs without improvement are let pass.
    verbose : {0, 1}
        1: tell it on stdout.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" knows it of losses and of Keras's metrics.
    baseline : float, optional
        Epochs that are not better than this count as without improvement.
    restore_best_weights : bool
        At the end, take the weights of the best epoch.
    start_from_epoch : int
        Epochs before this one are not looked at.

    Attributes
    ----------
    best : float or None
    best_epoch, stopped_epoch : int
        From 0; `stopped_epoch` is 0 when it did not stop.
    best_weights : list of ndarray or None

    Notes
    -----
    As in Keras, the first epoch never stops. NaN is no improvement.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience = integer("patience", patience, 0)
        self.verbose = choice("verbose", verbose, (0, 1))
        self.baseline = None if baseline is None else number("baseline", baseline, -math.inf)
        self.restore_best_weights = flag("restore_best_weights", restore_best_weights)
        self.start_from_epoch = integer("start_from_epoch", start_from_epoch, 0)
        self._reset()

    def _reset(self) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = None
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self._value(logs or {})
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self._is_better(value, self.best):
            self.best = value
            self._keep(epoch)
            if self.baseline is None or self._is_better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def _value(self, logs: Logs) -> float | None:
        value = kept_number(logs.get(self.monitor))
        if value is None:
            text = f"EarlyStopping: expected {self.monitor!r} among the logs, got {list(logs)}"
            warnings.warn(text, stacklevel=2)
        return value

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                print(f"Taking the weights of the best epoch, {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)

    def get_state(self) -> Logs:
        names = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")
        return {name: getattr(self, name) for name in names}

    def set_state(self, state: Logs) -> None:
        self.__dict__.update(state)

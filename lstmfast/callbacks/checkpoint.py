"""ModelCheckpoint: files of the model, as it was after epochs or batches."""

from __future__ import annotations

import math
import os
import warnings

from ..arguments import choice, flag, number
from .base import Logs
from .monitor import Monitor, every_or_epoch, kept_number

__all__ = ["ModelCheckpoint"]


class ModelCheckpoint(Monitor):
    """Saves the model, or its weights, after each epoch or some batches.

    Parameters
    ----------
    filepath : str or path-like
        With names to fill in: `{epoch}` and `{batch}`, from 1, and keys of the logs, as in
        "words-{epoch:02d}-{val_loss:.3f}.lstm". Any suffix; missing folders are made.
    monitor : str
        What `save_best_only` goes by: a key of the logs.
    verbose : {0, 1}
        1: tell it on stdout.
    save_best_only : bool
        Only where the value is better than at all saves before.
    save_weights_only : bool
        By `Model.save_weights`, else by `Model.save`.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" knows it of losses and of Keras's metrics.
    save_freq : "epoch" or int
        After each epoch, or each so many batches.
    initial_value_threshold : float, optional
        The first value must be better than this, too.

    Notes
    -----
    Files are replaced at once by complete ones, whatever ends the process: see `Model.save`.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        self.verbose = choice("verbose", verbose, (0, 1))
        self.save_best_only = flag("save_best_only", save_best_only)
        self.save_weights_only = flag("save_weights_only", save_weights_only)
        self.save_freq = every_or_epoch("save_freq", save_freq)
        if initial_value_threshold is not None:
            self.best = number("initial_value_threshold", initial_value_threshold, -math.inf)
        self._since, self._epoch = 0, 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.save_best_only:
            super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self._since += 1
        if self._since >= self.save_freq:
            self._since = 0
            self._save(self._epoch, {"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: Logs) -> None:
        path = self._path(epoch, logs)
        if self.save_best_only and not self._improves(epoch, logs):
            return
        if folder := os.path.dirname(path):
            os.makedirs(folder, exist_ok=True)
        write = self.model.save_weights if self.save_weights_only else self.model.save
        write(path)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: saved to {path}")

    def _improves(self, epoch: int, logs: Logs) -> bool:
        value = kept_number(logs.get(self.monitor))
        if value is None:
            text = f"ModelCheckpoint: expected {self.monitor!r} among the logs, got {list(logs)}"
            warnings.warn(text, stacklevel=2)
            return True
        if not self._is_better(value, self.best):
            if self.verbose:
                print(f"\nEpoch {epoch + 1}: {self.monitor} is not better than {self.best:.5f}")
            return False
        self.best = value
        return True

    def _path(self, epoch: int, logs: Logs) -> str:
        try:
            return self.filepath.format(**{**logs, "epoch": epoch + 1})
        except (KeyError, IndexError, ValueError) as error:
            known = sorted({"epoch", *logs})
            text = f"names among {known} in {self.filepath!r}"
            raise ValueError(f"filepath: expected {text}, got {error}") from error

    def get_state(self) -> Logs:
        return {"best": self.best, "since": self._since}

    def set_state(self, state: Logs) -> None:
        self.best, self._since = state["best"], state["since"]

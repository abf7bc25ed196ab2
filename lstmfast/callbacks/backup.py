"""BackupAndRestore: a run of `fit` that was interrupted goes on as if it had not been."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ..arguments import flag, shown
from ..disk import remove
from .base import Callback, Logs
from .monitor import every_or_epoch

if TYPE_CHECKING:
    from ..model.running import Run

__all__ = ["BackupAndRestore"]


class BackupAndRestore(Callback):
    """Keeps a backup of the running `fit`, and takes it up again where there is one.

    The same program, started again after whatever ended it, goes on at the last backup and ends
    with the same bits as if nothing had happened: weights, the optimizer's state, random numbers,
    the order of samples, history, and what the other callbacks remember.

    Parameters
    ----------
    backup_dir : str or path-like
        A folder for this run alone; it is made where there is none.
    save_freq : "epoch" or int
        After each epoch, or each so many batches.
    double_checkpoint : bool
        Keep the backup before the last one, too, for the case that the last cannot be read.
    delete_checkpoint : bool
        Remove the backup, and the folder where it holds nothing else, when `fit` has ended well.

    Raises
    ------
    ValueError
        In `fit`: when the backup is damaged, or is of another model, optimizer, data or batch
        size; nothing is changed then.

    Notes
    -----
    A backup is one file, `backup.lstm`, which `lstmfast.load` takes as a model, too. It is written
    when all callbacks have heard of the batch, or of the epoch's end, and replaces the one before
    at once, on the disk. Callbacks of one's own are brought back by their `get_state` and
    `set_state`, and so is an x that gives batches by their number. A generator or a DataLoader
    cannot be brought back: `save_freq` must be "epoch", and the run goes on with what x gives then.
    Where there is a backup, `initial_epoch` has no say.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):
        super().__init__()
        if not isinstance(backup_dir, (str, os.PathLike)) or not os.fspath(backup_dir):
            raise ValueError(f"backup_dir: expected a folder's path, got {shown(backup_dir)}")
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = every_or_epoch("save_freq", save_freq)
        self.double_checkpoint = flag("double_checkpoint", double_checkpoint)
        self.delete_checkpoint = flag("delete_checkpoint", delete_checkpoint)
        self.path = os.path.join(self.backup_dir, "backup.lstm")
        self.previous = os.path.join(self.backup_dir, "previous.lstm")
        self._since, self._due = 0, False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._since, self._due = 0, False

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq != "epoch":
            self._since += 1
            self._due = self._since >= self.save_freq
            self._since = 0 if self._due else self._since

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._due = self._due or self.save_freq == "epoch"

    def get_state(self) -> Logs:
        return {"since": self._since}

    def set_state(self, state: Logs) -> None:
        self._since = state["since"]

    def _start(self, run: Run) -> None:
        if self.save_freq != "epoch" and not run.feed.goes_back:
            expected = "'epoch' for x that cannot go back to a batch (a generator, a DataLoader)"
            raise ValueError(f"save_freq: expected {expected}, got {self.save_freq}")
        if not os.path.lexists(self.path):
            if self.double_checkpoint and os.path.lexists(self.previous):
                run.restore(self.previous)
            return
        try:
            run.restore(self.path)
        except (OSError, ValueError):
            if not self.double_checkpoint or not os.path.lexists(self.previous):
                raise
            run.restore(self.previous)

    def _settled(self, run: Run) -> None:
        if not self._due:
            return
        self._due = False
        os.makedirs(self.backup_dir, exist_ok=True)
        run.backup(self.path, self.previous if self.double_checkpoint else None)

    def _done(self, run: Run) -> None:
        if not self.delete_checkpoint:
            return
        for path in (self.path, self.previous):
            remove(path)
        with suppress(OSError):
            os.rmdir(self.backup_dir)

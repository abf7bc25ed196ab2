"""CSVLogger: a line for each epoch."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from typing import Any, TextIO

import numpy as np

from ..arguments import flag, shown
from .base import Callback, Logs

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Writes loss and metrics of each epoch into a CSV file, as it ends.

    Parameters
    ----------
    filename : str or path-like
    separator : str
        Between values: one character.
    append : bool
        Write behind what the file holds; otherwise it is replaced.

    Notes
    -----
    Of a run that `BackupAndRestore` takes up again, lines written after the backup are cut off, so
    that no epoch is there twice.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ):
        super().__init__()
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator: expected one character, got {shown(separator)}")
        self.filename, self.sep = os.fspath(filename), separator
        self.append = flag("append", append)
        self.keys: list[str] | None = None
        self._file: TextIO | None = None
        self._kept: int | None = None  # bytes of the file that a backup knew of

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close()
        self.keys = self._kept = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._opened()  # before any step, if it cannot be

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs, file = logs or {}, self._opened()
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):
                self.keys += [f"val_{key}" for key in self.keys]
        writer = csv.writer(file, delimiter=self.sep)
        if not file.tell():
            writer.writerow(["epoch", *self.keys])
        writer.writerow([epoch, *(_plain(logs.get(key, "NA")) for key in self.keys)])
        file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    def get_state(self) -> Logs:
        size = self._file.tell() if self._file else self._kept
        return {"keys": self.keys, "bytes": size}

    def set_state(self, state: Logs) -> None:
        self._close()
        self.keys, self._kept = state["keys"], state["bytes"]

    def _opened(self) -> TextIO:
        """Return the file, ready for the next line."""
        if self._file is None:
            begins = not self.append if self._kept is None else not os.path.exists(self.filename)
            self._file = open(self.filename, "w" if begins else "a", encoding="utf-8", newline="")  # noqa: SIM115
            if self._kept is not None:
                self._file.truncate(min(self._kept, os.path.getsize(self.filename)))
            self._file.seek(0, os.SEEK_END)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> Logs:
        return {**self.__dict__, "_file": None, "_model": None}


def _plain(value: Any) -> Any:
    if isinstance(value, str) or np.ndim(value) == 0 or not isinstance(value, Iterable):
        return value
    return f'"[{", ".join(map(str, value))}]"'

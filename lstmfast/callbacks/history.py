"""History, which every `fit` returns."""

from __future__ import annotations

import os
from typing import Any

from .base import Callback, Logs

__all__ = ["History"]


class History(Callback):
    """What `fit` returns, and keeps as `model.history`.

    Attributes
    ----------
    epoch : list of int
        From 0.
    history : dict of str to list of float
        `loss`, the metrics, then `val_loss` and `val_` metrics; one value per epoch.

    Notes
    -----
    A copy, and what is pickled, is without the model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._all: list[int] = []  # epochs of all fits that this object saw: rows of `to_frame`
        self._rows: dict[str, list[int]] = {}  # of each value: not all epochs have a validation

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        self._all.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self._rows.setdefault(name, []).append(len(self._all) - 1)
        self.model.history = self

    def get_state(self) -> Logs:
        return {
            "epoch": self.epoch, "history": self.history, "all": self._all, "rows": self._rows,
        }  # fmt: skip

    def set_state(self, state: Logs) -> None:
        self.epoch, self._all = list(state["epoch"]), list(state["all"])
        self.history = {name: list(values) for name, values in state["history"].items()}
        self._rows = {name: list(rows) for name, rows in state["rows"].items()}

    def __getstate__(self) -> Logs:
        return {**self.__dict__, "_model": None}

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw a curve for each of loss and metrics, with that of the validation data.

        Parameters
        ----------
        path : str or path-like, optional
            Where to write the picture; its suffix is the format, such as .png.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib (`pip install lstmfast[plot]`).
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("History.plot: needs matplotlib: lstmfast[plot]") from error
        names = [name for name in self.history if name.removeprefix("val_") == name]
        figure = Figure(figsize=(6.4, 2.6 * max(1, len(names))), layout="constrained")
        for place, name in enumerate(names):
            axes = figure.add_subplot(len(names), 1, place + 1)
            for key in (name, f"val_{name}"):
                if key in self.history:
                    epochs = [row + 1 for row in self._rows[key]]
                    axes.plot(epochs, self.history[key], ".-", label=key)
            axes.set_ylabel(name)
            axes.legend()
        if names:
            axes.set_xlabel("epoch")
        if path is not None:
            figure.savefig(path)
        return figure

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame: a row per epoch, from 0, a column per loss and metric.

        NaN stands where an epoch had no such value, as without a validation.

        Raises
        ------
        ImportError
            Without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("History.to_frame: needs pandas") from error
        columns = {
            name: pandas.Series(values, index=self._rows[name], dtype="float64")
            for name, values in self.history.items()
        }
        frame = pandas.DataFrame(columns, index=range(len(self._all)))
        frame.index = pandas.Index(self._all, name="epoch")
        return frame

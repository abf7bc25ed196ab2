"""Windows over time series: views of them to learn from, and batches of such windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array, flag, integer, shown
from ..seeding import generator
from .batch import PyDataset

__all__ = ["WindowBatches", "timeseries_dataset_from_array", "windows"]


def windows(
    series: Any,
    length: int,
    horizon: int = 1,
    step: int = 1,
    targets: Any = None,
    gap: int = 0,
) -> Any:
    """Return windows of a series and what follows each of them, without a copy.

    With length=4, gap=1, horizon=2, step=3, of the steps 0 1 2 ...

        x[0]   0 1 2 3           y[0]           5 6
        x[1]         3 4 5 6     y[1]                 8 9

    so x[n] holds the steps n·step ... n·step + length - 1 of `series`, and y[n] the steps of
    `targets` from n·step + length + gap on: the first that x[n] does not know, when gap is 0.

    Parameters
    ----------
    series : (T,) or (T, ...) array_like
        A `numpy.memmap` is not read.
    length : int
        Steps in a window.
    horizon : int
        Steps to foretell. 0: there is no y, and the windows go up to the end of the series.
    step : int
        From the beginning of one window to that of the next.
    targets : (T,) or (T, ...) array_like, optional
        What to foretell, step by step, such as one column of `series`, which is the default.
    gap : int
        Steps between a window and what is to be foretold.

    Returns
    -------
    x : (N, length, ...) read-only view, its last axes those of the series
    y : (N, horizon, ...) read-only view, for horizon=1 (N, ...)
        N is as large as the series allows. For horizon=0 x is returned alone.

    Raises
    ------
    ValueError
        When the series is too short for a window, or has another length than the targets.

    Examples
    --------
    >>> x, y = windows(series, 24, horizon=6, targets=series[:, 0])     # Dense(6) at the end
    >>> model.fit(x, y)
    """
    whole = _series("series", series)
    length, horizon = integer("length", length, 1), integer("horizon", horizon, 0)
    step, gap = integer("step", step, 1), integer("gap", gap, 0)
    if horizon == 0 and (targets is not None or gap):
        raise ValueError("horizon: expected 1 or more with targets or a gap, got 0")
    if len(whole) < length + gap + horizon:
        expected = f"{length + gap + horizon} steps or more"
        raise ValueError(f"series: expected {expected}, got {len(whole)}")
    x = _views(whole, length)[::step]
    if horizon == 0:
        return x
    aims = whole if targets is None else _series("targets", targets)
    if len(aims) != len(whole):
        raise ValueError(f"targets: expected {len(whole)} steps, as series has, got {len(aims)}")
    y = _views(aims, horizon)[length + gap :: step]
    return x[: len(y)], y[:, 0] if horizon == 1 else y


def _series(name: str, given: Any) -> Array:
    found = np.asarray(given)
    if found.ndim == 0 or found.dtype.kind == "O":
        raise ValueError(f"{name}: expected numbers, a row for each step, got {shown(given)}")
    return found


def _views(series: Array, length: int) -> Array:
    """Return all windows (N, length, ...) of a series, read-only."""
    found = np.lib.stride_tricks.sliding_window_view(series, length, axis=0)
    return np.moveaxis(found, -1, 1)


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> WindowBatches:
    """Return batches of windows over a series, with Keras 3's arguments.

    The target of a window that begins at step t is targets[t]: shift the targets by what is to be
    foretold, or let `lstmfast.data.windows` do it.

    Parameters
    ----------
    data : (T, ...) array_like
        A row for each step. A `numpy.memmap` is read batch by batch.
    targets : array_like or None
        A row for each window's beginning; None: batches are x alone.
    sequence_length : int
        Steps in a window.
    sequence_stride : int
        From the beginning of one window to that of the next.
    sampling_rate : int
        Only each so manieth step is in a window.
    batch_size : int
        Windows in a batch; the last one may have fewer.
    shuffle : bool
        Draw the windows in a new order in each epoch.
    seed : int, optional
        Of that order.
    start_index, end_index : int, optional
        Only the steps start_index ... end_index - 1 are used.

    Returns
    -------
    WindowBatches
        For `Model.fit`, `evaluate`, `predict`.

    Raises
    ------
    ValueError
        When there is no window, or no target for one.
    """
    series = _series("data", data)
    end = len(series) if end_index is None else integer("end_index", end_index, 1, len(series))
    start = 0 if start_index is None else integer("start_index", start_index, 0, end - 1)
    length = integer("sequence_length", sequence_length, 1, len(series))
    rate = integer("sampling_rate", sampling_rate, 1)
    stride = integer("sequence_stride", sequence_stride, 1)
    aims = None if targets is None else _series("targets", targets)
    count = end - start - (length - 1) * rate
    if aims is not None:
        count = min(count, len(aims))
        aims = aims[start:end]
    if count < 1:
        expected = f"steps for a window of {length} at a sampling_rate of {rate}"
        raise ValueError(f"data: expected {expected}, got {end - start}")
    starts = np.arange(0, count, stride)
    if aims is not None and starts[-1] >= len(aims):
        expected = f"one for each window from start_index {start} on"
        raise ValueError(f"targets: expected {expected}, got {len(aims)} of them")
    steps = rate * np.arange(length)
    return WindowBatches(series[start:end], aims, starts, steps, batch_size, shuffle, seed)


class WindowBatches(PyDataset):
    """Batches of windows over a series, as `timeseries_dataset_from_array` makes them.

    Parameters
    ----------
    series, targets : ndarray, or None for no targets
    starts : (N,) integers
        Where the windows begin.
    steps : (length,) integers
        What steps are in a window, counted from its beginning.
    batch_size : int
    shuffle : bool
    seed : int, optional
    """

    def __init__(
        self, series: Array, targets: Array | None, starts: Array, steps: Array,
        batch_size: int, shuffle: bool, seed: int | None,
    ):  # fmt: skip
        super().__init__()
        self.series, self.targets, self.steps = series, targets, steps
        self.starts = starts
        self.batch_size = integer("batch_size", batch_size, 1)
        self.shuffle = flag("shuffle", shuffle)
        self.order = Order(len(starts), seed) if self.shuffle else None

    def __len__(self) -> int:
        return -(-len(self.starts) // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        first = integer("index", index, 0, len(self) - 1) * self.batch_size
        chosen = slice(first, first + self.batch_size)
        starts = self.starts[chosen if self.order is None else self.order.drawn()[chosen]]
        x = self.series[starts[:, None] + self.steps]
        return x if self.targets is None else (x, self.targets[starts])

    def on_epoch_end(self) -> None:
        if self.order is not None:
            self.order.epoch += 1

    def get_state(self) -> dict[str, Any]:
        """Return the place in the sequence of orders, for `set_state`."""
        return {} if self.order is None else self.order.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        if self.order is not None:
            self.order.set_state(state)


class Order:
    """Orders of samples: one for each epoch, which seed and epoch alone determine.

    Attributes
    ----------
    epoch : int
        Counted from 0.
    """

    def __init__(self, count: int, seed: int | None):
        if seed is not None:
            integer("seed", seed, 0)
        self.count, self.epoch = count, 0
        self.seed = int(generator(None).integers(2**63)) if seed is None else int(seed)
        self._drawn: tuple[tuple[int, int], Array] | None = None

    def rng(self) -> np.random.Generator:
        """Return the generator of this epoch, at its beginning."""
        return np.random.default_rng([self.seed, self.epoch])

    def drawn(self) -> Array:
        """Return the order of this epoch."""
        key = self.seed, self.epoch
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = key, self.rng().permutation(self.count)
        return self._drawn[1]

    def get_state(self) -> dict[str, Any]:
        return {"seed": self.seed, "epoch": self.epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])

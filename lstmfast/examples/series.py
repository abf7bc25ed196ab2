"""Help with time series: scaling, splitting by time, forecasts of several steps, a backtest.

Windows come from `lstmfast.data.windows`. All of it keeps to one rule: nothing of what is to be
foretold, nor of the time after it, has a part in what it is foretold from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Scaler", "Split", "backtest", "calendar", "filled", "mae", "paint_forecast", "recursive",
    "split_by_time",
]  # fmt: skip

Array = np.ndarray[Any, np.dtype[Any]]


class Scaler:
    """Columns brought to mean 0 and deviation 1, as they have them in the training part.

    Parameters
    ----------
    train : ndarray (T, F)
        The training part alone. A column that is constant there is only shifted.
    """

    def __init__(self, train: Array):
        self.mean = np.asarray(train, np.float64).mean(axis=0)
        deviation = np.asarray(train, np.float64).std(axis=0)
        self.deviation = np.where(deviation > 0, deviation, 1.0)

    def __call__(self, x: Array) -> Array:
        """Return x (..., F) scaled, as float32."""
        return ((x - self.mean) / self.deviation).astype(np.float32)

    def back(self, y: Array, column: int) -> Array:
        """Return scaled values y, of any shape, of one column as they were."""
        return np.asarray(y * self.deviation[column] + self.mean[column])


class Split(NamedTuple):
    """Which windows to learn from, to choose the epoch by, and to be judged by."""

    train: slice
    validation: slice
    test: slice


def split_by_time(windows: int, reach: int, validation: float = 0.1, test: float = 0.2) -> Split:
    """Split windows, one a step and in the order of time.

    Parameters
    ----------
    windows : int
        How many there are.
    reach : int
        Steps of a window and its targets together. So many windows are left out between the
        parts, so that no target of one part is in a window of the other.
    validation, test : float
        Shares, at the end.

    Raises
    ------
    ValueError
        When a part would be empty.
    """
    at = int(windows * (1 - validation - test)), int(windows * (1 - test))
    found = Split(slice(0, at[0]), slice(at[0] + reach, at[1]), slice(at[1] + reach, windows))
    if any(part.stop <= part.start for part in found) or at[0] == 0:
        raise ValueError(f"windows: expected more than {reach} in each part, got {windows} in all")
    return found


def filled(x: Array) -> Array:
    """Return x (T, F) with each NaN replaced by the last value before it, or the first after it."""
    found = np.array(x, np.float64)
    for column in found.T:
        known = np.flatnonzero(~np.isnan(column))
        if len(known) == 0:
            raise ValueError("x: expected a number in every column, got one of NaN alone")
        at = np.searchsorted(known, np.arange(len(column)), side="right") - 1
        column[:] = column[known[np.maximum(at, 0)]]
    return found


def calendar(hours: Array) -> Array:
    """Return the time of the day as a point on a circle, and which day of the week it is (T, 9).

    Parameters
    ----------
    hours : ndarray (T,) of datetime64
    """
    number = hours.astype("datetime64[h]").astype(np.int64)
    angle = 2 * np.pi * (number % 24) / 24
    weekday = np.eye(7)[(number // 24) % 7]  # the first of January 1970 was a Thursday
    return np.column_stack((np.sin(angle), np.cos(angle), weekday))


def mae(found: Array, wanted: Array) -> float:
    """Return the mean absolute error."""
    return float(np.abs(np.asarray(found, np.float64) - wanted).mean())


def recursive(step: Callable[[Array], Array], x: Array, horizon: int, column: int) -> Array:
    """Foretell several steps by a model of one: each forecast becomes the last step of the window.

    Parameters
    ----------
    step : callable
        Given windows (N, T, F), returns the next value (N,) of one column.
    x : ndarray (N, T, F)
    horizon : int
    column : int
        Which it is. The others stay as they were in the last step that is known.

    Returns
    -------
    ndarray (N, horizon)
    """
    window, found = np.array(x), []
    for _ in range(horizon):
        value = np.asarray(step(window)).reshape(len(window))
        found.append(value)
        following = window[:, -1:].copy()
        following[:, 0, column] = value
        window = np.concatenate((window[:, 1:], following), axis=1)
    return np.stack(found, axis=1)


def backtest(
    fit: Callable[[int], Callable[[int, int], Array]], start: int, end: int, every: int
) -> Iterator[tuple[int, Array]]:
    """Go through time as it would have been: fit, foretell a while, fit again with what has come.

    Parameters
    ----------
    fit : callable
        Given a time, learns from what is before it, and returns a function of two times that
        foretells from the first up to the second.
    start, end : int
        When the forecasts begin and end.
    every : int
        Steps from one fit to the next.

    Yields
    ------
    time, forecasts : int, ndarray
        Of each fit.
    """
    for now in range(start, end, every):
        yield now, fit(now)(now, min(now + every, end))


def paint_forecast(
    known: Array, wanted: Array, forecasts: dict[str, Array], bands: Sequence[Array] = ()
) -> Callable[..., None]:
    """Return what draws a series up to now, what came, and what was foretold.

    Parameters
    ----------
    known, wanted : ndarray (T,), (horizon,)
    forecasts : dict of str to ndarray (horizon,)
    bands : sequence of ndarray (horizon,)
        The lowest and the highest quantile, if any.
    """

    def painted(axes: Any) -> None:
        later = np.arange(1, len(wanted) + 1)
        axes.plot(np.arange(1 - len(known), 1), known, color="black", label="known")
        axes.plot(later, wanted, color="black", linestyle=":", label="what came")
        for name, forecast in forecasts.items():
            axes.plot(later, forecast, label=name)
        if bands:
            axes.fill_between(later, bands[0], bands[-1], alpha=0.2, label="quantiles")
        axes.axvline(0.5, color="gray", linewidth=0.8)
        axes.set(xlabel="hours")
        axes.legend()

    return painted

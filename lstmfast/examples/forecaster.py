"""A forecast of the next 24 hours from the last days, and what it has to beat.

The model starts from the same hours of the day before, and adds three things: a share of the
difference to the same hours of the week before, by a gate; what a hidden layer makes of an LSTM's
last output and the week before; and a straight line from the last day and the last inputs, which is
what a linear autoregression has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import LSTM, Dense, Input, Model
from ..callbacks import EarlyStopping
from ..data import windows
from ..layers import Concatenate, Dropout
from ..optimizers import Adam
from .series import Scaler, mae, split_by_time

__all__ = ["HORIZON", "LENGTH", "Parts", "Task", "baselines", "learn", "prepare", "score"]

Array = np.ndarray[Any, np.dtype[Any]]

HORIZON, LENGTH, WEEK = 24, 72, 168  # hours


class Parts(NamedTuple):
    """Windows (N, 72, F), the week before each forecast (N, 168), and what came (N, 24), scaled."""

    x: Array
    lags: Array
    y: Array


class Task(NamedTuple):
    """A series of several inputs to foretell one column of, and how to bring it back."""

    train: Parts
    validation: Parts
    test: Parts
    scaler: Scaler
    column: int
    undo: Callable[[Array], Array]  # what was done to the column before it was scaled

    def back(self, y: Array) -> Array:
        """Return scaled values of the column as they were measured."""
        return self.undo(self.scaler.back(y, self.column))


def prepare(series: list[Array], column: int, undo: Callable[[Array], Array] = np.asarray) -> Task:
    """Return windows of some series (T, F) of one kind, split by time.

    The scale is that of the training part. `undo` takes back what was done to the column, such as
    `np.exp` where its logarithms are given.
    """
    count = len(series[0]) - WEEK - HORIZON + 1
    split = split_by_time(count, HORIZON + LENGTH)
    scaler = Scaler(np.concatenate([one[: WEEK + split.train.stop] for one in series]))
    cut = [cut_of(scaler(one), column) for one in series]
    train, validation, test = (joined(cut, part) for part in split)
    return Task(train, validation, test, scaler, column, undo)


def cut_of(scaled: Array, column: int) -> Parts:
    """Return all windows of a series, and the week before what each foretells."""
    x, y = windows(
        scaled[WEEK - LENGTH :], LENGTH, HORIZON, targets=scaled[WEEK - LENGTH :, column]
    )
    lags = windows(scaled[:, column], WEEK, horizon=0)
    return Parts(x, lags[: len(x)], y)


def joined(cut: list[Parts], part: slice) -> Parts:
    """Return these windows of all series, one after another."""
    return Parts(
        *(np.concatenate([one[part] for one in arrays]) for arrays in zip(*cut, strict=True))
    )


def same_hours(lags: Array, days: int) -> Array:
    """Return the values (N, 24) at the hours that are foretold, so many days before."""
    start = WEEK - 24 * days
    return lags[:, start : start + HORIZON]


# ---------------------------------------------------------------- the model


def make_model(features: int, units: int, dropout: float, seed: int) -> Model:
    """Return the model, compiled."""
    window, lags = Input((LENGTH, features), name="window"), Input((WEEK,), name="lags")
    last = window[:, -1]
    known = Concatenate()([LSTM(units)(window), lags, last])
    h = Dropout(dropout)(Dense(4 * units, "relu")(known))
    week_less_day = lags[:, :HORIZON] - lags[:, -HORIZON:]
    line = Dense(HORIZON, kernel_initializer="zeros")(Concatenate()([lags[:, -HORIZON:], last]))
    output = Dense(HORIZON, "sigmoid")(h) * week_less_day + Dense(HORIZON)(h) + line
    model = Model([window, lags], output, seed=seed)
    model.compile(Adam(2e-3, global_clipnorm=1.0), "mean_absolute_error")
    return model


def inputs(parts: Parts) -> list[Array]:
    """Return what the model takes: both relative to the last value where they can be."""
    return [parts.x, parts.lags - parts.lags[:, -1:]]


def learn(
    task: Task, units: int, dropout: float, epochs: int, seed: int
) -> Callable[[Parts], Array]:
    """Return what foretells (N, 24), scaled, from windows."""
    model = make_model(task.train.x.shape[2], units, dropout, seed)
    stopping = EarlyStopping(patience=3, restore_best_weights=True)
    model.fit(
        inputs(task.train), task.train.y - base(task.train), 64, epochs, 2, [stopping],
        validation_data=(inputs(task.validation), task.validation.y - base(task.validation)),
    )  # fmt: skip
    return lambda parts: np.asarray(model.predict(inputs(parts), batch_size=256)) + base(parts)


def base(parts: Parts) -> Array:
    """Return where the forecast starts from: the same hours of the day before."""
    return same_hours(parts.lags, 1)


# ---------------------------------------------------------------- baselines


def linear(task: Task) -> Callable[[Parts], Array]:
    """Return a linear autoregression over the week before, and all inputs of the last hour."""
    from sklearn.linear_model import Ridge

    fitted = Ridge(10.0).fit(flat(task.train), task.train.y)
    return lambda parts: np.asarray(fitted.predict(flat(parts)))


def trees(task: Task, most: int) -> Callable[[Parts], Array]:
    """Return gradient-boosted trees, some for each of the hours."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    made = [
        HistGradientBoostingRegressor(loss="absolute_error", max_iter=most, random_state=0).fit(
            flat(task.train), task.train.y[:, hour] - base(task.train)[:, hour]
        )
        for hour in range(HORIZON)
    ]

    def foretold(parts: Parts) -> Array:
        return np.stack([one.predict(flat(parts)) for one in made], axis=1) + base(parts)

    return foretold


def flat(parts: Parts) -> Array:
    """Return the columns of a table: the last day hour by hour, days before, and all inputs."""
    days = [same_hours(parts.lags, n) for n in (2, 7)]
    every = parts.lags[:, -HORIZON:]
    return np.concatenate([every, *days, parts.x[:, -1], parts.x[:, -24]], axis=1)


def baselines(task: Task, most: int) -> dict[str, Callable[[Parts], Array]]:
    """Return what the model has to beat, by name."""
    return {
        "the day before": base,
        "the week before": lambda parts: same_hours(parts.lags, 7),
        "linear autoregression": linear(task),
        "gradient-boosted trees": trees(task, most),
    }


def score(task: Task, found: Array) -> float:
    """Return the mean absolute error over 24 hours of the test part, in the unit of the series."""
    return mae(task.back(found), task.back(task.test.y))

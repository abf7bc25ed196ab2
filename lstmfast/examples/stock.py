"""Foretell tomorrow's return of a stock index, and see that it cannot be done this way.

    pip install --no-deps arch
    python -m lstmfast.examples.stock

The daily S&P 500 of 1999 to 2018, from the package arch (read, not imported). Year by year the
model learns from all that was known before it, as one would have had to, and foretells each day
from the 30 before. Beside it stand "no change", the mean of the past, and an autoregression of one
day. The size of the return, which is the risk, is foretold in the same way: that can be done.

This is no advice. Costs, taxes and slippage are left out but for `--cost`, and the index cannot be
bought as such.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstmfast

from .. import LSTM, Dense, Model
from ..data import windows
from ..layers import Dropout
from ..optimizers import Adam
from .picture import drawn
from .series import Scaler, backtest

__all__ = ["Index", "foretell", "inputs", "main", "read"]

Array = np.ndarray[Any, np.dtype[Any]]

LENGTH, YEAR = 30, 252  # days
FIRST = 8 * YEAR  # the days before are learnt from alone


class Index(NamedTuple):
    """Some days of an index, each (T,)."""

    days: Array
    close: Array
    high: Array
    low: Array
    volume: Array


def read() -> Index:
    """Return the index; ValueError where arch is not installed."""
    found = find_spec("arch")
    if found is None or found.origin is None:
        raise ValueError("stock: expected arch (pip install --no-deps arch)")
    path = Path(found.origin).parent / "data" / "sp500" / "sp500.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    days = [np.datetime64("{2}-{0:0>2}-{1:0>2}".format(*row["Date"].split("/"))) for row in rows]
    numbers = (
        np.array([float(row[n]) for row in rows]) for n in ("Adj Close", "High", "Low", "Volume")
    )
    return Index(np.array(days), *numbers)


def inputs(index: Index) -> tuple[Array, Array]:
    """Return what is known at the end of each day (T, 4), and its return (T,), in per cent.

    The return, its size, the span of the day, and how much more was traded than on the day before.
    """
    returns = np.diff(np.log(index.close), prepend=np.log(index.close[0])) * 100
    span = np.log(index.high / index.low) * 100
    traded = np.diff(np.log(np.maximum(index.volume, 1)), prepend=np.log(max(index.volume[0], 1)))
    return np.column_stack((returns, np.abs(returns), span, traded)), returns


def foretell(known: Array, target: Array, now: int, end: int, epochs: int, seed: int) -> Array:
    """Return the target of the days now ... end - 1, each from the days before it alone.

    Parameters
    ----------
    known : ndarray (T, F)
        What is known at the end of each day.
    target : ndarray (T,)
        Learnt from up to the day before `now`.
    """
    scaler, scale = Scaler(known[:now]), Scaler(target[:now, None])
    x, y = windows(scaler(known), LENGTH, targets=scale(target[:, None]))
    first, last = now - LENGTH, end - LENGTH  # x[n] foretells the day n + LENGTH
    model = Model(
        [LSTM(16, input_shape=(LENGTH, known.shape[1])), Dropout(0.3), Dense(1)], seed=seed
    )
    model.compile(Adam(1e-3, global_clipnorm=1.0), "mean_squared_error")
    model.fit(x[:first], y[:first], 64, epochs, 0)
    return scale.back(np.asarray(model.predict(x[first:last], batch_size=256))[:, 0], 0)


def autoregression(target: Array, now: int, end: int) -> Array:
    """Return what a straight line from the day before foretells."""
    past = target[:now]
    slope, level = np.polyfit(past[:-1], past[1:], 1)
    return np.asarray(level + slope * target[now - 1 : end - 1])


def rolling(step: Callable[[int, int], Array], days: int, every: int) -> Array:
    """Return the forecasts from `FIRST` on, learnt anew every so many days."""
    parts = backtest(lambda _: step, FIRST, days, every)
    return np.concatenate([part for _, part in parts])


def forecasts(known: Array, target: Array, every: int, epochs: int, seed: int) -> dict[str, Array]:
    """Return the forecasts of the model and of what it has to beat, by name."""
    days = len(target)
    return {
        "LSTM": rolling(lambda a, b: foretell(known, target, a, b, epochs, seed), days, every),
        "no change": np.zeros(days - FIRST),
        "mean of the past": rolling(lambda a, b: np.full(b - a, target[:a].mean()), days, every),
        "autoregression": rolling(lambda a, b: autoregression(target, a, b), days, every),
    }


# ---------------------------------------------------------------- report


def explained(found: Array, wanted: Array) -> float:
    """Return the share of the variance that is foretold; below 0: worse than the mean."""
    return 1.0 - float(np.mean((wanted - found) ** 2) / np.var(wanted))


def gains(found: Array, returns: Array, cost: float) -> Array:
    """Return the daily gain, in per cent, of holding the index on days that are to rise."""
    held = (found > 0).astype(float)
    changed = np.abs(np.diff(held, prepend=0.0))
    return held * returns - cost * changed


def yearly(daily: Array) -> str:
    """Return the mean gain of a year, and its ratio to its deviation (Sharpe, no interest)."""
    deviation = daily.std()
    ratio = daily.mean() / deviation * YEAR**0.5 if deviation else 0.0
    return f"{daily.mean() * YEAR:+.1f}% a year, Sharpe ratio {ratio:.2f}"


def report(
    found: dict[str, Array], returns: Array, sizes: dict[str, Array], cost: float
) -> list[str]:
    """Return lines on returns, their sizes, and what acting on the forecasts would have given."""
    wanted = returns[FIRST:]
    lines = [f"{name}: {100 * explained(each, wanted):+.2f}% of the variance of returns foretold"
             for name, each in found.items()]  # fmt: skip
    lines += [f"{name}: {100 * explained(each, np.abs(wanted)):+.2f}% of that of their sizes"
              for name, each in sizes.items()]  # fmt: skip
    lines.append(f"holding it all the time: {yearly(wanted)}")
    lines.append(f"holding it when the LSTM foretells a rise, {cost}% a change: "
                 f"{yearly(gains(found['LSTM'], wanted, cost))}")  # fmt: skip
    return lines


def paint(days: Array, found: Array, returns: Array, cost: float) -> Callable[..., None]:
    """Return what draws how both ways of holding the index would have gone."""

    def painted(axes: Any) -> None:
        for label, daily in (
            ("always", returns),
            ("when the LSTM says so", gains(found, returns, cost)),
        ):
            axes.plot(days, np.exp(np.cumsum(daily) / 100), label=label)
        axes.set(ylabel="worth, beginning with 1", yscale="log")
        axes.legend()

    return painted


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m lstmfast.examples.stock",
        description="Foretell the daily return of the S&P 500, and its size.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = made.add_argument
    option("--epochs", type=int, default=10, help="of each year's model")
    option("--cost", type=float, default=0.02, help="of buying or selling, in per cent")
    option("--quick", action="store_true", help="one epoch, and learnt anew every four years only")
    option("--seed", type=int, default=0, help="of weights and of the order of windows")
    option("--threads", type=int, default=0, help="0: as many as cores")
    option("--out", type=Path, default=Path("stock"), help="folder for the picture")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    made = parser()
    arguments = made.parse_args(argv)
    if arguments.threads:
        lstmfast.set_num_threads(arguments.threads)
    try:
        index = read()
    except (ValueError, OSError) as error:
        made.error(str(error))
    known, returns = inputs(index)
    every, epochs = (4 * YEAR, 1) if arguments.quick else (YEAR, arguments.epochs)
    found = forecasts(known, returns, every, epochs, arguments.seed)
    sizes = forecasts(known, np.abs(returns), every, epochs, arguments.seed)
    del sizes["no change"]
    print("\n".join(report(found, returns, sizes, arguments.cost)))
    painted = paint(index.days[FIRST:], found["LSTM"], returns[FIRST:], arguments.cost)
    print(drawn(arguments.out / "worth.png", painted))
    return 0


if __name__ == "__main__":
    sys.exit(main())

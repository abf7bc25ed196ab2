"""Foretell how busy a freeway will be, hour by hour over the next day.

    python -m lstmfast.examples.traffic

Two years of a place in the San Francisco Bay Area (see data/README.md for the source and the
licence), of which the last fifth is held out. Beside the LSTM stand the same hours of the day and
of the week before, a linear autoregression, and gradient-boosted trees (scikit-learn).
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .forecast_report import parser, run
from .forecaster import prepare
from .series import calendar

__all__ = ["main"]

Array = np.ndarray[Any, np.dtype[Any]]

LEAST = 0.001  # of the time: as it was measured, it may be 0


def undo(logarithms: Array) -> Array:
    """Return the shares of time whose logarithms `read` returns."""
    return np.asarray(np.exp(logarithms) - LEAST)


def read() -> Array:
    """Return the logarithm of the share of time that it is taken, and the calendar (T, 10).

    The median of logarithms is the logarithm of the median, which is what a mean absolute error
    asks for; and a rush hour is no outlier.
    """
    path = Path(__file__).parent / "data" / "sf_traffic.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    hours = np.array([row["ts"] for row in rows], "datetime64[h]")
    taken = np.array([float(row["y"]) for row in rows])
    return np.column_stack((np.log(taken + LEAST), calendar(hours)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    arguments = parser(
        "traffic", "Foretell how busy a freeway is in the next 24 hours."
    ).parse_args(argv)
    run("traffic", "of the time", prepare([read()], 0, undo), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())

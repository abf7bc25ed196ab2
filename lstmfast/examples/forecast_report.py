"""The program that weather and traffic share: learn, compare with baselines, draw."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import lstmfast

from .forecaster import LENGTH, Task, baselines, learn, score
from .picture import drawn
from .series import paint_forecast

__all__ = ["parser", "run"]

Array = np.ndarray[Any, np.dtype[Any]]


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog=f"python -m lstmfast.examples.{name}",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = made.add_argument
    option("--units", type=int, default=64, help="of the LSTM")
    option("--dropout", type=float, default=0.2, help="of its last output")
    option("--epochs", type=int, default=20, help="at most: it stops when it gets no better")
    option("--trees", type=int, default=100, help="gradient-boosted trees for each hour")
    option("--quick", action="store_true", help="two epochs and three trees: too few of both")
    option("--seed", type=int, default=0, help="of weights and of the order of windows")
    option("--threads", type=int, default=0, help="0: as many as cores")
    option("--out", type=Path, default=Path(name), help="folder for the picture")
    return made


def run(title: str, unit: str, task: Task, arguments: Any) -> None:
    """Learn, and print the error of the model and of each baseline on the time held out."""
    if arguments.threads:
        lstmfast.set_num_threads(arguments.threads)
    epochs, most = (2, 3) if arguments.quick else (arguments.epochs, arguments.trees)
    begin = time.perf_counter()
    print(f"{title}: {len(task.train.x)} windows to learn from, {len(task.test.x)} held out")
    model = learn(task, arguments.units, arguments.dropout, epochs, arguments.seed)
    found = {"LSTM": model(task.test)}
    print(f"trained in {time.perf_counter() - begin:.0f} s")
    for name, foretell in baselines(task, most).items():
        found[name] = foretell(task.test)
    errors = {name: score(task, each) for name, each in found.items()}
    for name, error in errors.items():
        share = 100 * (errors["LSTM"] / error - 1)
        print(f"{name}: mean absolute error over 24 hours {error:.4g} {unit} (LSTM {share:+.1f}%)")
    print(verdict(errors))
    print(drawn(arguments.out / "forecast.png", paint_one(task, found)))


def verdict(errors: dict[str, float]) -> str:
    """Return plainly who won."""
    better = [name for name, error in errors.items() if error < errors["LSTM"]]
    return f"better than the LSTM: {', '.join(better) or 'nothing here'}"


def paint_one(task: Task, found: dict[str, Array]) -> Any:
    """Return what draws one forecast, of the middle of the time held out."""
    n = len(task.test.x) // 2
    known, wanted = task.back(task.test.lags[n, -LENGTH:]), task.back(task.test.y[n])
    return paint_forecast(known, wanted, {name: task.back(each[n]) for name, each in found.items()})

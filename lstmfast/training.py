"""What `Model.fit` needs around its arithmetic: batches, running means, history, the bar."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .arguments import Array, choice, number
from .losses import AnyLoss, BatchLoss

__all__ = ["History", "Progress", "RunningMean", "batches", "split", "with_same_length"]

Data = tuple[Array, Array]


class History:
    """What `fit` returns.

    Attributes
    ----------
    epoch : list of int
    history : dict of str to list of float
        `loss`, the metrics, then `val_loss` and `val_` metrics; one value per epoch.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, epoch: int, logs: dict[str, float]) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)


class RunningMean:
    """Loss and metrics over the rows seen so far, as Keras shows them during an epoch."""

    def __init__(self, metrics: list[str]):
        self.metrics = metrics
        self.total, self.correct, self.rows = 0.0, 0, 0

        self.pending: list[AnyLoss] = []

    def add(self, loss: AnyLoss) -> None:
        """Take the loss of a batch in; what was added before it is then read from the GPU."""
        self._read()
        self.pending.append(loss)
        if isinstance(loss, BatchLoss) or not self.rows:
            self._read()

    def _read(self) -> None:
        for loss in self.pending:
            found = loss.read()
            self.total += found.total
            self.correct += found.correct or 0
            self.rows += found.rows
        self.pending = []

    def result(self) -> dict[str, float]:
        """Return the means of all that was added."""
        self._read()
        return self.logs()

    def logs(self) -> dict[str, float]:
        """Return the means of what has been read."""
        share = self.correct / self.rows
        return {"loss": self.total / self.rows, **{metric: share for metric in self.metrics}}


class Progress:
    """The signs of life of one epoch.

    Parameters
    ----------
    verbose : {0, 1, 2}
        Nothing, a bar with loss and speed on stderr, or one line at the end on stdout.
    title : str
    samples : int
    """

    def __init__(self, verbose: int, title: str, samples: int):
        self.verbose = choice("verbose", verbose, (0, 1, 2))
        self.title, self.start = title, time.perf_counter()
        self.bar: Any = None
        if verbose == 1:
            from tqdm import tqdm  # here: it costs more to import than all of lstmfast

            self.bar = tqdm(total=samples, desc=title, unit=" samples")

    def step(self, samples: int, logs: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.set_postfix(logs, refresh=False)
            self.bar.update(samples)

    def finish(self, logs: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.set_postfix(logs, refresh=False)
        elif self.verbose == 2:
            values = "".join(f" - {name}: {value:.4f}" for name, value in logs.items())
            print(f"{self.title} - {time.perf_counter() - self.start:.1f}s{values}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def batches(samples: int, batch_size: int, rng: np.random.Generator | None) -> Iterator[Any]:
    """Yield what to index the samples with: slices, or with `rng` shuffled positions."""
    order = None if rng is None else rng.permutation(samples)
    for start in range(0, samples, batch_size):
        stop = min(start + batch_size, samples)
        yield slice(start, stop) if order is None else order[start:stop]


def with_same_length(x: Any, y: Any) -> Data:
    """Return both as arrays; ValueError unless they hold the same number of samples, not 0."""
    x, y = as_array("x", x), as_array("y", y)
    if len(y) != len(x):
        raise ValueError(f"y: expected {len(x)} samples, as x has, got {len(y)}")
    return x, y


def as_array(name: str, data: Any) -> Array:
    """Return `data` as an array with at least one sample; ValueError without."""
    try:
        found = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: expected an array, got {type(data).__name__}") from error
    if found.ndim == 0 or len(found) == 0:
        raise ValueError(f"{name}: expected one sample or more, got shape {found.shape}")
    return found


def split(x: Any, y: Any, fraction: float, validation: Any) -> tuple[Data, Data | None]:
    """Return the data to train on and to validate on, as Keras divides them.

    Parameters
    ----------
    x, y : array_like
    fraction : float in [0, 1)
        The LAST samples, this share of them, are for validation.
    validation : (x, y) or None

    Raises
    ------
    ValueError
        When both ways are asked for, or one part would be empty.
    """
    x, y = with_same_length(x, y)
    fraction = number("validation_split", fraction, 0.0, math.nextafter(1.0, 0.0))
    if validation is not None:
        return (x, y), _given(validation, fraction)
    if not fraction:
        return (x, y), None
    at = math.floor(len(x) * (1.0 - fraction))
    if at in (0, len(x)):
        parts = f"{at} and {len(x) - at} samples"
        raise ValueError(f"validation_split: expected two parts that are not empty, got {parts}")
    return (x[:at], y[:at]), (x[at:], y[at:])


def _given(validation: Any, fraction: float) -> Data:
    if fraction:
        raise ValueError("validation_split: expected 0 with validation_data, got both")
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        kind = type(validation).__name__
        raise ValueError(f"validation_data: expected (x, y), got {kind}")
    try:
        return with_same_length(*validation)
    except ValueError as error:
        raise ValueError(f"validation_data: {error}") from error

"""The signs of life of fit, evaluate and predict: a bar, or lines."""

from __future__ import annotations

import sys
import time
from typing import Any

from ..arguments import choice
from .base import Callback, Logs

__all__ = ["ProgbarLogger", "Progress"]


class Progress:
    """The signs of life of one epoch.

    Parameters
    ----------
    verbose : {0, 1, 2}
        Nothing; on stderr a bar with loss and speed, or one line at the end where that is no
        terminal and no notebook; or one line at the end on stdout.
    title : str
    total : int or None
        Of what `step` counts.
    unit : str
    """

    def __init__(self, verbose: int, title: str, total: int | None, unit: str = " samples"):
        self.verbose = choice("verbose", verbose, (0, 1, 2))
        self.title, self.start = title, time.perf_counter()
        self.bar: Any = None
        if self.verbose == 1 and _shows_bars(sys.stderr):
            from tqdm import tqdm  # here: it costs more to import than all of lstmfast

            self.bar = tqdm(total=total, desc=title, unit=unit)

    def step(self, count: int, logs: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.set_postfix(logs, refresh=False)
            self.bar.update(count)

    def finish(self, logs: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.set_postfix(logs, refresh=False)
        elif self.verbose:
            values = "".join(f" - {name}: {value:.4f}" for name, value in logs.items())
            line = f"{self.title} - {time.perf_counter() - self.start:.1f}s{values}"
            file = sys.stderr if self.verbose == 1 else sys.stdout
            if file is not None:  # as in programs without a console
                print(line, file=file, flush=self.verbose == 1)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _shows_bars(file: Any) -> bool:
    """Is this a terminal or a notebook's output, where a line can be written over?"""
    if type(file).__module__.startswith(("ipykernel.", "spyder_kernels.")):
        return True
    try:
        return bool(file.isatty())
    except Exception:  # None, or closed
        return False


class ProgbarLogger(Callback):
    """Shows a bar or lines; `fit`, `evaluate` and `predict` add one unless verbose is 0.

    During `fit`, validation shows nothing of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.verbose, self.epochs, self.steps = 1, 1, None
        self._progress: Progress | None = None
        self._in_fit = False
        self._samples: tuple[int, int] | None = None

    def count_samples(self, samples: int, batch_size: int) -> None:
        """Show samples in place of batches, of so many."""
        self._samples = samples, batch_size

    def set_params(self, params: Logs) -> None:
        super().set_params(params)
        verbose = params["verbose"]
        self.verbose = 1 if verbose == "auto" else verbose
        self.epochs, self.steps = params["epochs"], params["steps"]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._begin(f"Epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._step(batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._finish(logs or {})

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._begin("Evaluate")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._step(batch, logs or {})

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._finish(logs or {})

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._begin("Predict")

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._step(batch, {})

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._finish({})

    def _begin(self, title: str) -> None:
        self._close_bar()
        self._seen = 0
        total, unit = (self._samples[0], " samples") if self._samples else (self.steps, " steps")
        self._progress = Progress(self.verbose, title, total, unit)

    def _step(self, batch: int, logs: Logs) -> None:
        if self._progress is not None:
            seen = batch + 1
            if self._samples is not None:
                samples, batch_size = self._samples
                seen = min(seen * batch_size, samples)
            self._progress.step(seen - self._seen, logs)
            self._seen = seen

    def _finish(self, logs: Logs) -> None:
        if self._progress is not None:
            self._progress.finish(logs)
        self._close_bar()

    def _close_bar(self) -> None:
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def _close(self) -> None:
        self._close_bar()
        self._in_fit, self._samples = False, None

    def __getstate__(self) -> Logs:
        return {**self.__dict__, "_progress": None, "_model": None}

"""LambdaCallback, a callback of functions, and TerminateOnNaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..arguments import flag, shown
from .base import Callback, Logs

__all__ = ["LambdaCallback", "TerminateOnNaN"]


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable, optional
        Called with `(epoch, logs)`.
    on_train_begin, on_train_end : callable, optional
        Called with `(logs)`.
    on_train_batch_begin, on_train_batch_end : callable, optional
        Called with `(batch, logs=logs)`.
    **kwargs
        Functions for the other methods of `Callback`, such as `on_test_end`.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Callable[..., Any],
    ):
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in given.items():
            if not (name.startswith("on_") and hasattr(Callback, name)):
                known = [one for one in dir(Callback) if one.startswith("on_")]
                raise ValueError(f"{name}: expected one of {known}, got another name")
            if function is not None and not callable(function):
                raise ValueError(f"{name}: expected a function, got {shown(function)}")
            if function is not None:
                setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Ends `fit` when the loss is NaN or Inf.

    Parameters
    ----------
    raise_error : bool
        With a RuntimeError, after which no `on_train_end` is called.

    Notes
    -----
    Without it `fit` raises `TrainingError`. The step whose loss it was does not change the weights.
    """

    ends_quietly = True

    def __init__(self, raise_error: bool = False):
        super().__init__()
        self.raise_error = flag("raise_error", raise_error)

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"loss: expected a finite number, got {loss} at batch {batch}")
        print(f"Batch {batch}: the loss is {loss}, training ends")
        self.model.stop_training = True

"""Callbacks for `Model.fit`, `evaluate` and `predict`, with the names and defaults of Keras 3.

>>> from lstmfast.callbacks import BackupAndRestore, EarlyStopping
>>> model.fit(x, y, validation_split=0.1, epochs=100, callbacks=[
...     EarlyStopping(patience=3, restore_best_weights=True), BackupAndRestore("backup")])

All but `Callback`, `CallbackList` and `History` are imported when one is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import Callback
from .callback_list import CallbackList
from .history import History

if TYPE_CHECKING:
    from .every import (
        BackupAndRestore,
        CSVLogger,
        EarlyStopping,
        LambdaCallback,
        LearningRateScheduler,
        ModelCheckpoint,
        ProgbarLogger,
        ReduceLROnPlateau,
        TensorBoard,
        TerminateOnNaN,
    )

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History",
    "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger",
    "ReduceLROnPlateau", "TensorBoard", "TerminateOnNaN",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("lstmfast.callbacks.every"), name)
    raise AttributeError(f"module 'lstmfast.callbacks' has no attribute {name!r}")

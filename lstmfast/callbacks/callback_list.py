"""Callbacks that are called together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..arguments import shown
from .base import Callback, Logs
from .history import History

if TYPE_CHECKING:
    from ..model import Model
    from ..model.running import Run

__all__ = ["CallbackList"]


class CallbackList(Callback):
    """Callbacks that are called together, in their order.

    Parameters
    ----------
    callbacks : Callback or list of Callback, optional
    add_history, add_progbar : bool
        Put a History, a ProgbarLogger at the end, where the list has none.
    model : Model, optional
    **params
        What the callbacks get as `params`.

    Raises
    ------
    ValueError
        For what is no Callback.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Model | None = None,
        **params: Any,
    ):
        super().__init__()
        self.callbacks = _flat(callbacks)
        if add_history and not any(isinstance(one, History) for one in self.callbacks):
            self.callbacks.append(History())
        if add_progbar:
            from .progress import ProgbarLogger

            if not any(isinstance(one, ProgbarLogger) for one in self.callbacks):
                self.callbacks.append(ProgbarLogger())
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    @property
    def history(self) -> History | None:
        """The first History of the list."""
        return next((one for one in self.callbacks if isinstance(one, History)), None)

    def append(self, callback: Callback) -> None:
        """Put a callback at the end."""
        self.callbacks.extend(_flat(callback))

    def set_params(self, params: Logs) -> None:
        self.params = params
        for callback in self.callbacks if params else ():
            callback.set_params(params)

    def set_model(self, model: Model) -> None:
        super().set_model(model)
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def hears(self, *names: str) -> bool:
        """Does one of the callbacks have a method of its own of one of these names?"""
        return any(_has_own(callback, name) for callback in self.callbacks for name in names)

    # As Keras does: batches' logs by name, those of epochs by position, and never None.

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_batch_begin(batch, logs=logs or {})

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_batch_end(batch, logs=logs or {})

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs=logs or {})

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs=logs or {})

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_batch_begin(batch, logs=logs or {})

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_batch_end(batch, logs=logs or {})

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_batch_begin(batch, logs=logs or {})

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_batch_end(batch, logs=logs or {})

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        shared = dict(logs or {})
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, shared)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        shared = dict(logs or {})
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, shared)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_begin(dict(logs or {}))

    def on_train_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_end(dict(logs or {}))

    def on_test_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_begin(dict(logs or {}))

    def on_test_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_end(dict(logs or {}))

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_begin(dict(logs or {}))

    def on_predict_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_end(dict(logs or {}))

    def count_samples(self, samples: int, batch_size: int) -> None:
        """Let bars show samples in place of batches."""
        for callback in self.callbacks:
            if hasattr(callback, "count_samples"):
                callback.count_samples(samples, batch_size)

    def get_state(self) -> Logs:
        """Return the states of the callbacks that have one, by class: EarlyStopping_1, ..."""
        states = {name: callback.get_state() for name, callback in self._named()}
        return {name: state for name, state in states.items() if state}

    def set_state(self, state: Logs) -> None:
        """Hand out what `get_state` returned.

        Raises
        ------
        ValueError
            When one of those callbacks is not here.
        """
        own = dict(self._named())
        if missing := sorted(set(state) - set(own)):
            raise ValueError(f"callbacks: expected {missing} as in the backup, got {list(own)}")
        for name, kept in state.items():
            own[name].set_state(kept)

    def _named(self) -> list[tuple[str, Callback]]:
        counts: dict[str, int] = {}
        found = []
        for callback in self.callbacks:
            kind = type(callback).__name__
            number = counts[kind] = counts.get(kind, -1) + 1
            found.append((f"{kind}_{number}" if number else kind, callback))
        return found

    def _start(self, run: Run) -> None:
        for callback in self.callbacks:
            callback._start(run)

    def _settled(self, run: Run) -> None:
        for callback in self.callbacks:
            callback._settled(run)

    def _done(self, run: Run) -> None:
        for callback in self.callbacks:
            callback._done(run)

    def _close(self) -> None:
        for callback in self.callbacks:
            callback._close()


def _flat(callbacks: Any) -> list[Callback]:
    """Return the callbacks of lists in lists, of one, or of None."""
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback) and not isinstance(callbacks, CallbackList):
        return [callbacks]
    parts: Sequence[Any] = ()
    if isinstance(callbacks, CallbackList):
        parts = callbacks.callbacks
    elif isinstance(callbacks, (list, tuple)):
        parts = callbacks
    else:
        expected = "a list of lstmfast.callbacks.Callback"
        raise ValueError(f"callbacks: expected {expected}, got {shown(callbacks)}")
    return [one for part in parts for one in _flat(part)]


def _has_own(callback: Callback, name: str) -> bool:
    method = getattr(callback, name)
    return getattr(method, "__func__", method) is not getattr(Callback, name)

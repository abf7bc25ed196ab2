"""The base of all callbacks: what `fit`, `evaluate` and `predict` tell while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..model import Model
    from ..model.running import Run

__all__ = ["Callback", "Logs"]

Logs = dict[str, Any]


class Callback:
    """The base of callbacks: each method does nothing, until a class of one's own has it do more.

    Attributes
    ----------
    model : Model
        The one at work. `model.stop_training = True` ends `fit` after the batch, or the epoch.
    params : dict
        "epochs", "steps" (batches in an epoch, None where that is not known) and "verbose".

    Notes
    -----
    `batch` counts from 0 in each epoch. `logs` of a batch are the loss and metrics of the epoch up
    to it; those of an epoch have the keys of `History.history`. All callbacks of an epoch's end
    get the same dict: what one adds to it, the later ones see.
    """

    def __init__(self) -> None:
        self.params: Any = None
        self._model: Model | None = None

    def set_params(self, params: Logs) -> None:
        self.params = params

    def set_model(self, model: Model) -> None:
        self._model = model

    @property
    def model(self) -> Any:
        return self._model

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """As `on_train_batch_begin`, under its older name."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """As `on_train_batch_end`, under its older name."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch of `fit`, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a step of `fit`."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a step of `fit`."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of `evaluate`, and of a validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of `evaluate`, and of a validation."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of `predict`, whose outputs are `logs["outputs"]`."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called at the beginning of `fit`."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called at the end of `fit`, with the logs of the last epoch; not after an exception."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called at the beginning of `evaluate`, and of a validation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called at the end of `evaluate`, and of a validation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called at the beginning of `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called at the end of `predict`."""

    def get_state(self) -> Logs:
        """Return what a run that was interrupted needs to go on as if it had not been.

        None, bools, numbers, texts, arrays of numbers, and lists and dicts (of texts) of them;
        `BackupAndRestore` keeps it. An empty dict: there is no state.
        """
        return {}

    def set_state(self, state: Logs) -> None:
        """Take back what `get_state` returned; called after `on_train_begin`."""

    # What `fit` tells those of its own that take part in it.

    def _start(self, run: Run) -> None:
        """Called after every `on_train_begin`."""

    def _settled(self, run: Run) -> None:
        """Called when all have heard of a batch's, or an epoch's, end."""

    def _done(self, run: Run) -> None:
        """Called after every `on_train_end`."""

    def _close(self) -> None:
        """Called at the very end, and after an exception, too."""

"""TensorBoard: event files of loss and metrics."""

from __future__ import annotations

import os
import time
from typing import Any

from ..arguments import flag, integer, shown
from .base import Callback, Logs
from .learning_rate import rate_of

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Writes event files of loss and metrics, for `tensorboard --logdir logs`.

    Needs the package tensorboardX (`pip install lstmfast[tensorboard]`).

    Parameters
    ----------
    log_dir : str or path-like
        Its folders `train` and `validation` get the files, with Keras's names: epoch_loss, ...
    histogram_freq : 0
        No histograms of weights: anything but 0 is refused, as below.
    write_graph, write_images : False
    write_steps_per_second : bool
        Also batches per second.
    update_freq : "epoch", "batch" or int
        Beside those of epochs, values of each batch, or of each so many.
    profile_batch, embeddings_freq : 0
    embeddings_metadata : None

    Raises
    ------
    ValueError
        For what is not supported.
    ImportError
        Without tensorboardX, at the beginning of `fit`.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = False,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ):
        super().__init__()
        refused = {
            "histogram_freq": histogram_freq, "write_graph": write_graph,
            "write_images": write_images, "profile_batch": profile_batch,
            "embeddings_freq": embeddings_freq, "embeddings_metadata": embeddings_metadata,
        }  # fmt: skip
        for name, value in refused.items():
            if value:
                raise ValueError(f"{name}: expected 0, as it is not supported, got {shown(value)}")
        self.log_dir = os.fspath(log_dir)
        self.write_steps_per_second = flag("write_steps_per_second", write_steps_per_second)
        self.update_freq: int | None = None
        if update_freq != "epoch":
            self.update_freq = integer(
                "update_freq", 1 if update_freq == "batch" else update_freq, 1
            )
        self._writers: dict[str, Any] = {}
        self._batch, self._in_fit = 0, False
        self._started = (0.0, 0)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        _writer_class()  # before any step, if it is not there
        self._batch, self._in_fit = 0, True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started = (time.perf_counter(), self._batch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batch += 1
        if self.update_freq and self._batch % self.update_freq == 0:
            self._write("train", "batch_{}", logs or {}, self._batch)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if self.model.optimizer is not None:
            steps = self.model.optimizer.iterations
            self._write("validation", "evaluation_{}_vs_iterations", logs or {}, steps)
        if not self._in_fit:
            self._close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        own = {name: value for name, value in logs.items() if not name.startswith("val_")}
        own.setdefault("learning_rate", rate_of(self.model))
        if self.write_steps_per_second:
            start, batch = self._started
            spent = max(time.perf_counter() - start, 1e-9)
            own["steps_per_second"] = (self._batch - batch) / spent
        others = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
        self._write("train", "epoch_{}", own, epoch)
        self._write("validation", "epoch_{}", others, epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    def get_state(self) -> Logs:
        return {"batch": self._batch}

    def set_state(self, state: Logs) -> None:
        self._batch = state["batch"]

    def _write(self, kind: str, tag: str, logs: Logs, step: int) -> None:
        if logs and kind not in self._writers:
            folder = os.path.join(self.log_dir, kind)
            self._writers[kind] = _writer_class()(folder, write_to_disk=True)
        for name, value in logs.items():
            self._writers[kind].add_scalar(tag.format(name), value, step)

    def _close(self) -> None:
        self._in_fit = False
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def __getstate__(self) -> Logs:
        return {**self.__dict__, "_writers": {}, "_model": None}


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard: needs tensorboardX: lstmfast[tensorboard]") from error
    return SummaryWriter

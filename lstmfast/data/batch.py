"""One batch as a source gives it, and the base of sources whose batches are asked for by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arguments import flag, integer

__all__ = ["Batch", "PyDataset", "batch_of"]


@dataclass
class Batch:
    """One batch, where a tuple `(x, y, sample_weight)` does not tell all.

    Parameters
    ----------
    x : array_like, or a list or dict of them
    y : as x, optional
        None is enough to predict.
    sample_weight : array_like, optional
    lengths : (B,) integers, optional
        Row b takes its first lengths[b] steps, as in `Model.fit`.
    mask : bool (B, T), optional
        In place of lengths: the steps to take.
    rows : (B,) integers, optional
        Where `predict` is to put the outputs of these rows, when the batches of a source come in
        another order than the samples.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    lengths: Any = None
    mask: Any = None
    rows: Any = None


def batch_of(item: Any) -> Batch:
    """Return what a source gave, x or up to three parts in a tuple or a list, as a Batch.

    Raises
    ------
    ValueError
        For another number of parts.
    """
    if isinstance(item, Batch):
        return item
    if not isinstance(item, (tuple, list)):
        return Batch(item)
    if not 1 <= len(item) <= 3:
        expected = "x, (x, y) or (x, y, sample_weight)"
        raise ValueError(f"expected {expected}, got {len(item)} parts")
    return Batch(*item)


class PyDataset:
    """The base of sources whose batches are asked for by number.

    A class of one's own has `__len__`, the number of batches in an epoch, and `__getitem__`, which
    returns batch n: x, `(x, y)`, `(x, y, sample_weight)` or a `Batch`. Any class with these two
    will do; this base adds what can be asked of all.

    Parameters
    ----------
    workers : int
        1: batches are read ahead on one thread, in their order.
    use_multiprocessing : bool
        False.
    max_queue_size : int
        So many batches are read ahead at most.

    Raises
    ------
    ValueError
        For more workers, and for processes.
    """

    workers, use_multiprocessing, max_queue_size = 1, False, 2  # of classes that call no __init__

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 2
    ):
        self.workers = integer("workers", workers, 1, 1)
        if flag("use_multiprocessing", use_multiprocessing):
            raise ValueError("use_multiprocessing: expected False, got True")
        self.use_multiprocessing = False
        self.max_queue_size = integer("max_queue_size", max_queue_size, 1)

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: needs __len__, the number of batches")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: needs __getitem__, which gives a batch")

    @property
    def num_batches(self) -> int:
        """The number of batches in an epoch."""
        return len(self)

    def on_epoch_begin(self) -> None:
        """Called before the batches of an epoch are read."""

    def on_epoch_end(self) -> None:
        """Called after the last batch of an epoch."""

"""Batches that a thread reads while the ones before are in use."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

from ..arguments import integer, shown

__all__ = ["AHEAD", "prefetch"]

T = TypeVar("T")

AHEAD = 2  # batches
THREAD = "lstmfast-prefetch"


def prefetch(batches: Iterable[T], ahead: int = AHEAD) -> Iterator[T]:
    """Yield the items of an iterable, of which a thread reads the next ones meanwhile.

    What the iterable runs, such as the body of a generator, runs in that thread. An exception that
    it raises comes out where its item would have come. The thread begins with the first item and
    ends with the last, or when the iterator that is returned is closed or goes away.

    Parameters
    ----------
    batches : iterable
    ahead : int
        So many items at most are read and not yet asked for.

    Raises
    ------
    ValueError
        For what cannot be iterated.
    """
    if not hasattr(batches, "__iter__"):
        raise ValueError(f"batches: expected an iterable, got {shown(batches)}")
    return _items(iter(batches), integer("ahead", ahead, 1))


def _items(iterator: Iterator[T], ahead: int) -> Iterator[T]:
    reader = _Reader(iterator, ahead)
    try:
        reader.thread.start()
        while True:
            item, error, is_last = reader.found.get()
            if error is not None:
                raise error
            if is_last:
                return
            reader.places.release()
            yield item
            item = None  # or it would be kept while the next one is waited for
    finally:
        reader.stop()


class _Reader:
    """A thread that reads an iterator, as far ahead as there are places."""

    def __init__(self, iterator: Iterator[Any], ahead: int):
        self.iterator = iterator
        self.places = threading.Semaphore(ahead)
        self.found: SimpleQueue[tuple[Any, BaseException | None, bool]] = SimpleQueue()
        self.stopped = False
        self.thread = threading.Thread(target=self._read, name=THREAD, daemon=True)

    def stop(self) -> None:
        """Let the thread end after the item it reads, and wait for that."""
        self.stopped = True
        self.places.release()
        if self.thread.is_alive():
            self.thread.join()

    def _read(self) -> None:
        error = None
        try:
            while self._may_go_on():
                try:
                    item = next(self.iterator)
                except StopIteration:
                    break
                self.found.put((item, None, False))
                del item
        except BaseException as raised:
            error = raised
        self.found.put((None, error, True))

    def _may_go_on(self) -> bool:
        self.places.acquire()
        return not self.stopped

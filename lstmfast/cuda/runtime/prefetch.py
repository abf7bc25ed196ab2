"""Batches that are copied to the GPU on a second stream while the one before is in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import cycle
from typing import Any

import numpy as np

from . import array, device, numeric  # noqa: F401
from .array import DeviceArray

__all__ = ["ahead"]

ALIGNMENT = 256  # bytes, of each array in its buffer: what a kernel's vector loads could ask for


def ahead(batches: Iterable[Any], stream: Any = None) -> Iterator[tuple[DeviceArray, ...]]:
    """Yield each batch as arrays on the GPU, for work on `stream`.

    The next batch is taken from `batches` and on its way before this one is yielded. There are two
    sets of buffers, as large as the largest batch: an array is good until two batches later, when
    its memory gets another batch's numbers, after the work that `stream` had got before.

    Parameters
    ----------
    batches : iterable of tuples of arrays of NumPy
    stream : where the batches will be used (None: the default one)

    Raises
    ------
    ValueError
        A batch is no tuple, or not of numbers.
    """
    copies = device.new_stream()
    sets = (_Buffers(), _Buffers())
    coming = None
    try:
        for batch, buffers in zip(batches, cycle(sets), strict=False):
            arrays = buffers.fill(_checked(batch), stream, copies)
            if coming is not None:
                yield from coming
            coming = buffers.lend(arrays, stream)
        if coming is not None:
            yield from coming
    finally:
        device.synchronize(copies)  # page-locked memory must not go while it is read


def _checked(batch: Any) -> list[np.ndarray[Any, Any]]:
    if not isinstance(batch, tuple | list):
        raise ValueError(f"batch: expected a tuple of arrays, got {type(batch).__name__}")
    arrays = [np.asarray(values) for values in batch]
    for position, values in enumerate(arrays):
        if values.dtype.hasobject:
            raise ValueError(f"batch[{position}]: expected numbers, got dtype {values.dtype}")
    return arrays


class _Buffers:
    """Memory for a batch, page-locked on the host and on the GPU: its arrays one after another."""

    def __init__(self) -> None:
        self.host: Any = np.empty(0, np.uint8)
        self.device: Any = None
        self.copied, self.used = device.Event(), device.Event()

    def fill(self, batch: list[Any], stream: Any, copies: Any) -> tuple[DeviceArray, ...]:
        """Begin to copy a batch; return its arrays, which `lend` makes ready."""
        places, size = _places(batch)
        self.copied.synchronize()  # the batch before has left the host's memory
        if size > len(self.host):
            self._grow(size, stream)
        for place, values in zip(places, batch, strict=True):
            np.ndarray(values.shape, values.dtype, self.host, place)[...] = values
        self.used.hold(copies)
        array.to_device(self.device[:size], self.host[:size], copies)
        self.copied.record(copies)
        return tuple(
            DeviceArray(self.device.memory, self.device.address + place, values.shape, values.dtype)
            for place, values in zip(places, batch, strict=True)
        )

    def lend(self, arrays: tuple[DeviceArray, ...], stream: Any) -> Iterator[Any]:
        """Yield arrays once; what `stream` has got until the next is asked for is their use."""
        self.copied.hold(stream)
        yield arrays
        self.used.record(stream)

    def _grow(self, size: int, stream: Any) -> None:
        """Take more memory. On the GPU it comes, and the old one goes, in the order of `stream`."""
        self.host = _page_locked(size)
        self.device = array.empty((size,), np.uint8, stream)
        self.used.record(stream)


def _places(batch: list[Any]) -> tuple[list[int], int]:
    """Return where each array begins, and where the last one ends."""
    places, end = [], 0
    for values in batch:
        places.append(end)
        end += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
    return places, max(end, 1)


def _page_locked(size: int) -> np.ndarray[Any, Any]:
    """Return bytes that the GPU can read while the host goes on; in the simulator any bytes."""
    if device.simulated():
        return np.empty(size, np.uint8)
    from cuda.bindings import driver

    device.current()
    status, address = driver.cuMemAllocHost(size)
    device.check(status, f"{size} bytes of page-locked memory")
    return array.host_memory(int(address), size, _PageLocked(int(address)))


class _PageLocked:
    """Frees page-locked memory when the last array in it is gone."""

    def __init__(self, address: int):
        self.address = address

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the process CUDA may be gone before us
            from cuda.bindings import driver

            driver.cuMemFreeHost(self.address)

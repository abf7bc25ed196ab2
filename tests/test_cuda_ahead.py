"""The order of copies and work on two streams, on a GPU that does each as early or late as it may.

The stand-in keeps what a stream has got in a list. A schedule says which stream goes on by itself
as soon as events let it; all else runs when somebody waits for it.
"""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("cuda.core")

from cuda.bindings import driver

from lstmfast.cuda.runtime import array, device
from lstmfast.cuda.runtime import prefetch as module
from lstmfast.cuda.runtime.array import DeviceArray
from lstmfast.cuda.runtime.prefetch import ahead


class FakeStream:
    def __init__(self, eager):
        self.work, self.done, self.eager = [], 0, eager

    def put(self, work):
        self.work.append(work)
        if self.eager:
            self.go_on()

    def go_on(self):
        """Do what no event holds back."""
        while self.done < len(self.work) and self.ready(self.work[self.done]):
            self.step()

    @staticmethod
    def ready(work):
        return not isinstance(work, FakeEvent.Wait) or work.stream.done >= work.until

    def step(self):
        work = self.work[self.done]
        if isinstance(work, FakeEvent.Wait):
            work.stream.finish(work.until)
        else:
            work()
        self.done += 1

    def finish(self, until):
        while self.done < until:
            self.step()


class FakeEvent:
    class Wait(SimpleNamespace):
        """Goes on once `stream` has done its work up to `until`."""

    point = None

    def record(self, stream):
        self.point = self.Wait(stream=stream, until=len(stream.work))

    def hold(self, stream):
        if self.point is not None:
            stream.put(self.point)

    def synchronize(self):
        if self.point is not None:
            self.point.stream.finish(self.point.until)


def fake_empty(shape, dtype, stream):
    """Memory that is there when its stream has come so far: what was written before is lost."""
    memory = np.empty(shape, dtype)
    stream.put(lambda: memory.fill(0xA5))
    return DeviceArray(memory, memory.ctypes.data, shape, dtype)


def seen_on_gpu(made):
    """The elements as a kernel would find them now."""
    at = made.address - made.memory.ctypes.data
    return np.ndarray(made.shape, made.dtype, made.memory, at).copy()


@pytest.fixture(params=("late", "copies early", "work early", "both early"))
def compute(request, monkeypatch):
    """The stream that batches are used on; the schedule decides when it and the other run."""
    compute = FakeStream("work" in request.param or "both" in request.param)
    copies = FakeStream("copies" in request.param or "both" in request.param)

    def to_device(made, values, stream):
        at = made.address - made.memory.ctypes.data
        stream.put(lambda: made.memory[at : at + len(values)].__setitem__(slice(None), values))

    monkeypatch.setattr(device, "new_stream", lambda: copies)
    monkeypatch.setattr(device, "Event", FakeEvent)
    monkeypatch.setattr(device, "synchronize", lambda stream: stream.finish(len(stream.work)))
    monkeypatch.setattr(array, "empty", fake_empty)
    monkeypatch.setattr(array, "to_device", to_device)
    monkeypatch.setattr(module, "_page_locked", lambda size: np.empty(size, np.uint8))
    compute.copies = copies
    return compute


def batch(number, size=3):
    return np.full((size, 2), number, np.float32), np.full(size, -number)


@pytest.mark.parametrize("sizes", ([3] * 7, [1, 2, 3, 4, 5, 6, 7], [7, 1, 7, 2, 9, 1, 9, 3]))
def test_work_sees_its_own_batch_on_every_schedule(compute, sizes):
    seen = []
    for arrays in ahead((batch(n, size) for n, size in enumerate(sizes)), compute):
        compute.put(lambda arrays=arrays: seen.append([seen_on_gpu(a) for a in arrays]))
    compute.finish(len(compute.work))
    assert len(seen) == len(sizes)
    for n, (found, size) in enumerate(zip(seen, sizes, strict=True)):
        for values, expected in zip(found, batch(n, size), strict=True):
            assert values.shape == expected.shape and (values == expected).all()


def test_copies_are_finished_when_the_loop_is_left(compute):
    batches = ahead((batch(n) for n in range(5)), compute)
    next(batches)
    batches.close()
    assert compute.copies.done == len(compute.copies.work) > 0


def test_copies_are_finished_when_the_source_fails(compute):
    def source():
        yield batch(0)
        yield batch(1)
        raise OSError

    with pytest.raises(OSError):
        list(ahead(source(), compute))
    assert compute.copies.done == len(compute.copies.work) > 0


def test_page_locked_memory_is_freed_with_its_last_array(monkeypatch):
    room = np.arange(64, dtype=np.uint8)
    freed = []
    success = driver.CUresult.CUDA_SUCCESS
    monkeypatch.setattr(device, "current", lambda: None)
    monkeypatch.setattr(driver, "cuMemAllocHost", lambda size: (success, room.ctypes.data))
    monkeypatch.setattr(driver, "cuMemFreeHost", lambda at: freed.append(at) or (success,))
    part = module._page_locked(64)[8:16]
    gc.collect()
    assert (part == room[8:16]).all() and freed == []
    del part
    gc.collect()
    assert freed == [room.ctypes.data]

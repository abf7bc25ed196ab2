"""When work is captured into a graph and when that is replayed, with stand-ins for CUDA's parts."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("cuda.core")

from lstmfast.cuda.runtime import cublas, device, graphs
from lstmfast.cuda.runtime.array import DeviceArray, empty


class FakeStream:
    """Remembers the work that it got: what ran, or what it captured."""

    made = 0

    def __init__(self):
        FakeStream.made += 1
        self.handle, self.done = FakeStream.made, []

    def sync(self):
        pass


class FakeBuilder:
    def __init__(self, log):
        self.stream, self.log, self.building = FakeStream(), log, False
        self.stream.handle = -1  # the address of the one before, as it may be

    def begin_building(self, mode):
        self.log.append(f"begin {mode}")
        self.building = True

    def end_building(self):
        if "unsafe" in self.stream.done:
            raise RuntimeError("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
        self.building = False
        return self

    def complete(self):
        self.log.append("complete")
        work = list(self.stream.done)
        return SimpleNamespace(launch=lambda stream: stream.done.extend(work))

    def close(self):
        self.log.append("close")
        if self.building:
            self.building = False
            raise RuntimeError("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")


@pytest.fixture
def log(monkeypatch):
    told = []
    gpu = SimpleNamespace(device_id=0, create_graph_builder=lambda: FakeBuilder(told))
    monkeypatch.setattr(device, "current", lambda: gpu)
    monkeypatch.setattr(cublas, "prepare", lambda stream: f"workspace of {stream.handle}")
    monkeypatch.setattr(graphs, "KEPT", graphs._Kept())
    return told


class Work:
    """Puts its name on a stream; counts how often Python ran it."""

    def __init__(self, name="work"):
        self.name, self.runs = name, 0

    def __call__(self, stream):
        self.runs += 1
        stream.done.append(self.name)


def test_first_runs_second_is_captured_then_replayed(log):
    stream, work = FakeStream(), Work()
    for call in range(1, 6):
        graphs.replay("key", work, stream)
        assert stream.done == ["work"] * call
        assert work.runs == min(call, 2)
        assert log == (["begin relaxed", "complete", "close"] if call > 1 else [])


def test_another_key_or_stream_is_another_graph(log):
    one, two = FakeStream(), FakeStream()
    works = {key: Work(key) for key in ("a", "b")}
    for _ in range(3):
        for key, work in works.items():
            for stream in (one, two):
                graphs.replay(key, work, stream)
    assert one.done == two.done == ["a", "b"] * 3
    assert log.count("complete") == 4
    kept = graphs.KEPT.graphs
    assert [graph.workspace for graph in kept.values()][:2] == [
        f"workspace of {stream.handle}" for stream in (one, two)
    ]


def test_another_gpu_is_another_graph(log, monkeypatch):
    stream, work = FakeStream(), Work()
    graphs.replay("key", work, stream)
    other = SimpleNamespace(device_id=1, create_graph_builder=lambda: FakeBuilder(log))
    monkeypatch.setattr(device, "current", lambda: other)
    graphs.replay("key", work, stream)
    assert log == []


def test_few_graphs_are_kept_those_used_last(log, monkeypatch):
    monkeypatch.setattr(graphs, "GRAPHS", 2)
    stream, work = FakeStream(), Work()
    for key in ("a", "a", "b", "b", "a", "c", "c"):
        graphs.replay(key, work, stream)
    assert [key for *_, key in graphs.KEPT.graphs] == ["a", "c"]
    graphs.replay("b", work, stream)  # as if it were new
    assert log.count("complete") == 3


def test_few_keys_are_remembered(log, monkeypatch):
    monkeypatch.setattr(graphs, "SEEN", 2)
    stream, work = FakeStream(), Work()
    for key in ("a", "b", "c", "a"):
        graphs.replay(key, work, stream)
    assert log == []
    graphs.replay("a", work, stream)
    assert log.count("complete") == 1


def test_threads_share_no_graph(log):
    stream, work = FakeStream(), Work()
    graphs.replay("key", work, stream)
    thread = threading.Thread(target=graphs.replay, args=("key", work, stream))
    thread.start()
    thread.join()
    assert log == [] and work.runs == 2


def test_no_stream_is_the_default_one(log, monkeypatch):
    stream, work = FakeStream(), Work()
    monkeypatch.setattr(device, "default_stream", lambda: stream)
    for _ in range(3):
        graphs.replay("key", work)
    assert stream.done == ["work"] * 3


def test_a_replay_within_work_is_part_of_it(log):
    stream, inner = FakeStream(), Work("inner")

    def outer(stream):
        graphs.replay("inner", inner, stream)
        stream.done.append("outer")

    for call in range(1, 9):
        graphs.replay(f"outer {call % 2}", outer, stream)
        assert stream.done == ["inner", "outer"] * call
    assert log.count("complete") == 3  # of both, and of inner, which both began with


@pytest.mark.parametrize("off", ("switched off", "simulator"))
def test_off(log, monkeypatch, off):
    if off == "simulator":
        monkeypatch.setattr(device, "SIMULATED", True)
    else:
        monkeypatch.setattr(graphs, "ON", False)
    stream, work = FakeStream(), Work()
    for _ in range(3):
        graphs.replay("key", work, stream)
    assert work.runs == 3 and log == []


def test_work_that_allocates_or_waits_or_strays_is_told_so(log):
    stream, other = FakeStream(), FakeStream()
    array = DeviceArray(None, 64, (2,), np.float32)
    cases = {
        "16 bytes for an array": lambda stream: empty(2, np.float32, stream),
        "waiting for the GPU": device.synchronize,
        "a copy to the host": lambda stream: array.copy_to_host(),
        "expected the one that is captured": lambda stream: device.on(other),
        "work cannot be captured into a graph": lambda stream: stream.done.append("unsafe"),
    }
    for message, fails in cases.items():

        def work(given, fails=fails):
            if given is not stream:  # captured
                fails(given)

        graphs.replay(message, work, stream)
        for _ in range(2):
            with pytest.raises(device.CudaError, match=message):
                graphs.replay(message, work, stream)
        assert log.count("close") == 2 and "complete" not in log
        assert device.captured_for() is None and stream.done == []
        log.clear()


def test_other_errors_pass_through_and_work_that_failed_was_not_seen(log):
    def work(stream):
        raise KeyError("mine")

    for _ in range(3):
        with pytest.raises(KeyError, match="mine"):
            graphs.replay("key", work, FakeStream())
    assert log == []


def test_keys_hold_addresses_shapes_strides_and_dtypes():
    def array(address=64, shape=(2, 3), dtype=np.float32, strides=None):
        return DeviceArray(None, address, shape, dtype, strides)

    others = (
        array(128), array(shape=(3, 2)), array(dtype=np.int32), array(strides=(16, 4)),
    )  # fmt: skip
    assert graphs.key_of("forward", array(), 3) == graphs.key_of("forward", array(), 3)
    keys = {graphs.key_of(other) for other in (array(), *others)}
    assert len(keys) == 5

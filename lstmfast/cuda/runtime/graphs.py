"""Sequences of kernels and products that are launched again and again, as CUDA graphs.

A launch costs the host some microseconds, a step of an LSTM the GPU about as much: a graph of all
steps costs the host one launch. LSTMFAST_CUDA_GRAPHS=0 turns graphs off.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, NamedTuple

from . import cublas, device
from .array import DeviceArray

__all__ = ["key_of", "replay"]

ON = os.environ.get("LSTMFAST_CUDA_GRAPHS", "1") != "0"
GRAPHS = 32  # that a thread keeps
SEEN = 256  # keys that a thread remembers to have met once


class _Graph(NamedTuple):
    executable: Any
    workspace: Any  # what its products work in, kept alive


class _Kept(threading.local):
    """A thread's graphs, and the keys that it met once, the latest at the end."""

    def __init__(self) -> None:
        self.graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self.seen: OrderedDict[Hashable, None] = OrderedDict()


KEPT = _Kept()


def replay(key: Hashable, work: Callable[[Any], None], stream: Any = None) -> None:
    """Do `work(stream)`: the first time as it stands, the second time captured, then replayed.

    Work that is done once is never captured, as that costs more than it saves. A graph lives no
    longer than its thread, and belongs to one stream: that orders its uses of cuBLAS' workspace.

    Parameters
    ----------
    key : hashable
        All that work depends on: what it is, every address, shape, stride and option (`key_of`).
        A replay does the same to the same addresses, whatever lies there by then.
    work : callable
        Launches on the stream that it is given, and on no other. It neither allocates nor waits for
        the GPU nor copies from or to the host.
    stream : where it runs (None: the default one)

    Raises
    ------
    CudaError
        Work does what cannot be captured; `stream` is then as it was before.
    """
    if not ON or device.simulated() or device.captured_for() is not None:
        work(stream)
        return
    stream = device.on(stream)
    full = (device.current().device_id, int(stream.handle), key)
    if full in KEPT.graphs:
        KEPT.graphs.move_to_end(full)
    elif full in KEPT.seen:
        _keep(KEPT.graphs, full, _capture(work, stream), GRAPHS)
        del KEPT.seen[full]
    else:
        work(stream)
        _keep(KEPT.seen, full, None, SEEN)
        return
    with device.errors("a graph cannot be launched"):
        KEPT.graphs[full].executable.launch(stream)


def key_of(*parts: Any) -> Hashable:
    """Return a key: arrays by their address, shape, strides and dtype, all else as it is."""
    return tuple(
        (part.address, part.shape, part.strides, part.dtype.num)
        if isinstance(part, DeviceArray)
        else part
        for part in parts
    )


def _keep(kept: OrderedDict[Hashable, Any], key: Hashable, value: Any, most: int) -> None:
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)


def _capture(work: Callable[[Any], None], target: Any) -> _Graph:
    """Return the graph of what `work` launches, to run on `target`.

    It is captured on a stream of its own: the default one cannot be, and one on which capturing
    failed need not be mended. Other threads may meanwhile do what they like.
    """
    workspace = cublas.prepare(target)
    failure = "work cannot be captured into a graph"
    with device.errors(failure):
        builder = device.current().create_graph_builder()
        builder.begin_building("relaxed")  # the garbage collector may free memory meanwhile
    try:
        with device.capturing(builder.stream, target):
            work(builder.stream)
        with device.errors(failure):
            return _Graph(builder.end_building().complete(), workspace)
    finally:
        with suppress(Exception):  # it ends a capture that failed, which the driver calls an error
            builder.close()

"""All that these benches call of lstmfast on a GPU, in one place.

The float64 oracle and its cases are those of `tests/`; nothing is said twice.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STEPS, GRAPHS, PERSISTENT = "steps", "steps in graphs", "persistent"
PATHS = (STEPS, GRAPHS, PERSISTENT)
POISON = 0xFF  # a NaN of every float there is


class NotApplicable(Exception):
    """There is nothing to do here, and nothing is wrong."""


def of_tests(module: str) -> Any:
    """A module of tests/, or of tests/cuda/."""
    for folder in (ROOT / "tests", ROOT / "tests" / "cuda"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # at the end: it must hide nothing
    return importlib.import_module(module)


def put(value: Any) -> Any:
    """A copy on the GPU of an array of NumPy, or of those in a list."""
    return of_tests("on_device").put(value)


def get(value: Any) -> Any:
    """A copy on the host."""
    return of_tests("on_device").get(value)


def dtype_of(name: str) -> np.dtype[Any]:
    from lstmfast.cuda.runtime.array import BFLOAT16

    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


def healthy() -> bool:
    """Does the GPU still answer this process?"""
    try:
        from lstmfast.cuda.runtime import device

        device.synchronize(device.default_stream())
    except Exception:
        return False
    return True


def lstm_forward(*arrays: Any, **options: Any) -> Any:
    from lstmfast.cuda.ops import lstm

    return lstm.lstm_forward(*arrays, **options)


def lstm_backward(*arrays: Any, **options: Any) -> Any:
    from lstmfast.cuda.ops import lstm

    return lstm.lstm_backward(*arrays, **options)


def operation(name: str) -> Callable[..., Any]:
    """A function of `lstmfast.ops`, which takes arrays on the GPU as well."""
    from lstmfast import ops

    return getattr(ops, name)


def model(layers: list[Any], device: str, precision: str | None = None, seed: int = 0) -> Any:
    """A Model for this device; precision: of its products of matrices, None: float32."""
    from lstmfast import Model

    on_gpu = {} if device == "cpu" else {"device": device, "precision": precision}
    return Model(layers, seed=seed, **on_gpu)


def event() -> Any:
    """A point in the default stream to take times at: record(), synchronize(), seconds_since()."""
    from lstmfast.cuda.runtime.device import Event

    return Event(timed=True)


# ---------------------------------------------------------------- which path, which kernels


@contextmanager
def on_path(path: str) -> Iterator[None]:
    """Let layers take this path, one of PATHS, whatever they would choose."""
    from lstmfast.cuda.runtime import graphs

    before = graphs.ON
    graphs.ON = path != STEPS
    try:
        with _persistent(path == PERSISTENT):
            yield
    finally:
        graphs.ON = before


@contextmanager
def _persistent(forced: bool) -> Iterator[None]:
    from lstmfast.cuda.lstm import paths

    before = paths.FORCED
    paths.FORCED = forced
    try:
        yield
    finally:
        paths.FORCED = before


@contextmanager
def launches() -> Iterator[dict[str, bool]]:
    """The names of the kernels that are launched meanwhile; True: cooperative, so persistent."""
    from lstmfast.cuda.runtime.kernel import Kernel

    seen: dict[str, bool] = {}
    launch = Kernel.launch

    def noted(self: Any, *given: Any, **how: Any) -> None:
        seen[self.name] = self.cooperative
        launch(self, *given, **how)

    Kernel.launch = noted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Kernel.launch = launch  # type: ignore[method-assign]


@contextmanager
def poisoned() -> Iterator[bool]:
    """Fill new arrays with NaN meanwhile; False where that did not work."""
    from lstmfast.cuda.runtime import array

    before = array.POISON
    array.POISON = POISON
    try:
        yield bool(np.isnan(array.empty(1000, np.float32).copy_to_host()).all())
    finally:
        array.POISON = before

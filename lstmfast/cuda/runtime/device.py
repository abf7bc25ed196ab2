"""The GPU: whether there is one, its streams and events, loading and launching code; CudaError.

cuda.core does the work. Under NUMBA_ENABLE_CUDASIM=1 there is no GPU and no stream: kernels run in
Numba's simulator, memory is the host's.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from . import shipped

__all__ = ["CudaError", "Event", "current", "explain", "memory_info", "simulated"]

OLDEST = (8, 0)  # the compute capability that kernels need: bfloat16, TF32, cp.async
INSTALL = "pip install 'lstmfast[cuda]'"
NEEDED = {"ml_dtypes": "ml_dtypes", "cuda.bindings": "cuda-bindings", "cuda.core": "cuda-core"}
COMPILER = {"numba": "numba", "numba_cuda": "numba-cuda"}  # where kernels are not shipped
LIBRARIES = ("cublas", "nvvm", "nvJitLink")  # the first always, the others to compile


class CudaError(RuntimeError):
    """The GPU, its driver or a library of it failed; the text says which call and why."""


SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")  # as Numba reads it


def simulated() -> bool:
    """Do kernels run in Numba's simulator?"""
    return SIMULATED


# Whether there is one.


@lru_cache(None)
def explain() -> str | None:
    """Why nothing can run on a GPU here; None if it can."""
    compiles = shipped.file() is None
    reason = _no_package(NEEDED | COMPILER if compiles else NEEDED)
    if reason is None and not simulated():
        reason = _no_driver() or _no_gpu() or _no_library(LIBRARIES if compiles else LIBRARIES[:1])
    return reason


def require() -> None:
    """Raise ValueError that names `device` unless kernels can run."""
    reason = explain()
    if reason is not None:
        raise ValueError(f"device: expected 'cpu', as CUDA is not available ({reason}), got 'cuda'")


def _no_package(needed: dict[str, str]) -> str | None:
    for module, package in needed.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            absent = isinstance(error, ModuleNotFoundError) and module.startswith(str(error.name))
            trouble = "is not installed" if absent else f"cannot be imported ({error})"
            return f"{package} {trouble}: {INSTALL}"
    return None


def _no_driver() -> str | None:
    from cuda.bindings import __version__, driver

    try:
        status, version = driver.cuDriverGetVersion()
    except RuntimeError:
        return "NVIDIA's driver is not installed"
    wanted = int(__version__.split(".")[0])
    if status != driver.CUresult.CUDA_SUCCESS or version // 1000 < wanted:
        return f"NVIDIA's driver is too old: expected one for CUDA {wanted}, got {version // 1000}"
    (status,) = driver.cuInit(0)
    if status == driver.CUresult.CUDA_ERROR_NO_DEVICE:
        return "there is no NVIDIA GPU, or CUDA_VISIBLE_DEVICES hides it"
    if status != driver.CUresult.CUDA_SUCCESS:
        return f"NVIDIA's driver does not start: {status.name}"
    return None


def _no_gpu() -> str | None:
    try:
        gpu = current()
        found = capability(gpu)
    except CudaError as error:
        return str(error)
    if found < OLDEST:
        wanted, got = (".".join(map(str, version)) for version in (OLDEST, found))
        return f"{gpu.name} is too old: expected compute capability {wanted} or newer, got {got}"
    return None


def _no_library(libraries: tuple[str, ...]) -> str | None:
    from cuda.pathfinder import load_nvidia_dynamic_lib

    for library in libraries:
        try:
            load_nvidia_dynamic_lib(library)
        except Exception:  # it tells every folder where it looked
            return f"{library} of the CUDA toolkit is not installed: {INSTALL}"
    return None


# What it is.


def current() -> Any:
    """Return the GPU of this thread, cuda.core's Device, made current."""
    try:
        gpu = _device_type()()
        gpu.set_current()
    except Exception as error:
        raise_as("the GPU cannot be used", error)
    return gpu


@lru_cache(None)
def _device_type() -> Any:
    from cuda.core import Device

    return Device


def capability(gpu: Any) -> tuple[int, int]:
    """Return its compute capability as kernels are compiled for it."""
    found = gpu.compute_capability
    return found.major, found.minor


def name() -> str:
    """Return the name of this thread's GPU."""
    return "Numba's simulator" if simulated() else current().name


def sm_count() -> int:
    """Return how many multiprocessors it has."""
    return 1 if simulated() else current().properties.multiprocessor_count


def shared_limit() -> int:
    """Return the most bytes of shared memory that a block can ask for."""
    return 48 << 10 if simulated() else current().properties.max_shared_memory_per_block_optin


def supports_cooperative() -> bool:
    """Can blocks of a kernel wait for each other? In the simulator they cannot."""
    return not simulated() and bool(current().properties.cooperative_launch)


def memory_info() -> tuple[int, int]:
    """Return the free bytes of this thread's GPU, and all that it has.

    What cuda.core keeps in its pool for the next arrays counts as taken. The simulator has none.
    """
    if simulated():
        return 0, 0
    from cuda.bindings import driver

    current()
    status, free, total = driver.cuMemGetInfo()
    check(status, "the GPU's free memory")
    return free, total


def ordinal(address: int) -> int:
    """Return the number of the GPU that memory is on; of this thread's if there is none."""
    if address == 0:
        return current().device_id
    from cuda.bindings import driver

    attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    status, found = driver.cuPointerGetAttribute(attribute, address)
    check(status, "where memory is")
    return found


# Streams and events.


_here = threading.local()


@contextmanager
def working_on(stream: Any) -> Iterator[None]:
    """Let NumPy's functions on arrays of the GPU, in this thread, work on a stream."""
    before = working_stream()
    _here.stream = stream
    try:
        yield
    finally:
        _here.stream = before


def working_stream() -> Any:
    """Return the stream of `working_on`; None, the default one, outside of it."""
    return getattr(_here, "stream", None)


def default_stream() -> Any:
    """Return the stream that runs in order with all of the process's ordinary work."""
    return None if SIMULATED else _legacy_stream()


@lru_cache(None)
def _legacy_stream() -> Any:
    from cuda.core import LEGACY_DEFAULT_STREAM

    return LEGACY_DEFAULT_STREAM


def new_stream() -> Any:
    """Return a stream of its own, which does not wait for the default one, nor that for it."""
    if simulated():
        return None
    with errors("a stream cannot be made"):
        return current().create_stream()


def stream_from(handle: int) -> Any:
    """Return another library's stream, given as the address that it tells.

    It must live until all work on it is done, and all arrays made for it are gone.
    """
    if simulated() or handle == 0:
        return default_stream()
    from cuda.core import Stream

    return Stream.from_handle(handle)


def synchronize(stream: Any) -> None:
    """Wait until all work on the stream is done; CudaError for what failed in it."""
    not_captured("waiting for the GPU")
    if not simulated():
        current()  # a thread that has not used the GPU yet has no context to wait in
        with errors("work on the GPU failed"):
            (default_stream() if stream is None else stream).sync()


class Event:
    """A point in the work of a stream: to wait for, and to take the time between two.

    Parameters
    ----------
    timed : bool
        Whether `seconds_since` shall be asked; an event that is not waited for costs less without.
    """

    def __init__(self, timed: bool = False):
        if not simulated():
            from cuda.core import EventOptions

            with errors("an event cannot be made"):
                self.event = current().create_event(EventOptions(timing_enabled=timed))

    def record(self, stream: Any = None) -> None:
        """Let it stand for the work that the stream has got so far."""
        if simulated():
            self.time = time.perf_counter()
        else:
            with errors("an event cannot be recorded"):
                on(stream).record(self.event)

    def hold(self, stream: Any = None) -> None:
        """Let what the stream gets from now on begin after that work."""
        if not simulated():
            with errors("a stream cannot wait"):
                on(stream).wait(self.event)

    def synchronize(self) -> None:
        """Wait here until that work is done."""
        not_captured("waiting for the GPU")
        if not simulated():
            with errors("work on the GPU failed"):
                self.event.sync()

    def seconds_since(self, earlier: Event) -> float:
        """Return the time from an earlier event to this one; both must be done."""
        if simulated():
            return self.time - earlier.time
        with errors("no time was taken"):
            return (self.event - earlier.event) / 1000


# Work that is captured into a graph, see graphs.py.


class _Capture(NamedTuple):
    stream: Any  # takes the work
    target: Any  # will run it


class _Thread(threading.local):
    capture: _Capture | None = None


_THREAD = _Thread()


@contextmanager
def capturing(stream: Any, target: Any) -> Any:
    """While this lasts, this thread's work on `stream` is noted down, to run later on `target`."""
    _THREAD.capture = _Capture(stream, target)
    try:
        yield
    finally:
        _THREAD.capture = None


def captured_for() -> Any:
    """Return the stream that this thread captures work for; None if it does not."""
    return _THREAD.capture and _THREAD.capture.target


def not_captured(what: str) -> None:
    """Raise CudaError if this thread captures: a replay would not do `what` again."""
    if captured_for() is not None:
        raise CudaError(f"{what}: expected no such thing while work is captured into a graph")


def on(stream: Any) -> Any:
    """Return the stream that work given for `stream` (None: the default one) goes to.

    Raises
    ------
    CudaError
        This thread captures, and not on this stream: the work would run now and never again.
    """
    stream = default_stream() if stream is None else stream
    capture = _THREAD.capture
    if capture is not None and stream != capture.stream:
        raise CudaError("stream: expected the one that is captured, got another")
    return stream


LEGACY = 1  # CU_STREAM_LEGACY, the driver's word for the default stream


def handle_of(stream: Any) -> int:
    """Return the driver's word for the stream that work given for `stream` goes to (`on`)."""
    if stream is None and _THREAD.capture is None:
        return LEGACY
    return int(on(stream).handle)


# Code.


def load(code: Any) -> Any:
    """Return the kernel of this machine code, loaded."""
    from cuda.core import ObjectCode

    with errors("a kernel cannot be loaded"):
        return ObjectCode.from_cubin(code.cubin).get_kernel(code.name)


def allow_shared(kernel: Any, size: int) -> None:
    """Let blocks of the kernel have `size` bytes of dynamic shared memory on this thread's GPU."""
    from cuda.bindings import driver

    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (status,) = driver.cuKernelSetAttribute(
        attribute, size, driver.CUkernel(int(kernel.handle)), driver.CUdevice(current().device_id)
    )
    check(status, f"{size} bytes of shared memory")


# Errors.


@contextmanager
def errors(what: str) -> Any:
    """Turn what cuda.core raises into CudaError, and its lack of memory into MemoryError."""
    try:
        yield
    except Exception as error:
        raise_as(what, error)


def raise_as(what: str, error: Exception) -> NoReturn:
    """Raise what cuda.core raised as CudaError, its lack of memory as MemoryError."""
    if isinstance(error, CudaError):
        raise error
    if "OUT_OF_MEMORY" in str(error):
        raise MemoryError(f"{what}: the GPU has too little free memory ({error})") from error
    raise CudaError(f"{what}: {error}") from error


def failed(status: int, what: str) -> NoReturn:
    """Raise what a call of the driver that was made through ctypes returned."""
    from cuda.bindings import driver

    check(driver.CUresult(status), what)
    raise AssertionError(f"{what}: expected a status of failure, got {status}")


def check(status: Any, what: str) -> None:
    """Raise CudaError, or MemoryError, unless a call of the driver succeeded."""
    from cuda.bindings import driver

    if status == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        raise MemoryError(f"{what}: the GPU has too little free memory")
    if status != driver.CUresult.CUDA_SUCCESS:
        raise CudaError(f"{what}: expected CUDA_SUCCESS, got {status.name}")

"""The GPU: whether there is one, its streams, loading and launching code; errors as CudaError.

cuda.core does the work. Under NUMBA_ENABLE_CUDASIM=1 there is no GPU and no stream: kernels run in
Numba's simulator, memory is the host's.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

__all__ = ["CudaError", "current", "explain", "simulated"]


class CudaError(RuntimeError):
    """The GPU, its driver or a library of it failed; the text says which call and why."""


def simulated() -> bool:
    """Do kernels run in Numba's simulator?"""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@lru_cache(None)
def explain() -> str | None:
    """Why nothing can run on a GPU here; None if it can."""
    try:
        import numba.cuda  # noqa: F401
        import numba_cuda  # noqa: F401
    except ImportError:
        return "numba-cuda is not installed: pip install 'lstmfast[cuda]'"
    if simulated():
        return None
    try:
        from cuda.core import Device

        Device().set_current()
    except Exception as error:  # whatever a driver that is not there may raise
        return f"no GPU that CUDA can use: {error}"
    return None


def require() -> None:
    """Raise ValueError that names `device` unless kernels can run."""
    reason = explain()
    if reason is not None:
        raise ValueError(f"device: expected 'cpu', as CUDA is not available ({reason}), got 'cuda'")


def current() -> Any:
    """Return the GPU of this thread, cuda.core's Device, made current."""
    from cuda.core import Device

    with errors("the GPU cannot be used"):
        gpu = Device()
        gpu.set_current()
    return gpu


def capability(gpu: Any) -> tuple[int, int]:
    """Return its compute capability as kernels are compiled for it."""
    found = gpu.compute_capability
    return found.major, found.minor


def default_stream() -> Any:
    """Return the stream that runs in order with all of the process's ordinary work."""
    if simulated():
        return None
    from cuda.core import LEGACY_DEFAULT_STREAM

    return LEGACY_DEFAULT_STREAM


def stream_from(handle: int) -> Any:
    """Return another library's stream, given as the address that it tells."""
    if simulated() or handle == 0:
        return default_stream()
    from cuda.core import Stream

    return Stream.from_handle(handle)


def synchronize(stream: Any) -> None:
    """Wait until all work on the stream is done; CudaError for what failed in it."""
    if stream is not None:
        with errors("work on the GPU failed"):
            stream.sync()


def load(code: Any) -> Any:
    """Return the kernel of this machine code, loaded."""
    from cuda.core import ObjectCode

    with errors("a kernel cannot be loaded"):
        return ObjectCode.from_cubin(code.cubin).get_kernel(code.name)


def allow_shared(kernel: Any, size: int) -> None:
    """Let blocks of the kernel have `size` bytes of dynamic shared memory."""
    from cuda.bindings import driver

    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (status,) = driver.cuKernelSetAttribute(
        attribute, size, driver.CUkernel(int(kernel.handle)), driver.CUdevice(current().device_id)
    )
    if status != driver.CUresult.CUDA_SUCCESS:
        raise CudaError(f"{size} bytes of shared memory: expected CUDA_SUCCESS, got {status.name}")


def launch(
    kernel: Any, stream: Any, blocks: Any, threads: int, shared: int, cooperative: bool,
    arguments: list[Any],
) -> None:  # fmt: skip
    from cuda.core import LaunchConfig, launch

    config = LaunchConfig(
        grid=blocks, block=threads, shmem_size=shared, is_cooperative=cooperative
    )
    with errors("a kernel cannot be launched"):
        launch(stream, config, kernel, *arguments)


@contextmanager
def errors(what: str) -> Any:
    """Turn what cuda.core raises into CudaError, and its lack of memory into MemoryError."""
    try:
        yield
    except CudaError:
        raise
    except Exception as error:
        if "OUT_OF_MEMORY" in str(error):
            raise MemoryError(f"{what}: the GPU has too little free memory ({error})") from error
        raise CudaError(f"{what}: {error}") from error

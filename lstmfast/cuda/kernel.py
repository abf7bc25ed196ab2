"""A kernel: compiled when it is first launched, for the GPU at hand; or run by the simulator."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import cache, device
from .compiler import SIMULATED, Code, compile_ptx, link, types

__all__ = ["Kernel"]

STATIC_LIMIT = 48 * 1024  # bytes of shared memory that a block has without asking for more


@dataclass(eq=False)
class Kernel:
    """A function for the GPU with the types of its arguments.

    Parameters
    ----------
    name : str
        For people: what it is, and in which form.
    function : callable
        Ordinary Python within Numba's bounds, on `arguments`: `pointer(kind)` or scalar types.
    threads : int
        Of a block.
    cooperative : bool
        All blocks must be on the GPU at once, as they wait for each other.
    approximate : bool
        May use the hardware's approximations; never for strict float32 or float64.
    wants : tuple of str
        What its PTX must contain: the instructions that it is written for.
    """

    name: str
    function: Any
    arguments: tuple[Any, ...]
    threads: int
    cooperative: bool = False
    approximate: bool = False
    wants: tuple[str, ...] = ()
    _loaded: dict[int, Any] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def ptx(self, cc: tuple[int, int]) -> str:
        return compile_ptx(self.function, self.arguments, cc, self.threads, self.approximate)

    def code(self, cc: tuple[int, int]) -> Code:
        return cache.code(self, cc, lambda: link(self.ptx(cc), cc))

    def launch(self, stream: Any, blocks: Any, *given: Any, shared: int = 0) -> None:
        """Run on `stream` with this many blocks (an int, or up to three).

        Parameters
        ----------
        given : DeviceArray for each pointer (None: an address that is never read), else numbers.
        shared : bytes of dynamic shared memory of a block.

        Raises
        ------
        CudaError
            The GPU refuses it.
        """
        if len(given) != len(self.arguments):
            raise TypeError(f"{self.name}: expected {len(self.arguments)} arguments")
        if SIMULATED:
            self._simulate(blocks, given, shared)
        else:
            arguments = [_packed(a, kind) for a, kind in zip(given, self.arguments, strict=True)]
            device.launch(
                self._on(device.current(), shared), stream, blocks, self.threads, shared,
                self.cooperative, arguments,
            )  # fmt: skip

    def _on(self, gpu: Any, shared: int) -> Any:
        with self._lock:
            if gpu.device_id not in self._loaded:
                self._loaded[gpu.device_id] = device.load(self.code(device.capability(gpu)))
            kernel = self._loaded[gpu.device_id]
            if shared > STATIC_LIMIT:
                device.allow_shared(kernel, shared)
            return kernel

    def _simulate(self, blocks: Any, given: tuple[Any, ...], shared: int) -> None:
        from numba import cuda
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        arguments = []
        for a, kind in zip(given, self.arguments, strict=True):
            if isinstance(kind, types.CPointer):
                flat = np.empty(0) if a is None else a.flat_memory()
                arguments.append(FakeCUDAArray(flat))
            else:
                arguments.append(_packed(a, kind))
        with np.errstate(over="ignore"):
            cuda.jit(self.function)[blocks, self.threads, 0, shared](*arguments)


def _packed(value: Any, kind: Any) -> Any:
    """An argument as cuda.core passes it on: an address, or a scalar of exactly this type."""
    if isinstance(kind, types.CPointer):
        return 0 if value is None else value.address
    return np.dtype(str(kind)).type(value)

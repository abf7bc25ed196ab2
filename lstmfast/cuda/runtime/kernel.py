"""A kernel: compiled when it is first launched, for the GPU at hand; or run by the simulator."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, wraps
from typing import Any, NamedTuple, TypeVar

import numpy as np

from . import cache, device, driver, shipped
from .compiler import SIMULATED, compile_ptx, link, types
from .shipped import Code

__all__ = ["Kernel", "kernel_maker"]

F = TypeVar("F", bound=Callable[..., Any])

STATIC_LIMIT = 48 * 1024  # bytes of shared memory that a block has without asking for more


class _Loaded(NamedTuple):
    """A kernel on a GPU."""

    kernel: Any  # keeps it there
    handle: int
    shared: int  # bytes that a block may ask for


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
    recipe : str
        The call of a `kernel_maker` that makes it: the same in every process and on every machine.
    """

    name: str
    function: Any
    arguments: tuple[Any, ...]
    threads: int
    cooperative: bool = False
    approximate: bool = False
    wants: tuple[str, ...] = ()
    recipe: str = ""
    _loaded: dict[int, _Loaded] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def ptx(self, cc: tuple[int, int]) -> str:
        return compile_ptx(self.function, self.arguments, cc, self.threads, self.approximate)

    def code(self, cc: tuple[int, int]) -> Code:
        """Machine code for a GPU: as shipped, as kept on disk, or compiled now."""
        found = shipped.code(self.recipe, cc)
        return found or cache.code(self, cc, lambda: link(self.ptx(cc), cc))

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
            handle = self._on(device.current(), shared)
            arguments = self._room.write(given)
            driver.launch(handle, stream, blocks, self.threads, shared, self.cooperative, arguments)

    def _on(self, gpu: Any, shared: int) -> int:
        """The kernel's handle on a GPU, whose blocks may have so much shared memory."""
        loaded = self._loaded.get(gpu.device_id)
        if loaded is None or shared > loaded.shared:
            loaded = self._load(gpu, shared)
        return loaded.handle

    def _load(self, gpu: Any, shared: int) -> _Loaded:
        with self._lock:
            earlier = self._loaded.get(gpu.device_id)
            kernel = earlier.kernel if earlier else device.load(self.code(device.capability(gpu)))
            if shared > STATIC_LIMIT:
                device.allow_shared(kernel, shared)
            loaded = _Loaded(kernel, int(kernel.handle), max(shared, STATIC_LIMIT))
            self._loaded[gpu.device_id] = loaded
            return loaded

    @cached_property
    def _room(self) -> driver.Arguments:
        return driver.Arguments(
            tuple(None if isinstance(k, types.CPointer) else str(k) for k in self.arguments)
        )

    def _simulate(self, blocks: Any, given: tuple[Any, ...], shared: int) -> None:
        from numba import cuda
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        arguments = []
        for a, kind in zip(given, self.arguments, strict=True):
            if isinstance(kind, types.CPointer):
                flat = np.empty(0) if a is None else a.flat_memory()
                arguments.append(FakeCUDAArray(flat))
            else:
                arguments.append(np.dtype(str(kind)).type(a))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what a GPU does without a word
            cuda.jit(self.function)[blocks, self.threads, 0, shared](*arguments)


def kernel_maker(make: F) -> F:
    """Let a function that makes kernels keep them, and write into each how it was made.

    It is called with hashable values whose `repr` says all that they are.
    """
    parameters = inspect.signature(make)

    @lru_cache(None)
    @wraps(make)
    def made(*given: Any, **named: Any) -> Any:
        kernel = make(*given, **named)
        bound = parameters.bind(*given, **named)
        bound.apply_defaults()
        kernel.recipe = f"{make.__module__}.{make.__qualname__}{bound.args!r}"
        return kernel

    return made  # type: ignore[return-value]

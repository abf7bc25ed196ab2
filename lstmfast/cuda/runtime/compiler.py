"""The one module that knows numba-cuda: kernels in Python to PTX, and PTX to machine code.

Neither step needs a GPU. What runs is what was compiled here: kernels are launched by cuda.core,
not by Numba, so that an offline build and one on the machine give the same bytes.

numba-cuda is pinned to one minor version; its successor will need changes here and in
`kernels/ptx.py` alone.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import config, types

from .shipped import Code

SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]

if not hasattr(np, "row_stack"):
    np.row_stack = np.vstack  # type: ignore[attr-defined]  # NumPy 2.5 has it no more

_COMPILING = threading.RLock()  # what `_as_if_on` changes is the whole process's

__all__ = ["SIMULATED", "Code", "compile_ptx", "link", "pointer", "types"]


def pointer(kind: Any) -> Any:
    """The type of a kernel's argument that is indexed: the address of numbers of this kind."""
    return types.CPointer(kind)


def compile_ptx(
    function: Any, arguments: tuple[Any, ...], cc: tuple[int, int], threads: int, approximate: bool
) -> str:
    """Return the PTX of a kernel for a GPU of compute capability `cc`.

    Parameters
    ----------
    function : what the kernel does; it takes `arguments`, types of Numba.
    threads : the most that a block will have.
    approximate : let the compiler use the hardware's approximations (division, exp, flush to zero).
    """
    from numba import cuda

    with _COMPILING, _as_if_on(cc):
        ptx, _ = cuda.compile(
            function,
            types.void(*arguments),
            device=False,
            fastmath=approximate,
            cc=cc,
            abi="numba",
            output="ptx",
            launch_bounds=(threads, 1),
        )
    return ptx


def link(ptx: str, cc: tuple[int, int]) -> Code:
    """Return the machine code of the one kernel in `ptx`."""
    from cuda.bindings import nvjitlink

    raw = ptx.encode()
    linker = nvjitlink.create(2, [f"-arch=sm_{cc[0]}{cc[1]}", "-verbose"])
    try:
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, raw, len(raw), "kernel")
        nvjitlink.complete(linker)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(linker))
        nvjitlink.get_linked_cubin(linker, cubin)
        log = bytearray(nvjitlink.get_info_log_size(linker))
        nvjitlink.get_info_log(linker, log)
    finally:
        nvjitlink.destroy(linker)
    return Code(bytes(cubin), _entry(ptx), *_resources(log.decode(errors="replace")))


def _entry(ptx: str) -> str:
    (name,) = re.findall(r"\.visible \.entry (\w+)\(", ptx)
    return name


def _resources(log: str) -> tuple[int, int, int]:
    used = re.search(r"used (\d+) registers.*?(\d+) stack(?:, (\d+) bytes smem)?", log)
    if used is None:
        raise RuntimeError(f"the linker told no resources: {log}")
    registers, stack, shared = (int(number or 0) for number in used.groups())
    return registers, stack, shared


@contextmanager
def _as_if_on(cc: tuple[int, int]) -> Any:
    """Let device functions compile for `cc` whatever GPU there is, or none."""
    from numba.cuda import dispatcher

    current = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=cc)
    try:
        yield
    finally:
        dispatcher.get_current_device = current

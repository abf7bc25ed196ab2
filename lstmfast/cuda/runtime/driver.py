"""The driver's functions that every pass calls, through ctypes.

A step of a small layer takes the GPU less time than a launch by way of Python objects takes the
host; through ctypes it costs about half as much. What is called once in a program goes through
cuda.core and cuda.bindings (`device`). A thread calls `device.current()` first: it then has a GPU
whose functions these are.
"""

from __future__ import annotations

import ctypes
import math
import struct
import sys
import threading
from ctypes import c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p
from functools import lru_cache
from typing import Any

from . import device

__all__ = [
    "Arguments", "copy", "copy_from_host", "copy_to_host", "launch", "memset", "memset_rows",
]  # fmt: skip

FORMATS = {  # of an argument in a slot of eight bytes
    "int8": "b7x", "int32": "i4x", "uint32": "I4x", "int64": "q", "uint64": "Q", "float32": "f4x",
    "float64": "d",
}  # fmt: skip
LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127
GRID = (c_uint,) * 6
SIGNATURES = {
    "cuLaunchKernel": (c_void_p, *GRID, c_uint, c_void_p, c_void_p, c_void_p),
    "cuLaunchCooperativeKernel": (c_void_p, *GRID, c_uint, c_void_p, c_void_p),
    "cuMemsetD8Async": (c_uint64, c_ubyte, c_size_t, c_void_p),
    "cuMemsetD2D8Async": (c_uint64, c_size_t, c_ubyte, c_size_t, c_size_t, c_void_p),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
}


@lru_cache(None)
def library() -> Any:
    """Return the driver with the functions of SIGNATURES, loaded once."""
    functions = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    for name, arguments in SIGNATURES.items():
        function = getattr(functions, name)
        function.argtypes, function.restype = arguments, c_int
    return functions


class Arguments(threading.local):
    """Room for the arguments of a kernel, in each thread, and how values are written into it.

    Parameters
    ----------
    kinds : name of each argument's type; None for a pointer, given as an array or None
    """

    def __init__(self, kinds: tuple[str | None, ...]):
        self.kinds, self.pointers = kinds, [kind is None for kind in kinds]
        self.layout = struct.Struct("=" + "".join(FORMATS[kind or "uint64"] for kind in kinds))
        self.room = ctypes.create_string_buffer(max(self.layout.size, 8))
        first = ctypes.addressof(self.room)
        self.places = (c_void_p * max(len(kinds), 1))(*range(first, first + 8 * len(kinds), 8))

    def write(self, given: tuple[Any, ...]) -> Any:
        """Write values; return the address of their addresses, as a launch wants it."""
        values = [
            (0 if value is None else value.address) if is_pointer else value
            for value, is_pointer in zip(given, self.pointers, strict=True)
        ]
        try:
            self.layout.pack_into(self.room, 0, *values)
        except OverflowError:
            self.layout.pack_into(self.room, 0, *map(_rounded, values, self.kinds))
        return self.places


def _rounded(value: Any, kind: str | None) -> Any:
    """A float beyond those of float32 as what it rounds to there, an infinity."""
    too_large = kind == "float32" and math.isfinite(value) and abs(value) > LARGEST_FLOAT32
    return math.copysign(math.inf, value) if too_large else value


def launch(
    kernel: int, stream: Any, blocks: Any, threads: int, shared: int, cooperative: bool,
    arguments: Any,
) -> None:  # fmt: skip
    """Run a kernel, given by its handle, on this thread's GPU.

    Parameters
    ----------
    blocks : an int, or up to three
    arguments : as `Arguments.write` gives them
    """
    grid = (blocks, 1, 1) if isinstance(blocks, int) else (*blocks, 1, 1)[:3]
    given = kernel, *grid, threads, 1, 1, shared, device.handle_of(stream), arguments
    functions = library()
    if cooperative:
        status = functions.cuLaunchCooperativeKernel(*given)
    else:
        status = functions.cuLaunchKernel(*given, None)
    if status:
        device.failed(status, "a kernel cannot be launched")


def memset(address: int, byte: int, size: int, stream: Any) -> None:
    """Set `size` bytes in the GPU's memory."""
    _call("cuMemsetD8Async", "memset", stream, address, byte, size)


def memset_rows(address: int, down: int, byte: int, width: int, rows: int, stream: Any) -> None:
    """Set `width` bytes of each of some rows, which are `down` bytes apart."""
    _call("cuMemsetD2D8Async", "memset", stream, address, down, byte, width, rows)


def copy(target: int, source: int, size: int, stream: Any) -> None:
    """Copy `size` bytes within the GPU's memory."""
    _call("cuMemcpyDtoDAsync_v2", "copy", stream, target, source, size)


def copy_from_host(target: int, source: int, size: int, stream: Any) -> None:
    """Copy `size` bytes of the host into the GPU's memory."""
    _call("cuMemcpyHtoDAsync_v2", "copy", stream, target, source, size)


def copy_to_host(target: int, source: int, size: int, stream: Any) -> None:
    """Copy `size` bytes of the GPU's memory to the host, which must wait for them."""
    _call("cuMemcpyDtoHAsync_v2", "copy", stream, target, source, size)


def _call(name: str, what: str, stream: Any, *given: int) -> None:
    status = getattr(library(), name)(*given, device.handle_of(stream))
    if status:
        device.failed(status, what)

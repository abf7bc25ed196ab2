"""Python functions of NumPy arrays as operations of XLA, on its own memory (by its FFI).

JAX's pure_callback turns arguments into JAX arrays first; reading these back waits for XLA's
threads, of which the callback holds one: with a single processor, for ever. Here nothing of JAX
runs inside. The structures are those of xla/ffi/api/c_api.h (part of jaxlib), which promises to
change them by new fields at their ends alone while the major version is 0.
"""

from __future__ import annotations

import ctypes
import traceback
from collections.abc import Callable, Sequence
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

import jax
import numpy as np

__all__ = ["call", "register"]

MAJOR = 0  # version of the interface
EXECUTE = 3  # the stage in which a handler works
METADATA = 1  # the type of the extension that asks for a handler's version
INTERNAL = 13  # the code of an error
TEXT = "text"  # the attribute that a function takes before its arrays
DTYPES = {1: np.dtype(bool), 6: np.dtype(np.uint8), 11: np.dtype(np.float32),
          12: np.dtype(np.float64)}  # fmt: skip

Function = Callable[..., Sequence[np.ndarray[Any, Any]]]


def _fields(*own: tuple[str, Any]) -> list[tuple[str, Any]]:
    """The fields of a structure: each begins with its size and a list of extensions."""
    return [("struct_size", c_size_t), ("extension_start", c_void_p), *own]


class _Version(Structure):
    _fields_ = _fields(("major", c_int), ("minor", c_int))


class _Api(Structure):
    _fields_ = _fields(("version", _Version), ("internal", c_void_p), ("create_error", c_void_p))


class _ErrorArguments(Structure):
    _fields_ = _fields(("message", c_char_p), ("code", c_int))


class _Metadata(Structure):
    _fields_ = [("struct_size", c_size_t), ("version", _Version), ("traits", c_uint32)]


class _Extension(Structure):
    _fields_ = [("struct_size", c_size_t), ("type", c_int), ("next", c_void_p),
                ("metadata", POINTER(_Metadata))]  # fmt: skip


class _Buffer(Structure):
    _fields_ = _fields(("dtype", c_int), ("data", c_void_p), ("rank", c_int64),
                       ("dims", POINTER(c_int64)))  # fmt: skip


class _Buffers(Structure):
    """Arguments, or results."""

    _fields_ = _fields(("size", c_int64), ("types", c_void_p), ("items", POINTER(POINTER(_Buffer))))


class _Text(Structure):
    _fields_ = [("start", c_void_p), ("size", c_size_t)]


class _Attributes(Structure):
    _fields_ = _fields(("size", c_int64), ("types", c_void_p), ("names", c_void_p),
                       ("items", POINTER(POINTER(_Text))))  # fmt: skip


class _Frame(Structure):
    _fields_ = _fields(("api", POINTER(_Api)), ("context", c_void_p), ("stage", c_int),
                       ("arguments", _Buffers), ("results", _Buffers),
                       ("attributes", _Attributes))  # fmt: skip


_Handler = ctypes.CFUNCTYPE(c_void_p, POINTER(_Frame))
_CreateError = ctypes.CFUNCTYPE(c_void_p, POINTER(_ErrorArguments))
_handlers: list[Any] = []  # which XLA may call as long as the process lives


def register(name: str, function: Function) -> None:
    """Make `function(text, *arrays)` the operation `name` of XLA on the CPU.

    It is given arrays that are not to be written, nor kept after it returns, and gives arrays of
    the shapes and dtypes that `call` told, or a number of the dtype that fills one.
    """

    def handle(frame: Any) -> int | None:
        frame = frame.contents
        try:
            if frame.extension_start:
                _tell_version(frame)
            elif frame.stage == EXECUTE:
                _execute(function, frame)
        except Exception:
            return _error(frame, f"{name}: {traceback.format_exc()}")
        return None

    handler = _Handler(handle)
    _handlers.append(handler)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")


def call(
    name: str, shapes: Sequence[jax.ShapeDtypeStruct], text: str, *arrays: Any
) -> tuple[Any, ...]:
    """Return what the operation `name` gives, in a jit or out of it; vmap calls it row by row."""
    operation = jax.ffi.ffi_call(name, shapes, vmap_method="sequential")
    return tuple(operation(*arrays, **{TEXT: text}))


def _tell_version(frame: Any) -> None:
    """Answer that this was written for the version that asks, if only the minor one is newer."""
    extension = _Extension.from_address(frame.extension_start)
    version = frame.api.contents.version
    if extension.type == METADATA:
        answer = extension.metadata.contents.version
        answer.major, answer.minor = MAJOR, version.minor


def _execute(function: Function, frame: Any) -> None:
    attribute = frame.attributes.items[0].contents
    text = ctypes.string_at(attribute.start, attribute.size).decode()
    arrays = _arrays(frame.arguments)
    for array in arrays:
        array.flags.writeable = False
    for room, found in zip(_arrays(frame.results), function(text, *arrays), strict=True):
        np.copyto(room, found, casting="no")


def _arrays(buffers: _Buffers) -> list[np.ndarray[Any, Any]]:
    """NumPy's view of XLA's memory: dense, the last axis contiguous."""
    found = []
    for n in range(buffers.size):
        buffer = buffers.items[n].contents
        shape, dtype = buffer.dims[: buffer.rank], DTYPES[buffer.dtype]
        size = dtype.itemsize * int(np.prod(shape))
        memory = (ctypes.c_char * size).from_address(buffer.data)
        found.append(np.ndarray(shape, dtype, memoryview(memory)))
    return found


def _error(frame: Any, message: str) -> int | None:
    create = _CreateError(frame.api.contents.create_error)
    arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message.encode(), INTERNAL)
    found: int | None = create(ctypes.byref(arguments))
    return found

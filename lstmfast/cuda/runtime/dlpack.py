"""DLPack: a DeviceArray as the capsule that other libraries take, without a copy.

The structures are those of dlpack.h before 1.0, which all libraries read. Made by hand, as they can
then be tried without a GPU: in the simulator an array is in the host's memory, and says so.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p
from typing import Any

__all__ = ["CPU", "CUDA", "CUDA_MANAGED", "capsule", "sweep"]

CPU, CUDA, CUDA_MANAGED = 1, 2, 13  # DLDeviceType
CODES = {"i": 0, "u": 1, "f": 2, "V": 4, "b": 6}  # by NumPy's kind; V: bfloat16
NAME = b"dltensor"  # "used_dltensor" once somebody has taken it
HELD_HERE = 2  # references to a capsule: that of `_given`, and the argument that asks

_Deleter = ctypes.CFUNCTYPE(None, c_void_p)


class _Device(ctypes.Structure):
    _fields_ = (("kind", c_int32), ("index", c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p), ("device", _Device), ("ndim", c_int32), ("dtype", _DataType),
        ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)), ("byte_offset", c_uint64),
    )  # fmt: skip


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", c_void_p), ("deleter", _Deleter))


_given: dict[
    int, Any
] = {}  # by address: what must live until its deleter is called; last, the capsule


@_Deleter
def _delete(address: int) -> None:
    _given.pop(address, None)


def _python_api(name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_new = _python_api("PyCapsule_New", ctypes.py_object, c_void_p, c_char_p, c_void_p)
_is_valid = _python_api("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, c_char_p)


def sweep() -> None:
    """Let go of what is in capsules that nobody has taken and nobody holds any more.

    Not the capsules' destructor: who refuses one drops it while an exception is set, and then no
    Python may run.
    """
    for at, given in list(_given.items()):
        if sys.getrefcount(given[-1]) == HELD_HERE and _is_valid(given[-1], NAME):
            _delete(at)


def capsule(array: Any, device: tuple[int, int]) -> Any:
    """Return a capsule of an array, which lives until whoever takes it is done with it.

    If nobody takes it, it lives until the next call (`sweep`).

    Parameters
    ----------
    array : DeviceArray
    device : its DLDeviceType and the index among such devices
    """
    sweep()
    axes = c_int64 * array.ndim
    shape = axes(*array.shape)
    strides = axes(*(stride // array.itemsize for stride in array.strides))
    dtype = _DataType(CODES[array.dtype.kind], 8 * array.itemsize, 1)
    address = array.address if array.size else None
    tensor = _Tensor(address, _Device(*device), array.ndim, dtype, shape, strides, 0)
    managed = _Managed(tensor, None, _delete)
    at = ctypes.addressof(managed)
    made = _new(at, NAME, None)
    _given[at] = managed, shape, strides, array, made
    return made

"""Where arrays are: on the host, NumPy's, or in a GPU's memory.

What is told apart here is all that layers, losses and optimizers need to know of it: arithmetic
goes through `ops`, which runs where its arrays are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from .. import capi
from ..arguments import Array, choice

__all__ = [
    "DEVICES",
    "assign",
    "assign_all",
    "check_device",
    "is_own",
    "library_of",
    "on_device",
    "to_device",
    "to_host",
]

DEVICES = ("cpu", "cuda")
OWN = "lstmfast.cuda."  # where our classes of arrays in a GPU's memory and of caches are
LIBRARIES = ("torch", "cupy", "jax", "tensorflow")  # those whose arrays are known by name
DLPACK_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged


def is_own(value: Any) -> bool:
    """Is this an array or a cache of `lstmfast.cuda`?"""
    return type(value) is not np.ndarray and type(value).__module__.startswith(OWN)


def on_device(value: Any) -> bool:
    """Does `value`, or the first of a sequence, lie in a GPU's memory, whosesoever array it is?"""
    if isinstance(value, np.ndarray) or value is None:
        return False
    if isinstance(value, (list, tuple)):
        return bool(value) and on_device(value[0])
    if is_own(value):
        return True
    if library_of(value) == "torch":  # whose tensors refuse protocols while they need gradients
        return bool(getattr(value, "is_cuda", False))
    place = _dlpack_device(value)
    if place is not None:
        return place in DLPACK_CUDA
    return getattr(value, "__cuda_array_interface__", None) is not None


def library_of(value: Any) -> str:
    """Return one of LIBRARIES if the type, or a base of it, is of that; else ""."""
    kind: Any = type(value)
    return _home(kind)


@lru_cache(1024)
def _home(kind: Any) -> str:
    homes = {base.__module__.split(".")[0].removesuffix("lib") for base in kind.__mro__}
    return next((library for library in LIBRARIES if library in homes), "")


def _dlpack_device(value: Any) -> int | None:
    """Return the DLDeviceType of what has one."""
    ask = getattr(value, "__dlpack_device__", None)
    try:
        return None if ask is None else int(ask()[0])
    except Exception:  # an array of JAX in many places has none
        return None


def check_device(device: Any) -> str:
    """Return `device`; ValueError unless it is "cpu", or "cuda" and there is one."""
    if choice("device", device, DEVICES) == "cuda":
        import_module("lstmfast.cuda.runtime.device").require()
    return str(device)


def to_host(array: Any) -> Array:
    """Return the array itself if it is NumPy's, else a copy; waits for what is still computed."""
    return array.copy_to_host() if is_own(array) else array


def to_device(array: Any, device: str) -> Any:
    """Return the array on "cpu" or "cuda": itself if it is there, else a copy."""
    if device == "cpu":
        return to_host(array)
    if is_own(array):
        return array
    import_module("lstmfast.cuda.runtime.numeric")  # which gives arrays their arithmetic
    return import_module("lstmfast.cuda.runtime.array").from_host(array)


def assign(target: Any, values: Array) -> None:
    """target[...] = values, for values on the host and a target of any place, contiguous there."""
    if is_own(target):
        values = np.ascontiguousarray(values, target.dtype)
        import_module("lstmfast.cuda.runtime.array").to_device(target, values)
    else:
        target[...] = values


def assign_all(targets: Sequence[Any], values: Sequence[Array]) -> None:
    """`assign` each of the values, all of them or, if an exception comes between, none.

    (On a GPU one after another.)
    """
    if any(is_own(target) for target in targets):
        for target, value in zip(targets, values, strict=True):
            assign(target, value)
        return
    sources = [
        np.ascontiguousarray(np.broadcast_to(value, target.shape), target.dtype)
        for target, value in zip(targets, values, strict=True)
    ]
    capi.copy_all(list(targets), sources)

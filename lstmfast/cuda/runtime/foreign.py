"""Arrays of other libraries on the GPU, in and out without a copy: PyTorch, CuPy, JAX, any other.

PyTorch's tensors are read by their own attributes, as they refuse the protocols while they require
a gradient. JAX's come by DLPack, which waits for them. Others offer __cuda_array_interface__
(version 3), else DLPack. A library is never imported: an array of it shows that it is there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ops.placement import library_of
from . import array, device, numeric  # noqa: F401  # it gives arrays their arithmetic
from .array import BFLOAT16, DeviceArray

__all__ = ["Kind", "adopt", "adopt_in_order", "like", "stream_of"]


def adopt(x: Any, name: str = "array", stream: Any = None) -> DeviceArray:
    """Return a DeviceArray that shares the memory of `x` and keeps it alive.

    Parameters
    ----------
    x : an array for which `placement.on_device` holds
    name : what errors call it
    stream : where it will be used (None: the default one): work there begins after a JAX array is
        ready. Of other libraries' arrays it must be the `stream_of` one of them.

    Raises
    ------
    ValueError
        It is on another GPU than the current one, or of a dtype or layout that has no place here.
    """
    if isinstance(x, DeviceArray):
        return x
    library = library_of(x)
    if library == "torch":
        found = _from_torch(x, name)
    elif library != "jax" and getattr(x, "__cuda_array_interface__", None) is not None:
        found = _from_interface(x, name)
    else:
        found = _from_dlpack(x, name, stream)
    _check_place(found, name)
    return found


def adopt_in_order(x: Any, name: str) -> DeviceArray:
    """`adopt` for work on the default stream, which then waits for the stream of `x`'s library."""
    found = adopt(x, name)
    if not isinstance(x, DeviceArray) and not device.simulated():
        made_on = stream_of(x)
        if made_on != device.default_stream():
            made = device.Event()
            made.record(made_on)
            made.hold(device.default_stream())
    return found


def stream_of(x: Any) -> Any:
    """Return the stream on which the caller works with `x`; None in the simulator."""
    library = library_of(x)
    if library == "torch":
        current = sys.modules["torch"].cuda.current_stream(x.device).cuda_stream
        return device.stream_from(current)
    if library == "cupy":
        return device.stream_from(sys.modules["cupy"].cuda.get_current_stream().ptr)
    if library == "jax" or isinstance(x, DeviceArray):
        return device.default_stream()
    interface = getattr(x, "__cuda_array_interface__", None) or {}
    return device.stream_from(interface.get("stream") or 0)


class Kind:
    """Makes results of the caller's kind: here arrays of our own.

    `empty` allocates what kernels write, `give` turns it into what the caller gets.
    """

    def __init__(self, x: Any, stream: Any):
        self.x, self.stream = x, stream

    def empty(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        return array.empty(shape, dtype, self.stream)

    def give(self, made: DeviceArray) -> Any:
        return made


class _Torch(Kind):
    def empty(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        torch = sys.modules["torch"]
        device.not_captured(f"memory for an array {tuple(shape)}")
        kind = getattr(torch, np.dtype(dtype).name)
        return _from_torch(torch.empty(tuple(shape), dtype=kind, device=self.x.device), "out")

    def give(self, made: DeviceArray) -> Any:
        tensor = made.memory
        if library_of(tensor) != "torch":
            return sys.modules["torch"].from_dlpack(made)
        start = tensor.storage_offset() + (made.address - tensor.data_ptr()) // made.itemsize
        steps = [stride // made.itemsize for stride in made.strides]
        return tensor.detach().as_strided(made.shape, steps, start)


class _Cupy(Kind):
    def empty(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        device.not_captured(f"memory for an array {tuple(shape)}")
        return _from_interface(sys.modules["cupy"].empty(tuple(shape), dtype), "out")

    def give(self, made: DeviceArray) -> Any:
        cupy, memory = sys.modules["cupy"], made.memory
        if library_of(memory) != "cupy":
            return cupy.asarray(made)
        start = memory.data + (made.address - memory.data.ptr)
        return cupy.ndarray(made.shape, made.dtype, start, made.strides)


class _Jax(Kind):
    def give(self, made: DeviceArray) -> Any:
        """Return it when all work is done: JAX asks for no stream before it uses memory again."""
        from jax import dlpack as jax_dlpack

        device.synchronize(self.stream)
        return jax_dlpack.from_dlpack(made)


def like(x: Any, stream: Any = None) -> Kind:
    """Return what makes results of the kind of `x`, on its GPU, for work on `stream`."""
    kinds = {"torch": _Torch, "cupy": _Cupy, "jax": _Jax}
    return kinds.get(library_of(x), Kind)(x, stream)


def _check_place(found: DeviceArray, name: str) -> None:
    if device.simulated() or not found.size:
        return
    expected, got = device.current().device_id, device.ordinal(found.address)
    if got != expected:
        raise ValueError(f"{name}: expected an array on GPU {expected}, got one on GPU {got}")


def _from_torch(x: Any, name: str) -> DeviceArray:
    torch = sys.modules["torch"]
    if x.layout != torch.strided:
        raise ValueError(f"{name}: expected a strided tensor, got {x.layout}")
    dtype = _dtype(str(x.dtype).removeprefix("torch."), name)
    strides = [step * dtype.itemsize for step in x.stride()]
    return _shared(x, x.data_ptr(), x.shape, dtype, strides, name)


def _from_interface(x: Any, name: str) -> DeviceArray:
    seen = x.__cuda_array_interface__
    if seen.get("mask") is not None:
        raise ValueError(f"{name}: expected an array without a mask, got one with it")
    dtype = BFLOAT16 if seen["typestr"] == "<V2" else _dtype(seen["typestr"], name)
    return _shared(x, seen["data"][0], seen["shape"], dtype, seen.get("strides"), name)


def _from_dlpack(x: Any, name: str, stream: Any) -> DeviceArray:
    from cuda.core.utils import StridedMemoryView

    handle = 1 if device.simulated() else int(device.on(stream).handle)
    try:
        view = StridedMemoryView.from_dlpack(x, stream_ptr=handle)
        dtype = _dtype(view.dtype, name)
    except (BufferError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(f"{name}: expected an array that can be shared: {error}") from error
    strides = view.strides and [step * dtype.itemsize for step in view.strides]
    return _shared(view, view.ptr, view.shape, dtype, strides, name)


def _dtype(found: Any, name: str) -> np.dtype[Any]:
    """Return the dtype that another library means; numbers and bools in this machine's order."""
    try:
        dtype = BFLOAT16 if found == "bfloat16" else np.dtype(found)
    except TypeError:
        dtype = None
    if dtype != BFLOAT16 and (dtype is None or dtype.kind not in "biuf" or not dtype.isnative):
        raise ValueError(f"{name}: expected numbers, got dtype {found}")
    return dtype


def _shared(
    owner: Any, address: int, shape: Sequence[int], dtype: Any, strides: Any, name: str
) -> DeviceArray:
    if strides is not None and any(stride < 0 for stride in strides):
        raise ValueError(f"{name}: expected strides from 0 on, got {tuple(strides)} of bytes")
    if address % dtype.itemsize or any(stride % dtype.itemsize for stride in strides or ()):
        found_at = f"address {address}, strides {strides}"
        raise ValueError(f"{name}: expected elements of {dtype} that are aligned, got {found_at}")
    found = DeviceArray(owner, int(address), [int(n) for n in shape], dtype, strides)
    if device.simulated():
        steps = zip(found.shape, found.strides, strict=True)
        span = sum((length - 1) * stride for length, stride in steps) + found.itemsize
        found.memory = array.host_memory(found.address, span if found.size else 0, owner)
    return found

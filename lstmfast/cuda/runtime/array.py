"""Arrays in the GPU's memory."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..kernels.numbers import BFLOAT16
from . import device, dlpack, driver
from .memory import allocate

__all__ = ["BFLOAT16", "DeviceArray", "copy", "empty", "from_host", "zeros"]


class DeviceArray(NDArrayOperatorsMixin):
    """An array of any strides in the GPU's memory: shape, dtype, views, and copies to the host.

    It offers `__cuda_array_interface__` and DLPack, so that torch, CuPy and JAX take it without a
    copy. Arithmetic is what `lstmfast.ops` has, and operators and functions of NumPy as far as
    `numeric` knows them: `a + 1`, `np.where(a > 0, a, 0)`.

    Parameters
    ----------
    memory : what holds the memory; kept alive as long as the array
    address : int
        Of the first element.
    shape : tuple of int
    dtype : numpy.dtype
        bfloat16 is that of ml_dtypes.
    strides : tuple of int, optional
        In bytes; None: C-contiguous.
    """

    __hash__ = object.__hash__  # type: ignore[assignment]  # of the object; == is of elements

    def __init__(
        self, memory: Any, address: int, shape: Sequence[int], dtype: Any,
        strides: Sequence[int] | None = None,
    ):  # fmt: skip
        self.memory, self.address = memory, address
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.itemsize: int = self.dtype.itemsize
        self.strides = contiguous(self.shape, self.itemsize) if strides is None else tuple(strides)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Do the elements lie side by side in C order?"""
        step = self.itemsize
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length > 1 and stride != step:
                return self.size == 0
            step *= length
        return True

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"

    def reshape(self, *shape: Any) -> DeviceArray:
        """Return a view of another shape, one of its sizes -1; of strided elements a copy."""
        sizes = list(shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape)
        if -1 in sizes:
            known = math.prod(size for size in sizes if size != -1)
            sizes[sizes.index(-1)] = self.size // known if known else 0
        if math.prod(sizes) != self.size:
            raise ValueError(f"shape: expected one of {self.size} elements, got {sizes}")
        dense = self if self.is_contiguous else copy(self)
        return DeviceArray(dense.memory, dense.address, sizes, dense.dtype)

    def __getitem__(self, index: Any) -> DeviceArray:
        """Return a view: ints, None, slices of positive step and ... as NumPy takes them."""
        if type(index) is int and self.shape and 0 <= index < self.shape[0]:  # a step, a part
            start = self.address + index * self.strides[0]
            return DeviceArray(self.memory, start, self.shape[1:], self.dtype, self.strides[1:])
        parts = index if isinstance(index, tuple) else (index,)
        view = self._layout()[parts if any(one is ... for one in parts) else (*parts, ...)]
        if any(stride < 0 for stride in view.strides):
            raise ValueError(f"index: expected slices of positive step, got {index!r}")
        offset = view.__array_interface__["data"][0] - LAYOUT_AT
        return DeviceArray(self.memory, self.address + offset, view.shape, self.dtype, view.strides)

    def __setitem__(self, index: Any, values: Any) -> None:
        """Set the elements of a view to others, which broadcast."""
        view = self[index]
        there = (view.address, view.strides)
        if not isinstance(values, DeviceArray) or (values.address, values.strides) != there:
            _copyto(view, values)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        return PROTOCOLS["ufunc"](ufunc, method, inputs, keywords)

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        return PROTOCOLS["function"](function, arguments, keywords)

    def transpose(self, *axes: Any) -> DeviceArray:
        """Return a view with the axes in this order."""
        view = self._layout().transpose(*axes)
        return DeviceArray(self.memory, self.address, view.shape, self.dtype, view.strides)

    def windows(self, shape: Sequence[int], strides: Sequence[int]) -> DeviceArray:
        """Return a view of the same memory with other sizes and strides, in bytes."""
        return DeviceArray(self.memory, self.address, shape, self.dtype, strides)

    def _layout(self) -> np.ndarray[Any, Any]:
        """An array of NumPy of this shape and strides, whose elements must not be touched."""
        return np.asarray(_Layout(self.shape, self.strides, self.itemsize))

    def __deepcopy__(self, memo: Any) -> DeviceArray:
        return self.copy()

    def __reduce__(self) -> Any:
        """Pickled are the elements; they come back into a GPU's memory."""
        return from_host, (self.copy_to_host(),)

    def astype(self, dtype: Any, stream: Any = None, copy: bool = True) -> DeviceArray:
        """Return a contiguous copy, cast to a dtype of floats, int8, int32 or int64.

        Without `copy` an array of this dtype is returned itself.
        """
        from ..kernels.copying import copy_into
        from ..kernels.numbers import BY_NAME

        dtype = np.dtype(dtype)
        if not copy and dtype == self.dtype:
            return self
        if self.dtype == np.bool_:
            made = empty(self.shape, dtype, stream)
            with device.working_on(stream):
                _copyto(made, self)
            return made
        for given in (self.dtype, dtype):
            if given.name not in BY_NAME:
                raise ValueError(f"dtype: expected one of {', '.join(BY_NAME)}, got {given}")
        made = empty(self.shape, dtype, stream)
        copy_into(made, self, stream)
        return made

    def copy_from_host(self, values: Any, stream: Any = None) -> None:
        """Set the elements to those of an array of NumPy of the same shape and dtype."""
        values = np.asarray(values)
        if values.shape != self.shape or values.dtype != self.dtype:
            raise ValueError(
                f"values: expected {self.shape} of {self.dtype}, got {values.shape} of "
                f"{values.dtype}"
            )
        if self.is_contiguous:
            to_device(self, np.ascontiguousarray(values), stream)
        else:
            from ..kernels.copying import copy_into

            copy_into(self, from_host(values, stream), stream)

    def copy_to_host(self, stream: Any = None) -> np.ndarray[Any, Any]:
        """Return the elements as an array of NumPy, after all work of `stream` (the default)."""
        dense = self if self.is_contiguous else copy(self, stream)
        found = np.empty(self.shape, self.dtype)
        if self.size:
            to_host(found, dense, stream)
        return found

    def copy_bytes(self, source: DeviceArray, stream: Any = None) -> None:
        """Set the elements to those of an array of the same shape and dtype; both contiguous."""
        if device.simulated():
            self.flat_memory()[: self.size] = source.flat_memory()[: source.size]
        else:
            device.current()
            driver.copy(self.address, source.address, source.nbytes, stream)

    def copy(self, stream: Any = None) -> DeviceArray:
        """Return a contiguous copy."""
        return copy(self, stream)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        raise TypeError("a DeviceArray is in the GPU's memory: expected .copy_to_host() first")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The array for whoever takes it from the default stream on; version 3."""
        if device.simulated():
            raise AttributeError("an array of the simulator is not on a GPU")
        return {
            "shape": self.shape,
            "typestr": "<V2" if self.dtype == BFLOAT16 else self.dtype.str,
            "data": (self.address if self.size else 0, False),
            "strides": None if self.is_contiguous else self.strides,
            "stream": int(device.default_stream().handle),
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        if device.simulated():
            return dlpack.CPU, 0
        return dlpack.CUDA, device.ordinal(self.address)

    def __dlpack__(
        self, *, stream: int | None = None, max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None, copy: bool | None = None,
    ) -> Any:  # fmt: skip
        """Return the array as a capsule, after all work of the default stream.

        Parameters
        ----------
        stream : address of the stream that waits for that work; -1: none does, None: the default
        max_version : the capsule is of the form before 1.0, as this allows
        dl_device, copy : another device or a copy is refused
        """
        here = self.__dlpack_device__()
        if copy or dl_device not in (None, here):
            raise BufferError(f"expected to share memory on device {here}, got {dl_device}, {copy}")
        if stream not in (None, -1) and not device.simulated():
            work = device.Event()
            work.record()
            work.hold(device.stream_from(stream))
        return dlpack.capsule(self, here)

    def flat_memory(self) -> np.ndarray[Any, Any]:
        """In the simulator: all elements from the first one on, as the memory has them."""
        start = self.address - self.memory.ctypes.data
        room = self.memory[start:]
        stored = np.uint16 if self.dtype == BFLOAT16 else self.dtype
        return room[: len(room) // self.itemsize * self.itemsize].view(stored)

    def in_simulator(self) -> np.ndarray[Any, Any]:
        """In the simulator: the array itself as one of NumPy."""
        start = self.address - self.memory.ctypes.data
        return np.ndarray(self.shape, self.dtype, self.memory, start, self.strides)


_copyto: Any = np.copyto  # which takes arrays of the GPU, too (`PROTOCOLS`)
POISON: int | None = None  # for benches and tests: a byte that new arrays are filled with
PROTOCOLS: dict[str, Any] = {}  # what NumPy's functions do to arrays; `numeric` tells
LAYOUT_AT = 1 << 40  # an address for arithmetic on views, never read


class _Layout:
    """What NumPy takes for an array at LAYOUT_AT."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int):
        self.__array_interface__ = {
            "shape": shape, "strides": strides, "typestr": f"|V{itemsize}",
            "data": (LAYOUT_AT, False), "version": 3,
        }  # fmt: skip


def contiguous(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return the strides of a C-contiguous array."""
    strides, step = [], itemsize
    for length in reversed(shape):
        strides.append(step)
        step *= length or 1
    return tuple(strides[::-1])


def host_memory(address: int, size: int, owner: Any) -> np.ndarray[Any, Any]:
    """Return bytes of the host as an array that keeps their owner alive."""
    block: Any = (ctypes.c_uint8 * size).from_address(address)
    block.owner = owner
    return np.frombuffer(block, np.uint8)


def empty(shape: Sequence[int] | int, dtype: Any, stream: Any = None) -> DeviceArray:
    """Return a new array for work on `stream` (None: the default one), its elements undefined.

    Raises
    ------
    MemoryError
        The GPU has too little free memory.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.dtype(dtype)
    size = max(math.prod(shape) * dtype.itemsize, 16)
    if device.captured_for() is not None:
        device.not_captured(f"{size} bytes for an array {shape}")
    if device.simulated():
        filled = 0xA5 if POISON is None else POISON  # nothing may lean on zeros
        memory: Any = np.full(size + 16, filled, np.uint8)
        return DeviceArray(memory, -(-memory.ctypes.data // 16) * 16, shape, dtype)
    memory = allocate(size, stream)
    if POISON is not None:
        driver.memset(memory.handle, POISON, size, stream)
    return DeviceArray(memory, memory.handle, shape, dtype)


def zeros(shape: Sequence[int] | int, dtype: Any, stream: Any = None) -> DeviceArray:
    """Return a new array of zeros."""
    made = empty(shape, dtype, stream)
    clear(made, stream)
    return made


def clear(array: DeviceArray, stream: Any = None) -> None:
    """Set all elements to zero; a matrix needs contiguous rows, any other must be contiguous."""
    if device.simulated():
        array.in_simulator()[...] = 0
        return
    if not array.size:
        return
    device.current()
    if array.is_contiguous:
        driver.memset(array.address, 0, array.nbytes, stream)
    else:
        (rows, width), (down, _) = array.shape, array.strides
        driver.memset_rows(array.address, down, 0, width * array.itemsize, rows, stream)


def from_host(values: Any, stream: Any = None) -> DeviceArray:
    """Return a copy of an array of NumPy."""
    values = np.asarray(values, order="C")
    made = empty(values.shape, values.dtype, stream)
    to_device(made, values, stream)
    return made


def to_device(array: DeviceArray, values: np.ndarray[Any, Any], stream: Any = None) -> None:
    """Copy contiguous values of the host into a contiguous array of the same dtype."""
    if device.simulated():
        array.flat_memory()[: array.size] = values.reshape(-1).view(array.flat_memory().dtype)
        return
    device.not_captured("a copy from the host")
    if array.size:
        device.current()
        driver.copy_from_host(array.address, values.ctypes.data, array.nbytes, stream)


def to_host(values: np.ndarray[Any, Any], array: DeviceArray, stream: Any = None) -> None:
    """Copy a contiguous array into contiguous memory of the host, and wait for it."""
    if device.simulated():
        values.reshape(-1)[...] = array.flat_memory()[: array.size].view(array.dtype)
        return
    device.not_captured("a copy to the host")
    if array.size:
        device.current()
        driver.copy_to_host(values.ctypes.data, array.address, array.nbytes, stream)
    device.synchronize(stream)


def copy(array: DeviceArray, stream: Any = None) -> DeviceArray:
    """Return a contiguous copy."""
    from ..kernels.copying import copy_into

    made = empty(array.shape, array.dtype, stream)
    if array.ndim > 3 and not array.is_contiguous:
        with device.working_on(stream):
            _copyto(made, array)
    else:
        copy_into(made, array, stream)
    return made

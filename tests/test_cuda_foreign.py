"""Whose array it is, on which stream and GPU, and results of the caller's kind; without a GPU."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("cuda.core")

from lstmfast.cuda.runtime import array, device, dlpack, foreign
from lstmfast.cuda.runtime.array import BFLOAT16, DeviceArray
from lstmfast.ops import placement

VALUES = np.arange(24, dtype=np.float32).reshape(4, 6)
INTERFACE = {
    "shape": (4, 6), "typestr": "<f4", "data": (VALUES.ctypes.data, False), "strides": None,
    "version": 3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def gpu_0(monkeypatch):
    """All memory is on GPU 0, which is the current one."""
    monkeypatch.setattr(device, "current", lambda: SimpleNamespace(device_id=0))
    monkeypatch.setattr(device, "ordinal", lambda address: 0)


def ours(shape=(4, 6), dtype=np.float32, strides=None):
    return DeviceArray(None, 4096, shape, dtype, strides)


class Interface:
    def __init__(self, **other):
        self.__cuda_array_interface__ = INTERFACE | other


class Dlpack:
    """Says that it is on a GPU, and gives NumPy's capsule."""

    def __init__(self, kind=dlpack.CUDA, values=VALUES):
        self.kind, self.values, self.streams = kind, values, []

    def __dlpack_device__(self):
        return self.kind, 0

    def __dlpack__(self, *, stream=None, max_version=None):
        self.streams.append(stream)
        return self.values.__dlpack__()


class Sharded:
    """As an array of JAX on several GPUs."""

    def __dlpack_device__(self):
        raise BufferError("in two places")


@pytest.mark.parametrize(
    ("x", "expected"),
    (
        (VALUES, False), ([1.0], False), (None, False), (3.5, False), (np.float32(1), False),
        (ours(), True), (Interface(), True), (Dlpack(), True), (Dlpack(dlpack.CUDA_MANAGED), True),
        (Dlpack(dlpack.CPU), False), (Dlpack(3), False), (Sharded(), False),
    ),
)  # fmt: skip
def test_on_device(x, expected):
    assert placement.on_device(x) is expected


def test_tensors_of_the_cpu_are_not_device_arrays():
    torch = pytest.importorskip("torch")
    for tensor in (torch.ones(3), torch.ones(3, requires_grad=True), torch.nn.Linear(2, 3).weight):
        assert placement.on_device(tensor) is False


def test_jax_arrays_of_the_cpu_are_not_device_arrays():
    jax = pytest.importorskip("jax")
    assert placement.on_device(jax.numpy.ones(3)) is False


def type_of(library, **members):
    """A class that a library could have."""
    return type("Array", (), {"__module__": f"{library}._core", **members})


def refuses(self):
    raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")


def test_tensors_of_the_gpu_that_require_a_gradient():
    tensor = type_of("torch", is_cuda=True, __cuda_array_interface__=property(refuses))
    derived = type("Mine", (tensor,), {"__module__": "mine"})
    assert placement.on_device(tensor()) and placement.on_device(derived())


@pytest.mark.parametrize("dtype", ("float32", "bfloat16", "float16", "int64"))
def test_torch_in_and_out(dtype):
    torch = pytest.importorskip("torch")
    tensor = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))[1:, ::2]
    if tensor.is_floating_point():
        tensor.requires_grad_(True)
    adopted = foreign.adopt(tensor)
    assert adopted.memory is tensor and adopted.address == tensor.data_ptr()
    assert adopted.shape == (3, 3) and adopted.dtype.name == dtype
    assert adopted.strides == (6 * adopted.itemsize, 2 * adopted.itemsize)

    back = foreign.like(tensor).give(adopted)
    assert back.data_ptr() == tensor.data_ptr() and back.stride() == tensor.stride()
    assert not back.requires_grad

    made = foreign.like(tensor).empty((4, 6), adopted.dtype)
    given = foreign.like(tensor).give(made[1:, ::2].transpose())
    assert given.dtype == tensor.dtype and given.device == tensor.device
    assert given.shape == (3, 3) and given.stride() == (2, 6)
    assert given.data_ptr() == made.address + 6 * made.itemsize
    given.zero_()
    assert not made.memory[1:, ::2].any()


def test_torch_takes_memory_of_ours(monkeypatch):
    tensor = pytest.importorskip("torch").ones(3)
    monkeypatch.setattr(DeviceArray, "__dlpack_device__", lambda self: (dlpack.CPU, 0))
    made = DeviceArray(VALUES, VALUES.ctypes.data, (4, 6), np.float32)
    assert (foreign.like(tensor).give(made).numpy() == VALUES).all()


def test_tensors_that_are_not_strided():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"x: expected a strided tensor, got torch.sparse_coo"):
        foreign.adopt(torch.eye(3).to_sparse(), "x")
    with pytest.raises(ValueError, match="x: expected numbers, got dtype complex64"):
        foreign.adopt(torch.ones(3, dtype=torch.complex64), "x")


def test_stream_of_torch(monkeypatch):
    asked = []

    def current_stream(place):
        asked.append(place)
        return SimpleNamespace(cuda_stream=1234)

    torch = SimpleNamespace(cuda=SimpleNamespace(current_stream=current_stream))
    monkeypatch.setitem(sys.modules, "torch", torch)
    tensor = type_of("torch", device="cuda:0")()
    assert int(foreign.stream_of(tensor).handle) == 1234
    assert asked == ["cuda:0"]


def test_stream_of_others(monkeypatch):
    current = SimpleNamespace(ptr=5678)
    cupy = SimpleNamespace(cuda=SimpleNamespace(get_current_stream=lambda: current))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    default = int(device.default_stream().handle)
    cases = (
        (type_of("cupy")(), 5678), (type_of("jaxlib")(), default), (ours(), default),
        (Interface(stream=77), 77), (Interface(stream=None), default), (Interface(), default),
        (Dlpack(), default),
    )  # fmt: skip
    for x, expected in cases:
        assert int(foreign.stream_of(x).handle) == expected


def test_adopt_by_interface():
    x = Interface(strides=(48, 8), shape=(2, 3))
    adopted = foreign.adopt(x)
    assert adopted.memory is x and adopted.address == VALUES.ctypes.data
    assert adopted.shape == (2, 3) and adopted.strides == (48, 8)
    assert foreign.adopt(Interface()).is_contiguous
    assert foreign.adopt(Interface(typestr="<V2")).dtype == BFLOAT16
    assert foreign.adopt(Interface(shape=(0, 6), data=(0, False))).size == 0


@pytest.mark.parametrize("library", ("jaxlib", "else"))
def test_adopt_by_dlpack(library):
    kind = type("Array", (Dlpack,), {"__module__": library})
    x = kind(values=VALUES[1:, ::2])
    stream = device.stream_from(1234)
    adopted = foreign.adopt(x, stream=stream)
    assert adopted.address == VALUES[1:].ctypes.data
    assert adopted.shape == (3, 3) and adopted.strides == (24, 8)
    assert x.streams == [1234]  # which waits until the array is ready
    foreign.adopt(x)
    assert x.streams[1:] == [int(device.default_stream().handle)]


def test_jax_is_asked_by_dlpack_even_if_it_has_the_interface():
    kind = type("Array", (Dlpack,), {"__module__": "jaxlib", "__cuda_array_interface__": None})
    x = kind()
    x.__cuda_array_interface__ = INTERFACE
    foreign.adopt(x)
    assert len(x.streams) == 1


def test_what_cannot_be_shared():
    with pytest.raises(ValueError, match="x: expected an array that can be shared"):
        foreign.adopt(Sharded(), "x")
    with pytest.raises(ValueError, match="x: expected numbers, got dtype complex64"):
        foreign.adopt(Dlpack(values=VALUES.astype(np.complex64)), "x")


def test_another_gpu(monkeypatch):
    monkeypatch.setattr(device, "ordinal", lambda address: 3)
    with pytest.raises(ValueError, match="x: expected an array on GPU 0, got one on GPU 3"):
        foreign.adopt(Interface(), "x")


class Pointer:
    """As a MemoryPointer of CuPy."""

    def __init__(self, ptr):
        self.ptr = ptr

    def __add__(self, offset):
        return Pointer(self.ptr + offset)


def fake_cupy():
    """What of CuPy is used, on memory of the host."""

    def __init__(self, shape, dtype, memptr=None, strides=None):
        self.room = np.empty(shape, dtype)
        self.data = memptr or Pointer(self.room.ctypes.data)
        self.shape, self.strides = shape, strides
        self.__cuda_array_interface__ = INTERFACE | {
            "shape": shape, "typestr": np.dtype(dtype).str, "data": (self.data.ptr, False),
        }  # fmt: skip

    ndarray = type_of("cupy", __init__=__init__)
    return SimpleNamespace(ndarray=ndarray, empty=ndarray, asarray=lambda made: ("asarray", made))


def test_cupy_out(monkeypatch):
    cupy = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    kind = foreign.like(cupy.empty((1,), np.float32))
    made = kind.empty((4, 6), np.float16)
    assert made.dtype == np.float16 and isinstance(made.memory, cupy.ndarray)
    given = kind.give(made[1:, ::2])
    assert isinstance(given, cupy.ndarray) and given.shape == (3, 3)
    assert given.data.ptr == made.address + 12 and given.strides == (12, 4)
    own = ours()
    assert kind.give(own) == ("asarray", own)


def test_jax_out(monkeypatch):
    told = []
    jax_dlpack = SimpleNamespace(from_dlpack=lambda made: told.append(made) or "jax array")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(dlpack=jax_dlpack))
    monkeypatch.setitem(sys.modules, "jax.dlpack", jax_dlpack)
    monkeypatch.setattr(device, "synchronize", lambda stream: told.append(("wait", stream)))
    monkeypatch.setattr(array, "empty", lambda *given: given)
    kind = foreign.like(type_of("jaxlib")(), "stream")
    assert kind.empty((2, 3), np.float32) == ((2, 3), np.float32, "stream")
    made = ours()
    assert kind.give(made) == "jax array"
    assert told == [("wait", "stream"), made]


def test_outputs_are_not_allocated_while_work_is_captured(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    torch = pytest.importorskip("torch")
    with device.capturing("private", "target"):
        for x in (torch.ones(3), type_of("cupy")()):
            with pytest.raises(device.CudaError, match="captured"):
                foreign.like(x).empty((2,), np.float32)


def test_ours_by_interface():
    seen = ours().__cuda_array_interface__
    assert seen == {
        "shape": (4, 6), "typestr": "<f4", "data": (4096, False), "strides": None, "version": 3,
        "stream": 1,
    }  # fmt: skip
    part = ours()[1:, ::2].__cuda_array_interface__
    assert part["data"] == (4120, False) and part["strides"] == (24, 8)
    assert ours(dtype=BFLOAT16).__cuda_array_interface__["typestr"] == "<V2"
    assert ours((0, 3)).__cuda_array_interface__["data"] == (0, False)


def test_ours_by_dlpack_waits_for_the_default_stream(monkeypatch):
    told = []

    class Event:
        def record(self, stream=None):
            told.append(("record", stream))

        def hold(self, stream):
            told.append(("hold", int(stream.handle)))

    monkeypatch.setattr(device, "Event", Event)
    assert ours().__dlpack_device__() == (dlpack.CUDA, 0)
    for stream in (None, -1):
        ours().__dlpack__(stream=stream)
    assert told == []
    ours().__dlpack__(stream=1234, max_version=(1, 1), dl_device=(2, 0), copy=False)
    assert told == [("record", None), ("hold", 1234)]

"""Why there is no GPU, in words; and how errors and streams are passed on. Needs no GPU."""

import ctypes
import importlib
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("cuda.core")

import cuda.core
import cuda.pathfinder
from cuda.bindings import driver

from lstmfast.cuda.runtime import array, device
from lstmfast.cuda.runtime import driver as launch_driver

RESULT = driver.CUresult


def gpu(major=8, minor=0):
    return SimpleNamespace(
        device_id=0, name="GPU 1", compute_capability=SimpleNamespace(major=major, minor=minor)
    )


class Driver:
    """Notes down what is asked of the driver through ctypes."""

    def __init__(self, patch, status=0):
        self.calls, self.status = [], status
        patch.setattr(launch_driver, "library", lambda: self)

    def __getattr__(self, name):
        def call(*given):
            self.calls.append((name, *given))
            return self.status

        return call


@pytest.fixture
def healthy(monkeypatch):
    """A machine on which all is well."""
    monkeypatch.setattr(driver, "cuDriverGetVersion", lambda: (RESULT.CUDA_SUCCESS, 99000))
    monkeypatch.setattr(driver, "cuInit", lambda flags: (RESULT.CUDA_SUCCESS,))
    monkeypatch.setattr(device, "current", gpu)
    monkeypatch.setattr(cuda.pathfinder, "load_nvidia_dynamic_lib", lambda name: None)
    device.explain.cache_clear()
    yield monkeypatch
    device.explain.cache_clear()


def test_all_is_well(healthy):
    assert device.explain() is None
    device.require()


@pytest.mark.parametrize("simulator", (False, True))
def test_no_compiler(healthy, simulator):
    healthy.setattr(device, "SIMULATED", simulator)
    healthy.setitem(sys.modules, "numba_cuda", None)
    assert device.explain() == "numba-cuda is not installed: pip install 'lstmfast[cuda]'"
    with pytest.raises(ValueError, match=r"^device: expected 'cpu', as CUDA .*numba-cuda.*'cuda'$"):
        device.require()


@pytest.mark.parametrize("module", ("cuda.bindings", "cuda.core"))
def test_part_of_cuda_python_missing(healthy, module):
    healthy.setitem(sys.modules, module, None)
    package = module.replace(".", "-")
    assert device.explain() == f"{package} is not installed: pip install 'lstmfast[cuda]'"


def test_broken_installation(healthy):
    def broken(module, real=importlib.import_module):
        if module == "cuda.core":
            raise ImportError("cuda.bindings 12.x or 13.x must be installed")
        return real(module)

    healthy.setattr(importlib, "import_module", broken)
    assert device.explain().startswith("cuda-core cannot be imported (cuda.bindings 12.x or 13.x")


def test_the_simulator_needs_no_driver(healthy):
    healthy.setattr(device, "SIMULATED", True)
    healthy.setattr(driver, "cuDriverGetVersion", None)
    assert device.explain() is None


def absent():
    raise RuntimeError("Failed to dlopen libcuda.so.1")


@pytest.mark.parametrize(
    ("name", "stand_in", "reason"),
    (
        ("cuDriverGetVersion", absent, "NVIDIA's driver is not installed"),
        ("cuDriverGetVersion", lambda: (RESULT.CUDA_SUCCESS, 11040),
         "driver is too old: expected one for CUDA 1[2-9], got 11"),
        ("cuInit", lambda flags: (RESULT.CUDA_ERROR_NO_DEVICE,), "there is no NVIDIA GPU"),
        ("cuInit", lambda flags: (RESULT.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,),
         "does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
    ),
)  # fmt: skip
def test_driver(healthy, name, stand_in, reason):
    healthy.setattr(driver, name, stand_in)
    with pytest.raises(ValueError, match=reason):
        device.require()


def test_old_gpu(healthy):
    healthy.setattr(device, "current", lambda: gpu(7, 5))
    reason = "GPU 1 is too old: expected compute capability 8.0 or newer, got 7.5"
    assert device.explain() == reason


def test_gpu_that_cannot_be_used(healthy):
    def fails():
        raise device.CudaError("the GPU cannot be used: it is exclusively somebody else's")

    healthy.setattr(device, "current", fails)
    assert device.explain().endswith("somebody else's")


@pytest.mark.parametrize("library", ("nvvm", "nvJitLink", "cublas"))
def test_part_of_the_toolkit_missing(healthy, library):
    def load(name):
        if name == library:
            raise RuntimeError("looked in " + "many folders, " * 50)

    healthy.setattr(cuda.pathfinder, "load_nvidia_dynamic_lib", load)
    reason = f"{library} of the CUDA toolkit is not installed: pip install 'lstmfast[cuda]'"
    assert device.explain() == reason


def test_statuses_become_errors():
    device.check(RESULT.CUDA_SUCCESS, "copy")
    with pytest.raises(device.CudaError, match=r"^copy: expected CUDA_SUCCESS, got CUDA_ERROR_INV"):
        device.check(RESULT.CUDA_ERROR_INVALID_VALUE, "copy")
    with pytest.raises(MemoryError, match=r"^copy: the GPU has too little free memory"):
        device.check(RESULT.CUDA_ERROR_OUT_OF_MEMORY, "copy")


def test_what_cuda_core_raises_becomes_ours():
    with pytest.raises(device.CudaError, match="a kernel: no"), device.errors("a kernel"):
        raise RuntimeError("no")
    with pytest.raises(MemoryError), device.errors("an array"):
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed")


def test_a_kernel_without_a_stream_runs_on_the_default_one(healthy):
    asked = Driver(healthy)
    launch_driver.launch(5, None, 3, 128, 64, False, "arguments")
    launch_driver.launch(5, device.stream_from(0), (3, 2), 128, 64, True, "arguments")
    assert asked.calls == [
        ("cuLaunchKernel", 5, 3, 1, 1, 128, 1, 1, 64, 1, "arguments", None),
        ("cuLaunchCooperativeKernel", 5, 3, 2, 1, 128, 1, 1, 64, 1, "arguments"),
    ]
    assert int(device.stream_from(1234).handle) == 1234


def test_a_launch_that_is_refused_says_why(healthy):
    Driver(healthy, status=1)
    with pytest.raises(
        device.CudaError, match=r"^a kernel cannot be launched: .*ERROR_INVALID_VAL"
    ):
        launch_driver.launch(5, None, 3, 128, 64, False, None)
    Driver(healthy, status=2)
    with pytest.raises(MemoryError, match=r"^copy: the GPU has too little free memory"):
        launch_driver.copy(64, 128, 16, None)


def test_arguments_lie_as_the_kernel_reads_them():
    kinds = (None, "int32", "uint64", "float32", "float64", None, "uint32")
    room = launch_driver.Arguments(kinds)
    given = array.DeviceArray(None, 77, (3,), np.float32), -3, 2**64 - 1, 0.1, 0.1, None, 2**32 - 1
    places = room.write(given)
    read = [ctypes.c_uint64, ctypes.c_int32, ctypes.c_uint64, ctypes.c_float, ctypes.c_double,
            ctypes.c_uint64, ctypes.c_uint32]  # fmt: skip
    found = [kind.from_address(at).value for kind, at in zip(read, places, strict=True)]
    assert found == [77, -3, 2**64 - 1, np.float32(0.1), 0.1, 0, 2**32 - 1]


def test_a_float_beyond_float32_is_infinite_there():
    room = launch_driver.Arguments(("float32", "float64", "float32"))
    places = room.write((-1e39, 1e39, 0.5))
    kinds = ctypes.c_float, ctypes.c_double, ctypes.c_float
    found = [kind.from_address(at).value for kind, at in zip(kinds, places, strict=True)]
    assert found == [-np.inf, 1e39, 0.5]


def test_each_thread_has_room_of_its_own_for_arguments():
    room, places = launch_driver.Arguments(("int32",)), []
    here = room.write((1,))
    thread = threading.Thread(target=lambda: places.append(room.write((2,))[0]))
    thread.start()
    thread.join()
    assert ctypes.c_int32.from_address(here[0]).value == 1 and here[0] not in places


def test_memory_info(healthy):
    healthy.setattr(driver, "cuMemGetInfo", lambda: (RESULT.CUDA_SUCCESS, 5, 8))
    assert device.memory_info() == (5, 8)


def test_clear_knows_rows(healthy):
    asked = Driver(healthy)
    dense = array.DeviceArray(None, 64, (3, 4), np.float32)
    array.clear(dense)
    array.clear(dense[:, 1:3])
    array.clear(dense[:0])
    assert asked.calls == [
        ("cuMemsetD8Async", 64, 0, 48, 1),
        ("cuMemsetD2D8Async", 68, 16, 0, 8, 3, 1),
    ]


def test_copies_tell_the_driver_addresses_and_bytes(healthy):
    asked = Driver(healthy)
    healthy.setattr(device, "synchronize", lambda stream: asked.calls.append("wait"))
    made, values = array.DeviceArray(None, 64, (3, 4), np.float32), np.zeros((3, 4), np.float32)
    array.to_device(made, values)
    array.to_host(values, made)
    array.to_device(made[:0], values[:0])
    at = values.ctypes.data
    assert asked.calls == [
        ("cuMemcpyHtoDAsync_v2", 64, at, 48, 1), ("cuMemcpyDtoHAsync_v2", at, 64, 48, 1), "wait",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ("array", "device"))
def test_old_places_still_serve(name):
    """Documented until 0.1; `lstmfast.cuda` itself has what they had."""
    import lstmfast.cuda

    sys.modules.pop(f"lstmfast.cuda.{name}", None)
    with pytest.warns(DeprecationWarning, match="import from lstmfast.cuda"):
        old = importlib.import_module(f"lstmfast.cuda.{name}")
    assert old.__all__
    for one in old.__all__:
        assert getattr(old, one) is getattr(lstmfast.cuda, one)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        lstmfast.cuda.nothing  # noqa: B018

"""The calls of cuBLAS, made to a stand-in that multiplies column-major matrices of the host."""

import ctypes
import gc
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("cuda.core")

from lstmfast.cuda.runtime import cublas, device, products
from lstmfast.cuda.runtime.array import BFLOAT16, DeviceArray

KINDS = {0: np.float32, 1: np.float64, 2: np.float16, 14: BFLOAT16}
OF_PRECISION = {  # dtype of a and b, dtype of out, cuBLAS's compute type
    "float64": (np.float64, np.float64, 70), "float32": (np.float32, np.float32, 68),
    "tf32": (np.float32, np.float32, 77), "float16": (np.float16, np.float32, 68),
    "bfloat16": (BFLOAT16, np.float32, 68),
}  # fmt: skip


class FakeCublas:
    """What cuBLAS documents of these functions, on the host's memory."""

    def __init__(self):
        self.calls, self.handles, self.status = [], 0, 0

    def cublasCreate_v2(self, handle):
        self.handles += 1
        handle._obj.value = self.handles
        return 0

    def cublasSetMathMode(self, handle, mode):
        self.calls.append(("math", handle.value, mode))
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self.calls.append(("stream", handle.value, stream))
        return 0

    def cublasSetWorkspace_v2(self, handle, address, size):
        self.calls.append(("workspace", handle.value, address, size))
        return 0

    def cublasGetStatusName(self, status):
        return {13: b"CUBLAS_STATUS_EXECUTION_FAILED"}[status]

    def cublasGemmEx_64(
        self, handle, transpose_a, transpose_b, m, n, k, alpha, A, kind_a, lda, B, kind_b, ldb,
        beta, C, kind_c, ldc, compute, algorithm,
    ):  # fmt: skip
        assert lda >= max(1, k if transpose_a else m)
        assert ldb >= max(1, n if transpose_b else k)
        assert ldc >= max(1, m)
        scalar = ctypes.c_double if compute == 70 else ctypes.c_float
        alpha, beta = (scalar.from_address(at).value for at in (alpha, beta))
        assert alpha == 1 and beta in (0, 1)
        a = column_major(A, kind_a, (k, m) if transpose_a else (m, k), lda)
        b = column_major(B, kind_b, (n, k) if transpose_b else (k, n), ldb)
        c = column_major(C, kind_c, (m, n), ldc)
        a, b = a.astype(float), b.astype(float)
        found = alpha * (a.T if transpose_a else a) @ (b.T if transpose_b else b)
        c[...] = found + beta * c if beta else found
        self.calls.append(("gemm", handle.value, compute, algorithm))
        return self.status


def column_major(address, kind, shape, ld):
    """Element (i, j) at address + i + j·ld."""
    dtype = np.dtype(KINDS[kind])
    room = (ctypes.c_uint8 * ((ld * (shape[1] - 1) + shape[0]) * dtype.itemsize)).from_address(
        address
    )
    return np.ndarray(shape, dtype, room, strides=(dtype.itemsize, ld * dtype.itemsize))


class FakeWorkspace:
    made = 0

    def __init__(self, size):
        FakeWorkspace.made += 1
        self.address, self.size = 1000 * FakeWorkspace.made, size


class FakeStream(SimpleNamespace):
    """A stream is equal to itself alone."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@pytest.fixture
def fake(monkeypatch):
    stand_in = FakeCublas()
    gpu = SimpleNamespace(
        device_id=0, compute_capability=SimpleNamespace(major=9, minor=0), name="stand-in"
    )
    monkeypatch.setattr(cublas, "library", lambda: stand_in)
    monkeypatch.setattr(cublas, "Workspace", FakeWorkspace)
    monkeypatch.setattr(cublas, "_THREAD", threading.local())
    monkeypatch.setattr(cublas, "SPARE", {})
    monkeypatch.setattr(device, "current", lambda: gpu)
    return stand_in


def matrix(values, padding=0):
    """An array whose memory is the host's, with unused columns to the right."""
    rows, columns = values.shape
    wide = np.full((rows, columns + padding), 7, values.dtype)
    wide[:, :columns] = values
    return DeviceArray(wide, wide.ctypes.data, values.shape, values.dtype, wide.strides)


def some(shape, dtype, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("precision", OF_PRECISION)
@pytest.mark.parametrize("add", (False, True))
@pytest.mark.parametrize("transpose_a", (False, True))
@pytest.mark.parametrize("transpose_b", (False, True))
@pytest.mark.parametrize("paddings", ((0, 0, 0), (2, 1, 5)))
@pytest.mark.parametrize(("M", "N", "K"), ((3, 5, 4), (1, 6, 2), (4, 1, 3), (2, 3, 1)))
def test_rows_become_columns(fake, precision, add, transpose_a, transpose_b, paddings, M, N, K):
    factor, total, compute = OF_PRECISION[precision]
    a = some((K, M) if transpose_a else (M, K), factor, 1)
    b = some((N, K) if transpose_b else (K, N), factor, 2)
    before = some((M, N), total, 3)
    out = matrix(before, paddings[0])
    products.product(
        out, matrix(a, paddings[1]), matrix(b, paddings[2]), transpose_a=transpose_a,
        transpose_b=transpose_b, add=add, precision=precision,
    )  # fmt: skip
    a, b = a.astype(float), b.astype(float)
    expected = (a.T if transpose_a else a) @ (b.T if transpose_b else b) + add * before
    assert np.abs(out.memory[:, :N] - expected).max() < 1e-5
    assert (out.memory[:, N:] == 7).all()
    assert fake.calls[-1] == ("gemm", 1, compute, -1)


def multiply(stream=None):
    one = np.ones((1, 1), np.float32)
    products.product(matrix(one), matrix(one), matrix(one), precision="float32", stream=stream)


def test_math_is_strict_and_a_workspace_follows_every_stream(fake):
    a, b = FakeStream(handle=11), FakeStream(handle=12)
    for stream in (a, b, a):
        multiply(stream)
    assert fake.calls[0] == ("math", 1, 0)
    used = [call for call in fake.calls if call[0] != "gemm"][1:]
    assert [call[:3] for call in used[::2]] == [
        ("stream", 1, 11),
        ("stream", 1, 12),
        ("stream", 1, 11),
    ]
    places = [call[2] for call in used[1::2]]
    assert places[0] == places[2] != places[1]
    assert {call[3] for call in used[1::2]} == {32 << 20}


def test_a_stream_is_told_once(fake):
    a = FakeStream(handle=11)
    for _ in range(3):
        multiply(a)
    assert [call[0] for call in fake.calls] == ["math", "stream", "workspace", *["gemm"] * 3]


def test_no_stream_is_the_default_one(fake):
    multiply()
    assert ("stream", 1, 1) in fake.calls  # CU_STREAM_LEGACY


def test_captured_work_uses_the_workspace_of_where_it_will_run(fake):
    private, target = FakeStream(handle=21), FakeStream(handle=22)
    multiply(target)
    with device.capturing(private, target):
        multiply(private)
        with pytest.raises(device.CudaError, match="expected the one that is captured"):
            multiply(target)
    streams = [call[2] for call in fake.calls if call[0] == "stream"]
    places = [call[2] for call in fake.calls if call[0] == "workspace"]
    assert streams == [22, 21]
    assert places[0] == places[1] == cublas.prepare(target).address


def test_a_thread_keeps_the_workspaces_of_few_streams(fake):
    assert cublas.prepare(FakeStream(handle=1)) is None
    for handle in range(1, 20):
        multiply(FakeStream(handle=handle))
    assert list(cublas.handle(device.current()).workspaces) == list(range(12, 20))


def test_every_thread_has_a_handle_which_the_next_takes_over(fake):
    def work():
        multiply()
        ready.wait()

    ready = threading.Barrier(2)
    for expected in (2, 2):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        del threads
        gc.collect()
        assert fake.handles == expected


def test_a_failure_names_the_call_and_the_status(fake):
    fake.status = 13
    with pytest.raises(device.CudaError, match=r"cublasGemmEx_64: .* CUBLAS_STATUS_EXECUTION_FAIL"):
        multiply()


def test_cublas_that_is_not_there(monkeypatch):
    import cuda.pathfinder

    def absent(name):
        raise RuntimeError(f"no {name}")

    monkeypatch.setattr(cuda.pathfinder, "load_nvidia_dynamic_lib", absent)
    cublas.library.cache_clear()
    with pytest.raises(device.CudaError, match="cuBLAS cannot be loaded: no cublas"):
        cublas.library()

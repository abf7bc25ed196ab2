"""cuBLAS through ctypes: one handle for each thread and GPU, one workspace for each stream.

What the numbers mean stands in cublas_api.h and library_types.h of CUDA 13.0; 12.x has the same.

Bits are the same from run to run: every handle has the default settings (no atomics) and a
workspace of one size, which no two streams share. As the workspace is ours, products can be
captured into a graph. Math is set to CUBLAS_DEFAULT_MATH, in which CUBLAS_COMPUTE_32F multiplies
float32 as such: TF32 and the emulation by bfloat16 have compute types of their own (77 and 78), or
come by the user's NVIDIA_TF32_OVERRIDE=1 and CUBLAS_EMULATE_SINGLE_PRECISION=1, which overrule us.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from contextlib import suppress
from ctypes import byref, c_char_p, c_double, c_float, c_int, c_int64, c_size_t, c_void_p
from functools import lru_cache
from typing import Any, NamedTuple

from . import device

__all__ = ["Matrix", "gemm", "prepare"]

KINDS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # CUDA_R_32F, 64F, 16F, 16BF
COMPUTE = {  # CUBLAS_COMPUTE_64F, 32F, 32F_FAST_TF32; products of 16 bits are added up in 32
    "float64": 70, "float32": 68, "tf32": 77, "float16": 68, "bfloat16": 68,
}  # fmt: skip
DEFAULT_MATH = 0  # CUBLAS_DEFAULT_MATH
DEFAULT_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT
SUCCESS = 0  # CUBLAS_STATUS_SUCCESS

# As NVIDIA recommends: the documentation of cublasSetWorkspace.
WORKSPACE, WORKSPACE_HOPPER = 4 << 20, 32 << 20
STREAMS = 8  # whose workspaces a thread keeps

SIGNATURES = {
    "cublasCreate_v2": (c_void_p,),
    "cublasSetMathMode": (c_void_p, c_int),
    "cublasSetStream_v2": (c_void_p, c_void_p),
    "cublasSetWorkspace_v2": (c_void_p, c_void_p, c_size_t),
    "cublasGemmEx_64": (
        c_void_p, c_int, c_int, c_int64, c_int64, c_int64, c_void_p,
        c_void_p, c_int, c_int64, c_void_p, c_int, c_int64,
        c_void_p, c_void_p, c_int, c_int64, c_int, c_int,
    ),
}  # fmt: skip
ZERO_ONE: dict[str, Any] = {
    "float32": (c_float * 2)(0, 1),
    "float64": (c_double * 2)(0, 1),
}  # the host keeps them
SCALARS = {  # what the sums are in: the addresses of its 0 and 1
    kind: (ctypes.addressof(both), ctypes.addressof(both) + ctypes.sizeof(both) // 2)
    for kind, both in ZERO_ONE.items()
}


class Matrix(NamedTuple):
    """A column-major matrix in the GPU's memory: element (i, j) lies at address + (i + j·ld)."""

    address: int
    kind: str
    ld: int


@lru_cache(None)
def library() -> Any:
    """Return cuBLAS with the functions of SIGNATURES, loaded once.

    Raises
    ------
    CudaError
        It is not installed, or too old.
    """
    from cuda.pathfinder import load_nvidia_dynamic_lib

    with device.errors("cuBLAS cannot be loaded"):
        functions = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
        for name, arguments in SIGNATURES.items():
            getattr(functions, name).argtypes = arguments
        functions.cublasGetStatusName.restype = c_char_p
    return functions


class Workspace:
    """Memory that products on one stream may use; it is freed when no product can need it."""

    def __init__(self, size: int):
        from cuda.bindings import driver

        device.not_captured(f"{size} bytes for cuBLAS")
        status, address = driver.cuMemAlloc(size)
        device.check(status, f"{size} bytes for cuBLAS")
        self.address, self.size = int(address), size

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the process CUDA may be gone before us
            from cuda.bindings import driver

            driver.cuMemFree(self.address)  # waits for products that still use it


class Handle:
    """cuBLAS on one GPU, for one thread at a time."""

    def __init__(self, gpu: Any):
        self.functions = library()
        self.size = WORKSPACE_HOPPER if device.capability(gpu) >= (9, 0) else WORKSPACE
        self.workspaces: OrderedDict[int, Any] = OrderedDict()
        self.used: tuple[int, int] | None = None  # the stream and the workspace that are set
        self.address = c_void_p()
        self._check("cublasCreate_v2", self.functions.cublasCreate_v2(byref(self.address)))
        self.call("cublasSetMathMode", DEFAULT_MATH)

    def call(self, name: str, *arguments: Any) -> None:
        self._check(name, getattr(self.functions, name)(self.address, *arguments))

    def _check(self, name: str, status: int) -> None:
        if status != SUCCESS:
            got = self.functions.cublasGetStatusName(status).decode()
            raise device.CudaError(f"{name}: expected CUBLAS_STATUS_SUCCESS, got {got}")

    def use(self, stream: Any) -> None:
        """Let the calls that follow work on this stream.

        The workspace comes second: cublasSetStream takes away the one before.
        """
        workspace = self.workspace(device.captured_for() or stream)
        wanted = device.handle_of(stream), workspace.address
        if wanted != self.used:
            self.used = None  # until both are set
            self.call("cublasSetStream_v2", wanted[0])
            self.call("cublasSetWorkspace_v2", workspace.address, workspace.size)
            self.used = wanted

    def workspace(self, stream: Any) -> Workspace:
        key = device.LEGACY if stream is None else int(stream.handle)
        if key not in self.workspaces:
            self.workspaces[key] = Workspace(self.size)
        self.workspaces.move_to_end(key)
        while len(self.workspaces) > STREAMS:
            self.workspaces.popitem(last=False)
        return self.workspaces[key]


class Lease:
    """A handle for as long as a thread lives; the next thread takes it over.

    No handle is ever destroyed: that waits for all work of the GPU.
    """

    def __init__(self, gpu: Any):
        self.spare = SPARE.setdefault(gpu.device_id, [])
        try:
            self.handle = self.spare.pop()
        except IndexError:
            self.handle = Handle(gpu)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self.spare.append(self.handle)


SPARE: dict[int, list[Handle]] = {}  # by GPU, handles whose threads are gone
_THREAD = threading.local()


def handle(gpu: Any) -> Handle:
    """Return this thread's handle on the GPU, which is current."""
    leases = _THREAD.__dict__
    if gpu.device_id not in leases:
        leases[gpu.device_id] = Lease(gpu)
    return leases[gpu.device_id].handle


def prepare(stream: Any) -> Workspace | None:
    """Return what products on `stream` work in; None if this thread has made none so far.

    A graph that they were captured into needs it for as long as it lives.
    """
    lease = _THREAD.__dict__.get(device.current().device_id)
    return lease.handle.workspace(stream) if lease else None


def gemm(
    c: Matrix, a: Matrix, b: Matrix, sizes: tuple[int, int, int], *, transpose_a: bool,
    transpose_b: bool, add: bool, precision: str, stream: Any,
) -> None:  # fmt: skip
    """c (m, n) = op(a) (m, k) · op(b) (k, n), column-major; with `add` c += that.

    op transposes or not: CUBLAS_OP_T is 1, CUBLAS_OP_N 0.
    """
    cublas = handle(device.current())
    cublas.use(stream)
    zero, one = SCALARS[c.kind]
    cublas.call(
        "cublasGemmEx_64", int(transpose_a), int(transpose_b), *sizes,
        one, a.address, KINDS[a.kind], a.ld, b.address, KINDS[b.kind], b.ld,
        one if add else zero, c.address, KINDS[c.kind], c.ld,
        COMPUTE[precision], DEFAULT_ALGORITHM,
    )  # fmt: skip

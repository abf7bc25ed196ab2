"""Products of matrices on the GPU: cuBLAS; NumPy's in the simulator."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.numbers import name_of
from . import cublas, device
from .array import clear

__all__ = ["product"]

KINDS = {  # of a and b, and of out
    "float64": ("float64", "float64"),
    "float32": ("float32", "float32"),
    "tf32": ("float32", "float32"),
    "float16": ("float16", "float32"),
    "bfloat16": ("bfloat16", "float32"),
}


def product(
    out: Any, a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False,
    add: bool = False, precision: str, stream: Any = None,
) -> None:  # fmt: skip
    """out (M, N) = a (M, K) · b (K, N), or with `add` out += that, row-major.

    Parameters
    ----------
    out : DeviceArray of float32 or float64; its rows are contiguous
        It must not overlap a or b. Of no columns K, it becomes zeros, or with `add` stays.
    a, b : DeviceArray of one dtype, float64 (as out), float32, float16 or bfloat16; rows contiguous
    transpose_a, transpose_b : the array holds aᵀ (K, M), bᵀ (N, K)
    precision : "float64", "float32" (strict), "tf32" (float32 rounded by the tensor cores),
        "float16", "bfloat16": what a and b are multiplied as; sums are float64 or float32

    Raises
    ------
    ValueError
        Shapes, dtypes or strides do not go together.
    CudaError
        cuBLAS refuses, or is not there.
    """
    M, N, K = _sizes(out, a, b, transpose_a, transpose_b, precision)
    if M == 0 or N == 0:
        return
    if K == 0:
        if not add:
            clear(out, stream)
        return
    if device.simulated():
        _multiply(out, a, b, transpose_a, transpose_b, add, precision)
        return
    # A row-major matrix is its own transpose to cuBLAS, which is column-major: outᵀ = bᵀ aᵀ.
    cublas.gemm(
        _matrix(out), _matrix(b), _matrix(a), (N, M, K), transpose_a=transpose_b,
        transpose_b=transpose_a, add=add, precision=precision, stream=stream,
    )  # fmt: skip


def _sizes(
    out: Any, a: Any, b: Any, transpose_a: bool, transpose_b: bool, precision: str
) -> tuple[int, int, int]:
    """Return M, N, K, or raise ValueError."""
    if precision not in KINDS:
        raise ValueError(f"precision: expected one of {', '.join(KINDS)}, got {precision!r}")
    factor, total = KINDS[precision]
    _matrix_of("out", out, total)
    _matrix_of("a", a, factor)
    _matrix_of("b", b, factor)
    (M, K), N = a.shape[::-1] if transpose_a else a.shape, out.shape[1]
    _shape("b", b, (N, K) if transpose_b else (K, N))
    _shape("out", out, (M, N))
    return M, N, K


def _shape(name: str, array: Any, shape: tuple[int, int]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")


def _matrix_of(name: str, array: Any, kind: str) -> None:
    """Raise ValueError unless it is a matrix whose rows are contiguous and follow each other."""
    if len(array.shape) != 2 or name_of(array.dtype) != kind:
        raise ValueError(
            f"{name}: expected a matrix of {kind}, got shape {array.shape} of {array.dtype}"
        )
    if array.is_contiguous:
        return
    (rows, columns), (down, right) = array.shape, array.strides
    side_by_side = columns <= 1 or right == array.itemsize
    apart = rows <= 1 or (down % array.itemsize == 0 and down >= columns * array.itemsize)
    if array.size and not (side_by_side and apart):
        raise ValueError(f"{name}: expected contiguous rows, got strides {array.strides} of bytes")


def _matrix(array: Any) -> cublas.Matrix:
    """An array as cuBLAS sees it: transposed."""
    rows, columns = array.shape
    ld = columns if rows == 1 else array.strides[0] // array.itemsize
    return cublas.Matrix(array.address, name_of(array.dtype), max(ld, columns))


def _multiply(
    out: Any, a: Any, b: Any, transpose_a: bool, transpose_b: bool, add: bool, precision: str
) -> None:
    real = np.float64 if precision == "float64" else np.float32
    factors = [array.in_simulator().astype(real) for array in (a, b)]
    if precision == "tf32":
        factors = [tf32(factor) for factor in factors]
    left, right = factors
    found = (left.T if transpose_a else left) @ (right.T if transpose_b else right)
    out.in_simulator()[...] = out.in_simulator() + found if add else found


def tf32(x: Any) -> Any:
    """Round float32 to 10 explicit bits of mantissa, ties away from zero, as cvt.rna.tf32 does."""
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded, bits).view(np.float32)

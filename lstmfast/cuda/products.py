"""Products of matrices on the GPU: cuBLAS; NumPy's in the simulator."""

from __future__ import annotations

from typing import Any

__all__ = ["product"]


def product(
    out: Any, a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False,
    add: bool = False, precision: str, stream: Any = None,
) -> None:  # fmt: skip
    """out (M, N) = a (M, K) · b (K, N), or with `add` out += that, row-major.

    Parameters
    ----------
    out : DeviceArray of float32 or float64; its rows are contiguous
    a, b : DeviceArray of one dtype, float64 (as out), float32, float16 or bfloat16; rows contiguous
    transpose_a, transpose_b : the array holds aᵀ (K, M), bᵀ (N, K)
    precision : "float64", "float32" (strict), "tf32" (float32 rounded by the tensor cores),
        "float16", "bfloat16": what a and b are multiplied as; sums are float64 or float32
    """
    raise NotImplementedError

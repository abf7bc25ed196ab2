"""bfloat16 as PyTorch's users have it: as tensors, and under autocast on the CPU.

Either way kernels round factors to bfloat16, and sum in float32; what is said here is which dtypes
go in, and which come out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["dtypes_beside", "dtypes_of_results", "is_under_autocast", "precision_for"]

NARROW = torch.bfloat16
FLOATS = (torch.float32, torch.float64)
MIXED = (torch.float32, NARROW)
HAS_FUSED = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # in bfloat16, on this processor


def is_under_autocast(x: Tensor) -> bool:
    """Is x on the CPU, under torch.autocast to bfloat16?"""
    enabled = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return enabled and torch.get_autocast_dtype("cpu") is NARROW


def dtypes_beside(x: Tensor, graph: bool) -> tuple[torch.dtype, ...]:
    """The dtypes that the tensors of a call with x may have; none if it is not lstmfast's."""
    if not graph and is_under_autocast(x):
        return MIXED if x.dtype in MIXED else ()
    is_taken = x.dtype in FLOATS or (x.dtype is NARROW and not (graph or x.is_cuda))
    return (x.dtype,) if is_taken else ()


def precision_for(x: Tensor) -> str | None:
    """The precision of products: "bfloat16" of such tensors, and under autocast."""
    return "bfloat16" if x.dtype is NARROW or is_under_autocast(x) else None


def dtypes_of_results(x: Tensor, c0: Any, fused: bool, projected: bool) -> Any:
    """The dtypes of h (and y) and c, if they are not those of the arrays: PyTorch's own.

    Its fused layer, which takes whole batches without a projection, makes all bfloat16 under
    autocast; elsewhere states keep their dtype, x's if there are none, and only the product of a
    projection is bfloat16. Without AVX-512 the fused layer takes no x in bfloat16 (and raises for
    one in float32).
    """
    if not is_under_autocast(x):
        return (NARROW, NARROW) if x.dtype is NARROW else None
    fused = fused and (x.dtype is not NARROW or HAS_FUSED)
    kept = x.dtype if c0 is None else c0.dtype
    return (NARROW if fused or projected else kept), (NARROW if fused else kept)

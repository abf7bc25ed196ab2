"""Deprecated: `lstmfast.cuda` has `CudaError` itself."""

import warnings

from .runtime.device import CudaError

__all__ = ["CudaError"]

warnings.warn(
    "lstmfast.cuda.device is deprecated: import from lstmfast.cuda",
    DeprecationWarning,
    stacklevel=2,
)

"""LSTM layers and training on NVIDIA GPUs: what `ops` does, on arrays in the GPU's memory.

`from_host` copies an array there, `DeviceArray.copy_to_host` brings it back; `CudaError` is what
failures of the driver and of its libraries raise.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CudaError", "DeviceArray", "from_host"]


def __getattr__(name: str) -> Any:
    """What needs the extra `cuda`, imported when it is asked for."""
    if name in ("DeviceArray", "from_host"):
        from .runtime import array, numeric  # noqa: F401  # which gives arrays their arithmetic

        return getattr(array, name)
    if name == "CudaError":
        from .runtime.device import CudaError

        return CudaError
    raise AttributeError(f"module 'lstmfast.cuda' has no attribute {name!r}")

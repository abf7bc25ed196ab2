"""Deprecated: `lstmfast.cuda` has `from_host` and `DeviceArray` itself."""

import warnings

from .runtime.array import DeviceArray, from_host

__all__ = ["DeviceArray", "from_host"]

warnings.warn(
    "lstmfast.cuda.array is deprecated: import from lstmfast.cuda", DeprecationWarning, stacklevel=2
)

"""Where a drop-in hands work back to the framework that it stands in for."""

from __future__ import annotations

import os

__all__ = ["FallbackError", "fall_back"]

VARIABLE = "LSTMFAST_STRICT"


class FallbackError(RuntimeError):
    """lstmfast would have handed work to the framework, and LSTMFAST_STRICT=1 forbids it."""


def fall_back(what: str, reason: str) -> None:
    """Say that the framework's own implementation is to do what follows.

    Parameters
    ----------
    what : the layer or call, as the user knows it
    reason : what lstmfast cannot take

    Raises
    ------
    FallbackError
        If the environment variable LSTMFAST_STRICT is neither unset, empty nor "0".
    """
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        raise FallbackError(f"{what}: expected work for lstmfast ({VARIABLE} is set), got {reason}")

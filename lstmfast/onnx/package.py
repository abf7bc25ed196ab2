"""The package onnx, which only files need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["onnx_package"]


def onnx_package(function: str) -> Any:
    """Return the package onnx, or raise an ImportError that says what to install."""
    try:
        return import_module("onnx")
    except ImportError as error:
        name = f"lstmfast.onnx.{function}"
        raise ImportError(
            f"{name}: expected the package onnx: pip install 'lstmfast[onnx]'"
        ) from error

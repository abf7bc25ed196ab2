"""Model: layers that compile, fit, predict and are saved."""

from __future__ import annotations

from .model import Model, Sequential, load

__all__ = ["Model", "Sequential", "load"]

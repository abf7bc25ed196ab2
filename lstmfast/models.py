"""Models by Keras's names: `models.Model`, `models.Sequential`, `models.load_model`."""

from __future__ import annotations

from .model import Model, Sequential
from .model import load as load_model

__all__ = ["Model", "Sequential", "load_model"]

"""Model: layers that compile, fit, predict and are saved."""

from __future__ import annotations

from .diverging import TrainingError
from .fitting import History
from .model import Model, load
from .sequential import Sequential

__all__ = ["History", "Model", "Sequential", "TrainingError", "load"]

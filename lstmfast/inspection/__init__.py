"""A look inside a Model: gates at every step, gradients that get there, inputs that count."""

from __future__ import annotations

from .inspection import Inspection, inspect
from .units import Following

__all__ = ["Following", "Inspection", "inspect"]

"""Files by Keras's names: `saving.load_model`, `saving.save_model`."""

from __future__ import annotations

from .models import load_model, save_model
from .registry import register_serializable as register_keras_serializable

__all__ = ["load_model", "register_keras_serializable", "save_model"]

"""Models by Keras's names: `models.Model`, `models.Sequential`, `models.load_model`, ..."""

from __future__ import annotations

import json
from typing import Any

from .arguments import shown
from .disk import StrPath
from .model import Model, Sequential
from .model import load as load_model

__all__ = ["Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


def save_model(model: Model, filepath: StrPath) -> None:
    """Write a model to a file: `model.save(filepath)`."""
    model.save(filepath)


def model_from_json(json_string: str) -> Model:
    """Return a new model, with new weights, of what `Model.to_json` told.

    Raises
    ------
    ValueError
        For a text that is no JSON, or describes no model.
    """
    try:
        config = json.loads(json_string)
    except (TypeError, ValueError, RecursionError):
        found = shown(json_string)
        raise ValueError(f"json_string: expected what to_json told, got {found}") from None
    return Model.from_config(config)


def clone_model(model: Any) -> Model:
    """Return a new model of the same graph, with new layers and weights, not compiled."""
    if not isinstance(model, Model):
        raise ValueError(f"model: expected a Model, got {shown(model)}")
    return model.from_config(model.get_config())

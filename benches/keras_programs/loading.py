"""A program for Keras, or for lstmfast: then nothing but its import lines is changed."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["PROGRAMS", "lines_for", "load"]

HERE = Path(__file__).parent
PROGRAMS = (
    "addition_seq2seq",
    "imdb_bidirectional",
    "seq2seq_characters",
    "weather_windows",
    "anomaly_autoencoder",
    "tagging",
    "character_generation",
    "two_inputs_attention",
)
IMPORTS = (
    (r"^import keras$", "import lstmfast as keras"),
    (r"^from keras import ", "from lstmfast import "),
    (r"^from keras\.", "from lstmfast."),
)


def lines_for(library: str, text: str) -> str:
    """Return a program's text with the import lines for "keras" or "lstmfast"."""
    if library == "lstmfast":
        for found, wanted in IMPORTS:
            text = re.sub(found, wanted, text, flags=re.MULTILINE)
    return text


def load(name: str, library: str, **changes: Any) -> ModuleType:
    """Return a program as a module, with other values for constants at its top."""
    path = HERE / f"{name}.py"
    module = ModuleType(f"{name}_with_{library}")
    code = compile(lines_for(library, path.read_text()), str(path), "exec")
    exec(code, module.__dict__)
    for constant, value in changes.items():
        assert constant in module.__dict__, f"{name}: has no {constant}"
        setattr(module, constant, value)
    return module

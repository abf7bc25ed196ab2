"""Is a model being written into a file for others, who will not have these kernels?"""

from __future__ import annotations

import sys
from types import FrameType

__all__ = ["exporter"]

EXPORTERS = (
    "keras.src.export.",  # Model.export, in any format
    "tensorflow.python.saved_model.",
    "tensorflow.lite.",
    "tf2onnx.",
    "jax.experimental.jax2tf.",
    "jax._src.export.",
    "torch.onnx.",
    "torch.export.",
)


def exporter() -> str:
    """Return the name of the module that exports what is being traced now; "" if none does.

    None of them leaves a word where it could be read: their functions are looked for among those
    that are running. Only for the time of tracing, as it takes some microseconds.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name.startswith(EXPORTERS):
            return name
        frame = frame.f_back
    return ""

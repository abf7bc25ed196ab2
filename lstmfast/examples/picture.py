"""Pictures of the examples, drawn where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["drawn"]


def drawn(
    path: Path, paint: Callable[..., None], size: tuple[float, float] = (7.0, 4.5), rows: int = 1
) -> str:
    """Have a picture painted into a file, and return a line that says where it is.

    Parameters
    ----------
    path : Path
        Its ending says the format, as of PNG or SVG. Folders on the way are made.
    paint : callable
        Given `rows` axes of matplotlib, one below the other.
    size : tuple of float
        In inches.
    rows : int
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"{path.name}: not drawn without matplotlib"
    figure: Any = Figure(figsize=size, layout="constrained")
    paint(*figure.subplots(rows, squeeze=False)[:, 0])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return f"picture: {path}"

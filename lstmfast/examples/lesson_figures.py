"""The figures of `lesson`, by matplotlib, which is imported when the first one is drawn."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_activations", "draw_losses", "draw_norms", "save_small"]

Array = np.ndarray[Any, np.dtype[Any]]
COLOURS = 48  # of a picture: a fifth of the bytes
MEAN_ALONE = 1 / 6  # the error of the adding problem for a network that always says the mean


def draw_activations() -> Figure:
    """Draw sigmoid and tanh, and their slopes, as the library computes them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), layout="constrained")
    x = np.linspace(-6, 6, 241)
    for axes, name in zip(figure.subplots(1, 2), ("sigmoid", "tanh"), strict=True):
        y = ops.activation_forward(name, x)
        axes.plot(x, y, label=name)
        axes.plot(x, ops.activation_backward(name, y, np.ones_like(x)), "--", label="its slope")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def draw_norms(norms: dict[str, Array], title: str) -> Figure:
    """Draw the norms of each network over its steps, those of the last step as one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, values in norms.items():
        style = "-" if name.startswith("LSTM") else "--"
        shares = values / values[-1]
        axes.plot(np.where(shares > 0, shares, np.nan), style, label=name)
    axes.set(yscale="log", ylim=(1e-20, 1e15), xlabel="step t", title=title)
    axes.set_ylabel("gradient to h of step t\n(last step: 1)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small")
    return figure


def draw_losses(losses: dict[str, list[float]]) -> Figure:
    """Draw the losses of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for name, values in losses.items():
        axes.plot(range(1, len(values) + 1), values, "o-", label=name)
    axes.axhline(MEAN_ALONE, color="grey", linestyle=":", label="always the mean")
    axes.set(xlabel="tenth of training", ylabel="mean squared error", title="adding problem")
    axes.legend(fontsize="small")
    return figure


def save_small(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of few colours, by Pillow, which matplotlib brings."""
    from PIL import Image

    whole = BytesIO()
    figure.savefig(whole, dpi=80)
    Image.open(whole).convert("RGB").quantize(COLOURS).save(path, optimize=True)

"""Figures of what `inspect` found, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array, integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .inspection import Inspection
    from .units import Following

__all__ = ["draw", "draw_following", "labels_of", "limits_of"]

MOST_LABELS = 60  # that are written at the steps of a figure


def limits_of(name: str, values: Array) -> tuple[float, float]:
    """Return the ends of a colour scale: of gates 0 and 1, of all else as far below 0 as above."""
    largest = float(np.nanmax(abs(values))) if np.isfinite(values).any() else 1.0
    if name in "ifo" and np.nanmin(values) >= 0 and largest <= 1:
        return 0.0, 1.0
    return -(largest or 1.0), largest or 1.0


def labels_of(labels: Any, steps: int, name: str = "labels") -> list[str]:
    """Return a label for each step, the steps' numbers for None; ValueError for too few."""
    if labels is None:
        return [str(t) for t in range(steps)]
    if not isinstance(labels, Sequence) or len(labels) != steps:
        found = len(labels) if hasattr(labels, "__len__") else type(labels).__name__
        raise ValueError(f"{name}: expected {steps} texts, one for each step, got {found}")
    return [str(one) for one in labels]


def draw(
    seen: Inspection, names: Sequence[str], path: Any, sample: int, labels: Any = None
) -> Figure:
    """Draw one sample: a row of heat maps for each layer, and the norms of gradients below."""
    from matplotlib.figure import Figure

    columns = max(len(seen.gates[name]) for name in names)
    norms = seen.gradient_norms
    rows = len(names) + (norms is not None)
    figure = Figure(figsize=(2.4 * max(columns, 2) + 1, 2.4 * rows + 0.3), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    for n, name in enumerate(names):
        for column, (what, values) in enumerate(seen.gates[name].items()):
            axes = figure.add_subplot(grid[n, column])
            _heat_map(axes, what, values[sample], f"{name}: {what}")
            _label_steps(axes, labels, values.shape[1])
            if column == 0:
                axes.set_ylabel("unit")
    if norms is not None:
        axes = figure.add_subplot(grid[-1, :])
        _draw_norms(axes, {name: norms[name] for name in names})
    return _saved(figure, path)


def _heat_map(axes: Axes, what: str, values: Array, title: str) -> None:
    """Units upwards, steps to the right."""
    low, high = limits_of(what, values)
    colours = "viridis" if low == 0 else "RdBu_r"
    image = axes.imshow(
        values.T, vmin=low, vmax=high, cmap=colours, aspect="auto", origin="lower",
        interpolation="nearest",
    )  # fmt: skip
    axes.figure.colorbar(image, ax=axes, fraction=0.08, pad=0.02)
    axes.set_title(title, fontsize="small")


def _label_steps(axes: Axes, labels: Any, steps: int) -> None:
    found = labels_of(labels, steps)
    if labels is not None and steps <= MOST_LABELS:
        axes.set_xticks(range(steps), found, fontsize="x-small")


def _draw_norms(axes: Axes, norms: dict[str, Array]) -> None:
    for name, values in norms.items():
        axes.plot(values, ".-", label=name)
    if any((values > 0).any() for values in norms.values()):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="norm of the gradient to h")
    axes.legend(fontsize="small")


def draw_following(found: Following, path: Any, sample: int, units: int) -> Figure:
    """Draw a feature, the units that follow it best, and the correlations of all units."""
    from matplotlib.figure import Figure

    sample = integer("sample", sample, 0, len(found.feature) - 1)
    best = found.ranking[: integer("units", units, 1)]
    figure = Figure(figsize=(9, 1.2 * (len(best) + 1) + 1.8), layout="constrained")
    axes = figure.subplots(len(best) + 2, 1)
    steps = range(found.feature.shape[1])
    axes[0].step(steps, found.feature[sample].astype(float), where="mid", color="black")
    axes[0].set_ylabel("feature")
    for one, unit in zip(axes[1:-1], best, strict=True):
        one.step(steps, found.values[sample, :, unit], where="mid")
        one.set_ylabel(f"{found.value} of {unit}")
        one.set_title(f"correlation {found.correlations[unit]:+.3f}", fontsize="small", loc="right")
    axes[-2].set_xlabel("step")
    axes[-1].bar(range(len(found.correlations)), found.correlations, color="grey")
    axes[-1].set(xlabel=f"unit of {found.layer}", ylabel="correlation", ylim=(-1, 1))
    return _saved(figure, path)


def _saved(figure: Figure, path: Any) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure

"""The chart of a run: ratios to the fastest other library, one panel for each kind of job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benches.peers import THEIRS
from benches.results import Results, Row

COLOURS = dict(zip(THEIRS, ("#d55e00", "#0072b2", "#009e73", "#e69f00", "#cc79a7"), strict=True))
TITLES = {"forward": "Forward", "training": "Training", "step": "Streaming step, batch 1",
          "epoch_last": "Article's model, last output",
          "epoch_every": "Article's model, every output"}  # fmt: skip
FILLS = ("full", "none", "left")  # one for each number of threads
TICKS = [f * 10.0**e for e in range(-2, 4) for f in (1, 2, 5)]
INCHES, MARGIN = 0.2, 0.9  # height of a shape and of what stands around a panel


def draw(results: Results, path: Path) -> None:
    kinds = list(dict.fromkeys(kind for kind, _ in results.groups()))
    columns = [[kind] for kind in kinds if kind in ("forward", "training")]
    rest = [kind for kind in kinds if kind not in ("forward", "training")]
    columns += [rest] if rest else []
    shapes = {kind: len({row.shape for row in results.of(kind)}) for kind in kinds}
    heights = {kind: MARGIN + INCHES * shapes[kind] for kind in kinds}
    height = max(sum(heights[kind] for kind in column) for column in columns) + 0.8
    figure = Figure(figsize=(5.2 * len(columns), height))
    for i, column in enumerate(columns):
        top = height - 0.6
        for kind in column:
            size = INCHES * shapes[kind]
            left, bottom = (i + 0.36) / len(columns), (top - 0.3 - size) / height
            axes = figure.add_axes((left, bottom, 0.6 / len(columns), size / height))
            panel(axes, results, kind)
            top -= heights[kind]
    legend(figure, results)
    figure.savefig(path, dpi=110, facecolor="white")


def panel(axes: Axes, results: Results, kind: str) -> None:
    """One line for each shape, in the order of the largest job first; a mark per thread count."""
    rows = [row for row in results.of(kind) if row.best()]
    shapes = sorted({row.shape for row in rows}, key=lambda s: s.operations)
    threads = sorted({row.threads for row in results.rows})
    for row in rows:
        which = threads.index(row.threads)
        mark(axes, row, shapes.index(row.shape) + (0.18 if which == 0 else -0.18), which)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.5), max(high, 2.0))
    axes.set_yticks(range(len(shapes)), map(str, shapes), fontsize=7)
    axes.set_ylim(-0.7, len(shapes) - 0.3)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(TITLES[kind], fontsize=10)


def mark(axes: Axes, row: Row, y: float, which: int) -> None:
    """The median with a line from 10 to 90%, in the colour of the fastest other library."""
    best = row.best()
    low, middle, high = np.percentile(row.ratios(best), (10, 50, 90))
    axes.plot((low, high), (y, y), color=COLOURS[best], linewidth=1, alpha=0.6)
    axes.plot(middle, y, color=COLOURS[best], **style(which))


def style(which: int) -> dict[str, Any]:
    return {"marker": "o", "markersize": 4.5, "linestyle": "", "fillstyle": FILLS[which]}


def legend(figure: Figure, results: Results) -> None:
    threads = sorted({row.threads for row in results.rows})
    fastest = {row.best() for row in results.rows}
    entries = [Line2D([], [], color="black", label=f"{n} thread{'s' * (n > 1)}", **style(i))
               for i, n in enumerate(threads)]  # fmt: skip
    entries += [Line2D([], [], color=COLOURS[name], label=f"fastest: {name}", **style(0))
                for name in THEIRS if name in fastest]  # fmt: skip
    text = "Time of the fastest other library over lstmfast's (right of 1: lstmfast is faster)"
    figure.legend(handles=entries, loc="upper center", ncols=len(entries), fontsize=8, title=text,
                  title_fontsize=10, frameon=False)  # fmt: skip

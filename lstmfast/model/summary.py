"""A model for the reader: a table of its layers, a drawing of its graph."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from ..arguments import integer, number, shape_text, shown
from ..disk import StrPath
from ..layers.symbolic import InputLayer
from .graph import Graph

if TYPE_CHECKING:
    from .network import Network

__all__ = ["plot", "summary"]

Row = tuple[str, str, str, str, str]
GAP = "  "
LEAST = 4  # letters of a column


def summary(
    model: Network, print_fn: Callable[[str], Any], show_trainable: bool, expand_nested: bool,
    layer_range: Any, line_length: int | None, positions: Any,
) -> None:  # fmt: skip
    """See `Model.summary`."""
    is_chain = model.graph.is_chain
    head = ["Layer (type)", "Output shape", "Parameters"]
    head += [] if is_chain else ["Connected to"]
    rows = [head + (["Trains"] if show_trainable else [])]
    for title, shape, count, sources, trains in _chosen(_rows(model, expand_nested), layer_range):
        row = [title, shape, count, *([] if is_chain else [sources])]
        rows.append(row + ([trains] if show_trainable else []))
    wide = _widths(rows, line_length, positions)
    print_fn(f"Model: {model.name}")
    for row in rows:
        for line in _lines(row, wide):
            print_fn(line)
    total, trained = model.count_params(), sum(int(w.size) for w in model.params)
    print_fn(f"Total parameters: {total:,}")
    if trained < total:
        print_fn(f"Trainable: {trained:,}; not trainable: {total - trained:,}")


def _rows(model: Network, expand_nested: bool, indent: str = "") -> Iterator[Row]:
    """Yield what is said of each layer, and of each input of a model that was made of tensors."""
    graph, shapes = model.graph, model.graph.shapes(model.input_shapes or [])
    names = _names(graph)
    for layer in model._nodes():
        inner = getattr(layer, "model", None)
        title = f"{indent}{layer.name} ({type(inner or layer).__name__})"
        if isinstance(layer, InputLayer):
            yield title, shape_text(layer.shape), "0", "-", "-"
            continue
        calls = [step for step in graph.steps if step.layer is layer]
        outputs = [shape_text(shapes[slot]) for slot in calls[0].outputs]
        sources = [names[slot] for step in calls for slot in step.sources()]
        trains = ("yes" if layer.trained else "no") if layer.params else "-"
        yield title, ", ".join(outputs), f"{layer.count_params():,}", ", ".join(sources), trains
        if expand_nested and inner is not None:
            yield from _rows(inner, True, indent + "  ")


def _chosen(rows: Iterator[Row], layer_range: Any) -> list[Row]:
    """Return the rows from the first that matches one pattern to the last that matches another."""
    found = list(rows)
    if layer_range is None:
        return found
    if not isinstance(layer_range, (list, tuple)) or len(layer_range) != 2:
        expected = "the names of two layers, or patterns"
        raise ValueError(f"layer_range: expected {expected}, got {shown(layer_range)}")
    ends = []
    for pattern in layer_range:
        try:
            ends.append([n for n, row in enumerate(found) if re.match(pattern, row[0].lstrip())])
        except (re.error, TypeError):
            raise ValueError(f"layer_range: expected a pattern, got {shown(pattern)}") from None
    if not ends[0] or not ends[1] or ends[0][0] > ends[1][-1]:
        names = ", ".join(row[0].split()[0] for row in found)
        raise ValueError(f"layer_range: expected two of {names}, got {shown(layer_range)}")
    return found[ends[0][0] : ends[1][-1] + 1]


def _widths(rows: list[list[str]], line_length: int | None, positions: Any) -> list[int]:
    """Return how wide each column is: as its texts, or within what was asked for."""
    natural = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if positions is not None:
        return _between(positions, integer("line_length", line_length or 80, 40), len(natural))
    if line_length is None:
        return natural
    room = integer("line_length", line_length, 40) - len(GAP) * (len(natural) - 1)
    if sum(natural) <= room:
        return natural
    return [max(LEAST, width * room // sum(natural)) for width in natural]


def _between(positions: Any, line_length: int, count: int) -> list[int]:
    """Return the widths of columns that end there: shares of the line, or letters."""
    given = list(positions) if isinstance(positions, (list, tuple)) else []
    ends = [number("positions", one, 0.0) for one in given]
    if ends and ends[-1] <= 1:
        ends = [one * line_length for one in ends]
    starts = [0.0, *ends[:-1]]
    wide = [int(end - start) - len(GAP) for start, end in zip(starts, ends, strict=True)][:count]
    if len(wide) < count or min(wide) < LEAST:
        expected = f"{count} rising ends of columns, {LEAST + len(GAP)} letters apart or more"
        raise ValueError(f"positions: expected {expected}, got {shown(positions)}")
    return wide


def _lines(row: list[str], wide: list[int]) -> Iterator[str]:
    """Yield a row as lines of its columns."""
    cells = [
        [text] if len(text) <= width else textwrap.wrap(text, width)
        for text, width in zip(row, wide, strict=True)
    ]
    for line in zip_longest(*cells, fillvalue=""):
        aligned = (f"{text:{'>' if n == 2 else '<'}{wide[n]}}" for n, text in enumerate(line))
        yield GAP.join(aligned).rstrip()


def _names(graph: Graph) -> list[str]:
    """What each slot is called: as its layer; of one with several outputs, a number behind it."""
    names = [str(entry.name) for entry in graph.entries] + [""] * graph.slots
    for step in graph.steps:
        for index, slot in enumerate(step.outputs):
            lone = len(step.outputs) == 1
            names[slot] = step.layer.name if lone else f"{step.layer.name}[{index}]"
    return names


def plot(model: Network, path: StrPath, show_shapes: bool) -> None:
    """See `Model.plot`."""
    try:
        import graphviz
    except ImportError as error:
        expected = "the package graphviz (pip install 'lstmfast[plot]') and the program dot"
        raise ImportError(f"plot: expected {expected}, got none") from error
    drawn, (base, suffix) = graphviz.Digraph(model.name), os.path.splitext(os.fspath(path))
    drawn.attr("node", shape="box")
    _draw(model, drawn, show_shapes)
    if suffix in (".dot", ".gv"):
        drawn.save(os.fspath(path))
        return
    try:
        drawn.render(base, format=suffix.lstrip(".") or "png", cleanup=True)
    except graphviz.ExecutableNotFound as error:
        found = "none (save it as .dot instead, or install Graphviz)"
        raise ImportError(f"plot: expected the program dot on the path, got {found}") from error


def _draw(model: Network, drawn: Any, show_shapes: bool) -> None:
    graph, shapes = model.graph, model.graph.shapes(model.input_shapes or [])
    nodes = {n: f"input {name}" for n, name in enumerate(model.input_names)}
    for n, name in enumerate(model.input_names):
        drawn.node(nodes[n], _label(f"{name}: Input", [shapes[n]], show_shapes))
    for step in graph.steps:
        title = f"{step.layer.name}: {type(step.layer).__name__}"
        outputs = [shapes[slot] for slot in step.outputs]
        drawn.node(step.layer.name, _label(title, outputs, show_shapes))
        for slot in step.sources():
            drawn.edge(nodes[slot], step.layer.name)
        nodes |= dict.fromkeys(step.outputs, step.layer.name)


def _label(title: str, shapes: list[Any], show_shapes: bool) -> str:
    return "\n".join([title, *map(shape_text, shapes)]) if show_shapes else title

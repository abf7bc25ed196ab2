"""A model for the reader: a table of its layers, a drawing of its graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..arguments import shape_text
from ..disk import StrPath
from .graph import Graph

if TYPE_CHECKING:
    from .network import Network

__all__ = ["plot", "summary"]


def summary(model: Network, print_fn: Callable[[str], Any], show_trainable: bool) -> None:
    """See `Model.summary`."""
    is_chain = model.graph.is_chain
    head = ["Layer (type)", "Output shape", "Parameters"]
    head += [] if is_chain else ["Connected to"]
    rows = [head + (["Trains"] if show_trainable else [])]
    for title, shape, count, sources, trains in _rows(model):
        row = [title, shape, count, *([] if is_chain else [sources])]
        rows.append(row + ([trains] if show_trainable else []))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print_fn(f"Model: {model.name}")
    for row in rows:
        aligned = (f"{text:{'>' if n == 2 else '<'}{wide[n]}}" for n, text in enumerate(row))
        print_fn("  ".join(aligned).rstrip())
    total, trained = model.count_params(), sum(int(w.size) for w in model.params)
    print_fn(f"Total parameters: {total:,}")
    if trained < total:
        print_fn(f"Trainable: {trained:,}; not trainable: {total - trained:,}")


def _rows(model: Network) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield what is said of each input, unless there is one chain, and of each layer."""
    graph, shapes = model.graph, model.graph.shapes(model.input_shapes or [])
    names = _names(graph)
    if not graph.is_chain:
        for n, name in enumerate(model.input_names):
            yield f"{name} (Input)", shape_text(shapes[n]), "0", "-", "-"
    for layer in model.layers:
        calls = [step for step in graph.steps if step.layer is layer]
        outputs = [shape_text(shapes[slot]) for slot in calls[0].outputs]
        sources = [names[slot] for step in calls for slot in step.sources()]
        trains = ("yes" if layer.trained else "no") if layer.params else "-"
        title = f"{layer.name} ({type(layer).__name__})"
        yield title, ", ".join(outputs), f"{layer.count_params():,}", ", ".join(sources), trains


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

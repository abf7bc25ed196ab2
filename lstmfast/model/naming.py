"""Names: of the layers of a model, one for each; of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arguments import shown
from .graph import Graph

__all__ = ["by_name", "name_all"]


def name_all(graph: Graph) -> None:
    """Give each layer and each entry a name of its own, as Keras 3 does: lstm, lstm_1, ...

    Raises
    ------
    ValueError
        When users gave the same name twice, or "input" to a layer.
    """
    of_layers = [layer.name for layer in graph.layers if layer.has_own_name]
    own = [*of_layers, *(entry.name for entry in graph.entries if entry.name)]
    if len(set(own)) < len(own) or "input" in of_layers:
        raise ValueError(f"layers: expected different names, none of them 'input', got {own}")
    taken = set(own)
    for layer in graph.layers:
        if not layer.has_own_name:
            layer.name = _free(taken, layer.name, layer.base_name)
    for entry in graph.entries:
        entry.name = entry.name or _free(taken, "input_layer")


def _free(taken: set[str], *wanted: str) -> str:
    """Return the first of these names that is free, or the last one with a number, and take it."""
    numbered = (f"{wanted[-1]}_{number}" for number in range(1, len(taken) + 2))
    name = next(name for name in (*wanted, *numbered) if name not in taken)
    taken.add(name)
    return name


def by_name(what: str, given: Any, names: Sequence[str], is_one: bool) -> list[Any]:
    """Return one value for each name, of a list, of a dict by name, or of an only value.

    Parameters
    ----------
    what : for errors
    given : the value itself where there `is_one`, else a list or tuple, or a dict by name
    """
    if isinstance(given, dict):
        if set(given) != set(names):
            found = shown(sorted(map(str, given)))
            raise ValueError(f"{what}: expected the keys {sorted(names)}, got {found}")
        return [given[name] for name in names]
    if is_one:
        return [given]
    if not isinstance(given, (list, tuple)) or len(given) != len(names):
        found = f"{len(given)}" if isinstance(given, (list, tuple)) else f"a {type(given).__name__}"
        expected = f"a list of {len(names)}, or a dict by name: {', '.join(names)}"
        raise ValueError(f"{what}: expected {expected}; got {found}")
    return list(given)

"""Subclasses of Model with `call`: the graph is what `call` does to tensors, once shapes are known.

>>> class Tagger(Model):
...     def __init__(self):
...         super().__init__()
...         self.lstm, self.dense = LSTM(64, return_sequences=True), Dense(5)
...
...     def call(self, x, training=None):
...         return self.dense(self.lstm(x, training=training))
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Shape, shown
from ..layers import Layer
from ..layers.symbolic import InputLayer, Tensor, is_symbolic, tensors_in
from .graph import Graph, traced
from .network import Network, end_keys, sorted_by_key

if TYPE_CHECKING:
    from .model import Model

__all__ = ["trace", "trace_for"]


def trace_for(model: Model, x: Any) -> None:
    """Make the graph for inputs like x: an array or a tensor, a list or a dict of them.

    Sizes of axes but the batch and the features are left open where `call` does not need them.
    """
    x = sorted_by_key(x)
    parts = list(x.values()) if isinstance(x, dict) else x
    several = isinstance(parts, (list, tuple)) and all(hasattr(one, "shape") for one in parts)
    several = several and len(parts) > 0
    given = list(parts) if several else [parts if hasattr(parts, "shape") else np.asarray(parts)]
    keys = end_keys(x)
    shapes: list[Shape] = [(None, *one.shape[1:]) for one in given]
    open_sizes: list[Shape] = [(None, *(None,) * (len(one) - 2), *one[1:][-1:]) for one in shapes]
    wholly_open: list[Shape] = [
        (None,) * len(one) if _is_whole(of) else other
        for one, other, of in zip(shapes, open_sizes, given, strict=True)
    ]
    for attempt in (wholly_open, open_sizes):
        try:
            return trace(model, attempt, keys, not several)
        except ValueError:
            pass
    trace(model, shapes, keys, not several)


def _is_whole(x: Any) -> bool:
    return not isinstance(x, Tensor) and np.asarray(x).dtype.kind in "iu"


def trace(
    model: Model, shapes: Sequence[Shape], keys: list[str] | None = None, is_one: bool = True
) -> None:
    """Make the graph for inputs of these shapes, by keys or in order, and build its layers.

    Raises
    ------
    ValueError
        When `call` gives anything but tensors of layers, or the shapes do not fit; the model is
        then as it was.
    """
    inputs = [InputLayer.of(one).output for one in shapes]
    given: Any = inputs[0] if is_one else inputs
    if keys is not None:
        given = dict(zip(keys, inputs, strict=True))
    outputs = sorted_by_key(_called(model, given))
    found = list(tensors_in(outputs))
    graph = traced(inputs, found)
    graph.layers = _in_order_of_attributes(model, graph)
    graph.of_tensors = False
    before = model.graph, model._tensors, model.precision
    try:
        model._set_graph(graph, (inputs, found))
    except BaseException:
        model.graph, model._tensors, model.precision = before
        raise
    model.name_ends(keys, end_keys(outputs))


def _called(model: Any, given: Any) -> Any:
    """Return what `call` gives for tensors: tensors."""
    known = inspect.signature(model.call).parameters
    outputs = model.call(given, **{name: None for name in ("training", "mask") if name in known})
    parts = list(outputs.values()) if isinstance(outputs, dict) else outputs
    whole = parts if isinstance(parts, (list, tuple)) else [parts]
    if not is_symbolic(parts) or not all(isinstance(one, Tensor) for one in whole):
        expected = "tensors that layers gave"
        raise ValueError(f"call: expected {expected}, got {shown(outputs)}")
    if any(isinstance(one.node.layer, InputLayer) for one in whole):
        raise ValueError("call: expected tensors that layers gave, got an input")
    return outputs


def _in_order_of_attributes(model: Any, graph: Graph) -> list[Layer]:
    """Return the layers as Keras lists a subclass's: as they are among the model's attributes."""
    own = {id(layer): n for n, layer in enumerate(_layers_in(list(vars(model).values())))}
    return sorted(graph.layers, key=lambda layer: own.get(id(layer), len(own)))


def _layers_in(value: Any) -> Iterator[Layer]:
    if isinstance(value, Layer):
        yield value
    elif isinstance(value, Network):
        yield value.as_layer()
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _layers_in(part)
    elif isinstance(value, dict):
        yield from _layers_in(list(value.values()))

"""Sequential: a chain of layers that grows."""

from __future__ import annotations

from typing import Any

from ..layers import Layer
from .graph import Graph, chained
from .model import Model
from .nested import Nested
from .network import chain_of

__all__ = ["Sequential"]


class Sequential(Model):
    """A Model that is a chain, whose layers may be added one by one.

    >>> model = Sequential([Input((None, 8))])
    >>> model.add(LSTM(64))

    Parameters
    ----------
    layers : sequence of Layer, optional
        An `Input` may come first.
    name : str, optional
    arguments
        device, dtype, seed and precision, as of `Model`.
    """

    kind = "Sequential"

    def __init__(self, layers: Any = (), name: str | None = None, **arguments: Any):
        graph = layers if isinstance(layers, Graph) else chain_of(layers or [], may_be_empty=True)
        super().__init__(graph, name=name or "sequential", **arguments)

    def add(self, layer: Any) -> None:
        """Put one more layer, or to begin with an `Input`, at the end.

        Raises
        ------
        ValueError
            When the layer does not fit, or the model is compiled: compile it again after.
        """
        if self.optimizer is not None:
            raise ValueError("layer: expected a model that is not compiled to add to")
        graph = chain_of([*self.graph.layers, layer], may_be_empty=True)
        if self.graph.entries[0].shape is not None:
            graph.entries = self.graph.entries
        self._set_graph(graph)

    def pop(self) -> Layer:
        """Take the last layer away and return it; the model is then not compiled.

        Raises
        ------
        ValueError
            When there is none.
        """
        if not self.graph.layers:
            raise ValueError("layers: expected one to take away, got none")
        graph = chained(self.graph.layers[:-1], self.graph.entries[0])
        last: Layer = self.graph.layers[-1]
        self._set_graph(graph)
        self.optimizer, self.loss, self.metrics, self._heads = None, None, [], None
        return last


Nested.makes["Sequential"] = Sequential

"""A whole model step by step: `Model.stream`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array, check_shape, integer
from .naming import by_name

if TYPE_CHECKING:
    from .network import Network

__all__ = ["ModelStream"]


class ModelStream:
    """Steps of a whole model, with a copy of its present weights and a state of zeros.

    Made by `Model.stream`. It may not be used from several threads at once.

    Raises
    ------
    ValueError
        Named by the layer, for what cannot go step by step: layers that need steps still to come
        (both directions, backwards), that move values in time, or that take a state as an input.
    """

    def __init__(self, model: Network, batch_size: int = 1):
        self.batch_size = integer("batch_size", batch_size, 1)
        graph = model.graph
        self._steppers = {layer: layer.stepper(self.batch_size) for layer in model._built_layers()}
        if called := [step.layer.name for step in graph.steps if step.sides or step.constants]:
            expected = "layers that take one input and no arguments to stream"
            raise ValueError(f"{called[0]}: expected {expected}, got some")
        self._check_states(model)
        self._names, self._graph = model.input_names, graph
        self._has_one = len(graph.entries) == 1 and model.input_keys is None
        self._takes_ids = [graph.takes_ids(n) for n in range(len(graph.entries))]
        self._shapes = [(self.batch_size, *shape[2:]) for shape in model.input_shapes or []]
        self._dtype = np.dtype(model.dtype)
        self._chain: list[Callable[..., Any]] = (
            [self._steppers[step.layer].step for step in graph.steps] if graph.is_chain else []
        )

    def _check_states(self, model: Network) -> None:
        """A state belongs to one call, so a layer that has one may stand in the graph once."""
        for layer, stepper in self._steppers.items():
            calls = sum(step.layer is layer for step in model.graph.steps)
            if stepper.reset is not None and calls > 1:
                raise ValueError(f"{layer.name}: expected one call to stream, got {calls}")

    def step(self, x: Any) -> Any:
        """Move one step on.

        Parameters
        ----------
        x : ndarray (batch_size, I), or ids (batch_size,)
            One step of the input, of the model's dtype; of several inputs a list, or a dict.

        Returns
        -------
        ndarray (batch_size, ...)
            One step of the output; of several outputs a list.

        Raises
        ------
        ValueError
            For another shape or dtype; states are as they were.
        """
        if self._chain:
            x = self._taken(0, x)
            for step in self._chain:
                x = step(x)
            return x
        taken = [self._taken(n, one) for n, one in enumerate(self._all(x))]
        values: list[Any] = [*taken, *[None] * (self._graph.slots - len(taken))]
        for call in self._graph.steps:
            found = self._steppers[call.layer].step(self._graph.taken(call, values))
            values[call.outputs[0]] = found
        outputs = [values[slot] for slot in self._graph.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def reset(self, rows: Any = None) -> None:
        """Set all states to zeros, or those of some rows: indices (n,) or bool (batch_size,)."""
        for stepper in self._steppers.values():
            if stepper.reset is not None:
                stepper.reset(rows)

    def _all(self, x: Any) -> list[Any]:
        return by_name("x", x, self._names, self._has_one)

    def _taken(self, entry: int, x: Any) -> Array:
        """Return one step as the layers take it."""
        shape, ids = self._shapes[entry], self._takes_ids[entry]
        x = np.asarray(x)
        if x.shape != shape:
            check_shape("x", x.shape, [("I" if size is None else size) for size in shape])
        if ids or x.dtype == self._dtype:
            return x
        if x.dtype.kind not in "biuf":
            raise ValueError(f"x: expected real numbers, got dtype {x.dtype}")
        return x.astype(self._dtype)

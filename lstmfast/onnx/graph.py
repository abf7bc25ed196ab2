"""A graph of ONNX in the making: nodes, weights, and the array that goes through them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arguments import Array

__all__ = ["Graph", "Signal"]

LAST_TO_FIRST = {"starts": [-1], "ends": [np.iinfo(np.int64).min], "axes": [0], "steps": [-1]}


@dataclass(frozen=True)
class Signal:
    """What one node hands to the next: its name, its number of axes, and if time comes first."""

    name: str
    rank: int
    time_first: bool = False


class Graph:
    """Nodes and initializers in the order in which they are added.

    A node's output is called as the node, `layer/what` as a rule; no layer has a "/" in its name,
    so no two names meet.
    """

    def __init__(self, onnx: Any):
        self._helper, self._numpy_helper = onnx.helper, onnx.numpy_helper
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def weight(self, name: str, value: Array) -> str:
        """Add an initializer and return its name."""
        self.initializers.append(self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, name: str, values: list[int]) -> str:
        return self.weight(name, np.array(values, np.int64))

    def node(
        self, kind: str, name: str, inputs: list[str], outputs: list[str] | None = None,
        **attributes: Any,
    ) -> str:  # fmt: skip
        """Add a node and return the name of its (first) output."""
        outputs = outputs or [name]
        made = self._helper.make_node(kind, inputs, outputs, name, **attributes)
        self.nodes.append(made)
        return outputs[0]

    def squeezed(self, name: str, value: str, axis: int) -> str:
        axes = self.integers(f"{name}/axes", [axis])
        return self.node("Squeeze", name, [value, axes])

    def reshaped(self, name: str, value: str, shape: list[int]) -> str:
        """0 keeps the size of an axis."""
        return self.node("Reshape", name, [value, self.integers(f"{name}/shape", shape)])

    def turned(self, name: str, value: str) -> str:
        """Reverse the first axis."""
        bounds = [self.integers(f"{name}/{key}", value) for key, value in LAST_TO_FIRST.items()]
        return self.node("Slice", name, [value, *bounds])

    def time_first(self, place: str, signal: Signal, wanted: bool) -> Signal:
        """Swap time and batch at `place`, unless they lie as wanted."""
        if signal.rank < 3 or signal.time_first == wanted:
            return signal
        order = [1, 0, *range(2, signal.rank)]
        name = self.node("Transpose", f"{place}/Transpose", [signal.name], perm=order)
        return replace(signal, name=name, time_first=wanted)

    def call_last(self, name: str) -> None:
        """Call the last node's first output `name`."""
        self.nodes[-1].output[0] = name

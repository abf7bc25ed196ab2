"""Graphs of layers: which calls there are, in which order, what each takes and gives.

A graph knows no numbers: `passes` runs them through it. Values are kept in slots; the first ones
are the graph's inputs. A chain is a graph, too, whose shapes need not be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..arguments import Shape
from ..layers import Layer
from ..layers.symbolic import InputLayer, Node, Tensor, tensors_in

__all__ = ["Entry", "Graph", "Step", "chained", "replayed", "traced"]

Slots = int | tuple[int, ...]


@dataclass
class Entry:
    """An input of a graph: the shape that was said, maybe none, and whether ids come in."""

    name: str | None = None
    shape: Shape | None = None
    kind: str | None = None  # "ids", "float", "bool"; None: as the layers take it


@dataclass
class Step:
    """One call of a layer: slots of what it takes and of what it gives; see `symbolic.Node`."""

    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    sides: dict[str, Slots] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)

    def sources(self) -> Iterator[int]:
        """Yield all slots that the call takes."""
        yield from self.inputs
        for slots in self.sides.values():
            yield from (slots,) if isinstance(slots, int) else slots


class Graph:
    """Entries and steps, each behind those that it needs.

    Attributes
    ----------
    entries : list of Entry
        In the slots 0, 1, ...
    steps : list of Step
    outputs : list of int
        Slots.
    layers : list of Layer
        Each once, in Keras's order: from the farthest from the outputs to the nearest.
    of_tensors : bool
        Was it made of tensors, not of a list of layers? Its inputs are among the layers then.
    """

    of_tensors = False

    def __init__(self, entries: Sequence[Entry], steps: Sequence[Step], outputs: Sequence[int]):
        self.entries, self.steps, self.outputs = list(entries), list(steps), list(outputs)
        self.layers = _in_order(self.steps, self.outputs)
        self.slots = len(self.entries) + sum(len(step.outputs) for step in self.steps)
        self._check_ids()

    @property
    def is_chain(self) -> bool:
        """Does each layer take what the one before gave, and that alone?"""
        lone = all(step.inputs == (n,) and not step.sides for n, step in enumerate(self.steps))
        return lone and len(self.entries) == 1 and self.outputs == [len(self.steps)]

    def takes_ids(self, entry: int) -> bool:
        """Do ids come in there?"""
        return any(ids for _, ids in self._takers(entry))

    def is_mask(self, entry: int) -> bool:
        """Does a layer take it for the mask of its input, and none for anything else?"""
        uses = [
            (name, side)
            for step in self.steps
            for name, side in (*((None, slot) for slot in step.inputs), *step.sides.items())
        ]
        names = [name for name, of in uses if entry in ((of,) if isinstance(of, int) else of)]
        return bool(names) and set(names) == {"mask"}

    def takers(self, slot: int) -> list[Any]:
        """Return the layers that take this slot's value."""
        return [step.layer for step in self.steps if slot in step.sources()]

    def heeds_masks(self, entries: Sequence[int]) -> bool:
        """Does a mask of these entries get to a layer that looks at it, or to an output?"""
        masked = set(entries)
        for step in self.steps:
            if not masked.isdisjoint(step.inputs):
                if step.layer.takes_mask:
                    return True
                if step.layer.supports_masking:
                    masked |= set(step.outputs)
        return not masked.isdisjoint(self.outputs)

    def _takers(self, slot: int) -> list[tuple[Any, bool]]:
        """The layers that take this slot's value, and whether as ids."""
        return [
            (step.layer, position < len(step.inputs) and step.layer.takes_ids_at(position))
            for step in self.steps
            for position, source in enumerate(step.sources())
            if source == slot
        ]

    def shapes(self, input_shapes: Sequence[Shape]) -> list[Any]:
        """Return the shape in each slot; ValueError, named by the layer, where one misfits."""
        shapes: list[Any] = [*input_shapes, *[None] * (self.slots - len(self.entries))]
        for step in self.steps:
            try:
                found = step.layer.output_shapes(self.taken(step, shapes), **step.constants)
            except ValueError as error:
                raise ValueError(f"{step.layer.name}: {error}") from error
            for slot, shape in zip(step.outputs, found, strict=True):
                shapes[slot] = shape
        return shapes

    def output_shapes(self, input_shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shape of each output."""
        shapes = self.shapes(input_shapes)
        return [shapes[slot] for slot in self.outputs]

    def taken(self, step: Step, values: Sequence[Any]) -> Any:
        """Return what a step's layer takes: a list, or one."""
        if step.layer.takes_list:
            return [values[slot] for slot in step.inputs]
        return values[step.inputs[0]]

    def built_shapes(self, input_shapes: Sequence[Shape]) -> dict[Layer, Any]:
        """Return the shape that each layer is to be built for."""
        shapes = self.shapes(input_shapes)
        found: dict[Layer, Any] = {}
        for step in self.steps:
            found.setdefault(step.layer, self.taken(step, shapes))
        return {layer: found[layer] for layer in self.layers}

    def with_layers(self, others: dict[Layer, Layer]) -> Graph:
        """Return the same graph of other layers."""
        steps = [
            Step(others[s.layer], s.inputs, s.outputs, s.sides, s.constants) for s in self.steps
        ]
        found = Graph(self.entries, steps, self.outputs)
        found.of_tensors = self.of_tensors
        return found

    def with_inputs(self, inputs: Sequence[InputLayer]) -> list[Any]:
        """Return the layers, and what stands for the entries, in Keras's order."""
        entries = [Step(one, (), (n,)) for n, one in enumerate(inputs)]
        return _in_order([*entries, *self.steps], self.outputs)

    def _check_ids(self) -> None:
        """Raise ValueError where ids come from layers, or numbers, too, go to where ids do."""
        for slot in range(self.slots):
            takers = self._takers(slot)
            late = [layer.name for layer, ids in takers if ids and slot >= len(self.entries)]
            if late:
                raise ValueError(
                    f"layers: expected ids at the inputs alone, got {late} behind others"
                )
            if len({ids for _, ids in takers}) > 1:
                names = [layer.name for layer, _ in takers]
                raise ValueError(f"layers: expected ids or numbers of an input, got both: {names}")


def chained(layers: Sequence[Layer], entry: Entry) -> Graph:
    """Return the graph of layers of which each takes what the one before gave."""
    steps = [Step(layer, (n,), (n + 1,)) for n, layer in enumerate(layers)]
    return Graph([entry], steps, [len(steps)])


def traced(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Graph:
    """Return the graph that leads from these tensors to those.

    Raises
    ------
    ValueError
        When an output needs an input that is not given. An input that leads nowhere is taken, as
        in Keras.
    """
    slots = {(tensor.node, tensor.index): n for n, tensor in enumerate(inputs)}
    if len(slots) < len(inputs):
        raise ValueError("inputs: expected each tensor once, got one twice")
    steps: list[Step] = []
    for node in _needed(outputs, slots):
        first = len(inputs) + sum(len(step.outputs) for step in steps)
        made = tuple(range(first, first + len(node.outputs)))
        slots |= {(node, index): slot for index, slot in enumerate(made)}
        taken = tuple(slots[one.node, one.index] for one in node.inputs)
        sides = {name: _slots_of(side, slots) for name, side in node.sides.items()}
        steps.append(Step(node.layer, taken, made, sides, node.constants))
    entries = [_entry(tensor) for tensor in inputs]
    graph = Graph(entries, steps, [slots[one.node, one.index] for one in outputs])
    graph.of_tensors = True
    return graph


def replayed(graph: Graph, input_shapes: Sequence[Shape]) -> tuple[list[Tensor], list[Tensor]]:
    """Return tensors for the inputs and outputs of a graph that was made without."""
    shapes, tensors = graph.shapes(input_shapes), {}
    for slot, (entry, shape) in enumerate(zip(graph.entries, input_shapes, strict=True)):
        tensors[slot] = InputLayer.of(shape, entry.kind, entry.name).output
    for step in graph.steps:
        taken = [tensors[slot] for slot in step.inputs]
        sides = {
            name: tensors[of] if isinstance(of, int) else tuple(tensors[slot] for slot in of)
            for name, of in step.sides.items()
        }
        made = [shapes[slot] for slot in step.outputs]
        node = Node(step.layer, taken, sides, step.constants, made)
        tensors |= dict(zip(step.outputs, node.outputs, strict=True))
    ends = range(len(graph.entries)), graph.outputs
    return [tensors[slot] for slot in ends[0]], [tensors[slot] for slot in ends[1]]


def _needed(outputs: Sequence[Tensor], given: dict[Any, int]) -> list[Node]:
    """Return the nodes that the outputs need, each behind those that it takes from."""
    found: set[Node] = set()
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if (tensor.node, tensor.index) in given or tensor.node in found:
            continue
        if isinstance(tensor.node.layer, InputLayer):
            expected = "all tensors that the outputs depend on"
            raise ValueError(f"inputs: expected {expected}, {tensor!r} is not among them")
        found.add(tensor.node)
        waiting += tensor.node.sources()
    return sorted(found, key=lambda node: node.serial)


def _slots_of(side: Any, slots: dict[Any, int]) -> Slots:
    if isinstance(side, Tensor):
        return slots[side.node, side.index]
    return tuple(slots[one.node, one.index] for one in tensors_in(side))


def _entry(tensor: Tensor) -> Entry:
    layer = tensor.node.layer
    if isinstance(layer, InputLayer):
        return Entry(layer.name if layer.has_own_name else None, layer.shape, layer.kind)
    return Entry(None, tensor.shape, None)


def _in_order(steps: Sequence[Step], outputs: Sequence[int]) -> list[Layer]:
    """Return the layers as Keras 3 lists them: the farthest from an output first.

    The distance of a layer is the length of the longest way from one of its calls; equals come as
    a search from the outputs meets them. What leads to no output comes before the nearest.
    """
    makers = {slot: n for n, step in enumerate(steps) for slot in step.outputs}
    finished, met = _searched(steps, makers, outputs)
    distances = [0] * len(steps)
    of_layers: dict[Any, int] = {}
    for n in reversed(finished):
        layer = steps[n].layer
        distance = max(distances[n], of_layers.get(layer, 0))
        of_layers[layer] = distance
        for slot in steps[n].sources():
            if slot in makers:
                distances[makers[slot]] = max(distance + 1, distances[makers[slot]])
    places = {layer: n for n, layer in enumerate(met)}
    of_layers |= {step.layer: 0 for step in steps if step.layer not in places}
    return sorted(of_layers, key=lambda layer: (-of_layers[layer], places.get(layer, -1)))


def _searched(
    steps: Sequence[Step], makers: dict[int, int], outputs: Sequence[int]
) -> tuple[list[int], list[Layer]]:
    """Return the steps as a depth-first search leaves them, and the layers as it meets them."""
    finished: list[int] = []
    begun: set[int] = set()
    met: dict[Any, None] = {}
    for output in outputs:
        waiting = [(output, False)]
        while waiting:
            slot, is_left = waiting.pop()
            if slot not in makers:
                continue
            n = makers[slot]
            if is_left:
                finished.append(n)
            elif n not in begun:
                begun.add(n)
                met[steps[n].layer] = None
                sources = [(one, False) for one in steps[n].sources()]
                waiting += [(slot, True), *reversed(sources)]
    return finished, list(met)

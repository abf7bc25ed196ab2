"""What a model is, as JSON can hold it, and back: `Model.to_json`, and the config of model files.

`{"name", "dtype", "seed", "input_shape", "layers", "outputs"}`: the layers in the order of their
calls, each `{"class", "config", "inputs"}`. Of a chain the inputs name what comes before, "input"
first, and `input_shape` is the input's. Of any other graph `input_shape` is null and "inputs" tells
name, shape and dtype of each input, "keys" how they and the outputs are given. A further call of a
layer is `{"layer": its name, "inputs"}`; "sides" and "constants" are other arguments of a call,
"trainable": false says that the layer is held. "class" is "Sequential" of one; "Model" of another
list of layers that is described as a graph. A reference is a name, or [name, call, output].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .. import layers
from ..arguments import Shape, choice, construct, integer, keys, shown
from ..layers import Layer
from ..layers.checks import DTYPES
from ..registry import name_of
from .graph import Entry, Graph, Step, chained

if TYPE_CHECKING:
    from .network import Network

__all__ = ["described", "graph_of"]

INPUT = "input"  # what the only input of a chain is called
KEYS = ("name", "dtype", "seed", "input_shape", "layers", "outputs")
NODE = ("class", "config", "inputs")
FURTHER = ("layer", "inputs")
OF_CALLS = ("sides", "constants", "trainable")
KINDS = (None, "ids", "float", "bool")
CLASSES = ("Sequential", "Model")

Nest = Callable[[dict[str, Any]], Layer]


def described(model: Network) -> dict[str, Any]:
    """Return the description of a built model."""
    graph, shapes = model.graph, model.input_shapes or []
    found = {"name": model.name, "dtype": model.dtype, "seed": model.seed}
    if model.kind == "Sequential":
        found["class"] = model.kind
    entry = graph.entries[0]
    if graph.is_chain and entry.name == INPUT and entry.kind is None and model.has_lists:
        names = [INPUT, *(layer.name for layer in graph.layers)]
        nodes = [_node(step, [name]) for step, name in zip(graph.steps, names, strict=False)]
        shape = list(shapes[0]) if shapes else []
        return {**found, "input_shape": shape, "layers": nodes, "outputs": names[-1:]}
    if not graph.of_tensors:
        found["class"] = model.kind
    references = _references(graph)
    inputs = [
        {"name": entry.name, "shape": list(shape), "dtype": entry.kind}
        for entry, shape in zip(graph.entries, shapes, strict=True)
    ]
    return {
        **found, "input_shape": None, "inputs": inputs, "layers": list(_nodes(graph, references)),
        "outputs": [references[slot] for slot in graph.outputs],
        "keys": {"inputs": model.input_keys, "outputs": model.output_keys},
    }  # fmt: skip


def _references(graph: Graph) -> list[Any]:
    """How each slot is referred to."""
    found: list[Any] = [entry.name for entry in graph.entries] + [None] * graph.slots
    calls: dict[Layer, int] = {}
    for step in graph.steps:
        call = calls[step.layer] = calls.get(step.layer, -1) + 1
        for index, slot in enumerate(step.outputs):
            name = step.layer.name
            found[slot] = name if call == index == 0 else [name, call, index]
    return found


def _nodes(graph: Graph, references: list[Any]) -> Iterator[dict[str, Any]]:
    known: set[Layer] = set()
    for step in graph.steps:
        sources = [references[slot] for slot in step.inputs]
        if step.layer in known:
            node = {"layer": step.layer.name, "inputs": sources}
        else:
            node = _node(step, sources)
        known.add(step.layer)
        if step.sides:
            node["sides"] = {name: _refer(slots, references) for name, slots in step.sides.items()}
        if step.constants:
            node["constants"] = step.constants
        yield node


def _node(step: Step, sources: list[Any]) -> dict[str, Any]:
    layer = step.layer
    config = layer.get_config()
    config.pop("trainable", None)
    node = {"class": name_of(type(layer)), "config": config, "inputs": sources}
    return node if layer.trainable else {**node, "trainable": False}


def _refer(slots: Any, references: list[Any]) -> Any:
    return references[slots] if isinstance(slots, int) else [[references[n]] for n in slots]


# Back.


def graph_of(found: Any, nested: Nest) -> tuple[Graph, dict[str, Any]]:
    """Return the graph of new layers, not built, and the arguments for a Model of it.

    "keys" among them is for `Network.name_ends`, "class" says whether it is a Sequential. `nested`
    makes a layer of the config of a model that is one.

    Raises
    ------
    ValueError
        When it describes no graph of known layers; the text says where.
    """
    extra = [key for key in ("inputs", "keys", "class") if isinstance(found, dict) and key in found]
    found = keys("model", found, (*KEYS, *extra))
    kind = choice("class", found.get("class"), (None, *CLASSES))
    if found["dtype"] not in DTYPES:
        raise ValueError(f"dtype: expected one of {DTYPES}, got {found['dtype']!r}")
    if not isinstance(found["layers"], list) or not found["layers"]:
        raise ValueError(f"layers: expected a list of one or more, got {shown(found['layers'])}")
    arguments = {name: found[name] for name in ("dtype", "seed", "name")}
    arguments["class"] = kind or "Model"
    if "inputs" not in extra:
        return _chain(found, nested), {**arguments, "keys": (None, None)}
    arguments["keys"] = _end_keys(found.get("keys"))
    graph = _Reader(found, nested).graph()
    graph.of_tensors = kind is None
    return graph, arguments


def _chain(found: Any, nested: Nest) -> Graph:
    chain: list[Layer] = []
    source = INPUT
    for index, node in enumerate(found["layers"]):
        name = f"layers[{index}]"
        chain.append(_layer(name, node, nested))
        if node["inputs"] != [source]:
            raise ValueError(f"{name}: expected the inputs {[source]}, got {shown(node['inputs'])}")
        source = chain[-1].name
    if found["outputs"] != [source]:
        raise ValueError(f"outputs: expected {[source]}, got {shown(found['outputs'])}")
    return chained(chain, Entry(INPUT, _shape(found["input_shape"])))


def _layer(name: str, node: Any, nested: Nest) -> Layer:
    optional = [key for key in OF_CALLS if isinstance(node, dict) and key in node]
    node = keys(name, node, (*NODE, *optional))
    if not isinstance(node["config"], dict) or not isinstance(node["config"].get("name"), str):
        raise ValueError(f"{name}: expected a config with a name, got {shown(node['config'])}")
    if node.get("trainable", True) not in (True, False):
        raise ValueError(f"{name}: trainable: expected true or false, got {node['trainable']!r}")
    if node["class"] == "Nested":
        layer = nested(node["config"])
    else:
        layer = construct(name, {**node["config"], "class": node["class"]}, layers.CLASSES)
    if not node.get("trainable", True):
        layer.trainable = False  # True would be said to all that it holds
    return layer


def _shape(found: Any) -> Shape:
    if not isinstance(found, list) or not found:
        raise ValueError(f"input_shape: expected a list of sizes, got {shown(found)}")
    return tuple(None if size is None else integer("input_shape", size, 1) for size in found)


def _end_keys(found: Any) -> tuple[Any, Any]:
    found = keys("keys", found, ("inputs", "outputs"))
    for name, names in found.items():
        if names is not None and not _are_words(names):
            raise ValueError(f"keys: {name}: expected a list of words, got {shown(names)}")
    return found["inputs"], found["outputs"]


def _are_words(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


class _Reader:
    """Makes steps of nodes: which layer, and which slots are meant."""

    def __init__(self, found: Any, nested: Nest):
        self.found, self.nested = found, nested
        self.entries = self._entries(found["inputs"])
        self.slots: dict[tuple[str, int, int], int] = {
            (str(entry.name), 0, 0): n for n, entry in enumerate(self.entries)
        }
        self.layers: dict[str, Layer] = {}
        self.calls: dict[str, int] = {}

    def graph(self) -> Graph:
        steps: list[Step] = []
        for index, node in enumerate(self.found["layers"]):
            try:
                steps.append(self._step(index, node))
            except ValueError as error:
                raise ValueError(f"layers[{index}]: {error}") from error
        outputs = self.found["outputs"]
        if not isinstance(outputs, list) or not outputs:
            raise ValueError(f"outputs: expected a list of one or more, got {shown(outputs)}")
        return Graph(self.entries, steps, [self._slot(one) for one in outputs])

    def _entries(self, found: Any) -> list[Entry]:
        if not isinstance(found, list) or not found:
            raise ValueError(f"inputs: expected a list of one or more, got {shown(found)}")
        entries = []
        for index, entry in enumerate(found):
            entry = keys(f"inputs[{index}]", entry, ("name", "shape", "dtype"))
            if not isinstance(entry["name"], str) or entry["dtype"] not in KINDS:
                raise ValueError(
                    f"inputs[{index}]: expected name, shape, dtype, got {shown(entry)}"
                )
            entries.append(Entry(entry["name"], _shape(entry["shape"]), entry["dtype"]))
        return entries

    def _step(self, index: int, node: Any) -> Step:
        if isinstance(node, dict) and "layer" in node:
            node = keys("node", node, (*FURTHER, *(key for key in OF_CALLS[:2] if key in node)))
            if not isinstance(node["layer"], str) or node["layer"] not in self.layers:
                raise ValueError(f"layer: expected a layer before it, got {shown(node['layer'])}")
            layer = self.layers[node["layer"]]
        else:
            layer = _layer("node", node, self.nested)
            if layer.name in self.layers:
                raise ValueError(f"name: expected one of its own, got {layer.name!r} twice")
            self.layers[layer.name] = layer
        inputs = tuple(self._slot(one) for one in self._list("inputs", node["inputs"]))
        if not inputs or (len(inputs) > 1 and not layer.takes_list):
            raise ValueError(f"inputs: expected those of {layer.name}, got {len(inputs)}")
        sides, constants = node.get("sides", {}), node.get("constants", {})
        if not isinstance(sides, dict) or not isinstance(constants, dict):
            raise ValueError(f"sides: expected arguments by name, got {shown([sides, constants])}")
        for name, value in constants.items():
            layer.check_constant(name, value)
        named = {name: self._side(side) for name, side in sides.items()}
        return Step(layer, inputs, self._made(layer, constants), named, constants)

    def _made(self, layer: Layer, constants: dict[str, Any]) -> tuple[int, ...]:
        """Take slots for what the next call of a layer gives."""
        call = self.calls[layer.name] = self.calls.get(layer.name, -1) + 1
        first = max(self.slots.values()) + 1
        made = range(first, first + layer.outputs_of(**constants))
        self.slots |= {(layer.name, call, index): slot for index, slot in enumerate(made)}
        return tuple(made)

    def _side(self, side: Any) -> Any:
        if isinstance(side, list) and all(isinstance(one, list) and len(one) == 1 for one in side):
            return tuple(self._slot(one[0]) for one in side)
        return self._slot(side)

    def _slot(self, reference: Any) -> int:
        full = reference if isinstance(reference, list) else [reference, 0, 0]
        is_one = len(full) == 3 and isinstance(full[0], str)
        numbers = is_one and all(type(number) is int for number in full[1:])
        if not numbers or tuple(full) not in self.slots:
            raise ValueError(f"inputs: expected what comes before, got {shown(reference)}")
        return self.slots[tuple(full)]  # type: ignore[index]

    @staticmethod
    def _list(name: str, found: Any) -> list[Any]:
        if not isinstance(found, list):
            raise ValueError(f"{name}: expected a list, got {shown(found)}")
        return found

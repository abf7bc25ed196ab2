"""A graph of layers with their weights: what a Model is before it is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..arguments import LARGEST_SEED, Array, Shape, choice, flag, integer, shown
from ..layers import Layer
from ..layers.checks import DTYPES, check_precision, in_a_list, sizes
from ..layers.quantized import Quantized
from ..layers.recurrent import Recurrent
from ..layers.symbolic import InputLayer, Tensor, tensors_in
from ..layers.variables import HasWeights, Variable
from ..layers.wrapper import Wrapper
from ..ops.placement import assign_all, check_device
from ..seeding import generator
from ..whole import Attributes, or_as_before, with_copies
from . import passes
from .graph import Entry, Graph, chained, replayed, traced
from .naming import name_all

__all__ = ["Network", "chain_of", "end_keys", "graph_of", "sorted_by_key"]


Ends = tuple[list[Tensor], list[Tensor]]


class Network(HasWeights):
    """The half of `Model` that knows layers and weights, but no training.

    Attributes
    ----------
    graph : Graph
    input_names, output_names : list of str
    input_keys, output_keys : list of str, or None
        The keys of inputs and outputs where they were given as a dict.
    input_shapes : list of Shape, or None until built
        Of each input, the batch included.
    """

    kind = "Model"  # as files know it: that, or "Sequential"
    is_open = False  # has it no graph yet, being a subclass with `call`?

    def __init__(
        self, graph: Graph, dtype: str, seed: int | None, name: str | None, device: str = "cpu",
        precision: str | None = None, tensors: Ends | None = None,
    ):  # fmt: skip
        self.dtype = choice("dtype", dtype, DTYPES)
        self.seed = None if seed is None else integer("seed", seed, 0, LARGEST_SEED)
        self.name = "model" if name is None else name
        if not isinstance(self.name, str):
            raise ValueError(f"name: expected a str, got {shown(name)}")
        self.rng = generator(self.seed)
        self.input_shapes: list[Shape] | None = None
        self.device, self.precision = device, precision
        self.input_keys: list[str] | None = None
        self.output_keys: list[str] | None = None
        self._set_graph(graph, tensors)

    def _set_graph(self, graph: Graph, given: Ends | None = None) -> None:
        """Take a graph, and build its layers where the shapes of inputs are known.

        `given` are the tensors that it was traced from.
        """
        name_all(graph)
        precision = self.precision
        if any(isinstance(layer, Quantized) for layer in graph.layers):
            precision = precision or "int8"
        self._check_place(graph.layers, self.device, precision)
        shapes = self.input_shapes or [entry.shape for entry in graph.entries if entry.shape]
        is_known = len(shapes) == len(graph.entries)
        if is_known:
            graph.shapes(shapes)  # nothing has changed if one misfits
        self.graph, self.precision = graph, precision
        self._tensors = replayed(graph, shapes) if is_known and given is None else given
        self.name_ends(self.input_keys, self.output_keys)
        if is_known:
            self._build_all(shapes)

    def name_ends(self, inputs: list[str] | None, outputs: list[str] | None) -> None:
        """Name inputs and outputs by the keys of dicts, or for None as their layers."""
        self.input_keys, self.output_keys = inputs, outputs
        self.input_names = inputs or [str(entry.name) for entry in self.graph.entries]
        self.output_names = outputs or _output_names(self.graph)

    @property
    def has_lists(self) -> bool:
        """Are inputs and outputs given in order, not by keys?"""
        return self.input_keys is None and self.output_keys is None

    @property
    def layers(self) -> list[Any]:
        """The layers, each once: those of a chain in its order, of a graph as Keras lists them.

        That is, with an `InputLayer` for each input, and without the arithmetic of tensors.
        """
        return [one for one in self.operations if not getattr(one, "is_operation", False)]

    @property
    def operations(self) -> list[Any]:
        """The layers, a Model where that is one, and the arithmetic of tensors."""
        return self._nodes()

    def _nodes(self) -> list[Any]:
        """What a table of the graph has rows for."""
        if not self.graph.of_tensors:
            return list(self.graph.layers)
        return self.graph.with_inputs([self._input_layer(n) for n in range(len(self.inputs))])

    def _input_layer(self, n: int) -> InputLayer:
        """The layer of an input: its own, or one for the tensor of another layer."""
        tensor, entry = self.inputs[n], self.graph.entries[n]
        layer = tensor.node.layer
        if not isinstance(layer, InputLayer):
            layer = InputLayer.of(tensor.shape, entry.kind, entry.name)
        layer.name = str(entry.name)
        return layer

    @property
    def input_shape(self) -> Any:
        """The shape of the input, the batch included; of several a list; None until built."""
        if self.input_shapes is None or len(self.input_shapes) > 1:
            return self.input_shapes
        return self.input_shapes[0]

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors that the graph begins with."""
        return self._ends()[0]

    @property
    def outputs(self) -> list[Tensor]:
        """The tensors that the graph ends in."""
        return self._ends()[1]

    @property
    def input(self) -> Any:
        """The tensor that the graph begins with; of several a list."""
        return self.inputs if len(self.inputs) > 1 else self.inputs[0]

    @property
    def output(self) -> Any:
        """The tensor that the graph ends in; of several a list."""
        return self.outputs if len(self.outputs) > 1 else self.outputs[0]

    def _ends(self) -> Ends:
        self._built_layers()
        if self._tensors is None:
            self._tensors = replayed(self.graph, self.input_shapes or [])
        return self._tensors

    def __getstate__(self) -> dict[str, Any]:
        """All but the tensors, which are made again where they are asked for: for copies."""
        return {**self.__dict__, "_tensors": None}

    @property
    def output_shape(self) -> Any:
        """The shape of the output, the batch included; of several a list."""
        self._built_layers()
        shapes = self.graph.output_shapes(self.input_shapes or [])
        return shapes[0] if len(shapes) == 1 else shapes

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output, of several a list, for inputs of this shape."""
        shapes = self.graph.output_shapes(self._each(input_shape))
        return shapes[0] if len(shapes) == 1 else shapes

    def _each(self, input_shape: Any) -> list[Shape]:
        """Return the shape of each input; ValueError for other things."""
        given = [input_shape] if len(self.graph.entries) == 1 else input_shape
        if not isinstance(given, list) or len(given) != len(self.graph.entries):
            expected = f"a list of {len(self.graph.entries)} shapes"
            raise ValueError(f"input_shape: expected {expected}, got {shown(input_shape)}")
        return [sizes("input_shape", shape, 0) for shape in given]

    def meet(self, x: Any) -> None:
        """Make the graph, if there is none yet, for inputs like x."""

    def as_layer(self) -> Layer:
        """Return this model as a layer of others, always the same one."""
        raise NotImplementedError

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """Return a layer by its name, or by its place in `layers`; a Model where that is one."""
        if (name is None) == (index is None):
            raise ValueError(f"name: expected a name or an index, got {name!r} and {index!r}")
        found = self.layers if name is None else self.operations
        if index is not None:
            return found[integer("index", index, -len(found), len(found) - 1)]
        names = [layer.name for layer in found]
        return found[names.index(choice("name", name, names))]

    def build(self, input_shape: Any) -> None:
        """Draw the weights for inputs of this shape, batch first: (None, None, 8).

        Of several inputs a list of shapes. Does nothing to layers that are built; ValueError when
        one does not fit, and then none is built.
        """
        self._build_all(self._each(input_shape))

    def _build_all(self, input_shapes: list[Shape]) -> None:
        shapes = self.graph.built_shapes(input_shapes)
        for layer, shape in shapes.items():
            layer.param_shapes(shape)
            layer.check_dtype(self.dtype)
            if layer.built and layer.dtype != self.dtype:
                raise ValueError(f"{layer.name}: expected dtype {self.dtype}, got {layer.dtype}")
        before = [
            *self._generator(),
            *(one for layer in self.graph.layers for one in layer.as_it_is()),
        ]
        before.append((self, "input_shapes", self.input_shapes))
        or_as_before(before, self._build, shapes, input_shapes)

    def _build(self, shapes: dict[Layer, Any], input_shapes: list[Shape]) -> None:
        for layer, shape in shapes.items():
            if not layer.built:
                layer.build(shape, self.rng, self.dtype)
            if (layer.device, layer.precision) != (self.device, self.precision):
                layer.to(self.device, self.precision)
        self.input_shapes = input_shapes

    @property
    def built(self) -> bool:
        return self.input_shapes is not None

    @property
    def params(self) -> list[Array]:
        """The weights that train, in the layers' order and layout, for `optimizer.apply`."""
        return [w for layer in self._built_layers() for w in layer.trained.values()]

    @property
    def weights(self) -> list[Variable]:
        return [one for layer in self.graph.layers for one in layer.weights]

    @property
    def trainable(self) -> bool:
        """Does any layer train? Setting it tells all of them."""
        return any(layer.trainable for layer in self.graph.layers)

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        for layer in [*self.graph.layers, *self.layers]:
            layer.trainable = flag("trainable", trainable)

    def _all_params(self) -> list[Array]:
        return _params_of(self._built_layers())

    def get_weights(self) -> list[Array]:
        """Return copies of all weights in Keras's order and layout."""
        return [weight for layer in self._built_layers() for weight in layer.get_weights()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Copy weights, in Keras's order and layout, into the layers.

        Raises
        ------
        ValueError
            When their number, a shape or a dtype does not fit; then none is set.
        """
        params, rest = self._all_params(), in_a_list("weights", weights)
        if len(rest) != len(params):
            raise ValueError(f"weights: expected {len(params)} arrays, got {len(rest)}")
        checked = []
        for layer in self.graph.layers:
            own, rest = rest[: len(layer.params)], rest[len(layer.params) :]
            checked += layer.check_weights(own)
        assign_all(params, checked)

    def count_params(self) -> int:
        """Return the number of single weights."""
        return sum(layer.count_params() for layer in self._built_layers())

    def penalty(self) -> float:
        """Return what the layers' regularizers add to the loss; 0 without any."""
        return sum((layer.penalty() for layer in self._built_layers() if layer.trainable), 0.0)

    def constrain(self) -> None:
        """Change the weights as the layers' constraints want; `fit` does it after each step.

        After an exception all weights are as before.
        """
        bound = [one for one in self._built_layers() if one.trainable and one.is_constrained]
        if bound:
            with_copies(_params_of(bound), [], self._constrain, bound)

    def _constrain(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            layer.constrain()

    def reset_state(self) -> None:
        """Let the stateful layers start their next batch from zeros."""
        for layer in self._recurrent():
            layer.reset_state()

    def _lend_rng(self) -> None:
        """Let the layers draw what they drop from the model's generator."""
        for layer in self.graph.layers:
            layer.rng = self.rng

    def _run(
        self, xs: Sequence[Array], masks: Sequence[Any], training: bool = False,
        linear: Sequence[int] = (),
    ) -> passes.Tape:  # fmt: skip
        """Run one batch; outputs in `linear` are the sums before their layer's activation."""
        if training:
            self._lend_rng()
        return passes.forward(self.graph, xs, masks, training, linear)

    def _states(self) -> Attributes:
        """What passes change in layers: states that are kept, moving means."""
        return [one for layer in self.graph.layers for one in layer.changing()]

    def _generator(self) -> Attributes:
        """Where the generator is."""
        return [(self.rng.bit_generator, "state", self.rng.bit_generator.state)]

    def _check_place(self, layers: Sequence[Layer], device: str, precision: str | None) -> None:
        """Raise ValueError unless every layer can be on this device."""
        check_device(device)
        check_precision(precision, device, [self.dtype])
        for layer in layers:
            layer.check_place(device, precision)

    def _build_for(self, xs: Sequence[Array]) -> None:
        if not self.built:
            self._build_all([(None, *x.shape[1:]) for x in xs])

    def _built_layers(self) -> list[Layer]:
        if not self.built:
            raise ValueError(f"{self.name}: is not built; call build(input_shape)")
        return self.graph.layers

    def _recurrent(self) -> Iterator[Recurrent]:
        return (one for one in _with_inner(self.graph.layers) if isinstance(one, Recurrent))


def _with_inner(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Yield the layers, and those that they hold."""
    for layer in layers:
        yield layer
        if isinstance(layer, Wrapper):
            yield from _with_inner(layer.inner.values())


def _params_of(layers: Sequence[Layer]) -> list[Array]:
    return [param for layer in layers for param in layer.params.values()]


def graph_of(layers: Any, inputs: Any, outputs: Any) -> Graph:
    """Return the graph of a list of layers, or of tensors from inputs to outputs."""
    if isinstance(layers, Graph):
        return layers
    if inputs is None and outputs is None:
        return chain_of(layers)
    if layers is not None:
        raise ValueError("layers: expected None with inputs and outputs, got some")
    ends = {"inputs": inputs, "outputs": outputs}
    for name, given in ends.items():
        parts = given.values() if isinstance(given, dict) else given
        found = [given] if isinstance(given, Tensor) else list(parts) if parts else []
        if not found or not all(isinstance(one, Tensor) for one in found):
            raise ValueError(f"{name}: expected tensors of Input and layers, got {shown(given)}")
    graph = traced(list(tensors_in(inputs)), list(tensors_in(outputs)))
    if not graph.steps:
        raise ValueError("outputs: expected a tensor that a layer gave, got an input")
    return graph


def chain_of(layers: Any, may_be_empty: bool = False) -> Graph:
    """Return the graph of a list of layers, in which an `Input` may come first.

    Raises
    ------
    ValueError
        Without layers, with one twice, or with one of several inputs or outputs.
    """
    found = list(layers) if isinstance(layers, (list, tuple)) else []
    entry = Entry("input")
    found = [one.output if isinstance(one, InputLayer) else one for one in found]
    if found and isinstance(found[0], Tensor) and isinstance(found[0].node.layer, InputLayer):
        first = found.pop(0).node.layer
        entry = Entry(first.name if first.has_own_name else "input", first.shape, first.kind)
    found = _with_models(found, entry)
    is_empty = not found and not may_be_empty
    if is_empty or not all(isinstance(layer, Layer) for layer in found):
        raise ValueError(f"layers: expected a list of one layer or more, got {shown(layers)}")
    if len({id(layer) for layer in found}) < len(found):
        raise ValueError("layers: expected each layer once, got one twice")
    if more := [layer.name for layer in found if layer.takes_list or not layer.single_output]:
        barred = "no return_state, return_cells, time_major or static_size, no merging layer"
        expected = f"one output each, batch first, of one input ({barred}; see Input)"
        raise ValueError(f"layers: expected {expected}, got {more}")
    if entry.shape is None and found:
        entry.shape = found[0].input_shape
    return chained(found, entry)


def _with_models(found: list[Any], entry: Entry) -> list[Any]:
    """Return the layers with those of Models in their place.

    A Model that has no graph yet gets one for what the layers before it give, if that is known.
    """
    layers: list[Any] = []
    for one in found:
        if not isinstance(one, Network):
            layers.append(one)
            continue
        are_layers = all(isinstance(layer, Layer) for layer in layers)
        shape = entry.shape or (layers[0].input_shape if layers and are_layers else None)
        if one.is_open and are_layers and shape is not None:
            one.meet(InputLayer.of(chained(layers, entry).output_shapes([shape])[0]).output)
        layers.append(one.as_layer())
    return layers


def end_keys(ends: Any) -> list[str] | None:
    """The keys of inputs or outputs that are given as a dict."""
    return [str(key) for key in ends] if isinstance(ends, dict) else None


def sorted_by_key(ends: Any) -> Any:
    """Return a dict in the order of its keys, as Keras 3 takes it, and anything else as it is."""
    return dict(sorted(ends.items())) if isinstance(ends, dict) else ends


def _output_names(graph: Graph) -> list[str]:
    """The names of the layers that outputs come from; of one with several, a number behind them."""
    makers = {slot: step for step in graph.steps for slot in step.outputs}
    entries = {n: str(entry.name) for n, entry in enumerate(graph.entries)}
    layers = [entries.get(slot) or makers[slot].layer.name for slot in graph.outputs]
    found: list[str] = []
    for name in layers:
        wanted = [name] if layers.count(name) == 1 else []
        wanted += [f"{name}_{number}" for number in range(len(layers) + 1)]
        found.append(next(one for one in wanted if one not in (*found, *set(layers) - {name})))
    return found

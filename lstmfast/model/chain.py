"""A chain of layers with their weights, and what must hold for layers to stand in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..arguments import LARGEST_SEED, Array, Shape, choice, integer, shape_text, shown
from ..layers import Dense, Layer
from ..layers.checks import DTYPES, check_precision, in_a_list, sizes
from ..layers.quantized import Quantized
from ..layers.recurrent import Recurrent
from ..losses import Crossentropy, Loss
from ..ops.placement import assign_all, check_device
from ..whole import Attributes, or_as_before, with_copies

__all__ = ["Chain", "check_loss", "metric_names", "shapes_through"]

ACCURACIES = {
    "accuracy": ("SparseCategoricalCrossentropy", "CategoricalCrossentropy"),
    "acc": ("SparseCategoricalCrossentropy", "CategoricalCrossentropy"),
    "sparse_categorical_accuracy": ("SparseCategoricalCrossentropy",),
    "categorical_accuracy": ("CategoricalCrossentropy",),
}


class Chain:
    """The half of `Model` that knows layers and weights, but no training."""

    def __init__(
        self, layers: Sequence[Layer], dtype: str, seed: int | None, name: str | None,
        device: str = "cpu", precision: str | None = None,
    ):  # fmt: skip
        self.dtype = choice("dtype", dtype, DTYPES)
        self.seed = None if seed is None else integer("seed", seed, 0, LARGEST_SEED)
        self.name = "model" if name is None else name
        if not isinstance(self.name, str):
            raise ValueError(f"name: expected a str, got {shown(name)}")
        self.layers = with_unique_names(layers)
        self.rng = np.random.default_rng(self.seed)
        self.input_shape: Shape | None = None
        if any(isinstance(layer, Quantized) for layer in self.layers):
            precision = precision or "int8"
        self._check_place(device, precision)
        self.device, self.precision = device, precision
        if self.layers[0].input_shape is not None:
            self.build(self.layers[0].input_shape)

    def build(self, input_shape: Shape) -> None:
        """Draw the weights for inputs of this shape, batch first: (None, None, 8).

        Does nothing to layers that are built; ValueError when one does not fit, and then none
        is built.
        """
        shapes = shapes_through(self.layers, sizes("input_shape", input_shape, 0))
        for layer, shape in zip(self.layers, shapes, strict=False):
            layer.param_shapes(shape)
            if layer.built and layer.dtype != self.dtype:
                raise ValueError(f"{layer.name}: expected dtype {self.dtype}, got {layer.dtype}")
        before = [*self._generator(), *(one for layer in self.layers for one in layer.as_it_is())]
        or_as_before([*before, (self, "input_shape", self.input_shape)], self._build, shapes)

    def _build(self, shapes: list[Shape]) -> None:
        for layer, shape in zip(self.layers, shapes, strict=False):
            if not layer.built:
                layer.build(shape, self.rng, self.dtype)
            if (layer.device, layer.precision) != (self.device, self.precision):
                layer.to(self.device, self.precision)
        self.input_shape = shapes[0]

    @property
    def built(self) -> bool:
        return self.input_shape is not None

    @property
    def params(self) -> list[Array]:
        """The weights themselves, in the layers' order and layout, for `optimizer.apply`."""
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
        params, rest = self.params, in_a_list("weights", weights)
        if len(rest) != len(params):
            raise ValueError(f"weights: expected {len(params)} arrays, got {len(rest)}")
        checked = []
        for layer in self.layers:
            own, rest = rest[: len(layer.params)], rest[len(layer.params) :]
            checked += layer.check_weights(own)
        assign_all(params, checked)

    def count_params(self) -> int:
        """Return the number of single weights."""
        return sum(layer.count_params() for layer in self._built_layers())

    def penalty(self) -> float:
        """Return what the layers' regularizers add to the loss; 0 without any."""
        return sum((layer.penalty() for layer in self._built_layers()), 0.0)

    def constrain(self) -> None:
        """Change the weights as the layers' constraints want; `fit` does it after each step.

        After an exception all weights are as before.
        """
        bound = [layer for layer in self._built_layers() if layer.is_constrained]
        if bound:
            with_copies(_params_of(bound), [], self._constrain, bound)

    def _constrain(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            layer.constrain()

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print a table of the layers, their output shapes and numbers of weights."""
        rows = [("Layer (type)", "Output shape", "Parameters")]
        layers, input_shape = self._built_layers(), self.input_shape or ()
        _, *shapes = shapes_through(layers, input_shape)
        for layer, shape in zip(layers, shapes, strict=True):
            title = f"{layer.name} ({type(layer).__name__})"
            rows.append((title, shape_text(shape), f"{layer.count_params():,}"))
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print_fn(f"Model: {self.name}")
        for title, text, count in rows:
            print_fn(f"{title:<{wide[0]}}  {text:<{wide[1]}}  {count:>{wide[2]}}")
        print_fn(f"Total parameters: {self.count_params():,}")

    def reset_state(self) -> None:
        """Let the stateful layers start their next batch from zeros."""
        for layer in self._recurrent():
            layer.reset_state()

    def _run(self, x: Array, training: bool = False, logits: bool = False) -> Array:
        """Return the outputs of one batch; with `logits`, those sums, free to be overwritten."""
        if training:
            for layer in self.layers:
                layer.rng = self.rng
        *others, last = self.layers
        for layer in others:
            x = layer.forward(x, training)
        if not logits:
            return last.forward(x, training)
        if isinstance(last, Dense) and last.activation in ("linear", "softmax"):
            return last.forward_linear(x, training)
        return last.forward(x, training).copy()

    def _states(self) -> Attributes:
        """What stateful layers go on from."""
        return [(one, "_state", one._state) for one in self._recurrent() if one.stateful]

    def _generator(self) -> Attributes:
        """Where the generator is."""
        return [(self.rng.bit_generator, "state", self.rng.bit_generator.state)]

    def _check_place(self, device: str, precision: str | None) -> None:
        """Raise ValueError unless every layer can be on this device."""
        check_device(device)
        check_precision(precision, device, [self.dtype])
        for layer in self.layers:
            layer.check_place(device, precision)

    def _build_for(self, x: Array) -> None:
        if not self.built:
            self.build((None, *x.shape[1:]))

    def _built_layers(self) -> list[Layer]:
        if not self.built:
            raise ValueError(f"{self.name}: is not built; call build(input_shape)")
        return self.layers

    def _recurrent(self) -> Iterator[Recurrent]:
        return (layer for layer in self.layers if isinstance(layer, Recurrent))


def _params_of(layers: Sequence[Layer]) -> list[Array]:
    return [param for layer in layers for param in layer.params.values()]


def shapes_through(layers: Sequence[Layer], input_shape: Shape) -> list[Shape]:
    """Return the shape of the input and of each layer's output; ValueError if one misfits."""
    shapes = [input_shape]
    for layer in layers:
        try:
            shapes.append(layer.output_shape(shapes[-1]))
        except ValueError as error:
            raise ValueError(f"{layer.name}: {error}") from error
    return shapes


def with_unique_names(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers, each with a name of its own: lstm, lstm_1, ...

    Raises
    ------
    ValueError
        Without layers, with one twice, with one of several outputs or time-major, with a name
        twice, or with an Embedding behind others.
    """
    found = list(layers) if isinstance(layers, (list, tuple)) else []
    if not found or not all(isinstance(layer, Layer) for layer in found):
        raise ValueError(f"layers: expected a list of one layer or more, got {shown(layers)}")
    if len({id(layer) for layer in found}) < len(found):
        raise ValueError("layers: expected each layer once, got one twice")
    if more := [layer.name for layer in found if not layer.single_output]:
        barred = "no return_state, return_cells, time_major or static_size"
        expected = f"one output each, batch first, of one input ({barred})"
        raise ValueError(f"layers: expected {expected}, got {more}")
    if late := [layer.name for layer in found[1:] if layer.takes_ids]:
        raise ValueError(f"layers: expected ids at the first layer only, got {late}")
    own = [layer.name for layer in found if layer.has_own_name]
    if len(set(own)) < len(own) or "input" in own:
        raise ValueError(f"layers: expected different names, none of them 'input', got {own}")
    _name_others(found, set(own))
    return found


def _name_others(layers: list[Layer], taken: set[str]) -> None:
    for layer in layers:
        if not layer.has_own_name:
            kind = type(layer).__name__.lower()
            candidates = [kind, *(f"{kind}_{number}" for number in range(1, len(layers) + 1))]
            layer.name = next(name for name in candidates if name not in taken)
            taken.add(layer.name)


def check_loss(loss: Loss | None, layers: Sequence[Layer]) -> None:
    """Raise ValueError for a loss that cannot fall, or that would see no softmax, or two of them.

    A softmax over one number is one whatever it gets, so nothing before it could learn.
    """
    last = layers[-1]
    softmax = isinstance(last, Dense) and last.activation == "softmax"
    if isinstance(loss, Crossentropy) and loss.from_logits is softmax:
        expected = "from_logits=False" if softmax else "a Dense(activation='softmax') at the end"
        instead = "" if softmax else ", or from_logits=True"
        raise ValueError(f"loss: expected {expected}{instead}, got {loss.get_config()}")
    for layer in layers if loss else ():
        if isinstance(layer, Dense) and layer.activation == "softmax" and layer.units == 1:
            expected = "a softmax over two units or more (of two classes: units=2)"
            raise ValueError(f"{layer.name}: expected {expected} to learn from, got units=1")


def metric_names(metrics: Sequence[str] | None, loss: Loss | None) -> list[str]:
    """Return the names; ValueError for an unknown one and for one that the loss does not fit."""
    if metrics is not None and not isinstance(metrics, (list, tuple)):
        raise ValueError(f"metrics: expected a list of names, got {shown(metrics)}")
    names = [choice("metrics", name, ACCURACIES) for name in metrics or ()]
    for name in names:
        if type(loss).__name__ not in ACCURACIES[name]:
            fits = " or ".join(ACCURACIES[name])
            raise ValueError(f"metrics: expected {fits} for {name!r}, got {type(loss).__name__}")
    if len(set(names)) < len(names):
        raise ValueError(f"metrics: expected each name once, got {names}")
    return names

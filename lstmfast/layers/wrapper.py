"""What layers share that hold other layers: weights, caches, devices and configs of those."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..arguments import Array, Shape, construct, keys, shown
from ..constraints import Constraint
from ..regularizers import Regularizer
from ..whole import Attributes, or_as_before
from .base import Layer
from .checks import held_params, in_a_list, sizes
from .variables import Variable

__all__ = ["Wrapper", "with_layers_told"]


class Wrapper(Layer):
    """A layer that holds others: `inner`, by the words that come before their weights' names.

    `params`, `grads` and all else of the weights are those of the inner layers, in their order, by
    names such as `forward/W_ih`. `rng`, `trainable`, device and precision are handed on to them. A
    subclass calls `_hold` in its constructor, says by `_inner_shape` what its layers are built for,
    and takes their caches by `_taken` and gives them back by `_put_back`.
    """

    classes: ClassVar[Mapping[str, type[Layer]]] = {}  # of inner layers; `lstmfast.layers` fills it
    nested: ClassVar[Callable[[dict[str, Any]], Layer]]  # of a Model; `model.nested` fills it
    inner: dict[str, Layer]

    def __init__(self, name: str | None, input_shape: Shape | None = None):
        self.inner = {}
        super().__init__(name, None, input_shape)

    def _hold(self, **inner: Layer) -> None:
        """Take the inner layers."""
        self.inner = inner
        self.draws = any(layer.draws for layer in inner.values())
        self.takes_ids = any(layer.takes_ids for layer in inner.values())

    def _inner_shape(self, input_shape: Shape) -> Shape:
        """The shape of what the inner layers get for an input of this one."""
        return input_shape

    @classmethod
    def _layer(cls, argument: str, given: Any) -> Layer:
        """Return a layer: `given` itself, that of a Model, or what `get_config` told of one."""
        if isinstance(given, Layer):
            return given
        if hasattr(given, "as_layer"):
            made: Layer = given.as_layer()
            return made
        if not isinstance(given, Mapping):
            raise ValueError(f"{argument}: expected a layer, got {shown(given)}")
        told = keys(argument, given, ("class", "config"))
        config = told["config"] if isinstance(told["config"], Mapping) else {}
        if told["class"] == "Nested":
            return cls.nested(dict(config))
        return construct(argument, {**config, "class": told["class"]}, cls.classes)

    def get_config(self) -> dict[str, Any]:
        return with_layers_told(super().get_config())

    # The weights, whose home are the inner layers.

    def _gathered(self, ask: Callable[[Layer], Mapping[str, Any]]) -> dict[str, Any]:
        """What a question to each inner layer brings, by the names of `params`."""
        return {
            f"{prefix}/{name}": value
            for prefix, layer in self.inner.items()
            for name, value in ask(layer).items()
        }

    def _parted(self, whole: Mapping[str, Any]) -> Iterator[tuple[Layer, dict[str, Any]]]:
        """The inner layers, each with its part of what is told by the names of `params`."""
        for prefix, layer in self.inner.items():
            start = f"{prefix}/"
            part = {k[len(start) :]: v for k, v in whole.items() if k.startswith(start)}
            yield layer, part

    @property
    def params(self) -> dict[str, Array]:  # type: ignore[override]
        return self._gathered(lambda layer: layer.params)

    @params.setter
    def params(self, params: dict[str, Array]) -> None:
        for layer, part in self._parted(params):
            layer.params = part

    @property
    def grads(self) -> dict[str, Array]:  # type: ignore[override]
        return self._gathered(lambda layer: layer.grads)

    @grads.setter
    def grads(self, grads: dict[str, Array]) -> None:
        for layer, part in self._parted(grads):
            layer.grads = part

    @property
    def statistics(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self._gathered(lambda layer: dict.fromkeys(layer.statistics)))

    @property
    def transposed(self) -> tuple[str, ...]:
        return tuple(self._gathered(lambda layer: dict.fromkeys(layer.transposed)))

    @property
    def trained(self) -> dict[str, Array]:
        return self._gathered(lambda layer: layer.trained) if self.trainable else {}

    @property
    def trainable(self) -> bool:  # type: ignore[override]
        return self._trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        for layer in self.inner.values():
            layer.trainable = trainable
        self._trainable = trainable

    def check_dtype(self, dtype: str) -> None:
        super().check_dtype(dtype)
        for layer in self.inner.values():
            layer.check_dtype(dtype)

    @property
    def rng(self) -> np.random.Generator | None:  # type: ignore[override]
        return self._rng

    @rng.setter
    def rng(self, rng: np.random.Generator | None) -> None:
        for layer in self.inner.values():
            layer.rng = rng
        self._rng = rng

    def floats(self) -> dict[str, Array]:
        return self._gathered(lambda layer: layer.floats())

    @property
    def weights(self) -> list[Variable]:
        return [one for layer in self.inner.values() for one in layer.weights]

    def get_weights(self) -> list[Array]:
        self._check_built()
        return [weight for layer in self.inner.values() for weight in layer.get_weights()]

    def check_weights(self, weights: Sequence[Array]) -> list[Array]:
        self._check_built()
        rest, expected = in_a_list("weights", weights), len(self.params)
        if len(rest) != expected:
            raise ValueError(f"weights: expected {expected} arrays, got {len(rest)}")
        checked: list[Array] = []
        for layer in self.inner.values():
            count = len(layer.params)
            checked += layer.check_weights(rest[:count])
            rest = rest[count:]
        return checked

    def regularizers(self) -> dict[str, Regularizer]:
        return self._gathered(lambda layer: layer.regularizers())

    def constraints(self) -> dict[str, Constraint]:
        return self._gathered(lambda layer: layer.constraints())

    def penalty(self) -> float:
        self._check_built()
        return sum((layer.penalty() for layer in self.inner.values()), 0.0)

    def add_penalty_gradients(self) -> None:
        for layer in self.inner.values():
            layer.add_penalty_gradients()

    @property
    def is_constrained(self) -> bool:
        return any(layer.is_constrained for layer in self.inner.values())

    def constrain(self) -> None:
        for layer in self.inner.values():
            layer.constrain()

    # Building, places, states.

    def build(
        self,
        input_shape: Shape,
        rng: np.random.Generator | None = None,
        dtype: str = "float32",
    ) -> None:
        if self.built:
            raise ValueError(f"{self.name}: is built already")
        input_shape = sizes("input_shape", input_shape, 0)
        self.param_shapes(input_shape)
        shape = self._inner_shape(input_shape)
        self.check_dtype(dtype)
        for layer in self.inner.values():
            if layer.built and layer.dtype != dtype:
                raise ValueError(f"{layer.name}: expected dtype {dtype}, got {layer.dtype}")

        def build() -> None:
            for layer in self.inner.values():
                if not layer.built:
                    layer.build(shape, rng, dtype)

        self._build_by(build, input_shape, dtype)

    def adopt(self, params: dict[str, Array], input_shape: Shape, dtype: str) -> None:
        if self.built:
            raise ValueError(f"{self.name}: is built already")
        shapes = self.param_shapes(input_shape)
        held_params(params, shapes, self.param_dtypes(shapes, dtype))
        self.check_dtype(dtype)
        shape = self._inner_shape(input_shape)

        def adopt() -> None:
            for layer, part in self._parted(params):
                layer.adopt(part, shape, dtype)

        self._build_by(adopt, input_shape, dtype)

    def _build_by(self, build: Callable[[], None], input_shape: Shape, dtype: str) -> None:
        """Build the inner layers, all of them or none, and this one."""
        or_as_before(self.as_it_is(), build)
        self.input_shape = self.input_shape or tuple(input_shape)
        self._dtype = dtype
        self.check_place(self.device, self.precision)
        self._move(self.device)

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        shape = self._inner_shape(input_shape)
        return self._gathered(lambda layer: layer.weight_shapes(shape))

    def param_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        self.output_shape(input_shape)
        shape = self._inner_shape(input_shape)
        return self._gathered(lambda layer: layer.param_shapes(shape))

    def param_dtypes(self, shapes: dict[str, Any], dtype: str) -> dict[str, str]:
        parts = {id(layer): part for layer, part in self._parted(shapes)}
        return self._gathered(lambda layer: layer.param_dtypes(parts[id(layer)], dtype))

    def check_place(self, device: str, precision: str | None) -> None:
        super().check_place(device, precision)
        for layer in self.inner.values():
            layer.check_place(device, precision)

    def _move(self, device: str) -> None:
        for layer in self.inner.values():
            if (layer.device, layer.precision) != (device, self.precision):
                layer.to(device, self.precision)
        self._cache = None

    def as_it_is(self) -> Attributes:
        names = ("input_shape", "_cache", "_dtype", "device", "precision")
        own = [(self, name, getattr(self, name)) for name in names]
        return own + [one for layer in self.inner.values() for one in layer.as_it_is()]

    def changing(self) -> Attributes:
        return [one for layer in self.inner.values() for one in layer.changing()]

    # Caches.

    def _taken(self) -> list[Any]:
        """What the inner layers keep for their backward, taken out of them."""
        caches = [layer._cache for layer in self.inner.values()]
        for layer in self.inner.values():
            layer._cache = None
        return caches

    def _put_back(self, caches: list[Any]) -> None:
        for layer, cache in zip(self.inner.values(), caches, strict=True):
            layer._cache = cache


def with_layers_told(config: dict[str, Any]) -> dict[str, Any]:
    """The config with each layer in it as `{"class": ..., "config": ...}`."""
    return {
        name: {"class": type(value).__name__, "config": value.get_config()}
        if isinstance(value, Layer)
        else value
        for name, value in config.items()
    }

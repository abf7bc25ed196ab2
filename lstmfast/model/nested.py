"""A model as a layer of another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..arguments import Array, Shape, keys
from ..layers.checks import sizes, sizes_of_all
from ..layers.wrapper import Wrapper
from . import passes
from .described import described, graph_of
from .network import Network

__all__ = ["Nested"]


class Nested(Wrapper):
    """What `model(tensor)` puts into a graph: `model`, whose layers are the inner ones."""

    makes: ClassVar[dict[str, Callable[..., Network]]] = {}  # of a graph, by `Network.kind`
    takes_mask = supports_masking = True

    def __init__(self, model: Network):
        super().__init__(model.name)
        self.has_own_name = model.name != "model"
        self.input_shape = model.input_shape
        self.model = model
        self._hold(**{layer.name: layer for layer in model.graph.layers})
        self.takes_list = len(model.graph.entries) > 1
        self.takes_ids = not self.takes_list and model.graph.takes_ids(0)
        self.makes_mask = any(layer.makes_mask for layer in model.graph.layers)
        self._masks: list[Any] = []

    @property
    def single_output(self) -> bool:
        return len(self.model.graph.outputs) == 1

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "model": described(self.model)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Nested:
        """Return a new one of what `get_config` told, whose layers are not built."""
        config = dict(keys("config", config, ("name", "model")))
        graph, arguments = graph_of(config["model"], cls.from_config)
        makes, ends = cls.makes[arguments.pop("class")], arguments.pop("keys")
        shapes = [entry.shape for entry in graph.entries]
        for entry in graph.entries:
            entry.shape = None  # the layers adopt a file's tensors before they are built
        model = makes(graph, **arguments)
        model.name_ends(*ends)
        for entry, shape in zip(graph.entries, shapes, strict=True):
            entry.shape = shape
        return cls(model)

    # Shapes.

    def _shapes(self, input_shape: Any) -> list[Shape]:
        return list(input_shape) if self.takes_list else [input_shape]

    def output_shape(self, input_shape: Any) -> Any:
        return self.output_shapes(input_shape)[0]

    def output_shapes(self, input_shape: Any, **constants: Any) -> list[Shape]:
        return self.model.graph.output_shapes(self._shapes(input_shape))

    def outputs_of(self, **constants: Any) -> int:
        return len(self.model.graph.outputs)

    def takes_ids_at(self, position: int) -> bool:
        return self.model.graph.takes_ids(position)

    def weight_shapes(self, input_shape: Any) -> dict[str, tuple[int, ...]]:
        return self._of_each(input_shape, lambda layer, shape: layer.weight_shapes(shape))

    def param_shapes(self, input_shape: Any) -> dict[str, tuple[int, ...]]:
        return self._of_each(input_shape, lambda layer, shape: layer.param_shapes(shape))

    def _of_each(self, input_shape: Any, ask: Callable[[Any, Any], Any]) -> dict[str, Any]:
        shapes = self.model.graph.built_shapes(self._shapes(input_shape))
        return {
            f"{layer.name}/{name}": value
            for layer, shape in shapes.items()
            for name, value in ask(layer, shape).items()
        }

    def build(
        self, input_shape: Any, rng: np.random.Generator | None = None, dtype: str = "float32"
    ) -> None:
        known = sizes_of_all if self.takes_list else sizes
        input_shape = known("input_shape", input_shape, 0)
        shapes = self.model.graph.built_shapes(self._shapes(input_shape))

        def build() -> None:
            for layer, shape in shapes.items():
                if not layer.built:
                    layer.build(shape, rng, dtype)
            self.model.input_shapes = self.model.input_shapes or self._shapes(input_shape)

        self._build_by(build, input_shape, dtype)

    def adopt(self, params: dict[str, Array], input_shape: Any, dtype: str) -> None:
        shapes = self.model.graph.built_shapes(self._shapes(input_shape))

        def adopt() -> None:
            for layer, part in self._parted(params):
                layer.adopt(part, shapes[layer], dtype)
            self.model.input_shapes = self._shapes(input_shape)

        self._build_by(adopt, input_shape, dtype)

    def check_place(self, device: str, precision: str | None) -> None:
        for layer in self.inner.values():
            layer.check_place(device, precision)

    def _move(self, device: str) -> None:
        super()._move(device)
        self.model.device, self.model.precision = device, self.precision

    # Through the graph and back.

    def forward(self, x: Any, training: bool = False, *, mask: Any = None) -> Any:
        """Return the output, or a tuple of several, for x, of several inputs a list."""
        xs = list(x) if self.takes_list else [x]
        masks = mask if self.takes_list else [mask]
        masks = [None] * len(xs) if masks is None else list(masks)
        tape = passes.forward(self.model.graph, xs, masks, training)
        self._masks = tape.output_masks
        if training:
            self._cache = tape
        return tape.outputs[0] if self.single_output else tuple(tape.outputs)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return the masks of the outputs of the last `forward`."""
        found, self._masks = self._masks, []
        return found[0] if self.single_output else found

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        return self.backward_of([dy], need_dx)

    def backward_of(self, gradients: list[Any], need_dx: bool = True) -> Any:
        needed = [need_dx] * len(self.model.graph.entries)
        found = passes.backward(self._cached(), gradients, needed)
        self._cache = None
        return found if self.takes_list else found[0]


Wrapper.nested = Nested.from_config

"""An LSTM layer's parts, its layers and directions: their weights by name, their states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..arguments import Array, Shape, check_shape, shown
from ..constraints import Constraint
from ..initializers import Initializer
from ..ops.dispatch import float_like
from ..ops.placement import assign_all
from ..ops.weights import Norm
from ..regularizers import Regularizer
from .checks import features_of, rounded
from .recurrent import Recurrent
from .weights import kind_of

__all__ = ["Parts"]


TRANSPOSED = ("W_ih", "W_hh", "W_hr", "W_static")


class Parts(Recurrent):
    """The half of `LSTM` that knows of parts: which weight and which state belongs to which."""

    roles: ClassVar = {
        "W_ih": "kernel", "W_hh": "recurrent", "b": "bias", "p": "peephole", "W_hr": "projection",
        "W_static": "kernel",
    }  # fmt: skip
    num_layers: int
    bidirectional: bool
    projection: int | None
    peepholes: bool
    layer_norm: bool
    static_size: int
    unit_forget_bias: bool
    peephole_initializer: Initializer
    projection_initializer: Initializer
    peephole_regularizer: Regularizer | None
    projection_regularizer: Regularizer | None
    peephole_constraint: Constraint | None
    projection_constraint: Constraint | None

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def state_size(self) -> int:
        """P, the size of h."""
        return self.projection or self.units

    @property
    def output_size(self) -> int:
        return self.directions * self.state_size

    @property
    def is_stack(self) -> bool:
        """Is there more than one part, so that states have a leading axis?"""
        return self.num_layers * self.directions > 1

    @property
    def transposed(self) -> tuple[str, ...]:
        """The weights that Keras keeps the other way round."""
        return tuple(name + at for at in self.suffixes() for name in TRANSPOSED)

    def suffixes(self) -> list[str]:
        """Return what PyTorch appends to names: nothing to those of an only part."""
        if not self.is_stack:
            return [""]
        ends = ("", "_reverse")[: self.directions]
        return [f"_l{layer}{end}" for layer in range(self.num_layers) for end in ends]

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight, in Keras's order and layout."""
        shapes: dict[str, tuple[int, ...]] = {}
        for k, at in enumerate(self.suffixes()):
            inputs = features_of(input_shape) if k < self.directions else self.output_size
            of_part = self._shapes_of_part(inputs)
            if self.static_size and k < self.directions:
                of_part["W_static"] = (self.static_size, 4 * self.units)
            shapes |= {name + at: shape for name, shape in of_part.items()}
        return shapes

    def _shapes_of_part(self, inputs: int) -> dict[str, tuple[int, ...]]:
        H, P = self.units, self.state_size
        shapes: dict[str, tuple[int, ...]] = {"W_ih": (inputs, 4 * H), "W_hh": (P, 4 * H)}
        if self.use_bias:
            shapes["b"] = (4 * H,)
        if self.peepholes:
            shapes["p"] = (3, H)
        if self.projection:
            shapes["W_hr"] = (H, P)
        if self.layer_norm:
            shapes |= {"gain_x": (4 * H,), "gain_h": (4 * H,), "gain_c": (H,), "b_c": (H,)}
        return shapes

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        kind = kind_of(name)
        if kind in Norm._fields:
            return np.full(shape, 0.0 if kind == "b_c" else 1.0)
        weight = super()._initial(name, shape, rng)
        if kind == "b" and self.unit_forget_bias:
            weight[self.units : 2 * self.units] = 1.0
        return weight

    def _weights(self, taken: Callable[[Any], Any] | None = None) -> dict[str, Any]:
        """What `ops.lstm_forward` takes: arrays, or lists of them if there are several parts.

        `taken` is applied to each array.
        """
        params = self.floats()
        if taken is not None:
            params = {name: taken(param) for name, param in params.items()}
        parts = [self._part_of(params, at) for at in self.suffixes()]
        each = [params.get(f"W_static{at}") for at in self.suffixes()[: self.directions]]
        static = {"W_static": each if self.bidirectional else each[0]} if self.static_size else {}
        if len(parts) == 1:
            return parts[0] | static
        names = [name for name, array in parts[0].items() if array is not None]
        return {name: [part[name] for part in parts] for name in names} | static

    def _part_of(self, params: Mapping[str, Any], at: str) -> dict[str, Any]:
        found = {name: params.get(name + at) for name in ("W_ih", "W_hh", "b", "p", "W_hr")}
        if self.layer_norm:
            found["norm"] = Norm(*(params[name + at] for name in Norm._fields))
        return found

    def _named(self, gradients: Any) -> dict[str, Array]:
        """Gradients of `ops.lstm_backward` by the names of `params`."""
        found: dict[str, Array] = {}
        for k, at in enumerate(self.suffixes()):
            for name in ("W_ih", "W_hh", "b", "p", "W_hr", "norm"):
                of = getattr(gradients, f"d{name}")
                part = of[k] if self.is_stack and of is not None else of
                if name == "norm" and part is not None:
                    found |= {field + at: a for field, a in part._asdict().items()}
                elif part is not None:
                    found[name + at] = part
        if self.static_size:
            each = gradients.dW_static if self.bidirectional else [gradients.dW_static]
            ends = self.suffixes()[: self.directions]
            found |= {f"W_static{at}": one for at, one in zip(ends, each, strict=True)}
        return {name: found[name] for name in self.params}

    def get_parts(self) -> list[dict[str, Array]]:
        """Return copies of the weights, one dict for each layer and direction.

        Layer by layer, the forward direction first, by the names of an only part: what `interop`
        turns into others' layouts.
        """
        if not self.params:
            raise ValueError("get_parts: the layer is not built; call it, or build(input_shape)")
        params = self.floats_on_host()
        return [
            {kind_of(name): np.array(params[name]) for name in params if name in of}
            for of in self._names_of_parts()
        ]

    def set_parts(self, parts: Sequence[Mapping[str, Array]]) -> None:
        """Copy weights into the layer: what `get_parts` or `interop` returned.

        A bias that a part lacks is zero, if the layer has one.

        Raises
        ------
        ValueError
            When a number, a name or a shape does not fit; then none is set.
        """
        names = self._names_of_parts()
        if not self.params or len(parts) != len(names):
            expected = f"{len(names)} of a built layer" if self.params else "a built layer"
            raise ValueError(f"parts: expected {expected}, got {len(parts)}")
        checked = {}
        for k, (part, of) in enumerate(zip(parts, names, strict=True)):
            given = dict(part)
            if "b" not in given and self.use_bias:
                given["b"] = np.zeros(4 * self.units)
            wanted = {kind_of(name): name for name in of}
            if given.keys() != wanted.keys():
                raise ValueError(f"parts[{k}]: expected {sorted(wanted)}, got {sorted(given)}")
            for kind, weight in given.items():
                param = self.params[wanted[kind]]
                label = f"parts[{k}][{kind!r}]"
                checked[wanted[kind]] = rounded(label, weight, param.shape, param.dtype.name)
        assign_all([self.params[name] for name in checked], list(checked.values()))

    def _names_of_parts(self) -> list[list[str]]:
        ends = self.suffixes()
        return [[name for name in self.params if name == kind_of(name) + end] for end in ends]

    # ------------------------------------------------------------ states

    def _start(
        self, batch: int, initial_state: tuple[Array, Array] | None
    ) -> tuple[Array | None, Array | None]:
        """(h, c) of `initial_state`, or what a stateful layer has kept; None for zeros."""
        if initial_state is None:
            return self._kept(batch) or (None, None)
        if not isinstance(initial_state, (tuple, list)) or len(initial_state) != 2:
            raise ValueError(f"initial_state: expected (h, c), got {type(initial_state).__name__}")
        h, c = initial_state
        leading = self._leading(batch)
        return (
            self._checked_state("initial_state h", h, (*leading, self.state_size)),
            self._checked_state("initial_state c", c, (*leading, self.units)),
        )

    def _leading(self, batch: int) -> tuple[int, ...]:
        """The axes of a state before its last one: of several parts, theirs comes first."""
        return (self.num_layers * self.directions, batch) if self.is_stack else (batch,)

    def _last_output(self, h: Array) -> Array:
        """The last layer's h, of both directions side by side."""
        if not self.is_stack:
            return h
        return self._ops.side_by_side(h[-self.directions :])

    def _checked_upstream(
        self, dy: Any, dstate: Any, cache: Any
    ) -> tuple[Array | None, Array | None]:
        """(dh, dc) of `dstate`; ValueError where they or dy do not fit the call of `cache`."""
        dtype, rows = cache.dtype, cache.x_shape[1 if self.time_major else 0]
        if dy is not None:
            shape = self.output_shape(cache.x_shape)
            check_shape("dy", float_like("dy", dy, dtype).shape, shape)  # type: ignore[arg-type]
        if not isinstance(dstate, (tuple, list)) or len(dstate) != 2:
            raise ValueError(f"dstate: expected (dh, dc), got {shown(dstate)}")
        leading = self._leading(rows)
        placed = [
            None if part is None else self._placed(f"dstate {letter}", part)
            for letter, part in zip("hc", dstate, strict=True)
        ]
        for letter, part, size in zip("hc", placed, (self.state_size, self.units), strict=True):
            if part is not None:
                name = f"dstate {letter}"
                check_shape(name, float_like(name, part, dtype).shape, (*leading, size))
        return placed[0], placed[1]

    def _of_last_output(self, dy: Array, dh: Array | None) -> Array:
        """The gradient to h of all parts, of that to the last output and, maybe, to h itself."""
        if not self.is_stack and dh is None:
            return dy
        parts, P = self.num_layers * self.directions, self.state_size
        total = self._ops.zeros_like(dy, (parts, len(dy), P))
        if dh is not None:
            self._ops.add_to(total, dh.reshape(total.shape))
        for d in range(self.directions):
            self._ops.add_to(total[parts - self.directions + d], dy[:, d * P : (d + 1) * P])
        return total if self.is_stack else total[0]

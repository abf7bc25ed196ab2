"""Bidirectional: a recurrent layer over the steps both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import LARGEST_SEED, Array, Shape, check_shape, choice, shown
from ..ops.dispatch import float_like
from ..whole import or_as_before
from .checks import in_a_list
from .recurrent import Recurrent, steps_of
from .symbolic import connected, is_symbolic
from .wrapper import Wrapper, with_layers_told

__all__ = ["Bidirectional"]

MERGE_MODES = ("concat", "sum", "ave", "mul", None)
COMMON = ("stateful", "return_sequences", "return_state")  # what both layers have alike
BARRED = ("bidirectional", "time_major", "return_cells", "static_size")  # options of LSTM


class Bidirectional(Wrapper):
    """A recurrent layer and a second one that takes the steps the other way, merged step by step.

    Parameters
    ----------
    layer : LSTM, SimpleRNN or another recurrent layer
        What `forward_layer` is made like; itself it is left alone. A seed of it is that of the
        forward layer's weights, the next number that of the backward layer's.
    merge_mode : {"concat", "sum", "ave", "mul", None}
        The outputs side by side, their sum, mean or product; None: both, as a tuple.
    weights : list of ndarray, optional
        What the layers begin with, as `get_weights` gives it, in place of drawn ones.
    backward_layer : recurrent layer, optional
        In place of one like `layer`. It has the other `go_backwards`, and all else of outputs and
        states alike.
    name : str, optional
    input_shape : tuple, optional
        (None, I), without the batch: a Model that begins with the layer is built at once.

    Attributes
    ----------
    forward_layer, backward_layer : the layers
    params : dict
        Theirs, by their names with `forward/` and `backward/` before them.
    initial_state_grads : tuple or None
        After `backward`: the gradients of `initial_state`.

    Notes
    -----
    Where a mask or `lengths` leave a step out, outputs of all steps hold zeros, whatever the
    layer's `pad` is, as in Keras. Source: Schuster and Paliwal 1997.
    """

    takes_mask = supports_masking = True
    forward_layer: Recurrent
    backward_layer: Recurrent

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Sequence[Array] | None = None,
        backward_layer: Any = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.merge_mode = choice("merge_mode", merge_mode, MERGE_MODES)
        self._first_weights = None if weights is None else _arrays(weights)
        given = _recurrent("layer", self._layer("layer", layer))
        self.forward_layer = _like(given, "forward")
        self._has_own_backward = backward_layer is not None
        if self._has_own_backward:
            other = self._layer("backward_layer", backward_layer)
            self.backward_layer = _recurrent("backward_layer", other)
        else:
            self.backward_layer = _like(given, "backward")
        self._check_pair()
        for one in (self.forward_layer, self.backward_layer):
            one.pad = "zeros" if one.return_sequences else one.pad
        self.stateful, self.return_state = given.stateful, given.return_state
        self.return_sequences = given.return_sequences
        self._hold(forward=self.forward_layer, backward=self.backward_layer)
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def _check_pair(self) -> None:
        """Raise ValueError unless the two layers go together."""
        one, other = self.forward_layer, self.backward_layer
        if one.go_backwards == other.go_backwards:
            expected = f"go_backwards={not one.go_backwards}, unlike the layer's"
            raise ValueError(f"backward_layer: expected {expected}, got {other.go_backwards}")
        for name in COMMON:
            wanted, found = getattr(one, name), getattr(other, name)
            if wanted != found:
                raise ValueError(f"backward_layer: expected {name}={wanted}, got {found}")

    @property
    def single_output(self) -> bool:
        return self.merge_mode is not None and not self.return_state

    def get_config(self) -> dict[str, Any]:
        own = self.backward_layer if self._has_own_backward else None
        shape = None if self.input_shape is None else list(self.input_shape[1:])
        return with_layers_told({
            "layer": self.forward_layer, "merge_mode": self.merge_mode, "weights": None,
            "backward_layer": own, "name": self.name, "input_shape": shape,
            **self._common(),
        })  # fmt: skip

    def build(
        self,
        input_shape: Shape,
        rng: np.random.Generator | None = None,
        dtype: str = "float32",
    ) -> None:
        """Draw the weights, or take those of the constructor. See `Layer.build`."""

        def build() -> None:
            super(Bidirectional, self).build(input_shape, rng, dtype)
            if self._first_weights is not None:
                self.set_weights(self._first_weights)

        or_as_before(self.as_it_is(), build)

    def output_shape(self, input_shape: Shape) -> Any:
        one, other = (layer.output_shape(input_shape) for layer in (
            self.forward_layer, self.backward_layer))  # fmt: skip
        if self.merge_mode is None:
            return [one, other]
        if self.merge_mode == "concat":
            return (*one[:-1], one[-1] + other[-1])  # type: ignore[operator]
        check_shape("backward_layer: output", other, one)  # type: ignore[arg-type]
        return one

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        found = mask if self.return_sequences else None
        return [found, found] if self.merge_mode is None else found

    def reset_state(self) -> None:
        """Let stateful layers start their next batch, of any size, from zeros."""
        for layer in (self.forward_layer, self.backward_layer):
            layer.reset_state()

    # Forward and back.

    def __call__(
        self,
        x: Any,
        initial_state: Any = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
        **others: Any,
    ) -> Any:
        """Return the output for x, from `initial_state` where given.

        The first call builds the layer for the shape and dtype of x. Arguments as for `forward`.
        """
        if is_symbolic(x):
            given = {"initial_state": initial_state, "lengths": lengths, "mask": mask, **others}
            return connected(self, x, given)
        self._build_for(x)
        return self.forward(x, initial_state=initial_state, lengths=lengths, mask=mask, **others)

    # In a graph.

    def output_shapes(self, input_shape: Any, **constants: Any) -> list[Shape]:
        pairs = [one.output_shapes(input_shape) for one in self.inner.values()]
        found = self.output_shape(input_shape)
        outputs = found if self.merge_mode is None else [found]
        return [*outputs, *pairs[0][1:], *pairs[1][1:]]

    def outputs_of(self, **constants: Any) -> int:
        states = sum(one.outputs_of() - 1 for one in self.inner.values())
        return (2 if self.merge_mode is None else 1) + states

    def side_shapes(self, input_shape: Any) -> dict[str, Shape | list[Shape]]:
        states = [one.side_shapes(input_shape)["initial_state"] for one in self.inner.values()]
        return {"initial_state": [*states[0], *states[1]]}  # type: ignore[list-item]

    def side_gradients(self) -> dict[str, Any]:
        return {"initial_state": self.initial_state_grads}

    def mask_arguments(self, mask: Any) -> dict[str, Any]:
        return steps_of(mask)

    def backward_of(self, gradients: list[Any], need_dx: bool = True) -> Any:
        count = 2 if self.merge_mode is None else 1
        dys, states = gradients[:count], gradients[count:]
        dy = dys if self.merge_mode is None else dys[0]
        return self.backward(dy, need_dx, dstates=states or None)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: Any = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
    ) -> Any:
        """Run both layers over a batch of sequences.

        Parameters
        ----------
        x : ndarray (B, T, I), of the layers' dtype
        training : bool
            Keep what one `backward` needs.
        initial_state : list, optional
            The parts of the forward layer's state, then those of the backward layer's: (h, c, h, c)
            of LSTMs, (h, h) of SimpleRNNs.
        lengths : (B,) integers in 0..T, optional
            Row b has lengths[b] steps; the backward layer begins with the last of them.
        mask : bool (B, T), optional
            In place of lengths: the steps to take.

        Returns
        -------
        ndarray (B, T, N) with `return_sequences`, else (B, N); without a `merge_mode` two of them
            With `return_state` a tuple of it or them and the states, as `initial_state`.
        """
        self._check_built()
        starts = _halves(initial_state)
        one, other = (
            layer.forward(x, training, start, lengths=lengths, mask=mask)
            for layer, start in zip((self.forward_layer, self.backward_layer), starts, strict=True)
        )
        states: tuple[Any, ...] = ()
        if self.return_state:
            states = (*one[1:], *other[1:])
            one, other = one[0], other[0]
        other = self._in_time(other)
        if training:
            factors = (one, other) if self.merge_mode == "mul" else None
            self._cache = self._taken(), (one.shape, other.shape), factors
        y = self._merged(one, other)
        if not self.return_state:
            return y
        return (*y, *states) if self.merge_mode is None else (y, *states)

    def _in_time(self, steps: Any) -> Any:
        """Outputs of the backward layer in the order of the forward layer's, or back."""
        return self._ops.flipped(steps, 1) if self.return_sequences else steps

    def _merged(self, one: Array, other: Array) -> Any:
        if self.merge_mode == "concat":
            return np.concatenate([one, other], axis=-1)
        if self.merge_mode == "mul":
            return one * other
        if self.merge_mode is None:
            return one, other
        return one + other if self.merge_mode == "sum" else (one + other) / 2

    def backward(
        self, dy: Any, need_dx: bool = True, *, dstates: Sequence[Any] | None = None
    ) -> Array | None:
        """Back-propagate through both layers. See `Layer.backward`.

        Parameters
        ----------
        dy : gradient of the output, in its shape; without a `merge_mode` of both, each maybe None
        need_dx : bool
        dstates : list, with `return_state`
            Gradients of the states, as they are returned, each maybe None.
        """
        caches, shapes, factors = self._cached()
        parts = self._split(dy, shapes, factors)
        self._put_back(caches)
        found = [
            layer.backward(part, need_dx, **_of_state(of))
            for layer, part, of in zip(
                (self.forward_layer, self.backward_layer),
                (parts[0], None if parts[1] is None else self._in_time(parts[1])),
                _halves(dstates),
                strict=True,
            )
        ]
        self._cache = None
        if not need_dx:
            return None
        dx: Array = found[0]
        dx += found[1]
        return dx

    def _split(self, dy: Any, shapes: Any, factors: Any) -> tuple[Any, Any]:
        """The gradients of both layers' outputs, in time."""
        if self.merge_mode is None:
            given = in_a_list("dy", dy)
            if len(given) != 2:
                raise ValueError(f"dy: expected those of two outputs, got {len(given)}")
            pairs = zip(given, shapes, strict=True)
            one, other = (None if d is None else self._checked("dy", d, of) for d, of in pairs)
            return one, other
        if dy is None:
            return None, None
        size = shapes[0][-1]
        if self.merge_mode == "concat":
            dy = self._checked("dy", dy, (*shapes[0][:-1], size + shapes[1][-1]))
            return dy[..., :size], dy[..., size:]
        dy = self._checked("dy", dy, shapes[0])
        if factors is not None:
            return dy * factors[1], dy * factors[0]
        return (dy, dy.copy()) if self.merge_mode == "sum" else (dy / 2, dy / 2)

    def _checked(self, name: str, dy: Any, shape: tuple[int, ...]) -> Array:
        dy = float_like(name, self._placed(name, dy), np.dtype(self.dtype))
        check_shape(name, dy.shape, shape)
        return dy  # type: ignore[no-any-return]

    @property
    def initial_state_grads(self) -> tuple[Any, ...] | None:
        one, other = (
            getattr(layer, "initial_state_grads", None)
            for layer in (self.forward_layer, self.backward_layer)
        )
        return None if one is None or other is None else (*one, *other)


def _arrays(weights: Any) -> list[Any]:
    """Return a list of arrays of real numbers; ValueError for anything else."""
    found = list(weights) if isinstance(weights, (list, tuple)) else []
    numbers = all(np.ndim(one) and np.asarray(one).dtype.kind in "iuf" for one in found)
    if not found or not numbers:
        raise ValueError(f"weights: expected a list of arrays, got {shown(weights)}")
    return found


def _recurrent(argument: str, layer: Any) -> Recurrent:
    """Return the layer; ValueError unless it can go one of two ways."""
    if not isinstance(layer, Recurrent):
        raise ValueError(f"{argument}: expected a recurrent layer, got {type(layer).__name__}")
    for option in BARRED:
        if getattr(layer, option, False):
            found = f"{option}={shown(getattr(layer, option))}"
            raise ValueError(f"{argument}: expected one without {option}, got {found}")
    return layer


def _like(layer: Recurrent, way: str) -> Recurrent:
    """A new layer with the config of this one, for one of the two ways."""
    config = layer.get_config()
    plain = layer.name.removeprefix("forward_").removeprefix("backward_")
    config["name"] = f"{way}_{plain}"
    if way == "backward":
        config["go_backwards"] = not layer.go_backwards
        if layer.seed is not None:
            config["seed"] = (layer.seed + 1) % (LARGEST_SEED + 1)
    found: Recurrent = type(layer).from_config(config)
    found.trainable = layer.trainable
    return found


def _halves(states: Any) -> tuple[Any, Any]:
    """The first and the second half of a list of states; None for None."""
    if states is None:
        return None, None
    found = in_a_list("initial_state", states)
    half = len(found) // 2
    if not half or len(found) % 2:
        expected = "the parts of two states"
        raise ValueError(f"initial_state: expected {expected}, got {len(found)} arrays")
    return tuple(found[:half]), tuple(found[half:])


def _of_state(gradients: Any) -> dict[str, Any]:
    """What the backward of LSTM or SimpleRNN calls the gradient of its state."""
    if gradients is None:
        return {}
    return {"dstate": gradients} if len(gradients) == 2 else {"dh_n": gradients[0]}

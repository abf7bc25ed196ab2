"""The operator's weights, packed for one call or kept packed until a number of them is another."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import capi, interop
from ..arguments import Array, check_shape
from ..ops.checks import float_array
from ..ops.lstm import lstm_forward
from ..ops.options import CellOptions
from ..ops.prepared import PreparedLSTM

__all__ = ["Form", "layer_for"]

Inputs = Sequence[Any]
"""W, R, B and P, of which the last two may be None."""


class Form(NamedTuple):
    """What the attributes make of a layer."""

    options: tuple[CellOptions, ...]  # of each direction
    direction: str


class Layer:
    """Weights in lstmfast's order, one call for directions whose cells are alike, else one each."""

    def __init__(self, form: Form, inputs: Inputs, made: Callable[..., Any]):
        """made(**weights, options=, bidirectional=, reverse=) returns what runs them."""
        parts = interop.from_onnx(*inputs)
        self.H, self.I = parts[0]["W_hh"].shape[1], parts[0]["W_ih"].shape[1]
        alike = all(options == form.options[0] for options in form.options)
        groups = [slice(0, len(parts))] if alike else [slice(0, 1), slice(1, 2)]
        self.calls = [(at, made(**_arguments(form, parts, at))) for at in groups]

    def forward(
        self, X: Array, h0: Array | None, c0: Array | None, lengths: Array | None, batch_first: bool
    ) -> list[Array]:
        """Return Y with its directions third, Y_h and Y_c with theirs first."""
        found = []
        for at, run in self.calls:
            h, c = h0, c0
            if len(self.calls) > 1:
                h, c = (None if state is None else state[at] for state in (h0, c0))
            y, state, *_ = run(X, h0=h, c0=c, lengths=lengths, batch_first=batch_first)
            found.append([y.reshape(*X.shape[:2], at.stop - at.start, -1), *state])
        return found[0] if len(found) == 1 else _joined(found)


def _arguments(form: Form, parts: list[dict[str, Array]], at: slice) -> dict[str, Any]:
    """What `lstm_forward` and `PreparedLSTM` take for some of the directions."""
    reverse = form.direction == "reverse" or at.start == 1
    found: dict[str, Any] = {key: [part[key] for part in parts[at]] for key in parts[0]}
    both = at.stop - at.start == 2
    return found | {"options": form.options[at.start], "bidirectional": both, "reverse": reverse}


def _joined(found: list[list[Array]]) -> list[Array]:
    """What two calls, one for each direction, gave."""
    pairs = zip(zip(*found, strict=True), (2, 0, 0), strict=True)
    return [np.concatenate(pair, axis) for pair, axis in pairs]


# ---------------------------------------------------------------- what is kept


class Kept:
    """Weights packed for calls on whole batches, and when needed for calls with lengths.

    Nothing of a call is kept. Beside what is packed lies what the inputs held then, and every call
    compares all of it, byte by byte: reading costs a fraction of packing. Memory that nothing can
    change is not copied, and not read again.
    """

    def __init__(self, form: Form, inputs: Inputs):
        self.form, self.dtype = form, inputs[0].dtype
        self.inputs = [None if one is None else _lasting(one) for one in inputs]
        self._layers: dict[bool, Layer] = {}

    def is_of(self, dtype: Any, inputs: Inputs) -> bool:
        return dtype == self.dtype and capi.same_arrays(list(inputs), self.inputs)

    def layer(self, ragged: bool) -> Layer:
        found = self._layers.get(ragged)
        if found is None:
            made = partial(_prepared, ragged)
            found = self._layers[ragged] = Layer(self.form, self.inputs, made)
        return found


def _prepared(ragged: bool, **arguments: Any) -> Any:
    return PreparedLSTM(**arguments, variable_lengths=ragged).forward


def _lasting(array: Array) -> Array:
    """Return the numbers as they are now, for good: on the same memory if that is of `bytes`.

    Not on bytes that NumPy writes to, as it does after unpickling (what is written there through an
    earlier view of an array that is read-only by now is not seen). The array itself is not held.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray) and not owner.flags.writeable:
        owner = owner.base
    if type(owner) is not bytes or not array.flags.c_contiguous:
        return np.array(array, order="C")
    offset = _address(array) - _address(np.frombuffer(owner, np.uint8))
    return np.ndarray(array.shape, array.dtype, owner, offset)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


@dataclass(slots=True)
class Seen:
    """What a call with this W came with; weights are kept from the second such call on."""

    W: weakref.ref[Array]
    came_with: tuple[Any, ...]
    kept: Kept | None = None


_seen: dict[int, Seen] = {}  # by the id of W, as long as W is there


def layer_for(form: Form, dtype: Any, inputs: Inputs, ragged: bool) -> Layer:
    """Return the layer of these inputs, kept from earlier calls if they had the same numbers."""
    W, R, B, P = inputs
    seen, came_with = _seen.get(id(W)), (form, id(R), id(B), id(P))
    if seen is None or seen.came_with != came_with:
        layer = _fresh(form, dtype, inputs)
        if all(one is None or one.flags.c_contiguous for one in inputs):
            _seen[id(W)] = Seen(weakref.ref(W, partial(_forget, id(W))), came_with)
        return layer
    kept = seen.kept
    if kept is None:
        _check(form, dtype, inputs)
        kept = seen.kept = Kept(form, inputs)
    elif not kept.is_of(dtype, inputs):
        seen.kept = None
        return _fresh(form, dtype, inputs)
    return kept.layer(ragged)


def _forget(key: int, _: Any, pop: Any = _seen.pop) -> None:
    pop(key, None)


def _fresh(form: Form, dtype: Any, inputs: Inputs) -> Layer:
    _check(form, dtype, inputs)
    return Layer(form, inputs, partial(partial, lstm_forward))


def _check(form: Form, dtype: Any, inputs: Inputs) -> None:
    for name, value in zip("WRBP", inputs, strict=True):
        if value is not None or name in "WR":
            float_array(name, value, dtype)
    check_shape("W", inputs[0].shape, (len(form.options), "4H", "I"))

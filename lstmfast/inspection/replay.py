"""A recurrent layer's call once more, step by step: what each step holds, and what gets back to it.

The steps are calls of `ops` of one step each, whose kernels have the formulas; what they keep for
the way back holds the gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..arguments import Array
from ..layers import LSTM
from ..ops.gates import gates_of
from .watching import RecurrentCall

__all__ = ["Replayed", "replayed"]

State = tuple[Array, ...]


@dataclass(eq=False)
class Replayed:
    """One layer and direction.

    Attributes
    ----------
    name : str
    values : dict of ndarray (B, T, H)
        i, f, g, o, c, h of an LSTM, h of a SimpleRNN; NaN where a mask leaves the step out.
    gradient : ndarray (B, T, H) or None
        Of the loss, to h of each step; 0 where the step is left out.
    """

    name: str
    values: dict[str, Array]
    gradient: Array | None = None


@dataclass(eq=False)
class _Part:
    """One layer and direction at work."""

    name: str
    step: Callable[[Array, State], tuple[dict[str, Array], State, Any]]
    back: Callable[[Any, State], tuple[Array, State]]
    state: State
    is_reversed: bool
    taken: Array | None
    pad: str
    caches: list[Any]

    def order(self, steps: int) -> range:
        """The steps as they are taken."""
        return range(steps - 1, -1, -1) if self.is_reversed else range(steps)

    def run(self, x: Array) -> dict[str, Array]:
        """Take all steps of x (B, T, I); return the values of each step (B, T, ...) by name."""
        found: dict[str, Array] = {}
        state = self.state
        self.caches = [None] * x.shape[1]
        for t in self.order(x.shape[1]):
            values, new, self.caches[t] = self.step(np.ascontiguousarray(x[:, t]), state)
            state = self._where(t, new, state)
            for name, value in values.items():
                room = found.setdefault(name, np.empty((*x.shape[:2], value.shape[1]), x.dtype))
                room[:, t] = value
        return found

    def run_back(
        self, dy: Array | None, dstate: State, dcells: Array | None, shape: tuple[int, ...]
    ) -> tuple[Array, Array]:
        """Return the gradients of h of all steps and of x, whose shape this is."""
        B, T, _ = shape
        dh_all = np.zeros((B, T, dstate[0].shape[1]), dstate[0].dtype)
        dx = np.zeros(shape, dstate[0].dtype)
        shown = self._shown(T)
        for t in reversed(self.order(T)):
            dstate = _added(dstate, 0, None if dy is None else _of_rows(shown, t, dy[:, t]))
            if dcells is not None:
                dstate = _added(dstate, 1, _of_rows(self.taken, t, dcells[:, t]))
            dh_all[:, t] = _of_rows(self.taken, t, dstate[0])
            dx_t, before = self.back(self.caches[t], dstate)
            dx[:, t] = _of_rows(self.taken, t, dx_t)
            dstate = self._where(t, before, dstate)
        return dh_all, dx

    def _where(self, t: int, new: State, old: State) -> State:
        """New where the rows take the step, old elsewhere."""
        if self.taken is None:
            return new
        rows = self.taken[:, t, None]
        return tuple(np.where(rows, a, b) for a, b in zip(new, old, strict=True))

    def _shown(self, steps: int) -> Array | None:
        """Where the layer's output is h: at the steps taken, or from the first of them on."""
        if self.taken is None or self.pad == "zeros":
            return self.taken
        order = list(self.order(steps))
        found = np.empty_like(self.taken)
        found[:, order] = np.logical_or.accumulate(self.taken[:, order], axis=1)
        return found


def replayed(call: RecurrentCall) -> list[Replayed]:
    """Return what a call's parts hold, and the gradients to them if any got to the call."""
    layers, x = _layers_of(call), call.x
    found: list[list[Replayed]] = []
    inputs = []
    for parts in layers:
        inputs.append(x)
        each = [part.run(x) for part in parts]
        x = np.concatenate([values["h"] for values in each], axis=-1)
        found.append([Replayed(p.name, _masked(p, v)) for p, v in zip(parts, each, strict=True)])
    if call.has_gradient:
        _go_back(call, layers, inputs, found)
    return [one for parts in found for one in parts]


def _go_back(
    call: RecurrentCall, layers: list[list[_Part]], inputs: list[Array], found: list[list[Replayed]]
) -> None:
    """Fill the gradients, from the last layer to the first."""
    dy, ends, dcells = _upstream(call, len(layers), len(layers[0]))
    for n in range(len(layers) - 1, -1, -1):
        total = None
        for d, (part, of) in enumerate(zip(layers[n], found[n], strict=True)):
            P, H = part.state[0].shape[1], part.state[-1].shape[1]
            own = None if dy is None else dy[..., d * P : (d + 1) * P]
            cells = None if dcells is None else dcells[..., d * H : (d + 1) * H]
            of.gradient, dx = part.run_back(own, ends[n][d], cells, inputs[n].shape)
            total = dx if total is None else total + dx
        dy, dcells = total, None


def _upstream(call: RecurrentCall, layers: int, directions: int) -> tuple[Any, Any, Any]:
    """The gradients of the last layer's outputs, of the last state of each part, of the cells."""
    layer, dy = call.layer, call.dy
    B, dtype = len(call.x), call.x.dtype
    sizes = _sizes(layer)
    given = [*call.dstate, None, None]
    kinds = []
    for size, of in zip(sizes, given, strict=False):
        room = np.zeros((layers, directions, B, size), dtype)
        kinds.append(room if of is None else room + of.reshape(room.shape))
    if dy is not None and not layer.return_sequences:
        parts = np.split(dy, directions, axis=-1)
        kinds[0][-1] += np.stack(parts)
        dy = None
    ends = [[tuple(kind[n, d] for kind in kinds) for d in range(directions)] for n in range(layers)]
    dcells = None if call.dcells is None else layer._in_order(call.dcells)
    return None if dy is None else layer._in_order(dy), ends, dcells


def _sizes(layer: Any) -> tuple[int, ...]:
    """Of what a part's state holds."""
    return (layer.state_size, layer.units) if isinstance(layer, LSTM) else (layer.units,)


def _layers_of(call: RecurrentCall) -> list[list[_Part]]:
    """The parts of a layer's call, layer by layer."""
    layer, B = call.layer, len(call.x)
    rest: dict[str, Any] = {"taken": call.taken, "pad": call.pad, "caches": []}
    if not isinstance(layer, LSTM):
        h = np.zeros((B, layer.units), call.x.dtype) if call.start is None else call.start
        step, back = partial(_step_of_rnn, layer), _back_of_rnn
        return [[_Part(call.name, step, back, (h,), layer.go_backwards, **rest)]]
    found: list[list[_Part]] = []
    for k, (name, at) in enumerate(_named_parts(call.name, layer)):
        n, d = divmod(k, layer.directions)
        if d == 0:
            found.append([])
        weights = _weights(layer, at, call.x_static if n == 0 else None)
        state = _start_of(call, k)
        is_reversed = bool(d) or layer.go_backwards
        step = partial(_step_of_lstm, weights)
        found[n].append(_Part(name, step, _back_of_lstm, state, is_reversed, **rest))
    return found


def _named_parts(name: str, layer: Any) -> Iterator[tuple[str, str]]:
    """Yield the name of each part and what stands behind the names of its weights."""
    for k, at in enumerate(layer.suffixes()):
        n, d = divmod(k, layer.directions)
        yield (name if not at else f"{name}/{n}" + ("/reverse" if d else "")), at


def _start_of(call: RecurrentCall, part: int) -> State:
    B, dtype = len(call.x), call.x.dtype
    h, c = (None, None) if call.start is None else call.start
    found = []
    for given, size in zip((h, c), _sizes(call.layer), strict=True):
        whole = np.zeros((1, B, size), dtype) if given is None else given.reshape(-1, B, size)
        found.append(np.ascontiguousarray(whole[0 if given is None else part]))
    return tuple(found)


def _weights(layer: Any, at: str, x_static: Array | None) -> dict[str, Any]:
    params = layer.floats()
    found = layer._part_of(params, at) | {"options": layer.options, "precision": layer.precision}
    if x_static is not None:
        found |= {"x_static": x_static, "W_static": params[f"W_static{at}"]}
    return found  # type: ignore[no-any-return]


def _step_of_lstm(
    weights: dict[str, Any], x: Array, state: State
) -> tuple[dict[str, Array], State, Any]:
    h, c = state
    _, (h, c), cache = ops.lstm_forward(x[None], **weights, h0=h, c0=c, training=True)
    gates = {name: gate[0] for name, gate in gates_of(cache).items()}
    return {**gates, "c": c, "h": h}, (h, c), cache


def _back_of_lstm(cache: Any, dstate: State) -> tuple[Array, State]:
    found = ops.lstm_backward(cache, None, *dstate, need_weights=False)
    assert found.dx is not None and found.dh0 is not None and found.dc0 is not None
    return found.dx[0], (found.dh0, found.dc0)


def _step_of_rnn(layer: Any, x: Array, state: State) -> tuple[dict[str, Array], State, Any]:
    params = layer.params
    _, h, cache = ops.rnn_forward(
        x[None], params["W_ih"], params["W_hh"], params.get("b"), *state,
        activation=layer.activation, training=True,
    )  # fmt: skip
    return {"h": h}, (h,), cache


def _back_of_rnn(cache: Any, dstate: State) -> tuple[Array, State]:
    found = ops.rnn_backward(cache, None, *dstate)
    assert found.dx is not None and found.dh0 is not None
    return found.dx[0], (found.dh0,)


def _added(dstate: State, place: int, more: Array | None) -> State:
    if more is None:
        return dstate
    return tuple(d + more if n == place else d for n, d in enumerate(dstate))


def _of_rows(chosen: Array | None, t: int, values: Array) -> Array:
    """The values of the rows that are chosen at t, 0 in the others."""
    return values if chosen is None else np.where(chosen[:, t, None], values, values.dtype.type(0))


def _masked(part: _Part, values: dict[str, Array]) -> dict[str, Array]:
    if part.taken is None:
        return values
    rows = part.taken[:, :, None]
    return {name: np.where(rows, value, np.nan) for name, value in values.items()}

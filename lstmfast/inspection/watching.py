"""Watching a model: each call of its recurrent layers and embeddings, forward and back.

The model runs as in training, which keeps what the way back needs, but as for `predict`: nothing is
dropped, batches are normalised by the moving means. Afterwards it is as it was before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import capi
from ..arguments import Array
from ..layers import LSTM, Embedding, SimpleRNN
from ..layers.normalization import BatchNormalization
from ..layers.quantized import Quantized
from ..layers.wrapper import Wrapper
from ..model.network import Network
from ..ops.options import QUIET
from ..whole import held

__all__ = ["EmbeddingCall", "RecurrentCall", "Watch", "check_can_be_watched", "watched"]


@dataclass(eq=False)
class RecurrentCall:
    """One call of an LSTM or a SimpleRNN: what it took, and the gradients of what it gave."""

    name: str
    layer: Any
    x: Array
    start: Any
    taken: Array | None  # (B, T); None: all steps
    x_static: Array | None
    pad: str
    cache: Any = None
    dy: Array | None = None
    dstate: tuple[Any, ...] = ()
    dcells: Array | None = None

    @property
    def has_gradient(self) -> bool:
        return self.dy is not None or bool(self.dstate) or self.dcells is not None


@dataclass(eq=False)
class EmbeddingCall:
    """One call of an Embedding: ids, vectors and the gradient of these."""

    layer: Any
    ids: Array
    vectors: Array
    cache: Any = None
    dy: Array | None = None


@dataclass
class Watch:
    """What has been seen, and what is to be done with the vectors of ids.

    Attributes
    ----------
    calls, embeddings : lists of the calls, in their order
    share : what vectors are multiplied with
    hidden : (ids, index) or None: in calls with this array, the vectors there are zeros
    """

    calls: list[RecurrentCall] = field(default_factory=list)
    embeddings: list[EmbeddingCall] = field(default_factory=list)
    share: float = 1.0
    hidden: tuple[Array, Any] | None = None


def check_can_be_watched(model: Network) -> None:
    """Raise ValueError for what cannot be looked into."""
    if model.device != "cpu":
        raise ValueError(f"model: expected one on 'cpu' (see to), got one on {model.device!r}")
    for name, layer in _leaves(model):
        if isinstance(layer, Quantized) or layer.precision == "int8":
            raise ValueError(f"model: expected float weights, {name} holds int8")
        if isinstance(layer, LSTM) and (layer.zoneout_h or layer.zoneout_c):
            found = max(layer.zoneout_h, layer.zoneout_c)
            raise ValueError(f"model: expected no zoneout to look inside, {name} has {found}")


@contextmanager
def watched(model: Network) -> Iterator[Watch]:
    """Note each call within the block, and leave the model as it was. For one thread alone."""
    watch, leaves = Watch(), list(_leaves(model))
    before = [(layer, dict(vars(layer))) for layer in _all_layers(model)]
    generator = model._generator()
    try:
        for name, layer in leaves:
            _quiet(layer)
            _hook(watch, name, layer)
        yield watch
    finally:
        with held():
            for layer, attributes in before:
                vars(layer).clear()
                vars(layer).update(attributes)
            capi.copy_all([], [], generator)


def _all_layers(model: Network) -> Iterator[Any]:
    """Yield each layer, also those that are held by others."""
    waiting: list[Any] = list(model.graph.layers)
    while waiting:
        layer = waiting.pop()
        yield layer
        waiting += layer.inner.values() if isinstance(layer, Wrapper) else []


def _leaves(model: Network) -> Iterator[tuple[str, Any]]:
    """Yield each layer that holds no other, once, with its name: the way to it, by `/`."""
    seen: set[int] = set()
    waiting = [("", {layer.name: layer for layer in model.graph.layers})]
    while waiting:
        path, layers = waiting.pop(0)
        for name, layer in layers.items():
            if isinstance(layer, Wrapper) and layer.inner:
                waiting.append((f"{path}{name}/", dict(layer.inner)))
            elif id(layer) not in seen:
                seen.add(id(layer))
                yield path + name, layer


def _quiet(layer: Any) -> None:
    """Let a pass of training give what `predict` gives."""
    layer.draws = False
    if isinstance(layer, LSTM):
        layer.noise, layer.truncate = QUIET, None
    if isinstance(layer, BatchNormalization):
        layer.trainable = False


def _hook(watch: Watch, name: str, layer: Any) -> None:
    if isinstance(layer, (LSTM, SimpleRNN)):
        _hook_recurrent(watch, name, layer)
    elif isinstance(layer, Embedding):
        _hook_embedding(watch, layer)


def _hook_recurrent(watch: Watch, name: str, layer: Any) -> None:
    forward, backward = layer.forward, layer.backward

    def noted_forward(
        x: Array, training: bool = False, initial_state: Any = None, **told: Any
    ) -> Any:
        start = layer._start(len(x), initial_state)
        taken = _taken(told, x.shape[1])
        pad = layer.pad or told.get("pad") or "zeros"
        x = layer._as_floats(x)
        call = RecurrentCall(name, layer, x, start, taken, told.get("x_static"), pad)
        found = forward(x, training, initial_state, **told)
        call.cache = layer._cache
        watch.calls.append(call)
        return found

    def noted_backward(dy: Any, need_dx: bool = True, **told: Any) -> Any:
        call = next(one for one in watch.calls if one.cache is layer._cache)
        call.dy = None if dy is None else dy.copy()
        dstate = told.get("dstate") or (told.get("dh_n"),)
        if any(one is not None for one in dstate):
            call.dstate = tuple(None if one is None else one.copy() for one in dstate)
        dcells = told.get("dcells")
        call.dcells = None if dcells is None else dcells.copy()
        return backward(dy, need_dx, **told)

    vars(layer).update(forward=noted_forward, backward=noted_backward)


def _hook_embedding(watch: Watch, layer: Any) -> None:
    forward, backward = layer.forward, layer.backward

    def noted_forward(x: Array, training: bool = False) -> Array:
        vectors: Array = forward(x, training)
        call = EmbeddingCall(layer, x, vectors, layer._cache)
        watch.embeddings.append(call)
        if watch.share != 1.0:
            vectors = vectors * vectors.dtype.type(watch.share)
        if watch.hidden is not None and watch.hidden[0] is x:
            vectors = vectors.copy()
            vectors[(slice(None), *watch.hidden[1])] = 0
        return vectors

    def noted_backward(dy: Array, need_dx: bool = True) -> None:
        calls = (one for one in watch.embeddings if one.layer is layer and one.dy is None)
        next(one for one in calls if one.cache is layer._cache).dy = dy.copy()
        backward(dy, need_dx)

    vars(layer).update(forward=noted_forward, backward=noted_backward)


def _taken(told: Mapping[str, Any], steps: int) -> Array | None:
    if told.get("lengths") is not None:
        taken: Array = np.arange(steps) < np.asarray(told["lengths"])[:, None]
        return taken
    return None if told.get("mask") is None else np.asarray(told["mask"])

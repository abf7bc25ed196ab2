"""What stands at the outputs of a model that trains: losses, their weights, metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import losses
from ..arguments import Array, Shape, choice, number, shown
from ..layers import Dense
from ..losses import AnyLoss, BatchLoss, Crossentropy, Loss
from .data import Samples
from .graph import Graph
from .passes import Tape

__all__ = ["Head", "Heads", "metric_names"]


ACCURACIES = {
    "accuracy": ("SparseCategoricalCrossentropy", "CategoricalCrossentropy"),
    "acc": ("SparseCategoricalCrossentropy", "CategoricalCrossentropy"),
    "sparse_categorical_accuracy": ("SparseCategoricalCrossentropy",),
    "categorical_accuracy": ("CategoricalCrossentropy",),
}


class Head(NamedTuple):
    """One output.

    Attributes
    ----------
    name : str
    loss : Loss or None
    share : float
        What its loss counts in the sum of all.
    slot : int
        Where the graph has it.
    linear : bool
        Does the loss take the sums before the last activation, which it contains?
    """

    name: str
    loss: Loss | None
    share: float
    slot: int
    linear: bool


class Heads:
    """The outputs of a compiled model.

    Parameters
    ----------
    graph : Graph
    names : of the outputs
    loss : what `compile` was given: one for an only output, a list, or a dict by name
    loss_weights : a list or a dict of floats, or None for ones

    Raises
    ------
    ValueError
        For unknown names, and for a loss that does not fit its output.
    """

    def __init__(self, graph: Graph, names: Sequence[str], loss: Any, loss_weights: Any = None):
        given = [None if one is None else losses.get(one) for one in _each("loss", loss, names)]
        shares = _each("loss_weights", loss_weights, names)
        self.each: list[Head] = []
        for name, slot, one, share in zip(names, graph.outputs, given, shares, strict=True):
            last = _last_layer(graph, slot)
            check_loss(one, last, graph.layers)
            weight = 1.0 if share is None else number("loss_weights", share, 0.0)
            self.each.append(Head(name, one, weight, slot, _is_linear(graph, slot, one, last)))
        self.linear = [head.slot for head in self.each if head.linear]

    @property
    def loss(self) -> Loss | None:
        """That of an only output."""
        return self.each[0].loss if len(self.each) == 1 else None

    @property
    def learns(self) -> bool:
        """Is there any loss?"""
        return any(head.loss is not None for head in self.each)

    def check(self, ys: Sequence[Array], shapes: Sequence[Shape]) -> None:
        """Raise ValueError unless these are targets for outputs of these shapes."""
        for head, y, shape in zip(self.each, ys, shapes, strict=True):
            if head.loss is not None:
                head.loss.check(y, shape)

    def targets(self, ys: Sequence[Array], shapes: Sequence[Shape], dtype: str) -> list[Array]:
        """Return the targets as they go to a GPU."""
        return [
            y if head.loss is None else head.loss.targets(y, shape, dtype)
            for head, y, shape in zip(self.each, ys, shapes, strict=True)
        ]

    def forward(self, tape: Tape, batch: Samples) -> AnyLoss:
        """Return the loss of a batch."""
        ys, weights = batch.ys, batch.weights
        found = [
            head.loss.forward(tape.values[head.slot], y, *_given(w))
            for head, y, w in zip(self.each, ys, weights, strict=True)
            if head.loss is not None
        ]
        return self._total(found, len(ys[0]))

    def backward(self, tape: Tape, batch: Samples) -> tuple[AnyLoss, list[Any]]:
        """Return the loss and its gradient to each output; outputs may be overwritten."""
        ys, weights = batch.ys, batch.weights
        found: list[AnyLoss] = []
        gradients: list[Any] = []
        for head, y, w in zip(self.each, ys, weights, strict=True):
            if head.loss is None:
                gradients.append(None)
                continue
            outputs = tape.values[head.slot]
            if head.loss.wants_logits and not head.linear:
                outputs = outputs.copy()  # which the layer's way back may need
            one, dy = head.loss.backward(outputs, y, *_given(w))
            if head.share != 1.0:
                dy *= head.share
            found.append(one)
            gradients.append(dy)
        return self._total(found, len(ys[0])), gradients

    def _total(self, found: list[Any], samples: int) -> AnyLoss:
        if len(self.each) == 1 and self.each[0].share == 1.0:
            only: AnyLoss = found[0]
            return only
        shares = [head.share for head in self.each if head.loss is not None]
        total = sum(one.mean * share for one, share in zip(found, shares, strict=True))
        return BatchLoss(total * samples, samples, None)


def _given(weights: Any) -> tuple[Any, ...]:
    return () if weights is None else (weights,)


def _each(what: str, given: Any, names: Sequence[str]) -> list[Any]:
    """Return what each output is given; a dict may leave some out."""
    if given is None:
        return [None] * len(names)
    if isinstance(given, dict) and "class" not in given:
        if unknown := set(given) - set(names):
            raise ValueError(f"{what}: expected keys of {list(names)}, got {sorted(unknown)}")
        return [given.get(name) for name in names]
    if not isinstance(given, (list, tuple)):
        given = [given] * (len(names) if what == "loss" else 1)
    if len(given) != len(names):
        raise ValueError(f"{what}: expected {len(names)}, one for each output, got {shown(given)}")
    return list(given)


def _last_layer(graph: Graph, slot: int) -> Any:
    return next(step.layer for step in graph.steps if slot in step.outputs)


def _is_linear(graph: Graph, slot: int, loss: Loss | None, last: Any) -> bool:
    """May the loss take the sums of the last layer, which nobody else takes?"""
    if loss is None or not loss.wants_logits or not isinstance(last, Dense):
        return False
    alone = not graph.takers(slot) and graph.outputs.count(slot) == 1
    return alone and last.activation in ("linear", "softmax")


def check_loss(loss: Loss | None, last: Any, layers: Sequence[Any]) -> None:
    """Raise ValueError for a loss that cannot fall, or that would see no softmax, or two of them.

    A softmax over one number is one whatever it gets, so nothing before it could learn.
    """
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

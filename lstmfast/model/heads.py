"""What stands at the outputs of a model that trains: losses, their weights, metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from .. import losses, metrics
from ..arguments import Array, Shape, number, shown
from ..layers import Dense
from ..losses import AnyLoss, BatchLoss, Loss, PendingLoss
from ..metrics import Metric, masked
from ..ops.placement import is_own, to_host
from .given import Samples
from .graph import Graph
from .passes import Tape

__all__ = ["Head", "Heads", "Seen", "View", "tell"]


class Head(NamedTuple):
    """One output.

    Attributes
    ----------
    name : str
    loss : Loss or None
        As it stands behind the last layer.
    share : float
        What its loss counts in the sum of all.
    slot : int
        Where the graph has it.
    finish : callable or None
        Of a loss that takes the sums before the last activation: makes outputs of them, in place.
    metrics : list of Metric
        Told of masks.
    weighted : list of Metric
        Told of sample weights, too.
    """

    name: str
    loss: Loss | None
    share: float
    slot: int
    finish: Callable[[Array], Array] | None
    metrics: list[Metric]
    weighted: list[Metric]

    @property
    def gives_hits(self) -> bool:
        """Does the loss find out, on its way, which rows are right?"""
        return (
            self.finish is not None
            and self.loss is not None
            and (self.loss.activation == "softmax")
        )


class View(NamedTuple):
    """What the metrics of one output get of a batch.

    Attributes
    ----------
    y : ndarray
    outputs, scores : ndarray or None
        The outputs, and numbers that rise with them, as far as a metric needs them.
    mask, weights : ndarray or None
    rows : tuple of int
        The shape of the outputs without their last axis.
    hits : BatchLoss, PendingLoss or None
        The loss, where it tells which rows are right.
    """

    y: Array
    outputs: Array | None
    scores: Array | None
    mask: Any
    weights: Any
    rows: tuple[int, ...]
    hits: AnyLoss | None = None


class Seen(NamedTuple):
    """What one batch came to: the loss of all, the losses of the outputs, and what metrics get."""

    loss: AnyLoss
    each: list[AnyLoss | None]
    views: list[View]

    def plus(self, penalty: float) -> Seen:
        """Return the same with what the weights add to the loss."""
        return self._replace(loss=self.loss.plus(penalty))


class Heads:
    """The outputs of a compiled model.

    Parameters
    ----------
    graph : Graph
    names : of the outputs
    loss : what `compile` was given: one for all outputs, a list, or a dict by name
    loss_weights : a list or a dict of floats, or None for ones
    metrics, weighted : a name or a list of them for an only output; a list or a dict of such
    shapes : of the outputs, where they are known

    Raises
    ------
    ValueError
        For unknown names, and for a loss that does not fit its output.
    """

    def __init__(
        self, graph: Graph, names: Sequence[str], loss: Any, loss_weights: Any = None,
        metrics: Any = None, weighted: Any = None, shapes: Sequence[Shape] | None = None,
    ):  # fmt: skip
        self.names = list(names)
        self.losses = [
            None if one is None else losses.get(one) for one in _each("loss", loss, names)
        ]
        self.shares = [
            1.0 if share is None else number("loss_weights", share, 0.0)
            for share in _each("loss_weights", loss_weights, names)
        ]
        self.given = [_metrics_of("metrics", m, names) for m in (metrics, weighted)]
        _check_softmax(graph, self.losses)
        known: Sequence[Any] = shapes or [None] * len(names)
        self.each = [
            _head(graph, *one)
            for one in zip(
                names,
                graph.outputs,
                self.losses,
                self.shares,
                *self.given,
                known,
                strict=True,
            )
        ]
        _check_names(self.metric_names())
        self.linear = [head.slot for head in self.each if head.finish is not None]

    @property
    def loss(self) -> Any:
        """The loss of an only output; of several a dict by name."""
        if len(self.names) == 1:
            return self.losses[0]
        return dict(zip(self.names, self.losses, strict=True))

    @property
    def learns(self) -> bool:
        """Is there any loss?"""
        return any(head.loss is not None for head in self.each)

    def metric_names(self) -> list[str]:
        """Return the names of all metrics, as a history has them."""
        return [self.called(head, m) for head in self.each for m in (*head.metrics, *head.weighted)]

    def called(self, head: Head, metric: Metric) -> str:
        """Return the name of a metric of an output: of several outputs, the output's before it."""
        return metric.name if len(self.each) == 1 else f"{head.name}_{metric.name}"

    def check(self, data: Samples, shapes: Sequence[Shape], is_masked: bool) -> None:
        """Raise ValueError unless targets fit outputs of these shapes.

        Of a model that masks steps, values are looked at batch by batch: those of masked steps may
        be anything.
        """
        for head, y, w, shape in zip(self.each, data.ys, data.weights, shapes, strict=True):
            if head.loss is None:
                continue
            rows = [size or 0 for size in shape[:-1]]
            weights = head.loss.row_weights(y, [*rows, shape[-1] or 0], w)
            if is_masked:
                weights = np.zeros(int(np.prod(rows)))
            head.loss.check(y, shape, weights)

    def targets(self, ys: Sequence[Array], shapes: Sequence[Shape], dtype: str) -> list[Array]:
        """Return the targets as they go to a GPU."""
        return [
            y if head.loss is None else head.loss.targets(y, shape, dtype)
            for head, y, shape in zip(self.each, ys, shapes, strict=True)
        ]

    def forward(self, tape: Tape, batch: Samples) -> Seen:
        """Return the loss of a batch."""
        return self._seen(tape, batch, False)[0]

    def backward(self, tape: Tape, batch: Samples) -> tuple[Seen, list[Any]]:
        """Return the loss and its gradient to each output; outputs may be overwritten."""
        return self._seen(tape, batch, True)

    def _seen(self, tape: Tape, batch: Samples, gradient: bool) -> tuple[Seen, list[Any]]:
        each: list[AnyLoss | None] = []
        views, gradients = [], []
        inputs = zip(self.each, batch.ys, batch.weights, tape.output_masks, strict=True)
        for head, y, sample_weight, mask in inputs:
            outputs = tape.values[head.slot]
            view = _view(head, y, outputs, mask, sample_weight)
            loss, dy = _loss_of(head, outputs, y, sample_weight, mask, gradient)
            each.append(loss)
            views.append(view._replace(hits=loss if head.gives_hits else None))
            gradients.append(dy)
        return Seen(self._total(each, len(batch)), each, views), gradients

    def _total(self, each: list[AnyLoss | None], samples: int) -> AnyLoss:
        if len(each) == 1 and each[0] is not None and self.shares == [1.0]:
            return each[0]
        pairs = [(one, n) for one, n in zip(each, self.shares, strict=True) if one is not None]
        if any(isinstance(one, PendingLoss) for one, _ in pairs):
            shares = [one.sums[:1] * (share * samples / one.rows) for one, share in pairs]  # type: ignore[union-attr]
            return PendingLoss(reduce(np.add, shares), samples)
        total = sum(one.mean * share for one, share in pairs)
        return BatchLoss(total * samples, samples, None)


OF_HITS = (metrics.SparseCategoricalAccuracy, metrics.CategoricalAccuracy)


def _head(
    graph: Graph, name: str, slot: int, loss: Loss | None, share: float,
    plain: list[Any], weighted: list[Any], known: Shape | None,
) -> Head:  # fmt: skip
    last = next(step.layer for step in graph.steps if slot in step.outputs)
    activation = last.activation if isinstance(last, Dense) else None
    alone = not graph.takers(slot) and graph.outputs.count(slot) == 1
    behind = None
    if loss is not None:
        _check_ending(loss, activation)
        behind = loss.behind(activation)
        if not alone:
            behind = loss.behind(None)
    finish = last.finish if behind is not None and behind.wants_logits else None
    shape = known or (None, last.units if isinstance(last, Dense) else None)
    made = [[metrics.get(one, loss, shape) for one in given] for given in (plain, weighted)]
    return Head(name, behind, share, slot, finish, *made)


def _view(head: Head, y: Array, outputs: Array, mask: Any, sample_weight: Any) -> View:
    """Return what metrics get: outputs are made, or kept, before the loss overwrites them."""
    scores = whole = None
    for metric in (*head.metrics, *head.weighted):
        if isinstance(metric, OF_HITS) and head.gives_hits:
            continue
        if metric.takes_scores and scores is None:
            scores = outputs if head.finish is None else outputs.copy()
        elif not metric.takes_scores and whole is None:
            whole = outputs if head.finish is None else head.finish(outputs.copy())
    return View(y, whole, scores, mask, sample_weight, tuple(outputs.shape[:-1]))


def _loss_of(
    head: Head, outputs: Array, y: Array, sample_weight: Any, mask: Any, gradient: bool
) -> tuple[AnyLoss | None, Any]:
    if head.loss is None:
        return None, None
    weights = head.loss.row_weights(y, outputs.shape, sample_weight, mask)
    if mask is not None and not is_own(outputs):
        head.loss.check(y, outputs.shape, weights)
    if not gradient:
        return head.loss.forward(outputs, y, weights), None
    found, dy = head.loss.backward(outputs, y, weights)
    if head.share != 1.0:
        dy *= head.share
    return found, dy


def tell(metric: Metric, view: View, is_weighted: bool) -> None:
    """Let a metric know of a batch."""
    mask = None if view.mask is None else to_host(view.mask)
    weights = masked(view.weights if is_weighted else None, mask, view.rows)
    if isinstance(metric, OF_HITS) and view.hits is not None:
        found = view.hits.read()
        if found.hits is not None:
            metric.add(found.hits.reshape(view.rows), weights)
        else:  # from a GPU, where each row counts one
            metric.total += found.correct or 0
            metric.count += found.rows
        return
    y_pred = view.scores if metric.takes_scores else view.outputs
    y = view.y
    if is_own(y):  # row by row, as it goes to a GPU
        y = to_host(y).reshape(*view.rows, *y.shape[1:])
    metric.update_state(y, to_host(y_pred), weights)


# What `compile` was given.


def _each(what: str, given: Any, names: Sequence[str]) -> list[Any]:
    """Return what each output is given; a dict may leave some out."""
    if given is None:
        return [None] * len(names)
    if isinstance(given, dict) and "class" not in given:
        if not given:
            raise ValueError(f"{what}: expected keys of {list(names)}, got none")
        if unknown := set(given) - set(names):
            raise ValueError(f"{what}: expected keys of {list(names)}, got {sorted(unknown)}")
        return [given.get(name) for name in names]
    if not isinstance(given, (list, tuple)):
        given = [given] * (len(names) if what == "loss" else 1)
    if len(given) != len(names):
        raise ValueError(f"{what}: expected {len(names)}, one for each output, got {shown(given)}")
    return list(given)


def _metrics_of(what: str, given: Any, names: Sequence[str]) -> list[list[Any]]:
    """Return the identifiers of the metrics of each output."""
    if given is None:
        return [[] for _ in names]
    if len(names) == 1 and not (isinstance(given, dict) and "class" not in given):
        return [_listed(what, given)]
    if isinstance(given, (list, tuple)) and not any(isinstance(one, list) for one in given):
        flat = [[one] * len(names) for one in given]
        return [list(column) for column in zip(*flat, strict=True)] if flat else [[] for _ in names]
    return [[] if one is None else _listed(what, one) for one in _each(what, given, names)]


def _listed(what: str, given: Any) -> list[Any]:
    if isinstance(given, (str, dict, Metric)) or callable(given):
        return [given]
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"{what}: expected a list of names, got {shown(given)}")
    return list(given)


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"metrics: expected each name once, got {names}")


def _check_ending(loss: Loss, activation: str | None) -> None:
    """Raise ValueError for probabilities that a Dense layer does not give."""
    wanted = loss.activation
    if wanted is None or loss.from_logits or activation is None or activation == wanted:
        return
    if activation == "softmax" and wanted == "sigmoid":
        return
    expected = f"a Dense(activation={wanted!r}) at the end, or from_logits=True"
    raise ValueError(f"loss: expected {expected}, got {loss.get_config()}")


def _check_softmax(graph: Graph, given: Sequence[Loss | None]) -> None:
    """A softmax over one number is one whatever it gets, so nothing before it could learn."""
    for layer in graph.layers if any(loss is not None for loss in given) else ():
        if isinstance(layer, Dense) and layer.activation == "softmax" and layer.units == 1:
            expected = "a softmax over two units or more (of two classes: units=2)"
            raise ValueError(f"{layer.name}: expected {expected} to learn from, got units=1")

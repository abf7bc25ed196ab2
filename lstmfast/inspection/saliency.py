"""What each number of the input counts for: by gradients, at x or on the way to it, or left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array
from .objective import Objective
from .watching import Watch, watched

__all__ = ["METHODS", "saliency"]

METHODS = ("gradient_input", "integrated", "occlusion")


def saliency(objective: Objective, method: str, steps: int) -> list[Array]:
    """Return an array like each input, of float64: see `Inspection.saliency`."""
    if method == "gradient_input":
        return _products(objective, [1.0])
    if method == "integrated":
        return _products(objective, [(k + 0.5) / steps for k in range(steps)])
    return _occluded(objective)


def _products(objective: Objective, shares: list[float]) -> list[Array]:
    """Each input times the mean of its gradients at these shares of the input."""
    totals: list[Array] = [np.zeros(x.shape) for x in objective.batch.xs]
    with watched(objective.model):
        objective.forward(objective.batch.xs)  # which chooses the outputs
    for share in shares:
        for total, product in zip(totals, _product(objective, share), strict=True):
            total += product / len(shares)
    return totals


def _product(objective: Objective, share: float) -> list[Array]:
    xs, graph = objective.batch.xs, objective.model.graph
    with watched(objective.model) as watch:
        watch.share = share
        ids = [graph.takes_ids(n) for n in range(len(xs))]
        given = [x if is_ids or share == 1 else x * x.dtype.type(share)
                 for x, is_ids in zip(xs, ids, strict=True)]  # fmt: skip
        gradients = objective.backward(objective.forward(given))
    return [
        _of_ids(watch, x) if is_ids else _of_numbers(x, gradient)
        for x, is_ids, gradient in zip(xs, ids, gradients, strict=True)
    ]


def _of_numbers(x: Array, gradient: Any) -> Array:
    return np.zeros(x.shape) if gradient is None else x.astype(np.float64) * gradient


def _of_ids(watch: Watch, ids: Array) -> Array:
    """The products of vectors and gradients, summed over each vector."""
    _check_embedded(watch, ids)
    found = np.zeros(ids.shape)
    for call in watch.embeddings:
        if call.ids is ids and call.dy is not None:
            found += (call.vectors.astype(np.float64) * call.dy).sum(axis=-1)
    return found


def _occluded(objective: Objective) -> list[Array]:
    """What the objective loses with each number, or with each id's vector, in turn at zero."""
    xs, graph = objective.batch.xs, objective.model.graph
    found: list[Array] = []
    with watched(objective.model):
        whole = objective.forward(xs)
    before = objective.of_rows(whole, whole)
    for n, x in enumerate(xs):
        room = np.empty(x.shape)
        for index in np.ndindex(x.shape[1:]):
            with watched(objective.model) as watch:
                given = list(xs)
                if graph.takes_ids(n):
                    watch.hidden = x, index
                else:
                    given[n] = x.copy()
                    given[n][(slice(None), *index)] = 0
                tape = objective.forward(given)
                if graph.takes_ids(n):
                    _check_embedded(watch, x)
            room[(slice(None), *index)] = before - objective.of_rows(whole, tape)
        found.append(room)
    return found


def _check_embedded(watch: Watch, ids: Array) -> None:
    if not any(call.ids is ids for call in watch.embeddings):
        expected = "ids that go straight into an Embedding"
        raise ValueError(f"x: expected {expected} to tell their saliency, got others")

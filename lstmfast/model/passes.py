"""Through a graph and back: each layer's forward and backward, in the order of the steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..arguments import Array
from ..layers.checks import is_array
from .graph import Graph, Step

__all__ = ["Tape", "backward", "forward"]


class Tape:
    """What a forward pass leaves: values and masks by slot, and what each step's way back needs."""

    def __init__(self, graph: Graph, xs: Sequence[Array], masks: Sequence[Any]):
        empty = [None] * (graph.slots - len(xs))
        self.graph = graph
        self.values: list[Any] = [*xs, *empty]
        self.masks: list[Any] = [*masks, *empty]
        self.caches: list[Any] = []

    @property
    def outputs(self) -> list[Array]:
        return [self.values[slot] for slot in self.graph.outputs]

    @property
    def output_masks(self) -> list[Any]:
        return [self.masks[slot] for slot in self.graph.outputs]


def forward(
    graph: Graph, xs: Sequence[Array], masks: Sequence[Any], training: bool = False,
    linear: Collection[int] = (), keep: bool = False,
) -> Tape:  # fmt: skip
    """Run a batch through the graph.

    Parameters
    ----------
    xs, masks : one for each entry; masks may be None
    training : keep what one `backward` needs
    linear : slots whose layers leave out their last activation (`Dense.forward_linear`)
    keep : keep the values of all slots, not the outputs' alone
    """
    tape = Tape(graph, xs, masks)
    last_use = {} if keep or training else _last_uses(graph)
    for n, step in enumerate(graph.steps):
        layer, x = step.layer, graph.taken(step, tape.values)
        if step.outputs[0] in linear:
            found = layer.forward_linear(x, training)
        else:
            arguments = _arguments(step, tape)
            found = layer.forward(x, arguments.pop("training", training), **arguments)
        _keep(step, found, layer.compute_mask(x, graph.taken(step, tape.masks)), tape)
        if training:
            tape.caches.append(layer._cache)
            layer._cache = None
        for slot in last_use.get(n, ()):
            tape.values[slot] = None
    return tape


def _arguments(step: Step, tape: Tape) -> dict[str, Any]:
    """Return what a call is given beside its input: constants, values of other tensors, masks."""
    arguments = dict(step.constants)
    for name, slots in step.sides.items():
        arguments[name] = _values_of(slots, tape.values)
    if "mask" in step.sides:  # which counts for more than what came with the input
        arguments |= step.layer.mask_arguments(np.not_equal(arguments.pop("mask"), 0))
    elif step.layer.takes_mask:
        mask = tape.graph.taken(step, tape.masks)
        if any(one is not None for one in (mask if isinstance(mask, list) else (mask,))):
            arguments |= step.layer.mask_arguments(mask)
    return arguments


def _keep(step: Step, found: Any, mask: Any, tape: Tape) -> None:
    """Put outputs and masks into their slots; a single mask is that of the first output."""
    if len(step.outputs) == 1:
        found, mask = (found,), (mask,)
    elif not isinstance(mask, (list, tuple)):
        mask = (mask, *[None] * (len(step.outputs) - 1))
    for slot, value, of_value in zip(step.outputs, found, mask, strict=True):
        tape.values[slot], tape.masks[slot] = value, of_value


def backward(tape: Tape, gradients: Sequence[Any], needed: Sequence[bool] = ()) -> list[Any]:
    """Go back: fill `grads` of all layers that train, and return the gradient of each entry.

    Parameters
    ----------
    gradients : of each output, None for zeros; they may be overwritten
    needed : for each entry, whether its gradient is wanted; none by default
    """
    graph = tape.graph
    found: list[Any] = [None] * graph.slots
    for slot, gradient in zip(graph.outputs, gradients, strict=True):
        found[slot] = _sum(found[slot], gradient)
    wanted = _wanted(graph, needed)
    totals: dict[Any, dict[str, Array]] = {}
    for step, cache in zip(reversed(graph.steps), reversed(tape.caches), strict=True):
        dys = [found[slot] for slot in step.outputs]
        need_dx = any(wanted[slot] for slot in step.sources())
        if all(dy is None for dy in dys) or not (need_dx or step.layer.trained):
            continue
        layer = step.layer
        layer._cache = cache
        dx = layer.backward(dys[0], need_dx) if len(dys) == 1 else layer.backward_of(dys, need_dx)
        totals[layer] = _totals(totals.get(layer), layer.grads)
        _hand_on(step, dx, found, wanted)
    for layer in graph.layers:
        layer.grads = totals.get(layer) or _zeros(layer)
    return found[: len(graph.entries)]


def _hand_on(step: Step, dx: Any, found: list[Any], wanted: Sequence[bool]) -> None:
    """Add the gradients of what a step took to those of their slots."""
    if dx is not None:
        parts = _distinct(dx) if step.layer.takes_list else (dx,)
        for slot, part in zip(step.inputs, parts, strict=True):
            if wanted[slot]:
                found[slot] = _sum(found[slot], part)
    if not step.sides:
        return
    of_sides = step.layer.side_gradients()
    for name, slots in step.sides.items():
        for slot, part in zip(*_pairs(slots, of_sides.get(name)), strict=True):
            if wanted[slot]:
                found[slot] = _sum(found[slot], part)


def _pairs(slots: Any, gradients: Any) -> tuple[Sequence[int], Sequence[Any]]:
    if isinstance(slots, int):
        return (slots,), (gradients,)
    return slots, gradients or [None] * len(slots)


def _wanted(graph: Graph, needed: Sequence[bool]) -> list[bool]:
    """For each slot: is its gradient needed, for an entry or for weights on the way to it?"""
    wanted = [*needed, *[False] * (graph.slots - len(needed))]
    for step in graph.steps:
        is_needed = bool(step.layer.trained) or any(wanted[slot] for slot in step.sources())
        for slot in step.outputs:
            wanted[slot] = is_needed
    return wanted


def _sum(total: Any, gradient: Any) -> Any:
    """Add up gradients of one value, in memory of its own where there are several."""
    if total is None or gradient is None:
        return gradient if total is None else total
    return total + gradient


def _totals(total: dict[str, Array] | None, grads: dict[str, Array]) -> dict[str, Array]:
    if total is None:
        return grads
    return {name: _sum(total[name], grad) for name, grad in grads.items()}


def _zeros(layer: Any) -> dict[str, Array]:
    """The gradients of a layer that the loss does not depend on."""
    return {name: layer._ops.zeros_like(w) for name, w in layer.trained.items()}


def _last_uses(graph: Graph) -> dict[int, list[int]]:
    """For each step, the slots that nobody needs after it."""
    last: dict[int, int] = {}
    for n, step in enumerate(graph.steps):
        last |= dict.fromkeys([*step.sources(), *step.outputs], n)
    found: dict[int, list[int]] = {}
    for slot, n in last.items():
        if slot not in graph.outputs:
            found.setdefault(n, []).append(slot)
    return found


def _values_of(slots: Any, values: Sequence[Any]) -> Any:
    return values[slots] if isinstance(slots, int) else tuple(values[slot] for slot in slots)


def _distinct(parts: Sequence[Any]) -> list[Any]:
    """Return gradients of which none lies in another's memory, as who gets one may overwrite it."""
    found: list[Any] = []
    for part in parts:
        others = [one for one in found if is_array(one)]
        shares = is_array(part) and any(np.may_share_memory(part, one) for one in others)
        found.append(part.copy() if shares else part)
    return found

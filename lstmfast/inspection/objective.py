"""What a gradient is of: the loss, or each sample's largest output; and passes that give it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..arguments import Array
from ..model import passes
from ..model.given import Samples, as_masks
from ..model.heads import Heads
from ..model.model import Model

__all__ = ["Objective"]


class Objective:
    """The number that is looked into, of one batch.

    Parameters
    ----------
    model : Model
        Built; compiled where there are targets.
    batch : Samples
        As the layers take it.
    """

    def __init__(self, model: Model, batch: Samples):
        self.model, self.batch = model, batch
        self.heads: Heads | None = model._compiled()[1] if batch.ys else None
        self.chosen: Array | None = None  # without targets: which of each sample's outputs counts

    def forward(self, xs: list[Array]) -> passes.Tape:
        """Run these inputs in place of the batch's; the way back is kept."""
        linear = [] if self.heads is None else self.heads.linear
        tape = passes.forward(self.model.graph, xs, as_masks(self.batch), True, linear)
        if self.heads is None and self.chosen is None:
            self.chosen = _largest(tape)
        return tape

    def backward(self, tape: passes.Tape) -> list[Any]:
        """Return the gradient of each input, None of ids; outputs may be overwritten."""
        if self.heads is not None:
            _, gradients = self.heads.backward(tape, self.batch)
        else:
            first = np.zeros_like(tape.outputs[0])
            rows = np.arange(len(first))
            first.reshape(len(first), -1)[rows, self.chosen] = 1
            gradients = [first, *[None] * (len(tape.outputs) - 1)]
        return passes.backward(tape, gradients, [True] * len(self.batch.xs))

    def of_rows(self, tape: passes.Tape, other: passes.Tape) -> Array:
        """Return for each sample b, in float64, the objective of `tape` with b's row of `other`.

        Of the largest outputs it is b's own alone.
        """
        if self.heads is None:
            outputs = other.outputs[0].reshape(len(self.batch), -1)
            return outputs[np.arange(len(outputs)), self.chosen].astype(np.float64)
        return np.array([self._loss(_with_row(tape, other, b)) for b in range(len(self.batch))])

    def loss(self, tape: passes.Tape) -> float:
        """Return the loss, where there are targets, and leave the outputs as they are."""
        return self._loss(_with_row(tape, tape, 0))

    def _loss(self, tape: passes.Tape) -> float:
        assert self.heads is not None
        return float(self.heads.forward(tape, self.batch).loss.mean)


def _largest(tape: passes.Tape) -> Array:
    """Where each sample's largest output is, among its first output's steps that count."""
    outputs, mask = tape.outputs[0], tape.output_masks[0]
    if mask is not None:
        counted = mask.reshape(*mask.shape, *[1] * (outputs.ndim - mask.ndim))
        outputs = np.where(counted, outputs, -np.inf)
    found: Array = outputs.reshape(len(outputs), -1).argmax(axis=1)
    return found


def _with_row(tape: passes.Tape, other: passes.Tape, row: int) -> passes.Tape:
    """A tape with copies of the outputs, and of their masks, one row of which is the other's."""
    found = copy.copy(tape)
    found.values, found.masks = list(tape.values), list(tape.masks)
    for values, others in ((found.values, other.values), (found.masks, other.masks)):
        for slot in tape.graph.outputs:
            if values[slot] is not None:
                values[slot] = values[slot].copy()
                values[slot][row] = others[slot][row]
    return found

"""`Model.predict`: the loop over batches, and their outputs put together."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array, shape_text
from ..callbacks.callback_list import CallbackList
from ..ops.placement import to_host
from ..whole import or_as_before
from .feeding import Arrays, Feed
from .given import Samples

if TYPE_CHECKING:
    from . import Model

__all__ = ["predict"]


def predict(model: Model, feed: Feed, callbacks: CallbackList) -> list[Any]:
    """Return each output of all samples; fewer where a callback stops it."""
    model.stop_predicting = False
    callbacks.on_predict_begin()
    feed.start_epoch()
    found = _Whole(model, feed) if isinstance(feed, Arrays) else _Parts()
    with closing(feed.read()) as batches:
        for step, batch in enumerate(batches):
            callbacks.on_predict_batch_begin(step)
            tape = or_as_before(model._states(), model._pass, batch)
            outputs = found.add(batch, tape.outputs)
            callbacks.on_predict_batch_end(step, {"outputs": model._as_given(outputs)})
            if model.stop_predicting:
                break
    callbacks.on_predict_end()
    return found.result()


class _Whole:
    """Outputs of which the number is known: each batch is written where it belongs."""

    def __init__(self, model: Model, feed: Arrays):
        shapes = model.graph.output_shapes([x.shape for x in feed.data.xs])
        count = len(feed.data)
        self.rows = 0
        self.found = [np.empty([count, *(n or 0 for n in shape[1:])], model.dtype)
                      for shape in shapes]  # fmt: skip

    def add(self, batch: Samples, outputs: Any) -> list[Array]:
        at = slice(self.rows, self.rows + len(batch))
        for whole, value in zip(self.found, outputs, strict=True):
            whole[at] = to_host(value)
        self.rows = at.stop
        return [whole[at] for whole in self.found]

    def result(self) -> list[Array]:
        return [whole[: self.rows] for whole in self.found]


class _Parts:
    """Outputs batch after batch, or where batches say that their rows belong."""

    def __init__(self) -> None:
        self.parts: list[list[Array]] = []
        self.rows: list[Array | None] = []
        self.steps_differ = False

    def add(self, batch: Samples, outputs: Any) -> list[Array]:
        self.parts.append([to_host(value) for value in outputs])
        self.rows.append(batch.rows)
        self.steps_differ |= any(mask is not None for mask in batch.masks)
        return self.parts[-1]

    def result(self) -> list[Array]:
        columns = [self._joined(list(parts)) for parts in zip(*self.parts, strict=True)]
        given = [rows for rows in self.rows if rows is not None]
        if len(given) < len(self.rows) or not given:
            return columns
        order = np.argsort(np.concatenate(given), kind="stable")
        return [column[order] for column in columns]

    def _joined(self, parts: list[Array]) -> Array:
        """Return the parts as one, filled up with zeros where they are of ragged batches."""
        shapes = {part.shape[1:] for part in parts}
        ranks = {len(shape) for shape in shapes}
        if len(shapes) > 1 and not (self.steps_differ and len(ranks) == 1):
            found = " and ".join(map(shape_text, sorted(shapes)[:2]))
            raise ValueError(f"x: expected batches whose outputs are of one shape, got {found}")
        longest = [max(sizes) for sizes in zip(*shapes, strict=True)]
        whole = np.zeros((sum(map(len, parts)), *longest), parts[0].dtype)
        row = 0
        for part in parts:
            whole[(slice(row, row + len(part)), *map(slice, part.shape[1:]))] = part
            row += len(part)
        return whole

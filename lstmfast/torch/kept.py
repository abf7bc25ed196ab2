"""Packed weights that serve until a parameter changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..ops import PreparedLSTM
from .layout import Layout, to_array

__all__ = ["kept_for"]


def kept_for(module: Any, layout: Layout, weights: Sequence[Tensor]) -> Kept:
    """Return the module's packed weights, packed anew if they may have changed."""
    stamp, kept = _stamp_of(weights), module.__dict__.get("_kept")
    if kept is None or stamp is None or module.training or stamp != kept.stamp:
        kept = module.__dict__["_kept"] = Kept(layout, weights, stamp)
    return kept  # type: ignore[no-any-return]


def _stamp_of(weights: Sequence[Tensor]) -> list[int] | None:
    """Return what changes with the weights; None if that cannot be known (inference tensors).

    Not seen are changes through `weight.data`, `weight.detach()` or NumPy: no version counts them.
    """
    if any(w.is_inference() for w in weights):
        return None
    return [number for w in weights for number in (w.data_ptr(), w._version)]


class Kept:
    """Weights packed for calls on whole batches, and when needed for calls with lengths.

    Holds on to the parameters' memory, so that no other tensor can take its address.
    """

    def __init__(self, layout: Layout, weights: Sequence[Tensor], stamp: list[int] | None):
        self.layout, self.stamp = layout, stamp
        self._tensors = [w.detach() for w in weights]
        self._prepared: dict[bool, PreparedLSTM] = {}

    def forward(self, x: Tensor, h0: Any, c0: Any, packing: Any) -> Any:
        """Return y and (h_n, c_n), as arrays; x is packed data where there is a packing."""
        layout, unlike = self.layout, packing is not None
        prepared = self._prepared.get(unlike)
        if prepared is None:
            weights = layout.weights(self._tensors)
            prepared = PreparedLSTM(**weights, bidirectional=layout.bidirectional, unlike=unlike)
            self._prepared[unlike] = prepared
        array, lengths = to_array(x), None
        if unlike:
            array, lengths = packing.padded(array), packing.lengths
        y, state = prepared.forward(
            array, to_array(h0), to_array(c0), lengths=lengths, batch_first=layout.batch_first
        )
        return (packing.packed(y) if unlike else y), state

"""Packed weights that serve until a parameter changes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..fallback import fall_back
from ..ops import PreparedLSTM
from .layout import Form, to_array

__all__ = ["KeepsWeights", "kept_for"]

SAMPLES = 256  # numbers of each weight that are looked at


class KeepsWeights(nn.Module):
    """What the drop-ins have in common: packed weights beside the parameters."""

    def invalidate(self) -> None:
        """Forget packed weights: after a change of a few numbers that PyTorch does not count."""
        self.__dict__.pop("_kept", None)

    def train(self, mode: bool = True) -> Any:
        """See `torch.nn.Module.train`; what has been trained is packed anew."""
        self.invalidate()
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        state.pop("_kept", None)
        return state

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script compiles: PyTorch's module with the same parameters."""
        theirs = vars(type(self)).get("stands_for")
        if theirs is None:  # a subclass, whose own text is compiled
            return self
        if getattr(self, "static_size", 0):
            raise ValueError("static_size: expected 0 of a module to be scripted, got some")
        fall_back(f"lstmfast.torch.{theirs.__name__}", "a module to be scripted")
        twin = copy(self)
        twin.__class__ = theirs
        return twin


def kept_for(module: Any, form: Form, weights: Sequence[Tensor]) -> Kept:
    """Return the module's packed weights, packed anew if they may have changed."""
    kept = module.__dict__.get("_kept")
    if kept is None or module.training or not kept.is_of(form, weights):
        kept = module.__dict__["_kept"] = Kept(form, weights)
    return kept  # type: ignore[no-any-return]


class Kept:
    """Weights packed for calls on whole batches, and when needed for calls with lengths.

    Nothing of a call is kept: what may be another in the next one is an argument of `forward`.
    In copies and pickles of a module None stands in its place.

    Holds on to the parameters' memory, so that no other tensor can take its address. A parameter
    has changed if its address or its version is another. Versions do not count what fused
    optimizers and `weight.data` change: so some numbers of each weight are compared, too. What
    escapes is a change of a few numbers through `weight.data` or NumPy.
    """

    def __init__(self, form: Form, weights: Sequence[Tensor]):
        self.form = form
        self._tensors = [w.detach() for w in weights]
        self._prepared: dict[bool, PreparedLSTM] = {}
        self._stamp = _stamp_of(weights)
        self._samples = [_sample(w) for w in self._tensors] if self._stamp else []
        self._values = [sample.tobytes() for sample in self._samples]

    def __reduce__(self) -> Any:
        return type(None), ()

    def is_of(self, form: Form, weights: Sequence[Tensor]) -> bool:
        """Are these, as far as can be told, the weights that have been packed?"""
        if self._stamp is None or self._stamp != _stamp_of(weights) or self.form != form:
            return False
        return [sample.tobytes() for sample in self._samples] == self._values

    def forward(
        self, x: Tensor, h0: Any, c0: Any, packing: Any, batch_first: bool, resets: Any = None,
        x_static: Any = None,
    ) -> Any:  # fmt: skip
        """Return y and (h_n, c_n), as arrays; x is packed data where there is a packing."""
        ragged, array, lengths = packing is not None, to_array(x), None
        if ragged:
            array, lengths = packing.padded(array), packing.lengths
        y, state = self._prepare(ragged).forward(
            array, to_array(h0), to_array(c0), lengths=lengths, batch_first=batch_first,
            resets=to_array(resets), x_static=to_array(x_static),
        )  # fmt: skip
        return (packing.packed(y) if ragged else y), state

    def step(self, x: Any, h: Any, c: Any) -> Any:
        """Return (h_n, c_n) after one step of one layer: arrays (B, H), or (H,) of x (I,)."""
        batched = x.ndim == 2
        h0, c0 = (s if s is None or batched else s[None] for s in (h, c))
        x = x[None] if batched else x[None, None]
        _, state = self._prepare(False).forward(x, h0, c0, return_sequences=False)
        return state if batched else (state[0][0], state[1][0])

    def _prepare(self, ragged: bool) -> PreparedLSTM:
        prepared = self._prepared.get(ragged)
        if prepared is None:
            both, weights = self.form.bidirectional, self.form.weights(self._tensors)
            if self.form.cell:
                weights = {name: of_parts[0] for name, of_parts in weights.items()}
            prepared = PreparedLSTM(
                **weights, bidirectional=both, variable_lengths=ragged,
                precision=self.form.precision,
            )  # fmt: skip
            self._prepared[ragged] = prepared
        return prepared


def _stamp_of(weights: Sequence[Tensor]) -> list[int] | None:
    """Addresses and versions; None where there is no telling (inference tensors, strided ones)."""
    if any(w.is_inference() or not w.is_contiguous() for w in weights):
        return None
    return [number for w in weights for number in (w.data_ptr(), w._version)]


def _sample(weight: Tensor) -> Any:
    """A view of some numbers all over a weight, of rows and columns alike."""
    bits = weight.view(torch.int16) if weight.dtype is torch.bfloat16 else weight
    flat = to_array(bits).reshape(-1)
    return flat[:: flat.size // SAMPLES | 1]

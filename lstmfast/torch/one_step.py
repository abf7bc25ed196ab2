"""A step of a cell with gradients: one compiled call forward and one back, on the tensors' memory.

What `LSTMFunction` does for a sequence of one step, without what sequences need: a cell in a loop
comes here at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import capi
from ..ops.call import Sizes
from ..ops.checks import new
from ..ops.lstm import reserve_size
from .eager import by_torchs_gradients, is_for_torch
from .layout import Layout

__all__ = ["StepFunction"]

KEPT_SIZES = 256  # of reserves that are remembered


class StepFunction(torch.autograd.Function):
    """(layout, packing, seed, x, h0, c0, *weights) -> h_n, c_n: (B, ...) each; no packing."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, layout: Layout, packing: None, seed: None, x: Tensor, h0: Tensor, c0: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        ctx.layout, ctx.packing, ctx.seed = layout, packing, seed
        ctx.arrays, h_n, c_n = _run(_arrays(x, h0, c0, weights))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h0, c0, *weights)  # so that changes in place are noticed
        return torch.from_numpy(h_n), torch.from_numpy(c_n)

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> Any:  # type: ignore[override]
        x, h0, c0, *weights = ctx.saved_tensors
        if all(one is None for one in above):
            return (None,) * (6 + len(weights))
        if is_for_torch(above):
            return None, None, None, *_by_torchs_gradients(ctx, above, (x, h0, c0), weights)
        needs = ctx.needs_input_grad[3:]
        kept, ctx.arrays = ctx.arrays, None
        if kept is None:  # of a graph that is retained
            kept = _run(_arrays(x, h0, c0, weights))[0]
        found = _gradients(kept, above, needs, len(weights) > 2)
        pairs = zip(found, needs, strict=True)
        return None, None, None, *(torch.from_numpy(d) if need else None for d, need in pairs)


def _arrays(x: Tensor, h0: Tensor, c0: Tensor, weights: Sequence[Tensor]) -> list[Any]:
    """Return x (B, 1, I), W_ih, W_hh, b, h0 and c0 (B, H), contiguous."""
    row, h, c, W_ih, W_hh, *both = (_dense(t.numpy(force=True)) for t in (x, h0, c0, *weights))
    b = both[0] + both[1] if both else np.zeros(len(W_ih), W_ih.dtype)
    return [row[:, None], W_ih, W_hh, b, h, c]


def _run(arrays: list[Any]) -> tuple[list[Any], Any, Any]:
    """Return what the way back needs, h_n and c_n."""
    x, h0 = arrays[0], arrays[4]
    (B, _, I), H = x.shape, h0.shape[1]
    h_n, c_n, y = np.empty_like(h0), np.empty_like(h0), np.empty((B, 1, H), h0.dtype)
    reserve = new((_reserve_size(B, I, H, h0.dtype),), np.dtype(np.uint8))
    capi.layer_pass(False, True, {}, arrays, (y, h_n, c_n, reserve))
    return [*arrays, y, reserve], h_n, c_n


def _gradients(kept: list[Any], above: Any, needs: Sequence[bool], bias: bool) -> list[Any]:
    """Return those of x, h0, c0 and the weights; what is not needed has no meaning."""
    h0 = kept[4]
    given = [np.zeros_like(h0) if d is None else _dense(d.numpy(force=True)) for d in above]
    found = [new(one.shape, one.dtype) for one in kept[:6]]
    capi.layer_pass(True, True, {}, [*kept, np.array([needs[0], any(needs[3:])]), *given], found)
    dx, dW_ih, dW_hh, db, dh0, dc0 = found
    biases = [db, db.copy()] if bias else []  # two parameters must not share one .grad
    return [dx[:, 0], dh0, dc0, dW_ih, dW_hh, *biases]


def _by_torchs_gradients(ctx: Any, above: Any, given: Any, weights: Any) -> list[Tensor | None]:
    """As those of a sequence of one step."""
    y_and_state = (None, *(d if d is None else d[None] for d in above))
    x, h0, c0 = (t[None] for t in given)
    needs = ctx.needs_input_grad[3:]
    found = by_torchs_gradients(ctx, y_and_state, x, h0, c0, weights, needs)
    return [*(d if d is None else d[0] for d in found[:3]), *found[3:]]


_dense = np.ascontiguousarray


@lru_cache(KEPT_SIZES)
def _reserve_size(B: int, I: int, H: int, dtype: Any) -> int:
    return reserve_size(1, B, Sizes(1, I, H, H, H), dtype)

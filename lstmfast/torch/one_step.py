"""One step of one layer with gradients: one compiled call forward and one back, on the tensors.

What `LSTMFunction` does for a sequence of one step, without what sequences need: a cell in a loop,
or a layer that is called for one step at a time, comes here at every step.
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
    """(layout, x, h0, c0, *weights) -> y, h_n, c_n of a layer; of a cell h_n and c_n.

    x (1, B, I) or, with `layout.batch_first`, (B, 1, I), h0 and c0 (1, B, H); a cell's have no axis
    of steps and none of layers.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, layout: Layout, x: Tensor, h0: Tensor, c0: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.layout = layout
        ctx.arrays, *found = _run(_arrays(x, h0, c0, weights))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h0, c0, *weights)  # so that changes in place are noticed
        shapes = [(*x.shape[:-1], h0.shape[-1]), h0.shape, c0.shape]
        tensors = [_shaped(one, shape) for one, shape in zip(found, shapes, strict=True)]
        return tuple(tensors[1:] if layout.form.cell else tensors)

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> Any:  # type: ignore[override]
        x, h0, c0, *weights = ctx.saved_tensors
        if all(one is None for one in above):
            return (None,) * (4 + len(weights))
        if is_for_torch(above):
            return None, *_by_torchs_gradients(ctx, above, (x, h0, c0), weights)
        needs = ctx.needs_input_grad[1:]
        kept, ctx.arrays = ctx.arrays, None
        if kept is None:  # of a graph that is retained
            kept = _run(_arrays(x, h0, c0, weights))[0]
        found = _gradients(kept, above, needs, len(weights) > 2)
        shapes = [one.shape for one in (x, h0, c0, *weights)]
        each = zip(found, shapes, needs, strict=True)
        return None, *(_shaped(d, shape) if need else None for d, shape, need in each)


def _shaped(array: Any, shape: Any) -> Tensor:
    return torch.from_numpy(array.reshape(shape))


def _arrays(x: Tensor, h0: Tensor, c0: Tensor, weights: Sequence[Tensor]) -> list[Any]:
    """Return x (B, 1, I), W_ih, W_hh, b, h0 and c0 (B, H), contiguous."""
    row, h, c, W_ih, W_hh, *both = (_dense(t.numpy(force=True)) for t in (x, h0, c0, *weights))
    b = both[0] + both[1] if both else np.zeros(len(W_ih), W_ih.dtype)
    I, H = W_ih.shape[1], W_hh.shape[1]
    return [row.reshape(-1, 1, I), W_ih, W_hh, b, h.reshape(-1, H), c.reshape(-1, H)]


def _run(arrays: list[Any]) -> tuple[list[Any], Any, Any, Any]:
    """Return what the way back needs, y, h_n and c_n, which share no memory."""
    x, h0 = arrays[0], arrays[4]
    (B, _, I), H = x.shape, h0.shape[1]
    y, h_n, c_n = np.empty((B, 1, H), h0.dtype), np.empty_like(h0), np.empty_like(h0)
    reserve = new((_reserve_size(B, I, H, h0.dtype),), np.dtype(np.uint8))
    capi.layer_pass(False, True, {}, arrays, (y, h_n, c_n, reserve))
    return [*arrays, h_n[:, None], reserve], y, h_n, c_n


def _gradients(kept: list[Any], above: Any, needs: Sequence[bool], bias: bool) -> list[Any]:
    """Return those of x, h0, c0 and the weights; what is not needed has no meaning."""
    h0 = kept[4]
    dh, dc = _sum(above[:-1], h0), _sum(above[-1:], h0)  # y is h_n
    found = [new(one.shape, one.dtype) for one in kept[:6]]
    needed = np.array([needs[0], any(needs[3:])])
    capi.layer_pass(True, True, {}, [*kept, needed, dh, dc], found)
    dx, dW_ih, dW_hh, db, dh0, dc0 = found
    biases = [db, db.copy()] if bias else []  # two parameters must not share one .grad
    return [dx, dh0, dc0, dW_ih, dW_hh, *biases]


def _sum(gradients: Sequence[Tensor | None], like: Any) -> Any:
    """Of those that there are, as `like` is shaped."""
    given = [_dense(d.numpy(force=True)).reshape(like.shape) for d in gradients if d is not None]
    return sum(given[1:], given[0]) if given else np.zeros_like(like)


def _by_torchs_gradients(ctx: Any, above: Any, given: Any, weights: Any) -> list[Tensor | None]:
    """As those of a sequence of one step."""
    ctx.packing, needs, (x, h0, c0) = None, ctx.needs_input_grad[1:], given
    if not ctx.layout.form.cell:
        return by_torchs_gradients(ctx, above, x, h0, c0, weights, needs)
    above = (None, *(d if d is None else d[None] for d in above))
    found = by_torchs_gradients(ctx, above, x[None], h0[None], c0[None], weights, needs)
    return [*(d if d is None else d[0] for d in found[:3]), *found[3:]]


_dense = np.ascontiguousarray


@lru_cache(KEPT_SIZES)
def _reserve_size(B: int, I: int, H: int, dtype: Any) -> int:
    return reserve_size(1, B, Sizes(1, I, H, H, H), dtype)

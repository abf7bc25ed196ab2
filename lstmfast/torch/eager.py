"""LSTM calls with gradients, in eager mode: one autograd function, on arrays.

What a call keeps for the way back is used up by the first `backward`; of a graph that is retained,
each further one runs the forward pass again. Second derivatives come from PyTorch's own operators.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import _VF, Tensor

from ..fallback import fall_back
from ..ops import lstm_backward, lstm_forward
from .layout import Layout, to_array, to_tensor
from .packed import Packing

__all__ = ["LSTMFunction", "by_torchs_gradients", "gradients_of", "is_for_torch", "run"]

States = tuple[Tensor, Tensor, Tensor]
SWITCHES = Lock()  # of the whole process


class LSTMFunction(torch.autograd.Function):
    """(layout, packing, seed, resets, x, h0, c0, x_static, *weights) -> y, h_n, c_n."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, layout: Layout, packing: Packing | None, seed: int | None,
        resets: Tensor | None, x: Tensor, h0: Tensor | None, c0: Tensor | None,
        x_static: Tensor | None, *weights: Tensor,
    ) -> States:  # fmt: skip
        ctx.layout, ctx.packing, ctx.seed = layout, packing, seed
        ctx.resets = None if resets is None else resets.clone()
        y, h_n, c_n, ctx.cache = run(layout, packing, seed, x, h0, c0, weights, resets=resets,
                                     x_static=x_static)  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(
            x, h0, c0, x_static, y, *weights
        )  # so that changes in place are noticed
        return y, h_n, c_n

    @staticmethod
    def backward(ctx: Any, *above: Tensor | None) -> Any:  # type: ignore[override]
        x, h0, c0, x_static, _, *weights = ctx.saved_tensors
        if all(one is None for one in above):
            return (None,) * (8 + len(weights))
        needs = ctx.needs_input_grad[4:]
        if is_for_torch(above):
            _check_none(ctx.resets, x_static)
            found = by_torchs_gradients(ctx, above, x, h0, c0, weights,
                                        (*needs[:3], *needs[4:]))  # fmt: skip
            return None, None, None, None, *found[:3], None, *found[3:]
        cache, ctx.cache = ctx.cache, None
        if cache is None:
            cache = run(ctx.layout, ctx.packing, ctx.seed, x, h0, c0, weights,
                        resets=ctx.resets, x_static=x_static)[-1]  # fmt: skip
        found = gradients_of(ctx.layout, ctx.packing, cache, above, needs)
        return None, None, None, None, *found


def run(
    layout: Layout, packing: Packing | None, seed: int | None, x: Tensor, h0: Tensor | None,
    c0: Tensor | None, weights: Any, training: bool = True, resets: Tensor | None = None,
    x_static: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Any]:  # fmt: skip
    """Run the layers and return y, h_n, c_n and the cache, None unless `training`."""
    form, array = layout.form, to_array(x)
    array = array if packing is None else packing.padded(array)
    y, (h_n, c_n), cache = lstm_forward(
        array, **form.weights(weights), h0=to_array(h0), c0=to_array(c0), noise=layout.noise(),
        seed=seed, bidirectional=form.bidirectional, batch_first=layout.batch_first,
        lengths=None if packing is None else packing.lengths, training=training,
        resets=to_array(resets), x_static=to_array(x_static), precision=form.precision,
    )  # fmt: skip
    y = y if packing is None else packing.packed(y)
    return *layout.results(y, h_n, c_n), cache


def gradients_of(
    layout: Layout, packing: Packing | None, cache: Any, above: Any, needs: Sequence[bool]
) -> list[Tensor | None]:
    """Return those of x, h0, c0, x_static and the weights; None where there is no need of one."""
    dy, dh_n, dc_n = map(to_array, above)
    if packing is not None and dy is not None:
        dy = packing.padded(dy)
    found = lstm_backward(cache, dy, dh_n, dc_n, need_dx=needs[0], need_weights=any(needs[4:]))
    dx = found.dx if packing is None or found.dx is None else packing.packed(found.dx)
    inputs = (dx, found.dh0, found.dc0, found.dx_static)
    of_weights = layout.form.gradients(found) if any(needs[4:]) else [None] * len(needs[4:])
    every = [*(None if d is None else to_tensor(d) for d in inputs), *of_weights]
    return [one if need else None for one, need in zip(every, needs, strict=True)]


def _check_none(resets: Tensor | None, x_static: Tensor | None) -> None:
    for name, given in (("resets", resets), ("x_static", x_static)):
        if given is not None:
            where = "under create_graph=True or is_grads_batched=True, as PyTorch has none"
            raise RuntimeError(f"lstmfast.torch.LSTM: expected no {name} {where}, got some")


def is_for_torch(above: Sequence[Tensor | None]) -> bool:
    """Are gradients to be differentiated again (create_graph=True), or asked for in batches?"""
    return torch.is_grad_enabled() or any(map(_is_batched, above))


def _is_batched(gradient: Tensor | None) -> bool:
    """Of torch.autograd.grad(is_grads_batched=True)?"""
    return gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient)


def by_torchs_gradients(
    ctx: Any, above: Any, x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: list[Tensor],
    needs: Sequence[bool],
) -> list[Tensor | None]:  # fmt: skip
    """Return the gradients by PyTorch's operators: as functions of everything, or in batches."""
    layout, packing = ctx.layout, ctx.packing
    if layout.dropout:
        raise RuntimeError(
            "lstmfast.torch.LSTM: expected no dropout under create_graph=True, as PyTorch cannot "
            f"draw lstmfast's masks again, got dropout={layout.dropout}"
        )
    again = torch.is_grad_enabled()
    what = "is to be differentiated again" if again else "is asked for in batches"
    fall_back("lstmfast.torch.LSTM", f"a derivative that {what}")
    given = [x, h0, c0, *weights]
    with torch.enable_grad():  # and one tensor may be given twice
        apart: list[Any] = [None if t is None else t.view_as(t) for t in given]
        outputs = _by_torch(layout, packing, apart)
    asked = [k for k, need in enumerate(needs) if need]
    pairs = [(y, dy) for y, dy in zip(outputs, above, strict=True) if dy is not None]
    found = torch.autograd.grad(
        [y for y, _ in pairs], [apart[k] for k in asked], [dy.to(y.dtype) for y, dy in pairs],
        create_graph=again, allow_unused=True,
    )  # fmt: skip
    every: list[Tensor | None] = [None] * len(given)
    for k, one in zip(asked, found, strict=True):
        every[k] = one
    return every


@contextmanager
def _without_fused_layers() -> Iterator[None]:
    """oneDNN's and cuDNN's LSTM can be differentiated once only; one thread at a time sets this."""
    with SWITCHES:
        enabled = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(False)
        try:
            with torch.backends.cudnn.flags(enabled=False):
                yield
        finally:
            torch._C._set_mkldnn_enabled(enabled)


def _by_torch(layout: Layout, packing: Packing | None, given: list[Any]) -> States:
    """The same by PyTorch's operators that can be differentiated twice: not oneDNN's."""
    form = layout.form
    if form.precision:  # of mixed dtypes
        given = [None if one is None else one.float() for one in given]
    x, h0, c0, *weights = given
    parts = form.parts(weights)
    B = packing.rows if packing is not None else x.size(0 if layout.batch_first else 1)
    sizes = (weights[1].size(1), weights[1].size(0) // 4)
    h0, c0 = (
        x.new_zeros(parts, B, size) if state is None else state
        for state, size in zip((h0, c0), sizes, strict=True)
    )
    tail = (weights, form.bias, parts // (1 + form.bidirectional), 0.0, True, form.bidirectional)
    with _without_fused_layers():
        if packing is None:
            return _VF.lstm(x, (h0, c0), *tail, layout.batch_first)
        return _VF.lstm(x, packing.batch_sizes, (h0, c0), *tail)

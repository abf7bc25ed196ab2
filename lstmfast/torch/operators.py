"""`torch.ops.lstmfast.lstm` and `lstm_backward`: one node each in graphs of torch.compile.

In a graph everything that the way back needs is a tensor: `reserve` holds what `LSTMCache` would.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops import reserve_of, restore_cache
from ..ops.call import Sizes
from ..ops.lstm import reserve_size
from .eager import gradients_of, run
from .layout import Form, Layout, to_array

__all__ = ["in_graph", "lstm", "lstm_backward"]


def in_graph(
    layout: Layout, seed: Tensor | None, keep: bool, x: Tensor, h0: Any, c0: Any,
    weights: list[Tensor], resets: Tensor | None = None, x_static: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return y, h_n and c_n, by one node."""
    form = layout.form
    flags = (form.bias, form.projected, form.bidirectional, layout.batch_first, layout.dropout)
    return torch.ops.lstmfast.lstm(x, h0, c0, weights, seed, *flags, keep, resets, x_static)[:3]


@torch.library.custom_op("lstmfast::lstm", mutates_args=())
def lstm(
    x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: list[Tensor], seed: Tensor | None,
    bias: bool, projected: bool, bidirectional: bool, batch_first: bool, dropout: float, keep: bool,
    resets: Tensor | None = None, x_static: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return y, h_n, c_n and reserve (n,) uint8, which is empty unless `keep`.

    Parameters
    ----------
    x, h0, c0 : as for torch.nn.LSTM, batched
    weights, bias, projected, bidirectional, batch_first, dropout : see `Layout`
    seed : (1,) int64, where there is dropout
    keep : the gradient will be wanted
    resets : bool in the shape of x without its last axis; None: none
    x_static : (B, S), where the last of the weights are for it
    """
    form = Form(bias, projected, bidirectional, static=x_static is not None)
    layout = Layout(form, batch_first, dropout)
    number = None if seed is None else int(seed)
    training = keep or seed is not None  # masks are drawn in training only
    y, h_n, c_n, cache = run(layout, None, number, x, h0, c0, weights, training, resets, x_static)
    return y, h_n, c_n, torch.from_numpy(reserve_of(cache)) if keep else _bytes(x, 0)


@lstm.register_fake
def _(
    x: Any, h0: Any, c0: Any, weights: Any, seed: Any, bias: bool, projected: bool,
    bidirectional: bool, batch_first: bool, dropout: float, keep: bool, resets: Any = None,
    x_static: Any = None,
) -> Any:  # fmt: skip
    form = Form(bias, projected, bidirectional, static=x_static is not None)
    layout = Layout(form, batch_first, dropout)
    T, B = x.shape[1::-1] if batch_first else x.shape[:2]
    parts, (H, P) = form.parts(weights), weights[1].shape
    H //= 4
    y = x.new_empty(*x.shape[:2], (1 + bidirectional) * P)
    states = x.new_empty(parts, B, P), x.new_empty(parts, B, H)
    return y, *states, _bytes(x, _reserve_size(layout, x, T, B, H, P, parts) if keep else 0)


@torch.library.custom_op("lstmfast::lstm_backward", mutates_args=())
def lstm_backward(
    dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None, x: Tensor, h0: Tensor | None,
    c0: Tensor | None, weights: list[Tensor], seed: Tensor | None, y: Tensor, reserve: Tensor,
    bias: bool, projected: bool, bidirectional: bool, batch_first: bool, dropout: float,
    need_dx: bool, need_weights: bool, resets: Tensor | None = None,
    x_static: Tensor | None = None,
) -> list[Tensor]:  # fmt: skip
    """Return those of x, h0, c0, x_static and the weights; an empty tensor where there is none."""
    form = Form(bias, projected, bidirectional, static=x_static is not None)
    layout = Layout(form, batch_first, dropout)
    cache = restore_cache(
        to_array(reserve), to_array(y), to_array(x), **form.weights(weights), h0=to_array(h0),
        c0=to_array(c0), noise=layout.noise(), seed=None if seed is None else int(seed),
        bidirectional=bidirectional, batch_first=batch_first, resets=to_array(resets),
        x_static=to_array(x_static),
    )  # fmt: skip
    given = [one is not None for one in (h0, c0, x_static)]
    needs = (need_dx, *given, *[need_weights] * len(weights))
    found = gradients_of(layout, None, cache, (dy, dh_n, dc_n), needs)
    return [x.new_empty(0) if one is None else one for one in found]


@lstm_backward.register_fake
def _(
    dy: Any, dh_n: Any, dc_n: Any, x: Any, h0: Any, c0: Any, weights: Any, seed: Any, y: Any,
    reserve: Any, bias: bool, projected: bool, bidirectional: bool, batch_first: bool,
    dropout: float, need_dx: bool, need_weights: bool, resets: Any = None, x_static: Any = None,
) -> Any:  # fmt: skip
    of_weights = (w if need_weights else None for w in weights)
    given = (x if need_dx else None, h0, c0, x_static, *of_weights)
    return [x.new_empty(0 if one is None else one.shape) for one in given]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, h0, c0, weights, seed, *ctx.flags, keep, resets, x_static = inputs
    y, _, _, reserve = output
    ctx.mark_non_differentiable(reserve)
    ctx.keep = keep
    ctx.save_for_backward(x, h0, c0, seed, resets, x_static, y, reserve, *weights)


def _backward(ctx: Any, dy: Any, dh_n: Any, dc_n: Any, _: Any) -> Any:
    if not ctx.keep:
        raise RuntimeError("lstmfast::lstm: expected keep=True for gradients, got a graph without")
    x, h0, c0, seed, resets, x_static, y, reserve, *weights = ctx.saved_tensors
    needs = ctx.needs_input_grad
    need_dx, need_weights = needs[0], any(needs[3])
    dx, dh0, dc0, dx_static, *found = lstm_backward(
        dy, dh_n, dc_n, x, h0, c0, weights, seed, y, reserve, *ctx.flags, need_dx, need_weights,
        resets, x_static,
    )  # fmt: skip
    of_weights = [one if need else None for one, need in zip(found, needs[3], strict=True)]
    states = dh0 if needs[1] else None, dc0 if needs[2] else None
    static = dx_static if needs[-1] else None
    every = dx if need_dx else None, *states, of_weights, *[None] * 8, static
    return every[: len(needs)]  # a graph of an earlier version has no resets and no x_static


lstm.register_autograd(_backward, setup_context=_setup)


def _bytes(like: Tensor, count: Any) -> Tensor:
    return like.new_empty(count, dtype=torch.uint8)


def _reserve_size(layout: Layout, x: Any, T: Any, B: Any, H: int, P: int, parts: int) -> Any:
    """The size of `reserve`: a number, or a symbol where T or B is one."""
    if not all(isinstance(size, int) for size in (T, B, x.shape[2], H, P)):
        return torch.library.get_ctx().new_dynamic_size()
    sizes = Sizes(parts, x.shape[2], H, P, (1 + layout.form.bidirectional) * P)
    dtype = "float64" if x.dtype == torch.float64 else "float32"
    noise, projected = layout.noise(), layout.form.projected
    return reserve_size(T, B, sizes, dtype, noise=noise, projected=projected)

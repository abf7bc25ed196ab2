"""Keras's LSTM on PyTorch: an autograd.Function on the tensors' own memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..torch.routes import PLAIN, is_traced, mode_against, needs_gradient
from . import calls
from .calls import Call, Need
from .exporting import exporter

__all__ = ["SUPPORTS_JIT", "as_it_is", "leaves_to_keras", "reason_against", "run"]

SUPPORTS_JIT = True
as_it_is = torch.compiler.disable  # torch.compile leaves it out of its graphs


def reason_against(x: Any) -> str:
    """Say why the kernels cannot take x; "" if they can."""
    usual = type(x) in PLAIN and x.layout == torch.strided
    if (not usual or torch.jit.is_tracing()) and exporter():
        return f"an export by {exporter()}"
    if not usual:
        return f"inputs of type {type(x).__name__}"
    if is_traced():
        return "a call under a mode of torch.dispatch, which sees operators of PyTorch alone"
    if x.device.type == "meta":
        return ""
    return mode_against(x, False) or ("" if x.is_cpu else f"tensors on {x.device.type}")


def leaves_to_keras(x: Any, H: int) -> bool:
    """Is this work that Keras does in less time? There is none."""
    return False


def run(call: Call, tensors: Sequence[Any], training: bool) -> tuple[Any, ...]:
    """Return what `calls.forward` does, with gradients where autograd records."""
    x, kernel, recurrent_kernel, *others = tensors
    if x.device.type == "meta":
        return _shapes_only(call, x, recurrent_kernel)
    tensors = (x, kernel.t().contiguous(), recurrent_kernel.t().contiguous(), *others)
    if needs_gradient(tensors):
        # autograd keeps no tensor that was made in inference mode
        y, *state = _LSTM.apply(call, *(t.clone() if t.is_inference() else t for t in tensors))
        return (y, *state) if call.sequences else tuple(state)
    return tuple(torch.from_numpy(one) for one in calls.forward(call, *_arrays(tensors)))


class _LSTM(torch.autograd.Function):
    """y, h_n, c_n; y too where no one asked for it, as the way back needs it."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Any) -> tuple[Any, ...]:
        *outputs, cache = calls.forward_cached(call, *_arrays(tensors))
        found = [torch.from_numpy(one) for one in outputs]
        ctx.call, ctx.cache = call, cache
        ctx.save_for_backward(*tensors, found[0])  # so that autograd sees writes into them
        ctx.set_materialize_grads(False)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        *tensors, _ = ctx.saved_tensors
        none = (None,) * (1 + len(tensors))
        if all(one is None for one in upstream):
            return none
        if any(map(_is_batched, upstream)):
            raise NotImplementedError(
                "lstmfast.keras.LSTM: expected one gradient of each output, got batches of them "
                "(is_grads_batched, vectorize), which keras.layers.LSTM takes"
            )
        cache, ctx.cache = ctx.cache, None
        if cache is None:  # a second time, with retain_graph
            *_, cache = calls.forward_cached(ctx.call, *_arrays(tensors))
        _, of_x, *of_weights = ctx.needs_input_grad[:5]
        need = Need(of_x, any(of_weights))
        found = _Gradients.apply(cache, need, upstream, *tensors, *upstream)
        return (None, *found, *none[1 + calls.FLOATS :])


class _Gradients(torch.autograd.Function):
    """The gradients, whose own are an error wherever a graph leads through them.

    once_differentiable would cut the graph: torch.autograd.grad, which follows it from the inputs
    that it is asked for, would take the second derivative for zero.
    """

    @staticmethod
    def forward(ctx: Any, cache: Any, need: Need, upstream: Any, *_: Any) -> tuple[Any, ...]:
        arrays = [None if one is None else one.numpy(force=True) for one in upstream]
        found = calls.gradients(cache, arrays, need)
        return tuple(None if one is None else torch.from_numpy(one) for one in found)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        calls.refuse()


def _is_batched(gradient: Any) -> bool:
    return gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient)


def _arrays(tensors: Sequence[Any]) -> list[Any]:
    return [one.numpy(force=True) for one in tensors]


def _shapes_only(call: Call, x: Any, recurrent_kernel: Any) -> tuple[Any, ...]:
    (B, T, _), H = x.shape, recurrent_kernel.shape[0]
    shapes = ((B, T, H), (B, H), (B, H))[0 if call.sequences else 1 :]
    return tuple(x.new_empty(shape) for shape in shapes)

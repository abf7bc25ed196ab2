"""Who takes a call: lstmfast at once, its operator in a graph, or PyTorch itself, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from .narrow import dtypes_beside, is_under_autocast

__all__ = [
    "as_node", "asked", "check_beside", "drawn_seed", "is_traced", "keeps", "mode_against",
    "needs_gradient", "reason_against", "state_of",
]  # fmt: skip

PLAIN = (Tensor, Parameter)
DEVICES = ("cpu", "cuda")
SEEDS = 2**62


def is_traced() -> bool:
    """Is a graph being made (torch.compile, torch.export, fake tensors)?"""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def as_node(module: Any, input: Any, hx: Any, **others: Any) -> Any:
    """What torch.fx.symbolic_trace makes of a module of torch.nn: a node of its own."""
    tracer = input.tracer
    given = (input,) if hx is None else (input, hx)
    named = {name: value for name, value in others.items() if value is not None}
    return tracer.create_proxy("call_module", tracer.path_of_module(module), given, named)


def asked(judge: Callable[..., str | None], *given: Any) -> str | None:
    """Return the reason of `judge` for handing a call to PyTorch; an error while asking is one.

    Subclasses of Tensor may refuse to tell of their shape, dtype or anything else.
    """
    try:
        return judge(*given)
    except Exception as error:  # of whatever type a library finds right
        first = str(error).partition("\n")[0]
        return f"arguments that do not tell what they are ({type(error).__name__}: {first})"


def reason_against(tensors: Sequence[Tensor | None], graph: bool) -> str | None:
    """Return why lstmfast cannot take these tensors, the first of them x; None if it can."""
    first: Any = tensors[0]
    if not graph and type(first) not in PLAIN:
        return _described(first)
    device, dtypes = first.device, dtypes_beside(first, graph)
    if not dtypes:
        return f"a tensor of {first.dtype}"
    for tensor in tensors:
        if tensor is None or (
            (graph or type(tensor) in PLAIN)
            and tensor.dtype in dtypes
            and tensor.device == device
            and tensor.layout is torch.strided
            and not tensor.is_nested
            and tensor.numel()
        ):
            continue
        return _described(tensor)
    return _reason_against_cuda(graph) if first.is_cuda else None


def _described(tensor: Any) -> str:
    """What an error says of a tensor, as far as it tells; of a subclass nothing but its name."""
    kind = type(tensor)
    if kind not in PLAIN:
        return f"a tensor of the class {kind.__module__}.{kind.__qualname__}"
    if tensor.is_nested:
        return "a nested tensor"
    return (
        f"a {kind.__name__} of {tensor.dtype}, shape {tuple(tensor.shape)}, layout {tensor.layout} "
        f"on {tensor.device}"
    )


def check_beside(name: str, value: Any, x: Tensor, shape: Sequence[int]) -> None:
    """Raise ValueError unless `value` is a dense tensor of this shape, where x is."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(value).__name__}")
    if value.layout is not torch.strided or value.is_nested or value.device != x.device:
        raise ValueError(f"{name}: expected a dense tensor on {x.device}, got {_described(value)}")
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"{name}: expected {tuple(shape)}, got {tuple(value.shape)}")


def mode_against(x: Tensor, graph: bool) -> str | None:
    """Return what is under way that asks for PyTorch's own operators; None if nothing is."""
    if x.device.type not in DEVICES:
        return f"a tensor on {x.device}"
    if torch.is_autocast_enabled(x.device.type) and (graph or not is_under_autocast(x)):
        return f"a call under autocast on {x.device.type}"
    if graph:
        return "an export to ONNX" if torch.onnx.is_in_onnx_export() else None
    if torch._C._get_tracing_state() is not None:
        return "a call under torch.jit.trace"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a call under a transform of torch.func"
    if torch.autograd.forward_ad._current_level >= 0:
        return "a call under forward-mode differentiation"
    return None


def _reason_against_cuda(graph: bool) -> str | None:
    if graph:
        return "CUDA tensors in a graph"
    if torch.cuda.is_current_stream_capturing():  # a graph must not hold memory that is ours
        return "a call that torch.cuda.graph captures"
    reason = import_module("lstmfast.cuda.runtime.device").explain()
    return None if reason is None else f"CUDA tensors, for which it lacks {reason}"


def state_of(hx: Any) -> tuple[Any, Any] | None:
    """Return (h0, c0), both None without a state; None if it is no such pair."""
    if hx is None:
        return None, None
    pair = isinstance(hx, (tuple, list)) and len(hx) == 2
    return tuple(hx) if pair and all(isinstance(one, Tensor) for one in hx) else None


def needs_gradient(tensors: Sequence[Tensor | None]) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def keeps(module: Any, tensors: Sequence[Tensor | None]) -> bool:
    """Shall a graph keep what gradients need? An exported one does if the module is in training."""
    return bool(module.training) if torch.compiler.is_exporting() else needs_gradient(tensors)


def drawn_seed() -> Tensor:
    """Return a seed of masks from PyTorch's generator: (1,) int64."""
    return torch.randint(SEEDS, (1,))

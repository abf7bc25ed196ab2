"""Swaps the LSTMs of a model that exists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn.utils import parametrize

from .cell import LSTMCell
from .lstm import LSTM

__all__ = ["Swapped", "accelerate", "restore"]

OURS: dict[type, Any] = {nn.LSTM: LSTM, nn.LSTMCell: LSTMCell}
THEIRS: dict[type, Any] = {ours: theirs for theirs, ours in OURS.items()}
NAMES = ("LSTM", "LSTMCell")  # of classes
OPERATORS = ("lstm", "lstm_cell", "quantized_lstm", "quantized_lstm_cell", "mkldnn_rnn_layer")


@dataclass
class Swapped:
    """What `accelerate` or `restore` did, by the modules' names; "" is the model itself.

    Attributes
    ----------
    swapped : names of modules whose class was changed; one that has several names under all
    left : names of other LSTMs -> why they are as they were
    """

    swapped: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"swapped {len(self.swapped)}: {', '.join(map(repr, self.swapped)) or 'none'}"]
        return "\n".join(lines + [f"left {name!r}: {why}" for name, why in self.left.items()])


def accelerate(model: nn.Module) -> Swapped:
    """Make every torch.nn.LSTM and LSTMCell of a model one of lstmfast's, in place.

    A module stays the object that it is: its parameters, hooks, mode, device and whatever refers to
    it (an optimizer, say) are untouched. Only its class changes; `restore` changes it back.

    Parameters
    ----------
    model : any module, also an LSTM itself

    Returns
    -------
    Swapped
        What was swapped, and which LSTMs were not and why: subclasses, whose `forward` may be
        another (parametrized modules are such), those with a `forward` of their own, scripted,
        traced, exported and quantized ones.

    Raises
    ------
    TypeError
        `model` is no torch.nn.Module.
    """
    return _swap(model, OURS)


def restore(model: nn.Module) -> Swapped:
    """Make lstmfast's modules PyTorch's again, in place: to script or to hand on a model."""
    return _swap(model, THEIRS)


def _swap(model: nn.Module, classes: dict[type, Any]) -> Swapped:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    report, done = Swapped(), set()
    for name, module in _every_name(model):
        why = _reason_to_leave(module, classes)
        if why is not None:
            report.left[name] = why
        elif type(module) in classes:
            module.__dict__.pop("_kept", None)
            module.__class__ = classes[type(module)]
            done.add(id(module))
        if id(module) in done:
            report.swapped.append(name)
    return report


def _every_name(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module by every name that its parents have for it; each is looked into once."""
    yield "", model
    for prefix, parent in model.named_modules():
        for name, module in parent._modules.items():
            if module is not None:
                yield f"{prefix}.{name}" if prefix else name, module


def _reason_to_leave(module: nn.Module, classes: dict[type, Any]) -> str | None:
    """Why an LSTM stays what it is; None for one to swap, one swapped, and what is no LSTM."""
    kind: type = type(module)
    if classes is THEIRS and _has_statics(module):
        return "it has static inputs, which torch.nn.LSTM has not"
    if kind in classes and "forward" not in vars(module):
        return None
    if kind in classes:
        return "its forward has been replaced, on the object itself"
    if classes is THEIRS:
        return _subclass(kind) if isinstance(module, tuple(THEIRS)) else None
    if isinstance(module, tuple(THEIRS)):
        return None
    if isinstance(module, tuple(OURS)):
        normed = parametrize.is_parametrized(module)
        return "parametrized: accelerate it before that" if normed else _subclass(kind)
    return _compiled(module) or _quantized(kind)


def _has_statics(module: Any) -> bool:
    return isinstance(module, LSTM) and module.static_size > 0


def _subclass(kind: type) -> str:
    return f"a subclass, {kind.__module__}.{kind.__qualname__}"


def _quantized(kind: type) -> str | None:
    for base in kind.__mro__:
        if base.__name__ in NAMES and base.__module__.startswith("torch.ao.nn."):
            return f"quantized, {kind.__module__}.{kind.__qualname__}"
    return None


def _compiled(module: Any) -> str | None:
    """Of graphs that PyTorch has made, in which its operator stands."""
    if isinstance(module, torch.jit.ScriptModule):
        found = getattr(module, "original_name", "") in NAMES or _calls_operator(module)
        return "compiled by torch.jit, which calls PyTorch's operator" if found else None
    if isinstance(module, GraphModule) and any(map(_is_operator, module.graph.nodes)):
        return "a graph of torch.fx or torch.export, which calls PyTorch's operator"
    return None


def _calls_operator(module: Any) -> bool:
    """Does a scripted module call it of itself, not through a module within?"""
    try:
        graph = module.graph
    except (RuntimeError, AttributeError):  # it has no forward
        return False
    return any(graph.findAllNodes(f"aten::{name}", True) for name in OPERATORS)


def _is_operator(node: Any) -> bool:
    target = node.target
    name = getattr(target, "_opname", getattr(target, "__name__", ""))
    return (
        node.op == "call_function"
        and name in OPERATORS
        and (getattr(target, "namespace", "aten") == "aten")
    )

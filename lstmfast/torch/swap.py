"""Swaps the LSTMs of a model that exists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from .cell import LSTMCell
from .lstm import LSTM

__all__ = ["Swapped", "accelerate", "restore"]

OURS: dict[type, Any] = {nn.LSTM: LSTM, nn.LSTMCell: LSTMCell}
THEIRS: dict[type, Any] = {ours: theirs for theirs, ours in OURS.items()}


@dataclass
class Swapped:
    """What `accelerate` or `restore` did, by the modules' names; "" is the model itself.

    Attributes
    ----------
    swapped : names of modules whose class was changed
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
        another (parametrized modules are such).

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
    report = Swapped()
    for name, module in model.named_modules():
        kind = type(module)
        if kind in classes:
            module.__dict__.pop("_kept", None)
            module.__class__ = classes[kind]
            report.swapped.append(name)
        elif isinstance(module, tuple(classes)) and kind not in classes.values():
            report.left[name] = f"a subclass, {kind.__module__}.{kind.__qualname__}"
    return report

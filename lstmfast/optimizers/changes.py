"""What a step does to arrays, as data: `capi.change_all` makes a list of changes as one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from .. import capi
from ..arguments import Array
from ..ops.placement import is_own

__all__ = ["Change", "Numbers", "added", "averaged", "copied", "make"]


class Numbers(NamedTuple):
    """What a kernel calculates with: UPDATE in kernels/pointwise.py."""

    rate: float
    beta_1: float = 0.0
    beta_2: float = 0.0
    epsilon: float = 0.0
    gain: float = 0.0
    nesterov: bool = False


NONE = Numbers(0.0)


class Change(NamedTuple):
    """One array's part in a step: native/bindings_updates.pxi reads the fields in this order.

    `kernel` is "adam", "sgd", "rmsprop", or "copy": w becomes g, or zeros where g is None. With
    `rows`, g has those of w alone.
    """

    kernel: str
    w: Array
    g: Array | None
    m: Array | None = None
    v: Array | None = None
    h: Array | None = None
    rows: Array | None = None
    decay: float = 0.0
    numbers: Numbers = NONE


def added(a: Array, b: Array, factor: float = 1.0) -> Change:
    """a += factor b."""
    return Change("sgd", a, b, numbers=Numbers(-factor))


def averaged(average: Array, w: Array, momentum: float) -> Change:
    """average = momentum average + (1 - momentum) w."""
    return Change("sgd", average, w, decay=1.0 - momentum, numbers=Numbers(momentum - 1.0))


def copied(w: Array, source: Array | None) -> Change:
    """w becomes the source, or zeros."""
    return Change("copy", w, source)


def make(changes: Sequence[Change]) -> None:
    """Make changes: of arrays on the host, where no signal divides them, or all on a GPU."""
    if changes and is_own(changes[0].w):
        import_module("lstmfast.cuda.ops.updates").change_all(changes)
    else:
        capi.change_all(list(changes))

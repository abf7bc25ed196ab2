"""The recurrent part of a whole sequence in one launch, where a GPU can hold all of it at once.

A drop-in for a loop over steps of one product and one pointwise kernel: it works on the same
arrays. `plan` says whether a shape is offered, and how it is cut; the plain cell only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..kernels.numbers import name_of
from ..kernels.persistent.backward import make_backward
from ..kernels.persistent.exchange import FLAG_STRIDE
from ..kernels.persistent.forward import make_forward
from ..kernels.persistent.share import Share
from ..runtime.array import zeros

__all__ = ["Plan", "backward", "forward", "plan"]

ROWS = (8, 16, 32, 64)  # of a batch group: the fewer, the more blocks work at once
REGISTERS = 65536  # of a multiprocessor, for all threads of the one block that it holds
ALONE = 128  # H up to which one block may have all units, and needs no exchange
# What the compiler needed, beside the weights, to keep all in registers; held by the tests.
BESIDE = {"forward": (56, 6), "backward": (60, 9)}  # for a thread, and for each of its cells
A_TILE = 12  # for each tile of a warp after the first
MOST_WEIGHTS = 128  # words; with one cell and two numbers in a word MOST_PAIRS
MOST_PAIRS = 192
MOST_CELLS, MOST_STRICT_CELLS = 8, 2  # strictly, backward adds up many parts for each


class Plan(NamedTuple):
    """How a sequence is cut: `groups` batch groups of `share.group` blocks each."""

    share: Share
    groups: int

    @property
    def blocks(self) -> int:
        return self.groups * self.share.group


@lru_cache(None)
def plan(
    direction: str, precision: str, B: int, H: int, sm_count: int, shared_limit: int
) -> Plan | None:
    """Return how to run B rows of H units on such a GPU; None: not offered.

    Parameters
    ----------
    direction : "forward" or "backward"
    precision : "float32" (strict), "tf32", "float16" or "bfloat16"
    sm_count : its multiprocessors; each holds one block, and all blocks must be there at once
    shared_limit : bytes of shared memory that a block may ask for
    """
    for rows in ROWS:
        for share in shares(direction, precision, H, rows):
            found = Plan(share, -(-B // rows))
            if found.blocks <= sm_count and share.shared <= shared_limit and holds(share):
                return found
    return None


def shares(direction: str, precision: str, H: int, rows: int) -> Iterator[Share]:
    """The ways to cut H units among blocks, best first."""
    alone = [(H, H // 8), (H, H // 16)] if H <= ALONE else []
    for units, warps in [*alone, (32, 8), (16, 8)]:
        outputs = 4 * units if direction == "forward" else units
        if precision == "float32":
            parts = 32 * warps // (outputs // 4)
        else:
            parts = max(1, 16 * warps // outputs)
        share = Share(direction, precision, H, rows, units, parts, warps)
        if divides(share):
            yield share


def divides(share: Share) -> bool:
    """Do all blocks, warps and threads get the same?"""
    at_once = 16 if share.tensor else 4  # words of the depth
    tiles = share.outputs * share.parts // 16
    return (
        share.H % 32 == 0 and share.H % share.units == 0 and share.threads % share.units == 0
        and share.depth % (at_once * share.parts) == 0
        and (not share.tensor or (share.outputs % 16 == 0 and tiles % share.warps == 0))
    )  # fmt: skip


def holds(share: Share) -> bool:
    """Do the weights and all else stay in a thread's registers?"""
    thread, cell = BESIDE[share.direction]
    most = MOST_CELLS if share.tensor or share.direction == "forward" else MOST_STRICT_CELLS
    tiles = A_TILE * (share.tiles - 1) if share.tensor else 0
    limit = min(255, REGISTERS // share.threads // 8 * 8)
    most_weights = MOST_PAIRS if share.elements == 2 and share.cells == 1 else MOST_WEIGHTS
    return (
        share.cells <= most and share.weights <= most_weights
        and share.weights + thread + cell * share.cells + tiles <= limit
    )  # fmt: skip


def forward(
    plan: Plan, stream: Any, T: int, B: int, z: Any, bias: Any, W_hh: Any, h: Any, c: Any,
    y: Any = None, *, reverse: bool = False, keep: bool = True,
) -> None:  # fmt: skip
    """All steps of a layer in one direction.

    Parameters
    ----------
    z : DeviceArray (T, B, 4H) float32, contiguous
        In: W_ih x. Out, with `keep`: the activations i, f, g, o; else unchanged.
    bias : (4H,) float32
    W_hh : (4H, H) contiguous, of the kind that the precision multiplies: float32 for tf32
    h : (T + 1, B, H) of that kind, contiguous
        In: slot 0 is the initial state; out: slot t + 1 is the output of step t. With `reverse`
        slot T is the initial one, slot t the output of step t, and steps run from T - 1 to 0.
        With tf32 h is not rounded in memory, but where it is multiplied.
    c : (T + 1, B, H) float32, contiguous, likewise
    y : (T, B, H), float32, float16 or bfloat16, units contiguous; or None
        Out: the output of every step; not rounded as h is if it is float32.
    """
    if not T or not B:
        return
    kernel = make_forward(plan.share, keep, None if y is None else name_of(y.dtype))
    y_t, y_b = (0, 0) if y is None else (y.strides[0] // y.itemsize, y.strides[1] // y.itemsize)
    kernel.launch(
        stream, plan.blocks, z, bias, W_hh, h, c, y, flags(plan, stream), T, B, int(reverse),
        y_t, y_b, shared=plan.share.shared,
    )  # fmt: skip


def backward(
    plan: Plan, stream: Any, T: int, B: int, z: Any, dz: Any, W_hh: Any, c: Any, dy: Any,
    dh: Any, dc: Any, *, reverse: bool = False,
) -> None:  # fmt: skip
    """The gradients through all steps of a layer in one direction.

    Parameters
    ----------
    z : DeviceArray (T, B, 4H) float32, contiguous
        In: the activations i, f, g, o. Out: dz.
    dz : (T, B, 4H) of the kind that is multiplied, contiguous
        Out: dz rounded; for float32 it is z itself.
    W_hh, c : as forward had them
    dy : (T, B, H) float32, contiguous
    dh, dc : (B, H) float32, contiguous
        In: the gradients to the last state. Out: those to the initial state.
    """
    if not T or not B:
        return
    make_backward(plan.share).launch(
        stream, plan.blocks, z, dz, W_hh, c, dy, dh, dc, flags(plan, stream), T, B, int(reverse),
        shared=plan.share.shared,
    )  # fmt: skip


def flags(plan: Plan, stream: Any) -> Any:
    """The groups' counters, zero before the launch."""
    return zeros(plan.groups * FLAG_STRIDE, np.uint32, stream)

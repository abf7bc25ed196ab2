"""What the gates take beside the products: instructions of the plain cell for a vector of units.

`lstmfast/kernels/cell.py` is compiled as it stands, on the vectors of this processor's kernels and
between loads and stores alone, and the machine code's instructions are counted: fused steps,
products, and quotients or reciprocals, each as one, as they are what pipes for multiplication do on
every processor. (Sums, minima and shifts are left out: some processors have other pipes for them.)
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from numba import cfunc, types

from lstmfast import capi
from lstmfast.kernels import isa as isas
from lstmfast.kernels.cell import make_cell
from lstmfast.kernels.simd import lanes
from lstmfast.kernels.table import OPTIONS

__all__ = ["instructions"]

QUOTIENT = r"vdivps|divps|v?rcp(?:14)?ps|fdiv|frecpe"
COUNTED = rf"vfn?m(?:add|sub)\d+ps|v?mulps|fml[as]|fmul|{QUOTIENT}"  # x86-64 and AArch64
ACTIVATIONS = {"forward": 5, "backward": 1}  # computed, each with one quotient


@lru_cache(None)
def instructions(direction: str) -> int:
    """Of one step "forward", or "backward", for as many units as a vector has."""
    simd = lanes(types.float32, isas.BY_NAME[capi.best_isa()])
    make = {"forward": make_forward, "backward": make_backward}[direction]
    text = cfunc(types.void(simd.pointer), **OPTIONS)(make(simd))._library.get_asm_str()
    quotients = count(QUOTIENT, text)
    assert quotients == ACTIVATIONS[direction], f"{quotients} quotients: the cell is there twice"
    return count(COUNTED, text)


def count(names: str, text: str) -> int:
    return len(re.findall(rf"^\s+(?:{names})\s", text, re.M))


def make_forward(simd: Any) -> Any:
    """forward(p): z_i, z_f, z_g, z_o and c_prev from p on become i, f, g, o, c and h."""
    W, load, store, cell = simd.width, simd.load, simd.store, make_cell(False)
    cell_forward, output = cell.forward, cell.output

    def forward(p):
        z_i, z_f, z_g, z_o = load(p, 0), load(p, W), load(p, 2 * W), load(p, 3 * W)
        c_prev = load(p, 4 * W)
        i, f, g, o, c = cell_forward(p, z_i, z_f, z_g, z_o, c_prev, z_i, z_i, z_i)
        store(p, 0, i)
        store(p, W, f)
        store(p, 2 * W, g)
        store(p, 3 * W, o)
        store(p, 4 * W, c)
        store(p, 5 * W, output(p, o, c))

    return forward


def make_backward(simd: Any) -> Any:
    """backward(p): i, f, g, o, c_prev, c, dh and dc from p on become dz and dc_prev."""
    W, load, store, cell = simd.width, simd.load, simd.store, make_cell(False)
    output_backward, cell_backward = cell.output_backward, cell.backward

    def backward(p):
        i, f, g, o = load(p, 0), load(p, W), load(p, 2 * W), load(p, 3 * W)
        c_prev, c = load(p, 4 * W), load(p, 5 * W)
        dz_o, dc = output_backward(p, o, c, load(p, 6 * W))
        dc = load(p, 7 * W) + dc
        dz_i, dz_f, dz_g, dc_prev = cell_backward(p, i, f, g, c_prev, c, dz_o, dc, i, i, i)
        store(p, 0, dz_i)
        store(p, W, dz_f)
        store(p, 2 * W, dz_g)
        store(p, 3 * W, dz_o)
        store(p, 4 * W, dc_prev)

    return backward

"""Products in strict float32, by ordinary multiply-add: who keeps which weights.

A thread has four outputs, a quad (forward: the four gates of one unit; backward: four neighbouring
units) and one part of the depth. Of every row it reads four numbers at once, and multiplies each
with its four weights. Part p has the numbers 4p .. 4p + 3 of each run of 4 · parts: what the
threads of a warp read at once then lies side by side.
"""

from __future__ import annotations

from typing import Any

from numba import cuda
from numba.types import float32, int64

from .. import ptx
from .share import Share, inlined

__all__ = ["make_product"]


def make_quad_weights(share: Share) -> Any:
    """Fill weights[at + 4 · output + e], of numbers k + e, for the quad's outputs; e = 0 .. 3."""
    H = share.H

    @inlined
    def keep(weights, at, step, words):
        weights[at], weights[at + step] = ptx.float_of(words[0]), ptx.float_of(words[1])
        weights[at + 2 * step] = ptx.float_of(words[2])
        weights[at + 3 * step] = ptx.float_of(words[3])

    @inlined
    def of_rows(W_hh, first_unit, quad, k, weights, at):
        for gate in range(4):
            row = int64(gate * H + first_unit + quad)
            keep(weights, at + 4 * gate, 1, ptx.load_words(W_hh, (row * H + k) >> 2))

    @inlined
    def of_columns(W_hh, first_unit, quad, k, weights, at):
        for e in range(4):
            chunk = (int64(k + e) * H + first_unit + 4 * quad) >> 2
            keep(weights, at + e, 4, ptx.load_words(W_hh, chunk))

    return of_rows if share.direction == "forward" else of_columns


def make_product(share: Share) -> tuple[Any, Any]:
    """The product of one block in strict float32; see fragments.make_product for its parts.

    Its operand and its weights are float32.
    """
    parts, outputs, rows = share.parts, share.outputs, share.rows
    row_words, row_sums, quads = share.row_words, share.row_sums, share.outputs // 4
    runs = share.depth // (4 * parts)
    quad_weights = make_quad_weights(share)

    @inlined
    def load(W_hh, first_unit, weights):
        quad, part = cuda.threadIdx.x % quads, cuda.threadIdx.x // quads
        for run in range(runs):
            quad_weights(W_hh, first_unit, quad, 4 * (run * parts + part), weights, 16 * run)

    @inlined
    def dot(weights, at, x, total):
        total += weights[at] * ptx.float_of(x[0])
        total += weights[at + 1] * ptx.float_of(x[1])
        total += weights[at + 2] * ptx.float_of(x[2])
        return total + weights[at + 3] * ptx.float_of(x[3])

    @inlined
    def multiply(weights, operand, sums):
        quad, part = cuda.threadIdx.x % quads, cuda.threadIdx.x // quads
        for row in range(rows):
            s0 = s1 = s2 = s3 = float32(0)
            for run in range(runs):
                x = ptx.shared_words(operand, int64(row * row_words + 4 * (run * parts + part)))
                s0 = dot(weights, 16 * run, x, s0)
                s1 = dot(weights, 16 * run + 4, x, s1)
                s2 = dot(weights, 16 * run + 8, x, s2)
                s3 = dot(weights, 16 * run + 12, x, s3)
            at = int64(row * row_sums + part * outputs + 4 * quad)
            ptx.store_shared_words(sums, at, s0, s1, s2, s3)

    return load, multiply

"""Products on tensor cores: how W_hh and the operand lie in the registers of a warp.

One instruction `mma` multiplies a tile A of 16 outputs by 8 words of depth with a tile B of those
words by 8 rows. Its layout (PTX ISA 9.0, "Matrix Fragments for mma.m16n8k16", ".m16n8k8") is, with
g = lane / 4 and q = lane mod 4, the same for every kind of number once its depth is counted in
32-bit words:

    A   a0: output g, word q     a1: g + 8, q     a2: g, q + 4     a3: g + 8, q + 4
    B   b0: word q, row g        b1: q + 4, g
    D   d0, d1: output g, rows 2q and 2q + 1      d2, d3: output g + 8

The order of the words within the depth is free as long as A and B agree. Lane q takes the four
words from 4q on, out of 16, as its q and q + 4 of two tiles: one load of 16 bytes serves both.
"""

from __future__ import annotations

from typing import Any

from numba import cuda
from numba.types import float32, int64, uint32

from .. import ptx
from .share import Share, inlined

__all__ = ["make_product"]

MMA = {"bfloat16": "mma_bfloat16", "float16": "mma_float16", "tf32": "mma_tf32"}


@inlined
def fragment_output(lane, high):
    """The output in its tile of a0, a2, d0, d1; with high = 1, of a1, a3, d2, d3."""
    return (lane >> 2) + 8 * high


@inlined
def fragment_word(lane, pair):
    """The first of a lane's four words: b0, b1 of tile 2 · pair, then those of the tile after."""
    return 16 * pair + 4 * (lane & 3)


@inlined
def fragment_row(lane):
    """The row of b0 and b1 among 8."""
    return lane >> 2


@inlined
def sum_row(lane):
    """The row of d0 and d2 among 8; d1 and d3 are of the next."""
    return 2 * (lane & 3)


@inlined
def weight_row(output, first_unit, H):
    """The row of W_hh that makes an output of a forward block: outputs are 4 · unit + gate."""
    return (output & 3) * H + first_unit + (output >> 2)


def make_word(precision: str) -> Any:
    """As what a word is multiplied: of tf32 rounded, others as they are."""

    @inlined
    def rounded(word):
        return ptx.rounded_tf32(ptx.float_of(word))

    @inlined
    def same(word):
        return word

    return rounded if precision == "tf32" else same


def make_rounded(precision: str) -> Any:
    """A float32 as it is multiplied, as float32; other kinds are rounded where they are stored."""
    as_operand = make_word(precision)

    @inlined
    def rounded(x):
        return ptx.float_of(as_operand(ptx.bits_of(x)))

    return rounded


def make_column_words(share: Share) -> Any:
    """Read four words of a column of W_hh, each of one number, or of two below each other."""
    H, elements = share.H, share.elements

    @inlined
    def whole(W_hh, word, column):
        at = int64(word) * H + column
        return W_hh[at], W_hh[at + H], W_hh[at + 2 * H], W_hh[at + 3 * H]

    @inlined
    def paired(W_hh, at):
        return uint32(W_hh[at]) | uint32(W_hh[at + H]) << uint32(16)

    @inlined
    def pairs(W_hh, word, column):
        at = int64(2 * word) * H + column
        return (
            paired(W_hh, at), paired(W_hh, at + 2 * H),
            paired(W_hh, at + 4 * H), paired(W_hh, at + 6 * H),
        )  # fmt: skip

    return pairs if elements == 2 else whole


def make_weight_words(share: Share) -> Any:
    """Read the four words from `word` on that one output is multiplied with."""
    H, depth = share.H, share.depth
    column_words = make_column_words(share)

    @inlined
    def of_row(W_hh, first_unit, output, word):
        row = weight_row(output, first_unit, H)
        return ptx.load_words(W_hh, (int64(row) * depth + word) >> 2)

    @inlined
    def of_column(W_hh, first_unit, output, word):
        return column_words(W_hh, word, first_unit + output)

    return of_row if share.direction == "forward" else of_column


def make_product(share: Share) -> tuple[Any, Any]:
    """The product of one block on tensor cores.

    load(W_hh, first_unit, weights) fills the registers of the thread, `share.weights` words;
    multiply(weights, operand, sums) writes sums[row, part, output] from operand[row, word].
    """
    tiles, parts, outputs, rows = share.tiles, share.parts, share.outputs, share.rows
    row_words, row_sums = share.row_words, share.row_sums
    part_words = share.depth // parts
    pairs = part_words // 16
    chains = 2 if tiles == 1 and pairs % 2 == 0 else 1  # of sums that do not wait for each other
    accumulators = 8 * tiles * chains
    mma = getattr(ptx, MMA[share.precision])
    as_operand, weight_words = make_word(share.precision), make_weight_words(share)

    @inlined
    def keep(weights, at, a0, a1, a2, a3):
        weights[at], weights[at + 1] = as_operand(a0), as_operand(a1)
        weights[at + 2], weights[at + 3] = as_operand(a2), as_operand(a3)

    @inlined
    def load(W_hh, first_unit, weights):
        lane, warp = cuda.threadIdx.x & 31, cuda.threadIdx.x >> 5
        start = warp % parts * part_words
        for tile in range(tiles):
            output = (warp // parts * tiles + tile) * 16 + fragment_output(lane, 0)
            for pair in range(pairs):
                word = start + fragment_word(lane, pair)
                upper = weight_words(W_hh, first_unit, output, word)
                lower = weight_words(W_hh, first_unit, output + 8, word)
                at = (tile * pairs + pair) * 8
                keep(weights, at, upper[0], lower[0], upper[1], lower[1])
                keep(weights, at + 4, upper[2], lower[2], upper[3], lower[3])

    @inlined
    def accumulate(weights, at, b0, b1, d, i):
        d[i], d[i + 1], d[i + 2], d[i + 3] = mma(
            weights[at], weights[at + 1], weights[at + 2], weights[at + 3], b0, b1,
            d[i], d[i + 1], d[i + 2], d[i + 3],
        )  # fmt: skip

    @inlined
    def tile_sums(weights, operand, at, d):
        """Sums of 8 rows: the even and the odd tiles of a chain have sums of their own."""
        for i in range(accumulators):
            d[i] = float32(0)
        for pair in range(pairs):
            b = ptx.shared_words(operand, int64(at + 16 * pair))
            for tile in range(tiles):
                w = (tile * pairs + pair) * 8
                i = (tile * chains + pair % chains) * 8
                accumulate(weights, w, b[0], b[1], d, i)
                accumulate(weights, w + 4, b[2], b[3], d, i + 4)

    @inlined
    def store(sums, at, d, tile):
        for i in range(4):
            total = d[tile * chains * 8 + i] + d[tile * chains * 8 + 4 + i]
            if chains == 2:
                total += d[tile * 16 + 8 + i] + d[tile * 16 + 12 + i]
            sums[at + (i & 1) * row_sums + 8 * (i >> 1)] = total

    @inlined
    def multiply(weights, operand, sums):
        lane, warp = cuda.threadIdx.x & 31, cuda.threadIdx.x >> 5
        part = warp % parts
        d = cuda.local.array(accumulators, float32)
        for first in range(0, rows, 8):
            start = (first + fragment_row(lane)) * row_words + part * part_words
            tile_sums(weights, operand, start + fragment_word(lane, 0), d)
            for tile in range(tiles):
                output = (warp // parts * tiles + tile) * 16 + fragment_output(lane, 0)
                at = (first + sum_row(lane)) * row_sums + part * outputs + output
                store(sums, at, d, tile)

    return load, multiply

"""Where the numbers of a product on tensor cores lie, lane by lane, in NumPy; and the banks hit.

The index functions are those that the kernels call; the layout of `mma` is written down here anew,
from the PTX ISA. (tests/cuda runs the kernels' whole text.)
"""

import numpy as np
import pytest

pytest.importorskip("numba_cuda")

from lstmfast.cuda.kernels.persistent import fragments
from lstmfast.cuda.kernels.persistent.share import Share

LANES = np.arange(32)
SHARES = [
    Share("forward", "bfloat16", 128, 8, 32, 1, 8), Share("forward", "float16", 64, 16, 64, 1, 8),
    Share("forward", "tf32", 64, 8, 16, 2, 8), Share("forward", "tf32", 96, 8, 32, 1, 8),
    Share("backward", "bfloat16", 64, 8, 32, 4, 8), Share("backward", "float16", 96, 16, 32, 4, 8),
    Share("backward", "tf32", 32, 8, 16, 8, 8), Share("backward", "tf32", 64, 8, 64, 2, 8),
]  # fmt: skip


def index(name, *arguments):
    function = getattr(fragments, name)
    return getattr(function, "py_func", function)(*arguments)


def matrix_of_outputs(share, W, first_unit):
    """(outputs, depth, elements): what each output of a block is multiplied with."""
    outputs = np.arange(share.outputs)
    if share.direction == "forward":
        rows = W[index("weight_row", outputs, first_unit, share.H)]
    else:
        rows = W.T[first_unit + outputs]
    return rows.reshape(share.outputs, share.depth, share.elements)


def mma(a, b):
    """PTX ISA 9.0: a (32, 4, e) and b (32, 2, e) of the lanes give d (32, 4)."""
    e = a.shape[-1]
    A, B = np.zeros((16, 8 * e)), np.zeros((8 * e, 8))
    for lane in LANES:
        group, of_group = lane >> 2, lane % 4
        for i in range(4):
            row = group if i % 2 == 0 else group + 8
            column = of_group * e + (0 if i < 2 else 4 * e)
            A[row, column : column + e] = a[lane, i]
        for i in range(2):
            row = of_group * e + 4 * e * i
            B[row : row + e, group] = b[lane, i]
    D = A @ B
    return np.array([
        [D[lane >> 2 if i < 2 else (lane >> 2) + 8, lane % 4 * 2 + (i & 1)] for i in range(4)]
        for lane in LANES
    ])  # fmt: skip


def block_sums(share, M, operand):
    """sums[row, part, output] as fragments.multiply makes them, from M (outputs, depth, e)."""
    sums = np.full((share.rows, share.parts, share.outputs), np.nan)
    part_words, row = share.depth // share.parts, index("fragment_row", LANES)
    for warp in range(share.warps):
        part = warp % share.parts
        for tile in range(share.tiles):
            low, high = (
                (warp // share.parts * share.tiles + tile) * 16 + index("fragment_output", LANES, i)
                for i in range(2)
            )
            for first in range(0, share.rows, 8):
                d = np.zeros((32, 4))
                for pair in range(part_words // 16):
                    word = part * part_words + index("fragment_word", LANES, pair)
                    for k in (word, word + 2):
                        a = np.stack([M[low, k], M[high, k], M[low, k + 1], M[high, k + 1]], 1)
                        b = np.stack([operand[first + row, k], operand[first + row, k + 1]], 1)
                        d += mma(a, b)
                for i in range(4):
                    to = first + index("sum_row", LANES) + (i & 1)
                    sums[to, part, high if i > 1 else low] = d[:, i]
    return sums


@pytest.mark.parametrize("share", SHARES)
def test_products(share):
    draw = np.random.default_rng(0).normal
    W = draw(size=(4 * share.H, share.H))
    operand = draw(size=(share.rows, share.depth, share.elements))
    first_unit = share.H - share.units
    sums = block_sums(share, matrix_of_outputs(share, W, first_unit), operand).sum(1)
    flat = operand.reshape(share.rows, -1)
    units = slice(first_unit, first_unit + share.units)
    if share.direction == "forward":
        z = (flat @ W.T).reshape(share.rows, 4, share.H)[:, :, units]
        np.testing.assert_allclose(sums.reshape(share.rows, share.units, 4), z.transpose(0, 2, 1))
    else:
        np.testing.assert_allclose(sums, (flat @ W)[:, units])


@pytest.mark.parametrize("share", SHARES)
def test_no_two_lanes_want_one_bank(share):
    """A load of 16 bytes is served for 8 lanes at once, a store of 4 bytes for all 32."""
    at = index("fragment_row", LANES) * share.row_words + index("fragment_word", LANES, 0)
    banks = (at[:, None] + np.arange(4)) % 32
    for some in banks.reshape(4, 32):
        assert len(set(some)) == 32
    at = index("sum_row", LANES) * share.row_sums + index("fragment_output", LANES, 0)
    assert len(set(at % 32)) == 32

"""Random numbers by their coordinates: Philox4x32-10 (Salmon et al. 2011, table 2 and figure 2).

Four 32-bit words for each key (the seed) and counter (column, row, step, stream): whoever asks, in
whatever order, at any width, gets the same ones. So masks are drawn where they are used, forwards
and again backwards, and never stored.

    word 0, 1  zoneout of h and of c         the step that the row takes, of those it takes
    word 0     every dropout                 the caller's step, or 0 for one mask at all steps

A stream is 4 · part + purpose (`lf_stream`); parts are layers and directions, purposes those below.
The rounds stand here once, for this processor's vectors and for the GPU (cuda/kernels/philox.py).
"""

from functools import lru_cache

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .simd import I64, Vector, at, constant, is_null, spread
from .struct import Struct

PURPOSES = ("ZONEOUT", "RECURRENT", "INPUT", "WEIGHTS")
ROUNDS, MULTIPLIERS, KEY_STEPS = 10, (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)

DROPOUT = Struct(
    "lf_dropout",
    data="x plus y",
    ids="row_ids",
    size="T B columns x_t x_b y_t y_b per_step seed stream threshold",
    real="scale",
)
# y[t, b] = x[t, b] · scale, or 0 where a word is below `threshold`. Rows of `columns` at
# x + t·x_t + b·x_b and y + t·y_t + b·y_b; x may be y, or null: ones. `plus` lies as x and is added
# to it, unless null. One mask for all steps, or one for each if `per_step`. Row b is drawn as row
# row_ids[b], or b if that is null.


def make_words(multiply, mix, advance):
    """words(c0, c1, c2, c3, k0, k1): the four words of a counter and a key, by these operations.

    multiply(word, m) gives the upper and the lower half of the product with a constant,
    mix(word, word, key) is their exclusive or, advance(key, by) the sum with a constant. Ordinary
    Python on whatever these take: numbers in a kernel, or LLVM's values while code is emitted.
    """
    (multiplier_0, multiplier_1), (by_0, by_1) = MULTIPLIERS, KEY_STEPS

    def words(c0, c1, c2, c3, k0, k1):
        for _ in range(ROUNDS):
            high_0, low_0 = multiply(c0, multiplier_0)
            high_1, low_1 = multiply(c2, multiplier_1)
            c0, c1, c2, c3 = mix(high_1, c1, k0), low_1, mix(high_0, c3, k1), low_0
            k0, k1 = advance(k0, by_0), advance(k1, by_1)
        return c0, c1, c2, c3

    return words


def _operations(builder, width):
    """Those of `make_words`, for vectors of words in a counter and numbers in a key."""
    wide = ir.VectorType(I64, width)

    def multiply(word, multiplier):
        factor = ir.Constant(wide, [multiplier] * width)
        product = builder.mul(builder.zext(word, wide), factor)
        upper = builder.lshr(product, ir.Constant(wide, [32] * width))
        return builder.trunc(upper, word.type), builder.trunc(product, word.type)

    def mix(word, other, key):
        return builder.xor(builder.xor(word, other), spread(builder, key, width))

    def advance(key, by):
        return builder.add(key, key.type(by))

    return multiply, mix, advance


@lru_cache(None)
def make_drawn(simd):
    """drawn(seed, j, row, step, stream, first, second): ones where a word is below, else zeros.

    Two vectors, for the columns from j on: word 0 below `first`, word 1 below `second`.
    """
    width, i32 = simd.width, ir.IntType(32)
    vector, words = Vector(simd.real, width), ir.VectorType(ir.IntType(32), width)

    @intrinsic
    def drawn(typing, seed, j, row, step, stream, first, second):
        def emit(ctx, builder, sig, args):
            seed, j, row, step, stream, *limits = args
            lane = ir.Constant(words, list(range(width)))
            words_of = [builder.trunc(n, i32) for n in (j, row, step, stream)]
            first_column, *others = (spread(builder, n, width) for n in words_of)
            counter = [builder.add(first_column, lane), *others]
            key = [builder.trunc(seed, i32), builder.trunc(builder.lshr(seed, I64(32)), i32)]
            found = make_words(*_operations(builder, width))(*counter, *key)
            ones, zeros = constant(vector, 1.0), constant(vector, 0.0)
            masks = []
            for word, limit in zip(found, limits):  # noqa: B905
                below = builder.icmp_unsigned(
                    "<", word, spread(builder, builder.trunc(limit, i32), width)
                )
                masks.append(builder.select(below, ones, zeros))
            return ctx.make_tuple(builder, sig.return_type, masks)

        return types.UniTuple(vector, 2)(*[types.int64] * 7), emit

    @njit(error_model="numpy")
    def random_words(seed, j, row, step, stream, first, second):
        return drawn(seed, j, row, step, stream, first, second)

    return random_words


def make_dropout(simd):
    """The rows begin..end of DROPOUT: of T·B if `per_step`, else of B, each with all its steps."""
    W, load_n, store_n, splat, real = (
        simd.width, simd.load_n, simd.store_n, simd.splat, simd.real
    )  # fmt: skip
    drawn = make_drawn(simd)

    @njit(error_model="numpy")
    def values(a, t, b, j, n):
        if is_null(a.x):
            return splat(real(1))
        found = load_n(at(a.x, t * a.x_t + b * a.x_b), j, n)
        if not is_null(a.plus):
            found = found + load_n(at(a.plus, t * a.x_t + b * a.x_b), j, n)
        return found

    @njit(error_model="numpy")
    def row(a, t_begin, t_end, b):
        number = b if is_null(a.row_ids) else a.row_ids[b]
        step = t_begin if a.per_step else 0
        one, scale = splat(real(1)), splat(real(a.scale))
        for j in range(0, a.columns, W):
            n = a.columns - j
            factor = scale
            if a.threshold > 0:
                dropped, _ = drawn(a.seed, j, number, step, a.stream, a.threshold, 0)
                factor = (one - dropped) * scale
            for t in range(t_begin, t_end):
                store_n(at(a.y, t * a.y_t + b * a.y_b), j, values(a, t, b, j, n) * factor, n)

    def dropout(a, begin, end, worker):
        for n in range(begin, end):
            if a.per_step:
                t = n // a.B
                row(a, t, t + 1, n - t * a.B)
            else:
                row(a, 0, a.T, n)
        return 0

    return dropout

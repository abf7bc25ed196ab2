"""bfloat16: numbers of 16 bits, the upper half of a float32, two of them side by side in 32 bits.

A vector of float32 serves as a vector of such pairs: it is loaded, spread and stored as it is, and
only `dot` looks inside. So a matrix of bfloat16 is a matrix of half as many columns (rounded up;
half of the last one may be zeros) to everything else: tiles, panels, strides.
"""

from functools import lru_cache

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .isa import WIDENED
from .simd import Lanes, call, constant, emit_fma, lanes, tail_mask

I16 = ir.IntType(16)
UPPER = 0xFFFF0000
QUIET = 0x00400000  # the bit that a NaN keeps, so that it stays one


class BFloat(ir.Type):
    """LLVM's type, which llvmlite does not name."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, BFloat)

    def __hash__(self):
        return hash(BFloat)


# ---------------------------------------------------------------- bits of vectors of float32


def _rounded(builder, vector, value):
    """The bits of the bfloat16 nearest to each lane, ties to even, in the upper halves."""
    bits = builder.bitcast(value, vector.llvm_int)
    odd = builder.and_(builder.lshr(bits, constant(vector, 16)), constant(vector, 1))
    nearest = builder.add(bits, builder.add(odd, constant(vector, 0x7FFF)))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.select(is_nan, builder.or_(bits, constant(vector, QUIET)), nearest)


def _lower(builder, vector, pairs):
    bits = builder.shl(builder.bitcast(pairs, vector.llvm_int), constant(vector, 16))
    return builder.bitcast(bits, vector.llvm)


def _upper(builder, vector, pairs):
    bits = builder.and_(builder.bitcast(pairs, vector.llvm_int), constant(vector, UPPER))
    return builder.bitcast(bits, vector.llvm)


# ---------------------------------------------------------------- rows of bfloat16


def has_halves(simd):
    return simd.real == types.float32


def _upper_halves(builder, vector, value):
    return builder.lshr(_rounded(builder, vector, value), constant(vector, 16))


@lru_cache(None)
def make_store_halves(simd):
    """store_halves(p, i, v, n): v's lanes, or the first n, as bfloat16 from the i-th at p on.

    Of float64 there is no such form, and it does nothing.
    """
    if not has_halves(simd):
        return njit(error_model="numpy")(lambda p, i, v, n: None)
    return make_store_small(simd, 16, _upper_halves)


@lru_cache(None)
def make_store_small(simd, size, number):
    """store_small(p, i, v, n): of v's lanes, or the first n, numbers of `size` bits.

    They go to the i-th such number at p and those behind it; number(builder, vector, v) emits
    integers of which they are the low bits.
    """
    vector, width, small = simd.vector, simd.width, ir.IntType(size)
    several = ir.VectorType(small, width)

    def placed(builder, args):
        made = builder.trunc(number(builder, vector, args[2]), several)
        first = builder.gep(builder.bitcast(args[0], small.as_pointer()), [args[1]])
        return made, builder.bitcast(first, several.as_pointer())

    @intrinsic
    def store(typing, p, i, v):
        def emit(ctx, builder, sig, args):
            builder.store(*placed(builder, args), align=size // 8)
            return ctx.get_dummy_value()

        return types.void(simd.pointer, types.intp, vector), emit

    @intrinsic
    def masked_store(typing, p, i, v, n):
        def emit(ctx, builder, sig, args):
            value, place = placed(builder, args)
            mask = tail_mask(builder, vector, args[3])
            name, align = f"llvm.masked.store.v{width}i{size}.p0", ir.IntType(32)(size // 8)
            call(builder, name, ir.VoidType(), value, place, align, mask)
            return ctx.get_dummy_value()

        return types.void(simd.pointer, types.intp, vector, types.intp), emit

    @njit(error_model="numpy")
    def store_small(p, i, v, n):
        if n >= width:
            store(p, i, v)
        else:
            masked_store(p, i, v, n)

    return store_small


# ---------------------------------------------------------------- products


@lru_cache(None)
def pair_lanes(isa):
    """`lanes(float32, isa)`, but factors of products are pairs of bfloat16: two terms a lane."""
    plain, is_fused = lanes(types.float32, isa), "avx512bf16" in isa.features
    vector, tile = plain.vector, isa if is_fused else isa._replace(**WIDENED[isa.name])

    @intrinsic
    def dot(typing, a, b, c):
        return vector(vector, vector, vector), fused if is_fused else widened

    def fused(ctx, builder, sig, args):
        pairs = ir.VectorType(BFloat(), 2 * vector.width)
        a, b = (builder.bitcast(one, pairs) for one in args[:2])
        return call(builder, "llvm.x86.avx512bf16.dpbf16ps.512", vector.llvm, args[2], a, b)

    def widened(ctx, builder, sig, args):
        a, b, c = args
        for half in (_lower, _upper):
            c = emit_fma(builder, vector, half(builder, vector, a), half(builder, vector, b), c)
        return c

    @intrinsic
    def join(typing, a, b):
        def emit(ctx, builder, sig, args):
            first, second = (_rounded(builder, vector, one) for one in args)
            first = builder.lshr(first, constant(vector, 16))
            second = builder.and_(second, constant(vector, UPPER))
            return builder.bitcast(builder.or_(first, second), vector.llvm)

        return vector(vector, vector), emit

    return Lanes(**(vars(plain) | {"isa": tile, "dot": dot, "terms": 2, "join": join}))

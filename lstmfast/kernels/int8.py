"""int8: numbers of 8 bits, four of them side by side in 32 bits, whose sums are exact.

A vector of float32 serves as a vector of such quads, as one of pairs does in bfloat16.py: only
`dot` looks inside. A row of a factor begins with HEAD numbers that are no terms of the sum:

    left (x, h)  the row's scale s, a float32; one that is not used; then quads of bytes q + zero
    right (W)    the columns' scales; -zero Σ q of each column, int32; then quads of signed bytes q

Numbers stand for s q with q in -127..127, so x·w = s_x s_w (Σ (q_x + zero) q_w - zero Σ q_w). With
AVX-512 `zero` is 128: its instructions multiply unsigned bytes by signed ones. Elsewhere it is 0.
Sums of 32 bits may wrap around on the way, but end right for up to LARGEST terms, in any order.
"""

from functools import lru_cache

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .bfloat16 import I16, has_halves, make_store_small
from .isa import SPLIT
from .simd import Lanes, at, call, constant, lanes, unrolled

HEAD = 2
LARGEST = 1 << 17  # 127² · LARGEST < 2³¹
LEAST = 1e-30  # the largest number of a row is taken for no less: scales are never zero
STEPS = 127  # of the largest number
ROUNDING = 12582912.0  # 1.5 · 2²³: in a sum with it the low bits are the nearest integer


def zero_of(isa):
    """The byte that stands for 0 in left rows."""
    return 128 if isa.bytes == 64 else 0


# ---------------------------------------------------------------- bits of vectors of float32


@intrinsic
def larger_magnitude(typing, m, v):
    """The larger of m >= 0 and |v|; NaN is larger than all. As integers, bits are in this order."""

    def emit(ctx, builder, sig, args):
        vector = sig.return_type
        found, new = (builder.bitcast(one, vector.llvm_int) for one in args)
        new = builder.and_(new, constant(vector, 0x7FFFFFFF))
        largest = builder.select(builder.icmp_unsigned(">", new, found), new, found)
        return builder.bitcast(largest, vector.llvm)

    return m(m, v), emit


@intrinsic
def short_scale(typing, s):
    """s rounded up to 16 bits of significand, so that s q is exact, and q can be told from it."""

    def emit(ctx, builder, sig, args):
        vector = sig.return_type
        bits = builder.bitcast(args[0], vector.llvm_int)
        up = builder.and_(builder.add(bits, constant(vector, 0xFF)), constant(vector, 0xFFFFFF00))
        is_nan = builder.fcmp_unordered("uno", args[0], args[0])
        return builder.select(is_nan, args[0], builder.bitcast(up, vector.llvm))

    return s(s), emit


@intrinsic
def nearest(typing, v):
    """Numbers whose low bytes are the integers nearest to v in -127..127, ties to even."""

    def emit(ctx, builder, sig, args):
        return builder.fadd(args[0], constant(sig.return_type, ROUNDING))

    return v(v), emit


@intrinsic
def join_four(typing, a, b, c, d):
    """Quads of the low bytes of four vectors."""

    def emit(ctx, builder, sig, args):
        vector, quads = sig.return_type, None
        for n, one in enumerate(args):
            byte = builder.and_(builder.bitcast(one, vector.llvm_int), constant(vector, 255))
            byte = builder.shl(byte, constant(vector, 8 * n))
            quads = byte if quads is None else builder.or_(quads, byte)
        return builder.bitcast(quads, vector.llvm)

    return a(a, b, c, d), emit


def signed_byte(builder, vector, quads, n):
    up = builder.shl(quads, constant(vector, 24 - 8 * n))
    return builder.ashr(up, constant(vector, 24))


@lru_cache(None)
def make_without_zero(simd):
    """without_zero(total, quads): total - zero · the sum of each lane's four signed bytes."""
    zero = zero_of(simd.isa)

    @intrinsic
    def without_zero(typing, total, quads):
        def emit(ctx, builder, sig, args):
            vector = sig.return_type
            total, quads = (builder.bitcast(one, vector.llvm_int) for one in args)
            for n in range(4):
                byte = signed_byte(builder, vector, quads, n)
                total = builder.sub(total, builder.mul(byte, constant(vector, zero)))
            return builder.bitcast(total, vector.llvm)

        return total(total, quads), emit

    return without_zero


# ---------------------------------------------------------------- rows of bytes


@lru_cache(None)
def make_largest_of(simd):
    """largest_of(x, n, least): the largest magnitude of n numbers, no less than `least`."""
    W, load_n, splat, real, largest = simd.width, simd.load_n, simd.splat, simd.real, simd.largest

    @njit(error_model="numpy")
    def largest_of(x, n, least):
        m = splat(real(least))
        for j in range(0, n, W):
            m = larger_magnitude(m, load_n(x, j, n - j))
        return largest(m)

    return largest_of


@lru_cache(None)
def make_store_bytes(simd):
    """store_bytes(p, i, v, n): the low bytes of v, or of its first n lanes, as left rows have them.

    They go to the i-th byte at p and those behind it.
    """
    zero = zero_of(simd.isa)

    def bytes_of(builder, vector, value):
        return builder.add(builder.bitcast(value, vector.llvm_int), constant(vector, zero))

    return make_store_small(simd, 8, bytes_of)


@lru_cache(None)
def make_quantise(simd):
    """quantise(x, begin, end, n, m, y): the numbers begin..end of x (n,) whose largest is m.

    The row's head is written with the first of them. Of float64 there is no such form, and it does
    nothing.
    """
    if not has_halves(simd):
        return njit(error_model="numpy")(lambda x, begin, end, n, m, y: None)
    W, load_n, splat, real = simd.width, simd.load_n, simd.splat, simd.real
    store_bytes = make_store_bytes(simd)

    @njit(error_model="numpy")
    def quantise(x, begin, end, n, m, y):
        if begin == 0:
            y[0] = m / real(STEPS)
        steps = splat(real(STEPS) / m)
        for j in range(begin, min(end, n), W):
            store_bytes(at(y, HEAD), j, nearest(load_n(x, j, n - j) * steps), n - j)

    return quantise


# ---------------------------------------------------------------- products


def fused(builder, vector, a, b, c):
    return call(builder, "llvm.x86.avx512.vpdpbusd.512", vector.llvm_int, c, a, b)


def by_halves(builder, vector, a, b, c):
    """The even and the odd bytes each as 16 bits, whose products are summed in pairs."""
    name = "llvm.x86.avx512.pmaddw.d.512"
    halves = ir.VectorType(I16, 2 * vector.width)
    eight, low = (ir.Constant(halves, [n] * halves.count) for n in (8, 255))
    a, b = builder.bitcast(a, halves), builder.bitcast(b, halves)
    even = builder.and_(a, low), builder.ashr(builder.shl(b, eight), eight)
    odd = builder.lshr(a, eight), builder.ashr(b, eight)
    for pair in (even, odd):
        c = builder.add(c, call(builder, name, vector.llvm_int, *pair))
    return c


def by_signs(builder, vector, a, b, c):
    """|a| times b with a's sign: neighbours' products add up to 2 · 127² at most, in 16 bits."""
    name = "avx2.{}" if vector.width == 8 else "ssse3.{}.128"
    ones, count = "llvm.x86.avx2.pmadd.wd", 4 * vector.width
    if vector.width == 4:
        ones = "llvm.x86.sse2.pmadd.wd"
    as_bytes, halves = ir.VectorType(ir.IntType(8), count), ir.VectorType(I16, count // 2)
    a, b = builder.bitcast(a, as_bytes), builder.bitcast(b, as_bytes)
    not_poison = ir.Constant(ir.IntType(1), 0)
    size = call(builder, f"llvm.abs.v{count}i8", as_bytes, a, not_poison)
    signed = call(builder, "llvm.x86." + name.format("psign.b"), as_bytes, b, a)
    pairs = call(builder, "llvm.x86." + name.format("pmadd.ub.sw"), halves, size, signed)
    each = ir.Constant(halves, [1] * halves.count)
    return builder.add(c, call(builder, ones, vector.llvm_int, pairs, each))


def by_bytes(builder, vector, a, b, c):
    for n in range(4):
        product = builder.mul(*(signed_byte(builder, vector, one, n) for one in (a, b)))
        c = builder.add(c, product)
    return c


def multiplier(isa):
    """What multiplies quads: emits c + a·b of integers."""
    if isa.bytes < 64:
        return by_bytes if isa.name == "neon" else by_signs
    return fused if "avx512vnni" in isa.features else by_halves


@lru_cache(None)
def quad_lanes(isa):
    """`lanes(float32, isa)`, but factors of products are quads of int8: four terms a lane."""
    plain, multiply = lanes(types.float32, isa), multiplier(isa)
    vector, tile = plain.vector, isa if multiply is fused else isa._replace(**SPLIT[isa.name])

    @intrinsic
    def dot(typing, a, b, c):
        def emit(ctx, builder, sig, args):
            a, b, c = (builder.bitcast(one, vector.llvm_int) for one in args)
            return builder.bitcast(multiply(builder, vector, a, b, c), vector.llvm)

        return vector(vector, vector, vector), emit

    @intrinsic
    def as_real(typing, total):
        def emit(ctx, builder, sig, args):
            return builder.sitofp(builder.bitcast(args[0], vector.llvm_int), vector.llvm)

        return vector(vector), emit

    W, load, get, put, splat = plain.width, plain.load, plain.get, plain.put, plain.splat

    @unrolled
    def begin(shape, acc, B):
        rows, panels, vectors = shape
        for q in range(panels):
            for v in range(vectors):
                correction = load(B.pointer, q * B.panel + B.row + v * W)
                for i in range(rows):
                    put(acc, (i * panels + q) * vectors + v, correction)

    @unrolled
    def end(shape, acc, A, B):
        rows, panels, vectors = shape
        for q in range(panels):
            for v in range(vectors):
                scale = load(B.pointer, q * B.panel + v * W)
                for i in range(rows):
                    n = (i * panels + q) * vectors + v
                    put(acc, n, as_real(get(acc, n)) * (scale * splat(A.pointer[i * A.stride])))

    special = {"isa": tile, "dot": dot, "terms": 4, "join": None, "head": HEAD, "begin": begin,
               "end": end}  # fmt: skip
    return Lanes(**(vars(plain) | special))

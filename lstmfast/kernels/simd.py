"""A vector type for Numba: explicit SIMD on raw pointers, built on `numba.extending` alone.

`Vector(real, width)` is `width` floats in one register (or several: LLVM splits what is too
wide). `lanes(real, isa)` gives the operations whose result type cannot be told from their
arguments: `load`, `store`, `splat`, register tiles. Everything else (`fma`, `+ - * /`, `clamp`)
works on any vector. A pointer is a `CPointer`; `at(p, i)` moves it by i elements.

No operation carries a fast-math flag, so sums are evaluated exactly as written. `fma` is
`llvm.fmuladd`: fused wherever the target has the instruction, a product and a sum where it has
not (`llvm.fma` would become a call of libm there).
"""

import operator
from functools import lru_cache
from types import SimpleNamespace

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from .shuffles import LANE, transposed, turned_columns

I64 = ir.IntType(64)
BITS = {types.float32: 32, types.float64: 64}
LLVM_REAL = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class Vector(types.Type):
    """`width` lanes of `real` (float32 or float64)."""

    def __init__(self, real, width):
        self.real, self.width = real, width
        super().__init__(name=f"vector({real}, {width})")

    @property
    def llvm(self):
        return ir.VectorType(LLVM_REAL[self.real], self.width)

    @property
    def llvm_int(self):
        return ir.VectorType(ir.IntType(BITS[self.real]), self.width)


class Tile(types.Type):
    """A fixed number of vectors on the stack, which LLVM keeps in registers."""

    def __init__(self, vector):
        self.vector = vector
        super().__init__(name=f"tile({vector})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, vector.llvm)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, tile.vector.llvm.as_pointer())


# What callers make a part of themselves, so that LLVM unrolls loops over their constants.
unrolled = njit(error_model="numpy", forceinline=True)


def constant(vector, value):
    """The LLVM constant with `value` (float, or int for the integer view) in every lane."""
    llvm = vector.llvm if isinstance(value, float) else vector.llvm_int
    return ir.Constant(llvm, [value] * vector.width)


def call(builder, name, result, *args):
    """Call the LLVM intrinsic `name` on `args`."""
    signature = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), args)


def suffix(vector):
    """How LLVM spells this vector in the name of an intrinsic: v16f32."""
    return f"v{vector.width}f{BITS[vector.real]}"


def emit_fma(builder, vector, a, b, c):
    return call(builder, f"llvm.fmuladd.{suffix(vector)}", vector.llvm, a, b, c)


# ---------------------------------------------------------------- arithmetic on any vector


def _binary(emit):
    @intrinsic
    def operation(typing, a, b):
        return a(a, b), lambda ctx, builder, sig, args: emit(builder, *args)

    def typed(a, b):
        if isinstance(a, Vector) and a == b:
            return lambda a, b: operation(a, b)
        return None

    return typed


for _operator, _emit in (
    (operator.add, lambda b, x, y: b.fadd(x, y)),
    (operator.sub, lambda b, x, y: b.fsub(x, y)),
    (operator.mul, lambda b, x, y: b.fmul(x, y)),
    (operator.truediv, lambda b, x, y: b.fdiv(x, y)),
):
    overload(_operator)(_binary(_emit))


@intrinsic
def _negate(typing, a):
    return a(a), lambda ctx, builder, sig, args: builder.fneg(args[0])


@overload(operator.neg)
def _overload_neg(a):
    if isinstance(a, Vector):
        return lambda a: _negate(a)
    return None


@intrinsic
def fma(typing, a, b, c):
    """a * b + c."""

    def emit(ctx, builder, sig, args):
        return emit_fma(builder, sig.return_type, *args)

    return a(a, b, c), emit


@intrinsic
def fast_quotient(typing, a, b):
    """a / b for finite b: to 0.6 ulp, and faster, for float32 of AVX-512; else exactly rounded.

    The processor's estimate of 1/b is good to 14 bits; a Newton step on the quotient doubles them.
    """

    def emit(ctx, builder, sig, args):
        vector, (x, y) = sig.return_type, args
        if (vector.real, vector.width) != (types.float32, 16):
            return builder.fdiv(x, y)
        nothing, all_lanes = constant(vector, 0.0), ir.Constant(ir.IntType(16), -1)
        name = "llvm.x86.avx512.rcp14.ps.512"
        estimate = call(builder, name, vector.llvm, y, nothing, all_lanes)
        q = builder.fmul(x, estimate)
        rest = emit_fma(builder, vector, builder.fneg(y), q, x)
        return emit_fma(builder, vector, rest, estimate, q)

    return a(a, b), emit


def _select(comparison):
    @intrinsic
    def pick(typing, a, b):
        def emit(ctx, builder, sig, args):
            x, y = args
            return builder.select(builder.fcmp_ordered(comparison, y, x), y, x)

        return a(a, b), emit

    return pick


at_least = _select(">")  # at_least(x, low): max(x, low), NaN of x kept: one maxps
at_most = _select("<")  # at_most(x, high): min(x, high), NaN of x kept


@intrinsic
def sqrt(typing, a):
    def emit(ctx, builder, sig, args):
        v = sig.return_type
        return call(builder, f"llvm.sqrt.{suffix(v)}", v.llvm, args[0])

    return a(a), emit


@intrinsic
def where_positive(typing, condition, a, b):
    """condition > 0 ? a : b, lane by lane."""

    def emit(ctx, builder, sig, args):
        zero = constant(sig.return_type, 0.0)
        return builder.select(builder.fcmp_ordered(">", args[0], zero), args[1], args[2])

    return a(condition, a, b), emit


@intrinsic
def splat_like(typing, vector, value):
    """A float64 number, rounded, in every lane of a vector like the first argument."""

    def emit(ctx, builder, sig, args):
        v, number = sig.return_type, args[1]
        if v.real == types.float32:
            number = builder.fptrunc(number, ir.FloatType())
        return spread(builder, number, v.width)

    return vector(vector, types.float64), emit


@lru_cache(None)
def polynomial(coefficients):
    """An intrinsic p(x) = c0 + c1 x + c2 x² + ..., by Horner's rule in fused steps."""

    @intrinsic
    def evaluate(typing, x):
        def emit(ctx, builder, sig, args):
            v = sig.return_type
            value = constant(v, float(coefficients[-1]))
            for c in reversed(coefficients[:-1]):
                value = emit_fma(builder, v, value, args[0], constant(v, float(c)))
            return value

        return x(x), emit

    return evaluate


@intrinsic
def pow2_of_shifted(typing, shifted):
    """2ⁿ for `shifted` = n + 1.5 · 2^(mantissa bits), the sum that rounds n to an integer.

    The low bits of such a number are n itself, so no conversion is needed (a conversion of NaN
    would be poison). n must lie in [-127, 128] (float32) or [-1023, 1024]: the ends give 0, inf.
    """

    def emit(ctx, builder, sig, args):
        v = sig.return_type
        mantissa, bias = (23, 127) if v.real == types.float32 else (52, 1023)
        bits = builder.bitcast(args[0], v.llvm_int)
        exponent = builder.add(bits, constant(v, bias))
        return builder.bitcast(builder.shl(exponent, constant(v, mantissa)), v.llvm)

    return shifted(shifted), emit


# ---------------------------------------------------------------- pointers


@intrinsic
def at(typing, pointer, offset):
    """The pointer `offset` elements further on."""

    def emit(ctx, builder, sig, args):
        return builder.gep(args[0], [args[1]], inbounds=True)

    return pointer(pointer, types.intp), emit


@intrinsic
def is_null(typing, pointer):
    def emit(ctx, builder, sig, args):
        return builder.icmp_unsigned("==", builder.ptrtoint(args[0], I64), I64(0))

    return types.boolean(pointer), emit


@intrinsic
def prefetch(typing, pointer, offset):
    """Ask for the cache line of an element that will be read soon."""

    def emit(ctx, builder, sig, args):
        i32, p = ir.IntType(32), builder.gep(args[0], [args[1]])
        p = builder.bitcast(p, ir.IntType(8).as_pointer())
        call(builder, "llvm.prefetch.p0", ir.VoidType(), p, i32(0), i32(3), i32(1))
        return ctx.get_dummy_value()

    return types.void(pointer, types.intp), emit


@intrinsic
def call_kernel(typing, address, values):
    """Call the kernel at an address, an int64, on a struct of these values (struct.py)."""

    def emit(ctx, builder, sig, args):
        fields = cgutils.unpack_tuple(builder, args[1])
        struct = cgutils.alloca_once(builder, I64, size=I64(len(fields)))
        for i, value in enumerate(fields):
            number = builder.ptrtoint(value, I64) if value.type.is_pointer else value
            builder.store(number, builder.gep(struct, [I64(i)], inbounds=True))
        kernel = ir.FunctionType(ir.IntType(32), [I64.as_pointer()])
        return builder.call(builder.inttoptr(args[0], kernel.as_pointer()), [struct])

    return types.int32(types.int64, values), emit


# ---------------------------------------------------------------- one register width


def tail_mask(builder, vector, count):
    """The first `count` lanes (count may be <= 0 or beyond the width)."""
    width, i32 = vector.width, ir.IntType(32)
    low = builder.select(builder.icmp_signed("<", count, I64(0)), I64(0), count)
    few = builder.select(builder.icmp_signed(">", low, I64(width)), I64(width), low)
    lane = ir.Constant(ir.VectorType(i32, width), list(range(width)))
    return builder.icmp_signed("<", lane, spread(builder, builder.trunc(few, i32), width))


def spread(builder, value, width):
    llvm, i32 = ir.VectorType(value.type, width), ir.IntType(32)
    one = builder.insert_element(ir.Constant(llvm, ir.Undefined), value, i32(0))
    zeros = ir.Constant(ir.VectorType(i32, width), [0] * width)
    return builder.shuffle_vector(one, ir.Constant(llvm, ir.Undefined), zeros)


@njit(error_model="numpy")
def first(a, b):
    return a


@njit(error_model="numpy")
def no_begin(shape, acc, B):
    pass


@njit(error_model="numpy")
def no_end(shape, acc, A, B):
    pass


class Lanes(SimpleNamespace):
    """What `lanes` returns: one object for each kind of float and Isa, so a key of caches."""

    __hash__ = object.__hash__


@lru_cache(None)
def lanes(real, isa):
    """The operations of one register width.

    `load(p, i)`, `store(p, i, v)` touch `width` elements from p[i] on, at any alignment;
    `load_n(p, i, n)`, `store_n(p, i, v, n)` only the first n of them (the other lanes read as 0;
    n <= 0 touches nothing); `load_or` fills them from a vector. `splat(x)` fills a vector.
    `new_tile(n)` makes an intrinsic without arguments that reserves n vectors, read and written by
    `get(tile, i)` and `put(tile, i, v)`, or as memory from `start_of(tile)` on; `transpose(tile)`
    turns a square of them, `load_turned(tile, p, stride)` reads one whose rows lie `stride` apart
    and turns it, and `regroup(tile)` makes vector g of the g-th quarters of four vectors (it undoes
    itself; None where a vector has no quarters). `total(v)` adds the lanes in a fixed order,
    `largest(v)` is their maximum. `dot(a, b, c)` is what products sum with, c + a·b here: a lane
    of a factor holds `terms` terms of the sum, and `join(v, w)` makes a vector of it of them. The
    first `head` numbers of a factor's rows are none: `begin(shape, acc, B)` and `end(shape, acc, A,
    B)`, before and after the sums of a tile (tiles.py), know what they are.
    """
    width = isa.bytes * 8 // BITS[real]
    vector, pointer = Vector(real, width), types.CPointer(real)
    tile_type, align = Tile(vector), BITS[real] // 8

    def address(builder, args):
        element = builder.gep(args[0], [args[1]], inbounds=True)
        return builder.bitcast(element, vector.llvm.as_pointer())

    @intrinsic
    def load(typing, p, i):
        def emit(ctx, builder, sig, args):
            return builder.load(address(builder, args), align=align)

        return vector(pointer, types.intp), emit

    @intrinsic
    def store(typing, p, i, v):
        def emit(ctx, builder, sig, args):
            builder.store(args[2], address(builder, args), align=align)
            return ctx.get_dummy_value()

        return types.void(pointer, types.intp, vector), emit

    @intrinsic
    def splat(typing, x):
        def emit(ctx, builder, sig, args):
            return spread(builder, args[0], width)

        return vector(real), emit

    @intrinsic
    def masked_load(typing, p, i, n, other):
        def emit(ctx, builder, sig, args):
            name = f"llvm.masked.load.{suffix(vector)}.p0"
            mask = tail_mask(builder, vector, args[2])
            return call(
                builder, name, vector.llvm, address(builder, args), ir.IntType(32)(align), mask,
                args[3],
            )  # fmt: skip

        return vector(pointer, types.intp, types.intp, vector), emit

    @njit(error_model="numpy")
    def load_or(p, i, n, other):
        return load(p, i) if n >= width else masked_load(p, i, n, other)

    @njit(error_model="numpy")
    def load_n(p, i, n):
        return load_or(p, i, n, splat(real(0)))

    @intrinsic
    def masked_store(typing, p, i, v, n):
        def emit(ctx, builder, sig, args):
            name = f"llvm.masked.store.{suffix(vector)}.p0"
            mask = tail_mask(builder, vector, args[3])
            call(
                builder, name, ir.VoidType(), args[2], address(builder, args),
                ir.IntType(32)(align), mask,
            )  # fmt: skip
            return ctx.get_dummy_value()

        return types.void(pointer, types.intp, vector, types.intp), emit

    @njit(error_model="numpy")
    def store_n(p, i, v, n):
        if n >= width:
            store(p, i, v)
        else:
            masked_store(p, i, v, n)

    def new_tile(count):
        @intrinsic
        def tile(typing):
            def emit(ctx, builder, sig, args):
                return cgutils.alloca_once(builder, vector.llvm, size=I64(count))

            return tile_type(), emit

        return tile

    @intrinsic
    def get(typing, tile, i):
        def emit(ctx, builder, sig, args):
            return builder.load(builder.gep(args[0], [args[1]], inbounds=True))

        return vector(tile_type, types.intp), emit

    @intrinsic
    def put(typing, tile, i, v):
        def emit(ctx, builder, sig, args):
            builder.store(args[2], builder.gep(args[0], [args[1]], inbounds=True))
            return ctx.get_dummy_value()

        return types.void(tile_type, types.intp, vector), emit

    @intrinsic
    def start_of(typing, tile):
        def emit(ctx, builder, sig, args):
            return builder.bitcast(args[0], LLVM_REAL[real].as_pointer())

        return pointer(tile_type), emit

    @intrinsic
    def total(typing, v):
        def emit(ctx, builder, sig, args):
            value = args[0]
            half = width // 2
            while half:  # add the upper half to the lower one
                order = list(range(half, 2 * half)) + list(range(half, width))
                upper = builder.shuffle_vector(
                    value, ir.Constant(vector.llvm, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), width), order[:width]),
                )  # fmt: skip
                value = builder.fadd(value, upper)
                half //= 2
            return builder.extract_element(value, ir.IntType(32)(0))

        return real(vector), emit

    @intrinsic
    def largest(typing, v):
        def emit(ctx, builder, sig, args):
            name = f"llvm.vector.reduce.fmaximum.{suffix(vector)}"
            return call(builder, name, LLVM_REAL[real], args[0])

        return real(vector), emit

    @intrinsic
    def load_turned(typing, tile, p, stride):
        def emit(ctx, builder, sig, args):
            rows = [builder.gep(args[1], [builder.mul(args[2], I64(i))]) for i in range(width)]
            for k in range(0, width, LANE // align):
                for i, column in enumerate(turned_columns(builder, rows, k, width, align), k):
                    builder.store(column, builder.gep(args[0], [I64(i)]))
            return ctx.get_dummy_value()

        return types.void(tile_type, pointer, types.intp), emit

    def transposition(count):
        """Of the block of count × count runs of lanes in the first `count` vectors, in place."""

        @intrinsic
        def transpose(typing, tile):
            def emit(ctx, builder, sig, args):
                rows = [builder.load(builder.gep(args[0], [I64(i)])) for i in range(count)]
                for i, column in enumerate(transposed(builder, rows, width)):
                    builder.store(column, builder.gep(args[0], [I64(i)]))
                return ctx.get_dummy_value()

            return types.void(tile_type), emit

        return transpose

    return Lanes(
        isa=isa, real=real, width=width, vector=vector, pointer=pointer, load=load, store=store,
        load_n=load_n, load_or=load_or, store_n=store_n, splat=splat, new_tile=new_tile, get=get,
        put=put, total=total, largest=largest, load_turned=load_turned,
        start_of=start_of, dot=fma, terms=1, join=first, head=0, begin=no_begin, end=no_end,
        transpose=transposition(width),
        regroup=transposition(4) if width >= 4 else None,
    )  # fmt: skip

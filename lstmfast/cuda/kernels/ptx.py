"""Instructions that Python has no word for: inline PTX, and what the simulator does in its place.

The simulator runs one thread at a time, so what the threads of a warp do together (mma) and what
orders memory between blocks has no second form here: tests compile and link the kernels that need
it, and run them in an emulator of their own (tests/cuda/emulator.py), which takes the place of the
functions below `load_acquire`.

Addresses are pointers (`compiler.pointer`) and an index of elements, or of 16 bytes where four
words are moved at once. Source: PTX ISA 9.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types

from ..runtime.compiler import SIMULATED

if SIMULATED:

    def intrinsic(typed: Any) -> Any:
        return typed
else:
    from numba.cuda.extending import intrinsic

F32, I64, I32, I16 = ir.FloatType(), ir.IntType(64), ir.IntType(32), ir.IntType(16)


def assembly(builder: Any, result: Any, operands: Any, text: str, constraints: str) -> Any:
    """Emit `text`; with $0, $1, ... for the results, then the operands."""
    typed = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(ir.InlineAsm(typed, text, constraints, side_effect=True), operands)


def pure_assembly(builder: Any, result: Any, operands: Any, text: str, constraints: str) -> Any:
    """Emit a text that may be moved, or left out where its result is not used."""
    typed = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(ir.InlineAsm(typed, text, constraints, side_effect=False), operands)


@intrinsic
def bits_of(typing, x):
    """The bits of a float32 as uint32."""

    def emit(context, builder, signature, args):
        return builder.bitcast(args[0], I32)

    return types.uint32(types.float32), emit


@intrinsic
def float_of(typing, bits):
    """The float32 of these bits."""

    def emit(context, builder, signature, args):
        return builder.bitcast(args[0], F32)

    return types.float32(types.uint32), emit


@intrinsic
def rounded_bfloat16(typing, x):
    """The bits, uint16, of the bfloat16 nearest to a float32 (ties to even)."""

    def emit(context, builder, signature, args):
        return pure_assembly(builder, I16, args, "cvt.rn.bf16.f32 $0, $1;", "=h,f")

    return types.uint16(types.float32), emit


@intrinsic
def rounded_tf32(typing, x):
    """The bits, uint32, of the tf32 nearest to a float32 (ties away from zero)."""

    def emit(context, builder, signature, args):
        return pure_assembly(builder, I32, args, "cvt.rna.tf32.f32 $0, $1;", "=r,f")

    return types.uint32(types.float32), emit


@intrinsic
def tanh_approx(typing, x):
    """The tanh of the hardware: to 2^-11 of its value, in one instruction."""

    def emit(context, builder, signature, args):
        return pure_assembly(builder, F32, args, "tanh.approx.f32 $0, $1;", "=f,f")

    return types.float32(types.float32), emit


def address_of(builder: Any, pointer: Any, index: Any, size: int) -> Any:
    """The address, 64 bits, of element `index` (int64) of `size` bytes."""
    return builder.add(builder.ptrtoint(pointer, I64), builder.mul(index, I64(size)))


@intrinsic
def load_acquire(typing, p, index):
    """p[index] of uint32; what other blocks wrote before they released it is seen afterwards."""

    def emit(context, builder, signature, args):
        at = address_of(builder, *args, 4)
        return assembly(builder, I32, [at], "ld.acquire.gpu.global.u32 $0, [$1];", "=r,l,~{memory}")

    return types.uint32(p, types.int64), emit


@intrinsic
def add_release(typing, p, index, value):
    """p[index] += value of uint32, atomically, after all that this thread wrote or was told of."""

    def emit(context, builder, signature, args):
        text = "red.release.gpu.global.add.u32 [$0], $1;"
        operands = [address_of(builder, *args[:2], 4), args[2]]
        assembly(builder, ir.VoidType(), operands, text, "l,r,~{memory}")
        return context.get_dummy_value()

    return types.void(p, types.int64, types.uint32), emit


@intrinsic
def load_words(typing, p, chunk):
    """Four uint32 at 16 · chunk bytes from p, read from L2, where other blocks' words arrive."""
    result = types.UniTuple(types.uint32, 4)

    def emit(context, builder, signature, args):
        at = address_of(builder, *args, 16)
        text = "ld.relaxed.gpu.global.v4.u32 {$0,$1,$2,$3}, [$4];"
        return four(context, builder, result, I32, [at], text, "=r,=r,=r,=r,l,~{memory}")

    return result(p, types.int64), emit


def four(
    context: Any, builder: Any, result: Any, kind: Any, operands: Any, text: str, constraints: str
) -> Any:
    """Emit a text with four results of a kind, and make a tuple of them."""
    found = assembly(builder, ir.LiteralStructType([kind] * 4), operands, text, constraints)
    return context.make_tuple(builder, result, [builder.extract_value(found, i) for i in range(4)])


def shared_address(context: Any, builder: Any, array: Any, value: Any, index: Any) -> Any:
    """The 32-bit address of element `index` (int64) of an array of words in shared memory."""
    from numba.cuda.np import arrayobj

    data = arrayobj.make_array(array)(context, builder, value).data
    base = builder.addrspacecast(data, I32.as_pointer(addrspace=3))
    return builder.add(builder.ptrtoint(base, I32), builder.mul(builder.trunc(index, I32), I32(4)))


@intrinsic
def shared_words(typing, array, index):
    """Elements index .. index + 3 of an array in shared memory, of uint32 or float32."""
    result = types.UniTuple(array.dtype, 4)
    kind, letter = (F32, "f") if array.dtype == types.float32 else (I32, "r")

    def emit(context, builder, signature, args):
        at = shared_address(context, builder, signature.args[0], *args)
        text = f"ld.shared.v4.{'f32' if kind is F32 else 'u32'} {{$0,$1,$2,$3}}, [$4];"
        constraints = f"={letter},={letter},={letter},={letter},r,~{{memory}}"
        return four(context, builder, result, kind, [at], text, constraints)

    return result(array, types.int64), emit


@intrinsic
def store_shared_words(typing, array, index, a, b, c, d):
    """Set elements index .. index + 3 of an array in shared memory, of uint32 or float32."""
    kind, letter = ("f32", "f") if array.dtype == types.float32 else ("u32", "r")

    def emit(context, builder, signature, args):
        at = shared_address(context, builder, signature.args[0], *args[:2])
        text = f"st.shared.v4.{kind} [$0], {{$1,$2,$3,$4}};"
        constraints = f"r,{letter},{letter},{letter},{letter},~{{memory}}"
        assembly(builder, ir.VoidType(), [at, *args[2:]], text, constraints)
        return context.get_dummy_value()

    return types.void(array, types.int64, *[array.dtype] * 4), emit


def multiply_add(shape: str, kind: str) -> Any:
    """D = A B + D of one warp's tile, (16, 8) float32, in fragments (see fragments.py)."""
    text = (
        f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 "
        "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
    )
    result = types.UniTuple(types.float32, 4)
    taken = (*[types.uint32] * 6, *[types.float32] * 4)

    @intrinsic
    def mma(typing, a0, a1, a2, a3, b0, b1, d0, d1, d2, d3):
        def emit(context, builder, signature, args):
            constraints = "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"
            return four(context, builder, result, F32, args, text, constraints)

        return result(*taken), emit

    return mma


mma_bfloat16 = multiply_add("m16n8k16", "bf16")
mma_float16 = multiply_add("m16n8k16", "f16")
mma_tf32 = multiply_add("m16n8k8", "tf32")


if SIMULATED:

    def bits_of(x):
        return np.float32(x).view(np.uint32)

    def float_of(bits):
        return np.uint32(bits).view(np.float32)

    def rounded_bfloat16(x):
        bits = int(bits_of(x))
        if np.isnan(x):
            return np.uint16(0x7FFF)
        return np.uint16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF)

    def rounded_tf32(x):
        bits = int(bits_of(x))
        return np.uint32(0x7FFFFFFF if np.isnan(x) else bits + 0x1000 & 0xFFFFE000)

    @njit
    def tanh_approx(x):
        return np.tanh(np.float32(x))

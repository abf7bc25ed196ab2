"""Instructions that Python has no word for: inline PTX, and what the simulator does in its place.

The simulator runs one thread at a time, so what the threads of a warp do together (mma, shuffles)
and what orders memory between blocks has no second form: kernels that need it are compiled and
linked in tests, and their layouts emulated in NumPy.

Addresses are pointers (`compiler.pointer`) and an index of elements. Source: PTX ISA 9.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ..compiler import SIMULATED

if SIMULATED:

    def intrinsic(typed: Any) -> Any:
        return typed
else:
    from numba.cuda.extending import intrinsic

F32, I32, I16 = ir.FloatType(), ir.IntType(32), ir.IntType(16)


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

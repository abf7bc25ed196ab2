"""The table of kernels: every one that C code may call, with its arguments.

aot.py compiles the rows of this table into objects and writes the C header of it; jit.py compiles
the same rows at run time. Both kinds of float, every instruction set.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from numba import cfunc, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu import CPUContext

from . import (
    factors,
    fields,
    matmul,
    norm,
    one_step,
    packing,
    peepholes,
    philox,
    pointwise,
    rnn,
    sequence,
    softmax,
    vecmath,  # noqa: F401  (registers exp and tanh of vectors)
)
from .bfloat16 import pair_lanes
from .int8 import quad_lanes
from .isa import BY_NAME, Isa
from .simd import lanes
from .struct import Struct

REALS = {"f32": types.float32, "f64": types.float64, "bf16": types.float32, "i8": types.float32}
FLOATS, PAIRS, NARROW = ("f32", "f64"), ("bf16",), ("bf16", "i8")
PRODUCTS = FLOATS + NARROW
SHARE = ("t_begin", "t_end", "row_begin", "row_end", "p_begin", "p_end")
RANGE = ("begin", "end", "worker")
OPTIONS = {"error_model": "numpy", "boundscheck": False}


class Row(NamedTuple):
    """A kernel: its struct, its int64 arguments after that, and what makes it for one Isa.

    `kinds` of numbers (REALS) it is made for. In the tables of NARROW kinds that of f32 stands for
    the rest.
    """

    struct: Struct
    arguments: tuple[str, ...]
    make: Any
    kinds: tuple[str, ...] = FLOATS

    def signature(self, real):
        return types.int32(self.struct.pointer(real), *[types.int64] * len(self.arguments))


TABLE = {
    "project": Row(fields.LAYER, SHARE, sequence.make_project),
    "one_step": Row(one_step.STEP, (), one_step.make_one_step),
    "steps": Row(fields.LAYER, SHARE, sequence.make_steps),
    "steps_backward": Row(fields.LAYER, SHARE, sequence.make_steps_backward),
    "input_gradient": Row(fields.LAYER, RANGE, sequence.make_input_gradient),
    "peephole_gradient": Row(fields.LAYER, RANGE, peepholes.make_peephole_gradient),
    "column_sums": Row(norm.SUMS, RANGE, norm.make_column_sums),
    "dropout": Row(philox.DROPOUT, RANGE, philox.make_dropout),
    "pack": Row(packing.PACK, RANGE, packing.make_pack, PRODUCTS),
    "product": Row(matmul.PRODUCT, RANGE, matmul.make_product, PRODUCTS),
    "outer": Row(matmul.OUTER, RANGE, matmul.make_outer, FLOATS + PAIRS),
    "multiply_gates": Row(factors.MULTIPLY, (), factors.make_multiply_gates, NARROW),
    "multiply_plain": Row(factors.MULTIPLY, (), factors.make_multiply_plain, PAIRS),
    "narrow": Row(factors.NARROW, RANGE, factors.make_narrow, NARROW),
    "softmax": Row(softmax.SOFTMAX, RANGE, softmax.make_softmax),
    "crossentropy": Row(softmax.SOFTMAX, RANGE, softmax.make_crossentropy),
    "scatter": Row(softmax.SCATTER, RANGE, softmax.make_scatter),
    "squares": Row(softmax.SQUARES, RANGE, softmax.make_squares),
    "adam": Row(pointwise.UPDATE, RANGE, pointwise.make_adam),
    "sgd": Row(pointwise.UPDATE, RANGE, pointwise.make_sgd),
    "rmsprop": Row(pointwise.UPDATE, RANGE, pointwise.make_rmsprop),
    "activation": Row(pointwise.ACTIVATION, RANGE, pointwise.make_activation),
    "activation_backward": Row(pointwise.ACTIVATION, RANGE, pointwise.make_activation_backward),
    "rnn_steps": Row(rnn.RNN, RANGE, rnn.make_rnn_steps),
    "rnn_steps_backward": Row(rnn.RNN, RANGE, rnn.make_rnn_steps_backward),
}


def finalized_alone(library, finalize=JITCodeLibrary.finalize):
    """Link a kernel with all it calls, and any other function with nothing, in place of Numba.

    Numba links into each function all that it calls, down to the last, and makes machine code of
    every such module: several times the work, and gigabytes. What Numba calls `cfunc.` is an entry.
    """
    if not any(function.name.startswith("cfunc.") for function in library._final_module.functions):
        library._finalized = True
        return
    found, waiting = {}, library._linking_libraries[::-1]
    while waiting:
        callee = waiting.pop()
        if callee not in found:
            found[callee] = None
            waiting += callee._linking_libraries[::-1]
    library._linking_libraries = list(found)
    finalize(library)


@contextmanager
def only_what_is_asked_for(kernel):
    """Keep Numba from making machine code of every inner function: most of the time and memory.

    Numba looks a callee up by the function that it would call from Python: any, if a new one. Its
    lock keeps other threads' compiling out meanwhile.
    """

    def create_cfunc_wrapper(context, library, described, *arguments):
        if described.qualname == kernel.__qualname__:
            before[CPUContext, "create_cfunc_wrapper"](context, library, described, *arguments)

    instead = {
        (CPUContext, "create_cfunc_wrapper"): create_cfunc_wrapper,
        (CPUContext, "create_cpython_wrapper"): lambda *arguments, **options: None,
        (CPUContext, "get_executable"): lambda *arguments: [].append,
        (JITCodeLibrary, "finalize"): finalized_alone,
    }
    with global_compiler_lock:
        before = {place: getattr(*place) for place in instead}
        try:
            for place, value in instead.items():
                setattr(*place, value)
            yield
        finally:
            for place, value in before.items():
                setattr(*place, value)


def kinds_of(name: str, isa: Isa) -> Iterator[str]:
    """The kinds of numbers that a kernel of one Isa is made for."""
    return (kind for kind in TABLE[name].kinds if kind in isa.kinds)


def owner_of(name: str, kind: str, isa: Isa) -> tuple[str, str] | None:
    """Whose kernel stands in an Isa's table of a kind: (kind, name of the Isa); None: nobody's."""
    row = TABLE[name]
    if kind not in row.kinds:
        return owner_of(name, "f32", isa) if kind in NARROW else None
    return (kind, isa.name) if kind in isa.kinds else owner_of(name, kind, BY_NAME[isa.base])


@lru_cache(None)
def compiled(name: str, real: str, isa: Isa):
    """One kernel, compiled: its `address` is that of machine code, `inspect_llvm()` its text."""
    row, number = TABLE[name], REALS[real]
    special = {"bf16": pair_lanes, "i8": quad_lanes}
    kernel = row.make(special[real](isa) if real in special else lanes(number, isa))
    with only_what_is_asked_for(kernel):
        return cfunc(row.signature(number), **OPTIONS)(kernel)

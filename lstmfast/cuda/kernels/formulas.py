"""What `lstmfast.kernels.activations` and `cell` call, for numbers in a kernel for the GPU.

The formulas stand there, once for all. Here is what they are built of: the counterparts of
`vecmath`'s overloads for scalars. To import this module is enough; a kernel then calls `activate`,
or a step of `make_cell`, on float32 or float64. exp, tanh and their like are CUDA's libdevice.

In the simulator the CPU's overloads serve: a step gives a Python float then, so what a kernel goes
on with is `real(...)` of it.
"""

from __future__ import annotations

from typing import Any

from ...kernels import activations
from ..runtime.compiler import SIMULATED

__all__: list[str] = []


def is_float(kind: Any) -> bool:
    """Is this type of an argument float32 or float64? (Numba and numba-cuda have their own.)"""
    return str(kind) in ("float32", "float64")


# (No annotations: Numba holds the signatures against those of the functions returned.)


def like(x, value):
    return (lambda x, value: type(x)(value)) if is_float(x) else None


def quotient(x, y):
    return (lambda x, y: x / y) if is_float(x) else None


def where_positive(condition, x, y):
    return (lambda condition, x, y: x if condition > 0 else y) if is_float(condition) else None


def at_least(x, low):
    return (lambda x, low: low if low > x else x) if is_float(x) else None


def at_most(x, high):
    return (lambda x, high: high if high < x else x) if is_float(x) else None


if SIMULATED:
    from ...kernels import vecmath  # noqa: F401  # it registers the CPU's
else:
    from numba.cuda.extending import overload

    for typed in (like, quotient, where_positive, at_least, at_most):
        overload(getattr(activations, typed.__name__))(typed)

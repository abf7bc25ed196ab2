"""The least that a job must take on a GPU, by ceilings measured in the same run.

The largest of

    operations / rate of cuBLAS's large product in the same precision
    bytes that must be read or written once / bandwidth of a copy within the GPU's memory
    steps that wait for the one before / one exchange between all blocks

Operations and bytes are those of `benches.floors` (training: forward and backward), but for the
numbers' size; gates are not counted, nor is what is kept between the two passes. The third term is
that of a layer whose work is spread over the whole GPU: where one block, or a few, have all units
of some rows, a step can be faster.
"""

from __future__ import annotations

from typing import Any

from benches.floors import FLOAT, once_bytes, operations, steps_with_state
from benches.shapes import Shape

__all__ = ["ITEMSIZE", "ceilings_of", "floor"]

ITEMSIZE = {"float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2}  # of arrays, as measured
TERMS = ("operations", "bytes", "exchange")


def ceilings_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The ceilings that were measured, by name."""
    return {row["ceiling"]["name"]: row["ceiling"] for row in rows if "ceiling" in row}


def floor(kind: str, shape: Shape, precision: str, ceilings: Any) -> dict[str, Any] | None:
    """Each term in seconds, `seconds` the largest and `bound` its name; None: nothing measured.

    `kind` is "forward" or "training".
    """
    terms = {}
    if precision in ceilings:
        terms["operations"] = operations(kind, shape) / ceilings[precision]["operations/s"]
    if "copy" in ceilings:
        size = once_bytes(kind, shape) / FLOAT * ITEMSIZE[precision]
        terms["bytes"] = size / ceilings["copy"]["bytes/s"]
    if "exchange" in ceilings:
        passes = 2 if kind == "training" else 1
        waits = steps_with_state(kind, shape) * passes
        terms["exchange"] = waits * ceilings["exchange"]["seconds"]
    if not terms:
        return None
    bound = max(terms, key=terms.__getitem__)
    missing = [name for name in TERMS if name not in terms]
    return {**terms, "seconds": terms[bound], "bound": bound, "missing": missing}

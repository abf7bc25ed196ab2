"""What is known of the kernels where no GPU is at hand: the machine code that they become.

Every kernel is compiled for two GPUs and linked, and what one thread and block take is told:
registers (at most 255, and 65536 for a block), bytes of stack (spills, or an array that found no
registers), static shared memory, and the instructions of its PTX that it is written for.
"""

from __future__ import annotations

import importlib.util
import itertools
import pkgutil
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benches.cuda import measure
from benches.report import table

GPUS = ((8, 0), (9, 0))
PLANNED_FOR = 132, 227 << 10  # multiprocessors, bytes of shared memory of a block: an H100
ROWS = (1, 64)  # of the batch
TOLD = {  # instructions worth counting
    "mma": r"\bmma\.sync", "tanh.approx": r"\btanh\.approx", "acquire": r"\bld\.acquire",
    "release": r"\b(?:red|st|atom)\.release", "f64": r"\.f64\b",
}  # fmt: skip
HEAD = """
# Machine code of the GPU kernels

{date}, commit {commit}, by `python -m benches.cuda --code`.
"""


def markdown(commit: str) -> str:
    parts = [HEAD.format(date=time.strftime("%F"), commit=commit)]
    parts += [" ".join(str(__doc__).split("\n\n")[1].split()), codes()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def codes() -> str:
    """The table of every kernel; those of one name that came out alike are one line."""
    lines = Counter(line(kernel) for kernel in dict.fromkeys(every_kernel()))
    gpus = [f"sm_{major}{minor}" for major, minor in GPUS]
    head = ["kernel", "threads", *(f"{gpu} registers, stack, shared" for gpu in gpus),
            "instructions", "forms"]  # fmt: skip
    return table(head, ([*cells, number] for cells, number in lines.items()))


def line(kernel: Any) -> tuple[Any, ...]:
    from lstmfast.cuda.runtime.compiler import link

    resources, ptx = [], ""
    for cc in GPUS:
        ptx = kernel.ptx(cc)
        code = link(ptx, cc)
        resources.append(f"{code.registers}, {code.stack}, {code.shared}")
    return kernel.name, kernel.threads, *resources, instructions(ptx)


def instructions(ptx: str) -> str:
    """How often each of TOLD stands in a text of PTX."""
    counts = {name: len(re.findall(pattern, ptx)) for name, pattern in TOLD.items()}
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def every_kernel() -> list[Any]:
    """The kernels that modules list (`every`), those of cells and the persistent ones."""
    from lstmfast import cuda

    found = [*of_persistent(), *of_cells()]
    for module in pkgutil.walk_packages(cuda.__path__, f"{cuda.__name__}."):
        source = Path(str(importlib.util.find_spec(module.name).origin))
        if "\ndef every(" in source.read_text(encoding="utf-8"):
            found += importlib.import_module(module.name).every()
    return found


def of_persistent() -> Any:
    """What a GPU like PLANNED_FOR runs at the sizes that are measured; one form for each share."""
    try:
        from lstmfast.cuda.kernels.persistent.backward import make_backward
        from lstmfast.cuda.kernels.persistent.forward import make_forward
        from lstmfast.cuda.lstm.persistent import plan
    except ImportError:
        return  # there are none
    sizes = dict.fromkeys((shape.H, B) for shape in measure.SHAPES for B in ROWS)
    for precision, (H, B) in itertools.product(measure.PRECISIONS, sorted(sizes)):
        forward, backward = (plan(direction, precision, B, H, *PLANNED_FOR)
                             for direction in ("forward", "backward"))  # fmt: skip
        if forward:
            yield make_forward(forward.share, True, "float32")
        if backward:
            yield make_backward(backward.share)


def of_cells() -> Any:
    """Path one's kernels of cells: the plain cell in each precision, then what can be varied."""
    from lstmfast.cuda.kernels import cells, cells_backward, copying
    from lstmfast.cuda.kernels.cell_kind import CellKind, formula_of

    kinds = [CellKind(array, operand) for array, operand in (
        ("float32", "float32"), ("float32", "bfloat16"), ("float32", "float16"),
        ("bfloat16", "bfloat16"), ("float16", "float16"), ("float64", "float64"))]  # fmt: skip
    plain = kinds[0]
    kinds += [plain._replace(formula=formula_of({}, True)), plain._replace(projected=True),
              plain._replace(counted=True), plain._replace(masked=True, drawing=True),
              plain._replace(zoneout_h=0.1, zoneout_c=0.1, drawing=True)]  # fmt: skip
    for kind in kinds:
        yield cells.make_cells(kind)
        yield cells_backward.make_cells_backward(kind, True, False)
        if kind.projected:
            yield cells.make_settle_kernel(kind)
            yield cells_backward.make_unsettle_kernel(kind, True)
    for kind in kinds[:6]:
        yield cells.make_cells_copy(kind)
        yield copying.make_copy(kind.array, kind.operand)

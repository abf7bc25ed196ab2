"""Does an inner loop keep its vectors in registers? Reads the assembly that LLVM emitted.

An inner loop is a run of lines from a label to a jump back to that label, with no other label's
loop inside it, and without calls. A loop of products may not move a vector register to or from the
stack. The plain cell's loop, which divides and runs once where those run hundreds of times, is held
to the same on v4; elsewhere it keeps some constants of its polynomials on the stack.
"""

import re
from collections.abc import Iterator

FUNCTION = re.compile(r"^[A-Za-z_][\w.$]*:")
# One vector of a cell with options, random words, and passes over a row of cells: no loops of
# products, though they jump (their products are in strips).
LEFT_OUT = ("varied_unit", "random_words", "whole_rows_forward", "whole_rows_backward")
LABEL = re.compile(r"^(\.?L\w+):")
QUOTIENT = re.compile(r"^\s+v?f?div(?:p[sd])?\b")
# LLVM leaves out frame pointers here: the stack is %rsp (sp) alone.
CALL = re.compile(r"^\s+(?:callq?|bl)\s")
JUMP = re.compile(r"^\s+(?:j\w+|b\.\w+|b|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#\d+,)\s+(\.?L\w+)")
PRODUCT = re.compile(
    r"^\s+(?:vfn?m(?:add|sub)\w*p[sd]|vdpbf16ps|vpdpbusd|v?pmaddwd|mulp[sd]|fmla|mla)\b"
)
STACK_X86 = re.compile(r"^\s+(?!\w+s[sd]\b|v?mov[dq]\b|v?mov[lh]p[sd]\b)(?=.*%[xyz]mm).*\(%rsp")
STACK_ARM = re.compile(r"^\s+(?:ldr|str|ldp|stp)\s+q\d+.*\[sp")


def inner_loops(assembly: str) -> Iterator[tuple[str, list[str]]]:
    """(label, lines) of each innermost loop, those of LEFT_OUT aside."""
    lines = assembly.splitlines()
    labels: dict[str, int] = {}
    last_loop, left_out = -1, False
    for number, line in enumerate(lines):
        if FUNCTION.match(line):
            left_out = any(name in line for name in LEFT_OUT)
        if left_out:
            continue
        if found := LABEL.match(line):
            labels[found[1]] = number
        elif found := JUMP.match(line):
            start = labels.get(found[1], -1)
            if start > last_loop:
                last_loop = number
                yield found[1], lines[start : number + 1]


def vector_spills(assembly: str, cells: bool = False) -> list[str]:
    """The offending lines, each behind the label of its loop; empty if all is well.

    With `cells`, loops that divide count too.

    Raises
    ------
    ValueError
        The text holds no inner loop with vector products: not the assembly of the kernels.
    """
    loops = [(label, lines) for label, lines in inner_loops(assembly) if is_product(lines, cells)]
    if not loops:
        raise ValueError("assembly: expected inner loops with vector products, found none")
    return [
        f"{label}: {line.strip()}"
        for label, lines in loops
        for line in lines
        if STACK_X86.match(line) or STACK_ARM.match(line)
    ]


def is_product(lines: list[str], cells: bool = False) -> bool:
    """A loop that multiplies vectors without calls; that divides only if `cells` are asked for."""
    if any(map(CALL.match, lines)):
        return False
    return any(map(PRODUCT.match, lines)) and (cells or not any(map(QUOTIENT.match, lines)))

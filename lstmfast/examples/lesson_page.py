"""The page of `lesson`: equations beside the lines of the code, and tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import lstmfast

__all__ = ["lines_of_cell", "table", "table_of_cell", "with_tables"]

# The article's equations, and where `kernels/cell.py` has them: the function, and its words.
EQUATIONS = (
    ("i = σ(z_i)", "cell_forward", "i = gate(v, z_i)"),
    ("f = σ(z_f)", "cell_forward", "else gate(v, z_f)"),
    ("g = tanh(z_g)", "cell_forward", "g = candidate(v, z_g)"),
    ("c = f c_prev + i g", "next_cell", "c = f * c_prev + i * g"),
    ("o = σ(z_o)", "cell_forward", "return i, f, g, gate(v, z_o), c"),
    ("h = o tanh(c)", "cell_output", "return o * squashed(v, c)"),
    ("dz_o = dh tanh(c) σ'(z_o)", "cell_output_backward", "dh * s * gate_slope(v, o)"),
    ("dc += dh o tanh'(c)", "cell_output_backward", "dh * o * squashed_slope(v, s)"),
    ("dz_i = dc g σ'(z_i)", "cell_backward", "dz_i = dc * g * gate_slope(v, i)"),
    ("dz_f = dc c_prev σ'(z_f)", "cell_backward", "dz_f = dc * c_prev * gate_slope(v, f)"),
    ("dz_g = dc i tanh'(z_g)", "cell_backward", "dz_g = dc * i * candidate_slope(v, g)"),
    ("dc_prev = dc f", "cell_backward", "dc_prev = dc * f"),
)


def lines_of_cell() -> list[tuple[str, str, str]]:
    """Return each equation, the function of `kernels/cell.py` and its line.

    Raises
    ------
    ValueError
        When a function has no such line, or several.
    """
    path = Path(lstmfast.__file__).parent / "kernels" / "cell.py"
    text = path.read_text(encoding="utf-8")
    found = []
    for equation, function, words in EQUATIONS:
        body = re.search(
            rf"^    def {function}\(.*?(?=^    (?:def|@|return)|\Z)", text, re.M | re.S
        )
        lines = [line.strip() for line in body[0].splitlines() if words in line] if body else []
        if len(lines) != 1:
            raise ValueError(f"{function}: expected one line with {words!r}, got {lines}")
        found.append((equation, function, lines[0]))
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def table_of_cell() -> str:
    """Return the equations beside the lines of `kernels/cell.py`."""
    rows = [
        [equation, f"`{line}`", f"`{function}`"] for equation, function, line in lines_of_cell()
    ]
    return table(["equation", "in `kernels/cell.py`", "in the function"], rows)


def with_tables(page: str, found: dict[str, str]) -> str:
    """Return a page with the tables between its marks, `<!-- name -->` and `<!-- end -->`."""
    for name, text in found.items():
        mark = f"<!-- {name} -->\n"
        if page.count(mark) != 1:
            raise ValueError(f"page: expected the mark {mark.strip()} once")
        before, after = page.split(mark)
        page = f"{before}{mark}{text}\n<!-- end -->{after.split('<!-- end -->', 1)[1]}"
    return page

"""The real projects of tests/clients, each in its own sizes: a section of benches.programs' file.

Each project has a process of its own in the environments of tests/clients/run.py, where
tests/clients/timed.py runs it plain and accelerated by turns, at each number of threads.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from benches.origin import ROOT, origin

sys.path.append(str(ROOT / "tests" / "clients"))
from environments import FOLDER, PROJECTS, Environment, prepared, project, run, versions

__all__ = ["FOLDER", "HEADING", "PROJECTS", "section"]

HEADING = "## Real projects"
HEAD = """\
| project | version | what | `torch.nn`, ms per step | accelerated, ms | times | quartiles | pairs \
| evaluation, times |
|---|---|---|---|---|---|---|---|---|"""


def section(folder: Path, names: list[str], threads: list[int], seconds: float) -> list[str]:
    """Measure the projects named, or all; return the lines of their section, and print them."""
    environment = prepared(folder.absolute(), names or list(PROJECTS))
    rows = {}
    for name in names or PROJECTS:
        rows[name] = measured(environment, name, threads, seconds)
        times = " ".join(f"{of['times']:.2f}" for of in rows[name]["figures"])
        print(f"{name}: {times}", *rows[name]["faults"], flush=True)
    lines = [HEADING, "", preface(environment), ""]
    for k, count in enumerate(threads):
        lines += table(count, {name: row["figures"][k] for name, row in rows.items()
                               if k < len(row["figures"])}, rows)  # fmt: skip
    for name, row in rows.items():
        if row["faults"]:
            lines += [f"{name} failed: {'; '.join(row['faults'])}", ""]
    print("\n".join(lines), flush=True)
    return lines


def measured(environment: Environment, name: str, threads: list[int], seconds: float) -> Any:
    row = run(environment, "timed.py", name, "--seconds", seconds, "--threads", *threads)
    return {"usual": "", "figures": []} | row


def preface(environment: Environment) -> str:
    torch, ours, _ = versions(environment)
    return (
        f"{origin()}; lstmfast {ours}, torch {torch}. Each project's model in its own sizes, and "
        "where it has one its own training loop (`tests/clients/`), plain and accelerated by turns "
        "in one process: medians of steps, of runs and of pairs of runs. Where a project spends "
        "its time elsewhere, there is nothing to gain."
    )


def table(threads: int, figures: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    if not figures:
        return []
    lines = [f"### PyTorch's threads: {threads}", "", HEAD]
    lines += [line(name, of, rows[name]["usual"]) for name, of in figures.items()]
    ratios = [of["times"] for of in figures.values()]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return [*lines, "", f"Geometric mean {mean:.2f}, the least {min(ratios):.2f}.", ""]


def line(name: str, of: dict[str, Any], usual: str) -> str:
    theirs, ours = (f"{ms:.2f}" for ms in of["steps"])
    spread = "{:.2f}–{:.2f}".format(*of["spread"])
    times, others = f"{of['times']:.2f}", f"{of['evaluation_times']:.2f}"
    cells = [*project(name), usual, theirs, ours, times, spread, str(of["pairs"]), others]
    return "| " + " | ".join(cells) + " |"

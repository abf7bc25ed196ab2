"""Run the clients, each in an environment that has its project, and print a table.

    python tests/clients/run.py [NAME ...] [--folder FOLDER] [--out FILE]

environments.py makes the environments below FOLDER, and keeps them. A client that fails, or that
was not taken by lstmfast's kernels at all, is a fault.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from environments import CHECKOUT, FOLDER, PROJECTS, Environment, prepared, project, run, versions

HEAD = """\
| project | version | what | steps | losses apart | outputs apart | calls by lstmfast | by PyTorch \
| ms per step: PyTorch, lstmfast | result |
|---|---|---|---|---|---|---|---|---|---|"""


def line(name: str, row: dict[str, Any]) -> str:
    faults = "; ".join(row["faults"]).replace("|", "/").replace("\n", " ")
    if "losses_apart" not in row:
        return "| " + " | ".join([*project(name), "", "", "", "", "", "", "", faults]) + " |"
    apart = f"{row['losses_apart']:.1e}"
    if row["float64"]:
        apart += " (from float64: PyTorch {:.1e}, lstmfast {:.1e})".format(*row["float64"])
    theirs = str(row["fallen_back"])
    if row["reasons"]:
        theirs += " (" + "; ".join(f"{key}: {why}" for key, why in row["reasons"].items()) + ")"
    times = "{:.1f}, {:.1f}".format(*row["milliseconds"])
    cells = [*project(name), row["what"], str(row["steps"]), apart, f"{row['outputs_apart']:.1e}",
             str(row["ours"]), theirs, times, faults or "same"]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def preface(environment: Environment) -> str:
    torch, ours, numpy = versions(environment)
    git = ["git", "-C", str(CHECKOUT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return f"""\
# Projects that use torch.nn.LSTM

{datetime.now(UTC):%F}, commit {commit or "unknown"}, by `python tests/clients/run.py`: \
lstmfast {ours}, torch {torch}, NumPy {numpy}, Python {platform.python_version()}, one thread.

Each project's own model and, where it has one, its own training loop, from the same seeds on
`torch.nn.LSTM` and after `lstmfast.torch.accelerate(model)`, by turns in one process. Losses are
compared step by step, each relative to PyTorch's; outputs of the trained model, in evaluation,
relative to the largest number among them. Times are medians on a machine that had other work: they
inform, no more.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROJECTS))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, help="write the table here, too")
    options = parser.parse_args()
    names = options.names or list(PROJECTS)
    if unknown := set(names) - set(PROJECTS):
        parser.error(f"NAME: expected some of {', '.join(PROJECTS)}, got {', '.join(unknown)}")
    environment = prepared(options.folder.absolute(), names)
    lines, faults = [preface(environment), HEAD], 0
    print("\n".join(lines), flush=True)
    for name in names:
        row = run(environment, "harness.py", name, OMP_NUM_THREADS="1")
        faults += bool(row["faults"])
        lines.append(line(name, row))
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    print(f"clients | {len(names)} projects, PyTorch's LSTM and lstmfast's | faults: {faults}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

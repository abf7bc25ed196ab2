"""Run the clients, each in an environment that has its project, and print a table.

    python tests/clients/run.py [NAME ...] [--folder FOLDER] [--out FILE]

Two environments are made below FOLDER, once, and kept for the next run: one has PyTorch and
lstmfast; the other sees it, too, and gets every project that is asked for, in the versions of
constraints.txt. lstmfast is this checkout's: as it is compiled in place, or else installed from it
(LSTMFAST_OBJECTS=folder keeps its kernels). A client that fails, or that was not taken by
lstmfast's kernels at all, is a fault.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
COMMON = "torch==2.13.0 numpy>=2 safetensors tqdm"  # torch: the CPU build, where it can be had
LIMIT = 900  # seconds for a client

# with_NAME.py: what is installed for it, the project itself first. After `|`, without what it asks
# for: openunmix's model needs nothing else, and resemblyzer wants `typing`, which breaks Python's.
PROJECTS = {
    "captum": "captum==0.9.0",
    "darts": "darts==0.48.1 pytorch-lightning==2.6.6",
    "flair": "flair==0.15.1",
    "gluonts": "gluonts[torch]==0.17.0",
    "neuralforecast": "neuralforecast==3.3.0",
    "neuralhydrology": "neuralhydrology==1.13.0",
    "openunmix": "torchaudio==2.11.0 | openunmix==1.3.0",
    "pfrl": "pfrl==0.4.0 gymnasium==1.4.0",
    "pyod": "pyod==3.6.7",
    "pytorch_forecasting": "pytorch-forecasting==1.8.0",
    "resemblyzer": "librosa==0.11.0 webrtcvad-wheels==2.0.14.post1 | resemblyzer==0.1.4",
    "sb3_contrib": "sb3-contrib==2.9.2",
    "skorch": "skorch==1.4.0",
    "speechbrain": "speechbrain==1.1.2 torchaudio==2.11.0",
    "tianshou": "tianshou==2.0.1",
    "torchcrf": "pytorch-crf==0.7.2",
    "torchrl": "torchrl==0.14.1",
    "transformers": "transformers==4.57.6",
}


def project(name: str) -> tuple[str, str]:
    """Return a project's name at the package index and its version."""
    requirement = PROJECTS[name].rpartition("| ")[2].split()[0]
    distribution, _, version = requirement.partition("==")
    return distribution.partition("[")[0], version


# ---------------------------------------------------------------- environments


class Environment:
    """A folder with a Python of its own."""

    def __init__(self, folder: Path):
        self.folder, self.python = folder, folder / "bin" / "python"
        if not self.python.exists():
            venv.create(folder, with_pip=True, symlinks=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = folder / "lib" / version / "site-packages"

    def install(self, *arguments: str) -> None:
        command = [str(self.python), "-m", "pip", "install", "-qq"]
        given = ["-c", str(HERE / "constraints.txt"), *arguments]
        subprocess.run(command + given, check=True, stdout=sys.stderr)

    def sees(self, other: Environment) -> None:
        (self.packages / "common.pth").write_text(f"{other.packages}\n")


def prepared(folder: Path, names: list[str]) -> Environment:
    """Return the environment that has these projects, PyTorch and lstmfast."""
    common = Environment(folder / "common")
    common.install(*COMMON.split())
    if not compiled_in_place():
        common.install("--no-deps", str(CHECKOUT))
    environment = Environment(folder / "projects")
    environment.sees(common)
    needed = [PROJECTS[name].split(" | ") for name in names]
    environment.install(*sorted({one for given, *_ in needed for one in given.split()}))
    for bare in (one for _, *rest in needed for one in rest):
        environment.install("--no-deps", bare)
    # torchaudio's extension asks for CUDA's libraries, and is not missed.
    for library in (environment.packages / "torchaudio" / "lib").glob("*.so"):
        library.unlink()
    return environment


def compiled_in_place() -> bool:
    return any((CHECKOUT / "lstmfast").glob("capi*.so"))


# ---------------------------------------------------------------- runs


def run(environment: Environment, name: str, scratch: Path) -> dict[str, Any]:
    """Run a client in a fresh process that finds no user's files and no hub; return its row."""
    home = {key: str(scratch) for key in ("HOME", "FLAIR_CACHE_ROOT", "MPLCONFIGDIR", "TMPDIR")}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LSTMFAST_")}
    path = {"PYTHONPATH": str(CHECKOUT)} if compiled_in_place() else {}
    command = [str(environment.python), "-W", "ignore", str(HERE / "harness.py"), name]
    try:
        done = subprocess.run(
            command, cwd=scratch, env=inherited | home | offline | path, capture_output=True,
            text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"faults": [f"no end within {LIMIT} s"]}
    rows = [line for line in done.stdout.splitlines() if line.startswith("ROW ")]
    if not rows or done.returncode not in (0, 1):
        print(done.stderr[-3000:], file=sys.stderr)
        return {"faults": [f"ended with status {done.returncode}"]}
    row: dict[str, Any] = json.loads(rows[0].removeprefix("ROW "))
    if row["faults"]:
        print(done.stderr[-3000:], file=sys.stderr)
    return row


# ---------------------------------------------------------------- the table

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
    text = (
        "import torch, lstmfast, numpy; print(*(m.__version__ for m in (torch, lstmfast, numpy)))"
    )
    asked = subprocess.run(
        [environment.python, "-c", text], capture_output=True, text=True, check=True,
        env=os.environ | ({"PYTHONPATH": str(CHECKOUT)} if compiled_in_place() else {}),
    )  # fmt: skip
    torch, ours, numpy = asked.stdout.split()
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
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir(), "lstmfast-clients")
    )
    parser.add_argument("--out", type=Path, help="write the table here, too")
    options = parser.parse_args()
    names = options.names or list(PROJECTS)
    if unknown := set(names) - set(PROJECTS):
        parser.error(f"NAME: expected some of {', '.join(PROJECTS)}, got {', '.join(unknown)}")
    environment = prepared(options.folder.absolute(), names)
    lines, faults = [preface(environment), HEAD], 0
    print("\n".join(lines), flush=True)
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            row = run(environment, name, Path(scratch))
        faults += bool(row["faults"])
        lines.append(line(name, row))
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    print(f"clients | {len(names)} projects, PyTorch's LSTM and lstmfast's | faults: {faults}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

"""The projects, the environments that have them, and processes in these.

Two environments are made below a folder, once, and kept for the next run: one has PyTorch and
lstmfast; the other sees it, too, and gets every project that is asked for, in the versions of
constraints.txt. lstmfast is this checkout's: as it is compiled in place, or else installed from it
(LSTMFAST_OBJECTS=folder keeps its kernels).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "PROJECTS", "Environment", "prepared", "project", "run", "versions"]

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
FOLDER = Path(tempfile.gettempdir(), "lstmfast-clients")  # unless another is named
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


# ---------------------------------------------------------------- processes


def run(environment: Environment, script: str, *arguments: Any, **variables: str) -> dict[str, Any]:
    """Run a script of this folder in a fresh process; return the row that it prints.

    The process finds no user's files, no hub, and of the settings of threads only `variables`.
    """
    command = [str(environment.python), "-W", "ignore", str(HERE / script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            done = subprocess.run(
                command, cwd=scratch, env=surroundings(scratch) | variables, capture_output=True,
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


def surroundings(scratch: str) -> dict[str, str]:
    """Return the variables of a client's process."""
    home = dict.fromkeys(("HOME", "FLAIR_CACHE_ROOT", "MPLCONFIGDIR", "TMPDIR"), scratch)
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("LSTMFAST_", "OMP_", "MKL_"))
    }
    return inherited | home | offline | from_checkout()


def from_checkout() -> dict[str, str]:
    return {"PYTHONPATH": str(CHECKOUT)} if compiled_in_place() else {}


def versions(environment: Environment) -> tuple[str, str, str]:
    """Return the versions of torch, lstmfast and NumPy in an environment."""
    text = (
        "import torch, lstmfast, numpy; print(*(m.__version__ for m in (torch, lstmfast, numpy)))"
    )
    asked = subprocess.run(
        [environment.python, "-c", text], capture_output=True, text=True, check=True,
        env=os.environ | from_checkout(),
    )  # fmt: skip
    torch, ours, numpy = asked.stdout.split()
    return torch, ours, numpy

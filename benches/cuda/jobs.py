"""What a run consists of: jobs of cases, each job in a process of its own.

An error that poisons a process of CUDA, or a kernel that never ends, then costs one case; the rest
goes on in a new process. Nothing here touches a GPU, so that every list can be printed anywhere.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

__all__ = ["SECTIONS", "Case", "Job", "all_jobs"]

SECTIONS = ("machine", "validate", "stress", "measure")
MODULES = (
    "machine", "validate", "pointwise", "training", "numeric", "stress", "article", "measure",
)  # fmt: skip

Case = dict[str, Any]


class Job(NamedTuple):
    """Cases for one process, the most important first.

    Attributes
    ----------
    section : one of SECTIONS
    module : of this package; `run(case, seed)` does a case and returns its row. Where the job is
        `alone`, `prepare(case, seed)` returns what does it.
    patience : seconds that one case may take before its process is ended
    alone : after it is prepared, a case waits until nothing else uses the GPU
    turn : of the jobs that run alone, those of turn 0 come first
    prefix : of the command, e.g. a tool that watches the process
    """

    name: str
    section: str
    module: str
    cases: tuple[Case, ...]
    patience: float = 60.0
    alone: bool = False
    turn: int = 0
    prefix: tuple[str, ...] = ()


def module_of(job: Job) -> Any:
    return importlib.import_module(f"benches.cuda.{job.module}")


def all_jobs(quick: bool = False, only: str | None = None) -> list[Job]:
    """Return all jobs, those first that tell most; `quick`: the smallest cases alone."""
    found = []
    for name in MODULES:
        found += importlib.import_module(f"benches.cuda.{name}").jobs(quick)
    return [job for job in found if only in (None, job.section) and job.cases]


def label(case: Case) -> str:
    """A case in one line."""
    return ", ".join(f"{name} {text(value)}" for name, value in case.items())


def text(value: Any) -> str:
    return "·".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)

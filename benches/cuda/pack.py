"""The kernels that a run needs, compiled here into one file, for a machine that compiles nothing.

Which kernels a case launches follows from its shape and options, and from the GPU's size. So each
case is rehearsed without a GPU: its arrays lie in the host's memory, its products are left out, and
a launch does nothing but note which kernel it was. What was noted is compiled and linked for GPU.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from benches.cuda.jobs import Case, Job, module_of

__all__ = ["pack"]

GPU = (9, 0)  # its compute capability
MULTIPROCESSORS, SHARED = 132, 227 << 10  # and what persistent kernels are cut for: an H100 or H200

Kernels = dict[str, Any]  # by their recipes


def pack(path: Path, jobs: list[Job]) -> str:
    """Write the kernels of all cases; return a line that tells what was written."""
    from lstmfast.cuda.runtime import shipped

    kernels = list(rehearsed(jobs).values())
    codes = compiled(kernels)
    made = [(kernel.recipe, GPU, code) for kernel, code in zip(kernels, codes, strict=True)]
    shipped.write(path, made)
    return f"wrote {path}: {len(made)} kernels, {path.stat().st_size / 2**20:.1f} MiB"


def rehearsed(jobs: list[Job]) -> Kernels:
    """Every kernel that some case launches."""
    found: Kernels = {}
    with no_gpu(found):
        for job in jobs:
            module = module_of(job)
            for case in job.cases:
                rehearse(module, case)
    return found


def rehearse(module: Any, case: Case) -> None:
    """Do what a case does on the GPU; that its results are of no worth may end it early."""
    work = getattr(module, "rehearse", None) or getattr(module, "prepare", None) or module.run
    with suppress(Exception):
        work(case, 0)


@contextmanager
def no_gpu(found: Kernels) -> Iterator[None]:
    """Arrays on the host, no products, launches noted; as large a GPU as kernels are cut for."""
    from lstmfast.cuda.lstm import paths
    from lstmfast.cuda.runtime import device, products
    from lstmfast.cuda.runtime.kernel import Kernel

    def noted(kernel: Any, *given: Any, **how: Any) -> None:
        if not kernel.recipe:
            raise AssertionError(f"{kernel.name}: expected one of a kernel_maker")
        found[kernel.recipe] = kernel

    def in_paths(name: str, value: Any) -> Any:
        return mock.patch.object(paths.device, name, lambda *given: value)

    with (
        mock.patch.object(device, "simulated", lambda: True),
        mock.patch.object(paths, "device", SimpleNamespace(**vars(device))),
        in_paths("simulated", False),
        in_paths("supports_cooperative", True),
        in_paths("sm_count", MULTIPROCESSORS),
        in_paths("shared_limit", SHARED),
        in_paths("capability", GPU),
        in_paths("current", None),
        mock.patch.object(products, "_multiply", lambda *given: None),
        mock.patch.object(np.linalg, "qr", lambda matrix: (matrix, matrix)),  # slow
        mock.patch.object(Kernel, "launch", noted),
    ):
        device.explain.cache_clear()
        yield
    device.explain.cache_clear()


_KERNELS: list[Any] = []  # for the processes that are forked, as kernels cannot be sent


def compiled(kernels: list[Any]) -> list[Any]:
    """The machine code of each, compiled on all processors."""
    _KERNELS[:] = kernels
    forks = multiprocessing.get_context("fork")
    with forks.Pool(os.cpu_count()) as pool:
        return pool.map(_code, range(len(kernels)), chunksize=4)


def _code(index: int) -> Any:
    return _KERNELS[index].code(GPU)

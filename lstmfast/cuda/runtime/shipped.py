"""Kernels compiled elsewhere, in one file that LSTMFAST_CUDA_KERNELS names.

A machine that has the file needs no compiler for the kernels in it: neither numba, numba-cuda, NVVM
nor nvJitLink. A kernel is found by its recipe (`kernel.kernel_maker`) and the GPU's compute
capability. The file belongs to the sources that it was made of; with others it is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Code", "code", "sources", "write"]

PACKAGE = Path(__file__).parents[2]
SOURCES = ("cuda/runtime/compiler.py", "cuda/kernels/**/*.py", "kernels/*.py")
INDEX = "index.json"


class Code(NamedTuple):
    """Machine code of one kernel and what it takes, for each thread or block.

    Attributes
    ----------
    cubin : bytes
    name : str
        Of the kernel in it.
    registers, stack, shared : int
        32-bit registers of a thread, bytes of its stack (spills among them), bytes of static shared
        memory of a block.
    """

    cubin: bytes
    name: str
    registers: int
    stack: int
    shared: int


def file() -> Path | None:
    """Return the file that is in use, None if there is none."""
    given = os.environ.get("LSTMFAST_CUDA_KERNELS")
    return Path(given) if given else None


def code(recipe: str, cc: tuple[int, int]) -> Code | None:
    """Return the machine code of the kernel that is made so; None if the file has none, or is none.

    Raises
    ------
    ValueError
        The file was made of other sources than these.
    OSError, zipfile.BadZipFile
        It cannot be read.
    """
    path = file()
    if path is None or not recipe:
        return None
    archive, index = _opened(path)
    name = entry(recipe, cc)
    told = index.get(name)
    return None if told is None else Code(archive.read(name), *told)


def write(path: Path, found: Iterable[tuple[str, tuple[int, int], Code]]) -> None:
    """Write a file of kernels: recipe, compute capability and code of each."""
    index: dict[str, Any] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for recipe, cc, made in found:
            name = entry(recipe, cc)
            if name not in index:
                archive.writestr(name, made.cubin)
                index[name] = made[1:]
        archive.writestr(INDEX, json.dumps({"sources": sources(), "kernels": index}))


def entry(recipe: str, cc: tuple[int, int]) -> str:
    """Return a kernel's name in the file."""
    return f"{hashlib.sha256(recipe.encode()).hexdigest()[:32]}.sm_{cc[0]}{cc[1]}"


@lru_cache(1)
def _opened(path: Path) -> tuple[zipfile.ZipFile, dict[str, Any]]:
    archive = zipfile.ZipFile(path)
    index = json.loads(archive.read(INDEX))
    if index["sources"] != sources():
        raise ValueError(
            f"LSTMFAST_CUDA_KERNELS: expected kernels of these sources, got others in {path}"
        )
    return archive, index["kernels"]


@lru_cache(None)
def sources() -> str:
    """Return a hash of the sources that kernels are made of."""
    found = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            found.update(str(path.relative_to(PACKAGE)).encode() + b"\n" + path.read_bytes())
    return found.hexdigest()

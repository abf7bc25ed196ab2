"""Compiled kernels on disk: they take 0.1 to 2 s each, and programs are started often.

A file for each kernel, in LSTMFAST_CACHE or the user's folder of caches; LSTMFAST_CACHE="" turns
it off. Its name is a hash of all that the machine code depends on, so nothing ever gets stale; what
cannot be read or written is compiled as if there were no file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .shipped import Code, sources

__all__ = ["code", "key"]

COMPILERS = (
    "numba", "numba-cuda", "llvmlite", "cuda-bindings",
    "nvidia-nvvm", "nvidia-nvjitlink", "nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink-cu12",
)  # fmt: skip


def code(kernel: Any, cc: tuple[int, int], compiled: Callable[[], Code]) -> Code:
    """Return the machine code of a kernel from its file, or `compiled()`, which makes the file."""
    place = folder()
    name = None if place is None else key(kernel, cc)
    if place is None or name is None:
        return compiled()
    path = place / f"{name}.cubin"
    found = _read(path)
    if found is None:
        found = compiled()
        _write(path, found)
    return found


def folder() -> Path | None:
    """Return where the files are, None if there shall be none."""
    given = os.environ.get("LSTMFAST_CACHE")
    if given is not None:
        return Path(given) if given else None
    with suppress(RuntimeError):  # there is no home
        windows = sys.platform == "win32"
        caches = os.environ.get("LOCALAPPDATA" if windows else "XDG_CACHE_HOME")
        return Path(caches or Path.home() / ".cache") / "lstmfast"
    return None


def key(kernel: Any, cc: tuple[int, int]) -> str | None:
    """Return the hash of what a kernel's machine code depends on; None if that cannot be told.

    That is: its Python code with all it refers to, its arguments' types and options, the GPU's
    compute capability, the sources of all kernels and the versions of the compilers.
    """
    told = _Description()
    given = (kernel.name, kernel.arguments, kernel.threads, kernel.approximate, cc)
    try:
        told.add((given, sys.version_info[:3], _compilers(), sources()))
        told.add(kernel.function)
    except _Unknown:
        return None
    return told.hash.hexdigest()


def _read(path: Path) -> Code | None:
    """Return what a file holds; None if there is none, or not a whole one."""
    try:
        head, cubin = path.read_bytes().split(b"\n", 1)
        told = json.loads(head)
        if told.pop("sha256") != hashlib.sha256(cubin).hexdigest():
            return None
        return Code(cubin=cubin, **told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(path: Path, made: Code) -> None:
    """Write a file that others see whole or not at all; where that cannot be, do nothing."""
    told = {"sha256": hashlib.sha256(made.cubin).hexdigest()} | made._asdict()
    del told["cubin"]
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(told).encode() + b"\n" + made.cubin)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)


@lru_cache(None)
def _compilers() -> tuple[Any, ...]:
    """The versions of all that compiles; of a toolkit that pip does not know, as it tells them."""
    versions: list[Any] = []
    for name in COMPILERS:
        try:
            versions.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            versions.append(None)
    if not any(versions[4:]):
        from cuda.bindings import nvjitlink, nvvm

        versions += [nvjitlink.version(), nvvm.version()]
    return tuple(versions)


class _Unknown(Exception):
    """Something that a kernel refers to cannot be told from another by its description."""


class _Description:
    """A hash of values and of functions with all that they refer to, the same in each process."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.met: dict[int, Any] = {}  # functions, told once; kept, so that no id comes twice

    def add(self, value: Any) -> None:
        self.hash.update(f"({type(value).__module__}.{type(value).__qualname__} ".encode())
        self._add(value)
        self.hash.update(b")")

    def _add(self, value: Any) -> None:
        if isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, CodeType):
            self._code(value)
        elif isinstance(value, tuple | list):
            self._each(value)
        elif isinstance(value, frozenset | set):
            self._each(sorted(value, key=repr))
        elif isinstance(value, dict):
            self._each(value.items())
        elif isinstance(value, SimpleNamespace):
            self._each(vars(value).items())
        elif isinstance(value, np.ndarray):
            self._each((value.shape, value.dtype.str, value.tobytes()))
        elif isinstance(value, ModuleType | BuiltinFunctionType):
            self.hash.update(value.__name__.encode())
        elif isinstance(value, type):
            self.hash.update(f"{value.__module__}.{value.__qualname__}".encode())
        elif inner := _inner(value):
            self._each((inner, getattr(value, "targetoptions", None)))
        else:
            text = repr(value)
            if " at 0x" in text:
                raise _Unknown(text)
            self.hash.update(text.encode())

    def _each(self, values: Any) -> None:
        for value in values:
            self.add(value)

    def _function(self, function: Any) -> None:
        if id(function) in self.met:
            self.hash.update(str(list(self.met).index(id(function))).encode())
            return
        self.met[id(function)] = function
        self.add(function.__defaults__)
        self.add(function.__code__)
        try:
            self._each(cell.cell_contents for cell in function.__closure__ or ())
        except ValueError as error:
            raise _Unknown("it closes over what is not there yet") from error
        for name in _names(function.__code__):
            if name in function.__globals__:
                self._each((name, function.__globals__[name]))

    def _code(self, code: CodeType) -> None:
        self._each((code.co_code, code.co_names, code.co_varnames, code.co_freevars))
        self._each(code.co_consts)


def _inner(value: Any) -> Any:
    """The function within what Numba, or functools.lru_cache, has made of one."""
    for attribute in ("py_func", "_defn", "__wrapped__"):
        function = getattr(value, attribute, None)
        if isinstance(function, FunctionType):
            return function
    return None


def _names(code: CodeType) -> list[str]:
    """Return the names of globals that code may ask for, and the functions within it."""
    found = set(code.co_names)
    for value in code.co_consts:
        if isinstance(value, CodeType):
            found.update(_names(value))
    return sorted(found)

"""Numba's and llvmlite's names, for a process that describes kernels and compiles none.

Kernels are ordinary Python, but their modules take types and decorators of Numba when they are
imported. Where every kernel comes from a file (`lstmfast.cuda.runtime.shipped`), only the
names matter: a type has to say what it is called, a decorator to return what it is put on,
everything else to be there. So a machine without Numba can launch what another one compiled.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["install"]

PACKAGES = ("numba", "llvmlite")
MAKE_DECORATORS = ("overload", "register_model", "lower_getattr_generic")  # of what they are given


class Anything:
    """Whatever is asked of it, it is there; called with a function alone, it returns that."""

    def __init__(self, *given: Any, **named: Any):
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cannot_compile if name == "compile" else Anything()

    def __call__(self, *given: Any, **named: Any) -> Any:
        return given[0] if given and callable(given[0]) else Anything()

    def __bool__(self) -> bool:
        return False


def cannot_compile(*given: Any, **named: Any) -> Any:
    """Say what a kernel that is not in the file would need."""
    raise RuntimeError("a kernel is not in the file of kernels, and there is no compiler here")


class Type:
    """A type of Numba, known by its name; called, it gives what it is called with."""

    def __init__(self, name: str = ""):
        self.name = name

    def __call__(self, *given: Any) -> Any:
        return given[0] if given else Anything()

    def __repr__(self) -> str:
        return self.name


class CPointer(Type):
    """The type of a pointer."""

    def __init__(self, kind: Any):
        super().__init__(f"{kind}*")
        self.dtype = kind


class Types(ModuleType):
    """`numba.types`: each name a type, the same one whenever it is asked for."""

    Type, CPointer = Type, CPointer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = Type(name) if name[0].islower() else Anything()
        setattr(self, name, found)
        return found


class Module(ModuleType):
    """A module in which there is anything."""

    __path__ = ()  # a package: its modules are found here, too

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return decorator_for if name in MAKE_DECORATORS else Anything()


def decorator_for(*given: Any, **named: Any) -> Anything:
    """Return a decorator, whatever it is for."""
    return Anything()


class Finder:
    """Finds every module of PACKAGES here, before any that is installed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        return ModuleSpec(name, Finder()) if name.split(".")[0] in PACKAGES else None

    @staticmethod
    def create_module(spec: Any) -> ModuleType:
        return Module(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        pass


def install() -> None:
    """Let this process import the stand-ins; before lstmfast's kernels are first asked for."""
    present = [name for name in PACKAGES if name in sys.modules]
    if present:
        raise RuntimeError(f"{present[0]}: expected not to be imported yet")
    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
    types = sys.modules["numba.types"] = Types("numba.types")
    sys.modules["numba.cuda.types"] = types  # one module: the same types wherever they come from
    import numba

    numba.types = types  # type: ignore[attr-defined]

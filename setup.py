"""Build the one extension, lstmfast.capi: Numba kernels (native/aot.py) + C + Cython.

Everything else about the package is in pyproject.toml. Environment variables: LSTMFAST_AOT=0 links
no kernels (they are compiled at run time then; needs the `jit` extra). LSTMFAST_OBJECTS=folder
keeps the kernels' objects, for other builds from the same sources and tools.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(
    platform.machine().lower(), platform.machine().lower()
)
# What is linked in, and what is only emitted and checked on the way.
LINKED = {"x86_64": ["v2", "v3", "v4"], "aarch64": ["neon"]}
CHECKED = {"x86_64": [("aarch64", "neon")], "aarch64": []}
AOT = os.environ.get("LSTMFAST_AOT", "1") == "1" and sys.platform == "linux" and MACHINE in LINKED


def compile_kernels(folder: Path) -> list[str]:
    """Write kernel_table.h and the objects into `folder`, two instruction sets at a time."""
    tool = [sys.executable, str(Path("native", "aot.py")), str(folder)]
    subprocess.check_call([*tool, "header"])
    if not AOT:
        return []
    if not is_current(folder) and not take_kept(folder):
        compile_all(folder, tool)
    return [str(folder / f"kernels_{isa}.o") for isa in LINKED[MACHINE]]


def compile_all(folder: Path, tool: list[str]) -> None:
    jobs = [(MACHINE, isa) for isa in LINKED[MACHINE]] + CHECKED[MACHINE]
    waiting, failed = [[*tool, *job] for job in reversed(jobs)], 0
    running: list[subprocess.Popen] = []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            running.append(subprocess.Popen(waiting.pop()))
        failed |= running.pop(0).wait()
    if failed:
        raise SystemExit("native/aot.py failed: see above")
    kept = kept_objects()
    if kept is not None and not kept.exists():
        part = kept.with_name(f"{kept.name}.{os.getpid()}")
        part.mkdir(parents=True)
        for one in objects_in(folder):
            shutil.copy(one, part)
        part.rename(kept)


def is_current(folder: Path) -> bool:
    """Every object is there and newer than whatever it is made from."""
    newest = max(source.stat().st_mtime for source in sources())
    return all(o.exists() and o.stat().st_mtime > newest for o in objects_in(folder))


def take_kept(folder: Path) -> bool:
    """Copy the objects of an earlier build, if it was of the same sources and tools."""
    kept = kept_objects()
    if kept is None or not kept.exists():
        return False
    for one in objects_in(kept):
        shutil.copy(one, folder)
    return True


def kept_objects() -> Path | None:
    if not os.environ.get("LSTMFAST_OBJECTS"):
        return None
    state = hashlib.sha256(sys.version.encode() + MACHINE.encode())
    for package in ("llvmlite", "numba"):
        state.update(version(package).encode())
    for source in sorted(sources()):
        state.update(source.read_bytes())
    return Path(os.environ["LSTMFAST_OBJECTS"]).resolve() / state.hexdigest()[:32]


def sources() -> list[Path]:
    return [*Path("lstmfast", "kernels").glob("*.py"), *Path("native").glob("*.py")]


def objects_in(folder: Path) -> list[Path]:
    jobs = [isa for _, isa in CHECKED[MACHINE]] + LINKED[MACHINE]
    return [folder / f"kernels_{isa}.o" for isa in jobs]


class BuildExtension(build_ext):
    def build_extension(self, extension):
        folder = Path(self.build_temp).resolve() / "kernels"
        extension.extra_objects = compile_kernels(folder)
        extension.include_dirs.append(str(folder))
        super().build_extension(extension)


class StableWheel(bdist_wheel):
    """One wheel for CPython 3.11 and later (free-threaded builds get their own)."""

    def finalize_options(self):
        if LIMITED:
            self.py_limited_api = "cp311"
        super().finalize_options()


LIMITED = getattr(sys, "_is_gil_enabled", lambda: True)() is not False
MACROS = [("Py_LIMITED_API", "0x030B0000")] if LIMITED else []

capi = Extension(
    "lstmfast.capi",
    [
        "native/capi.pyx",
        "native/config.c",
        "native/dispatch.c",
        "native/schedule.c",
        "native/ragged.c",
        "native/pool.c",
        "native/team.c",
        "native/watch.c",
    ],
    include_dirs=["native"],
    define_macros=MACROS + ([("LF_AOT", "1")] if AOT else []),
    extra_compile_args=["-O2", "-std=c11", "-pthread"],
    extra_link_args=["-pthread"],
    py_limited_api=LIMITED,
    depends=[str(p) for p in Path("native").iterdir()]
    + [str(p) for p in Path("lstmfast", "kernels").glob("*.py")],
)
setup(
    ext_modules=cythonize(
        [capi],
        include_path=["."],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "freethreading_compatible": True,
        },
    ),
    cmdclass={"build_ext": BuildExtension, "bdist_wheel": StableWheel},
)

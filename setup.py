"""Build the one extension, lstmfast.capi: Numba kernels (native/aot.py) + C + Cython.

Everything else about the package is in pyproject.toml. Environment variables: LSTMFAST_AOT=0 links
no kernels (they are compiled at run time then; needs the `jit` extra). LSTMFAST_OBJECTS=folder
keeps the kernels' objects there for other builds from the same sources and tools, in place of the
user's folder of caches; LSTMFAST_OBJECTS= keeps none. LSTMFAST_CHECK_ALL=1 compiles the kernels of
other machines, too, and checks them.
"""

import hashlib
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from time import monotonic

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

sys.path.append(str(Path("native").resolve()))
import objects

MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(
    platform.machine().lower(), platform.machine().lower()
)
# What is linked in (the longest to compile first), and what is only emitted and checked.
LINKED = {"x86_64": ["v4", "v3", "v2", "v4bf16", "v4vnni"], "aarch64": ["neon"]}
OTHERS = {"x86_64": [("aarch64", "neon")], "aarch64": []}
AOT = os.environ.get("LSTMFAST_AOT", "1") == "1" and sys.platform == "linux" and MACHINE in LINKED
CHECK_ALL = os.environ.get("LSTMFAST_CHECK_ALL", "0") == "1"
AT_ONCE = 2  # processes that compile: some 0.5 GB each
Job = tuple[str, str]  # machine, instruction set


def compile_kernels(folder: Path) -> list[str]:
    """Write kernel_table.h and the objects into `folder`; return those that are linked."""
    tool = [sys.executable, str(Path("native", "aot.py")), str(folder)]
    subprocess.check_call([*tool, "header"])
    if not AOT:
        return []
    jobs = [(MACHINE, isa) for isa in LINKED[MACHINE]] + (OTHERS[MACHINE] if CHECK_ALL else [])
    state, newest = state_of_sources(), max(source.stat().st_mtime for source in sources())
    missing = []
    for job in jobs:
        path = object_in(folder, job)
        if not (path.exists() and path.stat().st_mtime > newest) and not objects.take(state, path):
            missing.append(job)
    compile_all(missing, folder, tool, state)
    return [str(object_in(folder, (MACHINE, isa))) for isa in LINKED[MACHINE]]


def compile_all(jobs: list[Job], folder: Path, tool: list[str], state: str) -> None:
    """Compile each instruction set in a process of its own; what is done is kept."""

    def compiled(job: Job) -> bool:
        if subprocess.call([*tool, *job]):
            return False
        objects.keep(state, object_in(folder, job))
        return True

    start, names = monotonic(), ", ".join(isa for _, isa in jobs)
    if not jobs:
        return say("kernels: all are here, nothing to compile")
    say(f"kernels: compiling {names}, some minutes in all; they are kept in {objects.folder()}")
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        if not all(list(pool.map(compiled, jobs))):
            raise SystemExit("native/aot.py failed: see above")
    say(f"kernels: {names} compiled in {monotonic() - start:.0f} s")


def say(text: str) -> None:
    print(text, flush=True)


def state_of_sources() -> str:
    """Return a name for all that objects follow from."""
    state = hashlib.sha256(sys.version.encode() + MACHINE.encode())
    for package in ("llvmlite", "numba"):
        state.update(version(package).encode())
    for source in sorted(sources()):
        state.update(source.read_bytes())
    return state.hexdigest()[:32]


def sources() -> list[Path]:
    """Return the files that decide what is in an object, or whether it passes."""
    return [
        *Path("lstmfast", "kernels").glob("*.py"),
        Path("native/aot.py"),
        Path("native/spills.py"),
    ]


def object_in(folder: Path, job: Job) -> Path:
    return folder / f"kernels_{job[1]}.o"


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
        "native/affinity.c",
        "native/config.c",
        "native/dispatch.c",
        "native/helpers.c",
        "native/look.c",
        "native/openmp.c",
        "native/pool.c",
        "native/processors.c",
        "native/ragged.c",
        "native/ranges.c",
        "native/schedule.c",
        "native/team.c",
        "native/threads.c",
        "native/turned.c",
        "native/watch.c",
    ],
    include_dirs=["native"],
    define_macros=MACROS + ([("LF_AOT", "1")] if AOT else []),
    extra_compile_args=["-O2", "-std=c11", "-pthread"],
    extra_link_args=["-pthread", "-ldl"],
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

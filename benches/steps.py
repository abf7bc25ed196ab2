"""One step at a time: lf_step in a C loop, and LSTMStream.step from Python, in ns.

    python -m benches.steps [--out FILE]

Batch 1, float32, one thread; the least of many blocks, as an embedder's own core would have it. The
bar is 40 ns and one and a half times what the products take at the FMA rate, which is measured
between the sizes. Needs gcc. Prints Markdown.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benches.floors import fma_rate
from benches.origin import origin
from lstmfast import LSTMStream, capi

INPUTS, UNITS = (1, 8, 64), (8, 16, 32, 40, 64, 128)
BLOCKS, STEPS = 60, 2000


def loop(folder: str) -> Any:
    """The function of step_loop.c."""
    source, library = Path(__file__).with_name("step_loop.c"), Path(folder, "step_loop.so")
    subprocess.check_call(["gcc", "-O2", "-shared", "-fPIC", source, "-o", library])
    function = ctypes.CDLL(str(library)).seconds
    function.restype = ctypes.c_double
    return function


def entry(name: str, result: Any = ctypes.c_int) -> Any:
    """A function of the C-level API, from where `cimport` finds it."""
    pointer, name_of = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = capi.__pyx_capi__[name]
    return ctypes.CFUNCTYPE(result)(pointer(capsule, name_of(capsule)))


def weights_of(I: int, H: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = ((4 * H, I), (4 * H, H), (4 * H,))
    return [rng.uniform(-0.2, 0.2, shape).astype("f4") for shape in shapes]


def in_c(run: Any, I: int, H: int) -> float:
    """Seconds of a step; the handle stays, as the process ends soon."""
    handle, config = (
        ctypes.c_void_p(),
        ctypes.c_void_p(entry("lf_config_create", ctypes.c_void_p)()),
    )
    for key, value in ((b"input_size", I), (b"hidden_size", H)):
        assert entry("lf_config_set")(config, key, ctypes.c_double(value)) == 0
    assert entry("lf_build")(config, ctypes.byref(handle)) == 0
    arrays = [*weights_of(I, H), *(np.zeros(n, "f4") for n in (I, H, H))]
    where = [ctypes.c_void_p(one.ctypes.data) for one in arrays]
    assert entry("lf_load_weights")(handle, *where[:3]) == 0
    step = ctypes.cast(entry("lf_step"), ctypes.c_void_p)
    given = (step, handle, *where[3:], ctypes.c_int64(STEPS))
    return min(run(*given) for _ in range(BLOCKS)) / STEPS


def in_python(I: int, H: int) -> float:
    stream, x, out = LSTMStream(*weights_of(I, H)), np.zeros((1, I), "f4"), np.zeros((1, H), "f4")
    step, found = stream.step, []
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(STEPS // 10):
            step(x, out)
        found.append((time.perf_counter() - start) / (STEPS // 10))
    return min(found)


def row(run: Any, I: int, H: int) -> str:
    rate = fma_rate()
    ns = [1e9 * of for of in (in_c(run, I, H), in_python(I, H))]
    bar = 40 + 1.5e9 * 8 * H * (I + H) / rate
    cells = f"{ns[0]:.0f} | {bar:.0f} | {ns[0] / bar:.2f} | {ns[1]:.0f} | {ns[1] - ns[0]:.0f}"
    return f"| {I} | {H} | {cells} | {rate / 1e9:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    lines = ["# One step at a time", "", f"{origin()}; lstmfast's kernels {capi.isa()}.", "",
             "| I | H | `lf_step`, ns | bar | over bar | `LSTMStream.step(x, out)` | more "
             "| FMA rate, GFLOP/s |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    print(*lines, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        run = loop(folder)
        for I in INPUTS:
            for H in UNITS:
                lines.append(row(run, I, H))
                print(lines[-1], flush=True)
    if given.out:
        given.out.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()

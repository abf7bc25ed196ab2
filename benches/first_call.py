"""Seconds from a fresh process to a first result, and megabytes on disk: run by test_import.py.

    python -m benches.first_call torch

`import_s` is the import of the library with everything that it pulls in; `numpy_s` is NumPy's part
of it, the same for all; `first_call_s` is building a layer with given weights and its first forward
pass, compiling included; `second_call_s` is one more pass; `installed_mb` are the files in the
folders of the packages named here, without what they depend on and without compiled Python files.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

MB = 1e6
SHAPE = (10, 1, 64, 64)  # T, B, I, H
THREADS = 1
PACKAGES = {  # the first is what a user's script imports
    "lstmfast": ("lstmfast",),
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "keras-tensorflow": ("keras", "tensorflow"),
    "keras-jax": ("keras", "jax", "jaxlib"),
}


def installed_bytes(packages: tuple[str, ...]) -> int:
    folders = [importlib.util.find_spec(package).submodule_search_locations for package in packages]
    files = [path for (folder, *_) in folders for path in Path(folder).rglob("*")]
    return sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc")


def seconds_of(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def first_result(peer: str) -> dict:
    """Seconds of a first forward pass, and the norm of its result."""
    from benches.peers import MODULES, Job
    from benches.shapes import Shape

    library = importlib.import_module(f"benches.peers.{MODULES[peer]}")
    library.start(THREADS)
    make = library.JOBS["forward"]
    make = next(iter(make.values())) if isinstance(make, dict) else make

    def build_and_run():
        made = make(Shape(*SHAPE))
        job = made if isinstance(made, Job) else Job(made)
        with job.around():
            return job, job.read(job.run())

    first, (job, (y,)) = seconds_of(build_and_run)
    with job.around():
        second, _ = seconds_of(job.run)
    return {"first_call_s": first, "second_call_s": second, "norm": float((y**2).sum() ** 0.5)}


def main(peer: str) -> None:
    if peer.startswith("keras-"):
        os.environ["KERAS_BACKEND"] = peer.removeprefix("keras-")
    numpy, _ = seconds_of(importlib.import_module, "numpy")
    library, _ = seconds_of(importlib.import_module, PACKAGES[peer][0])
    size = installed_bytes(PACKAGES[peer]) / MB
    times = {"numpy_s": numpy, "import_s": numpy + library}
    print(json.dumps({**times, "installed_mb": size, **first_result(peer)}))


if __name__ == "__main__":
    main(sys.argv[1])

"""What this installation is: version, instruction set, threads, CUDA."""

from __future__ import annotations

import os
import platform
from importlib import import_module

import numpy as np

from . import capi

__version__ = "0.1.0"


def get_include() -> str:
    """The folder to hand to Cython (`include_path`) and to the C compiler (`-I`).

    `cimport lstmfast.capi` works without it where lstmfast is installed in the ordinary way; an
    editable installation needs it.
    """
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def show_config() -> dict[str, str]:
    """Tell what runs here.

    Returns
    -------
    dict
        version, isa (v4: AVX-512, v3: AVX2, v2: SSE4, neon; jit: compiled at run time), best_isa of
        this processor, threads, thread_pool (whose threads do the work: lstmfast's own, or those of
        the OpenMP runtime that is named), numpy, python, and cuda: the GPU's name and compute
        capability, or why there is none.
    """
    return {
        "version": __version__,
        "isa": capi.isa(),
        "best_isa": capi.best_isa(),
        "threads": str(capi.get_num_threads()),
        "thread_pool": capi.thread_pool(),
        "cuda": _cuda(),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _cuda() -> str:
    device = import_module("lstmfast.cuda.runtime.device")
    reason = device.explain()
    if reason is not None:
        return f"not available: {reason}"
    if device.simulated():
        return "simulated on the CPU (NUMBA_ENABLE_CUDASIM)"
    major, minor = device.capability(device.current())
    return f"{device.name()}, compute capability {major}.{minor}"

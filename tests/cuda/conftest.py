"""Everything in this folder runs in Numba's simulator of a GPU, in a process of its own:

NUMBA_ENABLE_CUDASIM=1 python -m pytest cuda

A thread of the simulator is one of Python's, so blocks are made small: a test that means several
blocks then needs no more than a few dozen elements.
"""

import os
import sys
from pathlib import Path

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") == "0":
    raise RuntimeError(
        "tests/cuda: expected NUMBA_ENABLE_CUDASIM=1, set before anything is imported"
    )
sys.path.insert(0, str(Path(__file__).parents[1]))

from lstmfast.cuda.kernels import (
    broadcasting,
    cells,
    cells_backward,
    copying,
    elementwise,
    embedding,
    losses,
    noise,
    ragged,
    reductions,
    updates,
)

SMALL = {
    broadcasting: {"THREADS": 16, "SIDE": 2},
    cells: {"THREADS": 8},
    cells_backward: {"THREADS": 8},
    copying: {"THREADS": 8},
    elementwise: {"THREADS": 16},
    embedding: {"THREADS": 16, "TILE": 16, "SORTERS": 4, "COLUMNS": 4, "LANES": 2, "CHUNK": 4},
    losses: {"SIDES": ((6, 2), (None, 3))},
    noise: {"THREADS": 8},
    ragged: {"THREADS": 2},
    reductions: {"SIDE": 2, "COLUMNS": 4, "LANES": 2},
    updates: {"THREADS": 16},
}


@pytest.fixture(scope="session", autouse=True)
def small_blocks():
    """Give the kernels blocks of a few threads, and make them anew before and after."""
    with pytest.MonkeyPatch.context() as patch:
        for module, sizes in SMALL.items():
            for name, size in sizes.items():
                patch.setattr(module, name, size)
        forget_kernels()
        yield
    forget_kernels()


def forget_kernels():
    for module in SMALL:
        for made in vars(module).values():
            if hasattr(made, "cache_clear"):
                made.cache_clear()

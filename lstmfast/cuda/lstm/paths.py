"""Which way a pass takes: a product and a kernel for each step, or one persistent kernel.

The persistent kernels are offered for the plain cell and the sizes that fit (`persistent.plan`),
and taken where MEASURED says that they were faster on that kind of GPU. LSTMFAST_CUDA_PERSISTENT=1
takes them wherever they are offered, 0 nowhere.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple

from ..kernels.persistent.share import PRECISIONS
from ..runtime import device
from . import persistent
from .part import Pass

__all__ = ["FORCED", "MEASURED", "Faster", "chosen"]


ALIGNMENT = 16  # bytes, of what the persistent kernels read in vectors; a caller's W_hh may lack it


class Faster(NamedTuple):
    """Where persistent kernels were measured to be faster: sizes from .. to, both included."""

    capability: tuple[int, int]
    direction: str
    precision: str
    H: tuple[int, int]
    B: tuple[int, int]


# True: wherever they are offered; False: nowhere; None: as MEASURED says. Benches change it.
FORCED = {"0": False, "1": True}.get(os.environ.get("LSTMFAST_CUDA_PERSISTENT", ""))

# benches/results/cuda.md, an H200: in the 91 jobs that are offered, forward took 1.01 to 9.8 times
# as long by steps, forward and backward 0.99 to 14 times; the least where the host is waited for.
MEASURED: tuple[Faster, ...] = tuple(
    Faster((9, 0), direction, precision, (64, 1024), (1, 256))
    for direction in ("forward", "backward")
    for precision in PRECISIONS
)


def chosen(p: Pass, direction: str) -> persistent.Plan | None:
    """Return how the persistent kernels shall do a pass "forward" or "backward"; None: by steps."""
    if FORCED is False or device.simulated() or not _plain(p) or p.W_hh.address % ALIGNMENT:
        return None
    found = _plan(direction, p.part.precision, p.B, p.part.H)
    if found is None or FORCED:
        return found
    return found if _measured(direction, p.part.precision, p.B, p.part.H) else None


def _plain(p: Pass) -> bool:
    """Is it the plain cell, whose rows take every step?"""
    kind = p.part.kind
    varied = kind.formula is not None or kind.projected or kind.zoneout or kind.carries
    return not varied and not kind.truncate and p.part.precision != "float64"


@lru_cache(4096)
def _plan(direction: str, precision: str, B: int, H: int) -> persistent.Plan | None:
    if not device.supports_cooperative():
        return None
    return persistent.plan(direction, precision, B, H, device.sm_count(), device.shared_limit())


def _measured(direction: str, precision: str, B: int, H: int) -> bool:
    here = device.capability(device.current())
    return any(
        (here, direction, precision) == one[:3]
        and one.H[0] <= H <= one.H[1]
        and one.B[0] <= B <= one.B[1]
        for one in MEASURED
    )

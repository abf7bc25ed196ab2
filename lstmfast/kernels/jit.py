"""Run-time binding: compile the table of kernels for this processor and hand over the addresses.

Used with LSTMFAST_JIT=1 (while editing a kernel) and where no objects are linked in. Numba is
imported here and nowhere else at run time. LSTMFAST_ISA picks the register width and tile as it
does for the linked kernels; instructions are this processor's own.
"""

import os

from .. import capi
from . import isa as isas
from .table import REALS, TABLE, compiled, owner_of

_alive = []  # an address is good for as long as its compiled function lives


def bind(wanted: str = "1") -> None:
    """Compile kernels and put them into the table of `capi`.

    Parameters
    ----------
    wanted : "1" (or "", "0", where no kernels are linked in) compiles all; names joined by commas
        compile these and keep the linked ones otherwise.

    Raises
    ------
    ImportError
        LSTMFAST_ISA names no instruction set of this processor, or LSTMFAST_JIT an unknown kernel.
    """
    names = tuple(TABLE) if wanted in ("", "0", "1") else tuple(wanted.split(","))
    if unknown := set(names) - set(TABLE):
        raise ImportError(f"LSTMFAST_JIT: expected 1 or names of {', '.join(TABLE)}, "
                          f"found {', '.join(sorted(unknown))}")  # fmt: skip
    name = os.environ.get("LSTMFAST_ISA") or capi.best_isa()
    isa = isas.BY_NAME.get(name)
    if isa is None or name not in isas.up_to(capi.best_isa()):
        known = ", ".join(isas.BY_NAME)
        raise ImportError(f"LSTMFAST_ISA: expected one of {known} up to this processor's own "
                          f"({capi.best_isa()}), found {name!r}")  # fmt: skip
    for kernel_name in names:
        for real in REALS:
            bind_one(kernel_name, real, isa)
    capi.bind_isa(isa.bytes)


def bind_one(name: str, real: str, isa: isas.Isa) -> None:
    """Put a kernel into the table of a kind of numbers: its own, or that of float32."""
    owner = owner_of(name, real, isa)
    if owner:
        kernel = compiled(name, owner[0], isas.BY_NAME[owner[1]])
        _alive.append(kernel)
        capi.bind_kernel(list(REALS).index(real), name, kernel.address)

"""The instruction sets that kernels are compiled for, and the tile that suits each."""

from typing import NamedTuple


class Isa(NamedTuple):
    """Registers of one instruction set.

    `rows` is the height of the register tile; `wide` is the number of panels of four vectors worked
    on at once when 1, 2, ... rows are left. Tiles of more than `whole` rows take half a panel:
    where registers are few, a tall tile of two vectors reads less for each operation than a low one
    of four. The sums, the panel's vectors and the broadcast rows must fit the registers: a spill in
    the inner loop fails the build.
    """

    name: str
    bytes: int  # of one vector register
    rows: int
    wide: tuple[int, ...]
    whole: int
    cpu: str  # as LLVM names it
    features: str = ""
    base: str = ""  # the set whose kernels serve where this one's instructions are of no use

    @property
    def largest_tile(self) -> int:
        """Vectors of the largest register tile."""
        return 4 * max(n * wide for n, wide in enumerate(self.wide, start=1))

    def panels_at_once(self, rows: int) -> int:
        return self.wide[rows - 1]


V4 = Isa("v4", 64, 6, (4, 2, 1, 1, 1, 1), 6, "x86-64-v4", "-prefer-256-bit")
V4_BF16 = V4._replace(name="v4bf16", features=V4.features + ",+avx512bf16", base="v4")
V3 = Isa("v3", 32, 6, (2, 1, 1, 1, 1, 1), 2, "x86-64-v3")
V2 = Isa("v2", 16, 2, (2, 1), 2, "x86-64-v2")
NEON = Isa("neon", 16, 3, (3, 2, 1), 3, "generic")

# Lower tiles for pairs of bfloat16 where no instruction multiplies them: each factor takes two
# registers, one for each number of its pairs.
WIDENED = {
    "v4": {"rows": 4, "wide": (4, 1, 1, 1), "whole": 4},
    "v3": {"rows": 3, "wide": (2, 1, 1), "whole": 1},
    "v2": {"rows": 2, "wide": (2, 1), "whole": 1},
    "neon": {"rows": 3, "wide": (3, 1, 1), "whole": 3},
}

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
BY_MACHINE = {"x86_64": (V2, V3, V4, V4_BF16), "aarch64": (NEON,)}
BY_NAME = {isa.name: isa for isas in BY_MACHINE.values() for isa in isas}

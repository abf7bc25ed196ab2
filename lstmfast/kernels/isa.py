"""The instruction sets that kernels are compiled for, and the tile that suits each."""

from typing import NamedTuple


class Isa(NamedTuple):
    """Registers of one instruction set.

    `rows` is the height of the register tile; `wide` is the number of panels of four vectors worked
    on at once when 1, 2, ... rows are left. Tiles of more than `whole` rows take half a panel:
    where registers are few, a tall tile of two vectors reads less for each operation than a low one
    of four. The sums, the panel's vectors and the broadcast rows must fit the registers: a spill in
    the inner loop fails the build.

    `kinds` of numbers (table.REALS) have kernels of its own; for all others those of `base` serve,
    where this set's instructions are of no use.
    """

    name: str
    bytes: int  # of one vector register
    rows: int
    wide: tuple[int, ...]
    whole: int
    cpu: str  # as LLVM names it
    features: str = ""
    kinds: tuple[str, ...] = ("f32", "f64", "bf16", "i8")
    base: str = ""

    @property
    def largest_tile(self) -> int:
        """Vectors of the largest register tile."""
        return 4 * max(n * wide for n, wide in enumerate(self.wide, start=1))

    def panels_at_once(self, rows: int) -> int:
        return self.wide[rows - 1]


V4 = Isa("v4", 64, 6, (4, 2, 1, 1, 1, 1), 6, "x86-64-v4", "-prefer-256-bit")
V4_VNNI = V4._replace(
    name="v4vnni", features=V4.features + ",+avx512vnni", kinds=("i8",), base="v4"
)
V4_BF16 = V4_VNNI._replace(
    name="v4bf16", features=V4_VNNI.features + ",+avx512bf16", kinds=("bf16",), base="v4vnni"
)
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
SPLIT = {  # for quads, whose products need registers on the way, too
    "v4": WIDENED["v4"],
    "v3": {"rows": 4, "wide": (2, 1, 1, 1), "whole": 2},
    "v2": {"rows": 2, "wide": (1, 1), "whole": 1},
    "neon": {"rows": 2, "wide": (2, 1), "whole": 2},
}

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
BY_MACHINE = {"x86_64": (V2, V3, V4, V4_VNNI, V4_BF16), "aarch64": (NEON,)}  # the better the later
BY_NAME = {isa.name: isa for isas in BY_MACHINE.values() for isa in isas}


def up_to(best: str) -> tuple[str, ...]:
    """The names of a machine's instruction sets up to this one; none of one that is unknown."""
    for isas in BY_MACHINE.values():
        names = tuple(isa.name for isa in isas)
        if best in names:
            return names[: names.index(best) + 1]
    return ()

"""What one block of a persistent kernel does, and how its threads divide that among them.

The B rows of the batch are cut into groups of `rows`, the H units into shares of `units`. A block
keeps the recurrent weights of its units in registers for the whole sequence and computes, in every
step and for every row of its group,

    forward     W_hh h_prev, 4 · units sums over H, in the order 4 · unit + gate
    backward    W_hhᵀ dz,    units sums over 4H

The operand (h_prev or dz of all units) lies in shared memory, one row after the other, as 32-bit
words: two float16 or bfloat16, or a float32. The depth of the sums is cut into `parts`; each part's
sums go to shared memory as sums[row, part, output], and are added up where they are used.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import cuda

from ...runtime.compiler import SIMULATED, pointer, types

__all__ = ["PRECISIONS", "Share", "inlined", "wanted", "weight_pointer"]

PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
STORED = {"float32": "float32", "tf32": "float32", "float16": "float16", "bfloat16": "bfloat16"}


class Share(NamedTuple):
    """The work of one block.

    Attributes
    ----------
    direction : "forward" or "backward"
    precision : one of PRECISIONS
    H : hidden units of the layer
    rows : of the batch, in a group; a multiple of 8 on tensor cores
    units : of the block
    parts : into which the sums' depth is cut
    warps : of the block
    """

    direction: str
    precision: str
    H: int
    rows: int
    units: int
    parts: int
    warps: int

    @property
    def stored(self) -> str:
        """The kind of number of W_hh, h and the operand's dz in memory."""
        return STORED[self.precision]

    @property
    def tensor(self) -> bool:
        """Do tensor cores multiply (or, strictly, ordinary float32 instructions)?"""
        return self.precision != "float32"

    @property
    def elements(self) -> int:
        """Numbers in a word of the operand."""
        return 2 if self.stored in ("float16", "bfloat16") else 1

    @property
    def threads(self) -> int:
        return 32 * self.warps

    @property
    def group(self) -> int:
        """Blocks of a batch group, which exchange what they made in each step."""
        return self.H // self.units

    @property
    def outputs(self) -> int:
        return 4 * self.units if self.direction == "forward" else self.units

    @property
    def depth(self) -> int:
        """Words of one row of the operand."""
        return (self.H if self.direction == "forward" else 4 * self.H) // self.elements

    @property
    def tiles(self) -> int:
        """Tiles of 16 outputs that a warp works on."""
        return self.outputs // 16 * self.parts // self.warps

    @property
    def weights(self) -> int:
        """Words of W_hh in the registers of a thread."""
        return self.outputs * self.depth // self.threads

    @property
    def row_words(self) -> int:
        """From one row of the operand to the next: 16 modulo 32, against conflicts of banks."""
        return self.depth + (16 - self.depth) % 32

    @property
    def row_sums(self) -> int:
        """From one row of sums to the next: 4 modulo 32, against conflicts of banks."""
        return self.parts * self.outputs + 4

    @property
    def cells(self) -> int:
        """Cells (a unit of a row) that a thread looks after."""
        return -(-self.rows * self.units // self.threads)

    @property
    def sweep(self) -> int:
        """Rows that the threads of the block take at once."""
        return self.threads // self.units

    @property
    def shared(self) -> int:
        """Bytes of shared memory: the operand, then the sums."""
        return 4 * self.rows * (self.row_words + self.row_sums)


def weight_pointer(share: Share) -> Any:
    """The type of the argument W_hh: words, but for pairs that are gathered from its columns."""
    gathered = share.direction == "backward" and share.elements == 2
    return pointer(types.uint16 if gathered else types.uint32)


def wanted(share: Share) -> tuple[str, ...]:
    """The instructions that a kernel of the share is written for."""
    multiply = {
        "float32": "fma.rn.f32", "tf32": "mma.sync.aligned.m16n8k8.row.col.f32.tf32",
        "float16": "mma.sync.aligned.m16n8k16.row.col.f32.f16",
        "bfloat16": "mma.sync.aligned.m16n8k16.row.col.f32.bf16",
    }  # fmt: skip
    exchanged = ("ld.acquire.gpu", "red.release.gpu", "bar.sync") if share.group > 1 else ()
    return (multiply[share.precision], *exchanged)


def inlined(function: Any) -> Any:
    """A function that becomes part of the kernel, so that arrays it is given stay in registers."""
    return function if SIMULATED else cuda.jit(function, device=True, forceinline=True)

"""Which steps each row takes, as the steps' kernels want to know it."""

from __future__ import annotations

from numba import cuda, types

from ..runtime.compiler import pointer
from ..runtime.kernel import Kernel, kernel_maker

__all__ = ["make_counts"]

THREADS = 128
I32, I64, U8 = types.int32, types.int64, types.uint8


@kernel_maker
def make_counts(by_mask: bool, reverse: bool) -> Kernel:
    """counts (T, B): n for the n-th step that a row takes, -1 - n where it has taken n and waits.

    From a mask (uint8, strides in elements), or from lengths (B,): below 0 is 0, beyond T is T.
    """

    def counts(mask, lengths, counts, T, B, mask_t, mask_b):
        b = cuda.grid(1)
        if b < B:
            n = 0
            for s in range(T):
                t = T - 1 - s if reverse else s
                taken = mask[t * mask_t + b * mask_b] != 0 if by_mask else t < lengths[b]
                counts[t * B + b] = n if taken else -1 - n
                n += 1 if taken else 0

    arguments = (pointer(U8), pointer(I64), pointer(I32), I64, I64, I64, I64)
    name = f"counts of {'a mask' if by_mask else 'lengths'}{' in reverse' if reverse else ''}"
    return Kernel(name, counts, arguments, THREADS)


def every():
    """Return all kernels of this file."""
    return [make_counts(by_mask, reverse) for by_mask in (False, True) for reverse in (False, True)]

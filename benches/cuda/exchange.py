"""A kernel that does nothing but exchange: the least that a step of a persistent kernel costs.

It uses the exchange of lstmfast's persistent kernels, all blocks of the GPU in one group. In each
step every block leaves a word, tells the others, waits for them, and checks another block's word.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

THREADS = 128


@lru_cache(None)
def make_exchanges() -> Any:
    """exchanges(flags, slots, errors, steps): flags zeros, slots (2, blocks), errors (blocks,)."""
    from numba import cuda
    from numba.types import int32, int64, uint32

    from lstmfast.cuda.compiler import pointer
    from lstmfast.cuda.kernel import Kernel
    from lstmfast.cuda.kernels import ptx
    from lstmfast.cuda.kernels.exchange import publish, wait_for

    def exchanges(flags, slots, errors, steps):
        block, blocks = cuda.blockIdx.x, cuda.gridDim.x
        wrong = uint32(0)
        for step in range(1, steps + 1):
            first = (step & 1) * blocks
            if cuda.threadIdx.x == 0:
                slots[int64(first + block)] = uint32(step)
            publish(flags, 0)
            wait_for(flags, 0, step * blocks)
            word = ptx.load_acquire(slots, int64(first + (block + step) % blocks))
            if word != uint32(step):
                wrong += uint32(1)
        if cuda.threadIdx.x == 0:
            errors[block] = wrong

    words = pointer(uint32)
    return Kernel("exchange", exchanges, (words, words, words, int32), THREADS, cooperative=True,
                  wants=("ld.acquire.gpu", "red.release.gpu"))  # fmt: skip

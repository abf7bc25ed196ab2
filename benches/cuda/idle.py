"""Kernels that calculate nothing, to measure what a launch and an exchange cost."""

from __future__ import annotations

from typing import Any

from lstmfast.cuda.runtime.kernel import Kernel, kernel_maker

THREADS = 128


@kernel_maker
def make_empty() -> Any:
    """empty(): nothing."""

    def empty() -> None:
        pass

    return Kernel("nothing", empty, (), 32)


@kernel_maker
def make_exchanges() -> Any:
    """exchanges(flags, slots, errors, steps): flags zeros, slots (2, blocks), errors (blocks,).

    The least that a step of a persistent kernel costs: it uses their exchange, all blocks of the
    GPU in one group. In each step every block leaves a word, tells the others, waits for them, and
    checks another block's word.
    """
    from numba import cuda
    from numba.types import int32, int64, uint32

    from lstmfast.cuda.kernels import ptx
    from lstmfast.cuda.kernels.persistent.exchange import publish, wait_for
    from lstmfast.cuda.runtime.compiler import pointer

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

"""How the blocks of a batch group hand each other what they made: through L2, counted per group.

Each block writes its share of h (or dz), then adds one to the group's counter; a block that needs
all of it waits until the counter says that every block has written.

Order in memory: the writes of all threads come before `syncthreads`, that before the release of
thread 0 (a release covers what the thread was told of, not its own writes alone); on the other
side thread 0 acquires, `syncthreads` passes that on, and the words are read from L2, as L1 may
hold older ones.
"""

from __future__ import annotations

from typing import Any

from numba import cuda
from numba.types import int64, uint32

from .. import ptx
from .share import Share, inlined

__all__ = ["FLAG_STRIDE", "make_exchange", "publish"]

FLAG_STRIDE = 32  # words from counter to counter: a cache line each
IN_FLIGHT = 4  # loads of 16 bytes that a thread starts before it waits for the first


@inlined
def wait_for(flags, group, count):
    """Return, in all threads of the block, when the group's counter has reached `count`."""
    if cuda.threadIdx.x == 0:
        while ptx.load_acquire(flags, int64(group * FLAG_STRIDE)) < uint32(count):
            pass
    cuda.syncthreads()


@inlined
def publish(flags, group):
    """Let the group see what all threads of this block have written."""
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        ptx.add_release(flags, int64(group * FLAG_STRIDE), uint32(1))


def make_exchange(share: Share, as_operand: Any) -> tuple[Any, Any]:
    """wait(flags, group, step) and stage(p, first, present, operand).

    stage copies `present` rows of the operand into shared memory, from row `first` (int64) of p on,
    each word as `as_operand` makes it; the threads have to be synchronized before they read them.
    Rows that are missing stay undefined: they reach no sum but their own.
    """
    threads, blocks, row_words, row_chunks = (
        share.threads, share.group, share.row_words, share.depth // 4,
    )  # fmt: skip
    turns = -(-share.rows * row_chunks // threads)
    in_flight = min(turns, IN_FLIGHT)
    held = 4 * in_flight

    @inlined
    def wait(flags, group, step):
        wait_for(flags, group, step * blocks)

    @inlined
    def write(operand, chunk, a, b, c, d):
        word = int64(chunk // row_chunks * row_words + chunk % row_chunks * 4)
        ptx.store_shared_words(
            operand, word, as_operand(a), as_operand(b), as_operand(c), as_operand(d)
        )

    @inlined
    def stage(p, first, present, operand):
        words = cuda.local.array(held, uint32)
        chunks = present * row_chunks
        for start in range(0, turns, in_flight):
            for i in range(in_flight):
                chunk = (start + i) * threads + cuda.threadIdx.x
                if chunk < chunks:
                    q = ptx.load_words(p, first * row_chunks + chunk)
                    words[4 * i], words[4 * i + 1] = q[0], q[1]
                    words[4 * i + 2], words[4 * i + 3] = q[2], q[3]
            for i in range(in_flight):
                chunk = (start + i) * threads + cuda.threadIdx.x
                if chunk < chunks:
                    at = 4 * i
                    write(operand, chunk, words[at], words[at + 1], words[at + 2], words[at + 3])

    return wait, stage

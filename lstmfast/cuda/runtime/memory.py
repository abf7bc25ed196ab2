"""Memory of the GPU that is kept for the next array of its size.

Passes of one shape ask for the same sizes in the same order, so they get the same addresses again:
a captured graph then fits the next call (`graphs`). A block that nobody holds any more is handed
out again to work on the same stream only, which runs after all that still uses it there.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush
from typing import Any

from . import device

__all__ = ["Block", "allocate", "release_all"]

GRANULE = 512  # bytes
_free: dict[tuple[int, int, int], list[Any]] = defaultdict(list)  # (GPU, stream, size) → a heap


class Block:
    """Some memory, that goes back to where it came from when nothing holds it.

    Attributes
    ----------
    handle : int
        Its address.
    """

    def __init__(self, buffer: Any, key: tuple[int, int, int]):
        self.buffer, self.key = buffer, key
        self.handle = int(buffer.handle)

    def __reduce__(self) -> Any:  # two blocks of one buffer would be handed out twice
        raise TypeError("memory of a GPU cannot be copied as an object: copy the array")

    def __del__(self) -> None:
        if _free is not None:  # at the interpreter's end it may be gone before
            heappush(_free[self.key], (self.handle, self.buffer))


def allocate(size: int, stream: Any) -> Block:
    """Return a block of at least so many bytes for work on `stream`.

    Raises
    ------
    MemoryError
        The GPU has too little free memory, even when all that was kept is given back.
    """
    gpu, size = device.current(), rounded(size)
    key = (gpu.device_id, device.handle_of(stream), size)
    try:
        return Block(heappop(_free[key])[1], key)  # the lowest address: so passes settle on theirs
    except IndexError:  # there is none, or another thread was quicker
        pass
    try:
        with device.errors(f"{size} bytes"):
            return Block(gpu.allocate(size, stream=device.on(stream)), key)
    except MemoryError:
        release_all()
        with device.errors(f"{size} bytes"):
            return Block(gpu.allocate(size, stream=device.on(stream)), key)


def rounded(size: int) -> int:
    """A size, or up to an eighth more: so that a few sizes serve all."""
    granule = max(GRANULE, 1 << max(size.bit_length() - 4, 0))
    return -(-size // granule) * granule


def release_all() -> None:
    """Give everything that is kept back to CUDA, when all work is done."""
    if any(_free.values()):
        device.current().sync()
        _free.clear()

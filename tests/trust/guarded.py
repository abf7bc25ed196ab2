"""Memory between two pages that nobody may touch."""

import ctypes
import mmap

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PAGE, NO_ACCESS = mmap.PAGESIZE, 0


def room(count, at_end):
    """Return `count` bytes that end right before, or begin right behind, such a page."""
    inner = -(-max(count, 1) // PAGE) * PAGE
    whole = np.frombuffer(mmap.mmap(-1, inner + 2 * PAGE), np.uint8)
    start = whole.ctypes.data
    for page in (start, start + PAGE + inner):
        if _libc.mprotect(page, PAGE, NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = PAGE + inner - count if at_end else PAGE
    return whole[first : first + count]


def placed(array, at_end, strides=None):
    """Return a copy of an array there, with these strides or its own."""
    strides = array.strides if strides is None else strides
    last = sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True))
    memory = room(last + array.itemsize, at_end)
    copy = np.ndarray(array.shape, array.dtype, memory, strides=strides)
    copy[...] = array
    return copy

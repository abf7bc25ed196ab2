"""Which steps each row of a batch takes: lengths or a mask, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import Array, check_shape
from .arrays import whole_numbers

__all__ = ["PADS", "steps_taken"]

PADS = ("zeros", "repeat")  # what outputs hold where no step is taken


def steps_taken(
    lengths: Any, mask: Any, shape: tuple[int, ...], T: int, B: int
) -> tuple[Array | None, Array | None]:
    """Return (lengths, mask), one of them or both None.

    Parameters
    ----------
    lengths : (B,) integers in 0..T, or None
    mask : bool of `shape`, or None
    shape : (T, B) or (B, T), as x has it

    Returns
    -------
    lengths : int64, contiguous
    mask : bool

    Raises
    ------
    ValueError
        Both are given, or one does not fit.
    """
    if lengths is not None and mask is not None:
        raise ValueError("lengths, mask: expected one of the two, got both")
    if lengths is not None:
        check_shape("lengths", np.shape(lengths), (B,))
        return whole_numbers("lengths", lengths, T + 1), None
    if mask is None:
        return None, None
    array = np.asarray(mask)
    check_shape("mask", array.shape, shape)
    if array.dtype != np.bool_:
        raise ValueError(f"mask: expected an array of bool, got dtype {array.dtype}")
    return None, array

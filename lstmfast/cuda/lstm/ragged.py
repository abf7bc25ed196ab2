"""Which steps each row of a batch takes on the GPU: counts from lengths or a mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import check_shape
from ...ops.checks import steps_taken
from ..kernels.ragged import make_counts
from ..runtime.array import DeviceArray, empty, from_host
from .part import blocks

__all__ = ["Order"]


class Order:
    """The steps that rows take; `counts(reverse)` (T, B) int32, or None where all take all.

    Parameters
    ----------
    lengths : (B,) integers, on the host in 0..T, else beyond 0..T as 0 and T
    mask : bool (T, B), or (B, T) if `batch_first`, on the host or on the GPU

    Raises
    ------
    ValueError
        Both are given, or one does not fit.
    """

    def __init__(self, lengths: Any, mask: Any, T: int, B: int, batch_first: bool, stream: Any):
        self.T, self.B, self.stream = T, B, stream
        shape = (B, T) if batch_first else (T, B)
        self.strides = (1, T) if batch_first else (B, 1)
        known, chosen = (None if isinstance(a, DeviceArray) else a for a in (lengths, mask))
        counts, flags = steps_taken(known, chosen, shape, T, B)
        self.lengths = self._lengths(lengths, counts)
        self.mask = self._mask(mask, flags, shape)
        if self.lengths is not None and self.mask is not None:
            raise ValueError("lengths, mask: expected one of the two, got both")
        self._made: dict[bool, DeviceArray] = {}

    @property
    def ragged(self) -> bool:
        """May a row leave steps out?"""
        return self.lengths is not None or self.mask is not None

    def counts(self, reverse: bool) -> DeviceArray | None:
        """Return n of every step (`kernels.order`), as taken forwards or in reverse."""
        if not self.ragged:
            return None
        if reverse not in self._made:
            made = empty((self.T, self.B), np.int32, self.stream)
            kernel = make_counts(self.mask is not None, reverse)
            kernel.launch(self.stream, blocks(kernel, self.B), self.mask, self.lengths, made,
                          self.T, self.B, *self.strides)  # fmt: skip
            self._made[reverse] = made
        return self._made[reverse]

    def _lengths(self, lengths: Any, checked: Any) -> DeviceArray | None:
        if isinstance(lengths, DeviceArray):
            check_shape("lengths", lengths.shape, (self.B,))
            if lengths.dtype != np.int64 or not lengths.is_contiguous:
                found = f"{lengths.dtype} with strides {lengths.strides}"
                raise ValueError(f"lengths: expected contiguous int64 on the GPU, got {found}")
            return lengths
        return None if checked is None else from_host(checked, self.stream)

    def _mask(self, mask: Any, flags: Any, shape: tuple[int, int]) -> DeviceArray | None:
        if not isinstance(mask, DeviceArray):
            return None if flags is None else from_host(flags.astype(np.uint8), self.stream)
        check_shape("mask", mask.shape, shape)
        if mask.dtype != np.bool_:
            raise ValueError(f"mask: expected an array of bool, got dtype {mask.dtype}")
        if not mask.is_contiguous:
            raise ValueError(f"mask: expected a contiguous array, got strides {mask.strides}")
        return mask

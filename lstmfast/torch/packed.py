"""PyTorch's PackedSequence: rows of unlike lengths, step after step without what is padded."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, int64
from torch.nn.utils.rnn import PackedSequence

__all__ = ["Packing", "is_consistent"]


def is_consistent(input: PackedSequence) -> bool:
    """Do the batch sizes fall, and tell of as many rows as there are?"""
    sizes = input.batch_sizes
    if sizes.dim() != 1 or sizes.dtype != int64 or sizes.is_cuda or not len(sizes):
        return False
    counts = sizes.numpy()
    falls = (counts[1:] <= counts[:-1]).all() and counts[-1] > 0
    return bool(falls and counts.sum() == len(input.data))


class Packing:
    """Where the rows of packed data (N, K) belong in steps (T, B, K).

    Parameters
    ----------
    batch_sizes : (T,) int64 on the CPU, falling: how many rows take each step

    Attributes
    ----------
    lengths : (B,) int64, falling
    rows : B
    """

    def __init__(self, batch_sizes: Tensor):
        self.batch_sizes = batch_sizes
        sizes = batch_sizes.numpy()
        self.steps, self.rows = len(sizes), int(sizes[0])
        taken = sizes[:, None] > np.arange(self.rows)
        self.lengths = taken.sum(0)
        self.places = np.flatnonzero(taken)

    def padded(self, data: Any) -> Any:
        """Return (T, B, K) of (N, K); what belongs to no step is not set."""
        shape = (self.steps * self.rows, data.shape[1])
        room = (
            np.empty(shape, data.dtype) if isinstance(data, np.ndarray) else data.new_empty(shape)
        )
        room[self._places(data)] = data
        return room.reshape(self.steps, self.rows, -1)

    def packed(self, steps: Any) -> Any:
        """Return (N, K) of (T, B, K)."""
        flat = steps.reshape(self.steps * self.rows, -1)
        if isinstance(flat, np.ndarray):
            return np.take(flat, self.places, axis=0)
        return flat[self._places(flat)]

    def _places(self, like: Any) -> Any:
        if isinstance(like, np.ndarray):
            return self.places
        return like.new_tensor(self.places, dtype=self.batch_sizes.dtype)

"""Helpers around sequences: those of `utils`, where earlier Keras keeps them."""

from __future__ import annotations

from ..utils import pad_sequences

__all__ = ["pad_sequences"]

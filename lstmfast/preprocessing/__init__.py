"""Where earlier Keras keeps helpers around data: `preprocessing.sequence.pad_sequences`."""

from __future__ import annotations

from . import sequence

__all__ = ["sequence"]

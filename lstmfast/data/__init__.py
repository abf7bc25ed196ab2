"""Data for `Model.fit`, `evaluate` and `predict` beyond arrays: windows, ragged batches, threads.

What those take, and how each kind is read, is told in docs/data.md.
"""

from __future__ import annotations

from .ahead import prefetch
from .batch import Batch, PyDataset
from .buckets import bucketed
from .timeseries import timeseries_dataset_from_array, windows

__all__ = [
    "Batch",
    "PyDataset",
    "bucketed",
    "prefetch",
    "timeseries_dataset_from_array",
    "windows",
]

"""Helpers around data, with Keras 3's names and arguments."""

from __future__ import annotations

import collections.abc
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import Array, choice, integer, shape_text, shown
from .data import PyDataset, timeseries_dataset_from_array
from .disk import StrPath
from .seeding import set_random_seed

if TYPE_CHECKING:
    from .model import Model

__all__ = [
    "PyDataset",
    "Sequence",
    "normalize",
    "pad_sequences",
    "plot_model",
    "set_random_seed",
    "timeseries_dataset_from_array",
    "to_categorical",
]

Sequence = PyDataset  # its name in earlier Keras


def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """Return x over the norm of its vectors along an axis; what has norm 0 stays as it is.

    Parameters
    ----------
    x : array_like of numbers
    axis : int
    order : int, at least 1
        Of the norm: 1 of magnitudes, 2 of squares.

    Returns
    -------
    ndarray of the shape of x, float64 unless x is float32

    Raises
    ------
    ValueError
        For what are no numbers, or has no such axis.
    """
    found = np.asarray(x)
    if found.dtype.kind not in "iufb" or not found.ndim:
        raise ValueError(f"x: expected an array of numbers, got {shown(x)}")
    axis, order = integer("axis", axis, -found.ndim, found.ndim - 1), integer("order", order, 1)
    wide = np.abs(found, dtype=np.float64)
    largest = wide.max(axis=axis, keepdims=True, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    norms = scale * np.sum((wide / scale) ** order, axis=axis, keepdims=True) ** (1 / order)
    kind = found.dtype if found.dtype == np.float32 else np.dtype(np.float64)
    return np.asarray((found / np.where(largest > 0, norms, 1.0)).astype(kind))


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """Return one row of zeros and a one for each label.

    Parameters
    ----------
    x : array_like of int
        Labels (...) or (..., 1), in 0..num_classes-1.
    num_classes : int, optional
        By default the largest label + 1.

    Returns
    -------
    ndarray (..., num_classes) float64

    Raises
    ------
    ValueError
        For labels that are no integers, or out of range.
    """
    labels = np.asarray(x)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    whole = labels.astype(np.int64) if labels.dtype.kind in "biuf" else labels
    if labels.dtype.kind not in "biuf" or (whole != labels).any():
        raise ValueError(f"x: expected integer labels, got dtype {labels.dtype}")
    largest = int(whole.max(initial=-1))
    count = largest + 1 if num_classes is None else integer("num_classes", num_classes, 1)
    if whole.size and not 0 <= int(whole.min()) <= largest < count:
        found = f"[{whole.min()}, {largest}]"
        raise ValueError(f"x: expected labels in [0, {count}), got labels in {found}")
    rows = np.zeros((*whole.shape, count))
    np.put_along_axis(rows, whole[..., None], 1.0, axis=-1)
    return rows


def pad_sequences(
    sequences: collections.abc.Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> Array:
    """Return sequences of unlike lengths as one array, filled up with a value.

    Parameters
    ----------
    sequences : sequence of array_like (T, ...)
        All of one shape but for T.
    maxlen : int, optional
        By default the longest.
    dtype : str
    padding, truncating : {"pre", "post"}
        Whether to fill up, and to cut off, at the beginning or at the end. `LSTM` saves the steps
        of rows that are filled up at their end ("post").
    value : float

    Returns
    -------
    ndarray (N, maxlen, ...)

    Raises
    ------
    ValueError
        For what is no list of sequences of one kind.
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        choice(name, side, ("pre", "post"))
    if not hasattr(sequences, "__len__") or isinstance(sequences, (str, bytes)):
        raise ValueError(f"sequences: expected a list of sequences, got {shown(sequences)}")
    rows = [np.asarray(row) for row in sequences]
    if any(row.ndim == 0 for row in rows):
        raise ValueError("sequences: expected sequences, got a number among them")
    shapes = {row.shape[1:] for row in rows if len(row)}
    if len(shapes) > 1:
        found = " and ".join(map(shape_text, sorted(shapes)[:2]))
        raise ValueError(f"sequences: expected steps of one shape, got {found}")
    longest = max(map(len, rows), default=0)
    steps = longest if maxlen is None else integer("maxlen", maxlen, 1)
    whole = np.full((len(rows), steps, *(shapes.pop() if shapes else ())), value, dtype)
    for to, row in zip(whole, rows, strict=True):
        kept = row[-steps:] if truncating == "pre" else row[:steps]
        first = steps - len(kept) if padding == "pre" else 0
        to[first : first + len(kept)] = kept
    return whole


def plot_model(
    model: Model,
    to_file: StrPath = "model.png",
    show_shapes: bool = False,
    *,
    show_layer_names: bool = True,
) -> None:
    """Draw the graph of a model into a file: `Model.plot`, which always shows names."""
    choice("show_layer_names", show_layer_names, (True,))
    model.plot(to_file, show_shapes)

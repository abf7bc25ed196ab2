"""Arrays of samples, of what users give as such, or an error that helps."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import Array, shape_text, shown

__all__ = ["CHUNK", "as_array", "check_held", "is_on_disk"]

MOST_AXES = 16  # of lists in lists that are looked through for the odd one
CHUNK = 1 << 20  # elements that are cast at a time to see whether they fit


def as_array(name: str, data: Any) -> Array:
    """Return `data` as an array with at least one sample.

    Raises
    ------
    ValueError
        For what is no array and no list of samples of one length: the text says what it is, and
        what to do.
    """
    if np.ma.is_masked(data):
        raise ValueError(f"{name}: expected an array without masked values, got some (fill them)")
    try:
        found = np.asarray(data)
    except Exception as error:
        _check_ragged(name, data)
        reason = shown(str(error)).strip("'\"")
        kind = type(data).__name__
        raise ValueError(f"{name}: expected an array, got {kind}: {reason}") from error
    if found.ndim == 0:
        raise ValueError(f"{name}: expected an array of samples, got {_kind(data)}")
    if len(found) == 0:
        shape = shape_text(found.shape)
        raise ValueError(f"{name}: expected one sample or more, got shape {shape}")
    if found.dtype.kind == "O":
        _check_ragged(name, found)
        others = [one for one in found.ravel() if not isinstance(one, (int, float))]
        what = f"{shown(others[0])} among them" if others else "objects (see astype)"
        raise ValueError(f"{name}: expected numbers, got {what}")
    return found


def _check_ragged(name: str, data: Any) -> None:
    """Raise ValueError where the samples, or the rows within one, are of unlike lengths."""
    is_list = (
        isinstance(data, (list, tuple, np.ndarray))
        and _is_sized(data)
        and name.count("[") < MOST_AXES
    )
    parts = list(data) if is_list else []
    lengths = [len(part) for part in parts if _is_sized(part)]
    if len(lengths) < len(parts) and lengths:
        found = shown(next(part for part in parts if not _is_sized(part)))
        raise ValueError(f"{name}: expected samples of one shape, got {found} beside sequences")
    if len(set(lengths)) > 1:
        expected = "samples of one length (pad them, as with zeros, or take a batch per length)"
        found = f"lengths from {min(lengths)} to {max(lengths)}"
        raise ValueError(f"{name}: expected {expected}, got {found}")
    for index, part in enumerate(parts):
        _check_ragged(f"{name}[{index}]", part)
    shapes = {part.shape for part in parts if isinstance(part, np.ndarray)}
    if len(shapes) > 1:
        found = " and ".join(map(shape_text, sorted(shapes)[:2]))
        raise ValueError(f"{name}: expected samples of one shape, got {found}")


def _is_sized(part: Any) -> bool:
    """Has it a length: all sequences, but no array without axes?"""
    is_text = isinstance(part, (str, bytes))
    return hasattr(part, "__len__") and getattr(part, "ndim", 1) > 0 and not is_text


def _kind(data: Any) -> str:
    """What was found in place of an array, and how to make one of it."""
    kind = type(data).__name__
    if isinstance(data, (dict, set, frozenset)):
        return f"a {kind}; pass one array"
    if hasattr(data, "toarray"):
        return f"a sparse {kind}; pass its toarray()"
    if isinstance(data, (str, bytes)) or (np.ndim(data) == 0 and not hasattr(data, "__iter__")):
        return shown(data)
    return f"a {kind}; pass np.stack(list(...)) of it, or its batches to train_on_batch one by one"


def check_held(name: str, data: Array, dtype: str, finite: bool = True) -> None:
    """Raise ValueError unless the cast to `dtype` leaves finite numbers.

    Parameters
    ----------
    data : ndarray of real numbers
        It is cast piece by piece: no second array of its size is made.
    finite : bool
        NaN and Inf in the data are an error, too; else they may stay.
    """
    if data.dtype.kind in "iub":
        return
    if not finite and (data.dtype == dtype or np.can_cast(data.dtype, dtype)):
        return
    data = _once(data)
    rows = max(1, CHUNK // max(1, data[0].size))
    for start in range(0, len(data), rows):
        part = data[start : start + rows]
        with np.errstate(over="ignore"):
            held = np.isfinite(part.astype(dtype, copy=False))
        if held.all():
            continue
        lost = part[~held & np.isfinite(part)]
        if lost.size:
            found = shown(lost.flat[0].item())
            raise ValueError(f"{name}: expected numbers that {dtype} can hold, got {found}")
        if finite:
            why = " to learn from" if name == "x" else ""
            raise ValueError(f"{name}: expected finite numbers{why}, got NaN or Inf")


def _once(data: Array) -> Array:
    """Return windows of a series that overlap as the series, in which each number is there once."""
    if data.ndim < 2 or data.strides[1] <= 0 or data.strides[0] % data.strides[1]:
        return data
    step = data.strides[0] // data.strides[1]
    if not 0 < step < data.shape[1]:
        return data
    shape = ((len(data) - 1) * step + data.shape[1], *data.shape[2:])
    return np.lib.stride_tricks.as_strided(data, shape, data.strides[1:], writeable=False)


def is_on_disk(data: Any) -> bool:
    """Is this a `numpy.memmap`, or a part of one?"""
    while data is not None and not isinstance(data, np.memmap):
        data = getattr(data, "base", None)
    return data is not None

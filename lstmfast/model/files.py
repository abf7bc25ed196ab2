"""Model files: safetensors with a config in the header, formats 1 and 2.

The header's metadata holds `format` and `config`, a JSON text. Tensors of format 1 are F32 or F64;
format 2 is the same with I8 (weights in steps of their scales) and BF16 (the upper halves of
float32 weights, as which they are read) beside them, and is written where it must be. Tensors are
named
`layers/<layer>/<parameter>` and `optimizer/<slot>/<layer>/<parameter>`, in the layout of
`Layer.params`. Nothing here knows what a model is: it writes all of a file or none, and reads
tensors only when they are what the caller expects.

The package safetensors writes files but does not read them: it maps them, and a mapped file that
another process cuts short ends this one. A header is held against the limits below before it is
parsed, as a text of brackets grows twentyfold in memory.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save as to_bytes

from ..arguments import Array, check_shape, one_line
from ..disk import Source, StrPath, replace

__all__ = ["Reader", "StrPath", "opened", "write"]

FORMATS = {"1": ("F32", "F64"), "2": ("F32", "F64", "I8", "BF16")}
NAMES_OF_DTYPES = {"float32": "F32", "float64": "F64", "int8": "I8"}
LITTLE: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in (("F32", "<f4"), ("F64", "<f8"), ("I8", "i1"), ("BF16", "<u2"))
}
ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip

# Limits of a header and of the config in it.
MOST_BYTES = 8 * 2**20
MOST_VALUES = 500_000
MOST_DEPTH = 32
MOST_DIGITS = 300
MOST_AXES = 8


def write(path: StrPath, config: dict[str, Any], tensors: Mapping[str, Array]) -> None:
    """Write a model file; an earlier file of that name stays until the new one is complete.

    Tensors are float32, float64 or int8.

    Raises
    ------
    ValueError
        When a tensor holds NaN or Inf or the config is beyond the limits, which no reader would
        accept, or the path is no regular file; nothing is written.
    OSError
        When the disk does not take it; an earlier file is left as it was.
    """
    for name, tensor in tensors.items():
        _check_finite(name, tensor)
    _check_plain(config)
    metadata = {"format": _format_of(tensors), "config": json.dumps(config, allow_nan=False)}
    content = to_bytes(dict(tensors), metadata)
    _check_limits(content[8 : 8 + int.from_bytes(content[:8], "little")])
    replace(path, content)


def _format_of(tensors: Mapping[str, Array]) -> str:
    """The least format that can hold tensors of these dtypes."""
    dtypes = {NAMES_OF_DTYPES[tensor.dtype.name] for tensor in tensors.values()}
    return next(number for number, known in FORMATS.items() if dtypes <= set(known))


class Entry(NamedTuple):
    """What a header tells of a tensor, whose bytes are [start, stop) of those behind it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Reader:
    """An open model file whose header is sound.

    Attributes
    ----------
    config : dict
        What `write` was given.
    names : set of str
        Of the tensors.
    """

    def __init__(self, source: Source):
        self._source = source
        metadata, self._entries, self._start = _header(source)
        self.config = _config(metadata)
        self._format = metadata["format"]
        self.names = set(self._entries)

    def check_names(self, expected: set[str], prefix: str = "") -> None:
        """Raise ValueError unless the tensors whose name begins with `prefix` are these."""
        found = {name for name in self.names if name.startswith(prefix)}
        if missing := sorted(expected - found):
            raise ValueError(f"tensors: expected {missing}, got none of that name")
        if extra := sorted(found - expected):
            raise ValueError(f"tensors: expected {sorted(expected)}, got also {extra}")

    def read(
        self, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]
    ) -> dict[str, Array]:
        """Return the tensors of these names, new arrays of these dtypes; bfloat16 as float32.

        Raises
        ------
        ValueError
            When a shape or dtype is another, a value is NaN or Inf, or somebody writes to the file
            meanwhile.
        """
        for name, shape in shapes.items():
            self._check_entry(name, shape, dtypes[name])
        tensors = {name: self._tensor(self._entries[name]) for name in shapes}
        self._source.check_same()
        for name, tensor in tensors.items():
            _check_finite(name, tensor)
        return tensors

    def _check_entry(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        entry = self._entries[name]
        check_shape(name, entry.shape, shape)
        fits = (NAMES_OF_DTYPES[dtype], "BF16" if dtype == "float32" else None)
        if entry.dtype not in fits:
            raise ValueError(f"{name}: expected dtype {dtype}, got {entry.dtype}")
        if entry.dtype not in FORMATS[self._format]:
            found = f"{entry.dtype} in format {self._format}"
            raise ValueError(f"{name}: expected dtype {dtype}, got {found}")

    def _tensor(self, entry: Entry) -> Array:
        content = self._source.read(self._start + entry.start, entry.stop - entry.start)
        here = content.view(LITTLE[entry.dtype]).reshape(entry.shape)
        if entry.dtype == "BF16":
            return (here.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return here if here.dtype.isnative else here.astype(here.dtype.newbyteorder("="))


@contextmanager
def opened(path: StrPath) -> Iterator[Reader]:
    """Open a model file; every ValueError inside the block names the file.

    Raises
    ------
    ValueError
        When the file is cut short, is no safetensors file, is of another format, is beyond the
        limits, or is no regular file.
    FileNotFoundError
    """
    try:
        with Source(path) as source:
            yield Reader(source)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None


# ---------------------------------------------------------------- the header


def _header(source: Source) -> tuple[Mapping[str, str], dict[str, Entry], int]:
    """Return metadata, tensors and where these begin; they must fill the file without a gap."""
    if source.size < 8:
        raise _not_whole(f"{source.size} bytes")
    length = int.from_bytes(source.read(0, 8).tobytes(), "little")
    if length > source.size - 8:
        raise _not_whole(f"a header of {length} bytes in {source.size}")
    if length > MOST_BYTES:
        raise ValueError(f"header: expected at most {MOST_BYTES} bytes, got {length}")
    try:
        header = json.loads(_text(source, length), object_pairs_hook=_entry_or_object)
        metadata = _metadata(header)
        for name, entry in header.items():
            _check_text(name)
            if not isinstance(entry, Entry):
                raise ValueError(f"{name}: expected a tensor, got {entry!r}")
        _check_gaps(header.values(), source.size - 8 - length)
    except (ValueError, RecursionError) as error:
        raise _not_whole(f"a header with {type(error).__name__}: {error}") from None
    return metadata, header, 8 + length


def _text(source: Source, length: int) -> str:
    """Return a header within the limits."""
    raw = source.read(8, length).tobytes()
    if raw[:1] != b"{":
        raise ValueError(f"expected {{ at its beginning, got {raw[:1]!r}")
    _check_limits(raw)
    return raw.decode("utf-8")


def _not_whole(found: str) -> ValueError:
    return ValueError(f"expected a whole safetensors file, got {found}")


def _check_limits(raw: bytes) -> None:
    """Raise ValueError for a text that would take much memory or time to parse."""
    if len(raw) > MOST_BYTES:
        raise ValueError(f"header: expected at most {MOST_BYTES} bytes, got {len(raw)}")
    values = sum(raw.count(mark) for mark in (b",", b"[", b"{"))
    if values > MOST_VALUES:
        raise ValueError(f"header: expected at most {MOST_VALUES} values, got {values}")


def _parsed(text: str) -> Any:
    """Return what a JSON text holds, in which no key comes twice and no number is too large."""
    found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    _check_plain(found)
    return found


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        found = f"half of a surrogate pair in {one_line(text)}"
        raise ValueError(f"expected text, got {found}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("expected each key once")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"expected finite numbers, got {name}")


def _check_plain(value: Any, depth: int = 0) -> None:
    """Raise ValueError for values that are nested too deeply, too large or no text."""
    if depth > MOST_DEPTH:
        raise ValueError(f"expected values nested at most {MOST_DEPTH} deep, got more")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        raise ValueError(f"expected numbers of at most {MOST_DIGITS} digits, got one of more")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected finite numbers, got one beyond float64")
    elif isinstance(value, dict):
        for key, entry in value.items():
            _check_plain(key, depth + 1)
            _check_plain(entry, depth + 1)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _check_plain(entry, depth + 1)


def _metadata(header: Any) -> dict[str, str]:
    """Take the texts out of a header."""
    found = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ValueError("expected an object with __metadata__ of texts, got another")
    return found


def _entry_or_object(pairs: list[tuple[str, Any]]) -> Any:
    """What a header tells of one tensor at once as a tuple, which takes less room."""
    found = _unique(pairs)
    return _entry(found) if set(found) == {"dtype", "shape", "data_offsets"} else found


def _entry(found: dict[str, Any]) -> Entry:
    """Check that there are as many bytes as the shape says."""
    dtype, shape, span = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise ValueError(f"expected a dtype of {', '.join(ITEM_SIZES)}, got {dtype!r}")
    if not _whole(shape) or len(shape) > MOST_AXES or not _whole(span) or len(span) != 2:
        raise ValueError(f"expected sizes and two offsets, got {shape!r} and {span!r}")
    count = math.prod(shape) * ITEM_SIZES[dtype]
    if span[1] - span[0] != count:
        raise ValueError(f"expected {count} bytes for {dtype} {shape}, got {span[1] - span[0]}")
    return Entry(sys.intern(dtype), tuple(shape), *span)


def _whole(found: Any) -> bool:
    return isinstance(found, list) and all(type(size) is int and size >= 0 for size in found)


def _check_gaps(entries: Iterable[Entry], size: int) -> None:
    """Raise ValueError unless the tensors lie one behind the other and end where the file does."""
    start = 0
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.stop)):
        if entry.start != start:
            raise ValueError(f"expected a tensor at byte {start}, got one at {entry.start}")
        start = entry.stop
    if start != size:
        raise ValueError(f"expected tensors of {start} bytes in all, got {size}")


def _config(metadata: Mapping[str, str]) -> dict[str, Any]:
    if metadata.get("format") not in FORMATS:
        known, found = " or ".join(map(repr, FORMATS)), metadata.get("format")
        raise ValueError(f"format: expected {known} of an lstmfast model, got {found!r}")
    try:
        config = _parsed(metadata["config"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"config: expected JSON, got {type(error).__name__}: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"config: expected a JSON object, got {type(config).__name__}")
    return config


def _check_finite(name: str, tensor: Array) -> None:
    if not np.isfinite(tensor).all():
        raise ValueError(f"{name}: expected finite values, got NaN or Inf")

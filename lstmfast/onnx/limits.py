"""Limits of an ONNX file, held against its bytes before anything is made of them.

A message of two bytes may take hundreds in memory, so a small file could ask for much. What is
counted here bounds that: protobuf's fields, read from the wire, and numbers that are not weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["MOST_DEPTH", "MOST_FIELDS", "MOST_NAME", "check_limits"]

MOST_FIELDS = 100_000
MOST_DEPTH = 32
MOST_NAME = 4096  # bytes of a text that is a name
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # types on the wire
WEIGHTS = {"float_data", "double_data"}
SKIP, NAME, TEXT, FOURS, EIGHTS, VARINTS = range(6)
TEXTS = {"doc_string": SKIP, "value": TEXT}  # which may be of any length; the others are names


def check_limits(content: bytes, descriptor: Any) -> None:
    """Raise ValueError for a message that is damaged or beyond the limits.

    Parameters
    ----------
    content : a message
    descriptor : of its type, as protobuf tells it
    """
    _Scan(content).message(0, len(content), descriptor, 0)


class _Scan:
    def __init__(self, content: bytes):
        self.content = content
        self.count = 0
        self._known: dict[str, dict[int, Any]] = {}

    def message(self, at: int, end: int, descriptor: Any, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise ValueError(f"expected messages nested at most {MOST_DEPTH} deep, got more")
        known = self._fields(descriptor)
        while at < end:
            key, at = self._varint(at, end)
            self._add(1)
            kind = key & 7
            if kind == VARINT:
                _, at = self._varint(at, end)
            elif kind == BYTES:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise _not_whole()
                self._content(at, at + length, known.get(key >> 3, SKIP), depth)
                at += length
            elif kind in (FIXED32, FIXED64):
                at += 4 if kind == FIXED32 else 8
            else:
                raise ValueError(f"expected a whole ONNX file, got a field of type {kind}")
        if at != end:
            raise _not_whole()

    def _content(self, at: int, end: int, what: Any, depth: int) -> None:
        """Look at a field of bytes: a message, a text, or numbers one after the other."""
        if not isinstance(what, int):
            self.message(at, end, what, depth + 1)
        elif what in (NAME, TEXT):
            if what == NAME and end - at > MOST_NAME:
                raise ValueError(f"expected names of at most {MOST_NAME} bytes, got {end - at}")
            self.content[at:end].decode("utf-8")  # protobuf would give bytes where it is none
        elif what == VARINTS:
            held = np.frombuffer(self.content, np.uint8, end - at, at)
            self._add(int(np.count_nonzero(held < 128)))  # the last byte of each
        elif what in (FOURS, EIGHTS):
            self._add((end - at) // (4 if what == FOURS else 8))

    def _add(self, count: int) -> None:
        self.count += count
        if self.count > MOST_FIELDS:
            expected = f"at most {MOST_FIELDS} fields, and numbers that are not weights"
            raise ValueError(f"expected {expected}, got more")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self.content[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise _not_whole()

    def _fields(self, descriptor: Any) -> dict[int, Any]:
        """By number: the descriptor of a message, or what else the bytes of a field are."""
        if descriptor.full_name not in self._known:
            found = {number: _what(field) for number, field in descriptor.fields_by_number.items()}
            self._known[descriptor.full_name] = found
        return self._known[descriptor.full_name]


def _what(field: Any) -> Any:
    if field.message_type is not None:
        return field.message_type
    if field.type == field.TYPE_STRING:
        return TEXTS.get(field.name, NAME)
    if field.type == field.TYPE_BYTES or field.name in WEIGHTS:
        return SKIP
    if field.type in (field.TYPE_FLOAT, field.TYPE_FIXED32, field.TYPE_SFIXED32):
        return FOURS
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FIXED64, field.TYPE_SFIXED64):
        return EIGHTS
    return VARINTS


def _not_whole() -> ValueError:
    return ValueError("expected a whole ONNX file, got one that is cut short or damaged")

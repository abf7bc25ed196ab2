"""Weights in a second file beside a model's, as torch.onnx.export and others put them there."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from ..disk import Source

__all__ = ["Beside"]

KEYS = {"location", "offset", "length", "checksum"}


class Beside:
    """The files that a model may name: in its own folder, and named after it.

    `model.onnx` may have its weights in `model.onnx.data` or `model.data`; no link is followed, and
    nothing else is opened, so that a file that came from anywhere cannot read what lies about.

    Attributes
    ----------
    size : bytes of those that have been opened
    """

    def __init__(self, path: Any):
        folder, name = os.path.split(os.path.abspath(os.fspath(path)))
        self.folder, self.stem = os.fsdecode(folder), os.fsdecode(os.path.splitext(name)[0])
        self.size = 0
        self._files: dict[str, Source] = {}
        self._taken: dict[tuple[str, int, int], memoryview] = {}
        self._left = 0
        self._open = ExitStack()

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: Any) -> None:
        self._open.close()

    def content(self, tensor: Any) -> memoryview:
        """Return the bytes of a TensorProto; ValueError if they are not there."""
        keys = [entry.key for entry in tensor.external_data]
        if len(set(keys)) < len(keys) or not set(keys) <= KEYS or "location" not in keys:
            raise ValueError(f"{tensor.name}: expected {sorted(KEYS)} of its data, got {keys}")
        told = {entry.key: entry.value for entry in tensor.external_data}
        name, size = told["location"], self._file(tensor.name, told["location"]).size
        start = _number(tensor.name, told.get("offset", "0"))
        length = _number(tensor.name, told.get("length", str(max(size - start, 0))))
        if start + length > size:
            found = f"bytes {start} to {start + length} of {size}"
            raise ValueError(f"{tensor.name}: expected data within their file, got {found}")
        return self._part(tensor.name, name, start, length)

    def check_same(self) -> None:
        """Raise ValueError if a file was written to since it was opened."""
        for name, file in self._files.items():
            try:
                file.check_same()
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None

    def _part(self, tensor: str, name: str, start: int, length: int) -> memoryview:
        """Read each part once, and no byte of it as part of another."""
        key = (name, start, length)
        if key not in self._taken:
            self._left -= length
            if self._left < 0:
                raise ValueError(f"{tensor}: expected data of its own, got what others have, too")
            read = self._files[name].read(start, length)
            self._taken[key] = memoryview(read)  # type: ignore[arg-type]
        return self._taken[key]

    def _file(self, tensor: str, name: str) -> Source:
        if name not in self._files:
            own = name.startswith(self.stem) and os.path.basename(name) == name
            if not own or not self.stem:
                expected = f"data in a file beside the model, named {self.stem}..."
                raise ValueError(f"{tensor}: expected {expected}, got {name!r}")
            file = self._files[name] = self._opened(tensor, name)
            self.size += file.size
            self._left += file.size
        return self._files[name]

    def _opened(self, tensor: str, name: str) -> Source:
        try:
            file = self._open.enter_context(Source(os.path.join(self.folder, name), follow=False))
        except (OSError, ValueError) as error:
            raise ValueError(f"{tensor}: expected its data in {name!r}, got {error}") from error
        if not file.size:
            raise ValueError(f"{tensor}: expected a file of data, got {name!r}, which is empty")
        return file


def _number(tensor: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(f"{tensor}: expected a number of bytes, got {text!r}")
    return int(text)

"""Weights in a second file beside a model's, as torch.onnx.export and others put them there."""

from __future__ import annotations

import mmap
import os
import stat
from typing import Any

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
        self._files: dict[str, mmap.mmap] = {}

    def content(self, tensor: Any) -> memoryview:
        """Return the bytes of a TensorProto; ValueError if they are not there."""
        keys = [entry.key for entry in tensor.external_data]
        if len(set(keys)) < len(keys) or not set(keys) <= KEYS or "location" not in keys:
            raise ValueError(f"{tensor.name}: expected {sorted(KEYS)} of its data, got {keys}")
        told = {entry.key: entry.value for entry in tensor.external_data}
        file = self._file(tensor.name, told["location"])
        start = _number(tensor.name, told.get("offset", "0"))
        length = _number(tensor.name, told.get("length", str(max(len(file) - start, 0))))
        if start + length > len(file):
            found = f"bytes {start} to {start + length} of {len(file)}"
            raise ValueError(f"{tensor.name}: expected data within their file, got {found}")
        return memoryview(file)[start : start + length]

    def _file(self, tensor: str, name: str) -> mmap.mmap:
        if name not in self._files:
            own = name.startswith(self.stem) and os.path.basename(name) == name
            if not own or not self.stem:
                expected = f"data in a file beside the model, named {self.stem}..."
                raise ValueError(f"{tensor}: expected {expected}, got {name!r}")
            self._files[name] = self._opened(tensor, name)
            self.size += len(self._files[name])
        return self._files[name]

    def _opened(self, tensor: str, name: str) -> mmap.mmap:
        try:
            file = os.open(os.path.join(self.folder, name), os.O_RDONLY | os.O_NOFOLLOW)
        except (OSError, ValueError) as error:
            raise ValueError(f"{tensor}: expected its data in {name!r}, got {error}") from error
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or not found.st_size:
                raise ValueError(f"{tensor}: expected a file of data, got {name!r}, which is none")
            return mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(file)


def _number(tensor: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(f"{tensor}: expected a number of bytes, got {text!r}")
    return int(text)

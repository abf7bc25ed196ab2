"""Model files: safetensors with a config in the header, format 1.

The header's metadata holds `format` ("1") and `config`, a JSON text. Tensors are named
`layers/<layer>/<parameter>` and `optimizer/<slot>/<layer>/<parameter>`, in the layout of
`Layer.params`. Nothing here knows what a model is: it writes all of a file or none, and reads
tensors only when they are what the caller expects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from .arguments import Array, check_shape

__all__ = ["Reader", "opened", "write"]

FORMAT = "1"
NAMES_OF_DTYPES = {"float32": "F32", "float64": "F64"}

StrPath = str | os.PathLike[str]


def write(path: StrPath, config: dict[str, Any], tensors: Mapping[str, Array]) -> None:
    """Write a model file; an earlier file of that name stays until the new one is complete.

    Raises
    ------
    ValueError
        When a tensor holds NaN or Inf, which no reader would accept; nothing is written.
    OSError
        When the disk does not take it; an earlier file is left as it was.
    """
    for name, tensor in tensors.items():
        _check_finite(name, tensor)
    metadata = {"format": FORMAT, "config": json.dumps(config, allow_nan=False)}
    replace(os.path.realpath(path), to_bytes(dict(tensors), metadata))


def replace(target: StrPath, content: bytes) -> None:
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.part")
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


class Reader:
    """An open model file whose header is sound.

    Attributes
    ----------
    config : dict
        What `write` was given.
    names : set of str
        Of the tensors.
    """

    def __init__(self, file: Any):
        self._file = file
        self.config = _config(file.metadata() or {})
        self.names = set(file.keys())

    def check_names(self, expected: set[str], prefix: str = "") -> None:
        """Raise ValueError unless the tensors whose name begins with `prefix` are these."""
        found = {name for name in self.names if name.startswith(prefix)}
        if missing := sorted(expected - found):
            raise ValueError(f"tensors: expected {missing}, got none of that name")
        if extra := sorted(found - expected):
            raise ValueError(f"tensors: expected {sorted(expected)}, got also {extra}")

    def read(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, Array]:
        """Return the tensors of these names, new arrays.

        Raises
        ------
        ValueError
            When a shape or dtype is another, or a value is NaN or Inf.
        """
        for name, shape in shapes.items():
            self._check_header(name, shape, dtype)
        tensors = {name: np.array(self._file.get_tensor(name)) for name in shapes}
        for name, tensor in tensors.items():
            _check_finite(name, tensor)
        return tensors

    def _check_header(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        header = self._file.get_slice(name)
        check_shape(name, tuple(header.get_shape()), shape)
        if header.get_dtype() != NAMES_OF_DTYPES[dtype]:
            raise ValueError(f"{name}: expected dtype {dtype}, got {header.get_dtype()}")


@contextmanager
def opened(path: StrPath) -> Iterator[Reader]:
    """Open a model file; every ValueError inside the block names the file.

    Raises
    ------
    ValueError
        When the file is cut short, is no safetensors file, or is of another format.
    FileNotFoundError
    """
    try:
        with safe_open(path, framework="numpy") as file:
            yield Reader(file)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a whole safetensors file, got: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _config(metadata: Mapping[str, str]) -> dict[str, Any]:
    if metadata.get("format") != FORMAT:
        found = metadata.get("format")
        raise ValueError(f"format: expected {FORMAT!r} of an lstmfast model, got {found!r}")
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"config: expected JSON, got {type(error).__name__}: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"config: expected a JSON object, got {type(config).__name__}")
    return config


def _check_finite(name: str, tensor: Array) -> None:
    if not np.isfinite(tensor).all():
        raise ValueError(f"{name}: expected finite values, got NaN or Inf")

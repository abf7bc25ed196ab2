"""Values with arrays among them, as a JSON text and tensors hold them, bit by bit.

An array becomes `{"__array__": name, "dtype": ..., "shape": ..., "raw": ...}` and a tensor of that
name; so do long lists of floats. Where a tensor could not be one of a model file, as NaN is none
there and integers are not, it is the array's bytes (`raw`). A float that is no JSON becomes
`{"__float__": "nan"}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arguments import Array, choice, integer, keys, shown

__all__ = ["pack", "specs", "unpack"]

Spec = tuple[tuple[int, ...], str]

KINDS = ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
LONG = 32  # floats in a list, from which on they are a tensor: a header has a limit of values


def pack(value: Any, path: str) -> tuple[Any, dict[str, Array]]:
    """Return what is written of a value: plain values, and tensors whose names begin with `path`.

    Raises
    ------
    ValueError
        Naming `path`, for what is neither None, bool, int, float, str, an array of numbers, nor a
        list, tuple or dict (of str) of such.
    """
    tensors: dict[str, Array] = {}
    return _packed(value, path, tensors), tensors


def _packed(value: Any, path: str, tensors: dict[str, Array]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"__float__": repr(value)}
    if isinstance(value, np.ndarray):
        return _array(value, path, tensors, "array")
    if isinstance(value, (list, tuple)):
        if len(value) >= LONG and all(type(one) is float for one in value):
            return _array(np.array(value), path, tensors, "list")
        return [_packed(one, f"{path}/{at}", tensors) for at, one in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key.startswith("__"):
                raise ValueError(f"{path}: expected keys that are texts, got {shown(key)}")
        return {key: _packed(one, f"{path}/{key}", tensors) for key, one in value.items()}
    expected = "None, numbers, texts, arrays, or lists and dicts of them"
    raise ValueError(f"{path}: expected {expected}, got {shown(value)}")


def _array(array: Array, path: str, tensors: dict[str, Array], kind: str) -> dict[str, Any]:
    dtype = array.dtype.str[1:]
    if dtype not in KINDS:
        raise ValueError(f"{path}: expected an array of numbers, got dtype {array.dtype}")
    shape = array.shape
    raw = dtype not in ("f4", "f8") or not bool(np.isfinite(array).all())
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<" if raw else "="))
    tensors[path] = np.frombuffer(little.tobytes(), np.int8) if raw else little.reshape(shape)
    return {f"__{kind}__": path, "dtype": dtype, "shape": list(shape), "raw": raw}


def specs(plain: Any) -> dict[str, Spec]:
    """Return the shape and dtype of each tensor that packed values name.

    Raises
    ------
    ValueError
        For values that `pack` did not write.
    """
    found: dict[str, Spec] = {}
    _collect(plain, found)
    return found


def _collect(plain: Any, found: dict[str, Spec]) -> None:
    if isinstance(plain, list):
        for one in plain:
            _collect(one, found)
    elif isinstance(plain, Mapping) and (kind := _kind(plain)):
        name, dtype, shape = plain[f"__{kind}__"], plain["dtype"], _shape(plain["shape"])
        own = isinstance(name, str) and name.startswith("fit/") and name not in found
        if not own or dtype not in KINDS:
            raise ValueError(f"fit: expected a tensor's name and dtype, got {shown(plain)}")
        size = math.prod(shape) * int(dtype[1:])
        native = {"f4": "float32", "f8": "float64"}.get(dtype, "")
        if plain["raw"] is not True and not (plain["raw"] is False and native):
            raise ValueError(f"fit: expected a tensor's form, got {shown(plain)}")
        found[name] = ((size,), "int8") if plain["raw"] else (shape, native)
    elif isinstance(plain, Mapping):
        for one in plain.values():
            _collect(one, found)


def _kind(plain: Mapping[str, Any]) -> str:
    """Return "array" or "list" for what stands for a tensor, else ""."""
    for kind in ("array", "list"):
        if f"__{kind}__" in plain:
            keys("fit", plain, (f"__{kind}__", "dtype", "shape", "raw"))
            return kind
    return ""


def _shape(found: Any) -> tuple[int, ...]:
    if not isinstance(found, list) or len(found) > 32:
        raise ValueError(f"fit: expected a shape, got {shown(found)}")
    return tuple(integer("fit: shape", size, 0) for size in found)


def unpack(plain: Any, tensors: Mapping[str, Array]) -> Any:
    """Return the values again, from the tensors of `specs`."""
    if isinstance(plain, list):
        return [unpack(one, tensors) for one in plain]
    if not isinstance(plain, Mapping):
        return plain
    if "__float__" in plain:
        return FLOATS[choice("fit", keys("fit", plain, ("__float__",))["__float__"], FLOATS)]
    if kind := _kind(plain):
        tensor = tensors[plain[f"__{kind}__"]]
        if plain["raw"]:
            tensor = np.frombuffer(tensor.tobytes(), f"<{plain['dtype']}")
        array = tensor.reshape(plain["shape"]).astype(plain["dtype"])
        return array.tolist() if kind == "list" else array
    return {key: unpack(one, tensors) for key, one in plain.items()}

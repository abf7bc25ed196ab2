"""Weights in and out of the layouts of PyTorch, Keras and ONNX; NumPy alone, no framework.

The common form is a list of parts, one for each layer and direction: layer 0 forward, layer 0
backward, layer 1 forward and so on. A part is a dict of arrays, gates in the order i, f, g, o:

    W_ih (4H, I)    W_hh (4H, P)    b (4H,)    p (3, H): peepholes of i, f, o    W_hr (P, H)

b, p and W_hr are left out where there are none; P is H unless W_hr projects h (Sak et al. 2014).
So a part without W_hr is what `lstm_forward` takes: `lstm_forward(x, **part)`.

========  =======  ===========================================  ==================
layout    gates    arrays                                       bias
========  =======  ===========================================  ==================
PyTorch   i f g o  weight_ih (4H, I), weight_hh (4H, P),        bias_ih + bias_hh
                   weight_hr (P, H)
Keras     i f g o  kernel (I, 4H), recurrent_kernel (H, 4H)     bias (4H,)
ONNX      i o f g  W (D, 4H, I), R (D, 4H, H),                  B (D, 8H): W's, R's
                   P (D, 3H): i o f
========  =======  ===========================================  ==================

Every result is a new C-contiguous array of the dtype that was given. A weight goes there and back
with the same bits; of two biases the sum does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from .arguments import Array, check_shape, flag, shape_text
from .ops.checks import describe, not_empty

__all__ = ["from_keras", "from_onnx", "from_torch", "to_keras", "to_onnx", "to_torch"]

Part = dict[str, Array]

AXES = {
    "W_ih": ("4H", "I"),
    "W_hh": ("4H", "P"),
    "b": ("4H",),
    "p": ("3", "H"),
    "W_hr": ("P", "H"),
}
TORCH_KEY = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d+)(_reverse)?")
TORCH_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


class _Sizes:
    """The sizes that letters stand for, as one array after the other tells them, and the dtype."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.dtype: np.dtype[Any] | None = None

    def fit(self, name: str, value: Any, axes: Sequence[str]) -> Array:
        """Return a copy of `value`, with axes such as "4H" and "I" that fit what is known.

        Raises
        ------
        ValueError
            It is no array of floats, or its dtype or shape does not go with those before it.
        """
        array = _floats(name, value)
        self.dtype = self.dtype or array.dtype
        if array.dtype != self.dtype:
            raise ValueError(
                f"{name}: expected dtype {self.dtype} like the other arrays, got {array.dtype}"
            )
        expected = [self._expected(axis) for axis in axes]
        check_shape(name, array.shape, expected)
        not_empty(name, array)
        for axis, size in zip(axes, array.shape, strict=True):
            if axis[-1].isalpha():
                self.known.setdefault(axis[-1], size // int(axis[:-1] or 1))
        if [self._expected(axis) for axis in axes] != list(array.shape):  # 4 does not divide 4H
            raise ValueError(
                f"{name}: expected {shape_text(expected)}, got {shape_text(array.shape)}"
            )
        return array

    def _expected(self, axis: str) -> int | str:
        if axis.isdigit():
            return int(axis)
        size = self.known.get(axis[-1])
        return axis if size is None else int(axis[:-1] or 1) * size


def from_torch(state_dict: Mapping[str, Any], prefix: str = "") -> tuple[list[Part], bool]:
    """Take the weights out of a state_dict of torch.nn.LSTM.

    Parameters
    ----------
    state_dict : mapping of str to tensor or array
        Tensors of any device, with or without gradient.
    prefix : str
        What stands before `weight_ih_l0`, such as "encoder.lstm."; other keys are not looked at.

    Returns
    -------
    parts : list of dict
        With b = bias_ih + bias_hh, as `lstm_forward` takes it.
    bidirectional : bool

    Raises
    ------
    ValueError
        Keys are missing or unknown, or an array does not fit the others.
    """
    if not isinstance(state_dict, Mapping):
        raise ValueError(f"state_dict: expected a mapping, got {describe(state_dict)}")
    found = [str(key) for key in state_dict if str(key).startswith(prefix)]
    matches = [m for key in found if (m := TORCH_KEY.fullmatch(key, len(prefix)))]
    kinds = {m[1] for m in matches} | {"weight_ih", "weight_hh"}
    if kinds & {"bias_ih", "bias_hh"}:
        kinds |= {"bias_ih", "bias_hh"}
    bidirectional = any(m[3] for m in matches)
    endings = _torch_endings(len({m[2] for m in matches}) or 1, bidirectional)
    keys = [prefix + kind + end for end, kind in product(endings, TORCH_KINDS) if kind in kinds]
    _check_keys("state_dict", found, keys)
    sizes = _Sizes()
    parts: list[Part] = []
    for end in endings:
        _next_layer(sizes, len(parts), 1 + bidirectional)
        named = {kind: f"{prefix}{kind}{end}" for kind in TORCH_KINDS if kind in kinds}
        parts.append(_torch_part({kind: (n, state_dict[n]) for kind, n in named.items()}, sizes))
    return parts, bidirectional


def to_torch(
    parts: Sequence[Mapping[str, Any]], bidirectional: bool = False, prefix: str = ""
) -> dict[str, Array]:
    """Give the weights the names and shapes of torch.nn.LSTM's state_dict.

    `load_state_dict({name: torch.from_numpy(a) for name, a in to_torch(...).items()})` takes them.
    bias_ih is b, bias_hh zero.

    Parameters
    ----------
    parts : sequence of dict
        All with the same H, and the same of b and W_hr; PyTorch has no peepholes.
    bidirectional : bool
        Parts are the two directions of each layer in turn.
    prefix : str
        Put before every name.

    Raises
    ------
    ValueError
        A part or array does not fit the others, or there are peepholes.
    """
    directions = 1 + flag("bidirectional", bidirectional)
    sizes, arrays, count = _Sizes(), {}, len(_listed(parts, directions))
    for n, end in enumerate(_torch_endings(count // directions, bidirectional)):
        _next_layer(sizes, n, directions)
        part = _checked(f"parts[{n}]", parts[n], ("b", "W_hr"), sizes, parts[0])
        arrays[f"weight_ih{end}"], arrays[f"weight_hh{end}"] = part["W_ih"], part["W_hh"]
        if "b" in part:
            arrays[f"bias_ih{end}"], arrays[f"bias_hh{end}"] = part["b"], np.zeros_like(part["b"])
        if "W_hr" in part:
            arrays[f"weight_hr{end}"] = part["W_hr"]
    return {prefix + name: array for name, array in arrays.items()}


def from_keras(weights: Sequence[Any], bidirectional: bool = False) -> list[Part]:
    """Take the weights that `get_weights()` of keras.layers.LSTM gives.

    Parameters
    ----------
    weights : sequence of arrays
        [kernel (I, 4H), recurrent_kernel (H, 4H), bias (4H,)], the bias only with `use_bias`; those
        of several layers one after the other.
    bidirectional : bool
        They are of keras.layers.Bidirectional: first forward, then backward.

    Returns
    -------
    parts : list of dict

    Raises
    ------
    ValueError
        Their number or a shape does not fit.
    """
    directions = 1 + flag("bidirectional", bidirectional)
    if not isinstance(weights, (list, tuple)) or not weights:
        raise ValueError(f"weights: expected a list of arrays, got {describe(weights)}")
    arrays = [_floats(f"weights[{n}]", weight) for n, weight in enumerate(weights)]
    groups = _keras_groups(arrays)
    if len(groups) % directions:
        raise ValueError(f"weights: expected two directions of each layer, got {len(groups)} parts")
    parts: list[Part] = []
    for n, group in enumerate(groups):
        if n % directions == 0:
            sizes = _Sizes()
        elif len(group) != len(groups[n - 1]):
            raise ValueError(f"weights[{group.start}]: expected a bias in both directions or none")
        part = {}
        for key, at in zip(("W_ih", "W_hh", "b"), group, strict=False):
            axes = {"W_ih": ("I", "4H"), "W_hh": ("H", "4H"), "b": ("4H",)}[key]
            part[key] = sizes.fit(f"weights[{at}]", arrays[at], axes).T.copy()
        parts.append(part)
    return parts


def to_keras(parts: Sequence[Mapping[str, Any]]) -> list[Array]:
    """Return what `set_weights` of keras.layers.LSTM or Bidirectional takes, part after part.

    Raises
    ------
    ValueError
        A part does not fit: Keras has no peepholes and no projection.
    """
    weights = []
    for n, given in enumerate(_listed(parts, 1)):
        part = _checked(f"parts[{n}]", given, ("b",), _Sizes(), given)
        weights += [part["W_ih"].T.copy(), part["W_hh"].T.copy()]
        weights += [part["b"]] if "b" in part else []
    return weights


def from_onnx(W: Any, R: Any, B: Any = None, P: Any = None) -> list[Part]:
    """Take the weights out of the inputs of ONNX's LSTM operator.

    Parameters
    ----------
    W, R : arrays (D, 4H, I) and (D, 4H, H)
        D is 2 for direction="bidirectional", else 1.
    B : array (D, 8H), optional
        The biases of W and of R, which are added up.
    P : array (D, 3H), optional
        Peepholes.

    Returns
    -------
    parts : list of D dicts

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    sizes = _Sizes()
    W, R = sizes.fit("W", W, ("D", "4H", "I")), sizes.fit("R", R, ("D", "4H", "H"))
    D, H = sizes.known["D"], sizes.known["H"]
    if D > 2:
        raise ValueError(f"W: expected 1 or 2 directions, got shape {W.shape}")
    parts = [{"W_ih": from_iofg(W[d]), "W_hh": from_iofg(R[d])} for d in range(D)]
    if B is not None:
        B = sizes.fit("B", B, ("D", "8H"))
        for d, part in enumerate(parts):
            part["b"] = from_iofg(B[d, : 4 * H] + B[d, 4 * H :])
    if P is not None:
        P = sizes.fit("P", P, ("D", "3H"))
        for d, part in enumerate(parts):
            part["p"] = P[d].reshape(3, H)[[0, 2, 1]]
    return parts


def to_onnx(
    parts: Sequence[Mapping[str, Any]],
) -> tuple[Array, Array, Array | None, Array | None]:
    """Return the inputs W, R, B, P of ONNX's LSTM operator; B and P None where there are none.

    Parameters
    ----------
    parts : sequence of dict
        Of one layer: one, or forward and backward. R's half of B is zero.

    Raises
    ------
    ValueError
        A part does not fit: ONNX has no projection.
    """
    if len(_listed(parts, 1)) > 2:
        raise ValueError(f"parts: expected one layer in 1 or 2 directions, got {len(parts)} parts")
    sizes = _Sizes()
    read = [_checked(f"parts[{d}]", p, ("b", "p"), sizes, parts[0]) for d, p in enumerate(parts)]
    W, R = (np.stack([to_iofg(part[name]) for part in read]) for name in ("W_ih", "W_hh"))
    B = P = None
    if "b" in read[0]:
        B = np.stack([np.concatenate([to_iofg(p["b"]), np.zeros_like(p["b"])]) for p in read])
    if "p" in read[0]:
        P = np.stack([part["p"][[0, 2, 1]].reshape(-1) for part in read])
    return W, R, B, P


def _floats(name: str, value: Any) -> Array:
    """Return a new C-contiguous array of what is an array of floats, or a tensor."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        array = np.array(value, order="C")
    except (TypeError, ValueError):  # a tensor of a type that NumPy lacks, a ragged list
        raise ValueError(f"{name}: expected an array of floats, got {describe(value)}") from None
    if array.dtype.kind != "f":
        found = describe(value) if array.dtype.kind == "O" else f"dtype {array.dtype}"
        raise ValueError(f"{name}: expected an array of floats, got {found}")
    return array


def _check_keys(name: str, found: Sequence[str], expected: Sequence[str]) -> None:
    missing = [key for key in expected if key not in found]
    unknown = [key for key in found if key not in expected]
    if missing:
        raise ValueError(f"{name}: expected the keys {missing}, too, got {list(found)}")
    if unknown:
        raise ValueError(f"{name}: expected no keys but {list(expected)}, got {unknown}")


def _listed(parts: Any, directions: int) -> Sequence[Mapping[str, Any]]:
    """Return `parts`, or raise ValueError unless they are `directions` of each layer."""
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ValueError(f"parts: expected a list of dicts, got {describe(parts)}")
    if len(parts) % directions:
        raise ValueError(f"parts: expected two directions of each layer, got {len(parts)} parts")
    return parts


def _checked(
    name: str, part: Any, optional: Sequence[str], sizes: _Sizes, first: Mapping[str, Any]
) -> Part:
    """Return copies of a part's arrays; of the optional ones it holds those that `first` holds."""
    if not isinstance(part, Mapping):
        raise ValueError(f"{name}: expected a dict of arrays, got {describe(part)}")
    keys = [key for key in AXES if key in ("W_ih", "W_hh") or (key in optional and key in first)]
    _check_keys(name, list(part), keys)
    axes = AXES if "W_hr" in keys else {**AXES, "W_hh": ("4H", "H")}
    return {key: sizes.fit(f"{name}[{key!r}]", part[key], axes[key]) for key in keys}


def _next_layer(sizes: _Sizes, n: int, directions: int) -> None:
    """Before part n: from the second layer on, the input is what the layer below puts out."""
    if n and n % directions == 0:
        sizes.known["I"] = directions * sizes.known.get("P", sizes.known["H"])


def _torch_endings(layers: int, bidirectional: bool) -> list[str]:
    """`_l0`, `_l0_reverse`, `_l1`: in the order of the parts."""
    reverse = ("", "_reverse") if bidirectional else ("",)
    return [f"_l{k}{end}" for k, end in product(range(layers), reverse)]


def _torch_part(named: Mapping[str, tuple[str, Any]], sizes: _Sizes) -> Part:
    """Return one part of (key, tensor) by kind."""
    axes = {
        "weight_ih": ("4H", "I"),
        "weight_hh": ("4H", "P" if "weight_hr" in named else "H"),
        "bias_ih": ("4H",),
        "bias_hh": ("4H",),
        "weight_hr": ("P", "H"),
    }
    read = {
        kind: sizes.fit(f"state_dict[{key!r}]", tensor, axes[kind])
        for kind, (key, tensor) in named.items()
    }
    part = {"W_ih": read["weight_ih"], "W_hh": read["weight_hh"]}
    if "bias_ih" in read:
        part["b"] = read["bias_ih"] + read["bias_hh"]
    if "weight_hr" in read:
        part["W_hr"] = read["weight_hr"]
    return part


def _keras_groups(arrays: Sequence[Array]) -> list[range]:
    """Return where kernel, recurrent kernel and perhaps bias of each part stand."""
    groups, start = [], 0
    while start < len(arrays):
        if start + 2 > len(arrays):
            raise ValueError(f"weights: expected a recurrent_kernel after weights[{start}]")
        stop = start + 2
        stop += stop < len(arrays) and arrays[stop].ndim == 1
        groups.append(range(start, stop))
        start = stop
    return groups


def from_iofg(array: Array) -> Array:
    """Rows of gates in ONNX's order in ours: i, f, g, o."""
    i, o, f, g = np.split(array, 4)
    return np.concatenate([i, f, g, o])


def to_iofg(array: Array) -> Array:
    """Rows of gates in our order in ONNX's."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])

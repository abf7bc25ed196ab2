"""The weights of LSTM layers: checked against each other, and made a handle of."""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import capi
from ..arguments import Array
from . import checks
from .checks import new

__all__ = ["Norm", "Weights", "gradients_for", "layer_of", "weights_of"]


class Norm(NamedTuple):
    """The gains and biases of layer normalisation (Ba, Kiros and Hinton 2016).

    z = LN(W_ih x) gain_x + LN(W_hh h) gain_h + b  and  h = o φ(LN(c) gain_c + b_c), where
    LN(v) = (v - mean v) / sqrt(var v + 1e-5), over the 4H numbers of a row and over its H.

    Parameters
    ----------
    gain_x, gain_h : (4H,)
    gain_c, b_c : (H,)
    """

    gain_x: Array
    gain_h: Array
    gain_c: Array
    b_c: Array


class Weights(NamedTuple):
    """Of one layer in one direction, in the order that `capi.Handle` takes; None: there is none."""

    W_ih: Array
    W_hh: Array
    b: Array | None = None
    p: Array | None = None
    W_hr: Array | None = None
    gain_x: Array | None = None
    gain_h: Array | None = None
    gain_c: Array | None = None
    b_c: Array | None = None
    W_static: Array | None = None

    @property
    def static_size(self) -> int:
        return 0 if self.W_static is None else self.W_static.shape[1]

    @property
    def norm(self) -> Norm | None:
        """The normalisation's, if there is one."""
        if self.gain_x is None:
            return None
        return Norm(self.gain_x, self.gain_h, self.gain_c, self.b_c)  # type: ignore[arg-type]


def is_stack(W_ih: Any) -> bool:
    return isinstance(W_ih, (list, tuple))


def weights_of(
    W_ih: Any, W_hh: Any, b: Any, p: Any, W_hr: Any, norm: Any, bidirectional: bool, dtype: Any,
    of: Any = checks, W_static: Any = None,
) -> list[Weights]:  # fmt: skip
    """Return the weights of each part, checked: all of them arrays, or all sequences of arrays.

    W_static is that of the first layer, or a sequence of those of both its directions. `of` has the
    checks of arrays: `lstmfast.ops.checks`, or its counterpart for those on a GPU.
    """
    parts = _parts_of(W_ih, W_hh, b, p, W_hr, norm, bidirectional, dtype, of)
    if W_static is not None:
        _add_static(parts, W_static, 1 + bidirectional, of)
    return parts


def _add_static(parts: list[Weights], W_static: Any, directions: int, of: Any) -> None:
    """Give the parts of the first layer their W_static."""
    each = list(W_static) if is_stack(W_static) else [W_static]
    if len(each) != directions:
        expected = "one array" if directions == 1 else "a sequence of two, one for each direction"
        raise ValueError(f"W_static: expected {expected}, got {_count(W_static)}")
    sizes: tuple[Any, ...] = (parts[0].W_ih.shape[0], "S")
    for k, array in enumerate(each):
        name = f"W_static[{k}]" if is_stack(W_static) else "W_static"
        dense = of.dense(name, array, sizes, parts[0].W_ih.dtype)
        parts[k], sizes = parts[k]._replace(W_static=dense), dense.shape


def _count(value: Any) -> str:
    return f"{len(value)} of them" if is_stack(value) else "one array"


def _parts_of(
    W_ih: Any, W_hh: Any, b: Any, p: Any, W_hr: Any, norm: Any, bidirectional: bool, dtype: Any,
    of: Any,
) -> list[Weights]:  # fmt: skip
    given = {"W_ih": W_ih, "W_hh": W_hh, "b": b, "p": p, "W_hr": W_hr, "norm": norm}
    if not is_stack(W_ih):
        if bidirectional:
            raise ValueError("W_ih: expected one array for each direction, got one array")
        return [_part(given, "", dtype or of.float_array("W_ih", W_ih).dtype, None, of)]
    return _stack(given, 1 + bidirectional, dtype, of)


def _stack(given: dict[str, Any], directions: int, dtype: Any, of: Any) -> list[Weights]:
    """The weights of several parts: `given` holds sequences."""
    W_ih = given["W_ih"]
    if not all(of.is_array(one) for one in W_ih):
        found = type(W_ih).__name__
        raise ValueError(f"W_ih: expected a NumPy array of floats, or several, got a {found}")
    count = len(W_ih)
    if count > capi.MAX_LAYERS * directions:
        raise ValueError(f"W_ih: expected at most {capi.MAX_LAYERS} layers, got {count} arrays")
    if count == 0 or count % directions:
        raise ValueError(f"W_ih: expected {directions} arrays for each layer, got {count}")
    for name, value in given.items():
        if value is not None and (not is_stack(value) or len(value) != count):
            found = f"{len(value)}" if is_stack(value) else type(value).__name__
            raise ValueError(f"{name}: expected {count} of them, as of W_ih, got {found}")
    dtype = dtype or of.float_array("W_ih[0]", W_ih[0]).dtype
    parts: list[Weights] = []
    for k in range(count):
        one = {name: None if value is None else value[k] for name, value in given.items()}
        inputs = None
        if k >= directions:
            inputs = directions * outputs_of(parts[0])
        elif k > 0:
            inputs = parts[0].W_ih.shape[1]
        parts.append(_part(one, f"[{k}]", dtype, inputs, of))
    _check_alike(parts)
    return parts


def outputs_of(weights: Weights) -> int:
    """P, the size of a layer's output in one direction."""
    return weights.W_hh.shape[1]


def _part(
    given: dict[str, Any], at: str, dtype: np.dtype[Any], inputs: int | None, of: Any
) -> Weights:
    dense = of.dense
    W_ih = dense(f"W_ih{at}", given["W_ih"], ("4H", inputs or "I"), dtype)
    H, remainder = divmod(W_ih.shape[0], 4)
    if remainder:
        raise ValueError(f"W_ih{at}: expected (4H, I), got {W_ih.shape}")

    b, p, W_hr, norm = given["b"], given["p"], given["W_hr"], given["norm"]
    W_hr = None if W_hr is None else dense(f"W_hr{at}", W_hr, ("P", H), dtype)
    P = H if W_hr is None else W_hr.shape[0]
    W_hh = dense(f"W_hh{at}", given["W_hh"], (4 * H, P), dtype)
    b = None if b is None else dense(f"b{at}", b, (4 * H,), dtype)
    p = None if p is None else dense(f"p{at}", p, (3, H), dtype)
    if norm is None:
        return Weights(W_ih, W_hh, b, p, W_hr)
    return Weights(W_ih, W_hh, b, p, W_hr, *_norm(norm, at, H, dtype, of))


def _norm(norm: Any, at: str, H: int, dtype: np.dtype[Any], of: Any) -> list[Array]:
    if not isinstance(norm, (tuple, list)) or len(norm) != len(Norm._fields):
        raise ValueError(f"norm{at}: expected {Norm._fields}, got {type(norm).__name__}")
    sizes = (4 * H, 4 * H, H, H)
    return [
        of.dense(f"norm{at}.{name}", value, (size,), dtype)
        for name, value, size in zip(Norm._fields, norm, sizes, strict=True)
    ]


def _check_alike(parts: Sequence[Weights]) -> None:
    """Raise ValueError unless all parts have the same H, P and kinds of weights."""
    for k, part in enumerate(parts[1:], 1):
        for name in ("W_hh", "b", "p", "W_hr", "gain_c"):
            first, here = getattr(parts[0], name), getattr(part, name)
            if np.shape(first) != np.shape(here):
                label = "norm" if name == "gain_c" else name
                raise ValueError(
                    f"{label}[{k}]: expected the shape of {label}[0], {np.shape(first)}, "
                    f"got {'None' if here is None else here.shape}"
                )


def layer_of(
    parts: Sequence[Weights], keys: dict[str, float], *, training: bool, batch_size: int,
    borrow: bool,
) -> Any:  # fmt: skip
    """Return a handle with these weights, packed at once, or with `borrow` as passes need them."""
    first = parts[0]
    H, directions = first.W_ih.shape[0] // 4, 2 if keys.get("bidirectional") else 1
    if len(parts) > directions:
        keys = {**keys, "num_layers": len(parts) // directions}
    if first.p is not None:
        keys = {**keys, "peepholes": 1}
    if first.W_hr is not None:
        keys = {**keys, "proj_size": outputs_of(first)}
    if first.gain_x is not None:
        keys = {**keys, "layer_norm": 1}
    if first.static_size:
        keys = {**keys, "static_size": first.static_size}
    if keys.get("precision") == checks.BITS["int8"]:
        checks.check_terms("W_ih", first.W_ih.shape[1], "int8")
        checks.check_terms("W_hh", directions * outputs_of(first), "int8")
    is_double = first.W_ih.dtype == np.float64
    layer = capi.Handle(first.W_ih.shape[1], H, is_double, training, batch_size, keys)
    (layer.borrow if borrow else layer.load)(parts)
    return layer


def _reduce_layer(layer: Any) -> Any:
    """How a handle is copied and pickled: its weights as they were given, packed again there.

    What is packed lies as this processor's kernels want it, which another's may not.
    """
    if layer.training:
        raise TypeError("lstmfast.capi.Handle: expected one for inference, got one for training")
    return _layer_again, (layer.arguments, _stored(layer), layer.fresh, layer.x_static)


def _layer_again(arguments: Any, parts: list[Weights], fresh: bool, x_static: Any = None) -> Any:
    layer = capi.Handle(*arguments)
    layer.load(parts)
    layer.fresh = fresh
    if x_static is not None:
        layer.set_static(x_static)
    return layer


def _stored(layer: Any) -> list[Weights]:
    """The weights of a handle that has loaded them; b is there in any case."""
    options, dtype = layer.arguments[-1], np.float64 if layer.is_double else np.float32
    directions = 2 if options.get("bidirectional") else 1
    H, P = layer.hidden_size, layer.state_size

    def rooms(I: int, S: int) -> Weights:
        shapes: list[Any] = [(4 * H, I), (4 * H, P), (4 * H,)]
        shapes += [(3, H) if options.get("peepholes") else None]
        shapes += [(P, H) if options.get("proj_size") else None]
        shapes += [(4 * H,), (4 * H,), (H,), (H,)] if options.get("layer_norm") else [None] * 4
        shapes += [(4 * H, S) if S else None]
        made: Any = [None if shape is None else np.empty(shape, dtype) for shape in shapes]
        return Weights(*made)

    first, inner = layer.input_size, layer.output_size
    S = int(options.get("static_size", 0))
    below = [(first, S) if k < directions else (inner, 0) for k in range(layer.parts)]
    parts = [rooms(*sizes) for sizes in below]
    layer.store(parts)
    return parts


copyreg.pickle(capi.Handle, _reduce_layer)


def gradients_for(parts: Sequence[Weights], no_past: bool) -> list[Weights]:
    """Room for the gradient of each weight, and of b, whether or not there is one.

    With no_past that of W_hh is zero, and nothing will be added to it.
    """
    made = []
    for part in parts:
        dtype, shape = part.W_ih.dtype, part.W_hh.shape
        room = [None if a is None else new(a.shape, dtype) for a in part[3:]]
        W_hh = np.zeros(shape, dtype) if no_past else new(shape, dtype)
        b = np.empty(part.W_ih.shape[0], dtype)
        made.append(Weights(new(part.W_ih.shape, dtype), W_hh, b, *room))
    return made

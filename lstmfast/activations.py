"""Activations as functions on arrays: Keras 3's, as in `Dense(4, activation=activations.relu)`.

Layers take them, or their names. Those of `OF_INPUTS` have no compiled kernel: they are calculated
by NumPy, and their slope is told from what they got. Recurrent layers do not take these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import ops
from .arguments import Array, choice, integer, number, shown
from .ops.rectified import rectified

__all__ = [
    "FUNCTIONS", "OF_INPUTS", "OfInputs", "deserialize", "elu", "exponential", "gelu", "get",
    "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid",
    "log_softmax", "mish", "name_of", "relu", "relu6", "selu", "serialize", "sigmoid", "silu",
    "softmax", "softplus", "softsign", "swish", "tanh",
]  # fmt: skip

Function = Callable[..., Any]
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017
ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
GRID, FAR, TERMS = 512, 6, 4  # of erf: points per unit, where it is 1, terms of Taylor's series


# ---------------------------------------------------------------- those that have kernels


def linear(x: Any) -> Any:
    """x itself."""
    return x


def relu(
    x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """x above `threshold`, at most `max_value`; else `negative_slope` (x - `threshold`)."""
    most = None if max_value is None else number("max_value", max_value, 0.0)
    slope = number("negative_slope", negative_slope, 0.0)
    return rectified(_floats(x), most, slope, number("threshold", threshold, 0.0))


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Array:
    """x, or `negative_slope` x below 0."""
    return _kernel(("leaky_relu", negative_slope), _floats(x))


def elu(x: Any, alpha: float = 1.0) -> Array:
    """x, or alpha (eˣ - 1) below 0."""
    return _kernel(("elu", alpha), _floats(x))


def tanh(x: Any) -> Array:
    """The hyperbolic tangent."""
    return _kernel("tanh", _floats(x))


def sigmoid(x: Any) -> Array:
    """1 / (1 + e⁻ˣ)"""
    return _kernel("sigmoid", _floats(x))


def hard_sigmoid(x: Any) -> Array:
    """x / 6 + 1/2, held in [0, 1]."""
    return _kernel("hard_sigmoid", _floats(x))


def softplus(x: Any) -> Array:
    """log(1 + eˣ)"""
    return _kernel("softplus", _floats(x))


def softsign(x: Any) -> Array:
    """x / (1 + |x|)"""
    return _kernel("softsign", _floats(x))


def softmax(x: Any, axis: int = -1) -> Array:
    """eˣ over the sum of eˣ along an axis, of arrays of two axes or more."""
    rows = np.moveaxis(_of_axes(x), integer("axis", axis, -32, 32), -1)
    y = ops.softmax(np.ascontiguousarray(rows).reshape(-1, rows.shape[-1]))
    return np.ascontiguousarray(np.moveaxis(y.reshape(rows.shape), -1, axis))


def log_softmax(x: Any, axis: int = -1) -> Array:
    """The logarithm of `softmax`, without loss where that is small."""
    found = _of_axes(x)
    shifted = found - found.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


# ---------------------------------------------------------------- those of NumPy


def gelu(x: Any, approximate: bool = False) -> Array:
    """x times the probability that a normal number is below x (Hendrycks and Gimpel 2016).

    With `approximate`, x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))); layers take the exact one.
    """
    x = _floats(x)
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + _kernel("tanh", inner)))
    return np.asarray((x * _normal_below(x)).astype(x.dtype, copy=False))


def silu(x: Any) -> Array:
    """x times its sigmoid; also called swish."""
    x = _floats(x)
    return np.asarray(x * _kernel("sigmoid", x))


def selu(x: Any) -> Array:
    """1.0507 x, or 1.7581 (eˣ - 1) below 0."""
    return np.asarray(elu(x, SELU_ALPHA) * SELU_SCALE)


def exponential(x: Any) -> Array:
    """eˣ"""
    with np.errstate(over="ignore"):
        return np.exp(_floats(x))


def mish(x: Any) -> Array:
    """x tanh(log(1 + eˣ)) (Misra 2019)."""
    x = _floats(x)
    return np.asarray(x * _kernel("tanh", softplus(x)))


def relu6(x: Any) -> Array:
    """x held in [0, 6]."""
    return np.clip(_floats(x), 0, 6)


def hard_tanh(x: Any) -> Array:
    """x held in [-1, 1]."""
    return np.clip(_floats(x), -1, 1)


def hard_silu(x: Any) -> Array:
    """x times (x + 3) / 6 held in [0, 1]; also called hard swish."""
    x = _floats(x)
    return np.asarray(x * np.clip((x + 3) / 6, 0, 1))


def log_sigmoid(x: Any) -> Array:
    """-log(1 + e⁻ˣ)"""
    return np.negative(softplus(-_floats(x)))


swish, hard_swish = silu, hard_silu


class OfInputs(NamedTuple):
    """An activation without a kernel, and its slope at what it got."""

    function: Function
    slope: Callable[[Array], Array]

    def forward(self, x: Array) -> Array:
        """Return f(x), a new array, without a warning."""
        with np.errstate(all="ignore"):
            return np.asarray(self.function(x))

    def backward(self, x: Array, dy: Array) -> Array:
        """Multiply the gradient of f(x) by the slope at x, in place, and return it."""
        with np.errstate(all="ignore"):
            dy *= self.slope(x)
        return dy


def _gelu_slope(x: Array) -> Array:
    bell = np.exp(-0.5 * np.square(x, dtype=np.float64)) / math.sqrt(2 * math.pi)
    return np.asarray((_normal_below(x) + x * bell).astype(x.dtype))


def _silu_slope(x: Array) -> Array:
    s = _kernel("sigmoid", x)
    return np.asarray(s + x * s * _kernel("sigmoid", -x))


def _selu_slope(x: Array) -> Array:
    below = SELU_ALPHA * np.exp(np.minimum(x, 0))
    return np.asarray(SELU_SCALE * np.where(x > 0, x.dtype.type(1), below))


def _mish_slope(x: Array) -> Array:
    t = _kernel("tanh", softplus(x))
    return np.asarray(t + x * (1 + t) * (1 - t) * _kernel("sigmoid", x))


def _hard_silu_slope(x: Array) -> Array:
    inside = (2 * x + 3) / 6
    return np.where(x <= -3, x.dtype.type(0), np.where(x >= 3, x.dtype.type(1), inside))


OF_INPUTS: Mapping[str, OfInputs] = {
    "gelu": OfInputs(gelu, _gelu_slope),
    "silu": OfInputs(silu, _silu_slope),
    "selu": OfInputs(selu, _selu_slope),
    "exponential": OfInputs(exponential, exponential),
    "mish": OfInputs(mish, _mish_slope),
    "relu6": OfInputs(relu6, lambda x: (x > 0) & (x < 6)),
    "hard_tanh": OfInputs(hard_tanh, lambda x: (x > -1) & (x < 1)),
    "hard_silu": OfInputs(hard_silu, _hard_silu_slope),
    "log_sigmoid": OfInputs(log_sigmoid, lambda x: _kernel("sigmoid", -x)),
}
FUNCTIONS: Mapping[str, Function] = {
    found.__name__: found
    for found in (
        linear, relu, leaky_relu, elu, tanh, sigmoid, hard_sigmoid, softplus, softsign, softmax,
        log_softmax, *(one.function for one in OF_INPUTS.values()),
    )
}  # fmt: skip
for _name, _function in FUNCTIONS.items():
    _function.activation_name = _name  # type: ignore[attr-defined]  # what `ops.activations` reads


# ---------------------------------------------------------------- names


def get(identifier: str | Function | None) -> Function:
    """Return the function of this name, or itself; `linear` for None; ValueError for others."""
    if identifier is None:
        return linear
    if callable(identifier) and not isinstance(identifier, type):
        return identifier
    if isinstance(identifier, str):
        name = ALIASES.get(identifier, identifier)
        if name in FUNCTIONS:
            return FUNCTIONS[name]
    listed = ", ".join(map(repr, FUNCTIONS))
    raise ValueError(f"activation: expected one of {listed}, got {shown(identifier)}")


def serialize(activation: Function) -> str:
    """Return the name of one of the functions above; ValueError for others."""
    name = getattr(activation, "activation_name", None)
    if name is None:
        raise ValueError(f"activation: expected one of `activations`, got {shown(activation)}")
    return str(name)


def deserialize(name: str) -> Function:
    """Return the function of this name; ValueError for others."""
    return get(name)


def name_of(argument: str, identifier: Any, allowed: Collection[str]) -> str:
    """Return the name by which a layer keeps an activation: that of a name or a function.

    None is "linear".

    Raises
    ------
    ValueError
        Naming `argument`, for what is not one of `allowed`.
    """
    found = "linear" if identifier is None else identifier
    found = getattr(found, "activation_name", found)
    found = ALIASES.get(found, found) if isinstance(found, str) else found
    return choice(argument, found, allowed)


# ---------------------------------------------------------------- helpers


def _kernel(name: Any, x: Array) -> Array:
    return ops.activation_forward(name, x)


def _floats(x: Any) -> Array:
    """Return x as floats: itself, or whole numbers and lists as float32."""
    if isinstance(x, np.ndarray) and x.dtype in (np.float32, np.float64):
        return x
    found = np.asarray(x)
    if found.dtype.kind not in "iufb":
        raise ValueError(f"x: expected an array of numbers, got {shown(x)}")
    return found if found.dtype == np.float32 else found.astype(np.float32)


def _of_axes(x: Any) -> Array:
    found = _floats(x)
    if found.ndim < 2 or not found.size:
        raise ValueError(f"x: expected an array of two axes or more, got {found.ndim}")
    return found


def _normal_below(x: Array) -> Array:
    """Return the share of a standard normal distribution below x, in float64."""
    return np.asarray(0.5 + 0.5 * _erf(x * math.sqrt(0.5)))


def _erf(x: Array) -> Array:
    """The error function in float64, to 2e-16: Taylor's series about the nearest point of a grid.

    With f = erf, f' = 2/√π exp(-x²), and from it f^(n+2) = -2x f^(n+1) - 2n f^(n).
    """
    size = np.minimum(np.abs(x, dtype=np.float64), FAR)
    nearest = np.rint(np.nan_to_num(size) * GRID).astype(np.intp)
    values, slopes = _erf_on_a_grid()
    at, last = nearest / GRID, slopes[nearest]
    step = size - at
    before, power, total = 0.0, step, values[nearest] + last * step
    for n in range(TERMS - 1):  # last: f^(n+1) / (n+1)!, before: f^(n) / n!
        term = -2 * ((n + 1) * at * last + n * before) / ((n + 1) * (n + 2))
        before, last, power = last, term, power * step
        total = total + last * power
    return np.copysign(total, x)


@cache
def _erf_on_a_grid() -> tuple[Array, Array]:
    """Return erf and its slope at the points of the grid."""
    points = np.arange(GRID * FAR + 1) / GRID
    slopes = 2 / math.sqrt(math.pi) * np.exp(-np.square(points))
    return np.array([math.erf(point) for point in points]), slopes

"""Activations by name: those of ONNX's recurrent operators, with Keras's names and defaults."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import capi
from ..arguments import Array, choice, number
from .checks import dense, float_array, is_double, writable

__all__ = ["Activation"]

NAMES: tuple[str, ...] = capi.ACTIVATIONS  # their order is that of the kernels' kinds
# alpha and beta where they are not told; kinds without an entry have none.
PARAMETERS: dict[str, tuple[float, ...]] = {
    "hard_sigmoid": (1 / 6, 0.5),
    "affine": (1.0, 0.0),
    "leaky_relu": (0.2,),
    "thresholded_relu": (1.0,),
    "scaled_tanh": (1.0, 1.0),
    "elu": (1.0,),
}


class Activation(NamedTuple):
    """An activation and its parameters; zero where it has none.

    ================  ==========================================  ==========================
    name              f(x)                                        alpha, beta by default
    ================  ==========================================  ==========================
    sigmoid           1 / (1 + e⁻ˣ)
    tanh              tanh(x)
    relu              max(x, 0)
    hard_sigmoid      max(0, min(1, alpha x + beta))              1/6, 0.5 (ONNX: 0.2, 0.5)
    affine            alpha x + beta                              1, 0: "linear"
    leaky_relu        x, or alpha x below 0                       0.2 (ONNX and PyTorch: 0.01)
    thresholded_relu  x from alpha on, else 0                     1
    scaled_tanh       alpha tanh(beta x)                          1, 1
    elu               x, or alpha (eˣ - 1) below 0                1
    softsign          x / (1 + |x|)
    softplus          log(1 + eˣ)
    ================  ==========================================  ==========================
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def kind(self) -> int:
        """Its number among the kernels."""
        return NAMES.index(self.name)


def get(argument: str, identifier: Any) -> Activation:
    """Return the activation of a name, of (name, alpha[, beta]) or of an `Activation`.

    Raises
    ------
    ValueError
        Naming `argument`: an unknown name, or parameters that the activation does not have.
    """
    listed = isinstance(identifier, (tuple, list)) and len(identifier) > 0
    name, *given = identifier if listed else (identifier,)
    name = getattr(name, "activation_name", name)  # of a function of `lstmfast.activations`
    if name == "linear" and not any(given):
        name, given = "affine", [1.0, 0.0]
    choice(argument, name, (*NAMES, "linear"))
    defaults = PARAMETERS.get(name, ())
    if any(given[len(defaults) :]):
        raise ValueError(f"{argument}: expected {len(defaults)} parameters for {name}, got {given}")
    values = (*given, *defaults[len(given) :])[: len(defaults)]
    for parameter, value in zip(("alpha", "beta"), values, strict=False):
        number(f"{argument} {parameter}", value, -1e30, 1e30)
    return Activation(name, *map(float, values))


def check_slope(argument: str, f: Activation) -> None:
    """Raise ValueError unless f'(x) can be told from f(x), as a backward pass does it."""
    if f.name in ("leaky_relu", "elu") and f.alpha <= 0:
        raise ValueError(f"{argument}: expected alpha > 0 of {f.name} in training, got {f.alpha}")
    if f.name == "scaled_tanh" and f.alpha == 0:
        raise ValueError(f"{argument}: expected alpha != 0 of {f.name} in training, got {f.alpha}")


def serialize(f: Activation) -> str | list[Any]:
    """Return what `get` takes: the name, or a list with parameters that are not the usual ones."""
    return f.name if get("", f.name) == f else list(f)


# ---------------------------------------------------------------- on arrays


def activation_forward(name: Any, x: Array, out: Array | None = None) -> Array:
    """f(x), any shape, in a new array or in `out`, which may be x.

    `name` is that of an `Activation`, (name, alpha, beta), or an `Activation`.

    Raises
    ------
    ValueError
        The name is unknown, or an array does not fit.
    """
    f = get("name", name)
    x = dense("x", x, float_array("x", x).shape, x.dtype)
    out = np.empty_like(x) if out is None else writable("out", out, x.shape, x.dtype)
    if np.may_share_memory(x, out) and x.ctypes.data != out.ctypes.data:
        raise ValueError(
            "out: expected x itself or memory apart from x, got memory that overlaps x"
        )
    capi.activation(is_double(x), x.size, f.kind, f.alpha, f.beta, x, out)
    return out


def activation_backward(name: Any, y: Array, dy: Array) -> Array:
    """dy becomes the gradient to the activation's input, told from its output y; returns dy.

    Raises
    ------
    ValueError
        The name is unknown, an array does not fit, or y does not tell the slope
        (`activations.check_slope`).
    """
    f = get("name", name)
    check_slope("name", f)
    y = dense("y", y, float_array("y", y).shape, y.dtype)
    dy = writable("dy", dy, y.shape, y.dtype)
    capi.activation_backward(is_double(y), y.size, f.kind, f.alpha, f.beta, dy, y)
    return dy

"""Activations by name: those of ONNX's recurrent operators, with Keras's names and defaults."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import capi
from .arguments import choice, number

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

"""The weights of layers and Models one by one, as Keras lists them: `weights`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array
from ..ops.placement import to_host

if TYPE_CHECKING:
    from .base import Layer

__all__ = ["HasWeights", "Variable", "kind_of"]


class Variable:
    """A weight of a layer, in Keras's layout: `np.asarray` of it is a copy, `assign` sets it.

    Attributes
    ----------
    name, path : str
        "kernel", and "lstm/kernel".
    shape, dtype
    trainable : bool
        Does an optimizer change it, as the layer is now?
    """

    def __init__(self, layer: Layer, param: str):
        self._layer, self._param = layer, param
        role = layer.roles.get(kind_of(param), param)
        self.name = "recurrent_kernel" if role == "recurrent" else role
        self.path = f"{layer.name}/{self.name}"

    @property
    def trainable(self) -> bool:
        return self._param in self._layer.trained

    @property
    def shape(self) -> tuple[int, ...]:
        found: tuple[int, ...] = self._array.shape
        return found[::-1] if self._param in self._layer.transposed else found

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> str:
        return str(self._array.dtype)

    def numpy(self) -> Array:
        """Return a copy."""
        return self._layer._inside(self._param, to_host(self._array)).copy()

    def assign(self, value: Any) -> None:
        """Set the weight; ValueError for another shape, or for what is no number."""
        weights = self._layer.get_weights()
        weights[list(self._layer.floats()).index(self._param)] = value
        self._layer.set_weights(weights)

    @property
    def _array(self) -> Any:
        """Where the weight is, as the layer holds it."""
        return self._layer.floats()[self._param]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.asarray(self.numpy(), dtype)

    def __repr__(self) -> str:
        return f"<Variable {self.path}: {self.shape} {self.dtype}>"


class HasWeights:
    """Lists of `Variable`, with Keras's names; empty until built."""

    @property
    def weights(self) -> list[Variable]:
        """All weights, in the order of `get_weights`."""
        raise NotImplementedError

    @property
    def trainable_weights(self) -> list[Variable]:
        """Those that an optimizer changes."""
        return [one for one in self.weights if one.trainable]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The others."""
        return [one for one in self.weights if not one.trainable]

    variables = property(lambda self: self.weights)
    trainable_variables = property(lambda self: self.trainable_weights)
    non_trainable_variables = property(lambda self: self.non_trainable_weights)


def kind_of(name: str) -> str:
    """Return what kind of weight a param is: `W_ih` of `W_ih`, `W_ih_l0` and `W_ih_l0_reverse`."""
    return re.split(r"_l\d", name, maxsplit=1)[0]

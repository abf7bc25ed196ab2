"""TimeDistributed: one layer on every step."""

from __future__ import annotations

from typing import Any

from ..arguments import Array, Shape, check_shape
from ..ops.layouts import an_array, in_order
from .stepping import Stepper
from .wrapper import Wrapper

__all__ = ["TimeDistributed"]


class TimeDistributed(Wrapper):
    """A layer on each step of (B, T, ...): its rows are those of all steps, (B T, ...).

    Parameters
    ----------
    layer : Layer or Model
        Of one input and one output; it is held, not copied. Rows are for themselves in most of
        them; a BatchNormalization takes its means over all steps at once (in Keras step by step).
    name : str, optional
    input_shape : tuple, optional
        (None, ...), without the batch: a Model that begins with the layer is built at once.

    Attributes
    ----------
    params : dict
        Those of the layer, by their names with `layer/` before them.
    """

    takes_mask = supports_masking = True

    def __init__(self, layer: Any, *, name: str | None = None, input_shape: Shape | None = None):
        super().__init__(name, input_shape)
        self.layer = self._layer("layer", layer)
        if self.layer.takes_list or not self.layer.single_output:
            expected = "a layer of one input and one output"
            raise ValueError(f"layer: expected {expected}, got {self.layer.name}")
        self._hold(layer=self.layer)
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def _inner_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 3 and not self.takes_ids:
            check_shape("x", input_shape, ("B", "T", "N"))
        batch, steps, *rest = input_shape
        rows = None if batch is None or steps is None else batch * steps
        return (rows, *rest)

    def output_shape(self, input_shape: Shape) -> Shape:
        inner = self.layer.output_shape(self._inner_shape(input_shape))
        return (*input_shape[:2], *inner[1:])

    def check_input(self, x: Array) -> None:
        """Raise ValueError unless the layer takes the steps of x."""
        self.output_shape(x.shape)
        self.layer.check_input(self._rows(x))

    def stepper(self, batch_size: int) -> Stepper:
        return self.layer.stepper(batch_size)

    def forward(self, x: Array, training: bool = False, *, mask: Any = None) -> Array:
        """Return (B, T, ...) for x (B, T, ...).

        mask : bool (B, T), or with more axes of x
            Its steps' parts go to a layer that takes masks.
        """
        self._check_built()
        x = self._placed("x", x)
        self.output_shape(x.shape)
        told = {}
        if mask is not None:
            mask = an_array(mask)
            check_shape("mask", mask.shape[:2], x.shape[:2])
            if self.layer.takes_mask:
                told = {"mask": self._rows(mask)}
        y = self.layer.forward(self._rows(x), training, **told)
        if training:
            self._cache = x.shape, self._taken()
        return y.reshape((*x.shape[:2], *y.shape[1:]))

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        shape, caches = self._cached()
        dy = self._placed("dy", dy)
        check_shape("dy", dy.shape, self.output_shape(shape))  # type: ignore[arg-type]
        self._put_back(caches)
        dx = self.layer.backward(in_order(self._rows(dy)), need_dx)
        self._cache = None
        return None if dx is None else dx.reshape(shape)

    @staticmethod
    def _rows(x: Array) -> Array:
        return x.reshape((x.shape[0] * x.shape[1], *x.shape[2:]))

"""Pooling over steps: of windows, or of all of them, the largest or the mean."""

from __future__ import annotations

from typing import Any

from ..arguments import Array, Shape, check_shape, choice, flag, integer
from ..ops import pooling
from .checks import check_mask
from .shapes import channels_last
from .weightless import Weightless

__all__ = [
    "AveragePooling1D", "GlobalAveragePooling1D", "GlobalMaxPooling1D", "MaxPooling1D",
]  # fmt: skip

PADDINGS = ("valid", "same")


class Pooling1D(Weightless):
    """The base of pooling of windows: (B, T, I) to (B, windows, I). No mask is handed on.

    Parameters
    ----------
    pool_size : int
        Steps of a window.
    strides : int, optional
        Steps from one window to the next; None: as many as one has.
    padding : {"valid", "same"}
        "valid": windows within x. "same": one for each `strides` steps of x, with as many steps
        missing at its beginning as at its end (or one fewer); those do not count.
    data_format : {"channels_last"}, optional
        For Keras's sake.
    name : str, optional
    input_shape : tuple, optional
        (T, I) or (None, I): a Model that begins with the layer is built at once.
    """

    def __init__(
        self,
        pool_size: int = 2,
        strides: int | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.pool_size = _one("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else _one("strides", strides)
        self.padding = choice("padding", padding, PADDINGS)
        self.data_format = channels_last(data_format)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, ("B", "T", "I"))
        B, T, I = input_shape
        return (B, None if T is None else self._windows(T), I)

    def _windows(self, T: int) -> int:
        if self.padding == "same":
            return -(-T // self.strides)
        if self.pool_size > T:
            raise ValueError(f"x: expected pool_size {self.pool_size} steps or more, got {T}")
        return (T - self.pool_size) // self.strides + 1

    def _where(self, T: int) -> tuple[int, int, int]:
        """Return the size, the stride, and how many steps the first window has ahead of x."""
        if self.padding == "valid":
            return self.pool_size, self.strides, 0
        missing = (self._windows(T) - 1) * self.strides + self.pool_size - T
        return self.pool_size, self.strides, max(0, missing) // 2


class MaxPooling1D(Pooling1D):
    """The largest number of each window of steps: (B, T, I) to (B, windows, I).

    See `Pooling1D` for the arguments. Of equal numbers the first has the gradient.
    """

    def _forward(self, x: Array) -> tuple[Array, Any]:
        T = x.shape[1]
        y, which = pooling.max_pool(x, *self._where(T), self._windows(T))
        return y, (which, T)

    def _backward(self, dy: Array, kept: Any) -> Array:
        which, T = kept
        return pooling.max_pool_backward(dy, which, T, *self._where(T))


class AveragePooling1D(Pooling1D):
    """The mean of each window of steps: (B, T, I) to (B, windows, I).

    See `Pooling1D` for the arguments.
    """

    def _forward(self, x: Array) -> tuple[Array, Any]:
        T = x.shape[1]
        return pooling.average_pool(x, *self._where(T), self._windows(T)), T

    def _backward(self, dy: Array, kept: Any) -> Array:
        return pooling.average_pool_backward(dy, kept, *self._where(kept))


class GlobalPooling1D(Weightless):
    """The base of pooling of all steps: (B, T, I) to (B, I). No mask is handed on.

    Parameters
    ----------
    data_format : {"channels_last"}, optional
        For Keras's sake.
    keepdims : bool
        (B, 1, I) in place of (B, I).
    name : str, optional
    input_shape : tuple, optional
        (T, I) or (None, I): a Model that begins with the layer is built at once.
    """

    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, input_shape)
        self.data_format = channels_last(data_format)
        self.keepdims = flag("keepdims", keepdims)
        self._check_told()

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape("x", input_shape, ("B", "T", "I"))
        B, _, I = input_shape
        return (B, 1, I) if self.keepdims else (B, I)

    def _in_shape(self, y: Array) -> Array:
        return y[:, None] if self.keepdims else y


class GlobalMaxPooling1D(GlobalPooling1D):
    """The largest number of all steps: (B, T, I) to (B, I).

    See `GlobalPooling1D` for the arguments. A mask does not matter, as in Keras: masked steps count
    as the others do. Equal numbers share the gradient evenly.
    """

    def _forward(self, x: Array) -> tuple[Array, Any]:
        y = pooling.max_over_steps(x)
        return self._in_shape(y), (x, y)

    def _backward(self, dy: Array, kept: Any) -> Array:
        x, y = kept
        return pooling.max_over_steps_backward(x, y, dy.reshape(y.shape))


class GlobalAveragePooling1D(GlobalPooling1D):
    """The mean of all steps, or of those that a mask takes: (B, T, I) to (B, I).

    See `GlobalPooling1D` for the arguments. The mean of no step is NaN, as in Keras, and has no
    gradient.
    """

    takes_mask = supports_masking = True

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None

    def forward(self, x: Array, training: bool = False, mask: Any = None) -> Array:
        """Return the means for x of the layer's dtype.

        Parameters
        ----------
        mask : bool (B, T), optional
            The steps that count.
        """
        x = self._floats(x)
        if mask is not None:
            check_shape("mask", check_mask("mask", mask, x.shape).shape, x.shape[:2])
        if training:
            self._cache = (x.shape, (mask, x.shape[1]))
        return self._in_shape(pooling.average_over_steps(x, mask))

    def _backward(self, dy: Array, kept: Any) -> Array:
        return pooling.average_over_steps_backward(dy.reshape(len(dy), -1), *kept)


def _one(name: str, value: Any) -> int:
    """Return an integer >= 1, told as it is or, as Keras's configurations have it, as (value,)."""
    is_listed = isinstance(value, (tuple, list)) and len(value) == 1
    return integer(name, value[0] if is_listed else value, 1)

"""Normalization: features of mean 0 and variance 1, by the means and variances of some data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from ..arguments import Array, Shape, check_shape, flag, integer, number, shape_text, shown
from ..ops.dispatch import float_like
from .base import Layer
from .stepping import Stepper, stepper_in_time
from .weightless import gradient_of

__all__ = ["Normalization"]

LEAST = 1e-7  # of a deviation that divides: Keras's epsilon
MOST_AXES = 32


class Normalization(Layer):
    """(x - mean) / √variance, by the mean and variance that `adapt` finds in data, or are told.

    They are weights that no training changes, and are saved with the model.

    >>> normalize = Normalization()
    >>> normalize.adapt(x_train)                      # (N, T, I): a mean of each of the I features
    >>> model = Sequential([normalize, LSTM(32), Dense(1)])

    Parameters
    ----------
    axis : int, list of int, or None
        The axes that have means of their own; None: one mean of all.
    mean, variance : float or nested list, optional
        In place of `adapt`: both, numbers or arrays of the sizes of these axes.
    invert : bool
        x √variance + mean, which takes it back.
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.
    """

    draws = False
    supports_masking = True
    statistics: ClassVar = ("mean", "variance")

    def __init__(
        self,
        axis: Any = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
    ):
        super().__init__(name, None, input_shape)
        self.axis = None if axis is None else _axes("axis", axis)
        if (mean is None) != (variance is None):
            raise ValueError("variance: expected both mean and variance, or neither, got one")
        self.mean = None if mean is None else _numbers("mean", mean, -math.inf)
        self.variance = None if variance is None else _numbers("variance", variance, 0.0)
        self.invert = flag("invert", invert)
        self._found: dict[str, Array] = {}  # by `adapt`, until the layer is built
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def changing(self) -> Any:
        """Nothing: only `adapt` changes the statistics."""
        return []

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        sizes = tuple(input_shape[axis] for axis in self._kept(len(input_shape)))
        known = tuple(size for size in sizes if size is not None)
        if len(known) < len(sizes):
            expected = f"known sizes of axis {self.axis}"
            raise ValueError(f"input_shape: expected {expected}, got {shape_text(input_shape)}")
        return dict.fromkeys(("mean", "variance"), known or (1,))

    def _initial(self, name: str, shape: tuple[int, ...], rng: Any) -> Array:
        told = getattr(self, name)
        told = self._found.get(name) if told is None else told
        if told is None:
            return np.full(shape, float(name == "variance"))
        given = np.asarray(told, np.float64)
        if given.ndim and given.shape != shape:
            check_shape(name, given.shape, shape)
        return np.broadcast_to(given, shape).copy()

    def output_shape(self, input_shape: Shape) -> Shape:
        kept = self._kept(len(input_shape))
        if self.built and self.axis is not None:
            sizes: list[Any] = [f"N{axis}" for axis in range(len(input_shape))]
            for axis, size in zip(kept, self.params["mean"].shape, strict=True):
                sizes[axis] = size
            check_shape("x", input_shape, sizes)
        return tuple(input_shape)

    def _kept(self, ndim: int) -> tuple[int, ...]:
        told: list[Any] = self.axis if isinstance(self.axis, list) else [self.axis]
        told = [] if self.axis is None else told
        if ndim < 2 or any(not -ndim <= axis < ndim for axis in told):
            raise ValueError(f"x: expected axes for axis {self.axis}, got {ndim} axes")
        return tuple(sorted({axis % ndim for axis in told}))

    def adapt(self, data: Any) -> None:
        """Set mean and variance to those of data; what earlier calls found is forgotten.

        Parameters
        ----------
        data : ndarray (N, ...), or an iterable of such batches
            Numbers.

        Raises
        ------
        ValueError
            When data are no finite numbers, or do not fit the layer; where mean and variance were
            told.
        """
        if self.mean is not None:
            raise ValueError("data: expected none, as mean and variance were told, got some")
        batches = [data] if isinstance(data, np.ndarray) else data
        if not isinstance(batches, Iterable):
            raise ValueError(f"data: expected an array, or batches of them, got {shown(data)}")
        count, mean, spread = 0, np.zeros(()), np.zeros(())
        for batch in map(_batch, batches):
            self.output_shape(batch.shape)
            size, of_batch, around = self._moments(batch)
            if count and mean.shape != of_batch.shape:
                check_shape("data", of_batch.shape, mean.shape)
            shift, total = of_batch - mean, count + size
            spread = spread + around + np.square(shift) * (count * size / total)
            mean, count = mean + shift * (size / total), total
        if not count:
            raise ValueError("data: expected one sample or more, got none")
        self._found = {"mean": np.atleast_1d(mean), "variance": np.atleast_1d(spread / count)}
        for name in self.params:
            self.params[name][...] = self._found[name]

    def _moments(self, batch: Array) -> tuple[int, Array, Array]:
        """Return the count, the mean and the sum of squares around it, in float64."""
        kept = self._kept(batch.ndim)
        others = tuple(axis for axis in range(batch.ndim) if axis not in kept)
        mean = batch.mean(axis=others, keepdims=True)
        around = np.sum(np.square(batch - mean), axis=others)
        size = math.prod(batch.shape[axis] for axis in others)
        return size, mean.reshape(around.shape), around

    def stepper(self, batch_size: int) -> Stepper:
        known = self.input_shape
        if known is not None and len(known) == 3 and 1 not in self._kept(3):
            return stepper_in_time(self)
        return super().stepper(batch_size)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return an array like x, floats of the layer's dtype."""
        self._check_built()
        x = float_like("x", self._as_floats(x), np.dtype(self.dtype))
        self.output_shape(x.shape)
        mean, deviation = self._fitting(x.ndim)
        if training:
            self._cache = (x.shape, deviation)
        with np.errstate(over="ignore", invalid="ignore"):
            y: Array = x * deviation + mean if self.invert else (x - mean) / deviation
        return y

    def _fitting(self, ndim: int) -> tuple[Array, Array]:
        """Return the means and deviations in a shape that x takes."""
        kept = self._kept(ndim)
        sizes = dict(zip(kept, self.params["mean"].shape, strict=False))
        shape = [sizes.get(axis, 1) for axis in range(ndim)]
        least = self.params["variance"].dtype.type(LEAST)
        deviation = np.maximum(np.sqrt(self.params["variance"]), least)
        return self.params["mean"].reshape(shape), deviation.reshape(shape)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        shape, deviation = self._cached()
        dy = gradient_of(self._placed("dy", dy), shape, self.dtype)
        self.grads, self._cache = {}, None
        if not need_dx:
            return None
        if self.invert:
            dy *= deviation
        else:
            dy /= deviation
        return dy


def _axes(name: str, told: Any) -> Any:
    """Return an axis, or a list of them; an empty one is None, as in Keras."""
    if isinstance(told, (list, tuple)):
        return [integer(name, one, -MOST_AXES, MOST_AXES) for one in told] or None
    return integer(name, told, -MOST_AXES, MOST_AXES)


def _numbers(name: str, told: Any, low: float) -> Any:
    """Return a number, or numbers as nested lists, none below `low`; ValueError for others."""
    if not isinstance(told, (list, tuple, np.ndarray)):
        return number(name, told, low)
    try:
        found = np.asarray(told)
    except ValueError:  # of rows of unlike lengths
        found = np.asarray(None)
    if found.dtype.kind not in "iuf" or not np.isfinite(found).all() or (found < low).any():
        raise ValueError(f"{name}: expected finite numbers >= {low}, got {shown(told)}")
    return found.astype(np.float64).tolist()


def _batch(batch: Any) -> Array:
    found = np.asarray(batch[0] if isinstance(batch, tuple) else batch)
    if found.dtype.kind not in "iufb" or found.ndim < 2 or not found.size:
        got = f"{shape_text(found.shape)} of {found.dtype}"
        raise ValueError(f"data: expected numbers of two axes or more, got {got}")
    wide = found.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("data: expected finite numbers, got NaN or Inf")
    return wide

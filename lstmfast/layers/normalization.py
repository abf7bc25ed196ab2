"""LayerNormalization and BatchNormalization: weights and caches here, arithmetic in `ops`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import constraints, initializers, regularizers
from ..arguments import Array, Shape, check_shape, flag, integer, number, shape_text, shown
from ..ops.checks import new_like
from ..ops.dispatch import float_like
from ..ops.normalization import Moments, normalize, normalize_backward, standardize
from .base import Layer
from .stepping import Stepper, stepper_in_time

__all__ = ["BatchNormalization", "LayerNormalization"]

MOST_AXES = 32
LETTERS = "BTUVWXYZ"  # of axes of any size, in errors


class Normalization(Layer):
    """The half that both share: which axes have weights, gamma x̂ + beta and its way back."""

    draws = False
    supports_masking = True
    roles: ClassVar = {"gamma": "gamma", "beta": "beta"}

    def _set_affine(self, epsilon: float, center: bool, scale: bool) -> None:
        self.epsilon = number("epsilon", epsilon, 0.0)
        self.center, self.scale = flag("center", center), flag("scale", scale)

    def _set_rules(self, **given: Any) -> None:
        for name, value in given.items():
            ending = name.rpartition("_")[2]
            known: Any = {"regularizer": regularizers, "constraint": constraints}
            setattr(self, name, known.get(ending, initializers).get(value, name))

    def _weight_axes(self, ndim: int) -> tuple[int, ...]:
        """The axes that gamma and beta have, from 0 on; ValueError where x lacks one."""
        raise NotImplementedError

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        if not (self.scale or self.center):
            return {}
        known = self._known_sizes(input_shape)
        shapes = {"gamma": known} if self.scale else {}
        return shapes | ({"beta": known} if self.center else {})

    def _known_sizes(self, input_shape: Shape) -> tuple[int, ...]:
        """The sizes of the axes that weights have; ValueError where one is open."""
        sizes = tuple(input_shape[axis] for axis in self._weight_axes(len(input_shape)))
        known = tuple(size for size in sizes if size is not None)
        if len(known) < len(sizes):
            expected = f"known sizes of axis {self._axis_text()}"
            raise ValueError(f"input_shape: expected {expected}, got {shape_text(input_shape)}")
        return known

    def output_shape(self, input_shape: Shape) -> Shape:
        axes = self._weight_axes(len(input_shape))
        if self.input_shape is not None:
            letters = [*LETTERS, *(f"N{i}" for i in range(MOST_AXES))]
            sizes = [
                letter if axis not in axes or known is None else known
                for axis, (known, letter) in enumerate(zip(self.input_shape, letters, strict=False))
            ]
            check_shape("x", input_shape, sizes)
        return tuple(input_shape)

    def _axis_text(self) -> str:
        return str(getattr(self, "axis", ""))

    def _checked_axes(self, axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
        if ndim < 2 or any(not -ndim <= axis < ndim for axis in axes):
            raise ValueError(f"x: expected an axis {self._axis_text()}, got {ndim} axes")
        found = tuple(sorted(axis % ndim for axis in axes))
        if len(set(found)) < len(found):
            raise ValueError(f"axis: expected different ones, got {self._axis_text()}")
        return found

    def _fitting(self, name: str, ndim: int) -> Array | None:
        """A weight in a shape that x takes; None if the layer has none of the name."""
        param = self.params.get(name)
        if param is None:
            return None
        axes = self._weight_axes(ndim)
        sizes = dict(zip(axes, param.shape, strict=True))
        return param.reshape([sizes.get(axis, 1) for axis in range(ndim)])

    def _affine(self, normalized: Array) -> Array:
        """gamma x̂ + beta, a new array."""
        gamma, beta = (self._fitting(name, normalized.ndim) for name in ("gamma", "beta"))
        one = normalized.dtype.type(1)
        y = np.multiply(normalized, one if gamma is None else gamma, out=new_like(normalized))
        if beta is not None:
            y += beta
        return y

    def _affine_backward(self, dy: Array, normalized: Array) -> Array:
        """Fill `grads` and return the gradient of x̂."""
        kept = self._weight_axes(dy.ndim)
        others = tuple(axis for axis in range(dy.ndim) if axis not in kept)
        terms = {"gamma": lambda: dy * normalized, "beta": lambda: dy}
        self.grads = {
            name: np.sum(terms[name](), axis=others, dtype=np.float64).astype(dy.dtype)
            for name in self.params
            if name in terms
        }
        gamma = self._fitting("gamma", dy.ndim)
        return dy if gamma is None else dy * gamma

    def _floats(self, x: Any) -> Array:
        """x as floats of the layer's dtype; ValueError for other shapes or dtypes."""
        self._check_built()
        x = float_like("x", self._as_floats(x), np.dtype(self.dtype))
        self.output_shape(x.shape)
        return x  # type: ignore[no-any-return]

    def _checked_dy(self, dy: Any, shape: tuple[int, ...]) -> Array:
        dy = float_like("dy", self._placed("dy", dy), np.dtype(self.dtype))
        check_shape("dy", dy.shape, shape)
        return dy  # type: ignore[no-any-return]


class LayerNormalization(Normalization):
    """gamma x̂ + beta with x̂ = (x - mean) / √(variance + epsilon), mean and variance of each sample.

    Parameters
    ----------
    axis : int or list of int
        The axes that are summed over, and that gamma and beta have.
    epsilon : float
    center, scale : bool
        Is there a beta, a gamma?
    beta_initializer, gamma_initializer : str or Initializer
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or Constraint, optional
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.
    seed : int, optional
        Of the initial weights, where an initializer draws.

    Notes
    -----
    Source: Ba, Kiros and Hinton 2016.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed, input_shape)
        listed = list(axis) if isinstance(axis, (list, tuple)) else [axis]
        if not listed:
            raise ValueError(f"axis: expected one or more, got {shown(axis)}")
        listed = [integer("axis", one, -MOST_AXES, MOST_AXES) for one in listed]
        self.axis = listed if isinstance(axis, (list, tuple)) else listed[0]
        self._axes = tuple(listed)
        self._set_affine(epsilon, center, scale)
        self._set_rules(
            beta_initializer=beta_initializer, gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer, gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint, gamma_constraint=gamma_constraint,
        )  # fmt: skip
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def stepper(self, batch_size: int) -> Stepper:
        if self.axis == -1 and self.input_shape is not None and len(self.input_shape) == 3:
            return stepper_in_time(self)
        return super().stepper(batch_size)

    def _weight_axes(self, ndim: int) -> tuple[int, ...]:
        return self._checked_axes(self._axes, ndim)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return an array like x, floats of the layer's dtype."""
        x = self._floats(x)
        axes = self._weight_axes(x.ndim)
        normalized, inverse, found = standardize(x, axes, self.epsilon)
        if training:
            self._cache = normalized, inverse, found, axes
        return self._affine(normalized)

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        normalized, inverse, found, axes = self._cached()
        dy = self._affine_backward(self._checked_dy(dy, normalized.shape), normalized)
        self._cache = None
        return normalize_backward(dy, normalized, inverse, found, axes) if need_dx else None


class BatchNormalization(Normalization):
    """gamma x̂ + beta with x̂ = (x - mean) / √(variance + epsilon), mean and variance of a batch.

    In training they are those of the batch over all axes but one, and moving means follow them:
    `moving = momentum moving + (1 - momentum) of the batch`. Else, and with `trainable=False`, the
    moving ones are used.

    Parameters
    ----------
    axis : int
        The axis that keeps means of its own, and that the weights have.
    momentum : float
        In [0, 1].
    epsilon : float
    center, scale : bool
        Is there a beta, a gamma?
    beta_initializer, gamma_initializer : str or Initializer
    moving_mean_initializer, moving_variance_initializer : str or Initializer
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or Constraint, optional
    name : str, optional
    input_shape : tuple, optional
        Without the batch: a Model that begins with the layer is built at once.
    seed : int, optional
        Of the initial weights, where an initializer draws.

    Attributes
    ----------
    params : dict
        `gamma`, `beta`, `moving_mean`, `moving_variance`, each (C,). `grads` has the first two.

    Notes
    -----
    Source: Ioffe and Szegedy 2015.
    """

    takes_mask = True
    roles: ClassVar = {
        "gamma": "gamma", "beta": "beta", "moving_mean": "moving_mean",
        "moving_variance": "moving_variance",
    }  # fmt: skip
    statistics: ClassVar = ("moving_mean", "moving_variance")

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        *,
        name: str | None = None,
        input_shape: Shape | None = None,
        seed: int | None = None,
    ):
        super().__init__(name, seed, input_shape)
        self.axis = integer("axis", axis, -MOST_AXES, MOST_AXES)
        self.momentum = number("momentum", momentum, 0.0, 1.0)
        self._set_affine(epsilon, center, scale)
        self._set_rules(
            beta_initializer=beta_initializer, gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer, gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint, gamma_constraint=gamma_constraint,
        )  # fmt: skip
        if self.input_shape is not None:
            self.output_shape(self.input_shape)

    def _weight_axes(self, ndim: int) -> tuple[int, ...]:
        return self._checked_axes((self.axis,), ndim)

    def weight_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        moving = dict.fromkeys(self.statistics, self._known_sizes(input_shape))
        return super().weight_shapes(input_shape) | moving

    def forward(self, x: Array, training: bool = False, *, mask: Array | None = None) -> Array:
        """Return an array like x, floats of the layer's dtype.

        mask : bool, its axes are those of x but the last one
            What the batch's mean and variance are taken of; all of x is normalised.

        With `training` the moving means are changed: `params` is a new dict with new arrays.
        """
        x = self._floats(x)
        if mask is not None:
            check_shape("mask", np.shape(mask), x.shape[:-1])
        kept = self._weight_axes(x.ndim)[0]
        axes = tuple(axis for axis in range(x.ndim) if axis != kept)
        found = None
        if training and self.trainable:
            normalized, inverse, found = standardize(x, axes, self.epsilon, mask)
            self._follow(found)
        else:
            mean, variance = (self._moving(name, x.ndim) for name in self.statistics)
            normalized, inverse = normalize(x, mean, variance, self.epsilon)
        if training:
            self._cache = normalized, inverse, found, axes
        return self._affine(normalized)

    def _moving(self, name: str, ndim: int) -> Array:
        found = self._fitting(name, ndim)
        assert found is not None
        return found

    def _follow(self, found: Moments) -> None:
        """Bring the moving means nearer to those of a batch."""
        share = 1.0 - self.momentum
        self.params = self.params | {
            name: (self.params[name] * self.momentum + of.reshape(-1) * share).astype(self.dtype)
            for name, of in zip(self.statistics, (found.mean, found.variance), strict=True)
        }

    def backward(self, dy: Array, need_dx: bool = True) -> Array | None:
        """Fill `grads` and return the gradient of x. See `Layer.backward`."""
        normalized, inverse, found, axes = self._cached()
        dy = self._affine_backward(self._checked_dy(dy, normalized.shape), normalized)
        self._cache = None
        if not need_dx:
            return None
        if found is None:
            return dy * inverse
        return normalize_backward(dy, normalized, inverse, found, axes)

"""Layers of several inputs: Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from ..arguments import LARGEST, Array, Shape, integer, shape_text, shown
from ..ops import merging
from ..ops.dispatch import float_like
from ..ops.layouts import in_order
from .base import Layer
from .checks import axis_of, check_mask
from .weightless import gradient_of

__all__ = [
    "Add", "Average", "Concatenate", "Maximum", "Merge", "Minimum", "Multiply", "Subtract",
    "broadcast_size", "listed", "two_of",
]  # fmt: skip


class Merge(Layer):
    """The base of layers that make one array of a list of two or more, of one dtype.

    Inputs are broadcast as in Keras: one with fewer axes than others gets axes of size 1 behind the
    batch, and axes of size 1 stand for any size. The mask of the output is True where that of any
    input is; there is none where an input has none.

    Parameters
    ----------
    name : str, optional
    """

    takes_list = True
    supports_masking = True
    draws = False

    def __init__(self, *, name: str | None = None):
        super().__init__(name, None)

    def output_shape(self, input_shape: Any) -> Shape:
        """Return the shape of the output for a list of shapes; ValueError if they do not fit."""
        shapes = self._shapes(input_shape)
        ndim = max(map(len, shapes))
        spread = [(*one[:1], *(1,) * (ndim - len(one)), *one[1:]) for one in shapes]
        return tuple(
            broadcast_size(sizes, i, shapes) for i, sizes in enumerate(zip(*spread, strict=True))
        )

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return where the mask of any input is True, its axes the first of the output's, or None.

        Parameters
        ----------
        x : list of ndarray
        mask : list of ndarray of bool or None, or None
        """
        masks = self._masks(mask, [one.shape for one in x])
        if any(one is None for one in masks):
            return None
        ndim = max(one.ndim for one in x)
        found = merging.either_mask(self._spread(masks, x))
        assert found is not None
        axes = [
            1 if m.ndim == 1 else m.ndim + ndim - one.ndim for m, one in zip(masks, x, strict=True)
        ]
        return found.reshape(found.shape[: max(axes)])

    def forward(self, x: Any, training: bool = False) -> Array:
        """Return the output for a list of arrays of the layer's dtype."""
        return self._run(x, training, None)

    def _run(self, x: Any, training: bool, mask: Any) -> Array:
        arrays = self._arrays(x)
        shapes = [one.shape for one in arrays]
        with np.errstate(over="ignore", invalid="ignore"):
            y, kept = self._forward(arrays, self._masks(mask, shapes))
        if training:
            self._cache = (shapes, kept)
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> list[Array] | None:
        """Return the gradients of all inputs, or None unless `need_dx`. See `Layer.backward`."""
        shapes, kept = self._cached()
        dy = gradient_of(self._placed("dy", dy), self.output_shape(shapes), self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._backward(dy, kept, shapes) if need_dx else None
        self.grads, self._cache = {}, None
        return None if found is None else _apart(found)

    def _forward(self, arrays: list[Array], masks: list[Any]) -> tuple[Array, Any]:
        """Return the output, and what the way back needs."""
        raise NotImplementedError

    def _backward(self, dy: Array, kept: Any, shapes: list[tuple[int, ...]]) -> list[Array]:
        """Return the gradient of each input."""
        raise NotImplementedError

    def _shapes(self, input_shape: Any) -> list[Shape]:
        """Return a list of shapes; ValueError for fewer than two, or for one without a batch."""
        is_list = isinstance(input_shape, (list, tuple)) and len(input_shape) > 1
        if not is_list or not all(isinstance(one, (tuple, list)) for one in input_shape):
            raise ValueError(f"x: expected two or more inputs, got shapes {shown(input_shape)}")
        shapes = [tuple(one) for one in input_shape]
        if not all(shapes):
            raise ValueError(f"x: expected inputs with a batch, got {listed(shapes)}")
        return shapes

    def _arrays(self, x: Any) -> list[Array]:
        """Return the inputs as floats of the layer's dtype; ValueError if they do not fit."""
        self._check_built()
        arrays = [
            float_like(name, self._as_floats(one, name), np.dtype(self.dtype))
            for name, one in self._inputs(x)
        ]
        self.output_shape([one.shape for one in arrays])
        return arrays

    def _masks(self, mask: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
        """Return a mask, or None, for each input; ValueError for others."""
        masks = [None] * len(shapes) if mask is None else mask
        if not isinstance(masks, (list, tuple)) or len(masks) != len(shapes):
            raise ValueError(f"mask: expected a list of {len(shapes)} or None, got {shown(mask)}")
        pairs = zip(masks, shapes, strict=True)
        return [
            one if one is None else check_mask(f"mask[{i}]", one, shape)
            for i, (one, shape) in enumerate(pairs)
        ]

    def _spread(self, masks: list[Any], arrays: Sequence[Array]) -> list[Any]:
        """Return the masks as they broadcast to the inputs, with all axes."""
        ndim = max(one.ndim for one in arrays)
        return [merging.spread(m, one.ndim, ndim) for m, one in zip(masks, arrays, strict=True)]


class Add(Merge):
    """The sum of all inputs, broadcast. See `Merge`.

    Parameters
    ----------
    name : str, optional
    """

    stepwise = True

    def _forward(self, arrays: list[Array], masks: list[Any]) -> tuple[Array, Any]:
        return reduce(np.add, _aligned(arrays)), None

    def _backward(self, dy: Array, kept: Any, shapes: Any) -> list[Array]:
        return _in_shapes([dy] * len(shapes), shapes)


class Average(Add):
    """The mean of all inputs, broadcast. See `Merge`.

    Parameters
    ----------
    name : str, optional
    """

    def _forward(self, arrays: list[Array], masks: list[Any]) -> tuple[Array, Any]:
        return reduce(np.add, _aligned(arrays)) / len(arrays), None

    def _backward(self, dy: Array, kept: Any, shapes: Any) -> list[Array]:
        return super()._backward(dy / len(shapes), kept, shapes)


class Subtract(Merge):
    """The first of two inputs less the second, broadcast. See `Merge`.

    Parameters
    ----------
    name : str, optional
    """

    stepwise = True

    def output_shape(self, input_shape: Any) -> Shape:
        return super().output_shape(two_of(input_shape))

    def _forward(self, arrays: list[Array], masks: list[Any]) -> tuple[Array, Any]:
        first, second = _aligned(arrays)
        return first - second, None

    def _backward(self, dy: Array, kept: Any, shapes: Any) -> list[Array]:
        return _in_shapes([dy, -dy], shapes)


class Masked(Merge):
    """The base of those whose numbers depend on the masks of the inputs."""

    takes_mask = True

    stepwise = True

    def forward(self, x: Any, training: bool = False, mask: Any = None) -> Array:
        """Return the output for a list of arrays of the layer's dtype.

        Parameters
        ----------
        mask : list of ndarray of bool or None, or None
            Of each input, its axes the first of the input's.
        """
        return self._run(x, training, mask)


class Multiply(Masked):
    """The product of all inputs, broadcast. See `Merge`.

    As in Keras, what is masked counts as 1; where that is so of all inputs, the output is 0.

    Parameters
    ----------
    name : str, optional
    """

    def _forward(self, arrays: list[Array], masks: list[Any]) -> tuple[Array, Any]:
        kept = _aligned(arrays), self._spread(masks, arrays)
        return merging.multiply(*kept), kept

    def _backward(self, dy: Array, kept: Any, shapes: Any) -> list[Array]:
        return _in_shapes(merging.multiply_backward(dy, *kept), shapes)


class Maximum(Masked):
    """The largest of all inputs, broadcast; of equal ones the first has the gradient. See `Merge`.

    As in Keras, what is masked is passed over where another input is not.

    Parameters
    ----------
    name : str, optional
    """

    largest = True

    def _forward(self, arrays: list[Array], masks: list[Any]) -> tuple[Array, Any]:
        return merging.pick(_aligned(arrays), self._spread(masks, arrays), self.largest)

    def _backward(self, dy: Array, kept: Any, shapes: Any) -> list[Array]:
        return _in_shapes(merging.pick_backward(dy, kept, len(shapes)), shapes)


class Minimum(Maximum):
    """The smallest of all inputs; else as `Maximum`.

    Parameters
    ----------
    name : str, optional
    """

    largest = False


class Concatenate(Merge):
    """All inputs one behind the other along an axis, the same sizes along the others.

    As in Keras, the mask has the masks of the inputs one behind the other, too, where the axis is
    one of theirs; else it is True where that of any input is. An input without one counts as True
    everywhere; there is none where no input has any.

    Parameters
    ----------
    axis : int
        Not the batch.
    name : str, optional
    """

    def __init__(self, axis: int = -1, *, name: str | None = None):
        super().__init__(name=name)
        self.axis = integer("axis", axis, -LARGEST)
        self.stepwise = self.axis == -1

    def output_shape(self, input_shape: Any) -> Shape:
        shapes = self._shapes(input_shape)
        axis = axis_of(self.axis, len(shapes[0]))
        if len(set(map(len, shapes))) > 1:
            raise ValueError(f"x: expected as many axes of each input, got {listed(shapes)}")
        columns = list(zip(*shapes, strict=True))
        for i, sizes in enumerate(columns):
            if i != axis and len(set(sizes) - {None}) > 1:
                expected = f"one size along axis {i}"
                raise ValueError(f"x: expected {expected}, got {listed(shapes)}")
        known = [next((size for size in sizes if size is not None), None) for sizes in columns]
        total = None if None in columns[axis] else sum(columns[axis])
        return (*known[:axis], total, *known[axis + 1 :])

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        masks = self._masks(mask, [one.shape for one in x])
        told = [one for one in masks if one is not None]
        if not told:
            return None
        axis, ndim = axis_of(self.axis, x[0].ndim), max(one.ndim for one in told)
        full = [_whole(one, of.shape[:ndim], of) for one, of in zip(masks, x, strict=True)]
        return np.concatenate(full, axis) if axis < ndim else reduce(np.logical_or, full)

    def _forward(self, arrays: list[Array], masks: list[Any]) -> tuple[Array, Any]:
        return np.concatenate(arrays, self.axis), None

    def _backward(self, dy: Array, kept: Any, shapes: Any) -> list[Array]:
        axis = axis_of(self.axis, dy.ndim)
        ends = list(accumulate(shape[axis] for shape in shapes))
        return np.split(dy, ends[:-1], axis)


def _aligned(arrays: list[Array]) -> list[Array]:
    ndim = max(one.ndim for one in arrays)
    return [merging.aligned(one, ndim) for one in arrays]


def _in_shapes(gradients: list[Array], shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Return gradients of the broadcast shape, each summed to that of its input."""
    found = []
    for dy, shape in zip(gradients, shapes, strict=True):
        own = (*shape[:1], *(1,) * (dy.ndim - len(shape)), *shape[1:])
        found.append(merging.summed_to(dy, own).reshape(shape))
    return found


def _apart(gradients: list[Array]) -> list[Array]:
    """Return contiguous arrays that share no memory, so that each may be overwritten."""
    found: list[Array] = []
    for one in map(in_order, gradients):
        shared = any(np.may_share_memory(one, other) for other in found)
        found.append(one.copy() if shared else one)
    return found


def _whole(mask: Array | None, shape: tuple[int, ...], like: Array) -> Array:
    """Return a mask with all axes of `shape`; without one, True everywhere."""
    if mask is None:
        return np.full_like(like, True, np.bool_, shape=shape)
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def broadcast_size(sizes: Sequence[int | None], i: int, shapes: Sequence[Shape]) -> int | None:
    """Return the size of axis i for those of the inputs; ValueError if they do not fit."""
    known = set(sizes) - {None}
    fixed = known if i == 0 else known - {1}
    if len(fixed) > 1:
        expected = "one batch" if i == 0 else "sizes that broadcast"
        raise ValueError(f"x: expected inputs of {expected}, got {listed(shapes)}")
    if fixed:
        return next(iter(fixed))
    return None if None in sizes else 1


def two_of(shapes: Any) -> Any:
    if isinstance(shapes, (list, tuple)) and len(shapes) > 2:
        raise ValueError(f"x: expected two inputs, got {len(shapes)}")
    return shapes


def listed(shapes: Sequence[Shape]) -> str:
    return ", ".join(map(shape_text, shapes))

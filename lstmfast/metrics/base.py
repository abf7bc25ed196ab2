"""What the metrics share, and those that are a weighted mean of values. Part of `metrics`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np

from .. import registry
from ..arguments import Array, shape_text, shown
from ..losses import FUNCTIONS
from ..losses.weights import each_of, flags, spread
from ..registry import snake_case

__all__ = ["Mean", "MeanMetricWrapper", "Metric", "masked"]


class Metric:
    """A number over all that was seen since `reset_state`: `update_state` adds, `result` tells.

    A metric of your own is a subclass with `update_state`, `result`, `reset_state` and, if it has
    arguments, `get_config`. Sums are kept in float64.

    Parameters
    ----------
    name : str or None
        The key in a history; Keras's by default, such as "mean_squared_error".
    dtype : None
        Metrics are calculated in float64.

    Attributes
    ----------
    takes_scores : bool
        Any numbers that rise with the probabilities of a row will do, such as the sums that a
        softmax gets: `result` is the same.
    """

    name = ""
    takes_scores = False

    def __init__(self, name: str | None = None, dtype: None = None):
        if name is not None and not isinstance(name, str):
            raise ValueError(f"name: expected a str, got {shown(name)}")
        self.name = name or self._default_name()
        if dtype is not None:
            raise ValueError(f"dtype: expected None (float64), got {shown(dtype)}")
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the outputs `y_pred` (B, ..., N) for targets `y_true`.

        Parameters
        ----------
        y_true, y_pred : array_like
        sample_weight : array_like or None
            Numbers for the rows, (B,) or (B, T); what has weight zero counts nothing, even if NaN.
            A mask is told with `masked(sample_weight, mask)`.

        Raises
        ------
        ValueError
            When they do not fit; nothing is added then.
        """
        raise NotImplementedError

    def result(self) -> Any:
        """Return the value so far, a float; 0 where nothing was added."""
        raise NotImplementedError

    def reset_state(self) -> None:
        """Forget all that was added."""
        raise NotImplementedError

    def get_state(self) -> dict[str, Any]:
        """Return what `reset_state` sets, as it is now, for `set_state`: numbers and arrays."""
        return {name: getattr(self, name) for name in _names_set_by(self)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        for name in _names_set_by(self):
            setattr(self, name, state[name])

    def get_config(self) -> dict[str, Any]:
        """Return the class and its arguments, for `get`."""
        config = {"class": registry.name_of(type(self))}
        return config if self.name == self._default_name() else {**config, "name": self.name}

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Add one batch, as `update_state` takes it, and return the value so far."""
        self.update_state(*arguments, **keywords)
        return self.result()

    def _default_name(self) -> str:
        return snake_case(type(self).__name__)


def _names_set_by(metric: Metric) -> list[str]:
    """Return the names of the attributes that `reset_state` sets."""
    names: list[str] = []

    class Noting(type(metric)):  # type: ignore[misc]
        def __setattr__(self, name: str, value: Any) -> None:
            names.append(name)
            super().__setattr__(name, value)

    twin = copy(metric)
    twin.__class__ = Noting
    twin.reset_state()
    return list(dict.fromkeys(names))


class Averaged(Metric):
    """A weighted mean of values.

    As in Keras, a value of several axes counts as the mean over all but the first: batches of
    unlike lengths weigh by their samples.
    """

    def add(self, values: Array, sample_weight: Any = None) -> None:
        """Add values of any shape; weights of their first axes, or with axes of size one."""
        values = values.reshape(-1) if values.ndim == 0 else values
        weights = weights_in(sample_weight, values.shape)
        inner = math.prod(values.shape[1:])
        if not values.size:
            return
        self.total += float(each_of(values, weights).sum()) / inner
        self.count += len(values) if weights is None else float(weights.sum()) / inner

    def result(self) -> float:
        """Return the mean; 0 where the weights sum to 0."""
        return self.total / self.count if self.count else 0.0

    def reset_state(self) -> None:
        self.total, self.count = 0.0, 0.0


class Mean(Averaged):
    """The weighted mean of the values that it is given, without targets.

    Parameters
    ----------
    name, dtype
        As of `Metric`.
    """

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add values (B, ...), or a number, with weights of their first axes."""
        found = np.asarray(values)
        if found.dtype.kind not in "iufb":
            raise ValueError(f"values: expected numbers, got {shown(values)}")
        self.add(found, sample_weight)


class MeanOfRows(Averaged):
    """The mean of what `values` makes of targets and outputs."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return a value for each row, or for each number of `y_pred`."""
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        with np.errstate(all="ignore"):  # NaN in rows that count nothing is no reason to warn
            values = self.values(*arrays(y_true, y_pred))
        self.add(values, sample_weight)


class MeanMetricWrapper(MeanOfRows):
    """The mean of what a function of yours returns.

    Parameters
    ----------
    fn : callable
        `fn(y_true, y_pred, **arguments)` on arrays of NumPy; it returns a value for each row, or
        for each sample.
    name, dtype
        As of `Metric`.
    arguments
        What else to call it with.

    Raises
    ------
    ValueError
        When `fn` is no function; by `get_config` when it is not registered, so that a file could
        not name it (`registry.register_serializable`).
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: None = None, **arguments: Any
    ):
        if isinstance(fn, str):
            fn = registry.registered(fn) or FUNCTIONS.get(fn, fn)
        if not callable(fn) or isinstance(fn, type):
            raise ValueError(f"fn: expected a function of y_true and y_pred, got {shown(fn)}")
        super().__init__(name, dtype)
        self.fn, self.arguments = fn, arguments

    def values(self, y_true: Array, y_pred: Array) -> Array:
        found = np.asarray(self.fn(y_true, y_pred, **self.arguments))
        if found.dtype.kind not in "iufb" or (found.ndim and found.shape[0] != len(y_pred)):
            expected = f"numbers for {len(y_pred)} samples"
            got = f"{shape_text(found.shape)} of {found.dtype}"
            raise ValueError(f"{self.name}: expected {expected} from the function, got {got}")
        return found

    def get_config(self) -> dict[str, Any]:
        name = registry.name_of(self.fn) if hasattr(self.fn, "__name__") else ""
        if self.fn not in (registry.registered(name), FUNCTIONS.get(name)):
            expected = "a function that register_serializable has registered"
            raise ValueError(f"fn: expected {expected} to write its name, got {shown(self.fn)}")
        return {**super().get_config(), "fn": name, **self.arguments}


def masked(sample_weight: Any, mask: Any, shape: Sequence[int] | None = None) -> Any:
    """Return the sample weights of rows, those that a mask drops with zero, as in Keras.

    Parameters
    ----------
    sample_weight : array_like or None
    mask : array_like of bool or None
    shape : sequence of int or None
        That of the rows, (B, T); by default that of the mask.
    """
    if mask is None:
        return sample_weight
    kept = np.asarray(mask)
    kept = flags("mask", kept, kept.shape if shape is None else shape)
    if sample_weight is None:
        return kept.astype(np.float64)
    weights = spread("sample_weight", np.asarray(sample_weight), kept.shape)
    return np.where(kept, weights, 0.0)


def arrays(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Return both as arrays of numbers, targets first; ValueError for what holds none."""
    found = []
    for name, value in (("y_true", y_true), ("y_pred", y_pred)):
        array = np.asarray(value)
        if array.dtype.kind not in "iufb" or not array.ndim:
            raise ValueError(f"{name}: expected an array of numbers, got {shown(value)}")
        found.append(array)
    return found[0], found[1]


def same_shape(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Return both in one shape: a last axis of size one may lack in either."""
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_pred = y_pred[..., None]
    elif y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    if y_true.shape != y_pred.shape:
        expected = f"shape {shape_text(y_pred.shape)} as the outputs have"
        raise ValueError(f"y_true: expected {expected}, got {shape_text(y_true.shape)}")
    return y_true, y_pred


def labels_of(y_true: Array, y_pred: Array) -> Array:
    """Return labels of the shape of the rows of `y_pred` (..., N)."""
    rows = y_pred.shape[:-1]
    if y_pred.ndim < 2 or y_true.shape not in (rows, (*rows, 1)):
        expected = f"labels of shape {shape_text(rows)} for outputs {shape_text(y_pred.shape)}"
        raise ValueError(f"y_true: expected {expected}, got {shape_text(y_true.shape)}")
    return y_true.reshape(rows)


def weights_in(sample_weight: Any, shape: Sequence[int]) -> Array | None:
    """Return weights in all of `shape`, float64; ValueError unless they fit and are finite."""
    if sample_weight is None:
        return None
    found = np.asarray(sample_weight)
    if found.dtype.kind not in "iufb":
        raise ValueError(f"sample_weight: expected numbers, got {shown(sample_weight)}")
    if not np.isfinite(found).all():
        raise ValueError("sample_weight: expected finite numbers, got NaN or Inf")
    if found.ndim == 0:
        return np.full(tuple(shape), float(found))
    return spread("sample_weight", found, shape).astype(np.float64)

"""The gradient of a table of which a batch has read some rows: those rows alone. Part of `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array, check_shape
from .checks import float_array, whole_numbers
from .dense import embedding_backward

__all__ = ["RowGradient"]


class RowGradient:
    """The gradient of a table (V, E) whose other rows are zero.

    Parameters
    ----------
    rows : ndarray
        (R,) int64, C-contiguous: which rows, each once, in ascending order.
    values : ndarray
        (R, E) float32 or float64, C-contiguous: their gradients.
    shape : tuple of int
        (V, E), of the table.

    Raises
    ------
    ValueError
        When they do not fit each other.
    """

    __slots__ = ("rows", "shape", "values")

    def __init__(self, rows: Array, values: Array, shape: tuple[int, int]):
        self.rows, self.values, self.shape = rows, values, tuple(shape)
        self.check("rows")

    @classmethod
    def of(cls, ids: Array, dy: Array, vocabulary: int) -> RowGradient:
        """The gradient to a table of which rows `ids` were read, from `dy` (*ids.shape, E).

        `dense()` of it is `embedding_backward(ids, dy, vocabulary)`, to the bit.

        Raises
        ------
        ValueError
            An id is not in 0..vocabulary-1, or dy does not fit.
        """
        ids = whole_numbers("ids", ids, vocabulary)
        check_shape("dy", float_array("dy", dy).shape, (*ids.shape, "E"))
        rows, places = np.unique(ids, return_inverse=True)
        values = np.zeros((0, dy.shape[-1]), dy.dtype)
        if len(rows):
            values = embedding_backward(places.reshape(ids.shape), dy, len(rows))
        return cls(rows.astype(np.int64, copy=False), values, (vocabulary, dy.shape[-1]))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def dense(self) -> Array:
        """Return it as an array (V, E), a new one."""
        whole = np.zeros(self.shape, self.dtype)
        whole[self.rows] = self.values
        return whole

    def check(self, name: str) -> None:
        """Raise ValueError, naming `name`, unless rows, values and shape fit each other."""
        values = float_array(f"{name}: values", self.values)
        rows = self.rows
        if type(rows) is not np.ndarray or rows.dtype != np.int64 or rows.ndim != 1:
            raise ValueError(f"{name}: expected rows of int64, got {type(rows).__name__}")
        check_shape(f"{name}: values", values.shape, (len(rows), *self.shape[1:]))
        check_shape(f"{name}: shape", self.shape, ("V", "E"))
        if not (_in_order(rows) and _in_order(values)):
            raise ValueError(f"{name}: expected C-contiguous rows and values, got strided ones")
        ascending = bool((rows[1:] > rows[:-1]).all())
        if len(rows) and not (ascending and rows[0] >= 0 and rows[-1] < self.shape[0]):
            expected = f"rows of 0..{self.shape[0] - 1}, ascending, each once"
            raise ValueError(f"{name}: expected {expected}, got others")


def _in_order(array: Array) -> bool:
    return array.flags.c_contiguous and array.flags.aligned

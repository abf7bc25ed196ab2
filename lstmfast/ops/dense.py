"""Dense and Embedding on NumPy arrays. Part of `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import capi
from ..arguments import Array, check_shape, integer
from .checks import (
    check_terms,
    check_trains,
    dense,
    float_array,
    is_double,
    new,
    not_empty,
    precision_of,
    rows_in_place,
    whole_numbers,
)

__all__ = [
    "PreparedDense", "dense_backward", "dense_forward", "embedding_backward", "embedding_forward",
]  # fmt: skip

KINDS = {"float32": 0, "float64": 1, "bfloat16": 2, "int8": 3}  # of products, as capi has them


def dense_forward(
    x: Array, W: Array, b: Array | None = None, *, precision: str | None = None
) -> Array:
    """y (M, N) = x (M, K) W (K, N) + b (N,), a new array; b None: zeros.

    precision: what products are calculated in: None or the arrays' own; of float32 arrays also
    "bfloat16" and "int8", x and W rounded to it (of int8 rows of x and columns of W each by its
    largest number), sums not.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    x, W = _factors(x, W)
    (M, K), N = x.shape, W.shape[1]
    precision = precision_of(precision, x.dtype)
    check_terms("x", K, precision)
    kind = KINDS[precision or x.dtype.name]
    b = None if b is None else dense("b", b, (N,), x.dtype)
    y = new((M, N), x.dtype)
    capi.product(kind, M, N, K, x, _row(x), W, _row(W), 1, y, b)
    return y


class PreparedDense:
    """`dense_forward` in int8 with W (K, N) packed once; b (N,), or None. Float32; copied.

    May be run from several threads at once.
    """

    def __init__(self, W: Array, b: Array | None = None):
        float_array("W", W, np.dtype(np.float32))
        check_shape("W", W.shape, ("K", "N"))
        not_empty("W", W)
        check_terms("W", len(W), "int8")
        W = rows_in_place("W", W)
        K, N = W.shape
        self._b = None if b is None else dense("b", b, (N,), W.dtype).copy()
        self._W = capi.PackedQuads(K, N, W, _row(W), 1)
        self._shape = K, N

    def forward(self, x: Array) -> Array:
        """Return y (M, N) for x (M, K); ValueError where that does not fit."""
        K, N = self._shape
        check_shape("x", float_array("x", x, np.dtype(np.float32)).shape, ("M", K))
        not_empty("x", x)
        x = rows_in_place("x", x)
        y = new((len(x), N), x.dtype)
        self._W.product(len(x), x, _row(x), y, self._b)
        return y


def dense_backward(
    x: Array, W: Array, dy: Array, *, need_dx: bool = True, precision: str | None = None
) -> tuple[Array | None, Array, Array]:
    """(dx (M, K) or None, dW (K, N), db (N,)) for dy (M, N), new arrays.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    x, W = _factors(x, W)
    x = np.ascontiguousarray(x)
    (M, K), N = x.shape, W.shape[1]
    precision = precision_of(precision, x.dtype)
    check_trains(precision)
    kind = KINDS[precision or x.dtype.name]
    dy = dense("dy", dy, (M, N), x.dtype)
    dx = _input_gradient(kind, dy, W) if need_dx else None
    dW, db = new((K, N), x.dtype), np.empty(N, x.dtype)
    capi.outer(kind, M, K, N, x, dy, dW, db)
    return dx, dW, db


def _input_gradient(kind: int, dy: Array, W: Array) -> Array:
    """dy (M, N) Wᵀ: the left factor is read as it is, so the smaller one shall be the right one."""
    (M, N), K = dy.shape, W.shape[0]
    if 2 * M > K:
        dx = new((M, K), dy.dtype)
        capi.product(kind, M, K, N, dy, N, W, 1, _row(W), dx, None)
        return dx
    turned = np.empty((K, M), dy.dtype)
    capi.product(kind, K, M, N, W, _row(W), dy, 1, N, turned, None)
    return np.ascontiguousarray(turned.T)


def _factors(x: Any, W: Any) -> tuple[Array, Array]:
    """Matrices that can be multiplied, whose rows are contiguous and do not overlap."""
    if float_array("x", x).ndim != 2:
        check_shape("x", x.shape, ("M", "N"))
    not_empty("x", x)
    if float_array("W", W, x.dtype).ndim != 2 or len(W) != x.shape[1]:
        check_shape("W", W.shape, (x.shape[1], "N"))
    not_empty("W", W)
    return rows_in_place("x", x), rows_in_place("W", W)


def _row(matrix: Array) -> int:
    return matrix.strides[0] // matrix.itemsize


def embedding_forward(ids: Array, table: Array) -> Array:
    """table[ids]: (*ids.shape, E) for ids of any integer type and table (V, E), floats or int8.

    Raises
    ------
    ValueError
        An id is not in 0..V-1, or is no integer.
    """
    if getattr(table, "dtype", None) != np.int8:
        float_array("table", table)
    check_shape("table", table.shape, ("V", "E"))
    return np.take(table, whole_numbers("ids", ids, len(table)), axis=0)


def embedding_backward(ids: Array, dy: Array, vocabulary: int) -> Array:
    """The gradient (V, E) to the table: the rows of dy (*ids.shape, E) added up by id.

    Raises
    ------
    ValueError
        An id is not in 0..vocabulary-1, or dy does not fit.
    """
    ids = whole_numbers("ids", ids, integer("vocabulary", vocabulary, 1))
    check_shape("dy", float_array("dy", dy).shape, (*ids.shape, "E"))
    E = dy.shape[-1]
    gradient = np.zeros((vocabulary, E), dy.dtype)
    if dy.size:
        capi.scatter(is_double(dy), ids.size, E, ids, np.ascontiguousarray(dy), gradient)
    return gradient

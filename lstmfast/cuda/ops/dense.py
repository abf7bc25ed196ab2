"""Dense and Embedding on arrays in the GPU's memory. Part of `ops` there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import check_shape, choice, flag, integer
from ..kernels import elementwise, embedding, reductions
from ..kernels.copying import copy_into
from ..kernels.numbers import name_of
from ..runtime import array, products
from ..runtime.array import BFLOAT16, DeviceArray
from .checks import dense, float_array, matrix, whole_numbers

__all__ = ["dense_backward", "dense_forward", "embedding_backward", "embedding_forward"]

PRECISIONS = {
    np.dtype(np.float32): (None, "float32", "tf32", "float16", "bfloat16"),
    np.dtype(np.float64): (None, "float64"),
}
HALVES = {"float16": np.dtype(np.float16), "bfloat16": BFLOAT16}


def dense_forward(
    x: DeviceArray, W: DeviceArray, b: DeviceArray | None = None, *,
    precision: str | None = None, stream: Any = None,
) -> DeviceArray:  # fmt: skip
    """y (M, N) = x (M, K) W (K, N) + b (N,), a new array; b None: zeros.

    Parameters
    ----------
    precision : what the factors are rounded to: "float32", "tf32", "float16" or "bfloat16" for
        float32, "float64" for float64; None: not at all. Sums are of the arrays' dtype.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    x, W, dtype = _factors(x, W, stream)
    (M, _), N = x.shape, W.shape[1]
    b = None if b is None else dense("b", b, (N,), dtype, stream)
    precision = _precision(precision, dtype)
    x, W = _rounded(x, precision, stream), _rounded(W, precision, stream)
    y = array.empty((M, N), dtype, stream)
    products.product(y, x, W, precision=precision, stream=stream)
    if b is not None:
        kernel = elementwise.make_add_row(name_of(dtype), elementwise.THREADS)
        blocks = -(-M // elementwise.ROWS), elementwise.blocks_for(kernel, N)
        kernel.launch(stream, blocks, y, b, M, N)
    return y


def dense_backward(
    x: DeviceArray, W: DeviceArray, dy: DeviceArray, *, need_dx: bool = True,
    precision: str | None = None, stream: Any = None,
) -> tuple[DeviceArray | None, DeviceArray, DeviceArray]:  # fmt: skip
    """(dx (M, K) or None, dW (K, N), db (N,)) for dy (M, N), new arrays.

    Parameters
    ----------
    precision : as in `dense_forward`; db is added up without rounding.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    x, W, dtype = _factors(x, W, stream)
    (M, K), N = x.shape, W.shape[1]
    dy = dense("dy", dy, (M, N), dtype, stream)
    precision, need_dx = _precision(precision, dtype), flag("need_dx", need_dx)

    db = array.empty((N,), dtype, stream)
    reductions.column_sum(db, dy, stream)
    x, dy = _rounded(x, precision, stream), _rounded(dy, precision, stream)
    dW = array.empty((K, N), dtype, stream)
    products.product(dW, x, dy, transpose_a=True, precision=precision, stream=stream)
    if not need_dx:
        return None, dW, db
    dx, W = array.empty((M, K), dtype, stream), _rounded(W, precision, stream)
    products.product(dx, dy, W, transpose_b=True, precision=precision, stream=stream)
    return dx, dW, db


def _factors(x: Any, W: Any, stream: Any) -> tuple[DeviceArray, DeviceArray, np.dtype[Any]]:
    """x (M, K) and W (K, N), checked, and their dtype."""
    x, W = matrix("x", x, stream), matrix("W", W, stream)
    check_shape("W", W.shape, (x.shape[1], "N"))
    return x, W, float_array("W", W, x.dtype).dtype


def _precision(precision: str | None, dtype: np.dtype[Any]) -> str:
    return choice("precision", precision, PRECISIONS[dtype]) or name_of(dtype)


def _rounded(a: DeviceArray, precision: str, stream: Any) -> DeviceArray:
    """Return a factor in the dtype that it is multiplied in."""
    if precision not in HALVES:
        return a
    made = array.empty(a.shape, HALVES[precision], stream)
    copy_into(made, a, stream)
    return made


def embedding_forward(ids: DeviceArray, table: DeviceArray, *, stream: Any = None) -> DeviceArray:
    """table[ids]: (*ids.shape, E) for ids of int32 or int64 and table (V, E).

    Rows of an id that is not in 0..V-1 are NaN: to raise, the host would have to wait.

    Raises
    ------
    ValueError
        A shape or dtype does not fit.
    """
    check_shape("table", float_array("table", table).shape, ("V", "E"))
    table = dense("table", table, ("V", "E"), table.dtype, stream)
    ids = whole_numbers("ids", ids, stream)
    E = table.shape[1]
    y = array.empty((*ids.shape, E), table.dtype, stream)
    if ids.size:
        embedding.gather(y.reshape(ids.size, E), ids, table, stream)
    return y


def embedding_backward(
    ids: DeviceArray, dy: DeviceArray, vocabulary: int, *, stream: Any = None
) -> DeviceArray:
    """The gradient (V, E) to the table: the rows of dy (*ids.shape, E) added up by id.

    The same bits at every run. Rows of an id that is not in 0..vocabulary-1 are left out.

    Raises
    ------
    ValueError
        dy does not fit.
    """
    ids = whole_numbers("ids", ids, stream)
    if integer("vocabulary", vocabulary, 1) >= 1 << 31:
        raise ValueError(f"vocabulary: expected less than 2³¹, got {vocabulary}")
    check_shape("dy", float_array("dy", dy).shape, (*ids.shape, "E"))
    E = dy.shape[-1]
    gradient = array.zeros((vocabulary, E), dy.dtype, stream)
    if dy.size:
        dy = dense("dy", dy, dy.shape, dy.dtype, stream)
        embedding.scatter(gradient, ids, dy.reshape(ids.size, E), stream)
    return gradient

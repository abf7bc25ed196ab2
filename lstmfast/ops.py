"""Arrays in, arrays out: every kernel as a function on NumPy arrays, its arguments checked once.

The LSTM (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000), with gates in the order
i, f, g, o, weights W_ih (4H, I), W_hh (4H, H), b (4H,) and the state always as (h, c):

    z = W_ih x + W_hh h_prev + b      i, f, o = σ(z)    g = tanh(z)
    c = f c_prev + i g                h = o tanh(c)

All arrays of one call share one dtype, float32 or float64; none is cast. Results have the same bits
at any number of threads. Everything else on arrays is in `array_ops` and reached from here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import capi
from .arguments import Array, check_shape, choice, flag, integer
from .array_ops import (
    activation_backward,
    activation_forward,
    adam_update,
    crossentropy,
    dense_backward,
    dense_forward,
    embedding_backward,
    embedding_forward,
    scale,
    sgd_update,
    softmax,
    softmax_crossentropy,
    sum_of_squares,
)
from .arrays import (
    dense,
    describe,
    float_array,
    new,
    not_empty,
    rows_in_place,
    whole_numbers,
    writable,
)
from .options import PLAIN, CellOptions

__all__ = [
    "LSTMCache", "LSTMGradients", "LSTMStream", "activation_backward", "activation_forward",
    "adam_update", "crossentropy", "dense_backward", "dense_forward", "embedding_backward",
    "embedding_forward", "get_num_threads", "lstm_backward", "lstm_forward", "scale",
    "set_num_threads", "sgd_update", "softmax", "softmax_crossentropy", "sum_of_squares",
]  # fmt: skip


PADS = ("zeros", "repeat")


class _Gradients(NamedTuple):
    dx: Array | None
    dh0: Array | None
    dc0: Array | None
    dW_ih: Array
    dW_hh: Array
    db: Array


class LSTMGradients(_Gradients):
    """Gradients of one LSTM call, each shaped as what it belongs to.

    A tuple (dx, dh0, dc0, dW_ih, dW_hh, db). dh0 and dc0 are None where the call was given no h0
    and no c0; dx unless it was needed.

    Attributes
    ----------
    dp : ndarray (3, H) or None
        Of the peepholes, where there are some.
    """

    dp: Array | None = None


class LSTMCache:
    """What `lstm_forward(training=True)` keeps for one `lstm_backward`: nothing to look into."""

    __slots__ = ("batch_first", "c0", "h0", "layer", "reserve", "taken", "x", "y")

    def __init__(self, layer, x, taken, y, h0, c0, reserve, batch_first):
        self.layer, self.x, self.taken, self.y, self.h0, self.c0 = layer, x, taken, y, h0, c0
        self.reserve, self.batch_first = reserve, batch_first


def get_num_threads() -> int:
    """The number of threads that one call may use."""
    return capi.get_num_threads()


def set_num_threads(count: int) -> None:
    """Set the number of threads that one call may use, 1 to 255.

    At first it is OMP_NUM_THREADS, or the number of processors that this process may use.

    Raises
    ------
    ValueError
        `count` is no integer in this range.
    """
    if integer("count", count, 1) > capi.MAX_THREADS:
        raise ValueError(f"count: expected at most {capi.MAX_THREADS} threads, got {count}")
    capi.set_num_threads(count)


def lstm_forward(
    x: Array,
    W_ih: Array,
    W_hh: Array,
    b: Array | None = None,
    h0: Array | None = None,
    c0: Array | None = None,
    *,
    p: Array | None = None,
    options: CellOptions = PLAIN,
    lengths: Any = None,
    mask: Array | None = None,
    pad: str = "zeros",
    reverse: bool = False,
    batch_first: bool = False,
    training: bool = False,
    return_sequences: bool = True,
) -> tuple[Array | None, tuple[Array, Array], LSTMCache | None]:
    """Run one LSTM layer over a sequence.

    Parameters
    ----------
    x : (T, B, I), or (B, T, I) if `batch_first`; float32 or float64. Read through its strides: no
        copy unless the last axis is strided.
    W_ih, W_hh, b : (4H, I), (4H, H), (4H,). b None: zeros. Copied only if not C-contiguous.
    h0, c0 : (B, H) initial state; None: zeros.
    p : (3, H) peepholes of i, f and o; None: the gates do not see the cell.
    options : what else the cell shall be but plain.
    lengths : (B,) integers in 0..T, in any order: row b takes its first lengths[b] steps. Time goes
        with their sum.
    mask : bool in the shape of x without its last axis, in place of lengths: the steps to take. A
        step that is not taken leaves the state as it is.
    pad : what y holds where no step is taken: "zeros", or "repeat", the output before it (zeros
        before the first).
    reverse : take the steps from the last to the first; y stays in x's order. (h_n, c_n) is then
        the state after the first step.
    batch_first : x and y have the batch as their first axis.
    training : keep what `lstm_backward` needs (x, y, the weights and the state are kept by
        reference: leave them unchanged until then).
    return_sequences : give h of every step, else None in its place.

    Returns
    -------
    y : (T, B, H) or (B, T, H), or None.
    (h_n, c_n) : (B, H) each, the state after the last step.
    cache : for `lstm_backward`; None unless `training`.

    Raises
    ------
    ValueError
        A shape or dtype does not fit; the text names the argument, what was expected and found.
    """
    dtype = float_array("x", x).dtype
    unlike = lengths is not None or mask is not None
    order = {
        "lengths": unlike,
        "repeat": choice("pad", pad, PADS) == "repeat",
        "reverse": flag("reverse", reverse),
    }
    keys = {name: 1.0 for name, wanted in order.items() if wanted}
    layer = _layer(W_ih, W_hh, b, p, options, dtype, training=training, borrow=True, keys=keys)
    T, B = _steps_and_rows(x, layer.input_size, batch_first)
    taken = _steps_taken(lengths, mask, x, T, B, batch_first)
    x = rows_in_place("x", x)
    h0, c0 = (_state(name, s, B, layer, x.dtype) for name, s in (("h0", h0), ("c0", c0)))
    h_n, c_n = np.empty((2, B, layer.hidden_size), x.dtype)
    y = reserve = None
    if return_sequences or training:
        y = new((*x.shape[:2], layer.hidden_size), x.dtype)
    if training:
        reserve = layer.new_reserve(T, B)
    layer.forward(T, B, x, _strides(x, batch_first), taken, h0, c0, y, _strides(y, batch_first),
                  h_n, c_n, reserve)  # fmt: skip
    cache = LSTMCache(layer, x, taken, y, h0, c0, reserve, batch_first) if training else None
    return (y if return_sequences else None), (h_n, c_n), cache


def lstm_backward(
    cache: LSTMCache,
    dy: Array | None = None,
    dh_n: Array | None = None,
    dc_n: Array | None = None,
    *,
    need_dx: bool = True,
) -> LSTMGradients:
    """Back-propagate through time (Werbos 1990) over the call that made `cache`.

    Parameters
    ----------
    cache : of `lstm_forward(training=True)`. It is used up: a second call needs a new one.
    dy : gradient to y, shaped as y; None: zeros. Read through its strides.
    dh_n, dc_n : (B, H) gradients to the last state, added to dy's; None: zeros.
    need_dx : False leaves dx out (None in its place).

    Returns
    -------
    LSTMGradients
        dx, dh0, dc0, dW_ih, dW_hh, db, .dp: new arrays; dh0 and dc0 only for a given h0 or c0.

    Raises
    ------
    ValueError
        No gradient is given, one does not fit, or the cache has been used.
    """
    if not isinstance(cache, LSTMCache) or cache.reserve is None:
        found = "one already used" if isinstance(cache, LSTMCache) else describe(cache)
        raise ValueError(f"cache: expected that of lstm_forward(training=True), got {found}")
    if dy is None and dh_n is None and dc_n is None:
        raise ValueError("dy, dh_n, dc_n: expected at least one gradient, got None for all")
    layer, x, y, dtype = cache.layer, cache.x, cache.y, cache.x.dtype
    T, B = _steps_and_rows(x, layer.input_size, cache.batch_first)
    if dy is not None:
        check_shape("dy", float_array("dy", dy, dtype).shape, y.shape)
        dy = rows_in_place("dy", dy)
    dh_n, dc_n = (_state(name, s, B, layer, dtype) for name, s in (("dh_n", dh_n), ("dc_n", dc_n)))
    dx = new(x.shape, dtype) if need_dx else None
    dh0, dc0 = (None if s is None else np.empty_like(s) for s in (cache.h0, cache.c0))
    g = LSTMGradients(dx, dh0, dc0, *_empty_weights(layer, dtype, T == 1 and cache.h0 is None))
    g.dp = np.empty((3, layer.hidden_size), dtype) if layer.peepholes else None
    reserve, cache.reserve = cache.reserve, None
    first = cache.batch_first
    layer.backward(T, B, x, _strides(x, first), cache.taken, cache.h0, cache.c0,
                   y, _strides(y, first), reserve,
                   dy, _strides(dy, first), dh_n, dc_n, g.dx, _strides(g.dx, first), g.dh0, g.dc0,
                   g.dW_ih, None if T == 1 and cache.h0 is None else g.dW_hh, g.db,
                   g.dp)  # fmt: skip
    return g


class LSTMStream:
    """One LSTM layer with its weights packed once: for serving, step by step or piece by piece.

    Parameters
    ----------
    W_ih, W_hh, b : (4H, I), (4H, H), (4H,); copied, so later changes do not reach the stream.
    batch_size : the number of independent streams, B.
    p, options : as for `lstm_forward`; p is copied.

    Not to be stepped from two threads at once; distinct streams may be.
    """

    def __init__(
        self,
        W_ih: Array,
        W_hh: Array,
        b: Array | None = None,
        batch_size: int = 1,
        *,
        p: Array | None = None,
        options: CellOptions = PLAIN,
    ):
        B = integer("batch_size", batch_size, 1)
        self._layer = _layer(W_ih, W_hh, b, p, options, batch_size=B)
        self._shape_x = (B, self._layer.input_size)
        self._dtype = W_ih.dtype
        self._h, self._c = np.zeros((2, B, self._layer.hidden_size), self._dtype)

    def step(self, x: Array, out: Array | None = None) -> Array:
        """Move one step on: x (B, I) in, h (B, H) out.

        x may also be (I,) where B is 1. The result is a new array, or `out` (B, H) if that is
        given: then nothing is allocated.

        Raises
        ------
        ValueError
            A shape or dtype does not fit; the state is as it was.
        """
        B, I = self._shape_x
        if not self._layer.step(B, x, self._h, self._c, out):
            if B == 1 and getattr(x, "shape", None) == (I,):
                x = x.reshape(1, I)
            x = dense("x", x, self._shape_x, self._dtype)
            if out is not None:
                writable("out", out, self._h.shape, self._dtype)
            self._layer.step(B, x, self._h, self._c, out)
        return self._h.copy() if out is None else out

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """Move T steps on: x (T, B, I) in, h of every step (T, B, H) out.

        x is copied only if it is not C-contiguous. The result is a new array, or `out` (T, B, H) if
        that is given, which may not overlap x.

        Raises
        ------
        ValueError
            A shape or dtype does not fit; the state is as it was.
        """
        B, H = self._h.shape
        if out is not None and self._layer.run(B, x, self._h, self._c, out):
            return out
        float_array("x", x, self._dtype)
        check_shape("x", x.shape, ("T", *self._shape_x))
        not_empty("x", x)
        shape = (x.shape[0], B, H)
        y = new(shape, x.dtype) if out is None else writable("out", out, shape, x.dtype)
        self._layer.run(B, np.require(x, requirements=["C", "A"]), self._h, self._c, y)
        return y

    def reset(self) -> None:
        """Set the state to zeros."""
        self._layer.reset()

    @property
    def state(self) -> tuple[Array, Array]:
        """(h, c), each (B, H): copies."""
        self._layer.settle(self._h, self._c)
        return self._h.copy(), self._c.copy()

    def set_state(self, h: Array, c: Array) -> None:
        """Set (h, c), each (B, H); ValueError leaves the state as it was."""
        h, c = (dense(n, s, self._h.shape, self._dtype) for n, s in (("h", h), ("c", c)))
        self._layer.settle(self._h, self._c)
        self._h[...] = h
        self._c[...] = c


def _layer(
    W_ih: Any,
    W_hh: Any,
    b: Any,
    p: Any,
    options: CellOptions,
    dtype: np.dtype[Any] | None = None,
    *,
    training: bool = False,
    batch_size: int = 1,
    borrow: bool = False,
    keys: dict[str, float] | None = None,
) -> Any:
    """A handle with these weights, all checked against each other (and x's dtype).

    They are packed at once, or with `borrow` as far as passes need them. `keys` go into the C-level
    configuration.
    """
    dtype = float_array("W_ih", W_ih, dtype).dtype
    W_ih = dense("W_ih", W_ih, ("4H", "I"), dtype)
    H, remainder = divmod(W_ih.shape[0], 4)
    if remainder:
        raise ValueError(f"W_ih: expected (4H, I), got {W_ih.shape}")
    W_hh = dense("W_hh", W_hh, (4 * H, H), dtype)
    b = None if b is None else dense("b", b, (4 * H,), dtype)
    p = None if p is None else dense("p", p, (3, H), dtype)
    layer = capi.Layer(W_ih.shape[1], H, dtype == np.float64, training, batch_size,
                       _keys(options, p is not None, training) | (keys or {}))  # fmt: skip
    (layer.borrow if borrow else layer.load)(W_ih, W_hh, b, p)
    return layer


def _keys(options: Any, peepholes: bool, training: bool) -> dict[str, float]:
    """What the options are in a C-level configuration."""
    if not isinstance(options, CellOptions):
        raise ValueError(f"options: expected CellOptions, got {type(options).__name__}")
    if options is PLAIN and not peepholes:
        return {}
    if training:
        options.check_training()
    return {**options.keys(), "peepholes": peepholes}


def _steps_and_rows(x: Array, I: int, batch_first: bool) -> tuple[int, int]:
    """T and B of x, whose shape is checked."""
    check_shape("x", x.shape, ("B", "T", I) if batch_first else ("T", "B", I))
    not_empty("x", x)
    first, second = x.shape[:2]
    return (second, first) if batch_first else (first, second)


def _steps_taken(
    lengths: Any, mask: Any, x: Array, T: int, B: int, batch_first: bool
) -> tuple[Array | None, Array | None, tuple[int, int] | None] | None:
    """What `capi.Layer` takes: (lengths, None, None), (None, mask, strides), or None for all."""
    if lengths is not None and mask is not None:
        raise ValueError("lengths, mask: expected one of the two, got both")
    if lengths is not None:
        check_shape("lengths", np.shape(lengths), (B,))
        return whole_numbers("lengths", lengths, T + 1), None, None
    if mask is None:
        return None
    array = np.asarray(mask)
    check_shape("mask", array.shape, x.shape[:2])
    if array.dtype != np.bool_:
        raise ValueError(f"mask: expected an array of bool, got dtype {array.dtype}")
    array = np.ascontiguousarray(array).view(np.uint8)
    return None, array, _strides(array, batch_first)


def _state(name: str, value: Any, B: int, layer: Any, dtype: np.dtype[Any]) -> Array | None:
    return None if value is None else dense(name, value, (B, layer.hidden_size), dtype)


def _strides(array: Array | None, batch_first: bool) -> tuple[int, int]:
    """The strides of time and batch in elements."""
    if array is None:
        return 0, 0
    first, second = (stride // array.itemsize for stride in array.strides[:2])
    return (second, first) if batch_first else (first, second)


def _empty_weights(layer: Any, dtype: np.dtype[Any], no_past: bool) -> tuple[Array, Array, Array]:
    """Room for dW_ih, dW_hh, db; with no_past, dW_hh is zero and nothing will be added to it."""
    I, H = layer.input_size, layer.hidden_size
    dW_hh = np.zeros((4 * H, H), dtype) if no_past else new((4 * H, H), dtype)
    return new((4 * H, I), dtype), dW_hh, np.empty(4 * H, dtype)

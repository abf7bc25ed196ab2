"""A plain recurrent layer (Elman 1990) on NumPy arrays.

    h = f(W_ih x + W_hh h_prev + b)          W_ih (H, I), W_hh (H, H), b (H,)

Part of `ops`, which is where to import it from; see there for what holds of all operations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import capi
from ..arguments import Array, UsedOnce, check_shape, choice, flag
from . import activations
from .checks import PADS, dense, describe, float_array, new, not_empty, rows_in_place, steps_taken


class RNNGradients(NamedTuple):
    """Gradients of one call, each shaped as what it belongs to.

    dx is None unless it was needed, dh0 where the call was given no h0.
    """

    dx: Array | None
    dh0: Array | None
    dW_ih: Array
    dW_hh: Array
    db: Array


class RNNCache(UsedOnce):
    """What `rnn_forward(training=True)` keeps for one `rnn_backward`: nothing to look into."""

    instead = "run rnn_forward again"
    __slots__ = ("W_ih", "call", "ordered", "shape", "shown", "taken")

    def __init__(self, call, ordered, shape, W_ih, taken, shown):
        self.call, self.ordered, self.shape, self.W_ih = call, ordered, shape, W_ih
        self.taken, self.shown = taken, shown


class _Order(NamedTuple):
    """How an array over time, in the caller's layout, is seen in order of the steps."""

    batch_first: bool
    reverse: bool

    def steps(self, array: Array) -> Array:
        """A view with the step taken first as its first row, the batch as second axis."""
        array = array.swapaxes(0, 1) if self.batch_first else array
        return array[::-1] if self.reverse else array

    def caller(self, array: Array) -> Array:
        """The way back."""
        array = array[::-1] if self.reverse else array
        return array.swapaxes(0, 1) if self.batch_first else array


def rnn_forward(
    x: Array,
    W_ih: Array,
    W_hh: Array,
    b: Array | None = None,
    h0: Array | None = None,
    *,
    activation: Any = "tanh",
    lengths: Any = None,
    mask: Array | None = None,
    pad: str = "zeros",
    reverse: bool = False,
    batch_first: bool = False,
    training: bool = False,
    return_sequences: bool = True,
) -> tuple[Array | None, Array, RNNCache | None]:
    """Run one plain recurrent layer over a sequence.

    Threads share the batch: a single row runs on one of them.

    Parameters
    ----------
    x : (T, B, I), or (B, T, I) if `batch_first`; float32 or float64. Read through its strides: no
        copy unless the last axis is strided.
    W_ih, W_hh, b : (H, I), (H, H), (H,). b None: zeros. Copied only if not C-contiguous.
    h0 : (B, H) initial state; None: zeros.
    activation : f, a name, (name, alpha, beta) or an `Activation`.
    lengths : (B,) integers in 0..T, in any order: row b takes its first lengths[b] steps.
    mask : bool in the shape of x without its last axis, in place of lengths: the steps to take. A
        step that is not taken leaves the state as it is. Time goes with T for either, and y is
        copied once.
    pad : what y holds where no step is taken: "zeros", or "repeat", the output before it (zeros
        before the first).
    reverse : take the steps from the last to the first; y stays in x's order. h_n is then the state
        after the first step.
    batch_first : x and y have the batch as their first axis.
    training : keep what `rnn_backward` needs (x, y, the weights, h0 and the mask are kept by
        reference: leave them unchanged until then).
    return_sequences : give h of every step, else None in its place.

    Returns
    -------
    y : (T, B, H) or (B, T, H), or None.
    h_n : (B, H), the state after the last step.
    cache : for `rnn_backward`; None unless `training`.

    Raises
    ------
    ValueError
        A shape or dtype does not fit; the text names the argument, what was expected and found. In
        training also an activation whose value does not tell its slope.
    """
    order = _Order(flag("batch_first", batch_first), flag("reverse", reverse))
    f = activations.get("activation", activation)
    if flag("training", training):
        activations.check_slope("activation", f)
    dtype = float_array("x", x).dtype
    W_ih = dense("W_ih", W_ih, ("H", "I"), dtype)
    H, I = W_ih.shape
    W_hh = dense("W_hh", W_hh, (H, H), dtype)
    b = np.zeros(H, dtype) if b is None else dense("b", b, (H,), dtype)
    check_shape("x", x.shape, ("B", "T", I) if order.batch_first else ("T", "B", I))
    not_empty("x", x)
    x = order.steps(rows_in_place("x", x))
    T, B, _ = x.shape
    h0 = None if h0 is None else dense("h0", h0, (B, H), dtype)
    repeat = choice("pad", pad, PADS) == "repeat"
    taken = _steps_taken(lengths, mask, order, T, B)
    y = new((B, T, H) if order.batch_first else (T, B, H), dtype)
    h = order.steps(y)
    call = capi.Recurrence(dtype == np.float64, T, B, I, H, x, taken, W_ih, W_hh, b, h0, h,
                           f.kind, f.alpha, f.beta)  # fmt: skip
    call.forward()
    shown = _steps_shown(taken, repeat)
    cache = RNNCache(call, order, (T, B, I, H), W_ih, taken, shown) if training else None
    if return_sequences and shown is not None:
        y = np.where(order.caller(shown), y, dtype.type(0))
    return (y if return_sequences else None), h[-1].copy(), cache


def rnn_backward(
    cache: RNNCache,
    dy: Array | None = None,
    dh_n: Array | None = None,
    *,
    need_dx: bool = True,
) -> RNNGradients:
    """Back-propagate through time (Werbos 1990) over the call that made `cache`.

    Parameters
    ----------
    cache : of `rnn_forward(training=True)`. It is used up: a second call needs a new one.
    dy : gradient to y, shaped as y; None: zeros. Read through its strides; copied where steps were
        left out.
    dh_n : (B, H) gradient to the last state, added to dy's; None: zeros.
    need_dx : False leaves dx out (None in its place).

    Returns
    -------
    RNNGradients
        dx, dh0, dW_ih, dW_hh, db: new arrays; dh0 only for a given h0. dx lies in memory in order
        of the steps: with `batch_first` or `reverse` it is a strided view.

    Raises
    ------
    ValueError
        No gradient is given, one does not fit, or the cache has been used.
    """
    if not isinstance(cache, RNNCache) or cache.call is None:
        found = "one already used" if isinstance(cache, RNNCache) else describe(cache)
        raise ValueError(f"cache: expected that of rnn_forward(training=True), got {found}")
    if dy is None and dh_n is None:
        raise ValueError("dy, dh_n: expected at least one gradient, got None for both")
    (T, B, I, H), order, dtype = cache.shape, cache.ordered, cache.W_ih.dtype
    if dy is not None:
        shape = (B, T, H) if order.batch_first else (T, B, H)
        check_shape("dy", float_array("dy", dy, dtype).shape, shape)
        dy = order.steps(rows_in_place("dy", dy))
        if cache.shown is not None:
            dy = np.where(cache.shown, dy, dtype.type(0))
    dh_n = None if dh_n is None else dense("dh_n", dh_n, (B, H), dtype)
    call, cache.call = cache.call, None
    dh0 = np.empty((B, H), dtype) if call.has_h0 else None
    dW_ih, dW_hh, db = new((H, I), dtype), new((H, H), dtype), np.empty(H, dtype)
    dz = new((T, B, H), dtype)
    active = None if cache.taken is None else np.flatnonzero(cache.taken).astype(np.int64)
    call.backward(dy, dh_n, dz, dh0, dW_ih, dW_hh, db, active)
    dx = None
    if need_dx:
        dx = new((T, B, I), dtype)
        capi.product(dtype == np.float64, T * B, I, H, dz, H, cache.W_ih, I, 1, dx, None)
        dx = order.caller(dx)
    return RNNGradients(dx, dh0, dW_ih, dW_hh, db)


def _steps_taken(lengths: Any, mask: Any, order: _Order, T: int, B: int) -> Array | None:
    """A bool mask (T, B) in order of the steps; None where all are taken."""
    shape = (B, T) if order.batch_first else (T, B)
    counts, chosen = steps_taken(lengths, mask, shape, T, B)
    if counts is not None:
        taken = np.arange(T)[:, None] < counts
        return taken[::-1] if order.reverse else taken
    return None if chosen is None else order.steps(chosen)


def _steps_shown(taken: Array | None, repeat: bool) -> Array | None:
    """Where y is the state, (T, B, 1): at the steps taken, or from the first of them on."""
    if taken is None:
        return None
    return (np.logical_or.accumulate(taken) if repeat else taken)[:, :, None]

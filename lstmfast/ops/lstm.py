"""LSTM layers on arrays: forward, and back through time. See `ops` for the formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import capi
from ..arguments import Array, UsedOnce, flag
from . import checks
from .call import Call, Sizes, checked, checked_upstream
from .checks import dense, describe, new, strides
from .keys import keys_of_cell, keys_of_noise, keys_of_precision, order_keys
from .options import PLAIN, QUIET, CellOptions, Noise
from .weights import Weights, gradients_for, layer_of

__all__ = [
    "LSTMCache", "LSTMGradients", "lstm_backward", "lstm_forward", "reserve_of", "reserve_size",
    "restore_cache",
]  # fmt: skip


NO_WEIGHTS = Weights(None, None)  # type: ignore[arg-type]  # for gradients that nobody needs


@dataclass(eq=False, repr=False, slots=True)
class LSTMCache(UsedOnce):
    """What `lstm_forward(training=True)` keeps for one `lstm_backward`: nothing to look into.

    It cannot be copied; `reserve_of` and `restore_cache` keep what it holds.
    """

    instead = "keep reserve_of(cache) and the call's arrays, and make it again by restore_cache"

    call: Call
    layer: Any
    y: Array
    reserve: Any

    @property
    def x_shape(self) -> tuple[int, ...]:
        return self.call.x_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.call.dtype  # type: ignore[no-any-return]


class _Gradients(NamedTuple):
    dx: Array | None
    dh0: Array | None
    dc0: Array | None
    dW_ih: Any
    dW_hh: Any
    db: Any


class LSTMGradients(_Gradients):
    """Gradients of one LSTM call, each shaped as what it belongs to: lists where that was a list.

    A tuple (dx, dh0, dc0, dW_ih, dW_hh, db). dh0 and dc0 are None where the call was given no h0
    and no c0; dx unless it was needed.

    Attributes
    ----------
    dp : ndarray (3, H) or None
        Of the peepholes, where there are some.
    dW_hr : ndarray (P, H) or None
        Of the projection.
    dnorm : Norm or None
        Of the layer normalisation's gains and biases.
    dreset_h, dreset_c : ndarray or None
        Of the states that rows begin anew from, where they were given.
    dx_static, dW_static : ndarray, or None
        Of the static inputs, and in the form of W_static of their weights.
    """

    dp: Any = None
    dW_hr: Any = None
    dnorm: Any = None
    dreset_h: Any = None
    dreset_c: Any = None
    dx_static: Any = None
    dW_static: Any = None


def lstm_forward(
    x: Array,
    W_ih: Any,
    W_hh: Any,
    b: Any = None,
    h0: Array | None = None,
    c0: Array | None = None,
    *,
    p: Any = None,
    W_hr: Any = None,
    norm: Any = None,
    options: CellOptions = PLAIN,
    noise: Noise = QUIET,
    seed: int | None = None,
    bidirectional: bool = False,
    lengths: Any = None,
    mask: Array | None = None,
    pad: str = "zeros",
    reverse: bool = False,
    truncate: int | None = None,
    recompute: int | None = None,
    batch_first: bool = False,
    training: bool = False,
    return_sequences: bool = True,
    return_cells: bool = False,
    precision: str | None = None,
    resets: Array | None = None,
    reset_h: Array | None = None,
    reset_c: Array | None = None,
    x_static: Array | None = None,
    W_static: Any = None,
) -> Any:
    """Run LSTM layers over a sequence.

    Parameters
    ----------
    x : (T, B, I), or (B, T, I) if `batch_first`; float32 or float64. Read through its strides: no
        copy unless the last axis is strided.
    W_ih, W_hh, b : (4H, I), (4H, H), (4H,). b None: zeros. Copied only if not C-contiguous.
        Or sequences of them, of b, p, W_hr and norm too: one for each layer, with `bidirectional`
        two (forward, backward). Layers but the first take the outputs, of both directions side by
        side, of the one before: their I is H, or 2H.
    h0, c0 : (B, H) initial state; None: zeros. With sequences of weights (parts, B, H).
    p : (3, H) peepholes of i, f and o; None: the gates do not see the cell.
    W_hr : (P, H) projection h = W_hr (o φ(c)) (Sak, Senior and Beaufays 2014): outputs, h0 and the
        columns of W_hh then have P entries in place of H.
    norm : `Norm` of the layer normalisation; None: there is none.
    options : what else the cell shall be but plain.
    noise : what is dropped in training, and zoneout.
    seed : of the noise, 0 ≤ seed < 2⁶³; needed in training where there is some.
    bidirectional : each layer has a second part that takes the steps from the last to the first.
    lengths : (B,) integers in 0..T, in any order: row b takes its first lengths[b] steps. Time goes
        with their sum.
    mask : bool in the shape of x without its last axis, in place of lengths: the steps to take. A
        step that is not taken leaves the state as it is.
    pad : what y holds where no step is taken: "zeros", or "repeat", the output before it (zeros
        before the first).
    reverse : take the steps from the last to the first; y stays in x's order. (h_n, c_n) is then
        the state after the first step.
    truncate : k: gradients do not flow from step n to step n - 1 where n is a multiple of k,
        counted as the row takes them (truncated back-propagation through time).
    recompute : k: keep for `lstm_backward` the state of every k-th step, not the activations of
        all, and compute these again there: memory for a third more time (Chen et al. 2016).
    batch_first : x and y have the batch as their first axis.
    training : keep what `lstm_backward` needs (x, y, the weights and the state are kept by
        reference: leave them unchanged until then).
    return_sequences : give h of every step, else None in its place.
    return_cells : give c of every step, too (of the last layer; 0 where no step is taken).
    precision : what products with W_ih and W_hh are calculated in: None or the arrays' own dtype;
        of float32 arrays also "bfloat16", their factors rounded to it, sums not, and in inference
        "int8", in the same way (docs/precision.md); on a GPU "tf32" or "float16", not "int8".
    resets : bool in the shape of x without its last axis: where rows begin anew. A reset at t
        stands between the steps t - 1 and t, whichever of them is taken first: before t, or in the
        direction from the last step to the first before t - 1. There the row goes on from reset_h
        and reset_c, and no gradient passes. A reset where the mask leaves a step out counts, for
        the state after the last step too; behind the length of a row there are none.
    reset_h, reset_c : shaped as h0 and c0; None: zeros.
    x_static, W_static : (B, S), (4H, S): inputs that are the same in every step of a row. W_static
        x_static joins W_ih x of the first layer (under one gain, with a norm); it is calculated
        once. With `bidirectional` W_static is a sequence of two.

    Returns
    -------
    y : (T, B, H) or (B, T, H), or None; with `bidirectional` 2H entries, the forward ones first.
    (h_n, c_n) : the state after the last step, shaped as h0 and c0.
    cache : for `lstm_backward`; None unless `training`.
    cells : only with `return_cells`, shaped as y but for the projection.

    Raises
    ------
    ValueError
        A shape or dtype does not fit, or options do not go together; the text names the argument,
        what was expected and found.
    """
    call = checked(checks, x, W_ih, W_hh, b, h0, c0, p, W_hr, norm, options, noise, seed,
                   bidirectional, lengths, mask, pad, reverse, truncate, recompute, batch_first,
                   training, return_sequences, return_cells, precision, resets, reset_h,
                   reset_c, x_static, W_static)  # fmt: skip
    layer = handle_of(call)
    taken, found = forward_rooms(call, layer)
    layer.forward(*taken)
    return found


def handle_of(call: Call) -> Any:
    """A handle of a call's weights, which it packs when a pass needs them."""
    keys = call.keys | keys_of_precision(call.precision)
    return layer_of(call.weights, keys, training=call.training, batch_size=1, borrow=True)


def forward_rooms(call: Call, layer: Any) -> tuple[Any, Any]:
    """Return what `capi.Handle.forward` takes, and what `lstm_forward` returns after it."""
    x, first, dtype, with_cells = call.x, call.batch_first, call.dtype, call.with_cells
    h_shape, c_shape = call.state_shapes
    h_n, c_n = np.empty(h_shape, dtype), np.empty(c_shape, dtype)
    y = new(call.y_shape, dtype) if call.with_y or call.training else None
    cells = new(call.cells_shape, dtype) if with_cells else None
    cache = reserve = None
    if call.training:
        reserve = layer.new_reserve(call.T, call.B)
        cache = LSTMCache(call, layer, y, reserve)  # type: ignore[arg-type]
    taken = (call.T, call.B, x, strides(x, first), call.taken, call.h0, call.c0, y,
             strides(y, first), h_n, c_n, cells, strides(cells, first), reserve, call.seed,
             call.anew, call.x_static)  # fmt: skip
    found = (y if call.with_y else None), (h_n, c_n), cache
    return taken, (*found, cells) if with_cells else found


def reserve_of(cache: LSTMCache) -> Array:
    """Return what a cache holds beside the arrays of its call: (n,) uint8, sharing its memory.

    The same call leaves the same bytes.

    For frameworks that keep arrays between forward and backward, and nothing else:
    `restore_cache` makes a cache of it again.
    """
    _check_unused(cache)
    return np.frombuffer(cache.reserve, np.uint8)


def reserve_size(
    T: int, B: int, sizes: Sizes, dtype: Any, *, options: CellOptions = PLAIN,
    noise: Noise = QUIET, projected: bool = False, ragged: bool = False, pad: str = "zeros",
    reverse: bool = False,
) -> int:  # fmt: skip
    """The n of `reserve_of`, from the sizes of a call: for frameworks that plan memory ahead.

    projected: there is a W_hr; ragged: there are lengths or a mask.
    """
    directions = sizes.output_size // sizes.state_size
    keys = keys_of_cell(options, True) | keys_of_noise(noise)
    keys |= order_keys(ragged, pad, reverse, directions == 2)
    keys |= {"num_layers": sizes.parts // directions}
    keys |= {"proj_size": sizes.state_size} if projected else {}
    is_double = np.dtype(dtype) == np.float64
    layer = capi.Handle(sizes.input_size, sizes.hidden_size, is_double, True, 1, keys)
    return len(memoryview(layer.new_reserve(T, B)))


def restore_cache(
    reserve: Array, y: Array, x: Array, W_ih: Any, W_hh: Any, b: Any = None,
    h0: Array | None = None, c0: Array | None = None, **keywords: Any,
) -> LSTMCache:  # fmt: skip
    """Make the cache of a call again, from its arguments and from what it gave.

    Parameters
    ----------
    reserve : (n,) uint8, of `reserve_of`; copied, so that it serves more than one `lstm_backward`.
    y : the outputs of the call, with return_sequences.
    x, W_ih, W_hh, b, h0, c0, keywords : of the call, but for training and recompute: it must have
        kept its activations (recompute None).

    Raises
    ------
    ValueError
        An argument does not fit, or reserve and y are not of such a call.
    """
    call = checked(checks, x, W_ih, W_hh, b, h0, c0, training=True, recompute=None, **keywords)
    layer = handle_of(call)
    y = dense("y", y, call.y_shape, call.dtype)
    cache = LSTMCache(call, layer, y, layer.new_reserve(call.T, call.B))
    room = reserve_of(cache)
    if getattr(reserve, "dtype", None) != np.uint8 or reserve.shape != room.shape:
        expected = f"the {room.size} bytes that reserve_of gave for such a call"
        raise ValueError(f"reserve: expected {expected}, got {np.shape(reserve)}")
    np.copyto(room, reserve)
    return cache


def lstm_backward(
    cache: LSTMCache,
    dy: Array | None = None,
    dh_n: Array | None = None,
    dc_n: Array | None = None,
    *,
    dcells: Array | None = None,
    need_dx: bool = True,
    need_weights: bool = True,
) -> LSTMGradients:
    """Back-propagate through time (Werbos 1990) over the call that made `cache`.

    Parameters
    ----------
    cache : of `lstm_forward(training=True)`. It is used up: a second call needs a new one.
    dy : gradient to y, shaped as y; None: zeros. Read through its strides.
    dh_n, dc_n : gradients to the last state, shaped as it, added to dy's; None: zeros.
    dcells : gradient to the cells, where the call was asked for them (`return_cells`).
    need_dx : False leaves dx out (None in its place).
    need_weights : False leaves those of all weights out, and the time that they take.

    Returns
    -------
    LSTMGradients
        dx, dh0, dc0, dW_ih, dW_hh, db, .dp, .dW_hr, .dnorm, .dreset_h, .dreset_c, .dx_static,
        .dW_static: new arrays; those of states only for a given one.

    Raises
    ------
    ValueError
        No gradient is given, one does not fit, or the cache has been used.
    """
    _check_unused(cache)
    call, layer, y = cache.call, cache.layer, cache.y
    dy, dh_n, dc_n, dcells = checked_upstream(checks, call, dy, dh_n, dc_n, dcells)
    x, first = call.x, call.batch_first
    dx = new(x.shape, x.dtype) if flag("need_dx", need_dx) else None
    dh0, dc0 = (None if s is None else np.empty_like(s) for s in (call.h0, call.c0))
    others = NO_OTHERS if call.anew is None and call.x_static is None else _rooms_of_others(call)
    dreset_h, dreset_c, dx_static = others
    gradients, wanted = _rooms(call, flag("need_weights", need_weights))
    reserve, cache.reserve = cache.reserve, None
    layer.backward(call.T, call.B, x, strides(x, first), call.taken, call.h0, call.c0,
                   y, strides(y, first), reserve, call.seed, dy, strides(dy, first), dh_n, dc_n,
                   dcells, strides(dcells, first), dx, strides(dx, first), dh0, dc0, wanted,
                   call.anew, dreset_h, dreset_c, call.x_static, dx_static)  # fmt: skip
    found = as_given(dx, dh0, dc0, gradients, call.stacked)
    if others is not NO_OTHERS:
        found.dreset_h, found.dreset_c, found.dx_static = others
        found.dW_static = _static_gradient(gradients, call)
    return found


NO_OTHERS = None, None, None


def _rooms_of_others(call: Call) -> tuple[Any, Any, Any]:
    """For dreset_h, dreset_c and dx_static."""
    given = *(call.anew[2:] if call.anew is not None else (None, None)), call.x_static
    dreset_h, dreset_c, dx_static = (None if a is None else np.empty_like(a) for a in given)
    return dreset_h, dreset_c, dx_static


def _static_gradient(gradients: Sequence[Weights], call: Call) -> Any:
    """dW_static: of two directions a list."""
    each = [one.W_static for one in gradients[: call.directions]]
    if each[0] is None:
        return None
    return each if len(each) > 1 else each[0]


def _check_unused(cache: Any) -> None:
    """Raise ValueError unless this is a cache with which `lstm_backward` can still be called."""
    if not isinstance(cache, LSTMCache) or cache.reserve is None:
        found = "one already used" if isinstance(cache, LSTMCache) else describe(cache)
        raise ValueError(f"cache: expected that of lstm_forward(training=True), got {found}")


def _rooms(call: Call, need: bool) -> tuple[list[Weights], list[Weights]]:
    """Return rooms for the gradients of the weights, and those of them that are to be filled."""
    if not need:
        none = [NO_WEIGHTS] * len(call.weights)
        return none, none
    begins = call.h0 is not None or (call.anew is not None and call.anew[2] is not None)
    no_past = call.T == 1 and not begins
    rooms = gradients_for(call.weights, no_past)
    return rooms, [part._replace(W_hh=None) for part in rooms] if no_past else rooms  # type: ignore[arg-type]


def as_given(dx: Any, dh0: Any, dc0: Any, parts: list[Weights], stacked: bool) -> LSTMGradients:
    """Gradients in the form of the weights: arrays, or lists of them."""
    if not stacked:
        (only,) = parts
        found = LSTMGradients(dx, dh0, dc0, *only[:3])
        found.dp, found.dW_hr, found.dnorm = only.p, only.W_hr, only.norm
        return found

    def form(values: list[Any]) -> Any:
        return None if values[0] is None else values

    dW_ih, dW_hh, db = (form([part[i] for part in parts]) for i in range(3))
    found = LSTMGradients(dx, dh0, dc0, dW_ih, dW_hh, db)
    found.dp, found.dW_hr = form([p.p for p in parts]), form([p.W_hr for p in parts])
    found.dnorm = form([p.norm for p in parts])
    return found

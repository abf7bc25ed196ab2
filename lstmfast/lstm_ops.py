"""LSTM layers on arrays: forward, and back through time. See `ops` for the formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .arguments import Array, check_shape, choice, flag, integer
from .arrays import (
    check_precision,
    dense,
    describe,
    float_array,
    new,
    not_empty,
    rows_in_place,
)
from .options import PLAIN, QUIET, CellOptions, Noise
from .steps import PADS, steps_taken
from .weights import Weights, gradients_for, is_stack, layer_of, weights_of

__all__ = ["LSTMCache", "LSTMGradients", "lstm_backward", "lstm_forward"]


MOST_STEPS = 2**24  # that the C-level configuration takes


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
    """

    dp: Any = None
    dW_hr: Any = None
    dnorm: Any = None


@dataclass(eq=False, repr=False, slots=True)
class LSTMCache:
    """What `lstm_forward(training=True)` keeps for one `lstm_backward`: nothing to look into."""

    layer: Any
    weights: list[Weights]
    stacked: bool
    x: Array
    taken: Any
    y: Any
    h0: Array | None
    c0: Array | None
    reserve: Any
    seed: int
    batch_first: bool
    with_cells: bool

    @property
    def x_shape(self) -> tuple[int, ...]:
        return self.x.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.x.dtype


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
    precision : what products are calculated in: None or the arrays' own dtype; of float32 arrays on
        a GPU also "tf32", "bfloat16" or "float16".

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
    dtype = float_array("x", x).dtype
    check_precision(precision, dtype)
    both, training = flag("bidirectional", bidirectional), flag("training", training)
    batch_first = flag("batch_first", batch_first)
    return_sequences = flag("return_sequences", return_sequences)
    keys = keys_of_cell(options, training) | keys_of_noise(noise)
    keys |= order_keys(lengths is not None or mask is not None, pad, reverse, both)
    keys |= way_back_keys(truncate, recompute)
    if flag("return_cells", return_cells):
        keys["cells"] = 1
    parts = weights_of(W_ih, W_hh, b, p, W_hr, norm, both, dtype)
    number = seed_of(noise, seed, training)
    check_layers(noise, len(parts) // (1 + both))
    layer = layer_of(parts, keys, training=training, batch_size=1, borrow=True)
    T, B = steps_and_rows(x, layer.input_size, batch_first)
    taken = _steps_taken(lengths, mask, x, T, B, batch_first)
    x = rows_in_place("x", x)
    stacked = is_stack(W_ih)
    h_shape, c_shape = _state_shapes(layer, B, stacked)
    h0, c0 = _state("h0", h0, h_shape, dtype), _state("c0", c0, c_shape, dtype)
    h_n, c_n = np.empty(h_shape, dtype), np.empty(c_shape, dtype)
    y = reserve = cells = None
    if return_sequences or training:
        y = new((*x.shape[:2], layer.output_size), dtype)
    if return_cells:
        cells = new((*x.shape[:2], (1 + both) * layer.hidden_size), dtype)
    if training:
        reserve = layer.new_reserve(T, B)
    layer.forward(T, B, x, _strides(x, batch_first), taken, h0, c0, y, _strides(y, batch_first),
                  h_n, c_n, cells, _strides(cells, batch_first), reserve, number)  # fmt: skip
    cache = None
    if training:
        cache = LSTMCache(layer, parts, stacked, x, taken, y, h0, c0, reserve, number, batch_first,
                          return_cells)  # fmt: skip
    found = (y if return_sequences else None), (h_n, c_n), cache
    return (*found, cells) if return_cells else found


def lstm_backward(
    cache: LSTMCache,
    dy: Array | None = None,
    dh_n: Array | None = None,
    dc_n: Array | None = None,
    *,
    dcells: Array | None = None,
    need_dx: bool = True,
) -> LSTMGradients:
    """Back-propagate through time (Werbos 1990) over the call that made `cache`.

    Parameters
    ----------
    cache : of `lstm_forward(training=True)`. It is used up: a second call needs a new one.
    dy : gradient to y, shaped as y; None: zeros. Read through its strides.
    dh_n, dc_n : gradients to the last state, shaped as it, added to dy's; None: zeros.
    dcells : gradient to the cells, where the call was asked for them (`return_cells`).
    need_dx : False leaves dx out (None in its place).

    Returns
    -------
    LSTMGradients
        dx, dh0, dc0, dW_ih, dW_hh, db, .dp, .dW_hr, .dnorm: new arrays; dh0 and dc0 only for a
        given h0 or c0.

    Raises
    ------
    ValueError
        No gradient is given, one does not fit, or the cache has been used.
    """
    if not isinstance(cache, LSTMCache) or cache.reserve is None:
        found = "one already used" if isinstance(cache, LSTMCache) else describe(cache)
        raise ValueError(f"cache: expected that of lstm_forward(training=True), got {found}")
    if dcells is not None and not cache.with_cells:
        raise ValueError("dcells: expected None, as the call gave no cells (return_cells), got one")
    if dy is None and dh_n is None and dc_n is None and dcells is None:
        raise ValueError("dy, dh_n, dc_n: expected at least one gradient, got None for all")
    layer, x, y, dtype, first = cache.layer, cache.x, cache.y, cache.x.dtype, cache.batch_first
    T, B = steps_and_rows(x, layer.input_size, first)
    dy = _upstream("dy", dy, y.shape, dtype)
    dcells = _upstream("dcells", dcells, _cells_shape(cache), dtype)
    h_shape, c_shape = _state_shapes(layer, B, cache.stacked)
    dh_n, dc_n = _state("dh_n", dh_n, h_shape, dtype), _state("dc_n", dc_n, c_shape, dtype)
    dx = new(x.shape, dtype) if flag("need_dx", need_dx) else None
    dh0, dc0 = (None if s is None else np.empty_like(s) for s in (cache.h0, cache.c0))
    no_past = T == 1 and cache.h0 is None
    gradients = wanted = gradients_for(cache.weights, no_past)
    if no_past:
        wanted = [part._replace(W_hh=None) for part in gradients]  # type: ignore[arg-type]
    reserve, cache.reserve = cache.reserve, None
    layer.backward(T, B, x, _strides(x, first), cache.taken, cache.h0, cache.c0,
                   y, _strides(y, first), reserve, cache.seed, dy, _strides(dy, first), dh_n, dc_n,
                   dcells, _strides(dcells, first), dx, _strides(dx, first), dh0, dc0,
                   wanted)  # fmt: skip
    return as_given(dx, dh0, dc0, gradients, cache.stacked)


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


# ---------------------------------------------------------------- keys of the configuration


def keys_of_cell(options: Any, training: bool) -> dict[str, float]:
    if not isinstance(options, CellOptions):
        raise ValueError(f"options: expected CellOptions, got {type(options).__name__}")
    if options is PLAIN:
        return {}
    if training:
        options.check_training()
    return options.keys()


def keys_of_noise(noise: Any) -> dict[str, float]:
    if not isinstance(noise, Noise):
        raise ValueError(f"noise: expected Noise, got {type(noise).__name__}")
    return {} if noise is QUIET else noise.keys()


def order_keys(unlike: bool, pad: Any, reverse: Any, both: bool) -> dict[str, float]:
    """Which steps are taken, and in which order."""
    wanted = {
        "lengths": unlike,
        "repeat": choice("pad", pad, PADS) == "repeat",
        "reverse": flag("reverse", reverse),
        "bidirectional": both,
    }
    if both and reverse:
        raise ValueError("reverse: expected False with bidirectional, which has both, got True")
    return {name: 1.0 for name, chosen in wanted.items() if chosen}


def way_back_keys(truncate: Any, recompute: Any) -> dict[str, float]:
    given = {"truncate": truncate, "recompute": recompute}
    keys = {name: integer(name, k, 1) for name, k in given.items() if k is not None}
    return {name: float(min(k, MOST_STEPS)) for name, k in keys.items()}


def check_layers(noise: Noise, layers: int) -> None:
    if noise.layer_dropout and layers == 1:
        expected = "0 with a single layer, as it drops between layers"
        raise ValueError(f"noise: expected layer_dropout {expected}, got {noise.layer_dropout}")


def seed_of(noise: Noise, seed: Any, training: bool) -> int:
    """The seed of a call."""
    if seed is None:
        if training and noise.keys():
            raise ValueError("seed: expected an integer, as noise is to be drawn, got None")
        return 0
    if integer("seed", seed, 0) >= 2**63:
        raise ValueError(f"seed: expected an integer below 2**63, got {seed}")
    return int(seed)


# ---------------------------------------------------------------- shapes


def steps_and_rows(x: Array, I: int, batch_first: bool) -> tuple[int, int]:
    """T and B of x, whose shape is checked."""
    check_shape("x", x.shape, ("B", "T", I) if batch_first else ("T", "B", I))
    not_empty("x", x)
    first, second = x.shape[:2]
    return (second, first) if batch_first else (first, second)


def _steps_taken(
    lengths: Any, mask: Any, x: Array, T: int, B: int, batch_first: bool
) -> tuple[Array | None, Array | None, tuple[int, int] | None] | None:
    """What `capi.Layer` takes: (lengths, None, None), (None, mask, strides), or None for all."""
    counts, chosen = steps_taken(lengths, mask, x.shape[:2], T, B)
    if chosen is None:
        return None if counts is None else (counts.copy(), None, None)
    flags = np.array(chosen, np.uint8, order="C")  # a copy: backward needs it, too
    return None, flags, _strides(flags, batch_first)


def _state_shapes(layer: Any, B: int, stacked: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    leading = (layer.parts, B) if stacked else (B,)
    return (*leading, layer.state_size), (*leading, layer.hidden_size)


def _cells_shape(cache: LSTMCache) -> tuple[int, ...]:
    layer = cache.layer
    directions = layer.output_size // layer.state_size
    return (*cache.x.shape[:2], directions * layer.hidden_size)


def _state(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    return None if value is None else dense(name, value, shape, dtype)


def _upstream(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    if value is None:
        return None
    check_shape(name, float_array(name, value, dtype).shape, shape)
    return rows_in_place(name, value)


def _strides(array: Array | None, batch_first: bool) -> tuple[int, int]:
    """The strides of time and batch in elements."""
    if array is None:
        return 0, 0
    first, second = (stride // array.itemsize for stride in array.strides[:2])
    return (second, first) if batch_first else (first, second)

"""One LSTM call: its arguments checked once, for the host and for a GPU alike.

`of` has the checks of arrays, and says where they are: `lstmfast.ops.checks`, or an `On` of
`lstmfast.cuda.ops.checks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..arguments import Array, check_shape, flag
from .checks import check_trains, not_empty
from .keys import check_layers, keys_of_cell, keys_of_noise, order_keys, seed_of, way_back_keys
from .options import PLAIN, QUIET, CellOptions, Noise
from .weights import Weights, is_stack, outputs_of, weights_of

__all__ = ["Call", "Sizes", "call_on", "checked", "checked_upstream", "static_of"]

Shape = tuple[int, ...]


class Sizes(NamedTuple):
    """Of a network, by the names that `capi.Handle` has for them; parts are layers · directions."""

    parts: int
    input_size: int
    hidden_size: int
    state_size: int
    output_size: int


@dataclass(slots=True)
class Call:
    """The arguments of an LSTM call, checked.

    Attributes
    ----------
    x : (T, B, I), or (B, T, I) if `batch_first`, with contiguous rows; None once nobody needs it
    h0, c0 : as given, contiguous, or None
    taken : which steps rows take, as `of.taken` has it; None for all
    x_static : what is the same in every step, (B, S), contiguous, or None
    anew : which rows begin anew, as `of.resets` has it, reset_h and reset_c; None for none
    state_shapes : of h and of c
    weights : of each part, and
    keys : of the configuration, but for those that weights tell; where no handle has them already
    """

    sizes: Any
    stacked: bool
    batch_first: bool
    x: Any
    x_shape: Shape
    dtype: Any
    T: int
    B: int
    h0: Any
    c0: Any
    taken: Any
    state_shapes: tuple[Shape, Shape]
    with_y: bool
    anew: Any = None
    x_static: Any = None
    weights: Sequence[Weights] = ()
    keys: Any = None
    noise: Noise = QUIET
    seed: int = 0
    training: bool = False
    precision: Any = None

    @property
    def with_cells(self) -> bool:
        return self.keys is not None and "cells" in self.keys

    @property
    def directions(self) -> int:
        return self.sizes.output_size // self.sizes.state_size  # type: ignore[no-any-return]

    @property
    def y_shape(self) -> Shape:
        return (*self.x_shape[:2], self.sizes.output_size)

    @property
    def cells_shape(self) -> Shape:
        return (*self.x_shape[:2], self.directions * self.sizes.hidden_size)


def checked(
    of: Any, x: Any, W_ih: Any, W_hh: Any, b: Any = None, h0: Any = None, c0: Any = None,
    p: Any = None, W_hr: Any = None, norm: Any = None, options: CellOptions = PLAIN,
    noise: Noise = QUIET, seed: Any = None, bidirectional: Any = False, lengths: Any = None,
    mask: Any = None, pad: Any = "zeros", reverse: Any = False, truncate: Any = None,
    recompute: Any = None, batch_first: Any = False, training: Any = False,
    return_sequences: Any = True, return_cells: Any = False, precision: Any = None,
    resets: Any = None, reset_h: Any = None, reset_c: Any = None, x_static: Any = None,
    W_static: Any = None,
) -> Call:  # fmt: skip
    """The call of these arguments of `lstm_forward`; ValueError where one does not fit."""
    training, dtype = flag("training", training), of.float_array("x", x).dtype
    precision, both = of.precision_of(precision, dtype), flag("bidirectional", bidirectional)
    keys = keys_of_cell(options, training) | keys_of_noise(noise)
    keys |= order_keys(lengths is not None or mask is not None, pad, reverse, both)
    keys |= way_back_keys(truncate, recompute)
    if training:
        check_trains(precision)
    if flag("return_cells", return_cells):
        keys["cells"] = 1
    if resets is not None:
        keys["resets"] = 1
    weights = weights_of(W_ih, W_hh, b, p, W_hr, norm, both, dtype, of, W_static)
    seed = seed_of(noise, seed, training)
    check_layers(noise, len(weights) // (1 + both))
    call = call_on(of, _sizes_of(weights, 1 + both), is_stack(W_ih), dtype, x, h0, c0, lengths,
                   mask, batch_first, return_sequences, resets, reset_h, reset_c)  # fmt: skip
    if x_static is not None or W_static is not None:
        call.x_static = static_of(of, x_static, weights[0].static_size, call.B, dtype)
    call.weights, call.keys, call.noise, call.seed = weights, keys, noise, seed
    call.training, call.precision = training, precision
    return call


def call_on(
    of: Any, sizes: Any, stacked: bool, dtype: Any, x: Any, h0: Any, c0: Any, lengths: Any,
    mask: Any, batch_first: Any, return_sequences: Any, resets: Any = None, reset_h: Any = None,
    reset_c: Any = None,
) -> Call:  # fmt: skip
    """A call in inference of weights that are known: x, the state and the steps to take, checked.

    sizes: a `Sizes`, or a `capi.Handle`.
    """
    batch_first = flag("batch_first", batch_first)
    of.float_array("x", x, dtype)
    I = sizes.input_size
    if len(x.shape) != 3 or x.shape[2] != I:
        check_shape("x", x.shape, ("B", "T", I) if batch_first else ("T", "B", I))
    not_empty("x", x)
    B, T = x.shape[:2] if batch_first else x.shape[1::-1]
    taken = of.taken(lengths, mask, x.shape[:2], T, B, batch_first)
    leading = (sizes.parts, B) if stacked else (B,)
    shapes = (*leading, sizes.state_size), (*leading, sizes.hidden_size)
    h0 = None if h0 is None else of.dense("h0", h0, shapes[0], dtype)
    c0 = None if c0 is None else of.dense("c0", c0, shapes[1], dtype)
    anew = None
    if not (resets is None and reset_h is None and reset_c is None):
        flags = of.resets(resets, x.shape[:2], batch_first)
        anew = _anew(of, flags, reset_h, reset_c, shapes, dtype)
    with_y = flag("return_sequences", return_sequences)
    x, shape = of.rows_in_place("x", x), x.shape
    return Call(sizes, stacked, batch_first, x, shape, dtype, T, B, h0, c0, taken, shapes, with_y,
                anew)  # fmt: skip


def static_of(of: Any, x_static: Any, S: int, B: int, dtype: Any) -> Any:
    """x_static, checked; S: how many static inputs there are weights for."""
    if (x_static is None) != (S == 0):
        found = "W_static alone" if x_static is None else "x_static alone"
        raise ValueError(f"x_static, W_static: expected both or none, got {found}")
    return None if x_static is None else of.dense("x_static", x_static, (B, S), dtype)


def _anew(of: Any, flags: Any, reset_h: Any, reset_c: Any, shapes: Any, dtype: Any) -> Any:
    """What `Call.anew` holds."""
    states = {"reset_h": reset_h, "reset_c": reset_c}
    for name, state in states.items():
        if state is not None and flags is None:
            raise ValueError(f"{name}: expected None without resets, got one")
    if flags is None:
        return None
    named = zip(states.items(), shapes, strict=True)
    return *flags, *(None if a is None else of.dense(n, a, shape, dtype) for (n, a), shape in named)


def _sizes_of(weights: Sequence[Weights], directions: int) -> Sizes:
    rows, inputs = weights[0].W_ih.shape
    P = outputs_of(weights[0])
    return Sizes(len(weights), inputs, rows // 4, P, directions * P)


def checked_upstream(
    of: Any, call: Call, dy: Any, dh_n: Any, dc_n: Any, dcells: Any
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """The gradients to what a call gave, rows contiguous; ValueError where one does not fit."""
    if dcells is not None and not call.with_cells:
        raise ValueError("dcells: expected None, as the call gave no cells (return_cells), got one")
    if dy is None and dh_n is None and dc_n is None and dcells is None:
        raise ValueError("dy, dh_n, dc_n: expected at least one gradient, got None for all")
    dtype, (h_shape, c_shape) = call.dtype, call.state_shapes
    return (
        None if dy is None else _steps_of(of, "dy", dy, call.y_shape, dtype),
        None if dh_n is None else of.dense("dh_n", dh_n, h_shape, dtype),
        None if dc_n is None else of.dense("dc_n", dc_n, c_shape, dtype),
        None if dcells is None else _steps_of(of, "dcells", dcells, call.cells_shape, dtype),
    )


def _steps_of(of: Any, name: str, value: Any, shape: Shape, dtype: Any) -> Any:
    check_shape(name, of.float_array(name, value, dtype).shape, shape)
    return of.rows_in_place(name, value)

"""LSTM layers on arrays in the GPU's memory: the counterparts of `lstmfast.ops.lstm`.

What is said there of arguments, options and results holds here, but for what `_check_options` bars.
The matrices of a step are multiplied in the arrays' own precision, or in a smaller one:

    float64, float32    as they are; float32 strictly, without the tensor cores' shorter mantissa
    tf32                float32 arrays, rounded to 11 bits as the tensor cores multiply them
    bfloat16, float16   arrays of these, or float32 arrays that are rounded for each product

States, activations, gradients and sums are float32 then (float64 for float64).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...arguments import UsedOnce, check_shape, choice, flag
from ...ops.call import steps_and_rows
from ...ops.keys import (
    check_layers,
    keys_of_cell,
    keys_of_noise,
    order_keys,
    seed_of,
    way_back_keys,
)
from ...ops.lstm import LSTMGradients, as_given
from ...ops.options import PLAIN, QUIET, CellOptions, Noise
from ...ops.weights import Weights, is_stack, weights_of
from ..kernels.cell_kind import CellKind, formula_of
from ..kernels.copying import copy_into
from ..kernels.numbers import REALS, name_of
from ..lstm.backward import Gradients
from ..lstm.part import Part, PartWeights
from ..lstm.ragged import Order
from ..lstm.stack import Stack
from ..runtime.array import DeviceArray, empty
from ..support import PRECISIONS
from .checks import On, real_array, rows_in_place

__all__ = ["DeviceCache", "lstm_backward", "lstm_forward"]


@dataclass(eq=False, repr=False)
class DeviceCache(UsedOnce):
    """What `lstm_forward(training=True)` keeps for one `lstm_backward`: nothing to look into."""

    instead = "run lstm_forward again"

    stack: Stack | None
    weights: list[Weights]
    stacked: bool
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    h0: DeviceArray | None
    c0: DeviceArray | None
    batch_first: bool
    with_cells: bool
    dtype: Any
    kind: Any = None  # of the arrays that the caller has: `foreign.Kind`, None for our own


def lstm_forward(
    x: DeviceArray,
    W_ih: Any,
    W_hh: Any,
    b: Any = None,
    h0: DeviceArray | None = None,
    c0: DeviceArray | None = None,
    *,
    p: Any = None,
    W_hr: Any = None,
    norm: Any = None,
    options: CellOptions = PLAIN,
    noise: Noise = QUIET,
    seed: int | None = None,
    bidirectional: bool = False,
    lengths: Any = None,
    mask: Any = None,
    pad: str = "zeros",
    reverse: bool = False,
    truncate: int | None = None,
    recompute: int | None = None,
    batch_first: bool = False,
    training: bool = False,
    return_sequences: bool = True,
    return_cells: bool = False,
    precision: str | None = None,
    stream: Any = None,
) -> Any:
    """Run LSTM layers over a sequence: see `lstmfast.lstm_forward`.

    Parameters
    ----------
    precision : what the products of matrices are calculated in, see above; None: the arrays' own.
    stream : of cuda.core; None: the default stream. Nothing here waits for it.
    """
    dtype = real_array("x", x).dtype
    both, training = flag("bidirectional", bidirectional), flag("training", training)
    batch_first = flag("batch_first", batch_first)
    cell_keys = keys_of_cell(options, training)
    keys_of_noise(noise)
    order_keys(lengths is not None or mask is not None, pad, reverse, both)
    way_back = way_back_keys(truncate, recompute)
    _check_options(norm, recompute)
    precision = _precision(precision, dtype)
    weights = weights_of(W_ih, W_hh, b, p, W_hr, norm, both, dtype, On(stream))
    number = seed_of(noise, seed, training)
    check_layers(noise, len(weights) // (1 + both))
    T, B = steps_and_rows(x, weights[0].W_ih.shape[1], batch_first)  # type: ignore[arg-type]
    order = Order(lengths, mask, T, B, batch_first, stream)
    kind = _kind(dtype, precision, cell_keys, weights[0], noise, training)._replace(
        counted=order.unlike, repeat=pad == "repeat", truncate=int(way_back.get("truncate", 0))
    )
    drawn, last = noise if training else QUIET, len(weights) - 1 - both
    with_y = flag("return_sequences", return_sequences)
    parts = [
        Part(k, kind._replace(outputs=with_y or k < last), _operands(one, kind, stream), precision,
             reverse or bool(both and k % 2), drawn.recurrent_dropout, drawn.weight_drop)
        for k, one in enumerate(weights)
    ]  # fmt: skip
    stack = Stack(parts, 1 + both, T, B, drawn, number, order, stream)
    return _run(stack, weights, x, h0, c0, is_stack(W_ih), batch_first, training, with_y,
                flag("return_cells", return_cells))  # fmt: skip


def _run(
    stack: Stack, weights: list[Weights], x: DeviceArray, h0: Any, c0: Any, stacked: bool,
    batch_first: bool, training: bool, with_y: bool, with_cells: bool,
) -> Any:  # fmt: skip
    """Run a stack and return what `lstm_forward` does."""
    dtype, stream, (H, P) = x.dtype, stack.stream, (stack.parts[0].H, stack.parts[0].P)
    shapes = [(len(stack.parts), stack.B, size) for size in (P, H)]
    of = On(stream)
    h0 = _state("h0", h0, shapes[0], dtype, stacked, of)
    c0 = _state("c0", c0, shapes[1], dtype, stacked, of)
    h_n, c_n = (empty(shape, dtype, stream) for shape in shapes)
    y_shape, cells_shape = ((*x.shape[:2], stack.directions * size) for size in (P, H))
    y = empty(y_shape, dtype, stream) if with_y else None
    cells = empty(cells_shape, dtype, stream) if with_cells else None
    stack.forward(_steps(rows_in_place(x, stream), batch_first), h0, c0, _steps(y, batch_first),
                  _steps(cells, batch_first), h_n, c_n, training)  # fmt: skip
    state = (h_n, c_n) if stacked else (h_n[0], c_n[0])
    cache = None
    if training:
        cache = DeviceCache(stack, weights, stacked, x.shape, y_shape, h0, c0, batch_first,
                            with_cells, dtype)  # fmt: skip
    return (y, state, cache, cells) if with_cells else (y, state, cache)


def lstm_backward(
    cache: DeviceCache,
    dy: DeviceArray | None = None,
    dh_n: DeviceArray | None = None,
    dc_n: DeviceArray | None = None,
    *,
    dcells: DeviceArray | None = None,
    need_dx: bool = True,
    need_weights: bool = True,
) -> LSTMGradients:
    """Back-propagate through time over the call that made `cache`: see `lstmfast.lstm_backward`.

    Runs on the stream of that call.
    """
    stack = cache.stack if isinstance(cache, DeviceCache) else None
    if stack is None:
        raise ValueError(
            "cache: expected that of lstm_forward(training=True), got one already used"
        )
    if dcells is not None and not cache.with_cells:
        raise ValueError("dcells: expected None, as the call gave no cells (return_cells), got one")
    if dy is None and dh_n is None and dc_n is None and dcells is None:
        raise ValueError("dy, dh_n, dc_n: expected at least one gradient, got None for all")
    dtype, H, P, of = stack.array_dtype, stack.parts[0].H, stack.parts[0].P, On(stack.stream)
    dy = _upstream("dy", dy, cache.y_shape, dtype, cache.batch_first, stack.stream)
    cells_shape = (*cache.y_shape[:2], stack.directions * H)
    dcells = _upstream("dcells", dcells, cells_shape, dtype, cache.batch_first, stack.stream)
    leading = (len(stack.parts), stack.B)
    dh_n = _state("dh_n", dh_n, (*leading, P), dtype, cache.stacked, of)
    dc_n = _state("dc_n", dc_n, (*leading, H), dtype, cache.stacked, of)
    dx = empty(cache.x_shape, dtype, stack.stream) if flag("need_dx", need_dx) else None
    need_weights = flag("need_weights", need_weights)
    cache.stack = None
    found = stack.backward(dy, dcells, dh_n, dc_n, _steps(dx, cache.batch_first), need_weights)
    return _gradients(cache, stack, found, dx)


def _gradients(
    cache: DeviceCache, stack: Stack, found: list[Gradients], dx: DeviceArray | None
) -> LSTMGradients:
    """Gradients of parts in the kind and the form of what they belong to."""
    dtype, stream = stack.array_dtype, stack.stream

    def cast(array: Any) -> Any:
        if array is None or array.dtype == dtype:
            return array
        made = empty(array.shape, dtype, stream)
        copy_into(made, array, stream)
        return made

    def states(given: DeviceArray | None, each: list[DeviceArray]) -> Any:
        if given is None:
            return None
        made = empty(given.shape, dtype, stream)
        for k, one in enumerate(each):
            copy_into(made[k], one, stream)
        return made if cache.stacked else made[0]

    weights = [Weights(*map(cast, (g.dW_ih, g.dW_hh, g.db, g.dp, g.dW_hr))) for g in found]
    dh0 = states(cache.h0, [g.dh0 for g in found])
    dc0 = states(cache.c0, [g.dc0 for g in found])
    return as_given(dx, dh0, dc0, weights, cache.stacked)


# ---------------------------------------------------------------- arguments


def _check_options(norm: Any, recompute: Any) -> None:
    """Raise ValueError for what has no kernels on a GPU."""
    if norm is not None:
        raise ValueError("norm: expected None on a GPU, where there is no layer normalisation")
    if recompute is not None:
        raise ValueError("recompute: expected None on a GPU, where all activations are kept")


def _precision(precision: str | None, dtype: Any) -> str:
    allowed = PRECISIONS[name_of(dtype)]
    return allowed[0] if precision is None else choice("precision", precision, allowed)


def _kind(
    dtype: Any, precision: str, cell_keys: dict[str, float], first: Weights, noise: Noise,
    training: bool,
) -> CellKind:  # fmt: skip
    return CellKind(
        array=name_of(dtype),
        operand="float32" if precision == "tf32" else precision,
        formula=formula_of(cell_keys, first.p is not None),
        bias=first.b is not None,
        masked=training and noise.recurrent_dropout > 0,
        keep=training,
        projected=first.W_hr is not None,
        zoneout_h=noise.zoneout_h,
        zoneout_c=noise.zoneout_c,
        drawing=training and (noise.zoneout_h > 0 or noise.zoneout_c > 0),
    )


def _operands(weights: Weights, kind: CellKind, stream: Any) -> PartWeights:
    """Weights as they are multiplied, themselves where that is no change."""
    operand, real = REALS[kind.operand].dtype, str(kind.real)

    def cast(array: Any, dtype: Any) -> Any:
        if array is None or array.dtype == dtype:
            return array
        made = empty(array.shape, dtype, stream)
        copy_into(made, array, stream)
        return made

    W_ih, W_hh, W_hr = (cast(w, operand) for w in (weights.W_ih, weights.W_hh, weights.W_hr))
    return PartWeights(W_ih, W_hh, cast(weights.b, real), cast(weights.p, real), W_hr)


def _state(name: str, value: Any, shape: tuple[int, ...], dtype: Any, stacked: bool, of: On) -> Any:
    """A state (parts, B, K), given as (B, K) unless `stacked`."""
    if value is None:
        return None
    return of.dense(name, value, shape if stacked else shape[1:], dtype).reshape(shape)


def _upstream(
    name: str, value: Any, shape: tuple[int, ...], dtype: Any, batch_first: bool, stream: Any
) -> Any:
    """A gradient to steps, time-major."""
    if value is None:
        return None
    check_shape(name, real_array(name, value, dtype).shape, shape)
    return _steps(rows_in_place(value, stream), batch_first)


def _steps(array: DeviceArray | None, batch_first: bool) -> Any:
    """(T, B, K), of an array that may be (B, T, K)."""
    return array.transpose(1, 0, 2) if array is not None and batch_first else array

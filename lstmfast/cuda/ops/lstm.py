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

from ...arguments import UsedOnce, flag
from ...ops.call import Call, checked, checked_upstream
from ...ops.lstm import LSTMGradients, as_given
from ...ops.options import QUIET
from ...ops.weights import Weights
from ..kernels.cell_kind import CellKind, formula_of
from ..kernels.copying import copy_into
from ..kernels.numbers import REALS, name_of
from ..lstm.backward import Gradients
from ..lstm.part import Part, PartWeights
from ..lstm.stack import Stack
from ..runtime.array import DeviceArray, empty
from .checks import On

__all__ = ["DeviceCache", "lstm_backward", "lstm_forward"]


@dataclass(eq=False, repr=False)
class DeviceCache(UsedOnce):
    """What `lstm_forward(training=True)` keeps for one `lstm_backward`: nothing to look into."""

    instead = "run lstm_forward again"

    call: Call
    stack: Stack | None
    kind: Any = None  # of the arrays that the caller has: `foreign.Kind`, None for our own

    @property
    def x_shape(self) -> tuple[int, ...]:
        return self.call.x_shape

    @property
    def dtype(self) -> Any:
        return self.call.dtype


def lstm_forward(
    x: DeviceArray, W_ih: Any, W_hh: Any, b: Any = None, h0: Any = None, c0: Any = None, *,
    stream: Any = None, **keywords: Any,
) -> Any:  # fmt: skip
    """Run LSTM layers over a sequence: the arguments and results of `lstmfast.lstm_forward`.

    Parameters
    ----------
    precision : what the products of matrices are calculated in, see above; None: the arrays' own.
    stream : of cuda.core; None: the default stream. Nothing here waits for it.
    """
    _check_options(keywords)
    call = checked(On(stream), x, W_ih, W_hh, b, h0, c0, **keywords)
    stack = _stack_of(call, stream)
    dtype, batch_first = call.dtype, call.batch_first
    h_n, c_n = (empty(shape, dtype, stream) for shape in call.state_shapes)
    y = empty(call.y_shape, dtype, stream) if call.with_y else None
    cells = empty(call.cells_shape, dtype, stream) if call.with_cells else None
    stack.forward(_steps(call.x, batch_first), _parts(call.h0, call), _parts(call.c0, call),
                  _steps(y, batch_first), _steps(cells, batch_first), _parts(h_n, call),
                  _parts(c_n, call), call.training)  # fmt: skip
    call.x = None  # the way back has the operands
    cache = DeviceCache(call, stack) if call.training else None
    return (y, (h_n, c_n), cache, cells) if call.with_cells else (y, (h_n, c_n), cache)


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
    call, stream, first = cache.call, stack.stream, cache.call.batch_first
    dy, dh_n, dc_n, dcells = checked_upstream(On(stream), call, dy, dh_n, dc_n, dcells)  # type: ignore[assignment]
    dx = empty(call.x_shape, call.dtype, stream) if flag("need_dx", need_dx) else None
    need_weights = flag("need_weights", need_weights)
    cache.stack = None
    found = stack.backward(_steps(dy, first), _steps(dcells, first), _parts(dh_n, call),
                           _parts(dc_n, call), _steps(dx, first), need_weights)  # fmt: skip
    return _gradients(call, stack, found, dx)


def _gradients(
    call: Call, stack: Stack, found: list[Gradients], dx: DeviceArray | None
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
            copy_into(_parts(made, call)[k], one, stream)
        return made

    weights = [Weights(*map(cast, (g.dW_ih, g.dW_hh, g.db, g.dp, g.dW_hr))) for g in found]
    dh0 = states(call.h0, [g.dh0 for g in found])
    dc0 = states(call.c0, [g.dc0 for g in found])
    return as_given(dx, dh0, dc0, weights, call.stacked)


# ---------------------------------------------------------------- arguments


BARRED = {
    "norm": "there is no layer normalisation",
    "recompute": "all activations are kept",
    "resets": "no kernel begins rows anew",
    "x_static": "no kernel adds static inputs",
    "W_static": "no kernel adds static inputs",
}


def _check_options(keywords: dict[str, Any]) -> None:
    """Raise ValueError for what has no kernels on a GPU."""
    for name, reason in BARRED.items():
        if keywords.get(name) is not None:
            raise ValueError(f"{name}: expected None on a GPU, where {reason}")


def _stack_of(call: Call, stream: Any) -> Stack:
    """The parts of a call, and what they draw and which steps they take."""
    drawn = call.noise if call.training else QUIET
    kind, directions, last = _kind(call), call.directions, call.sizes.parts - call.directions
    backwards = bool(call.keys.get("reverse"))
    parts = [
        Part(k, kind._replace(outputs=call.with_y or k < last), _operands(one, kind, stream),
             call.precision, backwards or k % directions == 1, drawn.recurrent_dropout,
             drawn.weight_drop)
        for k, one in enumerate(call.weights)
    ]  # fmt: skip
    return Stack(parts, directions, call.T, call.B, drawn, call.seed, call.taken, stream)


def _kind(call: Call) -> CellKind:
    first, keys, training = call.weights[0], call.keys, call.training
    zoneout_h, zoneout_c = keys.get("zoneout_h", 0.0), keys.get("zoneout_c", 0.0)
    return CellKind(
        array=name_of(call.dtype),
        operand="float32" if call.precision == "tf32" else call.precision,
        formula=formula_of(keys, first.p is not None),
        bias=first.b is not None,
        masked=training and call.noise.recurrent_dropout > 0,
        counted=call.taken.ragged,
        repeat=bool(keys.get("repeat")),
        keep=training,
        projected=first.W_hr is not None,
        zoneout_h=zoneout_h,
        zoneout_c=zoneout_c,
        drawing=training and (zoneout_h > 0 or zoneout_c > 0),
        truncate=int(keys.get("truncate", 0)),
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


def _parts(state: DeviceArray | None, call: Call) -> Any:
    """A state (parts, B, K), which may be (B, K) of the only part."""
    return state if state is None or call.stacked else state.reshape((1, *state.shape))


def _steps(array: DeviceArray | None, batch_first: bool) -> Any:
    """(T, B, K), of an array that may be (B, T, K)."""
    return array.transpose(1, 0, 2) if array is not None and batch_first else array

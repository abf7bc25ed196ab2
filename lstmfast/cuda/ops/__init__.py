"""Arrays in the GPU's memory in, arrays out: what `lstmfast.ops` calls for them.

Arrays of other libraries that are on the GPU are taken as they are, without a copy, on the stream
that their library works on; results are then arrays of that library, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

from ...ops.lstm import LSTMGradients
from ...ops.placement import is_own, on_device
from ..runtime import foreign, numeric  # noqa: F401  # which gives arrays their arithmetic
from ..runtime.array import DeviceArray
from ..support import NO_RNN
from . import activations, dense, layouts, losses, lstm, norms, row_losses, updates
from .lstm import DeviceCache

__all__ = [
    "absolute_error", "activation_backward", "activation_forward", "adam_update",
    "add_penalty_gradient", "add_to", "binary_crossentropy", "clip_by_norm", "clip_by_value",
    "crossentropy", "dense_backward", "dense_forward", "embedding_backward", "embedding_forward",
    "flipped", "huber_error", "kl_divergence", "lstm_backward", "lstm_forward", "penalty",
    "quantile_error", "rnn_backward", "rnn_forward", "row_squared_error", "scale", "sgd_update",
    "side_by_side", "softmax", "softmax_backward", "softmax_crossentropy", "squared_error",
    "sum_losses", "sum_of_squares", "zeros_like",
]  # fmt: skip


def _lent(function: Callable[..., Any], index: int = 0) -> Callable[..., Any]:
    """The function on arrays of any library, the kind of its first array for the results."""
    name_of_first = list(signature(function).parameters)[index]

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        first = arguments[index] if len(arguments) > index else keywords.get(name_of_first)
        if isinstance(first, DeviceCache):
            return _given(function(*map(_adopted, arguments), **_all(keywords)), first.kind)
        one = first[0] if isinstance(first, (list, tuple)) else first
        if is_own(one):
            return function(*map(_adopted, arguments), **_all(keywords))
        stream = foreign.stream_of(one)
        found = function(*(_adopted(a, stream) for a in arguments), **_all(keywords), stream=stream)
        return _given(found, foreign.like(one, stream))

    return call


def _all(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: _adopted(value) for name, value in keywords.items()}


def _adopted(value: Any, stream: Any = None) -> Any:
    """An array of another library as ours, and those of a list; anything else as it is."""
    if isinstance(value, (list, tuple)) and value and on_device(value):
        return [_adopted(one, stream) for one in value]
    if is_own(value) or not on_device(value):
        return value
    return foreign.adopt(value, stream=stream)


def _given(found: Any, kind: foreign.Kind | None) -> Any:
    """Results as arrays of the caller's kind; a cache remembers which that is."""
    if kind is None:
        return found
    if isinstance(found, DeviceArray):
        return kind.give(found)
    if isinstance(found, DeviceCache):
        found.kind = kind
    elif isinstance(found, LSTMGradients):
        given = LSTMGradients(*(_given(one, kind) for one in found))
        given.dp, given.dW_hr = _given(found.dp, kind), _given(found.dW_hr, kind)
        return given
    elif isinstance(found, (list, tuple)):
        return type(found)(_given(one, kind) for one in found)
    return found


def rnn_forward(*arguments: Any, **keywords: Any) -> Any:
    """Raise ValueError: there are no kernels for it."""
    raise ValueError(f"x: expected an array on the host, got one on a GPU: {NO_RNN}")


rnn_backward = rnn_forward

absolute_error = _lent(row_losses.absolute_error)
activation_backward = _lent(activations.activation_backward, 1)
activation_forward = _lent(activations.activation_forward, 1)
adam_update = _lent(updates.adam_update)
add_penalty_gradient = _lent(norms.add_penalty_gradient)
add_to = _lent(layouts.add_to)
binary_crossentropy = _lent(row_losses.binary_crossentropy)
clip_by_norm = _lent(norms.clip_by_norm)
clip_by_value = _lent(updates.clip_by_value)
crossentropy = _lent(losses.crossentropy)
dense_backward = _lent(dense.dense_backward)
dense_forward = _lent(dense.dense_forward)
embedding_backward = _lent(dense.embedding_backward)
embedding_forward = _lent(dense.embedding_forward)
flipped = _lent(layouts.flipped)
huber_error = _lent(row_losses.huber_error)
kl_divergence = _lent(row_losses.kl_divergence)
lstm_backward = _lent(lstm.lstm_backward)
lstm_forward = _lent(lstm.lstm_forward)
penalty = _lent(norms.penalty)
quantile_error = _lent(row_losses.quantile_error)
row_squared_error = _lent(row_losses.row_squared_error)
scale = _lent(updates.scale)
sgd_update = _lent(updates.sgd_update)
side_by_side = _lent(layouts.side_by_side)
softmax = _lent(losses.softmax)
softmax_backward = _lent(losses.softmax_backward)
softmax_crossentropy = _lent(losses.softmax_crossentropy)
squared_error = _lent(losses.squared_error)
sum_losses = _lent(losses.sum_losses)
sum_of_squares = _lent(norms.sum_of_squares)
zeros_like = _lent(layouts.zeros_like)

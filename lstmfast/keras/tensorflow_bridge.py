"""Keras's LSTM on TensorFlow: a custom gradient, in graphs round NumPy functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import tensorflow as tf

from . import calls
from .calls import Call

__all__ = ["SUPPORTS_JIT", "reason_against", "run"]

SUPPORTS_JIT = False  # XLA has no kernel that calls Python


def reason_against(x: Any) -> str:
    """Say why the kernels cannot take x; "" if they can."""
    if not isinstance(x, tf.Tensor):
        return f"inputs of type {type(x).__name__}"
    return "a GPU that TensorFlow computes on" if _gpus() else ""


@lru_cache(1)
def _gpus() -> int:
    return len(tf.config.list_logical_devices("GPU"))


def run(call: Call, tensors: Sequence[Any], training: bool) -> tuple[Any, ...]:
    """Return what `calls.forward` does, with gradients.

    What the way back needs is kept if `training`; without it a gradient runs forward again.
    """
    values = map(tf.convert_to_tensor, tensors)  # variables read
    return tuple(_operation(call, training)(*values))


@lru_cache(maxsize=None)
def _operation(call: Call, keeps: bool) -> Callable[..., Any]:
    @tf.custom_gradient
    def lstm(*tensors: Any) -> tuple[Any, Callable[..., Any]]:
        passes = _eager_passes if tf.executing_eagerly() else _graph_passes
        outputs, way_back = passes(call, keeps, tensors)
        unused = [None] * (len(tensors) - calls.FLOATS)

        def gradient(*upstream: Any) -> list[Any]:
            return [*_once(way_back)(*tensors, *upstream), *unused]

        return outputs, gradient

    return lstm


def _once(way_back: Callable[..., Any]) -> Callable[..., Any]:
    """Make a derivative of the gradients an error: TensorFlow would take it for zero."""

    @tf.custom_gradient
    def gradients(*arguments: Any) -> tuple[Any, Callable[..., Any]]:
        return way_back(*arguments), _refuse

    return gradients


def _refuse(*_: Any) -> Any:
    raise NotImplementedError(
        "lstmfast.keras.LSTM: expected first derivatives, got a second one: "
        "keras.layers.LSTM computes it"
    )


# ---------------------------------------------------------------- eagerly: on the tensors' memory


def _eager_passes(call: Call, keeps: bool, tensors: Sequence[Any]) -> tuple[Any, Any]:
    """Return the outputs, and the function from tensors and upstream gradients to gradients."""
    caches = []
    if keeps:
        y, *state, cache = calls.forward_cached(call, *tensors)
        caches.append(cache)
        outputs = (y, *state) if call.sequences else state
    else:
        outputs = calls.forward(call, *tensors)

    def way_back(*arguments: Any) -> list[Any]:
        upstream = arguments[len(tensors) :]
        cache = caches.pop() if caches else calls.forward_cached(call, *tensors)[-1]
        return _tensors(calls.gradients(cache, call.of_all(upstream)))

    return _tensors(outputs), way_back


def _tensors(arrays: Sequence[Any]) -> list[Any]:
    return [tf.convert_to_tensor(one) for one in arrays]


# ---------------------------------------------------------------- in graphs


def _graph_passes(call: Call, keeps: bool, tensors: Sequence[Any]) -> tuple[Any, Any]:
    """As `_eager_passes`, of symbolic tensors."""
    dtype, count = tensors[0].dtype, len(tensors)
    kept = []
    if keeps:
        kinds = [dtype] * 3 + [tf.uint8]
        *found, reserve = _on_host(calls.forward_kept, call)(tensors, kinds)
        kept = [found[0], reserve]
        outputs = found if call.sequences else found[1:]
    else:
        outputs = _on_host(calls.forward, call)(tensors, [dtype] * (2 + call.sequences))

    def way_back(*arguments: Any) -> list[Any]:
        host = _on_host(_host_gradients, call, count, bool(kept))
        found = host([*arguments, *kept], [dtype] * calls.FLOATS)
        for one, tensor in zip(found, tensors, strict=False):
            one.set_shape(tensor.shape)
        return found

    return _shaped(outputs, tensors), way_back


def _host_gradients(call: Call, count: int, keeps: bool, *arrays: Any) -> Any:
    tensors, others = arrays[:count], arrays[count:]
    if keeps:
        *upstream, y, reserve = others
        return calls.backward(call, True, tensors, y, reserve, call.of_all(upstream))
    cache = calls.forward_cached(call, *tensors)[-1]
    return calls.gradients(cache, call.of_all(others))


@lru_cache(maxsize=None)
def _on_host(function: Callable[..., Any], *static: Any) -> Callable[..., Any]:
    """Return the operation on tensors that calls function(*static, *arrays)."""
    host = partial(function, *static)

    def operation(tensors: Sequence[Any], kinds: Sequence[Any]) -> Any:
        return tf.numpy_function(host, tensors, kinds, stateful=False)

    return operation


def _shaped(outputs: Sequence[Any], tensors: Sequence[Any]) -> Sequence[Any]:
    """Tell outputs of NumPy functions the shapes that they have."""
    (B, T, _), H = tensors[0].shape, tensors[2].shape[1]
    for one, shape in zip(reversed(outputs), ((B, H), (B, H), (B, T, H)), strict=False):
        one.set_shape(shape)
    return outputs

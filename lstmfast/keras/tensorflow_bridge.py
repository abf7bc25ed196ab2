"""Keras's LSTM on TensorFlow: a custom gradient, in graphs round NumPy functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import tensorflow as tf

from . import calls
from .calls import Call
from .exporting import exporter

__all__ = ["SUPPORTS_JIT", "as_it_is", "reason_against", "run"]

SUPPORTS_JIT = False  # XLA has no kernel that calls Python
SMALL = 1 << 15  # entries of a matrix that NumPy transposes in less time
as_it_is = tf.autograph.experimental.do_not_convert  # what tf.function would rewrite


def reason_against(x: Any) -> str:
    """Say why the kernels cannot take x; "" if they can."""
    if not isinstance(x, tf.Tensor):
        return f"inputs of type {type(x).__name__}"
    if not tf.executing_eagerly() and exporter():
        return f"an export by {exporter()}"
    return "a GPU that TensorFlow computes on" if _gpus() else ""


@cache
def _gpus() -> int:
    return len(tf.config.list_logical_devices("GPU"))


def run(call: Call, tensors: Sequence[Any], training: bool) -> tuple[Any, ...]:
    """Return what `calls.forward` does, with gradients.

    What the way back needs is kept if `training`; without it a gradient runs forward again.
    """
    tensors = [tf.convert_to_tensor(one) for one in tensors]  # variables read
    if tf.executing_eagerly():
        return tuple(_operation(_eager_passes, call, training)(*tensors))
    return tuple(_operation(_graph_passes, call, training)(*_turned(tensors)))


@cache
def _operation(passes: Callable[..., Any], call: Call, keeps: bool) -> Callable[..., Any]:
    """`passes` gives the outputs, and the function from tensors and upstream to gradients."""

    @tf.custom_gradient
    def lstm(*tensors: Any) -> tuple[Any, Callable[..., Any]]:
        outputs, way_back = passes(call, keeps, tensors)
        unused = [None] * (len(tensors) - calls.FLOATS)

        def gradient(*upstream: Any) -> list[Any]:
            return [*_once(way_back)(*tensors, *upstream), *unused]

        return outputs, gradient

    return lstm


def _turned(tensors: Sequence[Any]) -> list[Any]:
    """With both kernels as W_ih and W_hh; and back."""
    x, kernel, recurrent_kernel, *others = tensors
    return [x, tf.transpose(kernel), tf.transpose(recurrent_kernel), *others]


def _once(way_back: Callable[..., Any]) -> Callable[..., Any]:
    """Make a derivative of the gradients an error."""

    @tf.custom_gradient
    def gradients(*arguments: Any) -> tuple[Any, Callable[..., Any]]:
        return way_back(*arguments), calls.refuse

    return gradients


# ---------------------------------------------------------------- eagerly: on the tensors' memory


def _eager_passes(call: Call, keeps: bool, tensors: Sequence[Any]) -> tuple[Any, Any]:
    arrays = _arrays(tensors)
    caches = []
    if keeps:
        y, *state, cache = calls.forward_cached(call, *arrays)
        caches.append(cache)
        outputs = [y, *state] if call.sequences else state
    else:
        outputs = list(calls.forward(call, *arrays))

    def way_back(*arguments: Any) -> list[Any]:
        if not tf.executing_eagerly():  # for the rows of a Jacobian, side by side
            return _turned(_graph_gradients(call, len(tensors), _turned(arguments)))
        upstream = call.of_all(arguments[len(tensors) :])
        cache = caches.pop() if caches else calls.forward_cached(call, *arrays)[-1]
        dx, dW_ih, dW_hh, *others = calls.gradients(cache, upstream)
        found = [dx, _other_way(dW_ih), _other_way(dW_hh), *others]
        return [tf.convert_to_tensor(one) for one in found]

    return [tf.convert_to_tensor(one) for one in outputs], way_back


def _arrays(tensors: Sequence[Any]) -> list[Any]:
    x, kernel, recurrent_kernel, *others = tensors
    turned = _other_way(kernel), _other_way(recurrent_kernel)
    return [np.asarray(one) for one in (x, *turned, *others)]


def _other_way(matrix: Any) -> Any:
    """The transpose, contiguous: by TensorFlow's threads if that takes longer than to call them."""
    if np.prod(matrix.shape) > SMALL:
        return tf.transpose(matrix)
    return np.ascontiguousarray(np.asarray(matrix).T)


# ---------------------------------------------------------------- in graphs


def _graph_passes(call: Call, keeps: bool, tensors: Sequence[Any]) -> tuple[Any, Any]:
    kinds = [tensors[0].dtype] * 3
    kept = []
    if keeps:
        *outputs, reserve = _on_host(calls.forward_kept, call)(tensors, [*kinds, tf.uint8])
        kept = [outputs[0], reserve]
        outputs = outputs if call.sequences else outputs[1:]
    else:
        outputs = _on_host(calls.forward, call)(tensors, kinds[0 if call.sequences else 1 :])

    def way_back(*arguments: Any) -> list[Any]:
        return _graph_gradients(call, len(tensors), arguments, kept)

    return _shaped(outputs, tensors), way_back


def _graph_gradients(
    call: Call, count: int, arguments: Sequence[Any], kept: Sequence[Any] = ()
) -> list[Any]:
    """The gradients, of `count` tensors and the upstream gradients; y and the reserve if kept."""
    host = _on_host(_host_gradients, call, count, bool(kept))
    found = host([*arguments, *kept], [arguments[0].dtype] * calls.FLOATS)
    for one, tensor in zip(found, arguments, strict=False):
        one.set_shape(tensor.shape)
    return list(found)


def _host_gradients(call: Call, count: int, keeps: bool, *arrays: Any) -> Any:
    tensors, others = arrays[:count], arrays[count:]
    if keeps:
        *upstream, y, reserve = others
        return calls.backward(call, tensors, y, reserve, upstream)
    cache = calls.forward_cached(call, *tensors)[-1]
    return calls.gradients(cache, call.of_all(others))


@cache
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

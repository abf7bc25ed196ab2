"""Keras's LSTM on TensorFlow: a custom gradient, in graphs round NumPy functions.

Tapes know of custom gradients alone. Where TensorFlow copies the operations of a graph one by one
(vectorized_map), these are lost: there, the NumPy functions have the same gradients of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import count as numbers
from typing import Any

import numpy as np
import tensorflow as tf

from .. import capi
from . import calls, passes
from .calls import Call
from .exporting import exporter

__all__ = ["SUPPORTS_JIT", "as_it_is", "leaves_to_keras", "reason_against", "run"]

SUPPORTS_JIT = False  # XLA has no kernel that calls Python
MARK = 1 << 10  # entries of a tensor that is captured; small ones become constants
LITTLE = 1 << 23  # products of numbers in a step that is not worth a call of a function
USUAL = 32  # rows of a batch whose size is not known
SMALL = 1 << 15  # entries of a matrix that NumPy transposes in less time
as_it_is = tf.autograph.experimental.do_not_convert  # what tf.function would rewrite


def reason_against(x: Any) -> str:
    """Say why the kernels cannot take x; "" if they can."""
    if not isinstance(x, tf.Tensor):
        return f"inputs of type {type(x).__name__}"
    if not tf.executing_eagerly() and exporter():
        return f"an export by {exporter()}"
    return "a GPU that TensorFlow computes on" if _gpus() else ""


def leaves_to_keras(x: Any, H: int) -> bool:
    """Is this one step in a graph that Keras does in less time than TensorFlow calls a function?"""
    B, T, I = x.shape
    if tf.executing_eagerly() or T != 1:
        return False
    return (B or USUAL) * (I + H) * 4 * H < LITTLE


@cache
def _gpus() -> int:
    return len(tf.config.list_logical_devices("GPU"))


def run(call: Call, tensors: Sequence[Any], training: bool) -> tuple[Any, ...]:
    """Return what `calls.forward` does, with gradients.

    What the way back needs is kept if `training`; without it a gradient runs forward again.
    """
    _follow_threads()
    tensors = [tf.convert_to_tensor(one) for one in tensors]  # variables read
    if tf.executing_eagerly():
        return tuple(_operation(_eager_passes, call, training)(*tensors))
    _tie_to_process()
    here = map(tf.identity, tensors)  # gradients in a branch of tf.cond ask its own graph
    return tuple(_operation(_graph_passes, call, training)(*here))


@cache
def _follow_threads() -> None:
    """Take as many threads as TensorFlow was told for one operation; it can be told once."""
    capi.follow_num_threads(tf.config.threading.get_intra_op_parallelism_threads())


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
            given, above = arguments[: len(tensors)], arguments[len(tensors) :]
            return _graph_gradients(call, given, above)
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
        *outputs, reserve = _forward_kept(call)(tensors, [*kinds, tf.uint8])
        kept = [outputs[0], reserve]
        outputs = outputs if call.sequences else outputs[1:]
    else:
        outputs = _forward(call)(tensors, kinds[0 if call.sequences else 1 :])

    def way_back(*arguments: Any) -> list[Any]:
        given, upstream = arguments[: len(tensors)], arguments[len(tensors) :]
        return _graph_gradients(call, given, upstream, kept)

    return _shaped(outputs, tensors), way_back


@cache
def _forward(call: Call) -> Callable[..., Any]:
    """Return the operation that keeps nothing."""

    def gradient(op: Any, *upstream: Any) -> list[Any]:
        return _of_every(op.inputs, _graph_gradients(call, op.inputs, upstream))

    return _on_host(partial(passes.forward, call), gradient)


@cache
def _forward_kept(call: Call) -> Callable[..., Any]:
    """Return the operation that keeps y and the reserve for its gradient."""

    def gradient(op: Any, *upstream: Any) -> list[Any]:
        y, *_, reserve = op.outputs
        wanted = upstream[0 if call.sequences else 1 : -1]
        return _of_every(op.inputs, _graph_gradients(call, op.inputs, wanted, (y, reserve)))

    return _on_host(partial(passes.forward_kept, call), gradient)


def _of_every(inputs: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
    return [*gradients, *[None] * (len(inputs) - len(gradients))]


def _graph_gradients(
    call: Call, tensors: Sequence[Any], upstream: Sequence[Any], kept: Sequence[Any] = ()
) -> list[Any]:
    """The gradients of all tensors but the mask; kept: y and the reserve, if there are any."""
    host = _backward(call, len(tensors), bool(kept))
    found = host([*tensors, *upstream, *kept], [tensors[0].dtype] * calls.FLOATS)
    for one, tensor in zip(found, tensors, strict=False):
        one.set_shape(tensor.shape)
    return list(found)


@cache
def _backward(call: Call, count: int, keeps: bool) -> Callable[..., Any]:
    return _on_host(partial(_host_gradients, call, count, keeps), calls.refuse)


def _host_gradients(call: Call, count: int, keeps: bool, *arrays: Any) -> Any:
    tensors, others = arrays[:count], arrays[count:]
    if keeps:
        upstream, (y, reserve) = others[:-2], others[-2:]
    else:
        upstream, (y, *_, reserve) = others, passes.forward_kept(call, *tensors)
    return passes.backward(call, tensors, y, reserve, upstream)


_numbers = numbers()


def _on_host(function: Callable[..., Any], gradient: Callable[..., Any]) -> Callable[..., Any]:
    """Return the operation on tensors that calls a function of arrays and has this gradient.

    gradient: of the operation and the upstream gradients of its outputs.
    """
    name = f"lstmfast {next(_numbers)}"
    called = partial(capi.call_keeping_own, function)  # from any of TensorFlow's threads
    tf.RegisterGradient(name)(gradient)

    def operation(tensors: Sequence[Any], kinds: Sequence[Any]) -> Any:
        graph = tf.compat.v1.get_default_graph()
        with graph.gradient_override_map({"PyFuncStateless": name}):
            return tf.numpy_function(called, tensors, kinds, stateful=False)

    return operation


def _shaped(outputs: Sequence[Any], tensors: Sequence[Any]) -> Sequence[Any]:
    """Tell outputs of NumPy functions the shapes that they have."""
    (B, T, _), H = tensors[0].shape, tensors[2].shape[0]
    for one, shape in zip(reversed(outputs), ((B, H), (B, H), (B, T, H)), strict=False):
        one.set_shape(shape)
    return outputs


# ---------------------------------------------------------------- graphs belong to this process


def _tie_to_process() -> None:
    """Make files of this graph an error: it calls functions that no other process has.

    What is traced for a file is `exporter`'s affair; a graph that is there already captures a
    tensor whose value nobody can read, as those must who write it (SavedModel, frozen graphs).
    """
    graph = tf.compat.v1.get_default_graph()
    if hasattr(graph, "capture"):
        graph.capture(_mark())


@cache
def _mark() -> Any:
    with tf.init_scope():
        mark = tf.zeros(MARK, tf.uint8)
    mark.numpy = _refuse_to_save
    return mark


def _refuse_to_save() -> Any:
    raise NotImplementedError(
        "lstmfast.keras.LSTM: expected a function that is traced while it is saved, got one that "
        "was traced before and calls lstmfast in this process; save a tf.function (its concrete "
        "functions are traced ones), Model.export the model, or build it of keras.layers.LSTM"
    )

"""Keras's LSTM on JAX: a custom_vjp of operations that XLA calls through its FFI."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from . import calls, xla_ffi
from .calls import Call

__all__ = ["SUPPORTS_JIT", "as_it_is", "reason_against", "run"]

SUPPORTS_JIT = True


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Nothing rewrites functions here."""
    return function


def reason_against(x: Any) -> str:
    """Say why the kernels cannot take x; "" if they can."""
    if not isinstance(x, jax.Array):
        return f"inputs of type {type(x).__name__}"
    platform = jax.default_backend()
    return "" if platform == "cpu" else f"arrays on {platform}"


def run(call: Call, tensors: Sequence[Any], training: bool) -> tuple[Any, ...]:
    """Return what `calls.forward` does, with gradients; JAX itself tells whether they are needed."""
    return _compiled(call, tuple(tensors))


@partial(jax.jit, static_argnums=0, inline=True)
def _compiled(call: Call, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    x, kernel, recurrent_kernel, *others = tensors
    return _lstm(call, (x, kernel.T, recurrent_kernel.T, *others))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lstm(call: Call, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    shapes = _output_shapes(tensors)[0 if call.sequences else 1 :]
    return xla_ffi.call("lstmfast_forward", shapes, _text(call), *tensors)


def _forward(call: Call, tensors: Any) -> tuple[Any, Any]:
    need_dx = () if tensors[0].perturbed else None  # the structure tells, as residuals are arrays
    tensors = tuple(one.value for one in tensors)
    size = calls.reserve_size(call, [one.shape for one in tensors], tensors[0].dtype)
    shapes = (*_output_shapes(tensors), jax.ShapeDtypeStruct((size,), jnp.uint8))
    y, *state, reserve = _once("lstmfast_forward_kept", shapes, _text(call), tensors)
    outputs = (y, *state) if call.sequences else tuple(state)
    return outputs, (tensors, y, reserve, need_dx)


def _backward(call: Call, residuals: Any, upstream: Any) -> tuple[Any]:
    tensors, y, reserve, need_dx = residuals
    upstream = tuple(map(_instantiated, upstream))
    found = _gradients(call, need_dx is not None, tensors, y, reserve, upstream)
    dx = (None,) if need_dx is None else ()
    unused = (None,) * (len(tensors) - calls.FLOATS)
    return ((*dx, *found, *unused),)


_lstm.defvjp(_forward, _backward, symbolic_zeros=True)


def _gradients(
    call: Call, need_dx: bool, tensors: Any, y: Any, reserve: Any, upstream: Any
) -> tuple[Any, ...]:
    """The gradients of the tensors, without x unless it is needed, and without the mask."""
    wanted = tensors[0 if need_dx else 1 : calls.FLOATS]
    shapes = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in wanted)
    arguments = (*tensors, y, reserve, *upstream)
    return _once("lstmfast_backward", shapes, _text(call, need_dx), arguments)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _once(name: str, shapes: Any, text: str, arrays: Any) -> tuple[Any, ...]:
    """Call an operation of a first derivative, which has none of its own."""
    return xla_ffi.call(name, shapes, text, *arrays)


@_once.defjvp
def _refuse(*_: Any) -> Any:
    raise NotImplementedError(
        "lstmfast.keras.LSTM: expected first derivatives, got a second one, "
        "which keras.layers.LSTM has"
    )


def _instantiated(gradient: Any) -> Any:
    unused = isinstance(gradient, jax.custom_derivatives.SymbolicZero)
    return jnp.zeros(gradient.shape, gradient.dtype) if unused else gradient


def _output_shapes(tensors: Sequence[Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Of y, h_n and c_n."""
    (B, T, _), H = tensors[0].shape, tensors[2].shape[1]
    return tuple(jax.ShapeDtypeStruct(s, tensors[0].dtype) for s in ((B, T, H), (B, H), (B, H)))


# ---------------------------------------------------------------- on XLA's threads
#
# What is called is told by text, not by a number or an object of this process: XLA may keep what it
# has compiled for others.


def _text(call: Call, need_dx: bool = False) -> str:
    return json.dumps([astuple(call), need_dx])


@lru_cache(maxsize=None)
def _read(text: str) -> tuple[Call, bool]:
    fields, need_dx = json.loads(text)
    return Call(*fields), need_dx


def _on_host(text: str, *arrays: Any) -> Sequence[Any]:
    return calls.forward(_read(text)[0], *arrays)


def _on_host_kept(text: str, *arrays: Any) -> Sequence[Any]:
    return calls.forward_kept(_read(text)[0], *arrays)


def _on_host_back(text: str, *arrays: Any) -> Sequence[Any]:
    call, need_dx = _read(text)
    outputs = 2 + call.sequences
    *tensors, y, reserve = arrays[:-outputs]
    upstream = call.of_all(arrays[-outputs:])
    found = calls.backward(call, need_dx, tensors, y, reserve, upstream)
    return found[0 if need_dx else 1 :]


xla_ffi.register("lstmfast_forward", _on_host)
xla_ffi.register("lstmfast_forward_kept", _on_host_kept)
xla_ffi.register("lstmfast_backward", _on_host_back)

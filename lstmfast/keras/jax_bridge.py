"""Keras's LSTM on JAX: a custom_vjp whose two directions are pure callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from . import calls
from .calls import Call

__all__ = ["SUPPORTS_JIT", "reason_against", "run"]

SUPPORTS_JIT = True


def reason_against(x: Any) -> str:
    """Say why the kernels cannot take x; "" if they can."""
    if not isinstance(x, jax.Array):
        return f"inputs of type {type(x).__name__}"
    platform = jax.default_backend()
    return "" if platform == "cpu" else f"arrays on {platform}"


def run(call: Call, tensors: Sequence[Any], training: bool) -> tuple[Any, ...]:
    """Return what `calls.forward` does, with gradients; JAX itself tells whether they are needed."""
    return _lstm(call, tuple(tensors))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lstm(call: Call, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    shapes = _output_shapes(tensors)[0 if call.sequences else 1 :]
    return _callback(_on_host(calls.forward, call), shapes, *tensors)


def _forward(call: Call, tensors: Any) -> tuple[Any, Any]:
    perturbed = tensors[0].perturbed
    tensors = tuple(one.value for one in tensors)
    shapes = [one.shape for one in tensors]
    size = calls.reserve_size(call, shapes, tensors[0].dtype)
    kept = jax.ShapeDtypeStruct((size,), jnp.uint8)
    shapes = (*_output_shapes(tensors), kept)
    y, *state, reserve = _callback(_on_host(calls.forward_kept, call), shapes, *tensors)
    need_dx = () if perturbed else None  # told by the structure: residuals are arrays
    return ((y, *state) if call.sequences else tuple(state)), (tensors, y, reserve, need_dx)


def _backward(call: Call, residuals: Any, upstream: Any) -> tuple[Any]:
    tensors, y, reserve, need_dx = residuals
    zero = jax.custom_derivatives.SymbolicZero
    upstream = tuple(None if isinstance(one, zero) else one for one in call.of_all(upstream))
    if all(one is None for one in upstream):
        return (None,)
    dx, *others = _gradients(call, need_dx is not None, tensors, y, reserve, upstream)
    unused = (None,) * (len(tensors) - calls.FLOATS)
    return ((dx, *others, *unused),)


_lstm.defvjp(_forward, _backward, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _gradients(
    call: Call, need_dx: bool, tensors: Any, y: Any, reserve: Any, upstream: Any
) -> tuple[Any, ...]:
    wanted = tensors[0 if need_dx else 1 : calls.FLOATS]
    shapes = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in wanted)
    host = _on_host(_some_gradients, call, need_dx)
    found = _callback(host, shapes, tensors, y, reserve, upstream)
    return found if need_dx else (None, *found)


@_gradients.defjvp
def _refuse(*_: Any) -> Any:
    raise NotImplementedError(
        "lstmfast.keras.LSTM: expected first derivatives, got a second one: "
        "keras.layers.LSTM computes it"
    )


def _some_gradients(
    call: Call, need_dx: bool, tensors: Any, y: Any, reserve: Any, upstream: Any
) -> tuple[Any, ...]:
    return calls.backward(call, need_dx, tensors, y, reserve, upstream)[0 if need_dx else 1 :]


def _output_shapes(tensors: Sequence[Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Of y, h_n and c_n."""
    (B, T, _), H = tensors[0].shape, tensors[2].shape[1]
    return tuple(jax.ShapeDtypeStruct(s, tensors[0].dtype) for s in ((B, T, H), (B, H), (B, H)))


@lru_cache(maxsize=None)
def _on_host(function: Callable[..., Any], *static: Any) -> Callable[..., Any]:
    """One function for each call: JAX compiles a callback anew that it does not know."""
    return partial(function, *static)


def _callback(function: Callable[..., Any], shapes: Any, *arguments: Any) -> Any:
    return jax.pure_callback(function, shapes, *arguments, vmap_method="sequential")

"""Keras's LSTM on JAX: a custom_vjp of operations that are compiled, called by XLA's FFI.

Nothing of Python runs inside: neither the interpreter nor JAX is waited for there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import capi
from . import calls
from .calls import Call
from .exporting import exporter

__all__ = ["SUPPORTS_JIT", "as_it_is", "leaves_to_keras", "reason_against", "run"]

SUPPORTS_JIT = True


def _follow_threads() -> None:
    """Take as many threads as XLA was told for one operation, before its client was made."""
    told = os.environ.get("PJRT_NPROC") or os.environ.get("NPROC") or "0"
    if "--xla_cpu_multi_thread_eigen=false" in os.environ.get("XLA_FLAGS", "").split():
        told = "1"
    if told.isdecimal():
        capi.follow_num_threads(min(int(told), capi.MAX_THREADS))


_follow_threads()


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Nothing rewrites functions here."""
    return function


def reason_against(x: Any) -> str:
    """Say why the kernels cannot take x; "" if they can."""
    if not isinstance(x, jax.Array):
        return f"inputs of type {type(x).__name__}"
    if isinstance(x, jax.core.Tracer) and exporter():
        return f"an export by {exporter()}"
    platform = jax.default_backend()
    return "" if platform == "cpu" else f"arrays on {platform}"


def leaves_to_keras(x: Any, H: int) -> bool:
    """Is this work that Keras does in less time? There is none."""
    return False


def run(call: Call, tensors: Sequence[Any], training: bool) -> tuple[Any, ...]:
    """Return what `calls.forward` does, with gradients; JAX tells whether they are needed."""
    return _compiled(call, tuple(tensors))


@partial(jax.jit, static_argnums=0, inline=True)
def _compiled(call: Call, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    return _lstm(call, tensors)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lstm(call: Call, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    shapes = _output_shapes(tensors)[0 if call.sequences else 1 :]
    return _operation("lstmfast_forward", shapes, call, tensors, len(tensors))


def _forward(call: Call, tensors: Any) -> tuple[Any, Any]:
    of_x, *of_weights = (one.perturbed for one in tensors[:4])
    # An array: JAX keeps one structure of residuals for all that are traced of a function.
    need = np.array([of_x, any(of_weights)])
    tensors = tuple(one.value for one in tensors)
    size = calls.reserve_size(call, [one.shape for one in tensors], tensors[0].dtype)
    shapes = (*_output_shapes(tensors), jax.ShapeDtypeStruct((size,), jnp.uint8))
    y, *state, reserve = _once("lstmfast_forward", shapes, call, tensors, len(tensors))
    outputs = (y, *state) if call.sequences else tuple(state)
    return outputs, (tensors, y, reserve, need)


def _backward(call: Call, residuals: Any, upstream: Any) -> tuple[Any]:
    tensors, *kept = residuals
    shapes = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in tensors[: calls.FLOATS]]
    arguments = (*tensors, *kept, *map(_instantiated, upstream))
    found = _once("lstmfast_backward", shapes, call, arguments, len(tensors))
    return ((*found, *[None] * (len(tensors) - calls.FLOATS)),)


_lstm.defvjp(_forward, _backward, symbolic_zeros=True)


def _operation(name: str, shapes: Any, call: Call, arrays: Any, tensors: int) -> tuple[Any, ...]:
    """Call an operation of native/bindings_xla.pxi, in a jit or out of it; tensors: of the layer.

    What the layer is goes by names, not by a number or an object of this process: XLA may keep what
    it has compiled for others.
    """
    keys = {name: np.float64(value) for name, value in call.keys(tensors).items()}
    operation = jax.ffi.ffi_call(name, shapes, vmap_method="sequential")
    return tuple(operation(*arrays, **keys))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 4))
def _once(name: str, shapes: Any, call: Call, arrays: Any, tensors: int) -> tuple[Any, ...]:
    """An operation of a first derivative, which has none of its own."""
    return _operation(name, shapes, call, arrays, tensors)


_once.defjvp(calls.refuse)


def _instantiated(gradient: Any) -> Any:
    unused = isinstance(gradient, jax.custom_derivatives.SymbolicZero)
    return jnp.zeros(gradient.shape, gradient.dtype) if unused else gradient


def _output_shapes(tensors: Sequence[Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Of y, h_n and c_n."""
    (B, T, _), H = tensors[0].shape, tensors[2].shape[0]
    return tuple(jax.ShapeDtypeStruct(s, tensors[0].dtype) for s in ((B, T, H), (B, H), (B, H)))


for _name, _function in capi.xla_functions().items():
    jax.ffi.register_ffi_target(_name, _function, platform="cpu")

"""Keras on JAX: stateless calls inside jax.jit, waiting for every result.

XLA's CPU client has as many threads as the process may use processors, and no other setting is
sure, so the process is bound to as many processors as it shall have threads.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import keras

from benches import article
from benches.peers import Job, keras_any
from benches.shapes import Shape


def start(threads: int) -> str:
    processors = sorted(os.sched_getaffinity(0))
    if threads < len(processors):
        os.sched_setaffinity(0, processors[-threads:])
    return f"Keras {keras.__version__}, JAX {jax.__version__}"


def values(variables) -> list[jax.Array]:
    return [variable.value for variable in variables]


def stateless(layer):
    """layer's call as a function of its parameters."""
    fixed = values(layer.non_trainable_variables)
    return lambda parameters, *inputs: layer.stateless_call(parameters, fixed, *inputs)[0]


def forward(shape: Shape) -> Job:
    layer, x = keras_any.layer(shape), jnp.asarray(keras_any.x_of(shape))
    call, parameters = stateless(layer), values(layer.trainable_variables)
    infer = jax.jit(lambda x: call(parameters, x))  # weights are constants, as in a served model
    return Job(lambda: infer(x).block_until_ready(), read=keras_any.read_sequence)


def training(shape: Shape) -> Job:
    layer = keras_any.layer(shape)
    x, dy = (jnp.asarray(a) for a in (keras_any.x_of(shape), keras_any.dy_of(shape)))
    call, parameters = stateless(layer), values(layer.trainable_variables)

    @jax.jit
    def gradients(x, parameters, dy):
        _, backward = jax.vjp(lambda x, p: call(p, x), x, parameters)
        dx, rest = backward(dy)
        return dx, *rest

    def run():
        return jax.block_until_ready(gradients(x, parameters, dy))

    return Job(run, read=keras_any.read_gradients)


def step(shape: Shape) -> Job:
    cell, x = keras_any.cell(shape), jnp.asarray(keras_any.x_of(shape)[0])
    call, parameters = stateless(cell), values(cell.trainable_variables)
    move = jax.jit(lambda x, state: call(parameters, x, state)[1])
    state = [jnp.zeros((1, shape.H), jnp.float32)] * 2

    def run():
        nonlocal state
        state = jax.block_until_ready(move(x, state))
        return state

    return Job(run, read=keras_any.read_state)


JOBS = {"forward": forward, "training": training, "step": step} | article.jax_jobs()

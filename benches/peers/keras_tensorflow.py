"""Keras on TensorFlow: inside tf.function, with and without XLA; the faster is taken."""

from __future__ import annotations

import functools
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from benches import article
from benches.peers import Job, keras_any
from benches.shapes import Shape


def start(threads: int) -> str:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return f"Keras {keras.__version__}, TensorFlow {tf.__version__}"


def forward(shape: Shape, xla: bool) -> Job:
    layer, x = keras_any.layer(shape), tf.constant(keras_any.x_of(shape))
    infer = tf.function(lambda x: layer(x, training=False), jit_compile=xla)
    return Job(lambda: infer(x), read=keras_any.read_sequence)


def training(shape: Shape, xla: bool) -> Job:
    layer = keras_any.layer(shape)
    x, dy = (tf.constant(a) for a in (keras_any.x_of(shape), keras_any.dy_of(shape)))
    parameters = [variable.value for variable in layer.trainable_variables]

    @functools.partial(tf.function, jit_compile=xla)
    def gradients(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, *parameters], output_gradients=dy)

    return Job(lambda: gradients(x, dy), read=keras_any.read_gradients)


def step(shape: Shape, xla: bool) -> Job:
    cell, x = keras_any.cell(shape), tf.constant(keras_any.x_of(shape)[0])
    move = tf.function(lambda x, state: cell(x, state)[1], jit_compile=xla)
    state = [tf.zeros((1, shape.H))] * 2

    def run():
        nonlocal state
        state = move(x, state)
        return state

    return Job(run, read=keras_any.read_state)


def both_ways(make):
    return {
        "tf.function": functools.partial(make, xla=False),
        "tf.function with XLA": functools.partial(make, xla=True),
    }


JOBS = {
    "forward": both_ways(forward),
    "training": both_ways(training),
    "step": both_ways(step),
    **article.tensorflow_jobs(),
}

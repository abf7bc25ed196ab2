"""What Keras's two backends share: layers with our weights, and results in lstmfast's layout.

Keras is batch first, x (B, T, I), kernels (I, 4H) and (H, 4H), gates i, f, c, o: the order of ours.
Arrays are brought into this layout before, and results out of it after, what is timed. The loop
over time is never unrolled. Set KERAS_BACKEND before this module is imported.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from benches.arrays import Arrays, inputs, upstream, weights
from benches.shapes import Shape


def layer(shape: Shape) -> keras.layers.LSTM:
    made = keras.layers.LSTM(shape.H, return_sequences=True, unroll=False)
    return with_our_weights(made, shape, (shape.B, shape.T, shape.I))


def cell(shape: Shape) -> keras.layers.LSTMCell:
    return with_our_weights(keras.layers.LSTMCell(shape.H), shape, (1, shape.I))


def with_our_weights(made: keras.layers.Layer, shape: Shape, input_shape: tuple[int, ...]):
    W_ih, W_hh, b = weights(shape)
    made.build(input_shape)
    made.set_weights([W_ih.T, W_hh.T, b])
    return made


def x_of(shape: Shape) -> np.ndarray:
    """x (B, T, I)."""
    return np.ascontiguousarray(inputs(shape).transpose(1, 0, 2))


def dy_of(shape: Shape) -> np.ndarray:
    """dy (B, T, H)."""
    return np.ascontiguousarray(upstream(shape).transpose(1, 0, 2))


def read_sequence(y: Any) -> Arrays:
    return (np.array(y).transpose(1, 0, 2),)


def read_gradients(result: Any) -> Arrays:
    dx, dkernel, drecurrent, db = (np.array(part) for part in result)
    return dx.transpose(1, 0, 2), dkernel.T, drecurrent.T, db


def read_state(state: Any) -> Arrays:
    """h of the state [h, c]."""
    return (np.array(state[0]),)

"""The operations around the LSTM, on arrays in the GPU's memory: `lstmfast.array_ops` for the GPU.

Names, arguments and errors are those of `ops`; what there returns a float, here returns a small
DeviceArray of float64. Nothing waits for the GPU: all work is put on `stream` (None: the default
one), and so an id or a label out of range makes NaN where the CPU's functions raise. Sums run in an
order that the sizes alone decide: the same bits at every run, but not those of the CPU.
"""

from __future__ import annotations

from .dense_ops import dense_backward, dense_forward, embedding_backward, embedding_forward
from .loss_ops import (
    crossentropy,
    softmax,
    softmax_backward,
    softmax_crossentropy,
    squared_error,
    sum_losses,
)
from .update_ops import (
    activation_backward,
    activation_forward,
    adam_update,
    add,
    add_penalty_gradient,
    clip_by_norm,
    clip_by_value,
    fill,
    penalty,
    scale,
    sgd_update,
    sum_of_squares,
)

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_update",
    "add",
    "add_penalty_gradient",
    "clip_by_norm",
    "clip_by_value",
    "crossentropy",
    "dense_backward",
    "dense_forward",
    "embedding_backward",
    "embedding_forward",
    "fill",
    "penalty",
    "scale",
    "sgd_update",
    "softmax",
    "softmax_backward",
    "softmax_crossentropy",
    "squared_error",
    "sum_losses",
    "sum_of_squares",
]

"""Every operation on NumPy arrays: what `ops` calls for them, as `lstmfast.cuda.ops` for a GPU's.

Layers, which know where their arrays are, call here or there themselves.
"""

from __future__ import annotations

from .activations import activation_backward, activation_forward
from .dense import dense_backward, dense_forward, embedding_backward, embedding_forward
from .layouts import add_to, flipped, side_by_side, zeros_like
from .losses import (
    crossentropy,
    softmax,
    softmax_backward,
    softmax_crossentropy,
    squared_error,
    sum_losses,
)
from .lstm import lstm_backward, lstm_forward, reserve_of, restore_cache
from .norms import clip_by_norm, sum_of_squares
from .rnn import rnn_backward, rnn_forward
from .row_losses import (
    absolute_error,
    binary_crossentropy,
    huber_error,
    kl_divergence,
    quantile_error,
    row_squared_error,
)
from .updates import adam_update, clip_by_value, scale, sgd_update

__all__ = [
    "absolute_error",
    "activation_backward",
    "activation_forward",
    "adam_update",
    "add_to",
    "binary_crossentropy",
    "clip_by_norm",
    "clip_by_value",
    "crossentropy",
    "dense_backward",
    "dense_forward",
    "embedding_backward",
    "embedding_forward",
    "flipped",
    "huber_error",
    "kl_divergence",
    "lstm_backward",
    "lstm_forward",
    "quantile_error",
    "reserve_of",
    "restore_cache",
    "rnn_backward",
    "rnn_forward",
    "row_squared_error",
    "scale",
    "sgd_update",
    "side_by_side",
    "softmax",
    "softmax_backward",
    "softmax_crossentropy",
    "squared_error",
    "sum_losses",
    "sum_of_squares",
    "zeros_like",
]

"""Arrays in, arrays out: every kernel as a function on NumPy arrays, its arguments checked once.

The LSTM (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000), with gates in the order
i, f, g, o, weights W_ih (4H, I), W_hh (4H, H), b (4H,) and the state always as (h, c):

    z = W_ih x + W_hh h_prev + b      i, f, o = σ(z)    g = tanh(z)
    c = f c_prev + i g                h = o tanh(c)

All arrays of one call share one dtype, float32 or float64; none is cast. Results have the same bits
at any number of threads. Everything else on arrays is in `array_ops` and reached from here.
"""

from __future__ import annotations

from . import capi
from .arguments import integer
from .array_ops import (
    activation_backward,
    activation_forward,
    adam_update,
    crossentropy,
    dense_backward,
    dense_forward,
    embedding_backward,
    embedding_forward,
    scale,
    sgd_update,
    softmax,
    softmax_crossentropy,
    sum_of_squares,
)
from .lstm_ops import LSTMCache, LSTMGradients, lstm_backward, lstm_forward
from .rnn_ops import RNNCache, RNNGradients, rnn_backward, rnn_forward
from .steps import PADS
from .stream import LSTMStream

__all__ = [
    "PADS", "LSTMCache", "LSTMGradients", "LSTMStream", "RNNCache", "RNNGradients",
    "activation_backward", "activation_forward", "adam_update", "crossentropy", "dense_backward",
    "dense_forward", "embedding_backward", "embedding_forward", "get_num_threads",
    "lstm_backward", "lstm_forward", "rnn_backward", "rnn_forward", "scale", "set_num_threads",
    "sgd_update", "softmax", "softmax_crossentropy", "sum_of_squares",
]  # fmt: skip

MAX_LAYERS = capi.MAX_LAYERS  # of a stack


def get_num_threads() -> int:
    """The number of threads that one call may use."""
    return capi.get_num_threads()


def set_num_threads(count: int) -> None:
    """Set the number of threads that one call may use, 1 to 255.

    At first it is OMP_NUM_THREADS, or the number of processors that this process may use.

    Raises
    ------
    ValueError
        `count` is no integer in this range.
    """
    if integer("count", count, 1) > capi.MAX_THREADS:
        raise ValueError(f"count: expected at most {capi.MAX_THREADS} threads, got {count}")
    capi.set_num_threads(count)

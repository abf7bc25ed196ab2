"""Arrays in, arrays out: every kernel as a function on NumPy arrays, its arguments checked once.

The LSTM (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000), with gates in the order
i, f, g, o, weights W_ih (4H, I), W_hh (4H, H), b (4H,) and the state always as (h, c):

    z = W_ih x + W_hh h_prev + b      i, f, o = σ(z)    g = tanh(z)
    c = f c_prev + i g                h = o tanh(c)

All arrays of one call share one dtype, float32 or float64; none is cast. Results have the same bits
at any number of threads.

The first argument that is an array decides where a call runs and what it returns. NumPy's gives
NumPy's. One of another library in the host's memory (PyTorch, JAX, TensorFlow, any with DLPack or
`__array_interface__`) is read, or changed in place, where it lies, and results are arrays of that
library (`foreign`); the other arguments may be of any library on the host. One in a GPU's memory is
calculated with there, by the function of the same name in `lstmfast.cuda.ops`. A cache stands for
the first array of the call that made it.

A signal whose handler raises (Ctrl-C) ends a long call of Python's main thread within some tenths
of a second. Arrays that were given to be written, `out`, may hold anything then; all else is as
before the call, but for a cache, which is used up. Updates in place, of weights and losses, are
never left half-done.
"""

from __future__ import annotations

from .. import capi
from ..arguments import integer
from . import host
from .checks import PADS
from .dispatch import either
from .lstm import LSTMCache, LSTMGradients
from .prepared import PreparedLSTM
from .rnn import RNNCache, RNNGradients
from .rows import RowGradient
from .stream import LSTMStream

__all__ = [
    "PADS", "LSTMCache", "LSTMGradients", "LSTMStream", "PreparedLSTM", "RNNCache",
    "RNNGradients", "RowGradient", "absolute_error", "activation_backward",
    "activation_forward", "adam_update", "add_to", "binary_crossentropy", "clip_by_norm",
    "clip_by_value", "crossentropy", "dense_backward", "dense_forward", "embedding_backward",
    "embedding_forward", "flipped", "get_num_threads", "huber_error", "kl_divergence",
    "lstm_backward", "lstm_forward", "quantile_error", "reserve_of", "restore_cache",
    "rnn_backward", "rnn_forward", "row_squared_error", "scale", "set_num_threads",
    "sgd_update", "side_by_side", "softmax", "softmax_backward", "softmax_crossentropy",
    "squared_error", "sum_losses", "sum_of_squares", "zeros_like",
]  # fmt: skip

absolute_error = either(host.absolute_error)
activation_backward = either(host.activation_backward, 1, writes="dy")
activation_forward = either(host.activation_forward, 1, writes="out")
adam_update = either(host.adam_update, writes="w m v")
add_to = either(host.add_to, writes="a")
binary_crossentropy = either(host.binary_crossentropy)
clip_by_norm = either(host.clip_by_norm, writes="arrays")
clip_by_value = either(host.clip_by_value, writes="a")
crossentropy = either(host.crossentropy, writes="probabilities")
dense_backward = either(host.dense_backward)
dense_forward = either(host.dense_forward)
embedding_backward = either(host.embedding_backward)
embedding_forward = either(host.embedding_forward)
flipped = either(host.flipped)
huber_error = either(host.huber_error)
kl_divergence = either(host.kl_divergence)
lstm_backward = either(host.lstm_backward)
lstm_forward = either(host.lstm_forward)
quantile_error = either(host.quantile_error)
reserve_of = either(host.reserve_of)
restore_cache = either(host.restore_cache)
rnn_backward = either(host.rnn_backward)
rnn_forward = either(host.rnn_forward)
row_squared_error = either(host.row_squared_error)
scale = either(host.scale, writes="a")
sgd_update = either(host.sgd_update, writes="w velocity")
side_by_side = either(host.side_by_side)
softmax = either(host.softmax, writes="out")
softmax_backward = either(host.softmax_backward, writes="dy")
softmax_crossentropy = either(host.softmax_crossentropy, writes="logits")
squared_error = either(host.squared_error)
sum_losses = either(host.sum_losses)
sum_of_squares = either(host.sum_of_squares)
zeros_like = either(host.zeros_like)

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

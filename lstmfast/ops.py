"""Arrays in, arrays out: every kernel as a function on NumPy arrays, its arguments checked once.

The LSTM (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000), with gates in the order
i, f, g, o, weights W_ih (4H, I), W_hh (4H, H), b (4H,) and the state always as (h, c):

    z = W_ih x + W_hh h_prev + b      i, f, o = σ(z)    g = tanh(z)
    c = f c_prev + i g                h = o tanh(c)

All arrays of one call share one dtype, float32 or float64; none is cast. Results have the same bits
at any number of threads. Everything else on arrays is in `array_ops` and reached from here.

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

from collections.abc import Callable
from functools import lru_cache, wraps
from importlib import import_module
from inspect import signature
from typing import Any, TypeVar

import numpy as np

from . import array_ops, capi, foreign, lstm_ops, rnn_ops, squares
from .arguments import integer
from .lstm_ops import LSTMCache, LSTMGradients
from .placement import on_device
from .prepared import PreparedLSTM
from .rnn_ops import RNNCache, RNNGradients
from .steps import PADS
from .stream import LSTMStream

__all__ = [
    "PADS", "LSTMCache", "LSTMGradients", "LSTMStream", "PreparedLSTM", "RNNCache", "RNNGradients",
    "activation_backward", "activation_forward", "adam_update", "add_to", "clip_by_norm",
    "clip_by_value", "crossentropy", "dense_backward", "dense_forward", "embedding_backward",
    "embedding_forward", "flipped", "get_num_threads", "lstm_backward", "lstm_forward",
    "reserve_of", "restore_cache", "rnn_backward", "rnn_forward", "scale", "set_num_threads",
    "sgd_update", "side_by_side", "softmax", "softmax_backward", "softmax_crossentropy",
    "squared_error", "sum_losses", "sum_of_squares", "zeros_like",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def _either(on_host: F, index: int = 0, writes: str = "") -> F:
    """The function for arrays of any library, on the host or, where its first one is, on a GPU.

    index: which argument is the first array; writes: names of those that are changed in place.
    """
    parameters = signature(on_host).parameters
    names = list(parameters)
    written = frozenset(writes.split())
    # Where `gradient` is a parameter, it says whether anything is changed.
    by_default = getattr(parameters.get("gradient"), "default", True)

    @wraps(on_host)
    def call(*arguments: Any, **keywords: Any) -> Any:
        first = arguments[index] if len(arguments) > index else keywords.get(names[index])
        if isinstance(first, foreign.NATIVE) or _is_native_list(first):
            try:
                return on_host(*arguments, **keywords)
            except Exception:  # whose the other arrays are is asked now: until here it cost nothing
                if not foreign.is_foreign([*arguments, *keywords.values()]):
                    raise
        elif on_device(first):
            _check_cuda(names[index], first)
            return _on_gpu(on_host.__name__, names[index])(*arguments, **keywords)
        changed = written if keywords.get("gradient", by_default) else ()
        return foreign.lend(on_host, names, first, arguments, keywords, changed)

    call.__module__ = __name__  # where pickle finds it
    return call  # type: ignore[return-value]


def _is_native_list(first: Any) -> bool:
    return isinstance(first, (list, tuple)) and bool(first) and isinstance(first[0], np.ndarray)


@lru_cache(None)
def _on_gpu(function: str, name_of_first: str) -> Callable[..., Any]:
    there = getattr(import_module("lstmfast.cuda.ops"), function, None)
    if there is None:
        raise ValueError(f"{name_of_first}: expected it on the host, where alone is {function}")
    return there  # type: ignore[no-any-return]


def _check_cuda(name: str, array: Any) -> None:
    """Raise ValueError if there is nothing that could calculate with an array on a GPU."""
    reason = import_module("lstmfast.cuda.device").explain()
    if reason is not None:
        expected = f"a NumPy array, as CUDA is not available ({reason})"
        raise ValueError(f"{name}: expected {expected}, got {type(array).__name__}")


activation_backward = _either(array_ops.activation_backward, 1, writes="dy")
activation_forward = _either(array_ops.activation_forward, 1, writes="out")
adam_update = _either(array_ops.adam_update, writes="w m v")
add_to = _either(array_ops.add_to, writes="a")
clip_by_norm = _either(squares.clip_by_norm, writes="arrays")
clip_by_value = _either(array_ops.clip_by_value, writes="a")
crossentropy = _either(array_ops.crossentropy, writes="probabilities")
dense_backward = _either(array_ops.dense_backward)
dense_forward = _either(array_ops.dense_forward)
embedding_backward = _either(array_ops.embedding_backward)
embedding_forward = _either(array_ops.embedding_forward)
flipped = _either(array_ops.flipped)
lstm_backward = _either(lstm_ops.lstm_backward)
lstm_forward = _either(lstm_ops.lstm_forward)
reserve_of = _either(lstm_ops.reserve_of)
restore_cache = _either(lstm_ops.restore_cache)
rnn_backward = _either(rnn_ops.rnn_backward)
rnn_forward = _either(rnn_ops.rnn_forward)
scale = _either(array_ops.scale, writes="a")
sgd_update = _either(array_ops.sgd_update, writes="w velocity")
side_by_side = _either(array_ops.side_by_side)
softmax = _either(array_ops.softmax, writes="out")
softmax_backward = _either(array_ops.softmax_backward, writes="dy")
softmax_crossentropy = _either(array_ops.softmax_crossentropy, writes="logits")
squared_error = _either(array_ops.squared_error)
sum_losses = _either(array_ops.sum_losses)
sum_of_squares = _either(squares.sum_of_squares)
zeros_like = _either(array_ops.zeros_like)

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

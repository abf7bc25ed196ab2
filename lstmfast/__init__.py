"""lstmfast: fast LSTM layers for Python, Cython and C.

Three ways to use it: arrays (`lstm_forward`, `lstm_backward`, `LSTMStream`), a thin `Model` of
layers in Keras's words, and a C-level API (`cimport lstmfast.capi`). Arrays are NumPy's, or those
of PyTorch, JAX, TensorFlow and others: they come in without a copy, and results are of their kind
(see `ops`).
"""

from __future__ import annotations

import os as _os
from importlib import import_module as _import_module
from typing import TYPE_CHECKING

try:
    import lstmfast.capi as _capi
except ModuleNotFoundError as _error:
    if _error.name != "lstmfast.capi":
        raise
    raise ImportError(
        "lstmfast.capi, the compiled part, is not in this folder. If this is the source folder and "
        "lstmfast is installed elsewhere, start Python in another folder or with -P; or compile "
        "here with `pip install -e .` or `python setup.py build_ext --inplace`"
    ) from _error

_wanted = _os.environ.get("LSTMFAST_JIT", "")  # "1", or names of kernels: see CONTRIBUTING.md
if not _capi._choose_isa() or _wanted not in ("", "0"):
    from .kernels import jit as _jit

    _jit.bind(_wanted)

from . import ops
from . import threadpool as _threadpool
from .config import __version__, get_include, show_config
from .ops import (
    LSTMCache,
    LSTMGradients,
    LSTMStream,
    PreparedLSTM,
    get_num_threads,
    lstm_backward,
    lstm_forward,
    set_num_threads,
)
from .ops.activations import Activation
from .ops.options import CellOptions, Noise
from .ops.weights import Norm

if TYPE_CHECKING:
    from . import (
        activations,
        callbacks,
        constraints,
        data,
        initializers,
        inspection,
        interop,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        preprocessing,
        registry,
        regularizers,
        saving,
        utils,
    )
    from .constraints import Constraint
    from .initializers import Initializer
    from .inspection import inspect
    from .layers import LSTM, Dense, Embedding, Input, Layer, SimpleRNN
    from .losses import (
        CategoricalCrossentropy,
        MeanSquaredError,
        SparseCategoricalCrossentropy,
    )
    from .model import History, Model, Sequential, TrainingError, load
    from .optimizers import SGD, Adam
    from .regularizers import Regularizer

_threadpool.watch()

__all__ = [
    "LSTM", "SGD", "Activation", "Adam", "CategoricalCrossentropy", "CellOptions", "Constraint",
    "Dense", "Embedding", "History", "Initializer", "Input", "LSTMCache", "LSTMGradients",
    "LSTMStream", "Layer", "MeanSquaredError", "Model", "Noise", "Norm", "PreparedLSTM",
    "Regularizer", "Sequential", "SimpleRNN", "SparseCategoricalCrossentropy", "TrainingError",
    "__version__", "activations", "callbacks", "constraints", "data", "get_include",
    "get_num_threads", "initializers", "inspect", "inspection", "interop", "layers", "load",
    "losses", "lstm_backward", "lstm_forward", "metrics", "models", "ops", "optimizers",
    "preprocessing", "registry", "regularizers", "saving", "set_num_threads", "show_config",
    "utils",
]  # fmt: skip


# What is imported when it is first asked for: modules, and names by their modules. Who works on
# arrays, or in PyTorch, waits for none of it.
_MODULES = (
    "activations", "callbacks", "constraints", "data", "initializers", "inspection", "interop",
    "keras", "layers", "losses", "metrics", "models", "onnx", "optimizers", "preprocessing",
    "registry", "regularizers", "saving", "torch", "utils",
)  # fmt: skip
_NAMES = {
    "Constraint": "constraints", "Initializer": "initializers", "Regularizer": "regularizers",
    **dict.fromkeys(("LSTM", "Dense", "Embedding", "Input", "Layer", "SimpleRNN"), "layers"),
    "CategoricalCrossentropy": "losses", "MeanSquaredError": "losses",
    "SparseCategoricalCrossentropy": "losses", "SGD": "optimizers", "Adam": "optimizers",
    "inspect": "inspection",
    **dict.fromkeys(("History", "Model", "Sequential", "TrainingError", "load"), "model"),
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return _import_module(f"lstmfast.{name}")
    if name in _NAMES:
        found = globals()[name] = getattr(_import_module(f"lstmfast.{_NAMES[name]}"), name)
        return found
    raise AttributeError(f"module 'lstmfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_NAMES})

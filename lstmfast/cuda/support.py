"""What runs on a GPU: a row for every layer, loss, optimizer and option; True, or why it does not.

Whoever adds one adds its row. `tests/cuda/test_support.py` reads them all: what has True must give
the CPU's results, everything else must raise a ValueError with the text that stands here. The page
docs/cuda.md shows the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PRECISIONS", "ROWS", "check_layer", "check_loss", "check_optimizer", "table"]

PRECISIONS = {
    "float64": ("float64",),
    "float32": ("float32", "tf32", "bfloat16", "float16"),
    "float16": ("float16",),
    "bfloat16": ("bfloat16",),
}  # of arrays: those to multiply in, the first without being asked

Rows = Mapping[str, bool | str]

NO_KERNELS = "has no kernels on a GPU"
NO_RNN = "SimpleRNN has no kernels on a GPU"
NO_INT8 = "weights in int8 are for the CPU"
NO_NORM = "there is no layer normalisation on a GPU"
KEPT = "all activations are kept on a GPU"
NO_RESETS = "no kernel begins rows anew on a GPU"
NO_STATICS = "no kernel adds static inputs on a GPU"
HOST_RULE = "it is calculated on the CPU alone"

LAYERS: Rows = {
    **dict.fromkeys((
        "Embedding", "LSTM", "Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax",
        "Dropout", "SpatialDropout1D", "GaussianNoise", "Masking", "Flatten", "Reshape", "Permute",
        "RepeatVector", "ZeroPadding1D", "Cropping1D", "UpSampling1D", "Add", "Subtract",
        "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot", "MaxPooling1D",
        "AveragePooling1D", "GlobalMaxPooling1D", "GlobalAveragePooling1D", "Bidirectional",
        "TimeDistributed", "LayerNormalization", "BatchNormalization", "Conv1D", "Attention",
        "AdditiveAttention",
    ), True),
    "SimpleRNN": NO_RNN,
    **dict.fromkeys((
        "GetItem", "Operation", "Identity", "Rescaling", "UnitNormalization", "GaussianDropout",
        "AlphaDropout", "PReLU", "Normalization",
    ), HOST_RULE),
    "MultiHeadAttention": "MultiHeadAttention has no kernels on a GPU",
    "QuantizedEmbedding": NO_INT8, "QuantizedLSTM": NO_INT8, "QuantizedDense": NO_INT8,
}  # fmt: skip
OPTIONS_OF_LSTM: Rows = {
    "activation": True, "recurrent_activation": True, "output_activation": True,
    "peepholes": True, "coupled": True, "clip": True, "cell_clip": True, "num_layers": True,
    "bidirectional": True, "projection": True, "layer_norm": NO_NORM, "dropout": True,
    "recurrent_dropout": True, "layer_dropout": True, "weight_drop": True, "zoneout_h": True,
    "zoneout_c": True, "truncate": True, "recompute": KEPT, "use_bias": True,
    "return_sequences": True, "return_state": True, "return_cells": True, "time_major": True,
    "go_backwards": True, "pad": True, "stateful": True, "lengths": True, "mask": True,
    "resets": NO_RESETS, "static_size": NO_STATICS,
}  # fmt: skip
ACTIVATIONS_OF_DENSE: Rows = {
    "linear": True, "softmax": True, "sigmoid": True, "tanh": True, "relu": True,
    "hard_sigmoid": True, "affine": True, "leaky_relu": True, "thresholded_relu": True,
    "scaled_tanh": True, "elu": True, "softsign": True, "softplus": True,
    **{
        name: f"{name} {NO_KERNELS}"
        for name in (
            "gelu", "silu", "selu", "exponential", "mish", "relu6", "hard_tanh", "hard_silu",
            "log_sigmoid",
        )
    },
}  # fmt: skip
LOSSES: Rows = {
    **dict.fromkeys((
        "SparseCategoricalCrossentropy", "CategoricalCrossentropy", "BinaryCrossentropy",
        "MeanSquaredError", "MeanAbsoluteError", "Huber", "Quantile", "KLDivergence",
    ), True),
    **{
        name: f"{name} {NO_KERNELS}"
        for name in (
            "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError", "LogCosh", "Poisson",
            "CosineSimilarity", "Hinge", "SquaredHinge", "CategoricalHinge",
            "BinaryFocalCrossentropy", "CategoricalFocalCrossentropy", "LossFunctionWrapper",
        )
    },
}  # fmt: skip
OPTIMIZERS: Rows = {
    **dict.fromkeys(("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Nadam"), True),
    **{name: f"{name} {NO_KERNELS}" for name in ("Adadelta", "Adamax", "Lion")},
}
OPTIONS_OF_OPTIMIZERS: Rows = {
    "momentum": True, "nesterov": True, "amsgrad": True, "centered": True, "weight_decay": True,
    "use_ema": True, "gradient_accumulation_steps": True,
    "lazy": "gradients of rows are for the CPU",
}  # fmt: skip
CLIPS: Rows = {"clipnorm": True, "clipvalue": True, "global_clipnorm": True}
REGULARIZERS: Rows = {"L1": True, "L2": True, "L1L2": True, "OrthogonalRegularizer": HOST_RULE}
CONSTRAINTS: Rows = {
    "MaxNorm": HOST_RULE, "MinMaxNorm": HOST_RULE, "NonNeg": HOST_RULE, "UnitNorm": HOST_RULE,
}  # fmt: skip

ROWS: Mapping[str, Rows] = {
    "layers": LAYERS,
    "options of LSTM": OPTIONS_OF_LSTM,
    "activations of Dense": ACTIVATIONS_OF_DENSE,
    "losses": LOSSES,
    "optimizers": OPTIMIZERS,
    "options of optimizers": OPTIONS_OF_OPTIMIZERS,
    "clips": CLIPS,
    "regularizers": REGULARIZERS,
    "constraints": CONSTRAINTS,
}


def check_layer(layer: Any) -> None:
    """Raise ValueError unless the layer has kernels on a GPU."""
    _check(layer.name, LAYERS, type(layer).__name__)
    if type(layer).__name__ == "Dense":
        _check(f"{layer.name}: activation", ACTIVATIONS_OF_DENSE, layer.activation)
    for option in ("layer_norm", "recompute", "static_size"):
        if getattr(layer, option, None):
            _check(f"{layer.name}: {option}", OPTIONS_OF_LSTM, option)
    for ending, rows in (("regularizer", REGULARIZERS), ("constraint", CONSTRAINTS)):
        for role in layer.roles.values():
            rule = getattr(layer, f"{role}_{ending}", None)
            if rule is not None:
                _check(f"{layer.name}: {role}_{ending}", rows, type(rule).__name__)


def check_loss(loss: Any) -> None:
    """Raise ValueError unless the loss has kernels on a GPU."""
    _check("loss", LOSSES, type(loss).__name__)


def check_optimizer(optimizer: Any) -> None:
    """Raise ValueError unless the optimizer, if it is one of ours, has kernels on a GPU."""
    if type(optimizer).__name__ in OPTIMIZERS:
        _check("optimizer", OPTIMIZERS, type(optimizer).__name__)
    for option in OPTIONS_OF_OPTIMIZERS:
        if getattr(optimizer, option, None):
            _check(f"optimizer: {option}", OPTIONS_OF_OPTIMIZERS, option)


def _check(name: str, rows: Rows, key: str) -> None:
    reason = rows.get(key, f"{key} has no kernels on a GPU")
    if isinstance(reason, str):
        raise ValueError(f"{name}: expected what runs on a GPU, got {key!r}: {reason}")


def table() -> str:
    """Return all rows as a table of Markdown."""
    lines = ["| | | on a GPU |", "|---|---|---|"]
    for title, rows in ROWS.items():
        runs = [name for name, answer in rows.items() if answer is True]
        lines.append(f"| {title} | {', '.join(runs)} | yes |") if runs else None
        for name, answer in rows.items():
            if isinstance(answer, str):
                lines.append(f"| {title} | {name} | ValueError: {answer} |")
    return "\n".join(lines)

"""All layers: weights, shapes, options and caches here, arithmetic in `ops`.

A layer is called with its input, `layer(x)`, or driven by a Model. To train without a Model:

>>> layer = LSTM(64, return_sequences=True, seed=0)
>>> layer.build((None, None, 8))
>>> y = layer.forward(x, training=True)         # x (B, T, 8) float32
>>> dx = layer.backward(dy)                     # dy (B, T, 64); fills layer.grads
>>> optimizer.apply(list(layer.trained.values()), [layer.grads[name] for name in layer.trained])

`Layer` tells what to add for regularizers and constraints.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..registry import Known
from .activation import ELU, Activation, LeakyReLU, ReLU, Softmax
from .attention import AdditiveAttention, Attention
from .base import Layer
from .bidirectional import Bidirectional
from .convolution import Conv1D
from .data_normalization import Normalization
from .dense import Dense
from .dot import Dot
from .dropout import Dropout, GaussianNoise, SpatialDropout1D
from .embedding import Embedding
from .functions import add, average, concatenate, dot, maximum, minimum, multiply, subtract
from .lstm import LSTM
from .masking import Masking
from .merging import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract
from .multi_head import MultiHeadAttention
from .noise import AlphaDropout, GaussianDropout
from .normalization import BatchNormalization, LayerNormalization
from .operations import GetItem, Operation
from .pooling import (
    AveragePooling1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
)
from .prelu import PReLU
from .quantized import QuantizedDense, QuantizedEmbedding, QuantizedLSTM
from .rescaling import Identity, Rescaling, UnitNormalization
from .shapes import (
    Cropping1D,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    ZeroPadding1D,
)
from .simple_rnn import SimpleRNN
from .symbolic import Input, InputLayer, Tensor
from .text_vectorization import TextVectorization
from .time_distributed import TimeDistributed
from .wrapper import Wrapper

__all__ = [
    "ELU", "LSTM", "Activation", "Add", "AdditiveAttention", "AlphaDropout", "Attention",
    "Average", "AveragePooling1D", "BatchNormalization", "Bidirectional", "Concatenate",
    "Conv1D", "Cropping1D", "Dense", "Dot", "Dropout", "Embedding", "Flatten",
    "GaussianDropout", "GaussianNoise", "GetItem", "GlobalAveragePooling1D",
    "GlobalMaxPooling1D", "Identity", "Input", "InputLayer", "Layer", "LayerNormalization",
    "LeakyReLU", "Masking", "MaxPooling1D", "Maximum", "Minimum", "MultiHeadAttention",
    "Multiply", "Normalization", "Operation", "PReLU", "Permute", "QuantizedDense",
    "QuantizedEmbedding", "QuantizedLSTM", "ReLU", "RepeatVector", "Rescaling", "Reshape",
    "SimpleRNN", "Softmax", "SpatialDropout1D", "Subtract", "TextVectorization",
    "TimeDistributed", "UnitNormalization", "UpSampling1D", "Wrapper", "ZeroPadding1D", "add",
    "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract",
]  # fmt: skip

OWN: tuple[type[Layer], ...] = (
        Embedding, LSTM, SimpleRNN, Dense, QuantizedEmbedding, QuantizedLSTM, QuantizedDense,
        Activation, ReLU, LeakyReLU, ELU, Softmax,
        Dropout, SpatialDropout1D, GaussianNoise, Masking,
        Flatten, Reshape, Permute, RepeatVector, ZeroPadding1D, Cropping1D, UpSampling1D,
        Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate, Dot, GetItem, Operation,
        MaxPooling1D, AveragePooling1D, GlobalMaxPooling1D, GlobalAveragePooling1D,
    Bidirectional, TimeDistributed, LayerNormalization, BatchNormalization, Conv1D, Attention,
    AdditiveAttention,
    Identity, Rescaling, UnitNormalization, GaussianDropout, AlphaDropout, PReLU, Normalization,
    MultiHeadAttention,
)  # fmt: skip
CLASSES: Mapping[str, type[Layer]] = Known(Layer, OWN)
Wrapper.classes = CLASSES
Tensor.operation, Tensor.get_item = Operation, GetItem

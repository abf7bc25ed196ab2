"""Layers: weights and caches here, arithmetic in `ops`.

A layer is called with its input, `layer(x)`, or driven by a Model. To train without a Model:

>>> layer = LSTM(64, return_sequences=True, seed=0)
>>> layer.build((None, None, 8))
>>> y = layer.forward(x, training=True)         # x (B, T, 8) float32
>>> dx = layer.backward(dy)                     # dy (B, T, 64); fills layer.grads
>>> optimizer.apply(list(layer.params.values()), list(layer.grads.values()))

`Layer` tells what to add for regularizers and constraints.
"""

from __future__ import annotations

from .attention import AdditiveAttention, Attention
from .base import Layer
from .bidirectional import Bidirectional
from .convolution import Conv1D
from .dense import Dense
from .embedding import Embedding
from .lstm import LSTM
from .normalization import BatchNormalization, LayerNormalization
from .quantized import QuantizedDense, QuantizedEmbedding, QuantizedLSTM
from .simple_rnn import SimpleRNN
from .time_distributed import TimeDistributed
from .wrapper import Wrapper

__all__ = ["LSTM", "AdditiveAttention", "Attention", "BatchNormalization", "Bidirectional",
           "Conv1D", "Dense", "Embedding", "Layer", "LayerNormalization", "QuantizedDense",
           "QuantizedEmbedding", "QuantizedLSTM", "SimpleRNN", "TimeDistributed",
           "Wrapper"]  # fmt: skip

CLASSES: dict[str, type[Layer]] = {
    made.__name__: made
    for made in (
        Embedding, LSTM, SimpleRNN, Dense, QuantizedEmbedding, QuantizedLSTM, QuantizedDense,
        Bidirectional, TimeDistributed, LayerNormalization, BatchNormalization, Conv1D, Attention,
        AdditiveAttention,
    )
}  # fmt: skip
Wrapper.classes = CLASSES

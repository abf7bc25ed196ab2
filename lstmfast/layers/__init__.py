"""Embedding, LSTM, SimpleRNN and Dense: weights and caches here, arithmetic in `ops`.

A layer is called with its input, `layer(x)`, or driven by a Model. To train without a Model:

>>> layer = LSTM(64, return_sequences=True, seed=0)
>>> layer.build((None, None, 8))
>>> y = layer.forward(x, training=True)         # x (B, T, 8) float32
>>> dx = layer.backward(dy)                     # dy (B, T, 64); fills layer.grads
>>> optimizer.apply(list(layer.params.values()), list(layer.grads.values()))

`Layer` tells what to add for regularizers and constraints.
"""

from __future__ import annotations

from .base import Layer
from .dense import Dense
from .embedding import Embedding
from .lstm import LSTM
from .quantized import QuantizedDense, QuantizedEmbedding, QuantizedLSTM
from .simple_rnn import SimpleRNN
from .symbolic import Input

__all__ = ["LSTM", "Dense", "Embedding", "Input", "Layer", "QuantizedDense", "QuantizedEmbedding",
           "QuantizedLSTM", "SimpleRNN"]  # fmt: skip

CLASSES: dict[str, type[Layer]] = {
    made.__name__: made
    for made in (
        Embedding, LSTM, SimpleRNN, Dense, QuantizedEmbedding, QuantizedLSTM, QuantizedDense,
    )
}  # fmt: skip

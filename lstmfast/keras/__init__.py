"""A drop-in for keras.layers.LSTM, on Keras 3 with TensorFlow, JAX or PyTorch beneath."""

from .accelerate import accelerate
from .layer import LSTM

__all__ = ["LSTM", "accelerate"]

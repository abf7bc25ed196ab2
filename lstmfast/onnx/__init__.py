"""ONNX: its LSTM operator on arrays, Models to files and files to Models.

>>> Y, Y_h, Y_c = lstmfast.onnx.lstm(X, W, R, B)
>>> lstmfast.onnx.export(model, "words.onnx")
>>> model = lstmfast.onnx.load("words.onnx")

`lstm` needs NumPy alone; files need the package onnx (`pip install 'lstmfast[onnx]'`).
"""

from .export import export
from .load import load
from .operator import lstm

__all__ = ["export", "load", "lstm"]

"""Weights in int8: ONNX Runtime's DynamicQuantizeLSTM, and DequantizeLinear of weights.

What is read becomes float32 layers of the same weights, to the bit of a product: quantizing the
Model gives steps and scales again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import Array, check_shape
from ..interop import to_iofg
from ..layers.quantized import QuantizedLSTM
from .arithmetic import Inputs, optional, required
from .reader import Node, Steps
from .values import Value, Weight

__all__ = ["DOMAIN", "OPERATOR", "dequantize", "matrices_of", "written"]

DOMAIN = "com.microsoft"
OPERATOR = "DynamicQuantizeLSTM"
INPUTS, OUTPUTS = (10, 12), (1, 3)  # least and most of each; the last inputs are zero points


def dequantize(chain: Any, node: Node, inputs: Inputs) -> Value:
    """DequantizeLinear of what the file holds: (x - zero point) · scale."""
    steps, scale = _steps(inputs, 0, "x"), _scale(inputs, 1, "x_scale")
    zero = None if len(inputs) < 3 or inputs[2] is None else _steps(inputs, 2, "x_zero_point")
    axis, block = node.integer("axis", 1), node.integer("block_size", 0)
    if block:
        raise ValueError(f"block_size: expected 0, got {block}")
    if scale.ndim == 0:
        axis = 0
    elif not -steps.ndim <= axis < steps.ndim or scale.shape != (steps.shape[axis],):
        expected = "one for all of x, or for each along an axis of it"
        raise ValueError(f"x_scale: expected {expected}, got {scale.shape} along {axis}")
    ones = [1] * steps.ndim
    if scale.ndim:
        ones[axis] = -1
    return Weight(_whole(steps, scale.reshape(ones), _like(zero, steps, scale.shape, ones, "x")))


def matrices_of(node: Node, inputs: Inputs) -> tuple[Array, Array]:
    """W (D, 4H, I) and R (D, 4H, H), as LSTM has them, of a DynamicQuantizeLSTM's inputs."""
    for what, names, (least, most) in (
        ("inputs", node.inputs, INPUTS),
        ("outputs", node.outputs, OUTPUTS),
    ):
        if not least <= len(names) <= most:
            raise ValueError(f"{what}: expected {least} to {most}, got {len(names)}")
    return _matrix(inputs, 1, 8, "W"), _matrix(inputs, 2, 10, "R")


def _matrix(inputs: Inputs, at: int, scale_at: int, name: str) -> Array:
    """One of W and R, whose last axis is that of the gates' rows."""
    steps, scale = _steps(inputs, at, name), _scale(inputs, scale_at, f"{name}_scale")
    check_shape(name, steps.shape, ("D", "I", "4H"))
    D, _, rows = steps.shape
    if scale.shape not in ((D,), (D, rows)):
        expected = f"({D},) or ({D}, {rows})"
        raise ValueError(f"{name}_scale: expected {expected}, got {scale.shape}")
    ones = [D, 1, -1]
    zero = None if optional(inputs, scale_at + 1) is None else _steps(inputs, scale_at + 1, "zero")
    whole = _whole(steps, scale.reshape(ones), _like(zero, steps, scale.shape, ones, name))
    return np.ascontiguousarray(whole.swapaxes(1, 2))


def _steps(inputs: Inputs, at: int, name: str) -> Array:
    value = required(inputs, at)
    if not isinstance(value, Steps):
        raise ValueError(f"{name}: expected int8 or uint8 numbers that the file holds, got {value}")
    return value.array


def _scale(inputs: Inputs, at: int, name: str) -> Array:
    value = required(inputs, at)
    if not isinstance(value, Weight) or value.array.dtype != np.float32:
        raise ValueError(f"{name}: expected float32 numbers that the file holds, got {value}")
    return value.array


def _like(
    zero: Array | None, steps: Array, shape: tuple[int, ...], ones: list[int], name: str
) -> Array | None:
    """Zero points, of the dtype of what they belong to and the shape of its scales."""
    if zero is None:
        return None
    if zero.dtype != steps.dtype or zero.shape != shape:
        expected = f"{steps.dtype} of shape {shape}"
        raise ValueError(f"{name}_zero_point: expected {expected}, got {zero.dtype} {zero.shape}")
    return zero.reshape(ones)


def _whole(steps: Array, scale: Array, zero: Array | None) -> Array:
    numbers = steps.astype(np.float32)
    return (numbers if zero is None else numbers - zero.astype(np.float32)) * scale


@dataclass(frozen=True)
class Written:
    """The inputs of a DynamicQuantizeLSTM: W and R (D, K, 4H) int8, scales and zeros (D, 4H)."""

    W: Array
    R: Array
    W_scale: Array
    R_scale: Array

    @property
    def zero(self) -> Array:
        return np.zeros(self.W_scale.shape, np.int8)


def written(layer: QuantizedLSTM, k: int) -> Written:
    """Of its k-th layer; gates in ONNX's order."""
    ends = layer.suffixes()[k * layer.directions : (k + 1) * layer.directions]

    def stacked(name: str) -> Array:
        return np.stack([to_iofg(layer.params[name.format(end)]) for end in ends])

    W, R = stacked("W_ih{}").swapaxes(1, 2), stacked("W_hh{}").swapaxes(1, 2)
    return Written(W, R, stacked("W_ih{}_scale"), stacked("W_hh{}_scale"))

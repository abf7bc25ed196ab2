"""Silero's published model of voice activity, its LSTM on an `LSTMStream`.

Source: Silero VAD 6, https://github.com/snakers4/silero-vad; nothing of it is copied here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from .. import LSTMStream

__all__ = [
    "CHUNK", "RATE", "VoiceActivity", "folder", "lstm_of", "probabilities", "read_weights"
]  # fmt: skip

Array = np.ndarray[Any, np.dtype[Any]]

RATE, CHUNK, CONTEXT = 16_000, 512, 64  # samples a second, of a chunk, and before it
WINDOW, HOP = 256, 128  # samples of the spectrum's windows: four of them in a chunk
CONVOLUTIONS = ((4, 1), (4, 2), (2, 2), (1, 1))  # steps that come in, and the stride


class VoiceActivity:
    """The probability of speech, chunk by chunk, of recordings that run side by side.

    Parameters
    ----------
    weights : dict of str to ndarray
        Those of silero_vad_16k.safetensors.
    batch_size : int
        Recordings, B.
    """

    def __init__(self, weights: dict[str, Array], batch_size: int = 1):
        self.frames = Windows(batch_size, CONTEXT + CHUNK + CONTEXT, WINDOW, HOP)
        self.spectrum = columns_of(weights["stft_conv.weight"])
        self.convolutions = [
            Convolution(weights, f"conv{n}", batch_size, steps, stride)
            for n, (steps, stride) in enumerate(CONVOLUTIONS, 1)
        ]
        self.lstm = LSTMStream(*lstm_of(weights), batch_size)
        self.output = weights["final_conv.weight"].reshape(-1), weights["final_conv.bias"]
        self.context = np.zeros((batch_size, CONTEXT), np.float32)

    def step(self, chunk: Array) -> Array:
        """Return the probability (B,) of speech in each of the chunks (B, 512) of float32."""
        h = self.lstm.step(self.features(chunk))
        weight, bias = self.output
        return 1 / (1 + np.exp(-(np.maximum(h, 0) @ weight + bias)))  # type: ignore[no-any-return]

    def features(self, chunk: Array) -> Array:
        """Return what the LSTM takes (B, 128): the spectrum, through four convolutions."""
        mirrored = chunk[:, -2 : -CONTEXT - 2 : -1]
        x = np.concatenate((self.context, chunk, mirrored), axis=1)
        self.context = chunk[:, -CONTEXT:].copy()
        x = self.frames.of(x) @ self.spectrum
        x *= x
        x = np.sqrt(x[..., : WINDOW // 2 + 1] + x[..., WINDOW // 2 + 1 :])  # real, imaginary
        for convolution in self.convolutions:
            x = convolution(x)
        return x[:, 0]  # type: ignore[no-any-return]

    def reset(self) -> None:
        """Begin anew."""
        self.lstm.reset()
        self.context = np.zeros_like(self.context)


class Windows:
    """The windows of what is written into one place again and again.

    Parameters
    ----------
    batch_size, count : int
        Rows, and numbers in each.
    size, hop : int
        Numbers of a window, and from window to window.
    edge : int
        Zeros at both ends.
    """

    def __init__(self, batch_size: int, count: int, size: int, hop: int, edge: int = 0):
        room = np.zeros((batch_size, edge + count + edge), np.float32)
        self.inside = room[:, edge : edge + count]
        self.view = np.lib.stride_tricks.sliding_window_view(room, size, axis=1)[:, ::hop]

    def of(self, x: Array) -> Array:
        """Return the windows (B, N, size) of x (B, ...)."""
        self.inside[...] = x.reshape(self.inside.shape)
        return self.view.copy()


class Convolution:
    """relu(W * x + b) over three steps at a time, a zero at both ends: (B, T, C) to (B, N, F)."""

    def __init__(self, weights: dict[str, Array], name: str, batch: int, steps: int, stride: int):
        kernel = weights[f"{name}.weight"]
        channels = kernel.shape[1]
        self.windows = Windows(batch, steps * channels, 3 * channels, stride * channels, channels)
        self.kernel, self.bias = columns_of(kernel), weights[f"{name}.bias"]

    def __call__(self, x: Array) -> Array:
        y = self.windows.of(x) @ self.kernel
        y += self.bias
        return np.maximum(y, 0, out=y)  # type: ignore[no-any-return]


def lstm_of(weights: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Return W_ih (4H, I), W_hh (4H, H) and b (4H,) of the recurrent part."""
    bias = weights["lstm_cell.bias_ih"] + weights["lstm_cell.bias_hh"]
    return weights["lstm_cell.weight_ih"], weights["lstm_cell.weight_hh"], bias


def columns_of(kernel: Array) -> Array:
    """Return the filters (F, C, K) of a convolution as the columns of a matrix (K · C, F)."""
    return np.ascontiguousarray(kernel.transpose(2, 1, 0).reshape(-1, len(kernel)))


def folder() -> Path:
    """Return where the package silero-vad keeps its files; it is not imported.

    Raises
    ------
    ValueError
        When it is not installed.
    """
    found = find_spec("silero_vad")
    if found is None or found.origin is None:
        raise ValueError("silero-vad: expected the package (pip install --no-deps silero-vad)")
    return Path(found.origin).parent / "data"


def read_onnx(path: Path) -> dict[str, Array]:
    """Return the weights of an ONNX file of the model, named as in its safetensors file."""
    import onnx

    names = {"model.stft.forward_basis_buffer": "stft_conv.weight"}
    for kind in ("weight", "bias"):
        names |= {f"model.encoder.{n}.reparam_conv.{kind}": f"conv{n + 1}.{kind}" for n in range(4)}
        names |= {f"model.decoder.rnn.{kind}_{s}h": f"lstm_cell.{kind}_{s}h" for s in "ih"}
        names[f"model.decoder.decoder.2.{kind}"] = f"final_conv.{kind}"
    held = onnx.load(str(path)).graph.initializer
    return {names[one.name]: onnx.numpy_helper.to_array(one) for one in held if one.name in names}


def read_weights(kind: str) -> dict[str, Array]:
    """Return the weights "onnx" or "safetensors" of the package; ValueError where they lack."""
    if kind == "safetensors":
        return load_file(folder() / "silero_vad_16k.safetensors")
    try:
        return read_onnx(folder() / "silero_vad_16k_op15.onnx")
    except ImportError as error:
        raise ValueError("weights: expected safetensors, as onnx is not installed") from error


def probabilities(step: Callable[[Array], Any], chunks: Array) -> Array:
    """Return the probability of each of the chunks (N, 512), in turn."""
    return np.array([float(np.asarray(step(chunk[None])).reshape(())) for chunk in chunks])

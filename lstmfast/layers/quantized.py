"""Layers for inference whose matrices are held in int8: what `Model.quantize` makes of others."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..arguments import Array, Shape
from ..ops.dense import PreparedDense
from ..ops.quantize import joined, split
from .base import Layer
from .dense import Dense
from .embedding import Embedding
from .lstm import LSTM
from .weights import kind_of

__all__ = ["Quantized", "QuantizedDense", "QuantizedEmbedding", "QuantizedLSTM", "quantized"]

SCALE = "_scale"  # behind the name of a matrix: that of its scales


class Quantized(Layer):
    """The half of a quantized layer that knows of weights; the other half is the layer's own class.

    `params` holds each of its matrices in int8 and, by the name with `_scale` behind it, their
    float32 scales; all else in float32. Weights are never drawn and never change: there is no
    training, no regularizer and no constraint, and no device but the CPU.
    """

    precision = "int8"
    axes: ClassVar[dict[str, int]] = {}  # of the kinds of params in int8: the axis of one scale
    _prepared: Any = None  # what the kernels take, made when it is first needed

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_prepared": None}

    def floats(self) -> dict[str, Array]:
        """Return the weights by their names in float32, as the kernels round them."""
        return {
            name: joined(param, self.params[name + SCALE], self.axes[kind_of(name)])
            if name + SCALE in self.params
            else param
            for name, param in self.params.items()
            if not name.endswith(SCALE)
        }

    def param_shapes(self, input_shape: Shape) -> dict[str, tuple[int, ...]]:
        found = {}
        for name, shape in super().param_shapes(input_shape).items():
            found[name] = shape
            if kind_of(name) in self.axes:
                found[name + SCALE] = (shape[1 - self.axes[kind_of(name)]],)
        return found

    def param_dtypes(self, shapes: dict[str, Any], dtype: str) -> dict[str, str]:
        return {name: "int8" if name + SCALE in shapes else dtype for name in shapes}

    def adopt(self, params: dict[str, Array], input_shape: Shape, dtype: str) -> None:
        super().adopt(params, input_shape, dtype)
        for param in self.params.values():
            param.flags.writeable = False

    def build(self, input_shape: Shape, rng: Any = None, dtype: str = "float32") -> None:
        """Raise ValueError: there is nothing to draw."""
        raise ValueError(f"{self.name}: expected weights from Model.quantize or a file, got none")

    def check_place(self, device: str, precision: str | None) -> None:
        if device != "cpu" or precision not in (None, "int8"):
            found = f"{device!r}, {precision!r}"
            raise ValueError(f"{self.name}: expected the CPU and int8 once quantized, got {found}")

    def to(self, device: str, precision: str | None = None) -> Any:
        """Return the layer; ValueError for any place but the CPU."""
        self.check_place(device, precision)
        return self

    def backward(self, *_: Any, **__: Any) -> None:
        """Raise ValueError: there are no gradients in int8."""
        raise ValueError(f"{self.name}: expected no way back through quantized weights, got one")

    def check_weights(self, weights: Any) -> list[Array]:
        """Raise ValueError: what was packed of the weights would no longer be of them."""
        raise ValueError(f"{self.name}: expected weights that stay, as they are quantized")

    def count_params(self) -> int:
        return sum(param.size for param in self.floats().values())

    def _rules(self, ending: str, names: Any) -> dict[str, Any]:
        return {}

    def _check_inference(self, training: bool) -> None:
        if training:
            raise ValueError(f"{self.name}: expected training=False, as weights are quantized")


class QuantizedLSTM(Quantized, LSTM):
    """An `LSTM` whose W_ih and W_hh are int8, each row with a scale: see docs/precision.md."""

    axes: ClassVar = {"W_ih": 1, "W_hh": 1}

    def set_parts(self, parts: Any) -> None:
        self.check_weights(parts)

    def _runner(self, training: bool, pad: str) -> tuple[Any, dict[str, Any]]:
        self._check_inference(training)
        if self.return_cells:  # which prepared layers do not give
            return super()._runner(False, pad)
        self._prepared = self._prepared or {}
        if pad not in self._prepared:
            self._prepared[pad] = ops.PreparedLSTM(
                **self._weights(), options=self.options, noise=self.noise,
                bidirectional=self.bidirectional, variable_lengths=True, pad=pad,
                reverse=self.go_backwards, precision="int8",
            )  # fmt: skip
        told = {"batch_first": not self.time_major, "return_sequences": self.return_sequences}
        return partial(_outputs_of, self._prepared[pad]), told


def _outputs_of(prepared: Any, x: Any, **given: Any) -> Any:
    """What `ops.lstm_forward` returns, of prepared weights."""
    y, state = prepared.forward(x, **given)
    return y, state, None


class QuantizedDense(Quantized, Dense):
    """A `Dense` layer whose kernel is int8, each column with a scale."""

    axes: ClassVar = {"kernel": 0}

    def _product(self, x: Array) -> Array:
        if self._prepared is None:
            weights = self.floats()
            self._prepared = PreparedDense(weights["kernel"], weights.get("bias"))
        y: Array = self._prepared.forward(x)
        return y

    def forward_linear(self, x: Array, training: bool = False) -> Array:
        self._check_inference(training)
        return super().forward_linear(x)


class QuantizedEmbedding(Quantized, Embedding):
    """An `Embedding` whose table is int8, each row with a scale."""

    axes: ClassVar = {"embeddings": 1}

    def forward(self, x: Array, training: bool = False) -> Array:
        self._check_inference(training)
        self._check_built()
        ids = self._placed("x", x)
        ids = ids.astype(np.int64) if ids.dtype.kind == "b" else ids
        table, scale = self.params["embeddings"], self.params["embeddings" + SCALE]
        return joined(ops.embedding_forward(ids, table), np.take(scale, ids), -1)


KINDS: dict[type[Layer], type[Quantized]] = {
    LSTM: QuantizedLSTM, Dense: QuantizedDense, Embedding: QuantizedEmbedding,
}  # fmt: skip


def quantized(layer: Layer) -> Layer:
    """Return a new layer with the weights of a built float32 one in int8; or a copy, as it is.

    Raises
    ------
    ValueError
        A weight is NaN or Inf.
    """
    made = KINDS.get(type(layer))
    kind: type[Layer] = made or type(layer)
    copy: Layer = kind.from_config(layer.get_config())
    params = {}
    for name, param in layer.floats_on_host().items():
        if not np.isfinite(param).all():
            raise ValueError(f"{layer.name}: expected finite weights, got NaN or Inf in {name}")
        axis = made.axes.get(kind_of(name)) if made else None
        params[name] = param
        if axis is not None:
            params[name], params[name + SCALE] = split(param, axis)
    assert layer.input_shape is not None
    copy.adopt(params, layer.input_shape, layer.dtype)
    return copy

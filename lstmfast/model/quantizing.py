"""A Model for inference in int8, made of another one, and what that costs in each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..arguments import Array
from ..layers import Layer
from ..layers.quantized import Quantized, quantized
from ..samples import as_array
from ..whole import or_as_before
from .fitting import batches

if TYPE_CHECKING:
    from . import Model

__all__ = ["LayerReport", "Report", "quantize"]


class LayerReport(NamedTuple):
    """What quantization did to a layer.

    Attributes
    ----------
    name : str
    held_in : {"int8", "float32"}
        Layers without an int8 form stay as they are.
    bytes_before, bytes_after : int
        Of the weights.
    weights : float
        The error of all weights: its root mean square over that of the weights.
    outputs, largest : float or None
        The error of the layer's outputs on the calibration data, errors of the layers before it
        included: its root mean square over that of the outputs, and the largest.
    """

    name: str
    held_in: str
    bytes_before: int
    bytes_after: int
    weights: float
    outputs: float | None
    largest: float | None


@dataclass(frozen=True)
class Report:
    """The rows of a quantized Model, one for each layer; `print(report)` shows them as a table."""

    layers: tuple[LayerReport, ...]

    def __str__(self) -> str:
        head = ("layer", "held in", "bytes before", "after", "weights", "outputs", "largest")
        rows: list[tuple[str, ...]] = [head]
        for row in self.layers:
            errors = ("-" if e is None else f"{e:.2g}" for e in row[4:])
            rows.append((row.name, row.held_in, f"{row.bytes_before:,}", f"{row.bytes_after:,}",
                         *errors))  # fmt: skip
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = ("<", "<", ">", ">", ">", ">", ">")
        lines = (
            "  ".join(f"{text:{to}{n}}" for text, to, n in zip(row, aligned, wide, strict=True))
            for row in rows
        )
        return "\n".join(line.rstrip() for line in lines)


def quantize(model: Model, calibration: Any, batch_size: int, make: Any) -> Model:
    """See `Model.quantize`; `make` makes a Model of layers."""
    if model.dtype != "float32":
        raise ValueError(f"dtype: expected a float32 model to quantize, got {model.dtype}")
    if any(isinstance(layer, Quantized) for layer in model._built_layers()):
        raise ValueError(f"{model.name}: expected a model that is not quantized yet, got one")
    x = None if calibration is None else as_array("calibration", calibration)
    if x is not None:
        model._check_x(x, batch_size)
    layers = [quantized(layer) for layer in model.layers]
    small: Model = make(layers, seed=model.seed, name=model.name, precision="int8")
    outputs: list[Any] = [(None, None)] * len(layers)
    if x is not None:
        before = [*model._states(), *small._states()]
        outputs = or_as_before(before, _errors_of_outputs, model, small, x, batch_size)
        for layer, state, value in before:
            setattr(layer, state, value)
    pairs = zip(model.layers, layers, outputs, strict=True)
    small.report = Report(tuple(_row(*pair) for pair in pairs))
    return small


def _row(layer: Layer, narrow: Layer, outputs: tuple[Any, Any]) -> LayerReport:
    before, after = layer.floats_on_host(), narrow.floats()
    error = sum(
        float(np.square(after[name] - of, dtype=float).sum()) for name, of in before.items()
    )
    size = sum(float(np.square(of, dtype=float).sum()) for of in before.values())
    held_in = "int8" if isinstance(narrow, Quantized) else layer.dtype
    old, new = (sum(p.nbytes for p in one.params.values()) for one in (layer, narrow))
    return LayerReport(layer.name, held_in, old, new, _share(error, size), *outputs)


def _share(error: float, size: float) -> float:
    """A root mean square over another, from sums of squares."""
    return float(np.sqrt(error / size)) if size else 0.0


def _errors_of_outputs(
    model: Model, small: Model, x: Array, batch_size: int
) -> list[tuple[float, float]]:
    """For each layer its outputs' error relative to them, and the largest."""
    count = len(model.layers)
    errors, sizes, largest = np.zeros(count), np.zeros(count), np.zeros(count)
    for at in batches(len(x), batch_size, None):
        y = z = model._cast(x[at])
        for k, (layer, narrow) in enumerate(zip(model.layers, small.layers, strict=True)):
            y, z = layer.forward(y), narrow.forward(z)
            apart = np.subtract(z, y, dtype=float)
            errors[k] += np.square(apart).sum()
            sizes[k] += np.square(y, dtype=float).sum()
            largest[k] = max(largest[k], abs(apart).max())
    shares = map(_share, errors, sizes)
    return list(zip(shares, map(float, largest), strict=True))

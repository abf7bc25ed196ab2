"""A Model for inference in int8, made of another one, and what that costs in each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..layers import Layer
from ..layers.quantized import Quantized, quantized
from ..whole import or_as_before
from . import passes
from .given import Samples, as_masks, batches, check_inputs, taken

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
    data = None if calibration is None else taken(model, calibration, has_targets=False)
    if data is not None:
        check_inputs(model, data.xs, batch_size, finite=False)
    narrow = {layer: quantized(layer) for layer in model.graph.layers}
    graph = model.graph.with_layers(narrow)
    small: Model = make(graph, seed=model.seed, name=model.name, precision="int8")
    small.name_ends(model.input_keys, model.output_keys)
    errors: dict[Layer, Any] = {}
    if data is not None:
        before = [*model._states(), *small._states()]
        errors = or_as_before(before, _errors_of_outputs, model, small, data, batch_size)
        for layer, state, value in before:
            setattr(layer, state, value)
    rows = (_row(one, narrow[one], errors.get(one, (None, None))) for one in model.graph.layers)
    small.report = Report(tuple(rows))
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
    model: Model, small: Model, data: Samples, batch_size: int
) -> dict[Layer, tuple[float, float]]:
    """For each layer its outputs' error relative to them, and the largest."""
    sums = {
        layer: np.zeros(3) for layer in model.graph.layers
    }  # of errors, of outputs; the largest
    for at in batches(len(data), batch_size, None):
        batch = model._cast(data[at])
        exact, rounded = (
            passes.forward(one.graph, batch.xs, as_masks(batch), keep=True)
            for one in (model, small)
        )
        for step in model.graph.steps:
            y, z = exact.values[step.outputs[0]], rounded.values[step.outputs[0]]
            apart, found = np.subtract(z, y, dtype=float), sums[step.layer]
            found[0] += np.square(apart).sum()
            found[1] += np.square(y, dtype=float).sum()
            found[2] = max(found[2], abs(apart).max())
    return {layer: (_share(*found[:2]), float(found[2])) for layer, found in sums.items()}

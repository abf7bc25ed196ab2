"""Data on its way into a Model: for each input an array, maybe a mask, for each output targets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array, Shape, integer, number, shape_text
from ..losses.weights import class_weights
from ..ops.placement import is_own, to_device
from ..samples import CHUNK, as_array, check_held, is_on_disk
from .naming import by_name

if TYPE_CHECKING:
    from .network import Network

__all__ = ["Samples", "as_masks", "batches", "check_inputs", "split", "taken"]


@dataclass
class Samples:
    """Samples along the first axis of every array; a batch of them is Samples, too.

    Attributes
    ----------
    xs : list of ndarray
        Of each input.
    masks : list
        Of each input its lengths (N,), its mask (N, T), or None.
    ys : list
        Of each output; empty to predict.
    weights : list
        Of each output the weights of its rows, or None.
    rows : ndarray or None
        Of a batch: where `predict` puts its outputs, if not behind the ones before.
    """

    xs: list[Array]
    masks: list[Any]
    ys: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    rows: Any = None

    @property
    def on_disk(self) -> bool:
        """Does a part of them lie in a file?"""
        each = (self.xs, self.masks, self.ys, self.weights)
        return any(is_on_disk(array) for arrays in each for array in arrays)

    def pieces(self) -> Iterator[Samples]:
        """Yield all, where a part lies in a file in pieces that memory holds easily."""
        each = (*self.xs, *self.ys)
        rows = max(1, CHUNK // max(array[0].size for array in each)) if self.on_disk else len(self)
        for start in range(0, len(self), max(1, rows)):
            yield self[start : start + rows]

    def __len__(self) -> int:
        return len(self.xs[0])

    def __getitem__(self, at: Any) -> Samples:
        each = (self.xs, self.masks, self.ys, self.weights)
        parts: list[list[Any]] = [[a if a is None else a[at] for a in arrays] for arrays in each]
        return Samples(*parts)


def taken(
    model: Network, x: Any, y: Any = None, sample_weight: Any = None, lengths: Any = None,
    mask: Any = None, has_targets: bool = True, class_weight: Any = None,
) -> Samples:  # fmt: skip
    """Return what a user gave as Samples; ValueError where numbers of samples differ, and for 0."""
    model.meet(x)
    xs = _arrays("x", x, model.input_names, model.input_keys is None)
    xs = [_as_column(one, entry.shape) for one, entry in zip(xs, model.graph.entries, strict=True)]
    count = len(xs[0])
    samples = Samples(xs, _masks(model, xs, lengths, mask))
    if has_targets:
        if class_weight is not None and sample_weight is not None:
            raise ValueError("class_weight: expected None with sample_weight, got both")
        samples.ys = _arrays("y", y, model.output_names, model.output_keys is None)
        samples.weights = _weights(model, sample_weight)
        if class_weight is not None:
            samples.weights = [_of_classes(model, samples, class_weight)]
    for arrays, name in ((samples.xs, "x"), (samples.ys, "y"), (samples.weights, "sample_weight")):
        for array in arrays:
            if array is not None and len(array) != count:
                raise ValueError(f"{name}: expected {count} samples, as x has, got {len(array)}")
    return samples


def _arrays(what: str, given: Any, names: Sequence[str], may_be_one: bool) -> list[Array]:
    """Return an array for each name; a frame has a column for each, where they are not one."""
    is_one = len(names) == 1 and may_be_one
    if not is_one and hasattr(given, "columns") and hasattr(given, "__array__"):
        given = {name: given[name] for name in given.columns}
    if is_one and isinstance(given, dict) and set(given) != set(names):
        return [as_array(what, given)]  # which says what to do
    parts = by_name(what, given, names, is_one)
    labels = [what] if is_one else [f"{what}[{name!r}]" for name in names]
    return [as_array(label, part) for label, part in zip(labels, parts, strict=True)]


def _as_column(x: Array, shape: Shape | None) -> Array:
    """Return numbers (N,) as (N, 1) where the input is of that shape, as columns of frames are."""
    return x[:, None] if x.ndim == 1 and shape is not None and shape[1:] == (1,) else x


def _weights(model: Network, given: Any) -> list[Any]:
    if given is None:
        return [None] * len(model.output_names)
    parts = by_name("sample_weight", given, model.output_names, len(model.output_names) == 1)
    return [None if part is None else as_array("sample_weight", part) for part in parts]


def _of_classes(model: Network, samples: Samples, class_weight: Any) -> Array:
    """Return the sample weights that class weights are."""
    if len(samples.ys) > 1:
        raise ValueError("class_weight: expected None for several outputs, got some")
    shape = model.graph.output_shapes([x.shape for x in samples.xs])[0]
    return class_weights(class_weight, samples.ys[0], shape)


def _masks(model: Network, xs: Sequence[Array], lengths: Any, mask: Any) -> list[Any]:
    """Return the lengths or the mask of each input."""
    if lengths is not None and mask is not None:
        raise ValueError("mask: expected None with lengths, got both")
    if lengths is None and mask is None:
        return [None] * len(xs)
    what, given = ("mask", mask) if lengths is None else ("lengths", lengths)
    parts = by_name(what, given, model.input_names, len(xs) == 1)
    masked = [n for n, part in enumerate(parts) if part is not None]
    for n in masked:
        if xs[n].ndim < (2 if model.graph.takes_ids(n) else 3):
            raise ValueError(f"{what}: expected None for x without a time axis, got some")
    if masked and not model.graph.heeds_masks(masked):
        raise ValueError(f"{what}: expected layers on the way that heed a mask, got none")
    check = _checked_mask if lengths is None else _checked_lengths
    return [None if p is None else check(p, x.shape) for p, x in zip(parts, xs, strict=True)]


def _checked_lengths(given: Any, shape: Shape) -> Array:
    found = np.asarray(given)
    steps = shape[1] if len(shape) > 1 else 0
    if found.dtype.kind not in "iu" or found.shape != shape[:1]:
        text = f"{shape_text(found.shape)} of {found.dtype}"
        raise ValueError(f"lengths: expected integers of shape {shape_text(shape[:1])}, got {text}")
    if found.size and not 0 <= found.min() <= found.max() <= (steps or 0):
        raise ValueError(
            f"lengths: expected numbers in 0..{steps}, got them in {found.min()}..{found.max()}"
        )
    return found


def _checked_mask(given: Any, shape: Shape) -> Array:
    found = np.asarray(given)
    if found.dtype.kind != "b" or found.shape != shape[:2] or len(shape) < 2:
        text = f"{shape_text(found.shape)} of {found.dtype}"
        raise ValueError(f"mask: expected bool of shape {shape_text(shape[:2])}, got {text}")
    return found


def as_masks(batch: Samples) -> list[Any]:
    """Return the mask (B, T) of each input of a batch, where that is; None where there is none."""
    return [
        None if mask is None else to_device(_as_mask(x, mask), "cuda" if is_own(x) else "cpu")
        for x, mask in zip(batch.xs, batch.masks, strict=True)
    ]


def _as_mask(x: Any, given: Array) -> Array:
    return np.arange(x.shape[1]) < given[:, None] if given.ndim == 1 else given


def split(data: Samples, fraction: float) -> tuple[Samples, Samples | None]:
    """Return the data to train on and to validate on: the last samples, this share of them.

    Raises
    ------
    ValueError
        When one part would be empty.
    """
    fraction = number("validation_split", fraction, 0.0, math.nextafter(1.0, 0.0))
    if not fraction:
        return data, None
    at = math.floor(len(data) * (1.0 - fraction))
    if at in (0, len(data)):
        parts = f"{at} and {len(data) - at} samples"
        raise ValueError(f"validation_split: expected two parts that are not empty, got {parts}")
    return data[:at], data[at:]


def batches(samples: int, batch_size: int, rng: np.random.Generator | None) -> Iterator[Any]:
    """Yield what to index the samples with: slices, or with `rng` shuffled positions."""
    order = None if rng is None else rng.permutation(samples)
    for start in range(0, samples, batch_size):
        stop = min(start + batch_size, samples)
        yield slice(start, stop) if order is None else order[start:stop]


def check_inputs(model: Network, xs: Sequence[Array], batch_size: int, finite: bool) -> list[Shape]:
    """Return the shapes of the outputs; ValueError unless all samples can go in."""
    size = integer("batch_size", batch_size, 1)
    for n, (x, entry) in enumerate(zip(xs, model.graph.entries, strict=True)):
        name = "x" if len(xs) == 1 else f"x[{model.input_names[n]!r}]"
        _check_entry(name, x, entry.shape if not model.graph.is_chain else None)
        for step in model.graph.steps:
            if step.inputs == (n,) and not step.layer.takes_list:
                step.layer.check_input(x)
        check_held(name, x, model.dtype, finite)
    shapes = model.graph.output_shapes([x.shape for x in xs])
    count = len(xs[0])
    if count > size and count % size and any(layer.stateful for layer in model._recurrent()):
        expected = f"a multiple of batch_size {size} for stateful layers"
        raise ValueError(f"x: expected {expected}, got {count} samples")
    return shapes


def _check_entry(name: str, x: Array, shape: Shape | None) -> None:
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected real numbers, got dtype {x.dtype}")
    if shape is None:
        return
    fits = len(shape) == x.ndim and all(
        want in (None, size) for want, size in zip(shape, x.shape, strict=True)
    )
    if not fits:
        expected = shape_text(["B" if n == 0 else s for n, s in enumerate(shape)])
        raise ValueError(f"{name}: expected {expected}, as its Input, got {shape_text(x.shape)}")

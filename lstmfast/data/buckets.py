"""Ragged sequences in batches of like lengths, so that little is filled up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import Array, flag, integer, shape_text, shown
from .batch import Batch, PyDataset
from .timeseries import Order

__all__ = ["Buckets", "bucketed"]


def bucketed(
    sequences: Sequence[Any],
    targets: Any = None,
    batch_size: int = 32,
    buckets: Sequence[int] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    per_step: bool = False,
    sample_weight: Any = None,
) -> Buckets:
    """Return batches of sequences of unlike lengths, each filled up to the longest of its batch.

    The batches carry `lengths`, so that steps which were filled up count nothing: neither in the
    layers that heed a mask, nor in the loss.

    Parameters
    ----------
    sequences : list of (T_n, ...) array_like
        Features (T_n, F), or ids (T_n,); they are filled up with zeros at their end.
    targets : array_like or list, optional
        One for each sequence; with `per_step` a list of (T_n, ...), one for each step. None is
        enough to predict.
    batch_size : int
    buckets : list of int, optional
        Bounds: a batch holds sequences of up to the first bound, or of up to the second and so on,
        or those beyond the last. None: all sequences are put in the order of their lengths and then
        cut into batches, which leaves the least to fill up.
    shuffle : bool
        In each epoch draw anew which sequences of like lengths come together, and the order of the
        batches.
    seed : int, optional
        Of that.
    per_step : bool
        Are there targets for each step?
    sample_weight : array_like (N,), optional
        What each sequence counts in the loss.

    Returns
    -------
    Buckets
        For `Model.fit`, `evaluate` and `predict`, which gives outputs in the order of `sequences`,
        those of each step filled up with zeros to the longest.

    Raises
    ------
    ValueError
        For what is no list of sequences of one kind, or targets that do not fit them.
    """
    rows = _sequences("sequences", sequences)
    lengths = np.array([len(row) for row in rows])
    aims: Any = None
    if targets is not None:
        aims = _sequences("targets", targets) if flag("per_step", per_step) else _one_each(targets)
        _check_targets(aims, lengths, per_step)
    elif flag("per_step", per_step):
        raise ValueError("per_step: expected False without targets, got True")
    weights = None if sample_weight is None else np.asarray(sample_weight)
    if weights is not None and weights.shape != lengths.shape:
        expected = shape_text(lengths.shape)
        raise ValueError(f"sample_weight: expected {expected}, got {shape_text(weights.shape)}")
    found = Buckets(rows, aims, lengths, weights, batch_size, _groups(lengths, buckets))
    if flag("shuffle", shuffle):
        found.order = Order(len(rows), seed)
    elif seed is not None:
        raise ValueError(f"seed: expected None without shuffle, got {shown(seed)}")
    return found


class Buckets(PyDataset):
    """Batches of sequences of like lengths, as `bucketed` makes them.

    Parameters
    ----------
    sequences : list of ndarray (T_n, ...)
    targets : ndarray (N, ...), a list of ndarray (T_n, ...), or None
    lengths : (N,) integers
    weights : (N,) or None
    batch_size : int
    groups : list of integer arrays
        Sequences that may come together. An only group is put in the order of lengths.

    Attributes
    ----------
    padding : float
        The share of the steps in this epoch's batches that were filled up.
    """

    def __init__(
        self, sequences: list[Array], targets: Any, lengths: Array, weights: Array | None,
        batch_size: int, groups: list[Array],
    ):  # fmt: skip
        super().__init__()
        self.sequences, self.targets = sequences, targets
        self.lengths, self.weights, self.groups = lengths, weights, groups
        self.batch_size = integer("batch_size", batch_size, 1)
        self.order: Order | None = None
        self._planned: tuple[Any, list[Array]] | None = None

    def __len__(self) -> int:
        return sum(-(-len(group) // self.batch_size) for group in self.groups)

    def __getitem__(self, index: int) -> Batch:
        rows = self._plan()[integer("index", index, 0, len(self) - 1)]
        x, y = _padded([self.sequences[row] for row in rows]), self.targets
        if isinstance(y, list):
            y = _padded([y[row] for row in rows])
        elif y is not None:
            y = y[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Batch(x, y, weights, lengths=self.lengths[rows], rows=rows)

    @property
    def padding(self) -> float:
        steps = sum(len(rows) * int(self.lengths[rows].max()) for rows in self._plan())
        return 1.0 - float(self.lengths.sum()) / steps

    def on_epoch_end(self) -> None:
        if self.order is not None:
            self.order.epoch += 1

    def get_state(self) -> dict[str, Any]:
        """Return the place in the sequence of orders, for `set_state`."""
        return {} if self.order is None else self.order.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        if self.order is not None:
            self.order.set_state(state)

    def _plan(self) -> list[Array]:
        """Return the rows of each batch of this epoch."""
        key = None if self.order is None else tuple(self.order.get_state().values())
        if self._planned is None or self._planned[0] != key:
            self._planned = key, self._batches()
        return self._planned[1]

    def _batches(self) -> list[Array]:
        rng = None if self.order is None else self.order.rng()
        found = []
        for group in self.groups:
            rows = group if rng is None else rng.permutation(group)
            if len(self.groups) == 1:
                rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            found += [rows[n : n + self.batch_size] for n in range(0, len(rows), self.batch_size)]
        return found if rng is None else [found[n] for n in rng.permutation(len(found))]


def _sequences(name: str, given: Any) -> list[Array]:
    """Return a list of arrays of one kind."""
    if not hasattr(given, "__len__") or isinstance(given, (str, bytes, dict)) or not len(given):
        raise ValueError(f"{name}: expected a list of sequences, got {shown(given)}")
    rows = [np.asarray(row) for row in given]
    if any(row.ndim == 0 or row.dtype.kind not in "biuf" for row in rows):
        odd = next(row for row in rows if row.ndim == 0 or row.dtype.kind not in "biuf")
        raise ValueError(f"{name}: expected sequences of numbers, got {shown(odd)} among them")
    if shortest := [n for n, row in enumerate(rows) if not len(row)]:
        raise ValueError(f"{name}[{shortest[0]}]: expected one step or more, got none")
    shapes = {row.shape[1:] for row in rows}
    if len(shapes) > 1:
        found = " and ".join(map(shape_text, sorted(shapes)[:2]))
        raise ValueError(f"{name}: expected steps of one shape, got {found}")
    return rows


def _one_each(targets: Any) -> Array:
    try:
        found = np.asarray(targets)
    except ValueError as error:
        raise ValueError("targets: expected one for each sequence, got unlike shapes") from error
    if found.ndim == 0:
        raise ValueError(f"targets: expected one for each sequence, got {shown(targets)}")
    return found


def _check_targets(targets: Any, lengths: Array, per_step: bool) -> None:
    if len(targets) != len(lengths):
        expected = f"{len(lengths)}, one for each sequence"
        raise ValueError(f"targets: expected {expected}, got {len(targets)}")
    for n, (row, length) in enumerate(zip(targets, lengths, strict=True)) if per_step else ():
        if len(row) != length:
            expected = f"{length} steps, as sequences[{n}] has"
            raise ValueError(f"targets[{n}]: expected {expected}, got {len(row)}")


def _groups(lengths: Array, bounds: Any) -> list[Array]:
    """Return the sequences that may come together: an array of their numbers for each bucket."""
    if bounds is None:
        return [np.arange(len(lengths))]
    if not isinstance(bounds, (list, tuple, np.ndarray)) or not len(bounds):
        raise ValueError(f"buckets: expected a list of lengths that rise, got {shown(bounds)}")
    found = np.array([integer("buckets", bound, 1) for bound in bounds])
    if (np.diff(found) <= 0).any():
        raise ValueError(f"buckets: expected lengths that rise, got {shown(bounds)}")
    places = np.searchsorted(found, lengths)
    groups = [np.flatnonzero(places == place) for place in range(len(found) + 1)]
    return [group for group in groups if len(group)]


def _padded(rows: list[Array]) -> Array:
    """Return sequences as one array, filled up with zeros at their end."""
    longest = max(map(len, rows))
    dtype = np.result_type(*rows)
    whole = np.zeros((len(rows), longest, *rows[0].shape[1:]), dtype)
    for to, row in zip(whole, rows, strict=True):
        to[: len(row)] = row
    return whole

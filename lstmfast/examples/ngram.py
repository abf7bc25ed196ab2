"""Interpolated n-gram models, the baseline that a recurrent network has to beat.

Order n predicts a symbol from the n - 1 before it, mixing in the order below by the rule of Witten
and Bell: a context that was followed N times, by K different symbols, gives

    P_n(s | context) = (count(context, s) + scale * K * P_{n-1}(s | shorter context))
                       / (N + scale * K)

and P_0 is uniform. The textbook's scale is 1. Here each order has its own, chosen on the last tenth
of the training text, which makes the higher orders markedly stronger; the held-out text is never
looked at. A context that training never met hands on the order below unchanged.

Source: Witten and Bell 1991; Bell, Cleary and Witten 1990 (interpolation by number of kinds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["SCALES", "Table", "baselines", "count", "interpolate", "tune"]

Array = np.ndarray[Any, np.dtype[Any]]

SCALES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
TUNING_SHARE = 0.1


class Table(NamedTuple):
    """What followed each context of one length in the training text.

    A context is numbered by its place in `contexts`, whose entries are sorted keys
    `number of the context one shorter * V + the symbol before it`.

    Attributes
    ----------
    contexts : ndarray (C,) int64
    totals, kinds : ndarray (C,)
        How many symbols followed each context, and how many different ones.
    pairs : ndarray (P,) int64
        Sorted keys `number of the context * V + the symbol that followed`.
    counts : ndarray (P,)
        How often each pair occurred.
    """

    contexts: Array
    totals: Array
    kinds: Array
    pairs: Array
    counts: Array


def count(ids: Array, order: int, vocabulary_size: int) -> list[Table]:
    """Return one table per context length 0 ... order - 1 of the text `ids` (N,) of integers.

    Raises
    ------
    ValueError
        When the text is shorter than `order`.
    """
    ids = np.asarray(ids, np.int64)
    if len(ids) < order:
        raise ValueError(f"ids: expected {order} symbols or more, got {len(ids)}")
    tables, numbers = [], np.zeros(len(ids), np.int64)
    for length in range(order):
        if length == 0:
            contexts = np.zeros(1, np.int64)
        else:
            keys = numbers[1:] * vocabulary_size + ids[:-length]
            contexts, numbers = np.unique(keys, return_inverse=True)
        followers = ids[length:]
        pairs, counts = np.unique(numbers * vocabulary_size + followers, return_counts=True)
        totals = np.bincount(numbers, minlength=len(contexts))
        kinds = np.bincount(pairs // vocabulary_size, minlength=len(contexts))
        tables.append(Table(contexts, totals, kinds, pairs, counts))
    return tables


def find(keys: Array, wanted: Array) -> Array:
    """Return the place of each of `wanted` in the sorted `keys`, -1 where it is not there."""
    if not len(keys):
        return np.full(len(wanted), -1)
    places = np.searchsorted(keys, wanted)
    places[places == len(keys)] = 0
    return np.where(keys[places] == wanted, places, -1)


def lookup(table: Table, numbers: Array, symbols: Array, vocabulary_size: int) -> Array:
    """Return N, K and the count of the symbol for each numbered context (-1: never met)."""
    pair = find(table.pairs, numbers * vocabulary_size + symbols)
    met = numbers >= 0
    counts = np.where(met & (pair >= 0), table.counts[pair], 0)
    return np.stack([np.where(met, table.totals[numbers], 0),
                     np.where(met, table.kinds[numbers], 0), counts])  # fmt: skip


def statistics(tables: list[Table], ids: Array, start: int, vocabulary_size: int) -> list[Array]:
    """Return, per table, N, K and the count (3, N - start) for each symbol of `ids[start:]`."""
    ids = np.asarray(ids, np.int64)
    found, numbers = [], np.zeros(len(ids) - start, np.int64)
    for length, table in enumerate(tables):
        if length:
            older = np.full(len(numbers), -1)
            first = min(max(length - start, 0), len(older))  # before it, the text begins too late
            older[first:] = ids[start + first - length : len(ids) - length]
            known = (numbers >= 0) & (older >= 0)
            numbers = np.where(known, find(table.contexts, numbers * vocabulary_size + older), -1)
        found.append(lookup(table, numbers, ids[start:], vocabulary_size))
    return found


def mix(numbers: Array, lower: Array, scale: float) -> Array:
    """Return the probabilities of one order from those of the order below it."""
    totals, kinds, counts = numbers
    weight = scale * kinds
    met = totals > 0
    return np.where(met, (counts + weight * lower) / np.where(met, totals + weight, 1), lower)


def interpolate(
    tables: list[Table], ids: Array, start: int, vocabulary_size: int, scales: Sequence[float]
) -> list[Array]:
    """Return the probability of each symbol of `ids[start:]`, by every order.

    Parameters
    ----------
    tables : list of Table
        From `count`.
    ids : ndarray (N,) of integers
        The text before `start` serves as context only.
    vocabulary_size : int
    scales : sequence of float
        One per order, from `tune`.

    Returns
    -------
    list of ndarray (N - start,)
        Of the orders 1, 2, ...
    """
    lower = np.full(len(ids) - start, 1 / vocabulary_size)
    results = []
    for numbers, scale in zip(statistics(tables, ids, start, vocabulary_size), scales, strict=True):
        lower = mix(numbers, lower, scale)
        results.append(lower)
    return results


def tune(train: Array, order: int, vocabulary_size: int) -> list[float]:
    """Return the scale of each order that predicts the last tenth of `train` from the rest best."""
    split = int(len(train) * (1 - TUNING_SHARE))
    tables = count(train[:split], order, vocabulary_size)
    lower, scales = np.full(len(train) - split, 1 / vocabulary_size), []
    for numbers in statistics(tables, train, split, vocabulary_size):
        bits = [mean_bits(mix(numbers, lower, scale)) for scale in SCALES]
        scales.append(SCALES[int(np.argmin(bits))])
        lower = mix(numbers, lower, scales[-1])
    return scales


def mean_bits(probabilities: Array) -> float:
    """Return the mean of -log2 of the probabilities."""
    return float(-np.log2(probabilities).mean())


def baselines(ids: Array, split: int, vocabulary_size: int, orders: int = 5) -> dict[int, float]:
    """Train on `ids[:split]` and return the bits per symbol of `ids[split:]`, by order.

    Parameters
    ----------
    ids : ndarray (N,) of integers in [0, vocabulary_size)
    split : int
    vocabulary_size : int
    orders : int
        The highest order.

    Returns
    -------
    dict of int to float
        {1: bits, 2: bits, ...}.
    """
    train = ids[:split]
    scales = tune(train, orders, vocabulary_size)
    tables = count(train, orders, vocabulary_size)
    found = interpolate(tables, ids, split, vocabulary_size, scales)
    return {order: mean_bits(p) for order, p in enumerate(found, start=1)}

"""Units that follow a feature of the steps: a quotation that is open, daylight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import Array, check_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Following", "following"]


@dataclass(frozen=True, eq=False)
class Following:
    """How the units of a layer go with a feature.

    Attributes
    ----------
    layer, value : str
        Whose units, and what of them: "c", "h", a gate.
    correlations : ndarray (H,)
        Pearson's, over all steps that count, of all samples; 0 of a unit that never changes.
    ranking : ndarray (H,) of int
        The units, the one with the strongest correlation, whichever sign it has, first.
    feature, values : ndarray (B, T), (B, T, H)
    """

    layer: str
    value: str
    correlations: Array
    ranking: Array
    feature: Array
    values: Array

    def plot(self, path: Any = None, sample: int = 0, units: int = 3) -> Figure:
        """Draw the feature and the units that follow it best, of one sample, and all correlations.

        Parameters
        ----------
        path : str or path, optional
            Where to write the figure to: a PNG, or what the name's ending says.
        sample, units : int
            Whose steps, and how many units.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from .plots import draw_following

        return draw_following(self, path, sample, units)


def following(layer: str, value: str, values: Array, feature: Any) -> Following:
    """Rank the units of a layer; ValueError for a feature that does not fit or never changes.

    values : (B, T, H), NaN where a step does not count
    feature : (B, T)
    """
    found = np.asarray(feature)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"feature: expected numbers or truth values, got dtype {found.dtype}")
    check_shape("feature", found.shape, values.shape[:2])
    counts = ~np.isnan(values).any(axis=-1)
    wanted = found[counts].astype(np.float64)
    if not np.isfinite(wanted).all():
        raise ValueError("feature: expected finite numbers, got NaN or Inf")
    if not len(wanted) or wanted.min() == wanted.max():
        raise ValueError("feature: expected one that changes, got the same at every step")
    correlations = _correlations(values[counts].astype(np.float64), wanted)
    ranking = np.argsort(-abs(correlations), kind="stable")
    return Following(layer, value, correlations, ranking, found, values)


def _correlations(units: Array, feature: Array) -> Array:
    """Pearson's correlation of each column of units (N, H) with the feature (N,)."""
    x, y = units - units.mean(axis=0), feature - feature.mean()
    lengths = np.sqrt((x * x).sum(axis=0)) * np.sqrt((y * y).sum())
    found: Array = np.divide(x.T @ y, lengths, out=np.zeros(len(lengths)), where=lengths > 1e-12)
    return found

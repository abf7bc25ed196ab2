"""Scores between queries and keys, and sums of values weighed by them. Part of `ops`.

Queries q (B, Tq, D), keys k (B, Tv, D), values v (B, Tv, V); scores s (B, Tq, Tv):

    dot:      s = a q · k                                 (Luong et al. 2015)
    additive: s = Σ_d w_d tanh(a (q_d + k_d))             (Bahdanau et al. 2015)
    y = softmax(s) v

`of` has the activations and the softmax where the arrays are: `ops.host`, or `lstmfast.cuda.ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import Array
from .layouts import an_array, in_order

__all__ = [
    "additive_scores", "additive_scores_backward", "barred", "weights", "weights_backward",
]  # fmt: skip

FAR = 1e9  # what is taken off the scores that a mask leaves out, as in Keras


def additive_scores(of: Any, q: Array, k: Array, a: Any, w: Any) -> tuple[Array, Array]:
    """Return (s, t) with t (B, Tq, Tv, D) the hyperbolic tangents, which backward needs.

    a is a number or None for one; w is a number or (D,).
    """
    sums = q[:, :, None] + k[:, None]
    if a is not None:
        sums *= a
    t = of.activation_forward("tanh", sums, out=sums)
    return t @ w if np.ndim(w) else np.sum(t, axis=-1) * w, t


def additive_scores_backward(
    of: Any, ds: Array, q: Array, k: Array, a: Any, w: Any, t: Array
) -> tuple[Array, Array, Any, Array]:
    """Return (dq, dk, da or None, dw) for ds, the gradient of the scores."""
    if np.ndim(w):
        dw = np.tensordot(ds, t, 3)
        dt = ds[..., None] * w
    else:
        dw = an_array(np.sum(ds * np.sum(t, axis=-1), dtype=np.float64)).astype(ds.dtype)
        dt = np.repeat((ds * w)[..., None], t.shape[-1], axis=-1)
    dz, da = of.activation_backward("tanh", t, dt), None
    if a is not None:
        sums = np.sum(dz * (q[:, :, None] + k[:, None]), dtype=np.float64)
        da = an_array(sums).astype(ds.dtype)
        dz *= a
    return np.sum(dz, axis=2), np.sum(dz, axis=1), da, dw


def barred(scores: Array, mask: Array | None, causal: bool) -> Array:
    """Return the scores, `FAR` less where no value may be seen; they are overwritten.

    mask : bool (B, Tv), the values that count; None: all.
    causal : query i sees the values up to the i-th.
    """
    if mask is None and not causal:
        return scores
    seen: Any = None if mask is None else mask[:, None, :]
    if causal:
        earlier = np.tri(*scores.shape[1:], dtype=np.bool_)
        seen = earlier if seen is None else seen & earlier
    np.subtract(scores, scores.dtype.type(FAR), out=scores, where=~seen)
    return scores


def weights(of: Any, scores: Array) -> Array:
    """The softmax over the last axis of scores (B, Tq, Tv), which are overwritten."""
    rows = in_order(scores).reshape(-1, scores.shape[-1])
    return of.softmax(rows, out=rows).reshape(scores.shape)  # type: ignore[no-any-return]


def weights_backward(of: Any, p: Array, dp: Array) -> Array:
    """dp becomes the gradient of the scores, for p of `weights`; returns it."""
    size = p.shape[-1]
    found = of.softmax_backward(p.reshape(-1, size), dp.reshape(-1, size))
    return found.reshape(p.shape)  # type: ignore[no-any-return]

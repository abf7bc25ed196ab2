"""Attention and AdditiveAttention: weights and caches here, arithmetic in `ops`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import initializers
from ..arguments import Array, Shape, check_shape, choice, flag, number, shown
from ..ops.attention import (
    additive_scores,
    additive_scores_backward,
    barred,
    weights,
    weights_backward,
)
from ..ops.dispatch import float_like
from ..ops.layouts import an_array
from ..ops.noise import dropped, kept_of
from ..ops.placement import to_device
from ..seeding import generator
from .base import Layer
from .checks import features_of, in_a_list

__all__ = ["AdditiveAttention", "Attention"]

NAMES = ("query", "value", "key")
SCORE_MODES = ("dot", "concat")


class Attention(Layer):
    """softmax(scores of queries and keys) · values, for inputs [query, value] or [.., key].

    query (B, Tq, D), value (B, Tv, V) and key (B, Tv, D), which is the value where it is left out,
    to (B, Tq, V).

    Parameters
    ----------
    use_scale : bool
        Multiply what is compared by a weight, `scale ()`, which starts at one.
    score_mode : {"dot", "concat"}
        query · key; or w Σ tanh(query + key) with another weight, `concat_score_weight ()`.
    dropout : float
        In [0, 1): of the softmax, in training.
    seed : int, optional
        Of what is dropped, without a Model; else it comes from the Model's generator.
    name : str, optional

    Notes
    -----
    Source: Luong, Pham and Manning 2015. Where a mask leaves a value out, 1e9 is taken off its
    score, as in Keras: a row without any value has the softmax over what is left of its scores.
    """

    takes_list = takes_mask = supports_masking = True

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        *,
        name: str | None = None,
    ):
        super().__init__(name, seed)
        self.use_scale = flag("use_scale", use_scale)
        self.score_mode = choice("score_mode", score_mode, SCORE_MODES)
        self.dropout = number("dropout", dropout, 0.0, 1.0)
        if self.dropout == 1.0:
            raise ValueError(f"dropout: expected less than 1, got {shown(dropout)}")
        self.draws = self.dropout > 0

    def weight_shapes(self, input_shape: Any) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"scale": ()} if self.use_scale else {}
        return shapes | ({"concat_score_weight": ()} if self.score_mode == "concat" else {})

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.ones(shape)

    # Lists of shapes and arrays.

    def output_shape(self, input_shape: Any) -> Shape:
        query, value, key = three("input_shape", input_shape)
        check_shape("query", query, ("B", "Tq", "D"))
        batch, steps, size = query
        agrees("value", value, (batch, "Tv", "V"))
        agrees("key", key, (batch, value[1], size))
        return (batch, steps, value[-1])

    def _inputs(self, x: Any) -> list[tuple[str, Any]]:
        return named_inputs(x)

    # In a graph.

    def output_shapes(self, input_shape: Any, **constants: Any) -> list[Shape]:
        y = self.output_shape(input_shape)
        scores = (*y[:2], input_shape[1][1])
        return [y, scores] if constants.get("return_attention_scores") else [y]

    def outputs_of(self, **constants: Any) -> int:
        return 2 if constants.get("return_attention_scores") else 1

    def backward_of(self, gradients: list[Any], need_dx: bool = True) -> Any:
        dy, dscores = gradients
        if dy is None:
            q, v = self._cached()[0][:2]
            dy = np.zeros_like(q, shape=(*q.shape[:2], v.shape[2]))
        return self.backward(dy, need_dx, dscores=dscores)

    # Forward and back.

    def forward(
        self,
        x: Any,
        training: bool = False,
        *,
        mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return (B, Tq, V), of the layer's dtype.

        Parameters
        ----------
        x : list of two or three arrays
        training : bool
            Drop out, and keep what one `backward` needs.
        mask : list of bool (B, Tq) and (B, Tv), each of them or all None
            Queries whose output is zero where False; values that do not count. One of the keys may
            follow; it is not looked at, as in Keras.
        return_attention_scores : bool
            Return (output, softmax (B, Tq, Tv)).
        use_causal_mask : bool
            Query i sees the values up to the i-th.
        """
        self._check_built()
        dtype = np.dtype(self.dtype)
        given = [float_like(name, self._as_floats(one), dtype) for name, one in named_inputs(x)]
        self.output_shape([one.shape for one in given])
        q, v, k = three("x", given)
        seen, counted = _checked_masks(mask, q.shape[:2], v.shape[:2])
        scores, kept = self._scores(q, k)
        p = weights(self._ops, barred(scores, counted, use_causal_mask))
        noise = self._noise(p) if training else None
        left = p if noise is None else dropped(p, noise, self.dropout)
        y = left @ v
        if seen is not None:
            np.copyto(y, 0.0, where=~seen[..., None])
        if training:
            self._cache = (q, v, k), len(given), kept, p, noise, seen
        return (y, left) if return_attention_scores else y

    def _noise(self, p: Array) -> Array | None:
        """What dropout keeps of p."""
        if not self.draws:
            return None
        if self.rng is None:
            self.rng = generator(self.seed)
        kept = kept_of(p.shape, self.dropout, int(self.rng.integers(2**63)))
        return to_device(kept, self.device)  # type: ignore[no-any-return]

    def _scores(self, q: Array, k: Array) -> tuple[Array, Any]:
        """The scores, a new array, and what their way back needs."""
        scale = self.params.get("scale")
        if self.score_mode == "concat":
            return additive_scores(self._ops, q, k, scale, self.params["concat_score_weight"])
        scores = q @ np.swapaxes(k, 1, 2)
        if scale is not None:
            scores *= scale
        return scores, None

    def _scores_backward(
        self, ds: Array, q: Array, k: Array, kept: Any
    ) -> tuple[Array, Array, dict[str, Any]]:
        """(dq, dk, gradients of the weights)."""
        scale = self.params.get("scale")
        if self.score_mode == "concat":
            w = self.params["concat_score_weight"]
            dq, dk, da, dw = additive_scores_backward(self._ops, ds, q, k, scale, w, kept)
            return dq, dk, {"scale": da, "concat_score_weight": dw}
        dq, da = ds @ k, None
        if scale is not None:
            da = an_array(np.sum(dq * q, dtype=np.float64)).astype(ds.dtype)
            dq *= scale
            ds = ds * scale
        return dq, np.swapaxes(ds, 1, 2) @ q, {"scale": da}

    def backward(self, dy: Any, need_dx: bool = True, *, dscores: Array | None = None) -> Any:
        """Fill `grads` and return the gradients of x, a list as long. See `Layer.backward`.

        dscores : gradient of the softmax, of `return_attention_scores`.
        """
        (q, v, k), count, kept, p, noise, seen = self._cached()
        dy = float_like("dy", self._placed("dy", dy), np.dtype(self.dtype))
        check_shape("dy", dy.shape, (*q.shape[:2], v.shape[2]))
        if dscores is not None:
            check_shape("dscores", float_like("dscores", dscores, p.dtype).shape, p.shape)
        if seen is not None:
            dy = np.where(seen[..., None], dy, dy.dtype.type(0))
        dp = dy @ np.swapaxes(v, 1, 2)
        if dscores is not None:
            dp += dscores
        if noise is not None:
            dp = dropped(dp, noise, self.dropout)
        left = p if noise is None else dropped(p, noise, self.dropout)
        dv = np.swapaxes(left, 1, 2) @ dy
        ds = weights_backward(self._ops, p, dp)
        dq, dk, grads = self._scores_backward(ds, q, k, kept)
        self._cache = None
        self.grads = {name: grads[name] for name in self.params}
        if not need_dx:
            return None
        return [dq, dv, dk] if count == 3 else [dq, dv + dk]

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return None if mask is None else mask[0]


class AdditiveAttention(Attention):
    """As `Attention`, with the scores Σ_d scale_d tanh(query_d + key_d).

    Parameters
    ----------
    use_scale : bool
        Is there a weight `scale (D,)`? Else it is one.
    dropout : float
        In [0, 1): of the softmax, in training.
    seed : int, optional
        Of the initial weight and, without a Model, of what is dropped; else both come from the
        Model's generator, or from chance.
    name : str, optional

    Notes
    -----
    Source: Bahdanau, Cho and Bengio 2015.
    """

    def __init__(
        self,
        use_scale: bool = True,
        dropout: float = 0.0,
        *,
        seed: int | None = None,
        name: str | None = None,
    ):
        super().__init__(use_scale, "dot", dropout, seed, name=name)

    def weight_shapes(self, input_shape: Any) -> dict[str, tuple[int, ...]]:
        return {"scale": (features_of(input_shape[0]),)} if self.use_scale else {}

    def _initial(self, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return initializers.get("glorot_uniform")(shape, rng)

    def output_shape(self, input_shape: Any) -> Shape:
        found = super().output_shape(input_shape)
        if self.built and self.use_scale:
            agrees("query", input_shape[0], ("B", "Tq", self.params["scale"].shape[0]))
        return found

    def _scores(self, q: Array, k: Array) -> tuple[Array, Any]:
        return additive_scores(self._ops, q, k, None, self.params.get("scale", 1.0))

    def _scores_backward(
        self, ds: Array, q: Array, k: Array, kept: Any
    ) -> tuple[Array, Array, dict[str, Any]]:
        w = self.params.get("scale", 1.0)
        dq, dk, _, dw = additive_scores_backward(self._ops, ds, q, k, None, w, kept)
        return dq, dk, {"scale": dw}


def _listed(name: str, given: Any) -> list[Any]:
    found = in_a_list(name, given) if isinstance(given, (list, tuple)) else []
    if len(found) not in (2, 3):
        raise ValueError(f"{name}: expected a list [query, value] or [query, value, key], got "
                         f"{shown(given) if not found else f'{len(found)} of them'}")  # fmt: skip
    return found


def named_inputs(x: Any) -> list[tuple[str, Any]]:
    return list(zip(NAMES, _listed("x", x), strict=False))


def three(name: str, given: Any) -> tuple[Any, Any, Any]:
    """(query, value, key) of a list of two or three: the key is the value if it is left out."""
    query, value, *key = _listed(name, given)
    return query, value, key[0] if key else value


def agrees(name: str, found: Shape, expected: Sequence[int | str | None]) -> None:
    """Raise ValueError unless these sizes are the same, where both are known."""
    sizes = [*found, *expected]  # long enough, whatever was given
    wanted = [
        "n" if want is None or (size is None and not isinstance(want, str)) else want
        for want, size in zip(expected, sizes, strict=False)
    ]
    check_shape(name, found, wanted)


def _checked_masks(
    mask: Any, of_query: tuple[int, ...], of_value: tuple[int, ...]
) -> tuple[Array | None, Array | None]:
    if mask is None:
        return None, None
    if not isinstance(mask, (list, tuple)) or len(mask) not in (2, 3):
        raise ValueError(f"mask: expected a list [query_mask, value_mask], got {shown(mask)}")
    pairs = zip(("query_mask", "value_mask"), mask[:2], (of_query, of_value), strict=True)
    seen, counted = (checked_mask(name, one, shape) for name, one, shape in pairs)
    return seen, counted


def checked_mask(name: str, mask: Any, shape: tuple[int, ...]) -> Array | None:
    if mask is None:
        return None
    mask = an_array(mask)
    check_shape(name, mask.shape, shape)
    if mask.dtype != np.bool_:
        raise ValueError(f"{name}: expected an array of bool, got dtype {mask.dtype}")
    return mask

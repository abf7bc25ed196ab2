"""MultiHeadAttention: several attentions side by side, each in a projection of its own."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from .. import constraints, initializers, regularizers
from ..arguments import Array, Shape, check_shape, choice, flag, integer, number, shown
from ..ops.attention import weights, weights_backward
from ..ops.dispatch import float_like
from ..ops.noise import dropped, kept_of
from ..seeding import generator
from .attention import agrees, checked_mask, named_inputs, three
from .base import Layer

__all__ = ["MultiHeadAttention"]

PARTS = ("query", "key", "value", "output")
FAR = -1e9  # the score of what a mask leaves out: its share is zero


class MultiHeadAttention(Layer):
    """`num_heads` attentions, side by side, of projections of queries, keys and values.

    Each head is softmax(q · k / √key_dim) · v; all together are projected to the output. It is
    called as Keras's, `layer(query, value)` or `layer(query, value, key)`, with query (B, Tq, D),
    value (B, Tv, V) and key (B, Tv, K), which is the value where it is left out; a list of them
    does as well. The output is (B, Tq, output_shape), by default of the size of the query.

    Parameters
    ----------
    num_heads, key_dim : int
    value_dim : int, optional
        Of the values of a head; by default `key_dim`.
    dropout : float
        In [0, 1): of the softmax, in training.
    use_bias : bool
    output_shape : int, optional
    kernel_initializer, bias_initializer : str or Initializer
        Of all four projections, as what follows.
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    seed : int, optional
        Of the initial weights and, without a Model, of what is dropped.
    name : str, optional

    Notes
    -----
    Source: Vaswani et al. 2017, section 3.2. A query that sees no value at all has the mean of all
    values; with dropout, or where scores are returned, zeros, as in Keras.
    """

    takes_list = takes_mask = supports_masking = True
    roles: ClassVar = {f"{part}_{kind}": kind for part in PARTS for kind in ("kernel", "bias")}

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        seed: int | None = None,
        *,
        name: str | None = None,
    ):
        super().__init__(name, seed)
        self.num_heads = integer("num_heads", num_heads, 1)
        self.key_dim = integer("key_dim", key_dim, 1)
        self.value_dim = self.key_dim if value_dim is None else integer("value_dim", value_dim, 1)
        self.dropout = number("dropout", dropout, 0.0, 1.0)
        if self.dropout == 1.0:
            raise ValueError(f"dropout: expected less than 1, got {shown(dropout)}")
        self.draws = self.dropout > 0
        self.use_bias = flag("use_bias", use_bias)
        listed = isinstance(output_shape, (list, tuple)) and len(output_shape) == 1
        size = output_shape[0] if listed else output_shape
        self.units = None if size is None else integer("output_shape", size, 1)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, "kernel_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, "bias_regularizer")
        self.kernel_constraint = constraints.get(kernel_constraint, "kernel_constraint")
        self.bias_constraint = constraints.get(bias_constraint, "bias_constraint")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_shape": self.units}

    # Shapes.

    def weight_shapes(self, input_shape: Any) -> dict[str, tuple[int, ...]]:
        query, value, key = three("input_shape", input_shape)
        sizes = {"query": query[-1], "key": key[-1], "value": value[-1]}
        for name, size in sizes.items():
            if size is None:
                raise ValueError(f"{name}: expected a last axis of known size, got {None}")
        heads, units = self.num_heads, self.units or query[-1]
        shapes: dict[str, tuple[int, ...]] = {}
        for part in PARTS:
            width = self.value_dim if part in ("value", "output") else self.key_dim
            out = part == "output"
            shapes[f"{part}_kernel"] = (heads, width, units) if out else (sizes[part], heads, width)
            if self.use_bias:
                shapes[f"{part}_bias"] = (units,) if out else (heads, width)
        return shapes

    def output_shape(self, input_shape: Any) -> Shape:
        query, value, key = three("input_shape", input_shape)
        check_shape("query", query, ("B", "Tq", "D"))
        batch, steps, size = query
        agrees("value", value, (batch, "Tv", "V"))
        agrees("key", key, (batch, value[1], "K"))
        if self.built:
            for name, one in (("query", query), ("value", value), ("key", key)):
                agrees(name, one, ("B", "T", self.params[f"{name}_kernel"].shape[0]))
        return (batch, steps, self.units or size)

    def _inputs(self, x: Any) -> list[tuple[str, Any]]:
        return named_inputs(x)

    def output_shapes(self, input_shape: Any, **constants: Any) -> list[Shape]:
        y = self.output_shape(input_shape)
        scores = (y[0], self.num_heads, y[1], input_shape[1][1])
        return [y, scores] if constants.get("return_attention_scores") else [y]

    def outputs_of(self, **constants: Any) -> int:
        return 2 if constants.get("return_attention_scores") else 1

    def check_constant(self, name: str, value: Any) -> None:
        choice("argument", name, ("return_attention_scores", "training", "use_causal_mask"))
        flag(name, value)

    # Forward and back.

    def __call__(  # type: ignore[override]
        self, query: Any, value: Any = None, key: Any = None, **arguments: Any
    ) -> Any:
        """Return the output for query, value and perhaps key: see `forward` for what may follow."""
        if isinstance(query, (list, tuple)):
            if value is not None or key is not None:
                raise ValueError("value: expected none after a list of all inputs, got one")
            return super().__call__(query, **arguments)
        given = [one for one in (query, value, key) if one is not None]
        return super().__call__(given, **arguments)

    def forward(
        self,
        x: Any,
        training: bool = False,
        *,
        mask: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return (B, Tq, output_shape), of the layer's dtype.

        Parameters
        ----------
        x : list of two or three arrays
        training : bool
            Drop out, and keep what one `backward` needs.
        mask : list of bool (B, Tq), (B, Tv) and perhaps (B, Tv), each of them or all None
            Queries, values and keys that count.
        query_mask, value_mask, key_mask : bool, optional
            The same, one by one.
        attention_mask : bool (B, Tq, Tv) or (B, heads, Tq, Tv), optional
            Which query sees which value. Sizes of 1 do for all.
        return_attention_scores : bool
            Return (output, softmax (B, heads, Tq, Tv)).
        use_causal_mask : bool
            Query i sees the values up to the i-th.
        """
        self._check_built()
        dtype = np.dtype(self.dtype)
        given = [float_like(name, self._as_floats(one), dtype) for name, one in named_inputs(x)]
        self.output_shape([one.shape for one in given])
        inputs = dict(zip(("query", "value", "key"), three("x", given), strict=True))
        masks = _masks_of(mask, (query_mask, value_mask, key_mask))
        q, k, v = (self._heads(part, inputs[part]) for part in PARTS[:3])
        shape = (len(q), self.num_heads, q.shape[2], k.shape[2])
        seen = _seen(inputs, masks, attention_mask, use_causal_mask, shape)
        with_zeros = self.draws or return_attention_scores
        p = self._softmax(q, k, seen, with_zeros)
        noise = self._noise(p.shape) if training and self.draws else None
        left = p if noise is None else dropped(p, noise, self.dropout)
        inner = np.ascontiguousarray((left @ v).swapaxes(1, 2))
        y = self._project("output", inner.reshape(-1, inner.shape[2] * inner.shape[3]))
        if training:
            self._cache = inputs, len(given), (q, k, v), (p, seen, noise), inner
        y = y.reshape(len(q), q.shape[2], -1)
        return (y, p) if return_attention_scores else y

    def _matrix(self, part: str) -> Array:
        """Return the kernel of a projection as a matrix."""
        kernel = self.params[f"{part}_kernel"]
        return (
            kernel.reshape(-1, kernel.shape[2])
            if part == "output"
            else kernel.reshape(len(kernel), -1)
        )

    def _project(self, part: str, rows: Array) -> Array:
        bias = self.params.get(f"{part}_bias")
        flat = None if bias is None else bias.reshape(-1)
        y: Array = self._ops.dense_forward(rows, self._matrix(part), flat)
        return y

    def _heads(self, part: str, x: Array) -> Array:
        """Return the projection of x as (B, heads, T, size)."""
        y = self._project(part, np.ascontiguousarray(x).reshape(-1, x.shape[2]))
        return y.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)

    def _softmax(self, q: Array, k: Array, seen: Array | None, with_zeros: bool) -> Array:
        """Return the shares (B, heads, Tq, Tv)."""
        scores = q @ k.swapaxes(2, 3)
        scores *= scores.dtype.type(1 / math.sqrt(self.key_dim))
        if seen is not None:
            scores = np.where(seen, scores, scores.dtype.type(FAR))
        p = weights(self._ops, scores)
        return p if seen is None or not with_zeros else np.where(seen, p, p.dtype.type(0))

    def _noise(self, shape: tuple[int, ...]) -> Array:
        if self.rng is None:
            self.rng = generator(self.seed)
        return kept_of(shape, self.dropout, int(self.rng.integers(2**63)))

    def backward_of(self, gradients: list[Any], need_dx: bool = True) -> Any:
        dy, dscores = gradients
        if dy is None:
            inputs, _, (q, _, _), *_ = self._cached()
            dy = np.zeros((*inputs["query"].shape[:2], self._matrix("output").shape[1]), q.dtype)
        return self.backward(dy, need_dx, dscores=dscores)

    def backward(self, dy: Any, need_dx: bool = True, *, dscores: Array | None = None) -> Any:
        """Fill `grads` and return the gradients of x, a list as long. See `Layer.backward`.

        dscores : gradient of the softmax, of `return_attention_scores`.
        """
        inputs, count, (q, k, v), (p, seen, noise), inner = self._cached()
        dy = float_like("dy", self._placed("dy", dy), np.dtype(self.dtype))
        check_shape("dy", dy.shape, (*inner.shape[:2], self._matrix("output").shape[1]))
        if dscores is not None:
            check_shape("dscores", float_like("dscores", dscores, p.dtype).shape, p.shape)
        grads: dict[str, Array] = {}
        d_inner = self._project_back("output", inner, dy, grads).swapaxes(1, 2)
        left = p if noise is None else dropped(p, noise, self.dropout)
        dp = d_inner @ v.swapaxes(2, 3)
        dp = dp if noise is None else dropped(dp, noise, self.dropout)
        if dscores is not None:
            dp += dscores
        ds = weights_backward(self._ops, p, dp)
        if seen is not None:
            ds = np.where(seen, ds, ds.dtype.type(0))
        ds *= ds.dtype.type(1 / math.sqrt(self.key_dim))
        heads = {
            "query": ds @ k,
            "key": ds.swapaxes(2, 3) @ q,
            "value": left.swapaxes(2, 3) @ d_inner,
        }
        found = {
            part: self._project_back(part, inputs[part], of.swapaxes(1, 2), grads)
            for part, of in heads.items()
        }
        self._cache = None
        self.grads = {name: grads[name] for name in self.params}
        if not need_dx:
            return None
        dq, dv, dk = found["query"], found["value"], found["key"]
        return [dq, dv, dk] if count == 3 else [dq, dv + dk]

    def _project_back(self, part: str, x: Array, dz: Array, grads: dict[str, Array]) -> Array:
        """Add the gradients of a projection to `grads`; return that of what it got."""
        kernel, W = self.params[f"{part}_kernel"], self._matrix(part)
        rows = np.ascontiguousarray(x).reshape(-1, len(W))
        dz = np.ascontiguousarray(dz).reshape(len(rows), -1)
        dx, d_kernel, d_bias = self._ops.dense_backward(rows, W, dz)
        grads[f"{part}_kernel"] = d_kernel.reshape(kernel.shape)
        if self.use_bias:
            grads[f"{part}_bias"] = d_bias.reshape(self.params[f"{part}_bias"].shape)
        found: Array = dx.reshape(x.shape)
        return found

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return None if mask is None else mask[0]


def _masks_of(mask: Any, each: tuple[Any, ...]) -> list[Any]:
    """Return the masks of query, value and key: those that came with them, or those told."""
    if mask is not None and (not isinstance(mask, (list, tuple)) or len(mask) not in (2, 3)):
        raise ValueError(f"mask: expected a list [query_mask, value_mask], got {shown(mask)}")
    came = [*(mask or ()), None, None, None]
    return [other if told is None else told for told, other in zip(each, came, strict=False)]


def _seen(
    inputs: dict[str, Array], masks: list[Any], attention_mask: Any, causal: bool, shape: Shape
) -> Array | None:
    """Return which query sees which value, to broadcast to (B, heads, Tq, Tv); None: each all."""
    places = {"query": np.s_[:, None, :, None], "value": np.s_[:, None, None, :]}
    parts = []
    for (name, x), mask in zip(inputs.items(), masks, strict=True):
        found = checked_mask(f"{name}_mask", mask, x.shape[:2])
        if found is not None:
            parts.append(found[places.get(name, places["value"])])
    if attention_mask is not None:
        parts.append(_of_pairs(attention_mask, shape))
    if flag("use_causal_mask", causal):
        parts.append(np.tri(shape[2] or 0, shape[3], dtype=np.bool_)[None, None])
    seen = parts[0] if parts else None
    for part in parts[1:]:
        seen = seen & part
    return seen


def _of_pairs(mask: Any, shape: Shape) -> Array:
    """Return an attention mask with an axis for heads; ValueError for one that does not fit."""
    found = np.asarray(mask)
    wide = found[:, None] if found.ndim == 3 else found
    fits = wide.ndim == 4 and all(
        size in (1, want) for size, want in zip(wide.shape, shape, strict=True)
    )
    if not fits or found.dtype.kind not in "biu":
        expected = f"bool of shape {(shape[0], *shape[2:])} or {shape}"
        raise ValueError(f"attention_mask: expected {expected}, got {found.shape} of {found.dtype}")
    return np.asarray(wide != 0)

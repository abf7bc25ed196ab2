"""LSTM layers for serving: weights packed once, the state kept inside."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from ..arguments import Array, check_shape, integer
from . import foreign
from .checks import dense, float_array, new, not_empty, precision_of, row_numbers, writable
from .keys import keys_of_cell, keys_of_noise, keys_of_precision
from .options import PLAIN, QUIET, CellOptions, Noise
from .weights import is_stack, layer_of, weights_of

__all__ = ["LSTMStream"]


class LSTMStream:
    """LSTM layers with their weights packed once: for serving, step by step or piece by piece.

    Arrays may be of any library in the host's memory (see `ops`): outputs are of the kind of x,
    `state` of the kind of the weights.

    Parameters
    ----------
    W_ih, W_hh, b : (4H, I), (4H, H), (4H,), or sequences of them, one for each layer; copied, so
        later changes do not reach the stream.
    batch_size : the number of independent streams, B.
    p, W_hr, norm, options, noise : as for `lstm_forward`; of the noise zoneout alone has a part in
        inference.
    W_static, x_static : (4H, S), (B, S): static inputs, as for `lstm_forward`; see `set_static`.
    precision : as for `lstm_forward`.

    Not to be stepped from two threads at once; distinct streams may be. A copy (`copy.copy`, as
    `copy.deepcopy` and pickle) has weights and a state of its own, and goes on from there.
    """

    def __init__(
        self,
        W_ih: Any,
        W_hh: Any,
        b: Any = None,
        batch_size: int = 1,
        *,
        p: Any = None,
        W_hr: Any = None,
        norm: Any = None,
        options: CellOptions = PLAIN,
        noise: Noise = QUIET,
        W_static: Any = None,
        x_static: Array | None = None,
        precision: str | None = None,
    ):
        B = integer("batch_size", batch_size, 1)
        self._weights_like = foreign.like(W_ih)
        given = {"W_ih": W_ih, "W_hh": W_hh, "b": b, "p": p, "W_hr": W_hr, "norm": norm,
                 "W_static": W_static}  # fmt: skip
        if foreign.is_foreign(list(given.values())):
            W_ih, W_hh, b, p, W_hr, norm, W_static = (
                foreign.adopt_all(*one) for one in given.items()
            )
        parts = weights_of(W_ih, W_hh, b, p, W_hr, norm, False, None, W_static=W_static)
        keys = keys_of_cell(options, training=False) | keys_of_noise(noise)
        keys |= keys_of_precision(precision_of(precision, parts[0].W_ih.dtype))
        layer = layer_of(parts, keys, training=False, batch_size=B, borrow=False)
        leading = (layer.parts, B) if is_stack(W_ih) else (B,)
        self._layer = layer
        self._shape_x = (B, layer.input_size)
        self._outputs = layer.output_size
        self._dtype = parts[0].W_ih.dtype
        self._h = np.zeros((*leading, layer.state_size), self._dtype)
        self._c = np.zeros((*leading, layer.hidden_size), self._dtype)
        self._shape_static = (B, parts[0].static_size)
        if x_static is not None or W_static is not None:
            self.set_static(x_static)

    def __copy__(self) -> LSTMStream:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._layer, made._h, made._c = copy(self._layer), self._h.copy(), self._c.copy()
        return made

    def step(self, x: Array, out: Array | None = None) -> Array:
        """Move one step on: x (B, I) in, h of the last layer (B, H) out.

        x may also be (I,) where B is 1. The result is a new array, or `out` (B, H) if that is
        given: then nothing is allocated.

        Raises
        ------
        ValueError
            A shape or dtype does not fit; the state is as it was.
        """
        B, I = self._shape_x
        if not self._layer.step(B, x, self._h, self._c, out):
            if foreign.is_foreign([x, out]):
                return foreign.lend(self.step, ("x", "out"), x, (x, out), {}, ("out",))
            if B == 1 and getattr(x, "shape", None) == (I,):
                x = x.reshape(1, I)
            x = dense("x", x, self._shape_x, self._dtype)
            if out is not None:
                writable("out", out, (B, self._outputs), self._dtype)
            if not self._layer.step(B, x, self._h, self._c, out):
                raise ValueError(f"x: expected an array that can be read in place, got {x.dtype!r}")
        if out is not None:
            return out
        h = (self._h if self._h.ndim == 2 else self._h[-1]).copy()
        return h if isinstance(x, np.ndarray) else foreign.as_like(x, h)

    def forward(self, x: Array, out: Array | None = None) -> Array:
        """Move T steps on: x (T, B, I) in, h of every step (T, B, H) out.

        x is copied only if it is not C-contiguous. The result is a new array, or `out` (T, B, H) if
        that is given, which may not overlap x.

        Raises
        ------
        ValueError
            A shape or dtype does not fit; the state is as it was. So it is after KeyboardInterrupt,
            but `out` may hold some steps then.
        """
        B = self._shape_x[0]
        if out is not None and self._layer.run(B, x, self._h, self._c, out):
            return out
        native = isinstance(x, np.ndarray) and out is None
        if not native and foreign.is_foreign([x, out]):
            return foreign.lend(self.forward, ("x", "out"), x, (x, out), {}, ("out",))
        float_array("x", x, self._dtype)
        check_shape("x", x.shape, ("T", *self._shape_x))
        not_empty("x", x)
        shape = (x.shape[0], B, self._outputs)
        y = new(shape, x.dtype) if out is None else writable("out", out, shape, x.dtype)
        if not self._layer.run(B, np.require(x, requirements=["C", "A"]), self._h, self._c, y):
            raise ValueError(f"x: expected an array that can be read in place, got {x.dtype!r}")
        return y

    def reset(self, rows: Any = None) -> None:
        """Set the state to zeros, or that of some rows: indices (n,) or bool (B,).

        Raises
        ------
        ValueError
            rows does not fit; the state is as it was.
        """
        if rows is None:
            return self._layer.reset()
        chosen = row_numbers("rows", foreign.adopt_all("rows", rows), self._shape_x[0])
        self._layer.clear_if_fresh(self._h, self._c)
        self._h[..., chosen, :] = 0
        self._c[..., chosen, :] = 0

    def set_static(self, x_static: Any) -> None:
        """Set the static inputs (B, S) of the steps to come; a copy is kept.

        Raises
        ------
        ValueError
            The stream has no W_static, or x_static does not fit: what was set stays.
        """
        if self._shape_static[1] == 0:
            raise ValueError("x_static: expected None without W_static, got one")
        adopted = foreign.adopt_all("x_static", x_static)
        taken = dense("x_static", adopted, self._shape_static, self._dtype)
        self._layer.set_static(taken.copy() if taken is adopted else taken)

    @property
    def state(self) -> tuple[Array, Array]:
        """(h, c), each (B, H), of a stack (layers, B, H): copies."""
        self._layer.clear_if_fresh(self._h, self._c)
        h, c, give = self._h.copy(), self._c.copy(), self._weights_like
        return (h, c) if give is None else (give(h), give(c))

    def set_state(self, h: Array, c: Array) -> None:
        """Set (h, c), shaped as `state`; ValueError leaves the state as it was."""
        if not (isinstance(h, np.ndarray) and isinstance(c, np.ndarray)):
            h, c = foreign.adopt_all("h", h), foreign.adopt_all("c", c)
        h = dense("h", h, self._h.shape, self._dtype)
        c = dense("c", c, self._c.shape, self._dtype)
        self._layer.clear_if_fresh(self._h, self._c)
        self._h[...] = h
        self._c[...] = c

"""LSTM layers for inference on whole sequences: weights packed once, no state inside."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..arguments import Array, flag
from . import checks, foreign
from .call import call_on, static_of
from .keys import keys_of_cell, keys_of_noise, keys_of_precision, order_keys
from .lstm import forward_rooms
from .options import PLAIN, QUIET, CellOptions, Noise
from .weights import is_stack, layer_of, weights_of

__all__ = ["PreparedLSTM"]


NATIVE = (np.ndarray, type(None))


class PreparedLSTM:
    """LSTM layers with their weights packed once: what `lstm_forward` does for each call anew.

    Parameters
    ----------
    W_ih, W_hh, b : (4H, I), (4H, H), (4H,), or sequences of them, as for `lstm_forward`; copied, so
        later changes do not reach it.
    p, W_hr, norm, options, noise, bidirectional, pad, reverse, W_static, precision : as for
        `lstm_forward`; of the noise zoneout alone has a part in inference.
    variable_lengths : calls may have `lengths` or a `mask`. (`unlike` is its earlier name.)

    May be run from several threads at once. `copy.copy` shares the packed weights, `copy.deepcopy`
    and pickle pack them again, for the processor that it is then. Arrays may be of any library on
    the host (see `ops`): outputs are of the kind of x.
    """

    def __init__(
        self,
        W_ih: Any,
        W_hh: Any,
        b: Any = None,
        *,
        p: Any = None,
        W_hr: Any = None,
        norm: Any = None,
        options: CellOptions = PLAIN,
        noise: Noise = QUIET,
        bidirectional: bool = False,
        variable_lengths: bool = False,
        pad: str = "zeros",
        reverse: bool = False,
        unlike: bool | None = None,
        W_static: Any = None,
        precision: str | None = None,
    ):
        given = {"W_ih": W_ih, "W_hh": W_hh, "b": b, "p": p, "W_hr": W_hr, "norm": norm,
                 "W_static": W_static}  # fmt: skip
        if foreign.is_foreign(list(given.values())):
            W_ih, W_hh, b, p, W_hr, norm, W_static = (
                foreign.adopt_all(*one) for one in given.items()
            )
        both = flag("bidirectional", bidirectional)
        keys = keys_of_cell(options, training=False) | keys_of_noise(noise)
        if unlike is not None:
            text = "PreparedLSTM(unlike=) is called variable_lengths now"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            variable_lengths = unlike
        ragged = flag("variable_lengths", variable_lengths)
        keys |= order_keys(ragged, pad, reverse, both) | {"resets": 1.0}
        parts = weights_of(W_ih, W_hh, b, p, W_hr, norm, both, None, W_static=W_static)
        keys |= keys_of_precision(checks.precision_of(precision, parts[0].W_ih.dtype))
        self._static_size = parts[0].static_size
        self._layer = layer_of(parts, keys, training=False, batch_size=1, borrow=False)
        self._dtype, self._stacked = parts[0].W_ih.dtype, is_stack(W_ih)
        self._ragged = ragged

    def forward(
        self,
        x: Array,
        h0: Array | None = None,
        c0: Array | None = None,
        *,
        lengths: Any = None,
        mask: Array | None = None,
        batch_first: bool = False,
        return_sequences: bool = True,
        resets: Array | None = None,
        reset_h: Array | None = None,
        reset_c: Array | None = None,
        x_static: Array | None = None,
    ) -> tuple[Array | None, tuple[Array, Array]]:
        """Return y and (h_n, c_n), as `lstm_forward` does for the same arguments.

        Raises
        ------
        ValueError
            A shape or dtype does not fit, or there are lengths without `variable_lengths`.
        """
        native = isinstance(x, NATIVE) and isinstance(h0, NATIVE) and isinstance(c0, NATIVE)
        if not native and foreign.is_foreign([x, h0, c0]):
            others = {"lengths": lengths, "mask": mask, "batch_first": batch_first,
                      "return_sequences": return_sequences, "resets": resets, "reset_h": reset_h,
                      "reset_c": reset_c, "x_static": x_static}  # fmt: skip
            return foreign.lend(self.forward, ("x", "h0", "c0"), x, (x, h0, c0), others)  # type: ignore[no-any-return]
        if not self._ragged and (lengths is not None or mask is not None):
            raise ValueError("lengths, mask: expected None without variable_lengths=True, got some")
        own = (resets, reset_h, reset_c, x_static)
        if any(one is not None for one in own):
            names = ("resets", "reset_h", "reset_c", "x_static")
            resets, reset_h, reset_c, x_static = map(foreign.adopt_all, names, own)
        layer = self._layer
        call = call_on(checks, layer, self._stacked, self._dtype, x, h0, c0, lengths, mask,
                       batch_first, return_sequences, resets, reset_h, reset_c)  # fmt: skip
        if x_static is not None or self._static_size:
            call.x_static = static_of(checks, x_static, self._static_size, call.B, self._dtype)
        taken, found = forward_rooms(call, layer)
        layer.forward(*taken)
        return found[0], found[1]

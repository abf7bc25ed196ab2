"""ONNX's LSTM operator (opset 22) on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import interop
from ..arguments import Array, check_shape, choice
from ..ops.checks import float_array, not_empty, whole_numbers
from ..ops.lstm import lstm_forward
from ..ops.options import CellOptions
from .activations import activations_of

__all__ = ["cell_options", "lstm"]

DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}  # how many each one is


def lstm(
    X: Array,
    W: Array,
    R: Array,
    B: Array | None = None,
    sequence_lens: Any = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    P: Array | None = None,
    *,
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Array, Array, Array]:
    """Run ONNX's LSTM operator.

    Parameters
    ----------
    X : (T, B, I), with layout 1 (B, T, I)
        float32 or float64, as all arrays but sequence_lens are then.
    W, R : (D, 4H, I), (D, 4H, H)
        Gates i, o, f, c; D is 2 for "bidirectional", else 1. They are copied, as B and P are.
    B : (D, 8H), optional
        The biases of W and of R.
    sequence_lens : (B,) integers in 0..T, optional
        Y is zero past a row's end, and so are Y_h and Y_c of a row of no steps.
    initial_h, initial_c : (D, B, H), with layout 1 (B, D, H), optional
        None: zeros.
    P : (D, 3H), optional
        Peepholes of i, o, f.
    activations : list of 3 D names, optional
        f, g, h of each direction, in any case; None: Sigmoid, Tanh, Tanh.
    activation_alpha, activation_beta : list of float, optional
        For those of them that have such a parameter, in order.
    clip : float, optional
        > 0: limit of the pre-activations.
    direction : {"forward", "reverse", "bidirectional"}
        With "reverse" Y stays in X's order.
    hidden_size : int, optional
        H.
    input_forget : {0, 1}
        1: the forget gate is 1 - i.
    layout : {0, 1}
        1: the batch is the first axis.

    Returns
    -------
    Y : (T, D, B, H), with layout 1 (B, T, D, H)
        Not always contiguous.
    Y_h, Y_c : (D, B, H), with layout 1 (B, D, H)

    Raises
    ------
    ValueError
        A shape, a dtype or an attribute does not fit; the text names it.

    Notes
    -----
    The text of the standard lets `clip` act on what h sees of the cell, too. ONNX Runtime does not,
    nor does this.
    """
    batch_first = bool(choice("layout", layout, (0, 1)))
    D = DIRECTIONS[choice("direction", direction, DIRECTIONS)]
    chosen = cell_options(D, activations, activation_alpha, activation_beta, clip, input_forget)
    parts = _parts(D, X, W, R, B, P)
    H, I = parts[0]["W_hh"].shape[1], parts[0]["W_ih"].shape[1]
    check_shape("X", X.shape, ("B", "T", I) if batch_first else ("T", "B", I))
    if hidden_size is not None and hidden_size != H:
        raise ValueError(f"hidden_size: expected {H}, the last axis of R, got {hidden_size!r}")
    rows, steps = X.shape[:2] if batch_first else X.shape[1::-1]
    lengths = _lengths(sequence_lens, rows, steps)
    h0 = _state("initial_h", initial_h, (D, rows, H), X.dtype, batch_first)
    c0 = _state("initial_c", initial_c, (D, rows, H), X.dtype, batch_first)

    alike = all(options == chosen[0] for options in chosen)
    runs = [
        _run(
            X, parts[at], chosen[at.start], h0 if h0 is None else h0[at],
            c0 if c0 is None else c0[at], lengths, direction == "reverse" or at.start == 1,
            batch_first,
        )
        for at in ([slice(0, D)] if alike else [slice(0, 1), slice(1, 2)])
    ]  # fmt: skip
    Y, Y_h, Y_c = runs[0] if alike else _joined(runs)
    if lengths is not None:
        Y_h[:, lengths == 0] = Y_c[:, lengths == 0] = 0
    if batch_first:
        return Y, Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
    return Y.swapaxes(1, 2), Y_h, Y_c


def _run(
    X: Array, parts: list[dict[str, Array]], options: CellOptions, h0: Array | None,
    c0: Array | None, lengths: Array | None, reverse: bool, batch_first: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """One call for parts with the same options: Y with the directions third, Y_h, Y_c."""
    weights: dict[str, Any] = {key: [part[key] for part in parts] for key in parts[0]}
    y, (h_n, c_n), _ = lstm_forward(
        X, **weights, h0=h0, c0=c0, options=options, bidirectional=len(parts) == 2,
        lengths=lengths, reverse=reverse, batch_first=batch_first,
    )  # fmt: skip
    return y.reshape(*X.shape[:2], len(parts), -1), h_n, c_n


def _joined(runs: list[tuple[Array, Array, Array]]) -> list[Array]:
    """What two calls, one for each direction, gave."""
    pairs = zip(zip(*runs, strict=True), (2, 0, 0), strict=True)
    return [np.concatenate(pair, axis) for pair, axis in pairs]


def cell_options(
    D: int, names: Any, alphas: Any, betas: Any, clip: Any, input_forget: Any
) -> list[CellOptions]:
    """Return what the attributes make of the cell of each direction; ValueError for a bad one."""
    coupled = bool(choice("input_forget", input_forget, (0, 1)))
    chosen = activations_of(names, alphas, betas, ("Sigmoid", "Tanh", "Tanh") * D)
    triples = (chosen[3 * d : 3 * d + 3] for d in range(D))
    return [CellOptions(g, f, h, coupled=coupled, clip=clip) for f, g, h in triples]


def _parts(D: int, X: Any, W: Any, R: Any, B: Any, P: Any) -> list[dict[str, Array]]:
    dtype = float_array("X", X).dtype
    not_empty("X", X)
    for name, value in {"W": W, "R": R, "B": B, "P": P}.items():
        if value is not None or name in "WR":
            float_array(name, value, dtype)
    check_shape("W", W.shape, (D, "4H", "I"))
    return interop.from_onnx(W, R, B, P)


def _lengths(sequence_lens: Any, rows: int, steps: int) -> Array | None:
    if sequence_lens is None:
        return None
    lengths = whole_numbers("sequence_lens", sequence_lens, steps + 1)
    check_shape("sequence_lens", lengths.shape, (rows,))
    return lengths


def _state(
    name: str, value: Any, shape: tuple[int, int, int], dtype: Any, batch_first: bool
) -> Array | None:
    """A state with its directions first."""
    if value is None:
        return None
    D, rows, H = shape
    array = float_array(name, value, dtype)
    check_shape(name, array.shape, (rows, D, H) if batch_first else shape)
    return array.swapaxes(0, 1) if batch_first else array

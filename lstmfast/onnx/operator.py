"""ONNX's LSTM operator (opset 22) on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ..arguments import Array, check_shape, choice
from ..ops.checks import float_array, not_empty, whole_numbers
from ..ops.options import CellOptions
from .activations import activations_of
from .kept import Form, layer_for

__all__ = ["cell_options", "lstm"]

DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}  # how many each one is
USUAL = ("Sigmoid", "Tanh", "Tanh")


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
        Gates i, o, f, c; D is 2 for "bidirectional", else 1. They are copied, as B and P are, and
        from the second call with the same arrays on kept packed, for as long as W is there.
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
    dtype = float_array("X", X).dtype
    not_empty("X", X)
    layer = layer_for(Form(chosen, direction), dtype, (W, R, B, P), sequence_lens is not None)
    H, I = layer.H, layer.I
    if X.ndim != 3 or X.shape[2] != I:
        check_shape("X", X.shape, ("B", "T", I) if batch_first else ("T", "B", I))
    if hidden_size is not None and hidden_size != H:
        raise ValueError(f"hidden_size: expected {H}, the last axis of R, got {hidden_size!r}")
    rows, steps = X.shape[:2] if batch_first else X.shape[1::-1]
    lengths = _lengths(sequence_lens, rows, steps)
    h0 = _state("initial_h", initial_h, (D, rows, H), dtype, batch_first)
    c0 = _state("initial_c", initial_c, (D, rows, H), dtype, batch_first)

    Y, Y_h, Y_c = layer.forward(X, h0, c0, lengths, batch_first)
    if lengths is not None:
        Y_h[:, lengths == 0] = Y_c[:, lengths == 0] = 0
    if batch_first:
        return Y, Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
    return Y.swapaxes(1, 2), Y_h, Y_c


def cell_options(
    D: int, names: Any, alphas: Any, betas: Any, clip: Any, input_forget: Any
) -> tuple[CellOptions, ...]:
    """Return what the attributes make of the cell of each direction; ValueError for a bad one."""
    coupled = bool(choice("input_forget", input_forget, (0, 1)))
    if names is alphas is betas is clip is None:
        return _usual_cells(D, coupled)
    chosen = activations_of(names, alphas, betas, USUAL * D)
    triples = (chosen[3 * d : 3 * d + 3] for d in range(D))
    return tuple(CellOptions(g, f, h, coupled=coupled, clip=clip) for f, g, h in triples)


@lru_cache
def _usual_cells(D: int, coupled: bool) -> tuple[CellOptions, ...]:
    f, g, h = activations_of(None, None, None, USUAL)
    return (CellOptions(g, f, h, coupled=coupled),) * D


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

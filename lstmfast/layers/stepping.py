"""Layers step by step, for `Model.stream`: one step of (B, ...) in, one out."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from .. import capi
from ..activations import OF_INPUTS
from ..arguments import Array, check_shape
from ..ops.activations import Activation
from ..ops.activations import get as activation_of
from ..ops.checks import row_numbers

__all__ = ["Stepper", "dense_stepper", "recurrent_stepper", "same_stepper", "stepper_in_time"]


class Stepper(NamedTuple):
    """A layer with a copy of its weights and, maybe, a state.

    Attributes
    ----------
    step : callable
        Takes and returns arrays whose first axis is the batch.
    reset : callable or None
        `reset(rows)` sets the state of these rows, or of all for None, to zeros.
    """

    step: Callable[..., Any]
    reset: Callable[[Any], None] | None = None


def same_stepper(layer: Any) -> Stepper:
    """Of a layer that does to each step alone what it does to all."""
    return Stepper(deepcopy(layer).forward)


def stepper_in_time(layer: Any) -> Stepper:
    """The same of one that must be given sequences: of one step."""
    held = deepcopy(layer)
    return Stepper(lambda x: held.forward(x[:, None])[:, 0])


def dense_stepper(layer: Any, batch_size: int) -> Stepper:
    """Of a Dense layer: the product, the bias and the activation, with nothing around them."""
    params = {name: w.copy() for name, w in layer.floats_on_host().items()}
    W, b, double = params["kernel"], params.get("bias"), layer.dtype == "float64"
    (K, N), dtype, name = W.shape, W.dtype, layer.activation
    finish = _finisher(name, double, batch_size, N)

    def step(x: Array) -> Array:
        if x.shape != (batch_size, K) or x.dtype != dtype:
            check_shape("x", x.shape, (batch_size, K))
            raise ValueError(f"x: expected dtype {dtype}, got {x.dtype}")
        y = np.empty((batch_size, N), dtype)
        capi.product(int(double), batch_size, N, K, np.ascontiguousarray(x), K, W, N, 1, y, b)
        finish(y)
        return y

    return Stepper(step)


def _finisher(name: str, double: bool, rows: int, units: int) -> Callable[[Array], None]:
    """The activation of rows of sums, in place."""
    if name == "linear":
        return lambda y: None
    if name == "softmax":
        return lambda y: capi.softmax(double, rows, units, y)
    if name in OF_INPUTS:
        return lambda y: np.copyto(y, OF_INPUTS[name].forward(y))
    of: Activation = activation_of("activation", name)
    kind, alpha, beta = of.kind, of.alpha, of.beta
    return lambda y: capi.activation(double, rows * units, kind, alpha, beta, y, y)


def recurrent_stepper(layer: Any, batch_size: int) -> Stepper:
    """Of a layer that keeps its state in `initial_state`: its own forward over one step."""
    runner = deepcopy(layer)
    runner.return_state, runner.return_sequences, runner.stateful = True, False, False
    state = np.zeros((batch_size, layer.units), layer.dtype)

    def step(x: Array) -> Array:
        y, state[...] = runner.forward(x[:, None], initial_state=state.copy())
        return y

    def reset(rows: Any) -> None:
        state[slice(None) if rows is None else row_numbers("rows", rows, batch_size)] = 0

    return Stepper(step, reset)

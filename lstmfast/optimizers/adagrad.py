"""Adagrad."""

from __future__ import annotations

import math
from typing import ClassVar

from .. import ops
from ..arguments import Array, number
from .base import Optimizer
from .changes import Numbers
from .settings import Rate

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squares so far: `w -= lr·g / √(a + epsilon)`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    initial_accumulator_value : float
        Where that sum begins, >= 0.
    epsilon : float
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Duchi et al. 2011, section 1.
    """

    slot_names = ("accumulator",)
    kernel = "rmsprop"  # with a sum in place of a mean
    fields: ClassVar = {"v": "accumulator"}

    def __init__(
        self, learning_rate: Rate = 0.001, initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None,
        use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, *,
        lazy: bool = False,
    ):  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema,
            ema_momentum, ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps,
            name, lazy,
        )  # fmt: skip
        self.initial_accumulator_value = number(
            "initial_accumulator_value", initial_accumulator_value, 0.0
        )
        self.epsilon = number("epsilon", epsilon, math.ulp(0.0))

    def _first(self, name: str, w: Array) -> Array:
        value = self.initial_accumulator_value if name == "accumulator" else 0.0
        found = ops.zeros_like(w)
        found[...] = value
        return found

    def _numbers(self, rate: float) -> Numbers:
        return Numbers(rate, 1.0, 1.0, self.epsilon)

    @property
    def _is_local(self) -> bool:
        return True

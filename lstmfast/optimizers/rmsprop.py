"""RMSprop."""

from __future__ import annotations

import math
from typing import ClassVar

from ..arguments import flag, number
from .base import Optimizer
from .changes import Numbers
from .settings import Rate

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """Steps divided by the root of a moving mean of squares: `w -= lr·g / √(v + epsilon)`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    rho : float in [0, 1]
        How much of the mean each step keeps: `v = rho·v + (1 - rho)·g²`.
    momentum : float in [0, 1]
        How much of the last step is added to the next one.
    epsilon : float
    centered : bool
        Divide by the root of the variance: take the square of the mean of g from v. Where rounding
        makes it negative it is zero.
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Tieleman and Hinton 2012; centered: Graves 2013, eq. 38-45.
    """

    kernel = "rmsprop"
    fields: ClassVar = {"m": "momentum", "v": "velocity", "h": "average_gradient"}

    def __init__(
        self, learning_rate: Rate = 0.001, rho: float = 0.9, momentum: float = 0.0,
        epsilon: float = 1e-7, centered: bool = False,
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
        self.rho = number("rho", rho, 0.0, 1.0)
        self.momentum = number("momentum", momentum, 0.0, 1.0)
        self.epsilon = number("epsilon", epsilon, math.ulp(0.0))
        self.centered = flag("centered", centered)
        also = ["momentum"] * bool(self.momentum) + ["average_gradient"] * self.centered
        self._remember("velocity", *also)

    def _numbers(self, rate: float) -> Numbers:
        return Numbers(rate, self.rho, 1.0 - self.rho, self.epsilon, self.momentum)

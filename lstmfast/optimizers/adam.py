"""Adam, and what is close to it: AdamW, AMSGrad (an option of both), Nadam."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ..arguments import Array, flag, number
from .base import Optimizer
from .changes import Numbers
from .settings import Rate

__all__ = ["Adam", "AdamW", "Nadam"]

BELOW_ONE = math.nextafter(1.0, 0.0)


class Adam(Optimizer):
    """Adam; as in Keras, epsilon stands outside the bias correction.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    beta_1, beta_2 : float in [0, 1)
    epsilon : float
    amsgrad : bool
        Divide by the root of the largest second moment so far, not of the present one.
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Kingma and Ba 2015, the text under algorithm 1 ("epsilon hat"); Reddi et al. 2018.
    """

    kernel = "adam"
    fields: ClassVar = {"m": "momentum", "v": "velocity", "h": "velocity_hat"}

    def __init__(
        self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7, amsgrad: bool = False,
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
        self.beta_1 = number("beta_1", beta_1, 0.0, BELOW_ONE)
        self.beta_2 = number("beta_2", beta_2, 0.0, BELOW_ONE)
        self.epsilon = number("epsilon", epsilon, math.ulp(0.0))
        self.amsgrad = flag("amsgrad", amsgrad)
        self._remember("momentum", "velocity", *["velocity_hat"] * self.amsgrad)

    def _numbers(self, rate: float) -> Numbers:
        step = self._updates_made + 1
        size = rate * (math.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step))
        return Numbers(size, self.beta_1, self.beta_2, self.epsilon)


class AdamW(Adam):
    """`Adam` with a `weight_decay`: the decay does not go through the moments.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    weight_decay : float
    beta_1, beta_2, epsilon, amsgrad
        See `Adam`.
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Loshchilov and Hutter 2019, algorithm 2.
    """

    def __init__(
        self, learning_rate: Rate = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9,
        beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None,
        use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, *,
        lazy: bool = False,
    ):  # fmt: skip
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad,
            number("weight_decay", weight_decay, 0.0), clipnorm, clipvalue, global_clipnorm,
            use_ema, ema_momentum, ema_overwrite_frequency, loss_scale_factor,
            gradient_accumulation_steps, name, lazy=lazy,
        )  # fmt: skip


class Nadam(Adam):
    """Adam with Nesterov's momentum, whose share rises from `beta_1 / 2` to `beta_1`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    beta_1, beta_2 : float in [0, 1)
    epsilon : float
        Added to the root of the corrected second moment.
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Dozat 2016, section 3.
    """

    def __init__(
        self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None,
        use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, *,
        lazy: bool = False,
    ):  # fmt: skip
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, False, weight_decay, clipnorm, clipvalue,
            global_clipnorm, use_ema, ema_momentum, ema_overwrite_frequency, loss_scale_factor,
            gradient_accumulation_steps, name, lazy=lazy,
        )  # fmt: skip

    def _numbers(self, rate: float) -> Numbers:
        """The step, times √(1 - beta_2^t): (rate m + gain g) / (√v + epsilon)."""
        step = self._updates_made + 1
        present, following = (self._share(t) for t in (step, step + 1))
        product = self.beta_1**step * _product(min(step, LAST))
        root = math.sqrt(1.0 - self.beta_2**step)
        return Numbers(
            rate * root * following / (1.0 - product * following),
            self.beta_1,
            self.beta_2,
            self.epsilon * root,
            rate * root * (1.0 - present) / (1.0 - product),
        )

    def _share(self, step: int) -> float:
        """The share of the momentum in a step."""
        return self.beta_1 * (1.0 - 0.5 * 0.96**step)


LAST = 1000  # from there on 0.96^step adds nothing to 1


@lru_cache(1)
def _products() -> Array:
    return np.cumprod(1.0 - 0.5 * 0.96 ** np.arange(1.0, LAST + 1))


def _product(steps: int) -> float:
    """The product of all 1 - 0.96^t / 2 up to a step."""
    return float(_products()[steps - 1])

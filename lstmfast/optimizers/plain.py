"""Adadelta, Adamax and Lion: rarer optimizers, whose updates NumPy calculates.

They have no compiled kernel, so a step takes a copy of the weights and some passes over them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import Array, number
from .base import Optimizer
from .settings import Rate

__all__ = ["Adadelta", "Adamax", "Lion"]


class Plain(Optimizer):
    """What they share: the numbers of a step are checked once, and rows become dense."""

    def _set_lazy(self) -> None:
        if self.lazy:
            name = type(self).__name__
            raise ValueError(f"lazy: expected False, as {name} has no kernel for rows, got True")

    def _slots(self, index: int) -> list[Array]:
        """Return what the method remembers of a parameter, flat, in the order of the names."""
        return [self.slots[name][index].reshape(-1) for name in self.names]

    names: tuple[str, ...] = ()


class Adadelta(Plain):
    """Steps as long as those before: `w -= lr √(d + epsilon) / √(v + epsilon) g`.

    v and d are moving means of the squares of gradients and of steps.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    rho : float in [0, 1]
        How much of the means each step keeps.
    epsilon : float
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Zeiler 2012, algorithm 1.
    """

    names = slot_names = ("accumulated_grad", "accumulated_delta_var")

    def __init__(
        self, learning_rate: Rate = 0.001, rho: float = 0.95, epsilon: float = 1e-7,
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
        self._set_lazy()
        self.rho = number("rho", rho, 0.0, 1.0)
        self.epsilon = number("epsilon", epsilon, math.ulp(0.0))

    def _update(self, index: int, w: Array, g: Array) -> None:
        squares, steps = self._slots(index)
        real: Any = w.dtype.type
        rho, rest, epsilon = real(self.rho), real(1.0 - self.rho), real(self.epsilon)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            squares *= rho
            squares += rest * np.square(g)
            step = np.sqrt(steps + epsilon) * g / np.sqrt(squares + epsilon)
            steps *= rho
            steps += rest * np.square(step)
            w -= real(self.learning_rate) * step


class Adamax(Plain):
    """Adam with the largest gradient in place of the mean square: `w -= lr / (1 - beta_1ᵗ) m / u`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    beta_1, beta_2 : float in [0, 1)
        `m = beta_1 m + (1 - beta_1) g` and `u = max(beta_2 u, |g|)`.
    epsilon : float
        Added to u.
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Kingma and Ba 2015, algorithm 2.
    """

    names = slot_names = ("momentum", "norm")

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
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema,
            ema_momentum, ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps,
            name, lazy,
        )  # fmt: skip
        self._set_lazy()
        self.beta_1 = number("beta_1", beta_1, 0.0, math.nextafter(1.0, 0.0))
        self.beta_2 = number("beta_2", beta_2, 0.0, math.nextafter(1.0, 0.0))
        self.epsilon = number("epsilon", epsilon, math.ulp(0.0))

    def _update(self, index: int, w: Array, g: Array) -> None:
        mean, largest = self._slots(index)
        real: Any = w.dtype.type
        rate = self.learning_rate / (1.0 - self.beta_1 ** (self._updates_made + 1))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            mean += (g - mean) * real(1.0 - self.beta_1)
            np.maximum(real(self.beta_2) * largest, np.abs(g), out=largest)
            w -= real(rate) * mean / (largest + real(self.epsilon))


class Lion(Plain):
    """Steps of one size, by the sign of an average: `w -= lr sign(beta_1 m + (1 - beta_1) g)`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        A tenth of what Adam takes, or less.
    beta_1 : float in (0, 1]
    beta_2 : float in [0, 1]
        `m = beta_2 m + (1 - beta_2) g`, after the step.
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Chen et al. 2023, algorithm 2.
    """

    names = slot_names = ("momentum",)

    def __init__(
        self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.99,
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
        self._set_lazy()
        self.beta_1 = number("beta_1", beta_1, math.ulp(0.0), 1.0)
        self.beta_2 = number("beta_2", beta_2, 0.0, 1.0)

    def _update(self, index: int, w: Array, g: Array) -> None:
        (mean,) = self._slots(index)
        real: Any = w.dtype.type
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            ahead = real(self.beta_1) * mean + real(1.0 - self.beta_1) * g
            w -= real(self.learning_rate) * np.sign(ahead)
            mean *= real(self.beta_2)
            mean += real(1.0 - self.beta_2) * g

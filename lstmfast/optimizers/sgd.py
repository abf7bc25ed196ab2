"""Gradient descent."""

from __future__ import annotations

from typing import ClassVar

from ..arguments import flag, number
from .base import Optimizer
from .changes import Numbers
from .settings import Rate

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent, with momentum: `v = momentum·v - lr·g; w += v`.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
    momentum : float in [0, 1]
    nesterov : bool
        Look ahead: `w += momentum·v - lr·g`. Needs a momentum.
    ...
        All others: see `optimizers.settings`.

    Notes
    -----
    Source: Sutskever et al. 2013, eq. 1-4.
    """

    kernel = "sgd"
    fields: ClassVar = {"m": "velocity"}

    def __init__(
        self, learning_rate: Rate = 0.01, momentum: float = 0.0, nesterov: bool = False,
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
        self.momentum = number("momentum", momentum, 0.0, 1.0)
        self.nesterov = flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: expected a momentum > 0 with it, got 0")
        self._remember(*["velocity"] * bool(self.momentum))

    def _numbers(self, rate: float) -> Numbers:
        return Numbers(rate, self.momentum, nesterov=self.nesterov)

    @property
    def _is_local(self) -> bool:
        return "velocity" not in self.slot_names

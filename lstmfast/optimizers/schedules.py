"""Learning rates that follow the steps, with Keras 3's formulas, arguments and defaults.

A schedule is called with the number of steps taken, 0 at first:

>>> rate = CosineDecay(0.0, decay_steps=1000, warmup_target=0.01, warmup_steps=100)
>>> rate(50)
0.005
>>> Adam(learning_rate=rate)
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import construct, described, flag, number, shown

__all__ = [
    "CLASSES",
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
]

LEAST = math.ulp(0.0)


class LearningRateSchedule:
    """Base of the schedules below, frozen values that are compared by their fields; or of yours.

    One of your own defines `__call__(step)`; an optimizer that has it cannot be saved.
    """

    def __call__(self, step: float) -> float:
        """Return the learning rate after so many steps."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the class and its arguments, as JSON can hold them."""
        config = described(self, {})
        assert isinstance(config, dict)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """Return the schedule of which `get_config` told."""
        return construct("schedule", {"class": cls.__name__, **config}, {cls.__name__: cls})

    def _numbers(self, name: str | None = None, **lows: float) -> None:
        """Check the fields of these names, each with its least value, and the field `name`."""
        for field, low in lows.items():
            object.__setattr__(self, field, number(field, getattr(self, field), low))
        if name is not None and not isinstance(name, str):
            raise ValueError(f"name: expected a text or None, got {shown(name)}")


@dataclass(frozen=True)
class ExponentialDecay(LearningRateSchedule):
    """`initial_learning_rate · decay_rate^(step / decay_steps)`.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    decay_rate : float
    staircase : bool
        Round step / decay_steps down.
    name : str, optional
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str | None = "ExponentialDecay"

    def __post_init__(self) -> None:
        self._numbers(self.name, initial_learning_rate=0.0, decay_steps=LEAST, decay_rate=0.0)
        object.__setattr__(self, "staircase", flag("staircase", self.staircase))

    def __call__(self, step: float) -> float:
        passed = _passed(step, self.decay_steps, self.staircase)
        return self.initial_learning_rate * _power(self.decay_rate, passed)


@dataclass(frozen=True)
class InverseTimeDecay(LearningRateSchedule):
    """`initial_learning_rate / (1 + decay_rate · step / decay_steps)`.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    decay_rate : float
    staircase : bool
        Round step / decay_steps down.
    name : str, optional
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str | None = "InverseTimeDecay"

    def __post_init__(self) -> None:
        self._numbers(self.name, initial_learning_rate=0.0, decay_steps=LEAST, decay_rate=0.0)
        object.__setattr__(self, "staircase", flag("staircase", self.staircase))

    def __call__(self, step: float) -> float:
        passed = _passed(step, self.decay_steps, self.staircase)
        return self.initial_learning_rate / (1.0 + self.decay_rate * passed)


@dataclass(frozen=True)
class PolynomialDecay(LearningRateSchedule):
    """From one rate to another: `(initial - end) · (1 - step / decay_steps)^power + end`.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        How long it takes; after that the rate stays.
    end_learning_rate : float
    power : float
    cycle : bool
        Begin again, each time below the last, in place of staying: decay_steps is then the next
        multiple of itself from `step` on.
    name : str, optional
    """

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str | None = "PolynomialDecay"

    def __post_init__(self) -> None:
        self._numbers(self.name, initial_learning_rate=0.0, decay_steps=LEAST, power=0.0)
        self._numbers(end_learning_rate=0.0)
        object.__setattr__(self, "cycle", flag("cycle", self.cycle))

    def __call__(self, step: float) -> float:
        length = self.decay_steps
        if self.cycle:
            length *= max(1, math.ceil(step / length))
        left = max(0.0, 1.0 - step / length)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * float(left**self.power) + self.end_learning_rate


@dataclass(frozen=True)
class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[i]` up to the step `boundaries[i]`, it included, and the last value after them.

    Parameters
    ----------
    boundaries : sequence of int
        Ascending.
    values : sequence of float
        One more.
    name : str, optional
    """

    boundaries: Sequence[float]
    values: Sequence[float]
    name: str | None = "PiecewiseConstant"

    def __post_init__(self) -> None:
        self._numbers(self.name)
        boundaries = _all_numbers("boundaries", self.boundaries, -math.inf)
        values = _all_numbers("values", self.values, 0.0)
        if list(boundaries) != sorted(set(boundaries)):
            raise ValueError(f"boundaries: expected ascending steps, got {shown(boundaries)}")
        if len(values) != len(boundaries) + 1:
            raise ValueError(f"values: expected {len(boundaries) + 1} numbers, got {len(values)}")
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "values", values)

    def __call__(self, step: float) -> float:
        return self.values[bisect_left(self.boundaries, step)]


@dataclass(frozen=True)
class CosineDecay(LearningRateSchedule):
    """Half a wave of the cosine, down to `alpha` of where it begins (Loshchilov and Hutter 2017).

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        How long the decay takes.
    alpha : float
        The share of the rate that is left at its end.
    name : str, optional
    warmup_target : float, optional
        Rise to it from `initial_learning_rate` first, in a straight line; the decay begins there.
    warmup_steps : int
        How long that takes.
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    name: str | None = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: float = 0

    def __post_init__(self) -> None:
        self._numbers(self.name, initial_learning_rate=0.0, decay_steps=LEAST, alpha=0.0)
        self._numbers(warmup_steps=0.0)
        if self.warmup_target is not None:
            self._numbers(warmup_target=0.0)

    def __call__(self, step: float) -> float:
        top, first = self.warmup_target, self.initial_learning_rate
        if top is None:
            return first * _cosine(step / self.decay_steps, self.alpha)
        if step < self.warmup_steps:
            return first + (top - first) * (step / self.warmup_steps)
        return top * _cosine((step - self.warmup_steps) / self.decay_steps, self.alpha)


@dataclass(frozen=True)
class CosineDecayRestarts(LearningRateSchedule):
    """A `CosineDecay` that begins again and again (Loshchilov and Hutter 2017).

    Parameters
    ----------
    initial_learning_rate : float
    first_decay_steps : int
        How long the first decay takes.
    t_mul : float
        How much longer each takes than the one before it, >= 1.
    m_mul : float
        How much higher each begins, and ends, above `alpha`.
    alpha : float
        The share of the first rate below which none falls.
    name : str, optional
    """

    initial_learning_rate: float
    first_decay_steps: float
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str | None = "SGDRDecay"

    def __post_init__(self) -> None:
        self._numbers(self.name, initial_learning_rate=0.0, first_decay_steps=LEAST, t_mul=1.0)
        self._numbers(m_mul=0.0, alpha=0.0)

    def __call__(self, step: float) -> float:
        restarts, passed = self._place(step / self.first_decay_steps)
        height = _power(self.m_mul, restarts) * _cosine(passed, 0.0)
        return self.initial_learning_rate * ((1.0 - self.alpha) * height + self.alpha)

    def _place(self, passed: float) -> tuple[int, float]:
        """How many decays are over, and which share of this one, after `passed` first ones."""
        if self.t_mul == 1.0:
            return math.floor(passed), passed - math.floor(passed)
        growth = self.t_mul - 1.0
        restarts = math.floor(math.log1p(passed * growth) / math.log(self.t_mul))
        if passed >= self._begin(restarts + 1):  # logarithms of a boundary may fall short of it
            restarts += 1
        elif passed < self._begin(restarts):
            restarts -= 1
        return restarts, (passed - self._begin(restarts)) / self.t_mul**restarts

    def _begin(self, restarts: int) -> float:
        """When a decay begins, in lengths of the first."""
        return (self.t_mul**restarts - 1.0) / (self.t_mul - 1.0)


def _passed(step: float, decay_steps: float, staircase: bool) -> float:
    return math.floor(step / decay_steps) if staircase else step / decay_steps


def _cosine(passed: float, alpha: float) -> float:
    return (1.0 - alpha) * 0.5 * (1.0 + math.cos(math.pi * min(passed, 1.0))) + alpha


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def _all_numbers(name: str, values: Any, low: float) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple, np.ndarray)):
        raise ValueError(f"{name}: expected a sequence of numbers, got {shown(values)}")
    return tuple(number(f"{name}[{index}]", value, low) for index, value in enumerate(values))


CLASSES: dict[str, type[LearningRateSchedule]] = {
    "ExponentialDecay": ExponentialDecay,
    "InverseTimeDecay": InverseTimeDecay,
    "PolynomialDecay": PolynomialDecay,
    "PiecewiseConstantDecay": PiecewiseConstantDecay,
    "CosineDecay": CosineDecay,
    "CosineDecayRestarts": CosineDecayRestarts,
}

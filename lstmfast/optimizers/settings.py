"""What of an optimizer can be set: the arguments that all of them have, and the learning rate."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..arguments import Array, construct, flag, integer, number, shown
from . import schedules
from .schedules import LearningRateSchedule

__all__ = ["AVERAGE", "SUM", "Rate", "Settings", "Slots"]

Rate = float | LearningRateSchedule | Callable[[], float] | Mapping[str, Any]
"""A number; a schedule, or its config; or what is asked for a number before each step."""

AVERAGE, SUM = "average", "gradient_accumulator"  # slots of ours
CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
Slots = dict[str, list[Array]]
Self = TypeVar("Self", bound="Settings")


class Settings:
    """The arguments that all optimizers have, and by these names.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        A number; a schedule of `schedules`, which is asked with `iterations`; or a function without
        arguments. A number can be changed between steps: `optimizer.learning_rate *= 0.5`.
    weight_decay : float, optional
        Before each update weights shrink by this share of themselves times the learning rate.
    clipnorm : float, optional
        Shrink each gradient whose norm is larger to this norm.
    clipvalue : float, optional
        Bring each element of a gradient into [-clipvalue, clipvalue].
    global_clipnorm : float, optional
        Shrink all gradients together when the norm of them all is larger.
    use_ema : bool
        Keep a moving average of the weights; see `finalize_variable_values`.
    ema_momentum : float in [0, 1]
        How much of that average each step keeps.
    ema_overwrite_frequency : int, optional
        Set the weights to their averages once in so many steps.
    loss_scale_factor : None
        Nothing else: gradients here are float32 or float64, which need no scaling.
    gradient_accumulation_steps : int, optional
        Update weights once in so many steps, >= 2, with the mean of the gradients since.
    name : str, optional
        Without it the class's own, in small letters.
    lazy : bool
        What to do with a `RowGradient`, the gradient of some rows of a table. False: what a
        dense one does, to all rows if need be (momenta, decay). True: change those rows alone,
        their momenta and the decay of their weights, too, which takes time by the batch and not
        by the table.

    Raises
    ------
    ValueError
        For a value out of range, and when more than one of the three clips is given.
    """

    iterations: int
    slots: Slots
    slot_names: tuple[str, ...] = ()

    def __init__(
        self, learning_rate: Rate, weight_decay: float | None = None,
        clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None,
        lazy: bool = False,
    ):  # fmt: skip
        self.learning_rate = learning_rate  # type: ignore[assignment]
        self.weight_decay = _number_or_none("weight_decay", weight_decay, 0.0)
        self.clipnorm = _number_or_none("clipnorm", clipnorm, math.ulp(0.0))
        self.clipvalue = _number_or_none("clipvalue", clipvalue, math.ulp(0.0))
        self.global_clipnorm = _number_or_none("global_clipnorm", global_clipnorm, math.ulp(0.0))
        given = [clip for clip in CLIPS if getattr(self, clip) is not None]
        if len(given) > 1:
            raise ValueError(f"clipnorm: expected one clip at most, got {', '.join(given)}")
        self.use_ema = flag("use_ema", use_ema)
        self.ema_momentum = number("ema_momentum", ema_momentum, 0.0, 1.0)
        self.ema_overwrite_frequency = _count_or_none(
            "ema_overwrite_frequency", ema_overwrite_frequency, 1
        )
        if loss_scale_factor is not None:
            found = f"got {shown(loss_scale_factor)}"
            raise ValueError(f"loss_scale_factor: expected None, as losses are not scaled, {found}")
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = _count_or_none(
            "gradient_accumulation_steps", gradient_accumulation_steps, 2
        )
        if name is not None and not isinstance(name, str):
            raise ValueError(f"name: expected a text or None, got {shown(name)}")
        self.name = type(self).__name__.lower() if name is None else name
        self.lazy = flag("lazy", lazy)
        self.iterations, self.slots = 0, {}
        self._remember(*self.slot_names)

    def _remember(self, *names: str) -> None:
        """Say what the method itself remembers: the first of `slot_names`."""
        steps = self.gradient_accumulation_steps
        also = (AVERAGE,) * self.use_ema + (SUM,) * (steps is not None)
        self.slot_names = (*names, *also)

    # The learning rate.

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step, whatever it comes from."""
        rate: Any = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            return number("learning_rate", rate(self.iterations), 0.0)
        return number("learning_rate", rate(), 0.0) if callable(rate) else rate

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        before: Any = getattr(self, "_learning_rate", None)
        if isinstance(value, Mapping):
            value = construct("learning_rate", value, schedules.CLASSES)
        if isinstance(value, LearningRateSchedule) or callable(value):
            self._learning_rate: Rate = value
            return
        found = number("learning_rate", value, 0.0)
        if isinstance(before, LearningRateSchedule):
            expected = f"a schedule in place of the {type(before).__name__} that is set"
            raise ValueError(f"learning_rate: expected {expected}, got {found}")
        self._learning_rate = found

    # What tells of it, and makes it anew.

    def get_config(self) -> dict[str, Any]:
        """Return the class and its arguments, for `get`; `iterations` and `slots` are apart.

        Raises
        ------
        ValueError
            When the learning rate is a function, or a schedule of the user's own.
        """
        names = inspect.signature(type(self)).parameters
        config = {name: getattr(self, name) for name in names if name != "learning_rate"}
        rate: Any = self._learning_rate
        if type(rate) in schedules.CLASSES.values():
            rate = rate.get_config()
        elif not isinstance(rate, float):
            expected = "a number, or one of our schedules, where it is to be kept"
            raise ValueError(f"learning_rate: expected {expected}, got {shown(rate)}")
        return {"class": type(self).__name__, "learning_rate": rate, **config}

    @classmethod
    def from_config(cls: type[Self], config: Mapping[str, Any]) -> Self:
        """Return a new optimizer of this class, of which `get_config` told."""
        return construct("optimizer", {"class": cls.__name__, **config}, {cls.__name__: cls})


def _number_or_none(name: str, value: float | None, low: float) -> float | None:
    return None if value is None else number(name, value, low)


def _count_or_none(name: str, value: int | None, low: int) -> int | None:
    return None if value is None else integer(name, value, low)

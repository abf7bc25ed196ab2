"""What `fit` and `evaluate` draw batches from: arrays, epoch after epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..arguments import integer, keys
from ..whole import or_as_before
from . import saving
from .data import Samples, batches

if TYPE_CHECKING:
    from . import Model

__all__ = ["Arrays"]


class Arrays:
    """The batches of arrays, epoch after epoch: what `fit` and `evaluate` draw from.

    Parameters
    ----------
    model : Model
        It casts the batches and brings them where it is; its generator shuffles.
    data : Samples
        Checked.
    batch_size : int
    steps : int, optional
        Batches in an epoch. With them, an epoch goes on where the one before stopped, and the
        samples come in a new order when all have been there. None: all samples in each epoch.
    shuffle : bool
    """

    def __init__(
        self,
        model: Model,
        data: Samples,
        batch_size: int,
        steps: int | None = None,
        shuffle: bool = False,
    ):
        self.model, self.data, self.batch_size, self.shuffle = model, data, batch_size, shuffle
        self.steps = steps or math.ceil(len(data) / batch_size)
        self._rest: list[Any] = []  # of the samples' present round
        self._origin: Any = None  # the generator's state before their order was drawn
        self._begun: dict[str, Any] = {}
        self._chosen: list[Any] = []

    def start_epoch(self) -> None:
        """Draw the order of an epoch."""
        self._begun = {**self._place(), "rng": self._generator()}
        self._chosen = []
        while len(self._chosen) < self.steps:
            if not self._rest:
                self._start_round()
            left = self.steps - len(self._chosen)
            self._chosen += self._rest[:left]
            self._rest = self._rest[left:]

    def batches(self, first: int = 0) -> Iterator[Samples]:
        """Yield the batches of the epoch from this one on, as the layers and the loss take them."""
        return self.model._batches(self.data, self._chosen[first:])

    def get_state(self, within: bool) -> dict[str, Any]:
        """Return what makes the order again: of an epoch that was started, or of the next one."""
        place = self._begun if within else {**self._place(), "rng": None}
        return {**self._sizes(), **place}

    def set_state(self, state: Any, within: bool) -> None:
        """Take up what `get_state` returned; ValueError when it is of other data."""
        own = self._sizes()
        keys("fit: feed", state, (*own, "origin", "rest", "rng"))
        if (found := {name: state[name] for name in own}) != own:
            raise ValueError(f"x: expected the data of the backup, {found}, got {own}")
        integer("fit: feed: rest", state["rest"], 0, math.ceil(own["samples"] / own["batch_size"]))
        or_as_before(self.model._generator(), self._go_to, state, within)

    def _go_to(self, state: Any, within: bool) -> None:
        self._rest, self._origin = [], None
        if state["rest"]:
            self._move(state["origin"])
            self._start_round()
            self._rest = self._rest[-state["rest"] :]
        if within:
            self._move(state["rng"])
            self.start_epoch()

    def _move(self, state: Any) -> None:
        if self.shuffle:
            kept = saving.generator_of(state)
            self.model.rng.bit_generator.state = kept.bit_generator.state

    def _start_round(self) -> None:
        self._origin = self._generator()
        rng = self.model.rng if self.shuffle else None
        self._rest = list(batches(len(self.data), self.batch_size, rng))

    def _generator(self) -> Any:
        return self.model.rng.bit_generator.state if self.shuffle else None

    def _place(self) -> dict[str, Any]:
        return {"origin": self._origin if self._rest else None, "rest": len(self._rest)}

    def _sizes(self) -> dict[str, Any]:
        return {
            "samples": len(self.data),
            "batch_size": self.batch_size,
            "steps": self.steps,
            "shuffle": self.shuffle,
        }

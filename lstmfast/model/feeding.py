"""What `fit`, `evaluate` and `predict` draw batches from, epoch after epoch; that of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import integer, keys
from ..data.ahead import prefetch
from ..samples import is_on_disk
from ..whole import or_as_before
from . import saving
from .given import Samples, batches

if TYPE_CHECKING:
    from . import Model

__all__ = ["Arrays", "Feed", "Rounds"]


class Feed:
    """Batches, epoch after epoch.

    Parameters
    ----------
    model : Model
        It casts the batches and brings them where it is.

    Attributes
    ----------
    steps : int or None
        Batches in an epoch, where that is known.
    goes_back : bool
        Can it be taken up in the midst of an epoch?
    counts : (int, int) or None
        Of arrays that are gone through once in each epoch: samples, and samples in a batch.
    """

    goes_back = True
    counts: tuple[int, int] | None = None

    def __init__(self, model: Model, steps: int | None):
        self.model, self.steps = model, steps

    def first(self) -> Samples:
        """Return samples to build the model for."""
        raise NotImplementedError

    def goes_on(self) -> bool:
        """Are there batches for another epoch?"""
        return True

    def start_epoch(self) -> None:
        """Draw the order of an epoch."""
        raise NotImplementedError

    def read(self, first: int = 0) -> Generator[Samples]:
        """Yield the batches of the epoch from this one on, checked and cast, on the host.

        The caller closes what it does not read to its end.
        """
        raise NotImplementedError

    def batches(self, first: int = 0) -> Generator[Samples]:
        """Yield what `read` does, as the layers and the loss take it, where the model is."""
        with closing(self.read(first)) as found:
            yield from self.model._placed(found)

    def get_state(self, within: bool) -> dict[str, Any]:
        """Return what makes the order again: of an epoch that was started, or of the next one."""
        raise NotImplementedError

    def set_state(self, state: Any, within: bool) -> None:
        """Take up what `get_state` returned; ValueError when it is of other data."""
        raise NotImplementedError


class Rounds(Feed):
    """Batches that are chosen by number or position, in rounds: each has all of them once.

    Parameters
    ----------
    model : Model
        Its generator shuffles.
    count : int
        Batches in a round.
    steps : int, optional
        Batches in an epoch. With them, an epoch goes on where the one before stopped, and the
        batches come in a new order when all have been there. None: a round in each epoch.
    shuffle : bool
    """

    steps: int

    def __init__(self, model: Model, count: int, steps: int | None, shuffle: bool):
        super().__init__(model, steps or count)
        self.count, self.shuffle = count, shuffle
        self._rest: list[Any] = []  # of the present round
        self._origin: Any = None  # the generator's state before their order was drawn
        self._begun: dict[str, Any] = {}
        self._chosen: list[Any] = []

    def draw(self, rng: np.random.Generator | None) -> list[Any]:
        """Return what to read in a round, in order, or with `rng` shuffled."""
        raise NotImplementedError

    def sizes(self) -> dict[str, Any]:
        """Return what a backup must agree in."""
        raise NotImplementedError

    def start_epoch(self) -> None:
        self._begun = {**self._place(), "rng": self._generator()}
        self._chosen = []
        while len(self._chosen) < self.steps:
            if not self._rest:
                self._start_round()
            left = self.steps - len(self._chosen)
            self._chosen += self._rest[:left]
            self._rest = self._rest[left:]

    def get_state(self, within: bool) -> dict[str, Any]:
        place = self._begun if within else {**self._place(), "rng": None}
        return {**self.sizes(), **place}

    def set_state(self, state: Any, within: bool) -> None:
        own = self.sizes()
        keys("fit: feed", state, (*own, *self._place(), "rng"))
        if (found := {name: state[name] for name in own}) != own:
            raise ValueError(f"x: expected the data of the backup, {found}, got {own}")
        integer("fit: feed: rest", state["rest"], 0, self.count)
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
        self._rest = self.draw(self.model.rng if self.shuffle else None)

    def _generator(self) -> Any:
        return self.model.rng.bit_generator.state if self.shuffle else None

    def _place(self) -> dict[str, Any]:
        return {"origin": self._origin if self._rest else None, "rest": len(self._rest)}


class Arrays(Rounds):
    """The batches of arrays; those of arrays that lie in a file are read ahead, on a thread.

    Parameters
    ----------
    model : Model
    data : Samples
        Checked.
    batch_size : int
    steps : int, optional
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
        super().__init__(model, math.ceil(len(data) / batch_size), steps, shuffle)
        self.data, self.batch_size = data, batch_size
        self.counts = (len(data), batch_size) if steps is None else None
        self.on_disk = data.on_disk

    def first(self) -> Samples:
        return self.data

    def draw(self, rng: np.random.Generator | None) -> list[Any]:
        return list(batches(len(self.data), self.batch_size, rng))

    def read(self, first: int = 0) -> Generator[Samples]:
        take: Callable[[Any], Samples] = self._loaded if self.on_disk else self._taken
        items: Iterator[Samples] = map(take, self._chosen[first:])
        yield from prefetch(items) if self.on_disk else items

    def sizes(self) -> dict[str, Any]:
        return {
            "samples": len(self.data),
            "batch_size": self.batch_size,
            "steps": self.steps,
            "shuffle": self.shuffle,
        }

    def _taken(self, at: Any) -> Samples:
        return self.model._cast(self.data[at])

    def _loaded(self, at: Any) -> Samples:
        """Return a batch in memory: what is a view of a file is copied."""
        batch = self.data[at]
        parts = ([_read(array) for array in each] for each in (batch.xs, batch.ys, batch.weights))
        xs, ys, weights = parts
        return self.model._cast(replace(batch, xs=xs, ys=ys, weights=weights))


def _read(array: Any) -> Any:
    return np.array(array) if is_on_disk(array) else array

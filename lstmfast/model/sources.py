"""Data that brings its own batches: sequences of batches, generators, what can be iterated anew."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import integer, keys, shown
from ..data.ahead import AHEAD, prefetch
from ..data.batch import PyDataset, batch_of
from .feeding import Feed, Rounds
from .given import Samples, check_inputs, split, taken

if TYPE_CHECKING:
    from . import Model

__all__ = ["Numbered", "Reader", "Source", "Streamed", "is_source", "parts", "samples_or_source"]

ARRAYS = ("__array__", "__array_interface__", "__dlpack__", "toarray")
END = object()


def is_source(data: Any) -> bool:
    """Does this bring its own batches? Arrays, and lists, tuples and dicts of them, do not."""
    if isinstance(data, (Mapping, Sequence, Set)) or any(hasattr(data, name) for name in ARRAYS):
        return False
    return hasattr(data, "__iter__") or _is_numbered(data)


def _is_numbered(data: Any) -> bool:
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")


class Reader:
    """Makes samples of the batches that a source gives.

    Parameters
    ----------
    model : Model
    class_weight : dict of int to float, optional
    has_targets : bool
        False to predict: targets are left out then, and NaN and Inf go through.
    """

    def __init__(self, model: Model, class_weight: Any = None, has_targets: bool = True):
        self.model, self.class_weight, self.has_targets = model, class_weight, has_targets
        self.rows: int | None = None
        self.label = ""  # before an error's text
        self.stateful = any(layer.stateful for layer in model._recurrent())

    def __call__(self, number: int, item: Any) -> Samples:
        """Return batch `number` of an epoch, checked and cast.

        Raises
        ------
        ValueError
            Naming the batch, for what cannot be learnt from.
        """
        try:
            found = self._samples(item)
            self._check(found)
            return self.model._cast(found)
        except ValueError as error:
            raise ValueError(f"{self.label}batch {number}: {error}") from error

    def _samples(self, item: Any) -> Samples:
        one = batch_of(item)
        learns = self.has_targets
        y, weight = (one.y, one.sample_weight) if learns else (None, None)
        found = taken(
            self.model, one.x, y, weight, one.lengths, one.mask, learns, self.class_weight
        )
        found.rows = one.rows
        return found

    def _check(self, found: Samples) -> None:
        if self.has_targets:
            self.model._check_data(found, len(found))
        else:
            check_inputs(self.model, found.xs, len(found), finite=False)
        if self.stateful:
            self.rows = self.rows or len(found)
            if len(found) != self.rows:
                expected = f"{self.rows} rows, as before, for stateful layers"
                raise ValueError(f"x: expected {expected}, got {len(found)}")


class Numbered(Rounds):
    """The batches of what has `__len__` and `__getitem__`, read ahead on a thread.

    Parameters
    ----------
    model : Model
    source : object
        `on_epoch_begin` and `on_epoch_end` are called where it has them; `get_state` and
        `set_state` bring back what it is at the beginning of an epoch.
    reader : Reader
    steps : int, optional
        As of `Rounds`.
    shuffle : bool
        Let the batches come in a new order in each round.
    most : int, optional
        Only the first so many batches, in each epoch.
    """

    def __init__(
        self, model: Model, source: Any, reader: Reader, steps: int | None = None,
        shuffle: bool = False, most: int | None = None,
    ):  # fmt: skip
        count = len(source)
        if not count:
            raise ValueError(f"x: expected one batch or more, got {shown(source)} of none")
        super().__init__(model, count if most is None else min(count, most), steps, shuffle)
        self.source, self.reader = source, reader
        self.follows = steps is None and most is None  # the source's length, which may change

    def first(self) -> Samples:
        return self.reader(0, self.source[0])

    def draw(self, rng: np.random.Generator | None) -> list[Any]:
        numbers = range(self.count) if rng is None else rng.permutation(self.count)
        return [int(number) for number in numbers]

    def start_epoch(self) -> None:
        if self.follows:
            self.steps = self.count = integer("x: len", len(self.source), 1)
        super().start_epoch()
        self._begun["source"] = self._state()

    def read(self, first: int = 0) -> Generator[Samples]:
        self._tell("on_epoch_begin")
        ahead = self.source.max_queue_size if isinstance(self.source, PyDataset) else AHEAD
        yield from prefetch(self._items(first), ahead)
        self._tell("on_epoch_end")

    def sizes(self) -> dict[str, Any]:
        return {"batches": self.count, "steps": self.steps, "shuffle": self.shuffle}

    def _items(self, first: int) -> Iterator[Samples]:
        for number, chosen in enumerate(self._chosen[first:], first):
            yield self.reader(number, self.source[chosen])

    def _place(self) -> dict[str, Any]:
        return {**super()._place(), "source": self._state()}

    def _state(self) -> Any:
        return self.source.get_state() if self._has_state() else None

    def _has_state(self) -> bool:
        return hasattr(self.source, "get_state") and hasattr(self.source, "set_state")

    def _go_to(self, state: Any, within: bool) -> None:
        if self._has_state():
            self.source.set_state(state["source"])
        super()._go_to(state, within)

    def _tell(self, name: str) -> None:
        method = getattr(self.source, name, None)
        if method is not None:
            method()


class Streamed(Feed):
    """The batches of what can only be iterated: a generator, or anew in each epoch.

    A generator runs in the calling thread; what can be iterated anew, such as a DataLoader, is read
    ahead on a thread.

    Parameters
    ----------
    model : Model
    source : iterable
    reader : Reader
    steps : int, optional
        Batches in an epoch: the next one goes on with the batches that are left.
    anew : bool
        Begin anew in each epoch, where that is possible, also with `steps`.

    Raises
    ------
    ValueError
        For a generator that has no batch.
    """

    goes_back = False

    def __init__(
        self, model: Model, source: Any, reader: Reader, steps: int | None = None,
        anew: bool = False,
    ):  # fmt: skip
        super().__init__(model, _length(source) if steps is None else steps)
        self.source, self.reader, self.most = source, reader, steps
        self.once = hasattr(source, "__next__")
        self.anew = not self.once and (anew or steps is None)
        self._iterator: Iterator[Any] = self._begun()
        self._kept: list[Any] = []
        self._is_new = True
        if not self._has_more():
            raise ValueError(f"x: expected one batch or more, got {_kind(source)} of none")

    def first(self) -> Samples:
        return self.reader(0, self._kept[0])

    def goes_on(self) -> bool:
        return not self.once or self._has_more()

    def start_epoch(self) -> None:
        if self.anew and not self._is_new:
            self._iterator, self._kept = self._begun(), []
        self._is_new = False

    def read(self, first: int = 0) -> Generator[Samples]:
        items = self._items()
        yield from items if self.once else prefetch(items)

    def get_state(self, within: bool) -> dict[str, Any]:
        return {"steps": self.most}

    def set_state(self, state: Any, within: bool) -> None:
        if (found := dict(keys("fit: feed", state, ["steps"]))) != {"steps": self.most}:
            raise ValueError(f"x: expected the steps of the backup, {found}, got {self.most}")

    def _begun(self) -> Iterator[Any]:
        of_tensorflow = getattr(self.source, "as_numpy_iterator", None)
        return iter(self.source) if of_tensorflow is None else of_tensorflow()

    def _items(self) -> Iterator[Samples]:
        number = 0
        while self.most is None or number < self.most:
            if not self._has_more() and not self._begins_again(number):
                break
            yield self.reader(number, self._kept.pop())
            number += 1

    def _has_more(self) -> bool:
        if not self._kept:
            item = next(self._iterator, END)
            if item is not END:
                self._kept.append(item)
        return bool(self._kept)

    def _begins_again(self, number: int) -> bool:
        """Can the epoch go on though the batches have come to their end?"""
        if not self.once and self.most is not None and not self.anew:
            self._iterator = self._begun()
            if self._has_more():
                return True
        if self.most is not None and number:
            text = f"x: expected {self.most} batches, got {number}; the epoch ends with them"
            warnings.warn(text, stacklevel=2)
        if not number:
            raise ValueError("x: expected one batch or more in an epoch, got none")
        return False


def _length(source: Any) -> int | None:
    """Return the number of batches, if the source tells it."""
    try:
        return len(source)
    except TypeError:  # also of DataLoaders and TensorFlow's data that do not know it
        return None


def _kind(source: Any) -> str:
    return f"a {type(source).__name__}"


@dataclass
class Source:
    """What brings its own batches, before it is known how they are to be drawn."""

    given: Any
    reader: Reader

    @property
    def once(self) -> bool:
        """Are its batches there once only?"""
        return hasattr(self.given, "__next__")

    @property
    def is_numbered(self) -> bool:
        return _is_numbered(self.given) and not hasattr(self.given, "as_numpy_iterator")

    def feed(self, steps: int | None, shuffle: bool) -> Feed:
        """Return what to train on."""
        model = self.reader.model
        if self.is_numbered:
            return Numbered(model, self.given, self.reader, steps, shuffle)
        return Streamed(model, self.given, self.reader, steps)

    def part(self, name: str, steps: int | None) -> Feed:
        """Return what to evaluate or predict: in each epoch all, or the first `steps` batches."""
        model = self.reader.model
        if not self.is_numbered:
            return Streamed(model, self.given, self.reader, steps, anew=True)
        if steps is not None and steps > len(self.given):
            raise ValueError(f"{name}: expected at most {len(self.given)} batches, got {steps}")
        return Numbered(model, self.given, self.reader, most=steps)


def samples_or_source(
    model: Model, x: Any, y: Any = None, sample_weight: Any = None, lengths: Any = None,
    mask: Any = None, has_targets: bool = True, class_weight: Any = None,
) -> Samples | Source:  # fmt: skip
    """Return what a user gave, as Samples where it does not bring its own batches.

    Raises
    ------
    ValueError
        As `taken`; and for what would have no meaning beside such batches.
    """
    if not is_source(x):
        return taken(model, x, y, sample_weight, lengths, mask, has_targets, class_weight)
    others = {"y": y, "sample_weight": sample_weight, "lengths": lengths, "mask": mask}
    for name, other in others.items():
        if other is not None:
            expected = f"None with {_kind(x)} as x, whose batches bring all"
            raise ValueError(f"{name}: expected {expected}, got some")
    for one in type(x).__mro__:
        if one.__name__ == "Dataset" and one.__module__.startswith("torch.utils.data"):
            expected = "batches, as of a DataLoader(dataset, batch_size=...)"
            raise ValueError(f"x: expected {expected}, got samples, {_kind(x)}")
    return Source(x, Reader(model, class_weight, has_targets))


def parts(
    model: Model, data: Samples | Source, fraction: float, given: Any
) -> tuple[Samples | Source, Samples | Source | None]:
    """Return the data to train on and to validate on, which is `given` or split off."""
    if fraction and isinstance(data, Source):
        expected = f"0 with {_kind(data.given)} as x"
        raise ValueError(f"validation_split: expected {expected}, got {shown(fraction)}")
    if given is None:
        return (data, None) if isinstance(data, Source) else split(data, fraction)
    if fraction:
        raise ValueError("validation_split: expected 0 with validation_data, got both")
    is_pair = isinstance(given, (tuple, list)) and len(given) in (2, 3)
    if not is_pair and not is_source(given):
        kind = type(given).__name__
        raise ValueError(f"validation_data: expected (x, y), or what brings batches, got {kind}")
    try:
        found = samples_or_source(model, *(given if is_pair else [given]))
    except ValueError as error:
        raise ValueError(f"validation_data: {error}") from error
    if isinstance(found, Source):
        found.reader.label = "validation_data: "
    return data, found

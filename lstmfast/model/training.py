"""The loops of `Model.fit` and `evaluate`: batches, callbacks, and a run that can be taken up."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import choice, flag, integer, keys, shown
from ..callbacks.callback_list import CallbackList
from ..callbacks.history import History
from ..losses import AnyLoss
from ..ops.placement import on_device, to_device, to_host
from ..whole import or_as_before
from . import saving
from .diverging import TrainingError, check_weights, diverged
from .feeding import Samples, batches
from .fitting import RunningMean, Steps

if TYPE_CHECKING:
    from . import Model

__all__ = ["VERBOSE", "Arrays", "Run", "evaluate", "fit", "part_of", "predict", "size_of"]

VERBOSE = (0, 1, 2, "auto")
BATCH = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
KEPT = (
    "epoch", "batch", "stop", "feed", "mean", "learning_rate", "states", "logs", "callbacks",
)  # fmt: skip


def size_of(name: str, batch_size: Any, default: int = 32) -> int:
    """Return the number of samples in a batch, of which None is the default."""
    return default if batch_size is None else integer(name, batch_size, 1)


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


class Run:
    """One call of `fit`: where it is, and how it is taken up again.

    Parameters
    ----------
    model : Model
        Built and compiled.
    feed : Arrays
    callbacks : CallbackList
    first, last : int
        Runs the epochs first ... last - 1.
    validate : callable
        Given an epoch, returns what validation adds to its logs.

    Attributes
    ----------
    epoch, batch : int
        The epoch that is next or running, and how many of its batches have been learnt from.
    """

    def __init__(
        self,
        model: Model,
        feed: Arrays,
        callbacks: CallbackList,
        first: int,
        last: int,
        validate: Callable[[int], dict[str, float]],
    ):
        self.model, self.feed, self.callbacks, self.validate = model, feed, callbacks, validate
        self.epoch, self.last, self.batch = first, last, 0
        self.mean = RunningMean(model.metrics)
        self.logs: dict[str, float] | None = None  # of the epoch before
        self.quiet = any(getattr(one, "ends_quietly", False) for one in callbacks.callbacks)
        self._restored: saving.Backup | None = None

    def train(self) -> None:
        """Train until the last epoch, or until a callback stops it."""
        model, callbacks = self.model, self.callbacks
        model.stop_training = False
        callbacks.on_train_begin()
        callbacks._start(self)
        ended = self._restored is not None and not self.batch and model.stop_training
        while self.epoch < self.last and not ended:
            self._train_epoch()
            ended = model.stop_training
        callbacks.on_train_end(self.logs)
        callbacks._done(self)

    def _train_epoch(self) -> None:
        model, epoch, within = self.model, self.epoch, self.batch > 0
        if not within:
            self.mean = RunningMean(model.metrics)
        self.callbacks.on_epoch_begin(epoch)
        if within:  # again, as callbacks may have begun an epoch that had begun
            self._take_up()
        else:
            self.feed.start_epoch()
        self._restored = None
        if not (within and model.stop_training):
            self._take_steps()
        self._check_weights()
        logs = self.mean.result()
        self._check_read()
        logs |= self.validate(epoch)
        self.callbacks.on_epoch_end(epoch, logs)
        self.logs, self.epoch, self.batch = logs, epoch + 1, 0
        self.callbacks._settled(self)

    def _take_steps(self) -> None:
        model, callbacks = self.model, self.callbacks
        steps, heard = Steps(model, model._optimizer()), callbacks.hears(*BATCH)
        for batch in self.feed.batches(self.batch):
            callbacks.on_train_batch_begin(self.batch)
            self.mean.add(self._step(steps, batch))
            self._check_read()
            self.batch += 1
            callbacks.on_train_batch_end(self.batch - 1, self.mean.logs() if heard else {})
            callbacks._settled(self)
            if model.stop_training:
                break

    def _step(self, steps: Steps, batch: Samples) -> AnyLoss:
        try:
            return steps.take(batch)
        except TrainingError as error:
            if self.quiet and error.loss is not None:
                return error.loss  # which a callback will see
            error.epoch, error.batch = self.epoch, self.batch
            raise

    def _check_read(self) -> None:
        """Raise TrainingError if a loss that came late, from a GPU, is NaN or Inf."""
        if not math.isfinite(self.mean.total) and not self.quiet:
            error = diverged(self.model, self.mean.seen(), taken=True)
            error.epoch, error.batch = self.epoch, self.batch
            raise error

    def _check_weights(self) -> bool:
        """Raise TrainingError if weights are NaN or Inf; return False where that ends quietly."""
        try:
            check_weights(self.model)
        except TrainingError as error:
            error.epoch = self.epoch
            if not self.quiet:
                raise
            self.model.stop_training = True
            return False
        return True

    # Backups.

    def backup(self, path: str, previous: str | None = None) -> None:
        """Write all that `restore` needs to one file; the one before becomes `previous`.

        Raises
        ------
        TrainingError
            When a weight is NaN or Inf; nothing is written. With TerminateOnNaN nothing is raised.
        ValueError
            When a callback's state cannot be written.
        """
        if not self._check_weights():
            return
        state = self.get_state()
        if previous is not None and os.path.lexists(path):
            os.replace(path, previous)
        saving.save(self.model, path, True, fit=state)

    def restore(self, path: str) -> None:
        """Go on where `backup` was called.

        Raises
        ------
        ValueError
            When the file is damaged or of another run; the model is as before.
        """
        self._restored = saving.read_backup(self.model, path)
        try:
            self._check(self._restored.fit)
            self._take_up()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def get_state(self) -> dict[str, Any]:
        """Return what a file keeps beside weights, the optimizer's state and the generator's."""
        optimizer = self.model._optimizer()
        rate = optimizer.learning_rate
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "stop": bool(self.model.stop_training),
            "feed": self.feed.get_state(self.batch > 0),
            "mean": self.mean.get_state() if self.batch else None,
            "learning_rate": rate if isinstance(rate, (int, float)) else None,
            "states": [_kept(state) for _, _, state in self.model._states()],
            "logs": self.logs,
            "callbacks": self.callbacks.get_state(),
        }

    def _check(self, state: Any) -> None:
        keys("fit", state, KEPT)
        integer("fit: epoch", state["epoch"], 0)
        integer("fit: batch", state["batch"], 0, self.feed.steps)
        flag("fit: stop", state["stop"])
        if not isinstance(state["callbacks"], dict):
            raise ValueError(f"fit: callbacks: expected states, got {shown(state['callbacks'])}")
        if not isinstance(state["states"], list) or len(state["states"]) != len(
            self.model._states()
        ):
            raise ValueError(f"fit: states: expected those of layers, got {shown(state['states'])}")

    def _take_up(self) -> None:
        assert self._restored is not None
        model, state = self.model, self._restored.fit
        within = state["batch"] > 0
        self.feed.set_state(state["feed"], within)
        self.callbacks.set_state(state["callbacks"])
        self.mean = RunningMean(model.metrics)
        if within:
            self.mean.set_state(state["mean"])
        self._restored.restore()
        if state["learning_rate"] is not None:
            model._optimizer().learning_rate = state["learning_rate"]
        for (layer, name, _), kept in zip(model._states(), state["states"], strict=True):
            setattr(layer, name, _again(kept, model.device))
        self.epoch, self.batch, self.logs = state["epoch"], state["batch"], state["logs"]
        model.stop_training = state["stop"]


def _kept(state: Any) -> Any:
    """Return what a stateful layer goes on from, as a file keeps it."""
    if isinstance(state, (tuple, list)):
        return [_kept(part) for part in state]
    return to_host(state) if on_device(state) else state


def _again(kept: Any, device: str) -> Any:
    if isinstance(kept, list):
        return tuple(_again(part, device) for part in kept)
    return None if kept is None else to_device(kept, device)


# ---------------------------------------------------------------- fit


def fit(
    model: Model,
    data: Samples,
    validation: Samples | None,
    *,
    batch_size: int | None,
    epochs: int,
    verbose: Any,
    callbacks: Any,
    shuffle: bool,
    initial_epoch: int,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    validation_batch_size: int | None,
    validation_freq: Any,
) -> History:
    """Train on arrays; see `Model.fit`."""
    model._optimizer()
    last, first = integer("epochs", epochs, 1), integer("initial_epoch", initial_epoch, 0)
    choice("verbose", verbose, VERBOSE)
    size = size_of("batch_size", batch_size)
    validation_size = size_of("validation_batch_size", validation_batch_size, size)
    steps = _steps("steps_per_epoch", steps_per_epoch)
    validates = _validates(validation_freq)
    if flag("shuffle", shuffle) and any(layer.stateful for layer in model._recurrent()):
        raise ValueError("shuffle: expected False for a model with stateful layers, got True")
    model._check_data(data, size)
    feed = Arrays(model, data, size, steps, shuffle)
    held_out = None
    if validation:
        model._check_data(validation, validation_size)
        model._check_rows(min(len(data), size), min(len(validation), validation_size))
        held_out = part_of(model, validation, validation_size, validation_steps, "validation_steps")
    elif validation_steps is not None:
        raise ValueError(f"validation_steps: expected None without validation data, "
                         f"got {shown(validation_steps)}")  # fmt: skip
    found = CallbackList(callbacks, add_history=True, add_progbar=verbose != 0)
    model._build_for(data.xs)
    found.set_model(model)
    found.set_params({"verbose": verbose, "epochs": last, "steps": feed.steps})
    if steps is None:
        found.count_samples(len(data), size)

    def validate(epoch: int) -> dict[str, float]:
        if held_out is None or not validates(epoch):
            return {}
        logs = evaluate(model, held_out, found)
        return {f"val_{name}": value for name, value in logs.items()}

    try:
        Run(model, feed, found, first, last, validate).train()
    finally:
        found._close()
    assert found.history is not None
    return found.history


def evaluate(model: Model, feed: Arrays, callbacks: CallbackList) -> dict[str, float]:
    """Return loss and metrics over the batches of an epoch of `feed`."""
    mean, penalty, (_, heads) = RunningMean(model.metrics), model.penalty(), model._compiled()
    heard = callbacks.hears("on_test_batch_begin", "on_test_batch_end")
    model.stop_evaluating = False
    callbacks.on_test_begin()
    feed.start_epoch()
    for step, batch in enumerate(feed.batches()):
        callbacks.on_test_batch_begin(step)
        tape = or_as_before(model._states(), model._pass, batch, heads.linear)
        mean.add(heads.forward(tape, batch).plus(penalty))
        callbacks.on_test_batch_end(step, mean.logs() if heard else {})
        if model.stop_evaluating:
            break
    logs = mean.result()
    callbacks.on_test_end(logs)
    return logs


def predict(
    model: Model, data: Samples, size: int, shapes: Sequence[Any], callbacks: CallbackList
) -> list[Any]:
    """Return each output of all samples; fewer where a callback stops it."""
    count, rows = len(data), 0
    found = [np.empty([count, *(n or 0 for n in shape[1:])], model.dtype) for shape in shapes]
    model.stop_predicting = False
    callbacks.on_predict_begin()
    for step, at in enumerate(batches(count, size, None)):
        callbacks.on_predict_batch_begin(step)
        tape = or_as_before(model._states(), model._pass, model._cast(data[at]))
        for outputs, value in zip(found, tape.outputs, strict=True):
            outputs[at] = to_host(value)
        rows = at.stop
        of_batch = model._as_given([outputs[at] for outputs in found])
        callbacks.on_predict_batch_end(step, {"outputs": of_batch})
        if model.stop_predicting:
            break
    callbacks.on_predict_end()
    return [outputs[:rows] for outputs in found]


def part_of(model: Model, data: Samples, size: int, steps: Any, name: str) -> Arrays:
    """Return the first batches of arrays to evaluate; ValueError where there are fewer."""
    feed, count = Arrays(model, data, size), _steps(name, steps)
    if count is not None and count > feed.steps:
        raise ValueError(f"{name}: expected at most {feed.steps} batches, got {count}")
    if count is None or count == feed.steps:
        return feed
    return Arrays(model, data[: count * size], size)


def _steps(name: str, steps: Any) -> int | None:
    return None if steps is None else integer(name, steps, 1)


def _validates(frequency: Any) -> Callable[[int], bool]:
    """Return what tells whether an epoch, from 0, has a validation."""
    if isinstance(frequency, (list, tuple, set, frozenset, range)):
        chosen = {integer("validation_freq", epoch, 1) for epoch in frequency}
        return lambda epoch: epoch + 1 in chosen
    every = integer("validation_freq", frequency, 1)
    return lambda epoch: (epoch + 1) % every == 0

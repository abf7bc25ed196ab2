"""`Model.fit` and `evaluate`: arguments, and the loop over batches to evaluate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..arguments import choice, flag, integer, shown
from ..callbacks.callback_list import CallbackList
from ..callbacks.history import History
from ..whole import or_as_before
from .feeding import Arrays, Feed
from .fitting import RunningMean
from .given import Samples, check_inputs
from .running import Run
from .sources import Source

if TYPE_CHECKING:
    from . import Model

__all__ = ["VERBOSE", "evaluate", "fit", "ready", "size_of", "to_evaluate", "to_predict"]

VERBOSE = (0, 1, 2, "auto")


def fit(
    model: Model,
    data: Samples | Source,
    validation: Samples | Source | None,
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
    """Train; see `Model.fit`."""
    model._optimizer()
    last, first = integer("epochs", epochs, 1), integer("initial_epoch", initial_epoch, 0)
    choice("verbose", verbose, VERBOSE)
    steps = _steps("steps_per_epoch", steps_per_epoch)
    validates = _validates(validation_freq)
    _check_validation(validation, validation_batch_size, validation_steps, last - first)
    feed = _to_train(model, data, batch_size, steps, shuffle)
    held_out = _held_out(model, feed, validation, validation_batch_size, validation_steps)
    found = ready(model, feed, CallbackList(callbacks, True, verbose != 0), verbose, last)

    def validate(epoch: int) -> dict[str, float]:
        if held_out is None or not validates(epoch):
            return {}
        if not held_out.goes_on():
            text = f"validation_data: no batches are left for epoch {epoch + 1}"
            warnings.warn(text, stacklevel=7)
            return {}
        logs = evaluate(model, held_out, found)
        return {f"val_{name}": value for name, value in logs.items()}

    try:
        Run(model, feed, found, first, last, validate).train()
    finally:
        found._close()
    assert found.history is not None
    return found.history


def _to_train(
    model: Model, data: Samples | Source, batch_size: Any, steps: int | None, shuffle: Any
) -> Feed:
    """Return the feed of an array's or a source's batches."""
    shuffles = flag("shuffle", shuffle) and not (isinstance(data, Source) and not data.is_numbered)
    if shuffles and any(layer.stateful for layer in model._recurrent()):
        raise ValueError("shuffle: expected False for a model with stateful layers, got True")
    if isinstance(data, Source):
        _check_no_size("batch_size", batch_size)
        return data.feed(steps, shuffles)
    size = size_of("batch_size", batch_size)
    model._check_data(data, size)
    return Arrays(model, data, size, steps, shuffles)


def _held_out(
    model: Model, feed: Feed, validation: Samples | Source | None, size: Any, steps: Any
) -> Feed | None:
    """Return the feed of the validation beside that of the training."""
    if validation is None:
        return None
    if isinstance(validation, Samples) and isinstance(feed, Arrays):
        size = feed.batch_size if size is None else size
        rows = min(len(validation), size_of("validation_batch_size", size))
        model._check_rows(min(len(feed.data), feed.batch_size), rows)
    return to_evaluate(model, validation, size, steps, "validation_")


def to_evaluate(
    model: Model, data: Samples | Source, batch_size: Any, steps: Any, prefix: str = ""
) -> Feed:
    """Return the first batches, or all, to evaluate; `prefix` is that of arguments' names."""
    name, count = f"{prefix}steps", _steps(f"{prefix}steps", steps)
    if isinstance(data, Source):
        _check_no_size(f"{prefix}batch_size", batch_size)
        return data.part(name, count)
    size = size_of(f"{prefix}batch_size", batch_size)
    model._check_data(data, size)
    return _first(model, data, size, name, count)


def to_predict(model: Model, data: Samples | Source, batch_size: Any, steps: Any) -> Feed:
    """Return the first batches, or all, to predict."""
    if isinstance(data, Source):
        _check_no_size("batch_size", batch_size)
        return data.part("steps", _steps("steps", steps))
    size = size_of("batch_size", batch_size)
    check_inputs(model, data.xs, size, finite=False)
    return _first(model, data, size, "steps", _steps("steps", steps))


def _first(model: Model, data: Samples, size: int, name: str, count: int | None) -> Arrays:
    feed = Arrays(model, data, size)
    if count is not None and count > feed.steps:
        raise ValueError(f"{name}: expected at most {feed.steps} batches, got {count}")
    if count is None or count == feed.steps:
        return feed
    return Arrays(model, data[: count * size], size)


def ready(
    model: Model, feed: Feed, callbacks: CallbackList, verbose: Any, epochs: int = 1
) -> CallbackList:
    """Build the model, where it is not, and tell the callbacks of what is to come."""
    if not model.built:
        model._build_for(feed.first().xs)
    callbacks.set_model(model)
    callbacks.set_params({"verbose": verbose, "epochs": epochs, "steps": feed.steps})
    if feed.counts is not None:
        callbacks.count_samples(*feed.counts)
    return callbacks


def evaluate(model: Model, feed: Feed, callbacks: CallbackList) -> dict[str, float]:
    """Return loss and metrics over the batches of an epoch of `feed`."""
    penalty, (_, heads) = model.penalty(), model._compiled()
    mean = RunningMean(heads)
    heard = callbacks.hears("on_test_batch_begin", "on_test_batch_end")
    model.stop_evaluating = False
    callbacks.on_test_begin()
    feed.start_epoch()
    with closing(feed.batches()) as batches:
        for step, batch in enumerate(batches):
            callbacks.on_test_batch_begin(step)
            tape = or_as_before(model._states(), model._pass, batch, heads.linear)
            mean.add(heads.forward(tape, batch).plus(penalty))
            callbacks.on_test_batch_end(step, mean.logs() if heard else {})
            if model.stop_evaluating:
                break
    logs = mean.result()
    callbacks.on_test_end(logs)
    return logs


def size_of(name: str, batch_size: Any) -> int:
    """Return the number of samples in a batch, of which None is 32."""
    return 32 if batch_size is None else integer(name, batch_size, 1)


def _check_no_size(name: str, batch_size: Any) -> None:
    if batch_size is not None:
        expected = "None for data that brings its own batches"
        raise ValueError(f"{name}: expected {expected}, got {shown(batch_size)}")


def _check_validation(
    validation: Samples | Source | None, batch_size: Any, steps: Any, epochs: int
) -> None:
    """Raise ValueError for arguments that do not fit, before a generator is asked for a batch."""
    size_of("validation_batch_size", batch_size)
    _steps("validation_steps", steps)
    if validation is None and steps is not None:
        expected = "None without validation data"
        raise ValueError(f"validation_steps: expected {expected}, got {shown(steps)}")
    if isinstance(validation, Source):
        _check_no_size("validation_batch_size", batch_size)
        if validation.once and steps is None and epochs > 1:
            expected = "a number of batches for a generator and several epochs"
            raise ValueError(f"validation_steps: expected {expected}, got None")


def _steps(name: str, steps: Any) -> int | None:
    return None if steps is None else integer(name, steps, 1)


def _validates(frequency: Any) -> Callable[[int], bool]:
    """Return what tells whether an epoch, from 0, has a validation."""
    if isinstance(frequency, (list, tuple, set, frozenset, range)):
        chosen = {integer("validation_freq", epoch, 1) for epoch in frequency}
        return lambda epoch: epoch + 1 in chosen
    every = integer("validation_freq", frequency, 1)
    return lambda epoch: (epoch + 1) % every == 0

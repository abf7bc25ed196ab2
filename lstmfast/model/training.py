"""`Model.fit` and `evaluate` on arrays: arguments, and the loop over batches to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..arguments import choice, flag, integer, shown
from ..callbacks.callback_list import CallbackList
from ..callbacks.history import History
from ..samples import Data, split
from ..whole import or_as_before
from .feeding import Arrays
from .fitting import RunningMean
from .running import Run

if TYPE_CHECKING:
    from . import Model

__all__ = ["VERBOSE", "evaluate", "fit", "part_of", "refuse", "size_of"]

VERBOSE = (0, 1, 2, "auto")


def refuse(**given: Any) -> None:
    """Raise ValueError for what is asked for and cannot be had yet."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}: expected None, as it is not supported yet, got one")


def size_of(name: str, batch_size: Any, default: int = 32) -> int:
    """Return the number of samples in a batch, of which None is the default."""
    return default if batch_size is None else integer(name, batch_size, 1)


def fit(
    model: Model,
    x: Any,
    y: Any,
    *,
    batch_size: int | None,
    epochs: int,
    verbose: Any,
    callbacks: Any,
    validation_split: float,
    validation_data: Any,
    shuffle: bool,
    initial_epoch: int,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    validation_batch_size: int | None,
    validation_freq: Any,
) -> History:
    """Train on arrays; see `Model.fit`, which has refused what is not supported."""
    model._optimizer()
    last, first = integer("epochs", epochs, 1), integer("initial_epoch", initial_epoch, 0)
    choice("verbose", verbose, VERBOSE)
    size = size_of("batch_size", batch_size)
    validation_size = size_of("validation_batch_size", validation_batch_size, size)
    steps = _steps("steps_per_epoch", steps_per_epoch)
    validates = _validates(validation_freq)
    if flag("shuffle", shuffle) and any(layer.stateful for layer in model._recurrent()):
        raise ValueError("shuffle: expected False for a model with stateful layers, got True")
    data, validation = split(x, y, validation_split, validation_data)
    model._check_data(data, size)
    feed = Arrays(model, data, size, steps, shuffle)
    held_out = None
    if validation:
        model._check_data(validation, validation_size)
        model._check_rows(min(len(data[0]), size), min(len(validation[0]), validation_size))
        held_out = part_of(model, validation, validation_size, validation_steps, "validation_steps")
    elif validation_steps is not None:
        raise ValueError(f"validation_steps: expected None without validation data, "
                         f"got {shown(validation_steps)}")  # fmt: skip
    found = CallbackList(callbacks, add_history=True, add_progbar=verbose != 0)
    model._build_for(data[0])
    found.set_model(model)
    found.set_params({"verbose": verbose, "epochs": last, "steps": feed.steps})
    if steps is None:
        found.count_samples(len(data[0]), size)

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
    mean, penalty, (_, loss) = RunningMean(model.metrics), model.penalty(), model._compiled()
    heard = callbacks.hears("on_test_batch_begin", "on_test_batch_end")
    model.stop_evaluating = False
    callbacks.on_test_begin()
    feed.start_epoch()
    for batch, (x, y) in enumerate(feed.batches()):
        callbacks.on_test_batch_begin(batch)
        outputs = or_as_before(model._states(), model._run, x, False, loss.wants_logits)
        mean.add(loss.forward(outputs, y).plus(penalty))
        callbacks.on_test_batch_end(batch, mean.logs() if heard else {})
        if model.stop_evaluating:
            break
    logs = mean.result()
    callbacks.on_test_end(logs)
    return logs


def part_of(model: Model, data: Data, size: int, steps: Any, name: str) -> Arrays:
    """Return the first batches of arrays to evaluate; ValueError where there are fewer."""
    feed, count = Arrays(model, data, size), _steps(name, steps)
    if count is not None and count > feed.steps:
        raise ValueError(f"{name}: expected at most {feed.steps} batches, got {count}")
    if count is None or count == feed.steps:
        return feed
    x, y = data
    return Arrays(model, (x[: count * size], y[: count * size]), size)


def _steps(name: str, steps: Any) -> int | None:
    return None if steps is None else integer(name, steps, 1)


def _validates(frequency: Any) -> Callable[[int], bool]:
    """Return what tells whether an epoch, from 0, has a validation."""
    if isinstance(frequency, (list, tuple, set, frozenset, range)):
        chosen = {integer("validation_freq", epoch, 1) for epoch in frequency}
        return lambda epoch: epoch + 1 in chosen
    every = integer("validation_freq", frequency, 1)
    return lambda epoch: (epoch + 1) % every == 0

"""`Model.fit` and `evaluate` on arrays: arguments, and the loop over batches to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import choice, flag, integer, shown
from ..callbacks.callback_list import CallbackList
from ..callbacks.history import History
from ..ops.placement import to_host
from ..whole import or_as_before
from .data import Samples, batches
from .feeding import Arrays
from .fitting import RunningMean
from .running import Run

if TYPE_CHECKING:
    from . import Model

__all__ = ["VERBOSE", "evaluate", "fit", "part_of", "predict", "size_of"]

VERBOSE = (0, 1, 2, "auto")


def size_of(name: str, batch_size: Any, default: int = 32) -> int:
    """Return the number of samples in a batch, of which None is the default."""
    return default if batch_size is None else integer(name, batch_size, 1)


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
    penalty, (_, heads) = model.penalty(), model._compiled()
    mean = RunningMean(heads)
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

"""Model: a chain of layers that compiles, fits, predicts and saves, as in Keras 3.

>>> model = Model([Embedding(10000, 128), LSTM(256), Dense(10000, "softmax")], seed=0)
>>> model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
>>> history = model.fit(x, y, batch_size=64, epochs=5, validation_split=0.1)
>>> model.save("words.lstm")
>>> model = load("words.lstm")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from .. import losses, optimizers
from ..arguments import Array, Shape, choice, flag, integer
from ..callbacks.callback_list import CallbackList
from ..callbacks.history import History
from ..layers import Layer
from ..layers.quantized import Quantized
from ..losses import AnyLoss, Loss
from ..ops.placement import to_device, to_host
from ..optimizers import Optimizer
from ..samples import Data, as_array, check_held
from ..samples import with_same_length as paired
from ..whole import or_as_before
from . import files, quantizing, saving, training
from .chain import Chain, check_loss, metric_names, shapes_through
from .fitting import RunningMean, Steps, batches

__all__ = ["Model", "load"]


class Model(Chain):
    """A chain of layers that can be trained.

    Parameters
    ----------
    layers : sequence of Layer
        Input first. A layer that is built already keeps its weights.
    device : {"cpu", "cuda"}
        "cuda": weights and all arithmetic of training are on the GPU; data is moved there ahead of
        its use, and losses come back. `lstmfast.cuda.support` lists what runs there.
    dtype : {"float32", "float64"}
        Of weights and outputs.
    precision : str, optional
        What products of float32 matrices are calculated in: "float32" (as None) or "bfloat16",
        on "cuda" also "tf32", the faster the fewer their bits; weights and sums stay float32.
        "float16", on "cuda", and "int8", on "cpu", serve to predict, not to train: small gradients
        would become zero.
    seed : int, optional
        Of the initial weights and of shuffling: the same seed gives the same bits, at any number
        of threads. Without it both differ from run to run.
    name : str, optional

    Attributes
    ----------
    layers : list of Layer
        Those without a name of their own get one that is unique here: lstm, lstm_1, ...
    optimizer, loss, metrics
        What `compile` was given, as objects and a list of names.
    history : History or None
        Of the last `fit`.
    stop_training : bool
        Callbacks set it to end `fit`; `stop_evaluating` and `stop_predicting` do so to the others.
    report : Report or None
        Of a Model that `quantize` made: the error layer by layer.

    Notes
    -----
    Inputs x are integer ids (B, ...) where the first layer is an Embedding, else real numbers
    (B, T, I). They may have any integer or float dtype and any strides: each batch is copied and
    cast as needed, never the whole. Weights exist from the start when the first layer is an
    Embedding or knows its `input_shape`; otherwise from `build` or from the first data on.

    Raises
    ------
    ValueError
        For layers that do not fit each other, for "cuda" where there is no GPU that can be used,
        and for layers that have no kernels there.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        device: str = "cpu",
        dtype: str = "float32",
        seed: int | None = None,
        name: str | None = None,
        precision: str | None = None,
    ):
        super().__init__(layers, dtype, seed, name, device, precision)
        self.report: quantizing.Report | None = None
        self.optimizer: Optimizer | None = None
        self.loss: Loss | None = None
        self.metrics: list[str] = []
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False

    # Training.

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss | None = None,
        metrics: Sequence[str] | None = None,
    ) -> None:
        """Choose how to train.

        Parameters
        ----------
        optimizer : str or Optimizer
            "sgd", "adam" or an object; an object brings its state along.
        loss : str, Loss or None
            None is enough to predict. A cross-entropy from probabilities needs a last layer
            Dense(activation="softmax"); both then run as one kernel on the logits.
        metrics : list of str, optional
            "accuracy" ("acc", "categorical_accuracy", "sparse_categorical_accuracy"): the share of
            rows whose largest output is at the target. Needs a cross-entropy.

        Raises
        ------
        ValueError
            For unknown names, and for a loss or metric that does not fit; nothing is changed then.
        """
        chosen = None if loss is None else losses.get(loss)
        check_loss(chosen, self.layers)
        checked = metric_names(metrics, chosen)
        self.optimizer, self.loss, self.metrics = optimizers.get(optimizer), chosen, checked

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        *,
        lengths: Any = None,
        mask: Any = None,
    ) -> History:
        """Train.

        Parameters
        ----------
        x, y : array_like
            Samples along the first axis.
        batch_size : int, optional
            32 by default. The last batch of an epoch may be smaller.
        epochs, initial_epoch : int
            Runs the epochs initial_epoch + 1 ... epochs.
        verbose : {"auto", 0, 1, 2}
            1, as "auto": a bar (a line per epoch where stderr is no terminal and no notebook); 0:
            nothing; 2: a line per epoch on stdout.
        callbacks : list of Callback, optional
            See `lstmfast.callbacks`.
        validation_split : float in [0, 1)
            This share of the samples, the last ones before shuffling, is kept out of training and
            evaluated after each epoch.
        validation_data : (x, y), optional
            To evaluate after each epoch; not together with `validation_split`.
        shuffle : bool
            A new order in each epoch. Must be False for stateful layers.
        steps_per_epoch : int, optional
            Batches in an epoch, where that is not once through the samples: the next epoch goes on
            with the samples that are left, then with all of them again.
        validation_steps : int, optional
            Batches of a validation: the first ones.
        validation_batch_size : int, optional
            `batch_size` by default.
        validation_freq : int or list of int
            Evaluate after each so many epochs, or after these, counted from 1.
        class_weight, sample_weight, lengths, mask : None
            Not supported yet.

        Returns
        -------
        History
            `history` with the keys loss, accuracy, val_loss, val_accuracy, as far as asked for.

        Raises
        ------
        ValueError
            For bad arguments or data, before the first step: also for NaN, Inf and for numbers that
            the model's dtype cannot hold, wherever they are.
        TrainingError
            A FloatingPointError: when the loss becomes NaN or Inf, before the weights are changed
            by it (on a GPU: after), or when weights have, at the end of an epoch. With the callback
            TerminateOnNaN training ends instead.
        """
        training.refuse(
            class_weight=class_weight, sample_weight=sample_weight, lengths=lengths, mask=mask
        )
        return training.fit(
            self, x, y, batch_size=batch_size, epochs=epochs, verbose=verbose,
            callbacks=callbacks, validation_split=validation_split,
            validation_data=validation_data, shuffle=shuffle, initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch, validation_steps=validation_steps,
            validation_batch_size=validation_batch_size, validation_freq=validation_freq,
        )  # fmt: skip

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Take one step on one batch; return its loss, or [loss, metrics...], before the step.

        Or, with `return_dict`, all by name. After an exception, KeyboardInterrupt too, the step has
        been taken or nothing has changed: weights, the optimizer's state, that of stateful layers,
        random numbers. So in `fit`. A loss that is NaN or Inf is a TrainingError, as there.
        """
        training.refuse(sample_weight=sample_weight, class_weight=class_weight)
        flag("return_dict", return_dict)
        optimizer = self._optimizer()
        batch = self._one_batch(x, y)  # which builds the model
        loss = Steps(self, optimizer).take(*batch)
        return self._result(loss, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Return the loss of one batch, or [loss, metrics...], or with `return_dict` by name."""
        training.refuse(sample_weight=sample_weight)
        flag("return_dict", return_dict)
        _, loss = self._compiled()
        x, y = self._one_batch(x, y)
        outputs = or_as_before(self._states(), self._run, x, False, loss.wants_logits)
        return self._result(loss.forward(outputs, y).plus(self.penalty()), return_dict)

    def predict_on_batch(self, x: Any) -> Array:
        """Return the outputs for one batch."""
        x = as_array("x", x)
        return self.predict(x, batch_size=len(x), verbose=0)

    def gradients(self, x: Any, y: Any) -> tuple[float, list[Array]]:
        """Return the mean loss of one batch and its gradients, one for each of `params`.

        Both contain what regularizers add. A training loop of one's own:

        >>> for x, y in batches:
        ...     loss, grads = model.gradients(x, y)
        ...     optimizer.apply(model.params, grads)
        ...     model.constrain()             # where layers have constraints
        """
        batch = self._one_batch(x, y)
        before = [*self._states(), *self._generator()]
        loss, grads = or_as_before(before, self._gradients, *batch)
        return loss.mean, grads

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = 0,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the mean loss over all samples, or [loss, metrics...].

        As in Keras, the loss holds what the regularizers add.

        Parameters
        ----------
        x, y, batch_size, verbose, callbacks
            As in `fit`.
        steps : int, optional
            Only the first so many batches.
        return_dict : bool
            Return all by name.
        """
        training.refuse(sample_weight=sample_weight)
        flag("return_dict", return_dict)
        choice("verbose", verbose, training.VERBOSE)
        data, size = paired(x, y), training.size_of("batch_size", batch_size)
        self._compiled()
        self._check_data(data, size)
        feed = training.part_of(self, data, size, steps, "steps")
        found = CallbackList(callbacks, add_progbar=verbose != 0)
        self._build_for(data[0])
        found.set_model(self)
        found.set_params({"verbose": verbose, "epochs": 1, "steps": feed.steps})
        found.count_samples(len(feed.data[0]), size)
        try:
            logs = training.evaluate(self, feed, found)
        finally:
            found._close()
        if return_dict:
            return logs
        return list(logs.values()) if self.metrics else logs["loss"]

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = 0,
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Array:
        """Return the outputs for all samples, (N, ...) of the model's dtype.

        NaN and Inf go through; numbers that the dtype cannot hold are a ValueError. `steps`: only
        for the first so many batches.
        """
        choice("verbose", verbose, training.VERBOSE)
        x, size = as_array("x", x), training.size_of("batch_size", batch_size)
        _, *trailing = self._check_x(x, size)
        count = -(-len(x) // size) if steps is None else integer("steps", steps, 1)
        if (count - 1) * size >= len(x):
            raise ValueError(f"steps: expected at most {-(-len(x) // size)} batches, got {count}")
        found = CallbackList(callbacks, add_progbar=verbose != 0)
        self._build_for(x)
        found.set_model(self)
        found.set_params({"verbose": verbose, "epochs": 1, "steps": count})
        rows = min(len(x), count * size)
        found.count_samples(rows, size)
        outputs = np.empty([rows, *(size or 0 for size in trailing)], self.dtype)
        try:
            return self._predicted(x, size, outputs, found)
        finally:
            found._close()

    def _predicted(self, x: Array, size: int, outputs: Array, callbacks: CallbackList) -> Array:
        self.stop_predicting = False
        callbacks.on_predict_begin()
        rows = 0
        for step, at in enumerate(batches(len(outputs), size, None)):
            callbacks.on_predict_batch_begin(step)
            batch = to_device(self._cast(x[at]), self.device)
            outputs[at] = to_host(or_as_before(self._states(), self._run, batch))
            rows = at.stop
            callbacks.on_predict_batch_end(step, {"outputs": outputs[at]})
            if self.stop_predicting:
                break
        callbacks.on_predict_end()
        return outputs[:rows]

    def to(self, device: str, precision: str | None = None) -> Model:
        """Bring weights and the optimizer's state to another device, and return the model.

        Raises
        ------
        ValueError
            As the constructor; the model is then as it was.
        """
        self._check_place(device, precision)
        before = [one for layer in self.layers for one in layer.as_it_is()] + self._states()
        places = [(self, "device", self.device), (self, "precision", self.precision)]
        or_as_before([*before, *places], self._move, device, precision)
        return self

    def _move(self, device: str, precision: str | None) -> None:
        for layer in self.layers:
            layer.to(device, precision)
        self.device, self.precision = device, precision
        if self.optimizer is not None:
            self.optimizer.to(device)

    def quantize(
        self, precision: str = "int8", calibration: Any = None, batch_size: int = 32
    ) -> Model:
        """Return a new Model for inference whose LSTM, Dense and Embedding weights are int8.

        A quarter of the memory; what is rounded, and what it gains and costs: docs/precision.md.
        Layers without such a form stay float32. The new Model predicts and evaluates (without
        regularizers), streams, saves and loads, but does not train.

        Parameters
        ----------
        precision : {"int8"}
        calibration : array_like, optional
            Inputs as of `predict`, on which `report` tells the error of each layer's outputs.
            Nothing else depends on them: scales follow from the weights, and from x and h as they
            come.
        batch_size : int
            Of the calibration.

        Returns
        -------
        Model
            Its `report` holds the error layer by layer (`print(small.report)`).

        Raises
        ------
        ValueError
            When the model is not built, is no float32 model on the CPU, is quantized already, or a
            weight is NaN or Inf; or for data that `predict` would not take.
        """
        choice("precision", precision, ("int8",))
        if self.device != "cpu":
            raise ValueError(f"device: expected the CPU to quantize on, got {self.device!r}")
        small = quantizing.quantize(self, calibration, batch_size, Model)
        if self.optimizer is not None:
            small.compile(**saving.compiled_like(self))
        return small

    # Files.

    def save(self, path: files.StrPath, include_optimizer: bool = True) -> None:
        """Write the model to `path`, with any suffix or none; see `load`.

        Parameters
        ----------
        path : str or path-like
            An earlier file is replaced, at once and only by a complete one that is on the disk; its
            permissions and owner stay, and so does a symbolic link to it. What a process that was
            killed while it wrote left in the folder is removed.
        include_optimizer : bool
            Keep the optimizer's state and the generator's, so that training goes on with the same
            bits as if it had not been interrupted. The running state of stateful layers is not
            kept.

        Raises
        ------
        ValueError
            When the model is not built, a weight is NaN or Inf, or `path` is there but no regular
            file; nothing is written.
        OSError
            When the disk is full or the path may not be written to; an earlier file is as it was.
        """
        self._built_layers()
        saving.save(self, path, flag("include_optimizer", include_optimizer))

    def save_weights(self, path: files.StrPath) -> None:
        """Write the weights to `path`, for `load_weights`; see `save`, of which it is a part."""
        self.save(path, include_optimizer=False)

    def load_weights(self, path: files.StrPath) -> None:
        """Take the weights of a file saved from a model with the same layers.

        Raises
        ------
        ValueError
            When a name, shape or dtype differs, a value is NaN or Inf, or the model is quantized;
            nothing is changed.
        """
        for layer in self._built_layers():
            if isinstance(layer, Quantized):
                layer.check_weights([])
        saving.load_weights(self, path)

    # What the above is made of.

    def _gradients(self, x: Array, y: Array) -> tuple[AnyLoss, list[Array]]:
        _, loss = self._compiled()
        self._check_precision_to_train()
        found, dy = loss.backward(self._run(x, True, loss.wants_logits), y)
        first, *others = self.layers
        for layer in reversed(others):
            dy = layer.backward(dy)  # type: ignore[assignment]
        first.backward(dy, need_dx=False)
        found = found.plus(self.penalty())
        for layer in self.layers:
            layer.add_penalty_gradients()
        return found, [grad for layer in self.layers for grad in layer.grads.values()]

    def _batches(self, data: Data, chosen: Iterable[Any]) -> Iterator[Data]:
        """Yield the batches as the layers and the loss take them, where the model is."""
        (x, y), loss = data, self._compiled()[1]
        if self.device == "cpu":
            return ((self._cast(x[at]), y[at]) for at in chosen)
        shape = shapes_through(self.layers, x.shape)[-1]
        pairs = ((self._cast(x[at]), loss.targets(y[at], shape, self.dtype)) for at in chosen)
        return import_module("lstmfast.cuda.runtime.prefetch").ahead(pairs)

    def _result(self, loss: AnyLoss, by_name: bool = False) -> Any:
        mean = RunningMean(self.metrics)
        mean.add(loss)
        logs = mean.result()
        if by_name:
            return logs
        return list(logs.values()) if self.metrics else logs["loss"]

    def _cast(self, x: Array) -> Array:
        """Return one batch as the first layer takes it; a copy only where it must be."""
        dtype = np.dtype(self.dtype)
        if self.layers[0].takes_ids:
            dtype = x.dtype if x.dtype in (np.int32, np.int64) else np.dtype(np.int64)
        return np.ascontiguousarray(x, dtype)

    def _one_batch(self, x: Any, y: Any) -> Data:
        x, y = paired(x, y)
        self._check_data((x, y), len(x))
        self._build_for(x)
        if self.device == "cpu":
            return self._cast(x), y
        targets = self._compiled()[1].targets(
            y, shapes_through(self.layers, x.shape)[-1], self.dtype
        )
        return to_device(self._cast(x), self.device), to_device(targets, self.device)

    def _check_data(self, data: Data, batch_size: int) -> None:
        """Raise ValueError unless all samples can go in and all targets be learnt."""
        (x, y), (_, loss) = data, self._compiled()
        shape = self._check_x(x, batch_size)
        check_held("x", x, self.dtype)
        loss.check(y, shape)
        check_held("y", y, self.dtype, finite=False)  # NaN and Inf are out already

    def _check_x(self, x: Array, batch_size: int) -> Shape:
        """Return the shape of the outputs; ValueError unless all samples can go in."""
        size = integer("batch_size", batch_size, 1)
        self.layers[0].check_input(x)
        check_held("x", x, self.dtype, finite=False)
        shapes = shapes_through(self.layers, x.shape)
        if len(x) > size and len(x) % size and any(layer.stateful for layer in self._recurrent()):
            expected = f"a multiple of batch_size {size} for stateful layers"
            raise ValueError(f"x: expected {expected}, got {len(x)} samples")
        return shapes[-1]

    def _check_rows(self, rows: int, others: int) -> None:
        """Raise ValueError if stateful layers would meet batches of unlike size."""
        if rows != others and any(layer.stateful for layer in self._recurrent()):
            expected = f"batches of {rows} rows for stateful layers, as in training"
            raise ValueError(f"validation_data: expected {expected}, got {others}")

    def _optimizer(self) -> Optimizer:
        """The optimizer, its state where the model is."""
        optimizer, _ = self._compiled()
        optimizer.to(self.device)
        return optimizer

    def _check_precision_to_train(self) -> None:
        """float16 would need a scaled loss, int8 has no gradients."""
        if self.precision in ("float16", "int8"):
            expected = "'float32', 'tf32' or 'bfloat16' to train"
            raise ValueError(f"precision: expected {expected}, got {self.precision!r}")

    def _compiled(self) -> tuple[Optimizer, Loss]:
        if self.optimizer is None or self.loss is None:
            raise ValueError("loss: expected one from compile(optimizer, loss), got None")
        return self.optimizer, self.loss


def load(path: files.StrPath) -> Model:
    """Return the model that `Model.save` wrote, on the CPU, compiled as it was.

    Raises
    ------
    ValueError
        When the file is cut short, is no lstmfast file of format 1 or 2, holds names, shapes,
        dtypes or values (NaN, Inf) that do not make a model, is no regular file (a FIFO, a device),
        changes while it is read, or has a header beyond 8 MiB, 500,000 values or a depth of 32; the
        text says what was expected and found, in a line.
    FileNotFoundError
    """
    with files.opened(path) as file:
        return saving.load(file, Model)

"""Model: a chain of layers that compiles, fits, predicts and saves, as in Keras 3.

>>> model = Model([Embedding(10000, 128), LSTM(256), Dense(10000, "softmax")], seed=0)
>>> model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
>>> history = model.fit(x, y, batch_size=64, epochs=5, validation_split=0.1)
>>> model.save("words.lstm")
>>> model = load("words.lstm")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .. import optimizers
from ..arguments import Array, choice, flag
from ..callbacks.callback_list import CallbackList
from ..callbacks.history import History
from ..layers import Layer
from ..layers.checks import sizes
from ..layers.quantized import Quantized
from ..layers.symbolic import connected, is_symbolic, tensors_in
from ..optimizers import Optimizer
from ..whole import or_as_before
from . import files, predicting, quantizing, saving, subclassed, summary, training
from .described import described
from .fitting import Steps
from .given import as_masks, check_inputs, taken
from .heads import Heads
from .learner import Learner
from .nested import Nested
from .network import chain_of, end_keys, graph_of, sorted_by_key
from .sources import parts, samples_or_source
from .streaming import ModelStream

__all__ = ["Model", "load"]


class Model(Learner):
    """A chain of layers that can be trained.

    Parameters
    ----------
    layers : sequence of Layer
        Input first. A layer that is built already keeps its weights. A subclass with a method
        `call(x, training=None)`, which gives tensors for tensors, needs none: its graph is made by
        one call, when shapes are known (`build`, or the first data); its file loads as a Model.
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
        layers: Any = None,
        outputs: Any = None,
        *,
        inputs: Any = None,
        device: str = "cpu",
        dtype: str = "float32",
        seed: int | None = None,
        name: str | None = None,
        precision: str | None = None,
    ):
        if outputs is not None and layers is not None and inputs is None:
            layers, inputs = None, layers
        self._later: dict[str, Any] | None = None  # what to compile with, once there is a graph
        self.is_open = layers is None and inputs is None and outputs is None and self._has_call
        if self.is_open:
            layers = chain_of([], may_be_empty=True)
        inputs, outputs = sorted_by_key(inputs), sorted_by_key(outputs)
        graph = graph_of(layers, inputs, outputs)
        given = None
        if is_symbolic(list(tensors_in(inputs))):
            given = list(tensors_in(inputs)), list(tensors_in(outputs))
        super().__init__(graph, dtype, seed, name, device, precision, given)
        self.name_ends(end_keys(inputs), end_keys(outputs))
        self.report: quantizing.Report | None = None
        self.optimizer: Optimizer | None = None
        self.loss: Any = None
        self.metrics: list[str] = []
        self._heads = None
        self._nested: Nested | None = None
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False

    # A subclass with `call`, whose graph is made when shapes are known.

    @property
    def _has_call(self) -> bool:
        return hasattr(type(self), "call")

    def build(self, input_shape: Any) -> None:
        if not self.is_open:
            return super().build(input_shape)
        is_one = not isinstance(input_shape, list)
        given = [input_shape] if is_one else input_shape
        shapes = [sizes("input_shape", shape, 0) for shape in given]
        subclassed.trace(self, [(None, *shape[1:]) for shape in shapes], None, is_one)
        self._close()

    def meet(self, x: Any) -> None:
        if self.is_open and x is not None:
            subclassed.trace_for(self, x)
            self._close()

    def _close(self) -> None:
        self.is_open = False
        if self._later is not None:
            later, self._later = self._later, None
            self.compile(**later)

    def _compiled(self) -> tuple[Optimizer, Any]:
        if self.is_open and self._later is not None:
            return self._later["optimizer"], None
        return super()._compiled()

    # Training.

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose how to train.

        Parameters
        ----------
        optimizer : str or Optimizer
            "sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam" or an object; an object brings its
            state along.
        loss : str or Loss, optional
            None is enough to predict. Of several outputs a list or a dict by name; one for all of
            them will do, and None for some. A cross-entropy from probabilities wants a last layer
            Dense(activation="softmax"), a binary one "sigmoid": both then run as one on the sums.
        metrics : list, optional
            Names such as "accuracy", `Metric` objects or functions `f(y_true, y_pred)`; of several
            outputs a list of lists, or a dict by name. They are told of masks.
        loss_weights : list or dict of float, optional
            What the loss of each output counts in their sum.
        weighted_metrics : list, optional
            As `metrics`, but told of sample weights, too.
        run_eagerly : {False}
        steps_per_execution : {1}
        jit_compile : {"auto", True, False}
            The kernels are compiled ahead, whatever it says.
        auto_scale_loss : bool
            Of an optimizer that scales losses, which none here does.

        Raises
        ------
        ValueError
            For unknown names, and for a loss or metric that does not fit; nothing is changed then.
        """
        choice("run_eagerly", run_eagerly, (False,))
        choice("steps_per_execution", steps_per_execution, (1,))
        choice("jit_compile", jit_compile, ("auto", True, False))
        flag("auto_scale_loss", auto_scale_loss)
        if self.is_open:
            self.optimizer = optimizers.get(optimizer)
            self._later = {
                "optimizer": self.optimizer, "loss": loss, "metrics": metrics,
                "loss_weights": loss_weights, "weighted_metrics": weighted_metrics,
            }  # fmt: skip
            return
        shapes = self.graph.output_shapes(self.input_shapes) if self.input_shapes else None
        heads = Heads(
            self.graph, self.output_names, loss, loss_weights, metrics, weighted_metrics, shapes
        )
        self.optimizer, self._heads = optimizers.get(optimizer), heads
        self.loss, self.metrics = heads.loss, heads.metric_names()

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
            Samples along the first axis: arrays, lists, frames of pandas, `numpy.memmap`; of
            several inputs or outputs a list or a dict, or a frame with a column for each. Or x
            alone brings its batches, each x, (x, y), (x, y, sample_weight) or a
            `lstmfast.data.Batch`: a generator, what has `__len__` and `__getitem__` such as a
            `lstmfast.utils.PyDataset`, or what can be iterated in each epoch anew such as a
            PyTorch DataLoader or a tf.data.Dataset. docs/data.md tells how each is read.
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
            evaluated after each epoch. Of arrays only.
        validation_data : (x, y), (x, y, sample_weight), or what brings its batches, optional
            To evaluate after each epoch; not together with `validation_split`.
        shuffle : bool
            A new order in each epoch: of samples, or of the batches of what has `__getitem__`;
            others come as they come. Must be False for stateful layers.
        steps_per_epoch : int, optional
            Batches in an epoch, where that is not once through the data: the next epoch goes on
            with what is left, then with all of it again. When a generator ends, so does `fit`,
            with a warning if epochs were left.
        validation_steps : int, optional
            Batches of a validation: the first ones; of a generator the next ones.
        validation_batch_size : int, optional
            `batch_size` by default.
        validation_freq : int or list of int
            Evaluate after each so many epochs, or after these, counted from 1.
        class_weight : dict of int to float, optional
            What a sample of each class counts in the loss; labels are classes.
        sample_weight : array_like, optional
            What each sample, (N,), or each of its steps, (N, T), counts in the loss; of several
            outputs a list or a dict.
        lengths : (N,) integers, optional
            Sample n takes its first lengths[n] steps: x has a time axis. Of several inputs a list
            or a dict, None for those without.
        mask : bool (N, T), optional
            In place of lengths: the steps to take.

        Returns
        -------
        History
            `history` with the keys loss, accuracy, val_loss, val_accuracy, as far as asked for.

        Raises
        ------
        ValueError
            For bad arguments or data, before the first step: also for NaN, Inf and for numbers that
            the model's dtype cannot hold, wherever they are. Data that brings its batches is
            looked at batch by batch, each before its step. What a generator raises comes through.
        TrainingError
            A FloatingPointError: when the loss becomes NaN or Inf, before the weights are changed
            by it (on a GPU: after), or when weights have, at the end of an epoch. With the callback
            TerminateOnNaN training ends instead.
        """
        self._compiled()
        given = samples_or_source(
            self, x, y, sample_weight, lengths, mask, class_weight=class_weight
        )
        data, validation = parts(self, given, validation_split, validation_data)
        return training.fit(
            self, data, validation, batch_size=batch_size, epochs=epochs, verbose=verbose,
            callbacks=callbacks, shuffle=shuffle, initial_epoch=initial_epoch,
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
        flag("return_dict", return_dict)
        optimizer = self._optimizer()
        batch = self._one_batch(x, y, sample_weight, class_weight)  # which builds the model
        seen = Steps(self, optimizer).take(batch)
        return self._result(seen, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Return the loss of one batch, or [loss, metrics...], or with `return_dict` by name."""
        flag("return_dict", return_dict)
        batch = self._one_batch(x, y, sample_weight)
        _, heads = self._compiled()
        tape = or_as_before(self._states(), self._pass, batch, heads.linear)
        seen = heads.forward(tape, batch).plus(self.penalty())
        return self._result(seen, return_dict)

    def predict_on_batch(self, x: Any) -> Array:
        """Return the outputs for one batch."""
        return self.predict(x, batch_size=len(taken(self, x, has_targets=False)), verbose=0)

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
        seen, grads = or_as_before(before, self._gradients, batch)
        return seen.loss.mean, grads

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
        *,
        lengths: Any = None,
        mask: Any = None,
    ) -> Any:
        """Return the mean loss over all samples, or [loss, metrics...].

        As in Keras, the loss holds what the regularizers add.

        Parameters
        ----------
        x, y, batch_size, verbose, sample_weight, callbacks, lengths, mask
            As in `fit`.
        steps : int, optional
            Only the first so many batches; of a generator the next ones.
        return_dict : bool
            Return all by name.
        """
        flag("return_dict", return_dict)
        choice("verbose", verbose, training.VERBOSE)
        self._compiled()
        data = samples_or_source(self, x, y, sample_weight, lengths, mask)
        feed = training.to_evaluate(self, data, batch_size, steps)
        found = CallbackList(callbacks, add_progbar=verbose != 0)
        try:
            training.ready(self, feed, found, verbose)
            logs = training.evaluate(self, feed, found)
        finally:
            found._close()
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else logs["loss"]

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = 0,
        steps: int | None = None,
        callbacks: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
    ) -> Any:
        """Return the outputs for all samples, (N, ...) of the model's dtype.

        NaN and Inf go through; numbers that the dtype cannot hold are a ValueError.

        Parameters
        ----------
        x, batch_size, verbose, callbacks, lengths, mask
            As in `fit`. Targets that batches bring are left out.
        steps : int, optional
            Only the first so many batches; of a generator the next ones.

        Returns
        -------
        ndarray
            Of several outputs a list, or a dict where they were given to the Model as one. Of
            batches with lengths, outputs of unlike numbers of steps are filled up with zeros.
        """
        choice("verbose", verbose, training.VERBOSE)
        data = samples_or_source(self, x, lengths=lengths, mask=mask, has_targets=False)
        feed = training.to_predict(self, data, batch_size, steps)
        found = CallbackList(callbacks, add_progbar=verbose != 0)
        try:
            training.ready(self, feed, found, verbose)
            return self._as_given(predicting.predict(self, feed, found))
        finally:
            found._close()

    def to(self, device: str, precision: str | None = None) -> Model:
        """Bring weights and the optimizer's state to another device, and return the model.

        Raises
        ------
        ValueError
            As the constructor; the model is then as it was.
        """
        self._check_place(self.graph.layers, device, precision)
        before = [one for layer in self.graph.layers for one in layer.as_it_is()] + self._states()
        places = [(self, "device", self.device), (self, "precision", self.precision)]
        or_as_before([*before, *places], self._move, device, precision)
        return self

    def _move(self, device: str, precision: str | None) -> None:
        for layer in self.graph.layers:
            layer.to(device, precision)
        self.device, self.precision = device, precision
        if self.optimizer is not None:
            self.optimizer.to(device)

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Print a table of the layers: output shapes, numbers of weights, what each takes.

        Parameters
        ----------
        line_length : int, optional
            The most letters of a line, longer texts are broken; as many as it takes by default.
        positions : list of float, optional
            Where the columns end: shares of `line_length` (80 by default), or letters.
        print_fn : callable, optional
            Is given each line; `print` by default.
        expand_nested : bool
            With the layers of Models that are layers here.
        show_trainable : bool
            With a column that says which layers train.
        layer_range : two str, optional
            Only from the first layer whose name matches one pattern to the last that matches the
            other.

        Raises
        ------
        ValueError
            When the model is not built, or for bad arguments.
        """
        self._built_layers()
        flag("expand_nested", expand_nested), flag("show_trainable", show_trainable)
        summary.summary(
            self, print_fn or print, show_trainable, expand_nested, layer_range, line_length,
            positions,
        )  # fmt: skip

    def plot(self, path: files.StrPath, show_shapes: bool = True) -> None:
        """Draw the graph into a file: .png, .svg, .pdf, or .dot, which needs no program.

        Raises
        ------
        ImportError
            Without the package graphviz, or the program dot where it is needed.
        """
        self._built_layers()
        summary.plot(self, path, flag("show_shapes", show_shapes))

    def get_config(self) -> dict[str, Any]:
        """Return the description of the graph, without weights: for `from_config`."""
        self._built_layers()
        return described(self)

    @classmethod
    def from_config(cls, config: Any) -> Model:
        """Return a new model, with new weights, of what `get_config` told; ValueError for other."""
        model: Any = Nested.from_config({"name": "model", "model": config}).model
        model._build_all([entry.shape for entry in model.graph.entries])
        return model  # type: ignore[no-any-return]

    def to_json(self) -> str:
        """Return the description of the graph, without weights, as model files hold it."""
        return json.dumps(self.get_config())

    def stream(self, batch_size: int = 1) -> ModelStream:
        """Return a step-by-step runner of the whole model, with a copy of its present weights.

        >>> stream = model.stream()
        >>> y = stream.step(x)              # x (1, I), y (1, N); states stay in the stream
        """
        return ModelStream(self, batch_size)

    @property
    def operations(self) -> list[Any]:
        """The layers, a Model where that is one, and the arithmetic of tensors."""
        return [one.model if isinstance(one, Nested) else one for one in self._nodes()]

    def as_layer(self) -> Layer:
        if self.is_open:
            expected = "a model with a graph (call it, or build(input_shape), before it is a layer)"
            raise ValueError(f"{self.name}: expected {expected}, got a subclass without")
        if self._nested is None or set(self._nested.inner.values()) != set(self.graph.layers):
            self._nested = Nested(self)
        return self._nested

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Return the outputs for one batch, as the layers give them.

        Of a tensor of a graph (see `Input`), or of several inputs a list: the tensor that will come
        out, or a tuple. The model is then a layer there, and shares its weights.
        """
        if is_symbolic(x) or (isinstance(x, dict) and is_symbolic(list(x.values()))):
            self.meet(x)
            x = list(sorted_by_key(x).values()) if isinstance(x, dict) else x
            return connected(self.as_layer(), x, {"training": True} if training else {})
        batch = self._cast(taken(self, x, has_targets=False))
        check_inputs(self, batch.xs, len(batch), finite=False)
        self._build_for(batch.xs)
        before = [*self._states(), *self._generator()]
        run = or_as_before(before, self._run, batch.xs, as_masks(batch), flag("training", training))
        return self._as_given(run.outputs)

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


Nested.makes["Model"] = Model


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
        return saving.load(file)  # type: ignore[no-any-return]

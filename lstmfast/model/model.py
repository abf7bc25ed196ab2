"""Model: a chain of layers that compiles, fits, predicts and saves, as in Keras 3.

>>> model = Model([Embedding(10000, 128), LSTM(256), Dense(10000, "softmax")], seed=0)
>>> model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
>>> history = model.fit(x, y, batch_size=64, epochs=5, validation_split=0.1)
>>> model.save("words.lstm")
>>> model = load("words.lstm")
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from .. import optimizers
from ..arguments import Array, choice, flag, integer
from ..layers.quantized import Quantized
from ..losses import AnyLoss, Loss
from ..ops.placement import to_device, to_host
from ..optimizers import Optimizer
from ..samples import check_held
from ..whole import or_as_before
from . import files, passes, quantizing, saving, summary
from .described import described
from .feeding import Samples, as_masks, batches, check_inputs, split, taken
from .fitting import History, Progress, RunningMean, Steps
from .graph import Graph
from .heads import Heads, metric_names
from .network import Network, chain_of, end_keys, graph_of
from .streaming import ModelStream

__all__ = ["Model", "Sequential", "load"]


class Model(Network):
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
        graph = graph_of(layers, inputs, outputs)
        super().__init__(graph, dtype, seed, name, device, precision)
        self.name_ends(end_keys(inputs), end_keys(outputs))
        self.report: quantizing.Report | None = None
        self.optimizer: Optimizer | None = None
        self.loss: Any = None
        self.metrics: list[str] = []
        self._heads: Heads | None = None

    # Training.

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss | None = None,
        metrics: Sequence[str] | None = None,
        loss_weights: Any = None,
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
        heads = Heads(self.graph, self.output_names, loss, loss_weights)
        checked = metric_names(metrics, heads.loss)
        self.optimizer, self._heads, self.metrics = optimizers.get(optimizer), heads, checked
        self.loss = heads.loss

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: int = 1,
        validation_split: float = 0.0,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        initial_epoch: int = 0,
    ) -> History:
        """Train.

        Parameters
        ----------
        x, y : array_like
            Samples along the first axis.
        batch_size : int
            The last batch of an epoch may be smaller.
        epochs, initial_epoch : int
            Runs the epochs initial_epoch + 1 ... epochs.
        verbose : {0, 1, 2}
            Nothing, a bar (a line per epoch where stderr is no terminal and no notebook), or a line
            per epoch on stdout.
        validation_split : float in [0, 1)
            This share of the samples, the last ones before shuffling, is kept out of training and
            evaluated after each epoch.
        validation_data : (x, y), optional
            To evaluate after each epoch; not together with `validation_split`.
        shuffle : bool
            A new order in each epoch. Must be False for stateful layers.

        Returns
        -------
        History
            `history` with the keys loss, accuracy, val_loss, val_accuracy, as far as asked for.

        Raises
        ------
        ValueError
            For bad arguments or data, before the first step: also for NaN, Inf and for numbers that
            the model's dtype cannot hold, wherever they are.
        """
        optimizer = self._optimizer()
        last = integer("epochs", epochs, 1)
        first = integer("initial_epoch", initial_epoch, 0)
        choice("verbose", verbose, (0, 1, 2))
        if flag("shuffle", shuffle) and any(layer.stateful for layer in self._recurrent()):
            raise ValueError("shuffle: expected False for a model with stateful layers, got True")
        data, validation = self._parts(x, y, validation_split, validation_data)
        for part in (data, validation) if validation else (data,):
            self._check_data(part, batch_size)
        if validation:
            self._check_rows(len(data), len(validation), batch_size)
        self._build_for(data.xs)
        history = History()
        for epoch in range(first, last):
            with Progress(verbose, f"Epoch {epoch + 1}/{last}", len(data)) as progress:
                logs = self._epoch(data, batch_size, shuffle, optimizer, progress)
                if validation:
                    found = self._evaluated(validation, batch_size)
                    logs |= {f"val_{name}": value for name, value in found.items()}
                progress.finish(logs)
            history.append(epoch, logs)
        return history

    def train_on_batch(self, x: Any, y: Any) -> float | list[float]:
        """Take one step on one batch; return its loss, or [loss, metrics...], before the step.

        After an exception, KeyboardInterrupt too, the step has been taken or nothing has changed:
        weights, the optimizer's state, that of stateful layers, random numbers. So in `fit`.
        """
        optimizer = self._optimizer()
        batch = self._one_batch(x, y)  # which builds the model
        loss = Steps(self, optimizer).take(batch)
        return self._result(loss)

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
        loss, grads = or_as_before(before, self._gradients, batch)
        return loss.mean, grads

    def evaluate(
        self, x: Any, y: Any, batch_size: int = 32, verbose: int = 0
    ) -> float | list[float]:
        """Return the mean loss over all samples, or [loss, metrics...].

        As in Keras, the loss holds what the regularizers add.
        """
        data = taken(self, x, y)
        self._compiled()
        self._check_data(data, batch_size)
        self._build_for(data.xs)
        with Progress(verbose, "Evaluate", len(data)) as progress:
            logs = self._evaluated(data, batch_size, progress)
            progress.finish(logs)
        return list(logs.values()) if self.metrics else logs["loss"]

    def predict(self, x: Any, batch_size: int = 32, verbose: int = 0) -> Array:
        """Return the outputs for all samples, (N, ...) of the model's dtype.

        NaN and Inf go through; numbers that the dtype cannot hold are a ValueError.
        """
        data = taken(self, x, has_targets=False)
        shapes = check_inputs(self, data.xs, batch_size, finite=False)
        self._build_for(data.xs)
        found = [
            np.empty([len(data), *(size or 0 for size in shape[1:])], self.dtype)
            for shape in shapes
        ]
        with Progress(verbose, "Predict", len(data)) as progress:
            for at in batches(len(data), batch_size, None):
                tape = or_as_before(self._states(), self._pass, self._cast(data[at]))
                for outputs, value in zip(found, tape.outputs, strict=True):
                    outputs[at] = to_host(value)
                progress.step(at.stop - at.start, {})
            progress.finish({})
        return self._as_given(found)

    def to(self, device: str, precision: str | None = None) -> Model:
        """Bring weights and the optimizer's state to another device, and return the model.

        Raises
        ------
        ValueError
            As the constructor; the model is then as it was.
        """
        self._check_place(self.layers, device, precision)
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

    def summary(self, print_fn: Callable[[str], Any] = print, show_trainable: bool = False) -> None:
        """Print a table of the layers: output shapes, numbers of weights, what each takes."""
        self._built_layers()
        summary.summary(self, print_fn, flag("show_trainable", show_trainable))

    def plot(self, path: files.StrPath, show_shapes: bool = True) -> None:
        """Draw the graph into a file: .png, .svg, .pdf, or .dot, which needs no program.

        Raises
        ------
        ImportError
            Without the package graphviz, or the program dot where it is needed.
        """
        self._built_layers()
        summary.plot(self, path, flag("show_shapes", show_shapes))

    def to_json(self) -> str:
        """Return the description of the graph, without weights, as model files hold it."""
        self._built_layers()
        return json.dumps(described(self))

    def stream(self, batch_size: int = 1) -> ModelStream:
        """Return a step-by-step runner of the whole model, with a copy of its present weights.

        >>> stream = model.stream()
        >>> y = stream.step(x)              # x (1, I), y (1, N); states stay in the stream
        """
        return ModelStream(self, batch_size)

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Return the outputs for one batch, as the layers give them."""
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

    def _gradients(self, batch: Samples) -> tuple[AnyLoss, list[Array]]:
        _, heads = self._compiled()
        self._check_precision_to_train()
        self._lend_rng()
        tape = passes.forward(self.graph, batch.xs, as_masks(batch), True, heads.linear)
        found, gradients = heads.backward(tape, batch.ys, batch.weights)
        passes.backward(tape, gradients)
        found = found.plus(self.penalty())
        for layer in self.layers:
            if layer.trainable:
                layer.add_penalty_gradients()
        return found, [layer.grads[name] for layer in self.layers for name in layer.trained]

    def _epoch(
        self,
        data: Samples,
        batch_size: int,
        shuffle: bool,
        optimizer: Optimizer,
        progress: Progress,
    ) -> dict[str, float]:
        mean, steps = RunningMean(self.metrics), Steps(self, optimizer)
        for batch in self._batches(data, batch_size, self.rng if shuffle else None):
            mean.add(steps.take(batch))
            progress.step(len(batch), mean.logs())
        return mean.result()

    def _batches(
        self, data: Samples, batch_size: int, rng: np.random.Generator | None = None
    ) -> Iterator[Samples]:
        """Yield the batches as the layers and the losses take them, where the model is."""
        chosen = batches(len(data), batch_size, rng)
        if self.device == "cpu":
            return (self._cast(data[at]) for at in chosen)
        return self._ahead(self._with_targets(self._cast(data[at])) for at in chosen)

    def _ahead(self, pairs: Iterator[Samples]) -> Iterator[Samples]:
        """Yield these batches on the GPU, where each is sent before the one before it is used."""
        sent: deque[Samples] = deque()

        def arrays() -> Iterator[tuple[Array, ...]]:
            for batch in pairs:
                sent.append(batch)
                yield (*batch.xs, *batch.ys)

        for found in import_module("lstmfast.cuda.runtime.prefetch").ahead(arrays()):
            batch = sent.popleft()
            count = len(batch.xs)
            yield replace(batch, xs=list(found[:count]), ys=list(found[count:]))

    def _evaluated(
        self, data: Samples, batch_size: int, progress: Progress | None = None
    ) -> dict[str, float]:
        mean, penalty = RunningMean(self.metrics), self.penalty()
        _, heads = self._compiled()
        for batch in self._batches(data, batch_size):
            tape = or_as_before(self._states(), self._pass, batch, heads.linear)
            mean.add(heads.forward(tape, batch.ys, batch.weights).plus(penalty))
            if progress is not None:
                progress.step(len(batch), mean.logs())
        return mean.result()

    def _pass(self, batch: Samples, linear: Sequence[int] = ()) -> passes.Tape:
        """Run a batch without training."""
        xs = [to_device(x, self.device) for x in batch.xs]
        return self._run(xs, as_masks(batch), False, linear)

    def _result(self, loss: AnyLoss) -> float | list[float]:
        mean = RunningMean(self.metrics)
        mean.add(loss)
        return list(mean.result().values()) if self.metrics else loss.mean

    def _as_given(self, outputs: list[Array]) -> Any:
        """Return outputs as they were given to the constructor: one, a list, or a dict."""
        if self.output_keys is not None:
            return dict(zip(self.output_keys, outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def _cast(self, batch: Samples) -> Samples:
        """Return one batch as the layers take it; copies only where they must be."""
        found = []
        for n, x in enumerate(batch.xs):
            dtype = np.dtype(self.dtype)
            if self.graph.takes_ids(n):
                dtype = x.dtype if x.dtype in (np.int32, np.int64) else np.dtype(np.int64)
            found.append(np.ascontiguousarray(x, dtype))
        return replace(batch, xs=found)

    def _with_targets(self, batch: Samples) -> Samples:
        """Return one batch with its targets as they go to a GPU."""
        _, heads = self._compiled()
        shapes = self.graph.output_shapes([x.shape for x in batch.xs])
        return replace(batch, ys=heads.targets(batch.ys, shapes, self.dtype))

    def _one_batch(self, x: Any, y: Any) -> Samples:
        batch = taken(self, x, y)
        self._check_data(batch, len(batch))
        self._build_for(batch.xs)
        batch = self._cast(batch)
        if self.device == "cpu":
            return batch
        batch = self._with_targets(batch)
        xs, ys = ([to_device(a, self.device) for a in arrays] for arrays in (batch.xs, batch.ys))
        return replace(batch, xs=xs, ys=ys)

    def _parts(self, x: Any, y: Any, fraction: float, given: Any) -> tuple[Samples, Samples | None]:
        """Return the data to train on and to validate on."""
        data = taken(self, x, y)
        if given is None:
            return split(data, fraction)
        if fraction:
            raise ValueError("validation_split: expected 0 with validation_data, got both")
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            kind = type(given).__name__
            raise ValueError(f"validation_data: expected (x, y), got {kind}")
        try:
            return data, taken(self, *given)
        except ValueError as error:
            raise ValueError(f"validation_data: {error}") from error

    def _check_data(self, data: Samples, batch_size: int) -> None:
        """Raise ValueError unless all samples can go in and all targets be learnt."""
        _, heads = self._compiled()
        shapes = check_inputs(self, data.xs, batch_size, finite=True)
        heads.check(data.ys, shapes)
        for y in data.ys:
            check_held("y", y, self.dtype, finite=False)  # NaN and Inf are out already

    def _check_rows(self, samples: int, validation: int, batch_size: int) -> None:
        """Raise ValueError if stateful layers would meet batches of unlike size."""
        rows, others = min(samples, batch_size), min(validation, batch_size)
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

    def _compiled(self) -> tuple[Optimizer, Heads]:
        if self.optimizer is None or self._heads is None or not self._heads.learns:
            raise ValueError("loss: expected one from compile(optimizer, loss), got None")
        return self.optimizer, self._heads


class Sequential(Model):
    """A Model that is a chain, whose layers may be added one by one.

    >>> model = Sequential([Input((None, 8))])
    >>> model.add(LSTM(64))

    Parameters
    ----------
    layers : sequence of Layer, optional
        An `Input` may come first.
    device, dtype, seed, name, precision
        As of `Model`.
    """

    def __init__(self, layers: Any = (), name: str | None = None, **arguments: Any):
        graph = layers if isinstance(layers, Graph) else chain_of(layers or [], may_be_empty=True)
        super().__init__(graph, name=name or "sequential", **arguments)

    def add(self, layer: Any) -> None:
        """Put one more layer, or to begin with an `Input`, at the end.

        Raises
        ------
        ValueError
            When the layer does not fit, or the model is compiled: compile it again after.
        """
        if self.optimizer is not None:
            raise ValueError("layer: expected a model that is not compiled to add to")
        graph = chain_of([*self.layers, layer], may_be_empty=True)
        if self.graph.entries[0].shape is not None:
            graph.entries = self.graph.entries
        self._set_graph(graph)


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

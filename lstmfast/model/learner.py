"""Batches through a model: what `Model` is made of, beneath what users call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from ..arguments import Array
from ..ops.placement import to_device
from ..optimizers import Optimizer
from ..samples import check_held
from . import passes
from .fitting import RunningMean
from .given import Samples, as_masks, check_inputs, taken
from .heads import Heads, Seen
from .network import Network

__all__ = ["Learner"]


class Learner(Network):
    """The half of `Model` that takes batches forward and back, once it is compiled."""

    optimizer: Optimizer | None = None
    metrics: Any = ()
    _heads: Heads | None = None

    def _gradients(self, batch: Samples) -> tuple[Seen, list[Array]]:
        _, heads = self._compiled()
        self._check_precision_to_train()
        self._lend_rng()
        tape = passes.forward(self.graph, batch.xs, as_masks(batch), True, heads.linear)
        found, gradients = heads.backward(tape, batch)
        passes.backward(tape, gradients)
        found = found.plus(self.penalty())
        for layer in self.graph.layers:
            if layer.trainable:
                layer.add_penalty_gradients()
        return found, [layer.grads[name] for layer in self.graph.layers for name in layer.trained]

    def _placed(self, batches: Iterator[Samples]) -> Iterator[Samples]:
        """Yield cast batches as the layers and the losses take them, where the model is."""
        if self.device == "cpu":
            return batches
        return self._ahead(self._with_targets(batch) for batch in batches)

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

    def _pass(self, batch: Samples, linear: Sequence[int] = ()) -> passes.Tape:
        """Run a batch without training."""
        xs = [to_device(x, self.device) for x in batch.xs]
        return self._run(xs, as_masks(replace(batch, xs=xs)), False, linear)

    def _result(self, seen: Seen, by_name: bool = False) -> Any:
        mean = RunningMean(self._compiled()[1])
        mean.add(seen)
        logs = mean.result()
        if by_name:
            return logs
        return list(logs.values()) if len(logs) > 1 else logs["loss"]

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
            elif self.graph.is_mask(n):
                dtype = np.dtype(np.bool_)
            found.append(np.ascontiguousarray(x, dtype))
        return replace(batch, xs=found)

    def _with_targets(self, batch: Samples) -> Samples:
        """Return one batch with its targets as they go to a GPU."""
        _, heads = self._compiled()
        shapes = self.graph.output_shapes([x.shape for x in batch.xs])
        return replace(batch, ys=heads.targets(batch.ys, shapes, self.dtype))

    def _one_batch(
        self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> Samples:
        batch = taken(self, x, y, sample_weight, class_weight=class_weight)
        self._check_data(batch, len(batch))
        self._build_for(batch.xs)
        batch = self._cast(batch)
        if self.device == "cpu":
            return batch
        batch = self._with_targets(batch)
        xs, ys = ([to_device(a, self.device) for a in arrays] for arrays in (batch.xs, batch.ys))
        return replace(batch, xs=xs, ys=ys)

    def _check_data(self, data: Samples, batch_size: int) -> None:
        """Raise ValueError unless all samples can go in and all targets be learnt."""
        _, heads = self._compiled()
        shapes = check_inputs(self, data.xs, batch_size, finite=True)
        is_masked = any(layer.makes_mask for layer in self.graph.layers) or any(
            mask is not None for mask in data.masks
        )
        for piece in data.pieces():
            heads.check(piece, [(len(piece), *shape[1:]) for shape in shapes], is_masked)
        for y in data.ys:
            check_held("y", y, self.dtype, finite=False)  # NaN and Inf are out already

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

    def _compiled(self) -> tuple[Optimizer, Heads]:
        if self.optimizer is None or self._heads is None or not self._heads.learns:
            raise ValueError("loss: expected one from compile(optimizer, loss), got None")
        return self.optimizer, self._heads

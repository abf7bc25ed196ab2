"""What a process does with programs: it holds one library, and one program at a time."""

from __future__ import annotations

import gc
import importlib
import os
import time
from typing import Any, NamedTuple

from benches.keras_programs.loading import load

__all__ = ["BACKENDS", "Begun", "Desk", "Epoch"]

BACKENDS = ("tensorflow", "jax")


class Epoch(NamedTuple):
    """One epoch: what `fit` took, and its training loss."""

    seconds: float
    loss: float


class Begun(NamedTuple):
    """A model is there: its initial weights, and the samples that it learns from."""

    weights: list[Any]
    seconds: float  # of data and model


class Desk:
    """What is done in the process; the methods are the requests."""

    def start(self, library: str) -> tuple[str, float]:
        """Import lstmfast, or Keras with one of its BACKENDS."""
        begin = time.perf_counter()
        self.library = "keras" if library in BACKENDS else library
        versions = [self.library]
        if library in BACKENDS:
            os.environ["KERAS_BACKEND"] = library
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
            versions.append(library)
        found = [f"{name} {importlib.import_module(name).__version__}" for name in versions]
        return ", ".join(found), time.perf_counter() - begin

    def begin(self, name: str, weights: list[Any] | None, changes: dict[str, Any]) -> Begun:
        """Build a program's model, with these weights where given; let go of the one before."""
        self.program = self.data = self.model = None
        gc.collect()
        start = time.perf_counter()
        self.program = load(name, self.library, **changes)
        self.data = self.program.load_data()
        self.model = self.program.build(self.data)
        if weights is not None:
            self.model.set_weights(weights)
        return Begun(self.model.get_weights(), time.perf_counter() - start)

    def epoch(self) -> Epoch:
        """Train for one epoch, the batches in order."""
        start = time.perf_counter()
        history = self.program.train(self.model, self.data, epochs=1, shuffle=False)
        return Epoch(time.perf_counter() - start, float(history.history["loss"][0]))

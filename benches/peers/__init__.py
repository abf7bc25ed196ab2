"""The libraries that are compared, each used the way its documentation recommends for speed.

A file offers

    start(threads) -> str     set the number of threads, import the library, tell its version
    JOBS: dict[kind, maker]   a maker takes a Shape and gives a job. A kind that the library lacks
                              is left out. A dict of makers in place of one holds variants by
                              name, of which the fastest is taken for each shape

and is imported in a process of its own (worker.py). Kinds, float32, from a state of zeros:

    forward     inference over T steps                     result: (y (T, B, H),)
    training    forward and backward, dy on every output   result: (dx, dW_ih, dW_hh, db)
    step        batch 1, state kept between calls          result: (h (1, H),)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from benches.arrays import Arrays
from benches.shapes import Shape

MODULES = {
    "lstmfast": "ours",
    "torch": "pytorch",
    "onnxruntime": "onnx_runtime",
    "openvino": "openvino_runtime",
    "keras-tensorflow": "keras_tensorflow",
    "keras-jax": "keras_jax",
}
OURS = "lstmfast"
THEIRS = tuple(name for name in MODULES if name != OURS)


def to_arrays(result: Any) -> Arrays:
    """What a job gave, as new NumPy arrays."""
    return tuple(np.array(part) for part in result)


@dataclass
class Job:
    """What is timed: `run`. A maker may give a bare function instead, if the rest is as here."""

    run: Callable[[], Any]
    read: Callable[[Any], Arrays] = to_arrays  # result to arrays in lstmfast's layout; not timed
    around: Callable[[], AbstractContextManager] = nullcontext  # entered once around many calls


Maker = Callable[[Shape], Job | Callable[[], Any]]

"""What lstmfast.keras.LSTM costs beside the arrays' own call, and beside keras.layers.LSTM.

    KERAS_BACKEND=tensorflow|jax|torch python -m benches.keras_overhead

Calls of one job take turns in blocks, in one process; figures are medians over the rounds, in
microseconds, with the quartiles. `eager` calls the layer, `compiled` calls it in a tf.function or
jax.jit; `array` is lstmfast.lstm_forward (and lstm_backward) on NumPy arrays in Keras's layout of
weights. A training step is forward and all gradients of a random upstream gradient. Results are
checked against each other before they are timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from benches.shapes import Shape
from lstmfast import __version__, lstm_backward, lstm_forward
from lstmfast.keras import LSTM

BACKEND = keras.backend.backend()
ROUNDS, BLOCK = 25, 0.02  # seconds of a block of calls
STEP = Shape(1, 1, 32, 64)  # T, B, I, H
SEQUENCE = Shape(100, 32, 64, 128)
TOLERANCE = 1e-5  # of max |array's|; measured: 7e-7

Job = Callable[[], Any]


def main() -> None:
    print(f"keras {keras.__version__} on {BACKEND}, lstmfast {__version__}, microseconds")
    for title, shape, make in (
        ("inference", STEP, inference),
        ("inference", SEQUENCE, inference),
        ("training step", SEQUENCE, training),
    ):
        print(f"{title}, T={shape.T} B={shape.B} I={shape.I} H={shape.H}")
        for name, seconds in timed(checked(make(shape))).items():
            low, median, high = np.percentile(seconds, (25, 50, 75)) * 1e6
            print(f"  {name:17}{median:10.0f}  ({low:.0f} to {high:.0f})")


def layers(shape: Shape) -> tuple[Any, Any, Any]:
    """Return x, and keras.layers.LSTM and ours with the same weights."""
    T, B, I, H = shape.T, shape.B, shape.I, shape.H
    rng = np.random.default_rng(0)
    theirs, ours = (kind(H, return_sequences=True) for kind in (keras.layers.LSTM, LSTM))
    for layer in (theirs, ours):
        layer.build((B, T, I))
    ours.set_weights(theirs.get_weights())
    x = rng.standard_normal((B, T, I)).astype("float32")
    return keras.ops.convert_to_tensor(x), theirs, ours


def inference(shape: Shape) -> dict[str, Job]:
    x, theirs, ours = layers(shape)
    array, (kernel, recurrent, b) = keras.ops.convert_to_numpy(x), ours.get_weights()
    jobs: dict[str, Job] = {
        "array": lambda: lstm_forward(array, kernel.T, recurrent.T, b, batch_first=True)[0]
    }
    for name, layer in (("keras", theirs), ("lstmfast", ours)):
        for way, wrap in WRAPS.items():
            jobs[f"{name} {way}"] = _with(wrap(layer), x)
    return jobs


def training(shape: Shape) -> dict[str, Job]:
    x, theirs, ours = layers(shape)
    array, (kernel, recurrent, b) = keras.ops.convert_to_numpy(x), ours.get_weights()
    dy = np.random.default_rng(1).standard_normal((shape.B, shape.T, shape.H)).astype("float32")

    def on_arrays() -> Any:
        W_ih, W_hh = kernel.T, recurrent.T
        _, _, cache = lstm_forward(array, W_ih, W_hh, b, batch_first=True, training=True)
        return lstm_backward(cache, dy).dW_hh.T

    upstream = keras.ops.convert_to_tensor(dy)
    jobs: dict[str, Job] = {"array": on_arrays}
    for name, layer in (("keras", theirs), ("lstmfast", ours)):
        for way, wrap in WRAPS.items():
            jobs[f"{name} {way}"] = _with(wrap(STEPS[BACKEND](layer)), x, upstream)
    return jobs


def _with(function: Callable[..., Any], *arguments: Any) -> Job:
    return lambda: WAIT[BACKEND](function(*arguments))


# ---------------------------------------------------------------- what differs between backends


def tensorflow_step(layer: Any) -> Callable[..., Any]:
    """A function of x and dy: the gradient of W_hh, calculated with all others."""
    import tensorflow as tf

    def step(x: Any, dy: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, *layer.trainable_weights], dy)[2]

    return step


def jax_step(layer: Any) -> Callable[..., Any]:
    import jax

    def step(x: Any, dy: Any) -> Any:
        def call(x: Any, weights: Any) -> Any:
            return layer.stateless_call(weights, others, x, training=True)[0]

        weights = [w.value for w in layer.trainable_variables]
        others = [w.value for w in layer.non_trainable_variables]
        return jax.vjp(call, x, weights)[1](dy)[1][1]

    return step


def torch_step(layer: Any) -> Callable[..., Any]:
    import torch

    def step(x: Any, dy: Any) -> Any:
        x = x.detach().requires_grad_()
        sources = [x, *(w.value for w in layer.trainable_weights)]
        return torch.autograd.grad(layer(x, training=True), sources, dy)[2]

    return step


def wraps() -> dict[str, Callable[[Any], Any]]:
    """How functions of tensors are called: as they are, and compiled."""
    ways: dict[str, Callable[[Any], Any]] = {"eager": lambda function: function}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        ways["compiled"] = tf.function
    if BACKEND == "jax":
        import jax

        ways["compiled"] = lambda function: jax.jit(lambda *arguments: function(*arguments))
    return ways


WRAPS = wraps()
STEPS = {"tensorflow": tensorflow_step, "jax": jax_step, "torch": torch_step}
WAIT: dict[str, Callable[[Any], Any]] = {
    "tensorflow": lambda tensor: tensor,
    "jax": lambda array: array.block_until_ready(),
    "torch": lambda tensor: tensor,
}


# ---------------------------------------------------------------- turns


def checked(jobs: dict[str, Job]) -> dict[str, Job]:
    """Return the jobs, each of which gave what the first one did."""
    wanted, *others = (keras.ops.convert_to_numpy(job()) for job in jobs.values())
    for name, found in zip(list(jobs)[1:], others, strict=True):
        error = np.max(np.abs(found - wanted)) / np.max(np.abs(wanted))
        if not error <= TOLERANCE:
            sys.exit(f"{name}: expected the arrays' result to {TOLERANCE}, got an error of {error}")
    return jobs


def timed(jobs: dict[str, Job]) -> dict[str, list[float]]:
    """Seconds of a call of each job, round by round."""
    counts = {name: max(1, int(BLOCK / seconds(job, 3))) for name, job in jobs.items()}
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            job()
            found[name].append(seconds(job, counts[name]))
    return found


def seconds(job: Job, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        job()
    return (time.perf_counter() - start) / calls


if __name__ == "__main__":
    main()

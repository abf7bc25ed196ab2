"""Why an LSTM: its equations beside the code, and the gradient that reaches each step, measured.

    python -m lstmfast.examples.lesson
    python -m lstmfast.examples.lesson --quick
    python -m lstmfast.examples.lesson --out docs/lesson --page docs/lesson.md

A network that is to connect the end of a sequence with its beginning learns it from the gradient
that gets back there. The program measures that gradient by `lstmfast.inspect`, for plain networks
and LSTMs, on the adding problem (of many numbers the sum of the two that are marked: Hochreiter and
Schmidhuber 1997) and the copy task (repeat, at the end, the symbols of the beginning: Arjovsky,
Shah and Bengio 2016): as the networks start, and after training. It trains an exploding network
with and without clipping, and shows where LSTMs fail, too. It says in tables what came out, draws
it where matplotlib is installed, and with `--page` writes the tables into that page, at its marks.

All that is random follows from `--seed`. `--quick` trains less, and on shorter sequences.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstmfast

from .. import LSTM, SGD, Adam, Dense, Input, Model, SimpleRNN, TrainingError, disk
from ..initializers import Orthogonal, RandomUniform
from ..layers import Cropping1D
from .lesson_figures import draw_activations, draw_losses, draw_norms, save_small
from .lesson_page import table, table_of_cell, with_tables
from .text_generation import at_least

__all__ = ["main"]

Array = np.ndarray[Any, np.dtype[Any]]

UNITS = 32
SYMBOLS, RECALLED = 8, 5  # of the copy task
SAMPLES = 16  # that a gradient is measured on
BATCH, RATE = 32, 0.005  # of training
LAGS = (10, 50, 100, 199)  # steps before the last one, in the table of the start


# ---------------------------------------------------------------- tasks


class Kind(NamedTuple):
    """A recurrent layer as it starts; an LSTM with this bias of the forget gate."""

    layer: type[SimpleRNN] | type[LSTM]
    initializer: Any = "orthogonal"
    forget_bias: float | None = None

    def make(self, **options: Any) -> Any:
        """Return the layer."""
        return self.layer(UNITS, recurrent_initializer=self.initializer, **options)

    def start(self, model: Model) -> Model:
        """Set the bias of the forget gate of the first such layer of a model."""
        if self.forget_bias is not None:
            bias = next(layer for layer in model.layers if isinstance(layer, LSTM)).params["b"]
            bias[UNITS : 2 * UNITS] = self.forget_bias
        return model


class Task(NamedTuple):
    """Draws samples, and makes a network of a recurrent layer for so many steps."""

    name: str
    draw: Callable[[int, int, np.random.Generator], tuple[Array, Array]]
    network: Callable[[Kind, int, int], Model]


KINDS = {
    "SimpleRNN, small weights": Kind(SimpleRNN, RandomUniform(-0.1, 0.1)),
    "SimpleRNN, orthogonal": Kind(SimpleRNN),
    "SimpleRNN, orthogonal times 2": Kind(SimpleRNN, Orthogonal(gain=2.0)),
    "LSTM, forget bias 0": Kind(LSTM, forget_bias=0.0),
    "LSTM, forget bias 1": Kind(LSTM, forget_bias=1.0),
    "LSTM, forget bias 5": Kind(LSTM, forget_bias=5.0),
}
TRAINED = ("SimpleRNN, orthogonal", "LSTM, forget bias 0", "LSTM, forget bias 1")
LONGER = ("LSTM, forget bias 0", "LSTM, forget bias 1")
EXPLODING = "SimpleRNN, orthogonal times 2"


def draw_adding(samples: int, steps: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return x (N, T, 2), numbers and marks, and the sums of the two that are marked, (N, 1)."""
    numbers, marks = rng.uniform(0, 1, (samples, steps)), np.zeros((samples, steps))
    rows = np.arange(samples)
    marks[rows, rng.integers(0, steps // 2, samples)] = 1
    marks[rows, rng.integers(steps // 2, steps, samples)] = 1
    return np.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=1, keepdims=True)


def draw_copy(samples: int, steps: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return x (N, T, SYMBOLS + 2), one-hot, and the symbols to repeat, (N, RECALLED).

    First the symbols, then blanks, and at the end as many marks that ask for them.
    """
    symbols = rng.integers(0, SYMBOLS, (samples, RECALLED))
    ids = np.full((samples, steps), SYMBOLS)
    ids[:, :RECALLED], ids[:, -RECALLED:] = symbols, SYMBOLS + 1
    return np.eye(SYMBOLS + 2)[ids], symbols


def network_for_adding(kind: Kind, steps: int, seed: int) -> Model:
    """Return a network whose last output tells the sum."""
    x = Input((steps, 2))
    return kind.start(Model(x, Dense(1)(kind.make()(x)), seed=seed, dtype="float64"))


def network_for_copying(kind: Kind, steps: int, seed: int) -> Model:
    """Return a network whose outputs at the end tell the symbols."""
    x = Input((steps, SYMBOLS + 2))
    last = Cropping1D((steps - RECALLED, 0))(kind.make(return_sequences=True)(x))
    told = Dense(SYMBOLS, activation="softmax")(last)
    return kind.start(Model(x, told, seed=seed, dtype="float64"))


ADDING = Task("adding problem", draw_adding, network_for_adding)
COPY = Task("copy task", draw_copy, network_for_copying)
LOSSES = {ADDING.name: "mse", COPY.name: "sparse_categorical_crossentropy"}


# ---------------------------------------------------------------- what is measured


def norms_of(task: Task, model: Model, steps: int, seed: int) -> Array:
    """Return the norm of the gradient that reaches each step, (T,)."""
    x, y = task.draw(SAMPLES, steps, np.random.default_rng(seed))
    if model.optimizer is None:
        model.compile("sgd", LOSSES[task.name])
    (norms,) = lstmfast.inspect(model, x, y).gradient_norms.values()  # type: ignore[union-attr]
    return norms


def norms_at_start(task: Task, steps: int, seed: int) -> dict[str, Array]:
    """Return them for each of `KINDS`, before any training."""
    return {
        name: norms_of(task, task.network(kind, steps, seed), steps, seed)
        for name, kind in KINDS.items()
    }


class Trained(NamedTuple):
    """Losses on data held out, as they came, and the norms at the end."""

    losses: list[float]
    norms: Array


def train(kind: Kind, steps: int, updates: int, seed: int) -> Trained:
    """Train on the adding problem."""
    model, rng = ADDING.network(kind, steps, seed), np.random.default_rng([seed, 1])
    model.compile(Adam(RATE, global_clipnorm=1.0), "mse")
    held_out = draw_adding(256, steps, np.random.default_rng([seed, 2]))
    every, losses = max(updates // 10, 1), []
    for n in range(updates):
        model.train_on_batch(*draw_adding(BATCH, steps, rng))
        if n % every == every - 1:
            losses.append(float(model.evaluate(*held_out)))
    return Trained(losses, norms_of(ADDING, model, steps, seed))


class Clipped(NamedTuple):
    """A limit, the first gradient's norm, how far the first step goes, the loss after training."""

    limit: float | None
    norm: float
    step: float
    loss: float


def clip(steps: int, limit: float | None, updates: int, seed: int) -> Clipped:
    """Train a network that explodes, by plain gradient descent; the loss is inf where it broke."""
    model = ADDING.network(KINDS[EXPLODING], steps, seed)
    model.compile(SGD(0.1, global_clipnorm=limit), "mse")
    rng, before = np.random.default_rng([seed, 3]), model.get_weights()
    x, y = draw_adding(BATCH, steps, rng)
    norm = _length(model.gradients(x, y)[1])
    model.train_on_batch(x, y)
    step = _length([new - old for new, old in zip(model.get_weights(), before, strict=True)])
    try:
        for _ in range(updates):
            model.train_on_batch(*draw_adding(BATCH, steps, rng))
        loss = float(model.evaluate(x, y))
    except TrainingError:
        loss = math.inf
    return Clipped(limit, norm, step, loss)


def _length(arrays: Sequence[Array]) -> float:
    return math.sqrt(sum(float(np.sum(a * a)) for a in arrays))


def left_at_the_first_step(steps: int, seed: int) -> dict[str, float]:
    """Return what is left of the gradient at the first step of long sequences, of LSTMs."""
    found = {}
    for name, kind in KINDS.items():
        if kind.layer is LSTM:
            norms = norms_of(ADDING, ADDING.network(kind, steps, seed), steps, seed)
            found[name] = float(norms[0] / norms[-1])
    return found


# ---------------------------------------------------------------- tables


def table_of_start(norms: dict[str, Array]) -> str:
    """Return what is left of the gradient, so many steps before the last."""
    lags = [lag for lag in LAGS if lag < len(next(iter(norms.values())))]
    rows = [[name, *(shown(of[-1 - lag] / of[-1]) for lag in lags)] for name, of in norms.items()]
    return table(["network", *(f"{lag} steps back" for lag in lags)], rows)


def table_of_training(found: dict[str, Trained]) -> str:
    """Return what training came to."""
    rows = [
        [name, str(len(one.norms)), f"{one.losses[-1]:.4f}", shown(one.norms[0] / one.norms[-1])]
        for name, one in found.items()
    ]
    return table(["network", "steps", "mean squared error", "left at the first step"], rows)


def table_of_failures(found: dict[str, float], steps: int) -> str:
    """Return where LSTMs fail."""
    rows = [[name, shown(left)] for name, left in found.items()]
    return table(["network", f"left at the first of {steps} steps"], rows)


def table_of_clipping(found: Sequence[Clipped]) -> str:
    """Return what clipping came to."""
    rows = [
        ["none" if one.limit is None else f"{one.limit:g}", shown(one.norm), shown(one.step),
         "infinite" if one.loss == math.inf else shown(one.loss)]
        for one in found
    ]  # fmt: skip
    head = ["limit", "norm of the first gradient", "length of the first step", "error at the end"]
    return table(head, rows)


def shown(ratio: float) -> str:
    """Write a number of any size: 0.25, 2e-09, 0 for what is smaller than float64 can hold."""
    if ratio == 0:
        return "0"
    return f"{ratio:.2f}" if 0.01 <= ratio < 100 else f"{ratio:.0e}"


# ---------------------------------------------------------------- the program


class Findings(NamedTuple):
    """All that was measured."""

    start: dict[str, dict[str, Array]]  # by task and network
    trained: dict[str, Trained]
    clipped: list[Clipped]
    longer: dict[str, Trained]
    left: dict[str, float]
    far: int  # steps


def measure(quick: bool, seed: int) -> Findings:
    """Measure everything."""
    steps, short, updates, far = (100, 20, 300, 300) if quick else (200, 50, 1500, 1000)
    start = {task.name: norms_at_start(task, steps, seed) for task in (ADDING, COPY)}
    trained = {name: train(KINDS[name], short, updates, seed) for name in TRAINED}
    clipped = [clip(steps, limit, updates // 5, seed) for limit in (None, 1.0)]
    longer = {name: train(KINDS[name], 4 * short, updates, seed) for name in LONGER}
    return Findings(start, trained, clipped, longer, left_at_the_first_step(far, seed), far)


def tables(found: Findings) -> dict[str, str]:
    """Return all tables by the names of their marks in the page."""
    starts = {task.split()[0]: table_of_start(norms) for task, norms in found.start.items()}
    return {
        "cell": table_of_cell(), **starts, "trained": table_of_training(found.trained),
        "clipped": table_of_clipping(found.clipped),
        "left": table_of_failures(found.left, found.far),
        "longer": table_of_training(found.longer),
    }  # fmt: skip


def save(found: Findings, out: Path) -> bool:
    """Write the figures into a folder; return whether matplotlib was there to draw them."""
    try:
        drawn = figures(found)
    except ImportError:
        return False
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        save_small(figure, out / name)
    return True


def figures(found: Findings) -> dict[str, Any]:
    """Return the figures by the names of their files; needs matplotlib."""
    drawn = {"activations.png": draw_activations()}
    for task, norms in found.start.items():
        drawn[f"start_{task.split()[0]}.png"] = draw_norms(norms, f"{task}, before training")
    norms = {name: one.norms for name, one in found.trained.items()}
    drawn["trained.png"] = draw_norms(norms, f"{ADDING.name}, after training")
    drawn["losses.png"] = draw_losses({name: one.losses for name, one in found.trained.items()})
    return drawn


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m lstmfast.examples.lesson",
        description="Measure the gradient that reaches each step, of plain networks and LSTMs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="shorter sequences, less training")
    made.add_argument("--seed", type=at_least(0), default=0, help="of weights and data")
    made.add_argument("--out", type=Path, default=Path("lesson"), help="folder for the figures")
    made.add_argument("--page", type=Path, help="page to write the tables into")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    arguments, started = parser().parse_args(argv), time.perf_counter()
    found = measure(arguments.quick, arguments.seed)
    made = tables(found)
    for name, text in made.items():
        print(f"{TITLES[name]}\n\n{text}\n")
    if arguments.page is not None:
        page = with_tables(arguments.page.read_text(encoding="utf-8"), made)
        disk.replace(arguments.page, page.encode())
    drawn = save(found, arguments.out)
    print(f"figures: {arguments.out}" if drawn else "figures: not drawn without matplotlib")
    print(f"took {time.perf_counter() - started:.0f} s")
    return 0


TITLES = {
    "cell": "The article's equations beside the code",
    "adding": "Adding problem: what is left of the last step's gradient, before training",
    "copy": "Copy task: what is left of the last step's gradient, before training",
    "trained": "Adding problem, after training",
    "clipped": "A network that explodes, trained with and without clipping",
    "left": "Where LSTMs fail, too: what is left of the gradient over a long way, before training",
    "longer": "The same training on sequences four times as long",
}


if __name__ == "__main__":
    raise SystemExit(main())

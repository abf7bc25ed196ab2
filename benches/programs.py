"""Whole programs as users have them: one process, default settings, PyTorch's operators in between.

    python -m benches.programs [--only PATTERN] [--threads 1 2] [--seconds 4] [--out FILE]
    python -m benches.programs --projects [NAME ...] [--folder FOLDER] [--threads ...] ...

Each program is built for torch.nn, and its copy is given to `lstmfast.torch.accelerate`. The two
take steps by turns. A third copy, whose layer does next to nothing, tells how much of a step is
the LSTM; the layers by themselves, by turns as well, tell how much faster that part is. From both
follows what the program could gain, the prediction beside the measured ratio. All figures are
medians. Prints Markdown.

With `--projects` the real projects of tests/clients are measured instead (projects.py), in
environments below FOLDER, which tests/clients/run.py makes, too. Each of the two leaves what FILE
has of the other.
"""

from __future__ import annotations

import argparse
import copy
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

import lstmfast.torch
from benches import projects
from benches.origin import origin

LAYER_CHECK = 1e-4  # largest difference of a program's first result, relative
Step = Callable[[], torch.Tensor]


# ---------------------------------------------------------------- models


class Tagger(nn.Module):
    """A tag for each word."""

    def __init__(self, words: int, width: int, units: int, layers: int = 1, both: bool = False):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, units, layers, bidirectional=both, batch_first=True)
        self.head = nn.Linear(units * (1 + both), 20)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(words))[0])


class Series(nn.Module):
    """The next value of a series from those before."""

    def __init__(self, features: int, units: int, layers: int):
        super().__init__()
        self.lstm = nn.LSTM(features, units, layers, batch_first=True)
        self.head = nn.Linear(units, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class WordModel(nn.Module):
    """The next word, at each place."""

    def __init__(self, words: int, width: int, layers: int):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, layers)
        self.head = nn.Linear(width, words)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(words))[0])


class Stepper(nn.Module):
    """Single steps: features or words in, scores out, the state going on."""

    def __init__(self, words: int, features: int, units: int, layers: int, scores: int):
        super().__init__()
        self.before = nn.Embedding(words, features) if words else nn.Linear(features, features)
        self.lstm = nn.LSTM(features, units, layers)
        self.head = nn.Linear(units, scores)

    def forward(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        y, state = self.lstm(self.before(x)[None], state)
        return self.head(y[0]), state


class Nothing(nn.Module):
    """In the place of an LSTM: its shapes, and a path for gradients; costs an addition."""

    def __init__(self, of: nn.LSTM):
        super().__init__()
        parts = 2 if of.bidirectional else 1
        self.sizes = parts * of.num_layers, of.hidden_size, of.batch_first
        self.y = nn.Parameter(torch.randn(parts * of.hidden_size))

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        parts, units, batch_first = self.sizes
        y = x[..., :1] + self.y
        rows = x.shape[0 if batch_first else 1]
        return y, state or (torch.zeros(parts, rows, units),) * 2


# ---------------------------------------------------------------- programs


def evaluation(model: nn.Module, x: torch.Tensor) -> Step:
    model.eval()

    def step() -> torch.Tensor:
        with torch.no_grad():
            return model(x)

    return step


def training(model: nn.Module, x: torch.Tensor, target: torch.Tensor) -> Step:
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        found = model(x)
        if target.dtype == torch.int64:
            loss = nn.functional.cross_entropy(found.flatten(0, -2), target.flatten())
        else:
            loss = nn.functional.mse_loss(found, target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def playing(model: nn.Module, x: torch.Tensor) -> Step:
    """An agent's actions for the rows of x (steps, rows, features), then one update."""
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        state, losses = None, []
        for seen in x:
            scores, state = model(seen, state)
            losses.append(-scores.log_softmax(-1)[:, 0].mean())
        loss = torch.stack(losses).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def sampling(model: nn.Module, x: torch.Tensor, steps: int) -> Step:
    """Paths of a series, one step at a time, each from what was drawn before."""
    model.eval()

    def step() -> torch.Tensor:
        torch.manual_seed(0)
        with torch.no_grad():
            state, seen = None, x
            for _ in range(steps):
                scores, state = model(seen, state)
                mean, scale = scores.chunk(2, -1)
                value = mean + nn.functional.softplus(scale) * torch.randn_like(mean)
                seen = torch.cat([value, seen[:, :-1]], 1)
        return value

    return step


def decoding(model: nn.Module, steps: int) -> Step:
    """A text, letter by letter."""
    model.eval()

    def step() -> torch.Tensor:
        with torch.no_grad():
            state, letter = None, torch.zeros(1, dtype=torch.int64)
            for _ in range(steps):
                scores, state = model(letter, state)
                letter = scores.argmax(-1)
        return scores

    return step


def words(most: int, *shape: int) -> torch.Tensor:
    return torch.randint(most, shape)


Program = tuple[Callable[[], nn.Module], Callable[[nn.Module], Step], tuple[int, int]]


def tagger_training(B: int, T: int, *sizes: Any) -> Program:
    x, tags = words(5000, B, T), words(20, B, T)
    return lambda: Tagger(5000, *sizes), lambda m: training(m, x, tags), (T, B)


def tagger_evaluation(B: int, T: int, *sizes: Any) -> Program:
    x = words(5000, B, T)
    return lambda: Tagger(5000, *sizes), lambda m: evaluation(m, x), (T, B)


def series(B: int, T: int, units: int) -> Program:
    x, next_value = torch.randn(B, T, 8), torch.randn(B, 1)
    return lambda: Series(8, units, 2), lambda m: training(m, x, next_value), (T, B)


def word_model() -> Program:
    x, target = words(10_000, 35, 20), words(10_000, 35, 20)
    return lambda: WordModel(10_000, 200, 2), lambda m: training(m, x, target), (35, 20)


def policy() -> Program:
    x = torch.randn(16, 16, 64)
    return lambda: Stepper(0, 64, 128, 1, 6), lambda m: playing(m, x), (1, 16)


def forecast() -> Program:
    x = torch.randn(3200, 24)
    return lambda: Stepper(0, 24, 40, 2, 2), lambda m: sampling(m, x, 12), (1, 3200)


def text() -> Program:
    return lambda: Stepper(100, 64, 256, 1, 100), lambda m: decoding(m, 50), (1, 1)


PROGRAMS: dict[str, Callable[[], Program]] = {
    "tagger, evaluation, B=8 T=100, 128 → 256": lambda: tagger_evaluation(8, 100, 128, 256),
    "tagger, evaluation, B=32 T=100": lambda: tagger_evaluation(32, 100, 128, 256),
    "tagger, both ways, evaluation, B=1 T=50": lambda: tagger_evaluation(1, 50, 128, 256, 1, True),
    "tagger, training, B=32 T=100": lambda: tagger_training(32, 100, 128, 256),
    "tagger, both ways, training, B=16 T=40, 2 × 100": lambda: tagger_training(
        16, 40, 100, 100, 2, True
    ),
    "series, training, B=64 T=96, 2 × 64": lambda: series(64, 96, 64),
    "series, training, B=256 T=30, 2 × 40": lambda: series(256, 30, 40),
    "word model, training, B=20 T=35, 2 × 200": word_model,
    "policy, training, B=16, 16 single steps": policy,
    "sampling, B=3200, 12 single steps": forecast,
    "decoding, B=1, 50 single steps": text,
}


# ---------------------------------------------------------------- measurement


def by_turns(steps: list[Step], seconds: float) -> list[list[float]]:
    """Return the seconds of each step, of all in turns, the order turned round each time."""
    found: list[list[float]] = [[] for _ in steps]
    order = list(range(len(steps)))
    for step in steps * 2:
        step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[0]) < 9:
        for k in order:
            start = time.perf_counter()
            steps[k]()
            found[k].append(time.perf_counter() - start)
        order.reverse()
    return found


def times_faster(ours: list[float], theirs: list[float]) -> float:
    return median(b / a for a, b in zip(ours, theirs, strict=True))


def layer_alone(model: nn.Module, sizes: tuple[int, int], trains: bool) -> Step:
    """A call of the program's layer, and its way back, on inputs of its own."""
    lstm: Any = model.lstm
    T, B = sizes
    shape = (B, T, lstm.input_size) if lstm.batch_first else (T, B, lstm.input_size)
    x, parameters = torch.randn(shape, requires_grad=trains), list(lstm.parameters())

    def step() -> torch.Tensor:
        with torch.set_grad_enabled(trains):
            y, _ = lstm(x)
        if trains:
            torch.autograd.grad(y, [x, *parameters], torch.ones_like(y))
        return y

    return step


def row(name: str, program: Program, seconds: float) -> tuple[str, float, float]:
    """Return the program's row of the table, its ratio, and that over the prediction."""
    build, run, sizes = program
    torch.manual_seed(0)
    plain = build()
    twin, rest = copy.deepcopy(plain), copy.deepcopy(plain)
    assert lstmfast.torch.accelerate(twin).swapped == ["lstm"]
    rest.lstm = Nothing(plain.lstm)  # type: ignore[arg-type]
    trains = "training" in name
    layers = [layer_alone(model, sizes, trains) for model in (twin, plain)]
    alone = times_faster(*by_turns(layers, seconds / 2))
    steps = [run(model) for model in (twin, plain, rest)]
    first, wanted = steps[0](), steps[1]()
    apart = float((first - wanted).abs().max() / wanted.abs().max())
    assert apart <= LAYER_CHECK, f"{name}: results are {apart:.2g} apart"
    ours, theirs, without = by_turns(steps, seconds)
    ratio = times_faster(ours, theirs)
    share = max(0.0, 1 - median(a / b for a, b in zip(without, theirs, strict=True)))
    predicted = 1 / (1 - share + share / alone)
    figures = [f"{1e3 * median(of):.2f}" for of in (theirs, ours)]
    figures += [f"{ratio:.2f}", f"{share:.0%}"]
    figures += [f"{of:.2f}" for of in (alone, predicted, ratio / predicted)]
    return " | ".join(["", name, *figures, ""]).strip(), ratio, ratio / predicted


def table(threads: int, only: str, seconds: float) -> list[str]:
    torch.set_num_threads(threads)
    lines = [f"## PyTorch's threads: {threads}", "",
             "| program | `torch.nn`, ms | accelerated, ms | times | the LSTM's share "
             "| times, LSTM alone | predicted | of that |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    ratios, parts = [], []
    for name, make in PROGRAMS.items():
        if re.search(only, name):
            line, ratio, part = row(name, make(), seconds)
            print(line, flush=True)
            lines.append(line)
            ratios.append(ratio)
            parts.append(part)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    end = f"Geometric mean {mean:.2f}, the least {min(ratios):.2f}; "
    end += f"the least part of what was predicted: {min(parts):.2f}."
    print(end, flush=True)
    return [*lines, "", end, ""]


def programs(threads: list[int], only: str, seconds: float) -> list[str]:
    versions = f"lstmfast {lstmfast.__version__}, torch {torch.__version__}"
    lines = ["# Whole programs in one process", "", f"{origin()}; {versions}.", ""]
    for count in threads:
        lines += table(count, only, seconds)
    return lines


def write(file: Path, lines: list[str]) -> None:
    """Write the programs or the section of the projects, whichever it is; keep the other."""
    text = "\n".join(lines)
    old = file.read_text() if file.exists() else ""
    before, mark, after = old.partition(projects.HEADING)
    parts = (before, text) if text.startswith(projects.HEADING) else (text, mark + after)
    file.write_text("\n\n".join(part.strip() for part in parts if part.strip()) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=".", help="a pattern of names of programs")
    parser.add_argument("--projects", nargs="*", metavar="NAME", choices=projects.PROJECTS,
                        help="these real projects in place of programs, or all")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=projects.FOLDER, help="their environments")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each, at each of `threads`")
    parser.add_argument("--out", type=Path, help="a file for the tables")
    given = parser.parse_args()
    if given.projects is None:
        lines = programs(given.threads, given.only, given.seconds)
    else:
        lines = projects.section(given.folder, given.projects, given.threads, given.seconds)
    if given.out:
        write(given.out, lines)


if __name__ == "__main__":
    main()

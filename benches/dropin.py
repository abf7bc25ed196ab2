"""What lstmfast.torch costs and gains in a model that was written for torch.nn.

    python -m benches.dropin

Calls: one step of one row, without gradients, beside the same call on arrays. Training: whole steps
(forward, backward, Adam) of two models on packed sequences, torch.nn's beside a twin that
`accelerate` took; both see the same batches from the same parameters, so that their losses must
agree. Everything takes turns in one process, in an order that is turned round each time; figures
are medians, overheads and ratios those of turns. Prints Markdown.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import lstmfast
import lstmfast.torch

SIZES = (64, 256)  # of inputs and units of the calls
CALLS, CALL_TURNS = 200, 41
STEPS, WARM_UP = 40, 3
CURVE_BAR = 1e-4  # largest relative difference of the losses; beyond it the figures mean nothing

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # words (B, T), lengths (B,), targets


# ---------------------------------------------------------------- calls


def blocks(calls: list[Callable[[], object]]) -> list[list[float]]:
    """Return the seconds of one call of each, turn by turn."""
    seconds: list[list[float]] = [[] for _ in calls]
    order = list(range(len(calls)))
    for _ in range(CALL_TURNS):
        for k in order:
            calls[k]()
            start = time.perf_counter()
            for _ in range(CALLS):
                calls[k]()
            seconds[k].append((time.perf_counter() - start) / CALLS)
        order.reverse()
    return seconds


def call_row(size: int, mode: Callable[[], torch.no_grad]) -> str:
    """Return a row of the table of calls: B = T = 1, I = H = size."""
    torch.manual_seed(0)
    reference, layer = (kind(size, size).eval() for kind in (nn.LSTM, lstmfast.torch.LSTM))
    layer.load_state_dict(reference.state_dict())
    x = torch.randn(1, 1, size)
    named = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    b = named["bias_ih_l0"] + named["bias_hh_l0"]
    given = (x.numpy(), named["weight_ih_l0"], named["weight_hh_l0"], b)
    calls = (lambda: lstmfast.lstm_forward(*given), lambda: layer(x), lambda: reference(x))
    with mode():
        arrays, ours, theirs = blocks(list(calls))
    over = [b - a for a, b in zip(arrays, ours, strict=True)]
    figures = " | ".join(f"{1e6 * median(of):.1f}" for of in (arrays, ours, over, theirs))
    return f"| {size} | {mode.__name__} | {figures} |"


# ---------------------------------------------------------------- models


class Tagger(nn.Module):
    """A tag for each word: embedding, LSTM in both directions, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2000, 64)
        self.lstm = nn.LSTM(64, 128, bidirectional=True, batch_first=True)
        self.head = nn.Linear(256, 12)

    def forward(self, words: PackedSequence) -> torch.Tensor:
        x = words._replace(data=self.embedding(words.data))
        return self.head(self.lstm(x)[0].data)


class Classifier(nn.Module):
    """A class for each text, from the state after its last word, as for reviews of films."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5000, 64)
        self.lstm = nn.LSTM(64, 128, batch_first=True)
        self.head = nn.Linear(128, 2)

    def forward(self, words: PackedSequence) -> torch.Tensor:
        x = words._replace(data=self.embedding(words.data))
        _, (h_n, _) = self.lstm(x)
        return self.head(h_n[-1])


def texts(vocabulary: int, rows: int, shortest: int, longest: int) -> Iterator[Batch]:
    """Yield words, lengths and a number for each word, of it and of the one before."""
    generator = torch.Generator().manual_seed(1)
    while True:
        lengths = torch.randint(shortest, longest + 1, (rows,), generator=generator)
        words = torch.randint(vocabulary, (rows, longest), generator=generator)
        yield words, lengths, words % 12 ^ words.roll(1, 1) % 2


def tagging() -> Iterator[tuple[PackedSequence, torch.Tensor]]:
    for words, lengths, numbers in texts(2000, 32, 5, 40):
        packed, tags = (
            pack_padded_sequence(of, lengths, batch_first=True, enforce_sorted=False)
            for of in (words, numbers % 12)
        )
        yield packed, tags.data


def classifying() -> Iterator[tuple[PackedSequence, torch.Tensor]]:
    """Good and bad texts: every fourth word of one class is never found in the other."""
    for words, lengths, _ in texts(4999, 32, 20, 200):
        classes = lengths % 2
        words = torch.where(words % 4 == 0, words % 100 + 100 * classes[:, None], words)
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        yield packed, classes


MODELS = {
    "tagger, both ways, T 5–40": (Tagger, tagging),
    "classifier, T 20–200": (Classifier, classifying),
}


class Course(NamedTuple):
    """How one model's training went."""

    seconds: list[float]
    losses: list[float]


def trained(
    model: nn.Module, batches: Iterator[tuple[PackedSequence, torch.Tensor]]
) -> list[Course]:
    """Train torch.nn's model and the one that accelerate took in turns, step by step."""
    twin = copy.deepcopy(model)
    report = lstmfast.torch.accelerate(twin)
    assert report.swapped == ["lstm"], report
    models = [model, twin]
    optimizers = [torch.optim.Adam(one.parameters(), 0.002) for one in models]
    courses = [Course([], []) for _ in models]
    for number in range(STEPS):
        words, targets = next(batches)
        for k in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter()
            optimizers[k].zero_grad()
            loss = nn.functional.cross_entropy(models[k](words), targets)
            loss.backward()
            optimizers[k].step()
            courses[k].seconds.append(time.perf_counter() - start)
            courses[k].losses.append(loss.item())
    return courses


def training_row(
    name: str, model: nn.Module, batches: Iterator[tuple[PackedSequence, torch.Tensor]]
) -> str:
    theirs, ours = trained(model, batches)
    apart = max(abs(a / b - 1) for a, b in zip(ours.losses, theirs.losses, strict=True))
    assert apart <= CURVE_BAR, f"{name}: losses differ by {apart:.2g}"
    seconds = [1e3 * median(course.seconds[WARM_UP:]) for course in (theirs, ours)]
    pairs = zip(theirs.seconds[WARM_UP:], ours.seconds[WARM_UP:], strict=True)
    ratio = median(a / b for a, b in pairs)
    curve = f"{ours.losses[0]:.3f} → {ours.losses[-1]:.3f}"
    return f"| {name} | {seconds[0]:.1f} | {seconds[1]:.1f} | {ratio:.2f} | {curve} | {apart:.1e} |"


def main() -> None:
    print(f"lstmfast {lstmfast.__version__}, torch {torch.__version__}\n")
    print("One step of one row, µs per call:\n")
    print("| I = H | mode | `lstm_forward` | `lstmfast.torch.LSTM` | overhead | `torch.nn.LSTM` |")
    print("|---|---|---|---|---|---|")
    for size in SIZES:
        for mode in (torch.no_grad, torch.inference_mode):
            print(call_row(size, mode), flush=True)
    print(f"\nTraining, ms per step of 32 sequences; losses of {STEPS} steps:\n")
    print("| model | threads | `torch.nn` | after `accelerate` | times | losses | apart |")
    print("|---|---|---|---|---|---|---|")
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        lstmfast.set_num_threads(threads)
        for name, (kind, batches) in MODELS.items():
            torch.manual_seed(0)
            print(training_row(f"{name} | {threads}", kind(), batches()), flush=True)


if __name__ == "__main__":
    main()

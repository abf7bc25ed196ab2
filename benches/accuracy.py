"""What bfloat16 in training, and int8 of a model trained in float32, cost in accuracy.

    python -m benches.accuracy [-o accuracy.md] [--epochs 12]

Three models of the same seed, each trained in float32 and in bfloat16; the first is then quantized.
All are held against data that they have not seen:

text      the example (characters of Python's own help, `lstmfast.examples.text_generation`): bits
          per character of the held-out tenth
digits    scikit-learn's handwritten digits, row by row: the share that is taken for another digit
series    the Mackey-Glass equation (1977, tau = 17), one number ahead of 50: root mean square error
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benches.origin import origin
from benches.report import table
from lstmfast import LSTM, Dense, Model
from lstmfast.examples import corpus, text_generation
from lstmfast.examples.text_generation import held_out_bits, make_model

Train = Callable[[str | None], tuple[Model, Callable[[Model], float]]]


def text(epochs: int) -> Train:
    arguments = text_generation.parser().parse_args(["--epochs", str(epochs)])
    read = corpus.make_corpus(corpus.reference_prose(), arguments.level, arguments.vocab)

    def trained(precision: str | None) -> tuple[Model, Callable[[Model], float]]:
        model = make_model(len(read.vocabulary), arguments).to("cpu", precision)
        for _ in text_generation.train(model, read, arguments):
            pass
        return model, lambda one: held_out_bits(one, read.ids, read.split) / read.characters[1]

    return trained


def digits(epochs: int) -> Train:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, rest = order[:1200], order[1200:]

    def trained(precision: str | None) -> tuple[Model, Callable[[Model], float]]:
        model = Model([LSTM(64, input_shape=(None, 8)), Dense(10, "softmax")], seed=0)
        model.to("cpu", precision).compile("adam", "sparse_categorical_crossentropy")
        model.fit(x[train], labels[train], epochs=epochs, verbose=0)
        return model, lambda one: float((one.predict(x[rest]).argmax(1) != labels[rest]).mean())

    return trained


def mackey_glass(count: int) -> np.ndarray[Any, Any]:
    """The series, of unit variance, one number for each unit of time; Euler's steps of a tenth."""
    tau, h = 17, 0.1
    values = np.full(int((count + tau) / h) + 1, 1.2)
    for n in range(int(tau / h), len(values) - 1):
        past = values[n - int(tau / h)]
        values[n + 1] = values[n] + h * (0.2 * past / (1 + past**10) - 0.1 * values[n])
    series = values[int(tau / h) :: 10][:count]
    return (series - series.mean()) / series.std()


def series(epochs: int) -> Train:
    numbers = mackey_glass(5050).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(numbers, 51)
    x, y = windows[:, :50, None], windows[:, 50:]
    train = 4000

    def trained(precision: str | None) -> tuple[Model, Callable[[Model], float]]:
        model = Model([LSTM(64, input_shape=(None, 1)), Dense(1)], seed=0)
        model.to("cpu", precision).compile("adam", "mse")
        model.fit(x[:train], y[:train], epochs=epochs, verbose=0)
        return model, lambda one: float(
            np.sqrt(np.square(one.predict(x[train:]) - y[train:]).mean())
        )

    return trained


def rows(name: str, unit: str, trained: Train) -> list[list[str]]:
    model, measure = trained(None)
    narrow, _ = trained("bfloat16")
    exact = measure(model)
    found = {"float32": exact, "bfloat16, trained in it": measure(narrow),
             "int8, of the float32 model": measure(model.quantize())}  # fmt: skip
    return [
        [name, unit, how, f"{value:.4f}", f"{100 * (value / exact - 1):+.2f} %"]
        for how, value in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--epochs", type=int, default=12, help="of the text; of the others thrice")
    given, start = parser.parse_args(), time.perf_counter()
    found = rows("text", "bits per character", text(given.epochs))
    found += rows("digits", "share wrong", digits(3 * given.epochs))
    found += rows("series", "root mean square error", series(3 * given.epochs))
    head = ["model", "measured", "numbers", "on unseen data", "change"]
    minutes = (time.perf_counter() - start) / 60
    lines = ["# What smaller numbers cost in accuracy", ""]
    lines += [f"{origin()}; {given.epochs} epochs; {minutes:.0f} minutes.", "", table(head, found)]
    told = "\n".join(lines) + "\n"
    print(told)
    if given.out:
        given.out.write_text(told)


if __name__ == "__main__":
    main()

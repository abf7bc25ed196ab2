"""Translate dates of ten languages into ISO 8601: encoder, decoder, and attention between them.

    pip install Babel
    python -m lstmfast.examples.translation
    python -m lstmfast.examples.translation --text "5 mars 2031" --text "الأربعاء، 5 مارس 2031"

The dates are written by Babel, from Unicode's CLDR, in three styles of each language; those that
are held out were seen in no language. The program prints how many of them come out right to the
last digit, by greedy search and by a beam, beside the best that copying a run of digits reaches,
and draws where the model looked while it wrote a date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lstmfast

from .. import disk
from ..optimizers import Adam
from ..optimizers.schedules import CosineDecay
from .dates import LANGUAGES, Dates, dates
from .picture import drawn
from .seq2seq import Symbols, Translator

__all__ = ["main"]

Array = np.ndarray[Any, np.dtype[Any]]

TARGET = Symbols("0123456789-")
MOST = 11  # symbols of a target, its end included
BEAM = 4
BEAMED = 100  # texts that a beam is tried on


# ---------------------------------------------------------------- training


def learn(train: Dates, source: Symbols, arguments: argparse.Namespace) -> Translator:
    """Return a translator that has learnt from these dates."""
    x, y = source.encode(train.texts), TARGET.encode(train.targets)
    made = Translator(
        len(source), len(TARGET), arguments.embedding, arguments.units, arguments.seed
    )
    steps = arguments.epochs * -(-len(x) // arguments.batch_size)
    optimizer = Adam(CosineDecay(arguments.learning_rate, steps, 0.02), global_clipnorm=1.0)
    how = {"batch_size": arguments.batch_size, "epochs": arguments.epochs, "verbose": 2}
    made.fit(x, y, optimizer=optimizer, **how)
    return made


def texts_of(targets: Array) -> list[str]:
    """Return what targets (N, T) say."""
    return ["".join(TARGET.decode(row)) for row in targets]


# ---------------------------------------------------------------- report


def copied(text: str) -> str:
    """Return the baseline: the numbers of a text, the year, and the others in their order."""
    text = "".join(map(digit, text))
    numbers = re.findall(r"\d+", text)
    year = next((n for n in numbers if len(n) == 4), "0000")
    others = [n for n in numbers if n != year] + ["1", "1"]
    first, second = others[:2]
    month, day = (first, second) if text.find(year) < text.find(first) else (second, first)
    return f"{year}-{int(month):02}-{int(day):02}"


def digit(symbol: str) -> str:
    """Return a digit of any script as one of 0 to 9, other symbols as they are."""
    return str(int(symbol)) if symbol.isdecimal() else symbol


def exact(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the share that is right to the last digit."""
    return float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))


def report(made: Translator, source: Symbols, held_out: Dates) -> list[str]:
    """Return lines on how much of the dates that were held out comes out right."""
    x, wanted = source.encode(held_out.texts), held_out.targets
    found = texts_of(made.greedy(x, MOST))
    beam = [made.beam(row, MOST, BEAM) for row in x[:BEAMED]]
    right = [exact([f], [w]) for f, w in zip(found, wanted, strict=True)]
    by_language = {
        name: np.mean([r for r, of in zip(right, held_out.languages, strict=True) if of == name])
        for name in LANGUAGES
    }
    baseline = exact([copied(text) for text in held_out.texts], wanted)
    beamed = exact(texts_of(np.array([pad(row) for row in beam])), wanted[:BEAMED])
    return [
        f"{len(wanted)} dates held out: {100 * np.mean(right):.2f}% right to the last digit; "
        f"copying numbers {100 * baseline:.2f}%",
        "by language: " + ", ".join(f"{n} {100 * r:.1f}%" for n, r in by_language.items()),
        f"a beam of {BEAM}, the first {len(beam)}: {100 * beamed:.2f}%, "
        f"greedy {100 * np.mean(right[:BEAMED]):.2f}%",
    ]


def pad(row: Array) -> Array:
    """Return a target with zeros up to `MOST` symbols."""
    return np.pad(row, (0, MOST - len(row)))


def paint(text: str, written: str, looked: Array) -> Callable[..., None]:
    """Return what draws how much each symbol written looked at each symbol read."""

    def painted(axes: Any) -> None:
        axes.imshow(looked[: len(written) + 1, : len(text) + 1], cmap="Blues", aspect="auto")
        axes.set_xticks(range(len(text) + 1), [*text, "end"])
        axes.set_yticks(range(len(written) + 1), [*written, "end"])
        axes.set(xlabel="read", ylabel="written")

    return painted


# ---------------------------------------------------------------- files


def save(made: Translator, source: Symbols, out: Path) -> None:
    """Write the model and its source symbols into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    made.save(out / "dates.safetensors")
    held = json.dumps(source.symbols[4:], ensure_ascii=False)
    disk.replace(out / "symbols.json", held.encode())


def load(out: Path) -> tuple[Translator, Symbols]:
    """Return what `save` wrote."""
    with disk.Source(out / "symbols.json") as file:
        symbols = json.loads(file.content(2**20))
    return Translator.load(out / "dates.safetensors"), Symbols(symbols)


# ---------------------------------------------------------------- the program


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m lstmfast.examples.translation",
        description="Learn to write dates of ten languages in ISO 8601.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = made.add_argument
    option("--text", action="append", default=[], help="a date to translate by the saved model")
    option("--dates", type=int, default=40_000, help="to learn from")
    option("--embedding", type=int, default=32, help="size of a symbol's vector")
    option("--units", type=int, default=96, help="of the decoder; the encoder has half each way")
    option("--epochs", type=int, default=2)
    option("--batch-size", type=int, default=64)
    option("--learning-rate", type=float, default=0.004, help="of the first step; falls to a 50th")
    option("--quick", action="store_true", help="a tenth of the dates: too few to learn them")
    option("--seed", type=int, default=0, help="of weights and dates")
    option("--threads", type=int, default=0, help="0: as many as cores")
    option("--out", type=Path, default=Path("translation"), help="folder for what is saved")
    return made


def run(arguments: argparse.Namespace) -> None:
    """Train, report, save, and draw."""
    count = arguments.dates // 10 if arguments.quick else arguments.dates
    train, held_out = dates(count, arguments.seed)
    source, begin = Symbols(sorted(set("".join(train.texts)))), time.perf_counter()
    made = learn(train, source, arguments)
    print(f"trained in {time.perf_counter() - begin:.0f} s")
    print("\n".join(report(made, source, held_out)))
    save(made, source, arguments.out)
    text = max(held_out.texts, key=len)
    x = source.encode([text])
    target = made.greedy(x, MOST)
    painted = paint(text, texts_of(target)[0], made.attention(x[0], target[0]))
    print(drawn(arguments.out / "attention.png", painted))


def translate(arguments: argparse.Namespace) -> None:
    """Print what the saved model makes of some texts."""
    made, source = load(arguments.out)
    for text in arguments.text:
        print(f"{text}: {texts_of(made.greedy(source.encode([text]), MOST))[0]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    made = parser()
    arguments = made.parse_args(argv)
    if arguments.threads:
        lstmfast.set_num_threads(arguments.threads)
    try:
        if arguments.text:
            translate(arguments)
        else:
            run(arguments)
    except (ValueError, OSError) as error:
        made.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Train the article's model on a text and let it write: Embedding, LSTM, Dense softmax, Adam.

    python -m lstmfast.examples.text_generation
    python -m lstmfast.examples.text_generation --text book.txt --epochs 20 --temperature 0.6
    python -m lstmfast.examples.text_generation --level word --vocab 10000 --embedding 128 \\
        --hidden 256

Without `--text` it learns the reference prose of Python's own help, character by character, in
about a minute. The last tenth of the text is held out; after every epoch the program prints the
bits per character there, beside the best of n-gram models of order 1 to 5 (see `ngram`) on the
same split. At the end it samples a text, saves the model, loads it again and checks that the
same seed gives the same text, and draws the learning curve where matplotlib is installed.

How it trains: the text is laid out as `--batch-size` parallel streams, and each step of the
optimizer takes the next `--steps` symbols of every stream. The LSTM is stateful, so that it
remembers across windows although no gradient flows between them (truncated backpropagation
through time). Every so often it starts from zero state again: samples and the held-out text do,
and a model that never saw that in training may not find its way.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import lstmfast

from .. import LSTM, Dense, Embedding, Model, disk
from ..optimizers import Adam
from . import corpus, ngram
from .corpus import Corpus, Vocabulary

__all__ = ["main"]

Array = np.ndarray[Any, np.dtype[Any]]

ORDERS = 5
FINAL_RATE = 0.1  # of the learning rate that it falls to, in a straight line over the epochs
CHAPTER = 64  # windows from one zero state to the next
EVALUATION_STEPS = 500
MOST_VOCABULARY = 2**26  # bytes of its file


# ---------------------------------------------------------------- training


def make_model(vocabulary_size: int, arguments: argparse.Namespace) -> Model:
    """Return the article's model with an output at every step, compiled."""
    layers = [
        Embedding(vocabulary_size, arguments.embedding),
        LSTM(arguments.hidden, return_sequences=True, stateful=True),
        Dense(vocabulary_size, activation="softmax"),
    ]
    model = Model(layers, seed=arguments.seed, name="text_generation")
    model.compile(Adam(arguments.learning_rate, global_clipnorm=1.0),
                  "sparse_categorical_crossentropy")  # fmt: skip
    return model


def windows(ids: Array, batch_size: int, steps: int) -> tuple[Array, Array]:
    """Lay a text out for a stateful model.

    Row b of window k + 1 goes on where row b of window k stopped.

    Parameters
    ----------
    ids : ndarray (N,)
    batch_size, steps : int

    Returns
    -------
    x, y : ndarray (windows, batch_size, steps)
        The symbols, and those one later.

    Raises
    ------
    ValueError
        When the text is too short for one batch.
    """
    count = (len(ids) - 1) // (batch_size * steps)
    if count == 0:
        least = batch_size * steps + 1
        raise ValueError(
            f"text: expected {least} symbols or more to train on (batch size {batch_size} times "
            f"{steps} steps), got {len(ids)}; a smaller --batch-size or --steps needs fewer"
        )
    used = count * batch_size * steps

    shape = (batch_size, count, steps)
    x, y = ids[:used].reshape(shape), ids[1 : used + 1].reshape(shape)
    return x.swapaxes(0, 1), y.swapaxes(0, 1)


def held_out_bits(model: Model, ids: Array, split: int) -> float:
    """Return the mean bits per symbol of `ids[split:]`, read as one stream from zero state."""
    x, y = ids[split - 1 : -1], ids[split:]
    whole = len(y) - len(y) % EVALUATION_STEPS
    model.reset_state()
    nats = 0.0
    for part, steps in ((slice(0, whole), EVALUATION_STEPS), (slice(whole, None), None)):
        if len(y[part]):
            rows = (-1, steps or len(y[part]))
            loss = model.evaluate(x[part].reshape(rows), y[part].reshape(rows), batch_size=1)
            assert isinstance(loss, float)  # no metrics were asked for
            nats += loss * len(y[part])
    model.reset_state()
    return nats / len(y) / math.log(2)


class Epoch(NamedTuple):
    """Bits per character, in training (while the weights still move) and of the held-out text."""

    training: float
    held_out: float


def train_epoch(model: Model, x: Array, y: Array, title: str) -> float:
    """Take one step per window, under a bar with loss and speed; return the mean bits per symbol.

    Parameters
    ----------
    model : Model
    x, y : ndarray (windows, batch_size, steps)
    title : str
    """
    bits = 0.0
    with tqdm(total=x.size, desc=title, unit=" symbols", unit_scale=True) as bar:
        for k, (inputs, targets) in enumerate(zip(x, y, strict=True)):
            if k % CHAPTER == 0:
                model.reset_state()
            loss = model.train_on_batch(inputs, targets)
            assert isinstance(loss, float)  # no metrics were asked for
            bits += loss / math.log(2)
            bar.set_postfix(bits=f"{bits / (k + 1):.3f}", refresh=False)
            bar.update(inputs.size)
    return bits / len(x)


def train(model: Model, text: Corpus, arguments: argparse.Namespace) -> Iterator[Epoch]:
    """Train, yielding after every epoch."""
    x, y = windows(text.ids[: text.split], arguments.batch_size, arguments.steps)
    assert isinstance(model.optimizer, Adam)
    for epoch in range(arguments.epochs):
        decay = (1 - FINAL_RATE) * epoch / max(arguments.epochs - 1, 1)
        model.optimizer.learning_rate = arguments.learning_rate * (1 - decay)
        training = train_epoch(model, x, y, f"epoch {epoch + 1}/{arguments.epochs}")
        held_out = held_out_bits(model, text.ids, text.split)
        yield Epoch(training / text.characters[0], held_out / text.characters[1])


# ---------------------------------------------------------------- sampling


def temper(probabilities: Array, temperature: float) -> Array:
    """Return probabilities sharpened (temperature below 1) or flattened (above 1); 0: the best."""
    if temperature == 0:
        return np.eye(len(probabilities))[probabilities.argmax()]
    possible = np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny)
    logs = np.log(possible) / temperature
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def sample(
    model: Model,
    vocabulary: Vocabulary,
    *,
    prompt: str,
    length: int,
    temperature: float,
    seed: int,
) -> str:
    """Return `length` symbols that the model writes after a prompt, one step at a time."""
    embedding, lstm, dense = model.layers
    assert isinstance(lstm, LSTM)
    stream, rng = lstm.stream(), np.random.default_rng(seed)
    written: list[int] = []
    waiting = list(vocabulary.encode(prompt)) or [0]
    for _ in range(length):
        for number in waiting:
            h = stream.step(embedding(np.array([number])))
        known = temper(dense(h)[0, 1:], temperature)  # number 0, "unknown", is never written
        written.append(1 + int(rng.choice(len(known), p=known)))
        waiting = written[-1:]
    return vocabulary.decode(written)


# ---------------------------------------------------------------- report


def unit_of(vocabulary: Vocabulary) -> str:
    """Return what is counted; unknown words cost one symbol and no spelling, so say so."""
    spelling = "" if vocabulary.level == "char" else " (unknown words not spelt out)"
    return f"bits per character{spelling}"


def ngram_bits(text: Corpus) -> dict[int, float]:
    """Return the bits per held-out character of each n-gram model, by order."""
    bits = ngram.baselines(text.ids, text.split, len(text.vocabulary), ORDERS)
    return {order: value / text.characters[1] for order, value in bits.items()}


def best_of(bits: dict[int, float]) -> int:
    """Return the order with the fewest bits."""
    return min(bits, key=lambda order: bits[order])


def describe_text(text: Corpus, bits: dict[int, float]) -> str:
    """Return two lines on the text and its n-gram models."""
    orders = ", ".join(f"order {order} {value:.3f}" for order, value in bits.items())
    held_out = text.ids[text.split :]
    unknown = 100 * float(np.mean(held_out == 0))
    return (
        f"{text.split:,} symbols to train on, {len(held_out):,} held out ({unknown:.1f}% unknown), "
        f"vocabulary {len(text.vocabulary):,}\n"
        f"n-gram models (order n sees n - 1 symbols), held-out {unit_of(text.vocabulary)}: {orders}"
    )


def describe_epoch(number: int, epoch: Epoch, bits: dict[int, float], unit: str) -> str:
    """Return one line on an epoch."""
    best = best_of(bits)
    return (
        f"epoch {number}: held out {epoch.held_out:.3f} {unit}, training {epoch.training:.3f}; "
        f"best n-gram (order {best}) {bits[best]:.3f}"
    )


def verdict(held_out: float, bits: dict[int, float], unit: str) -> str:
    """Return how the model compares with the n-gram models of order 3 and the best."""
    best = best_of(bits)
    lines = [f"held out: {held_out:.3f} {unit}"]
    for title, order in (("order 3", 3), (f"the best, order {best}", best)):
        share = 100 * (held_out / bits[order] - 1)
        word = "below" if share < 0 else "above"
        lines.append(f"  {abs(share):.1f}% {word} {title} ({bits[order]:.3f})")
    return "\n".join(lines)


def draw(path: Path, epochs: Sequence[Epoch], bits: dict[int, float], unit: str) -> bool:
    """Draw the learning curve; return whether matplotlib was there to do it."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    numbers = range(1, len(epochs) + 1)
    axes.plot(numbers, [epoch.training for epoch in epochs], "o-", label="LSTM, training")
    axes.plot(numbers, [epoch.held_out for epoch in epochs], "o-", label="LSTM, held out")
    for order in range(2, ORDERS + 1):
        shade, label = str(0.9 - 0.16 * order), f"{order}-gram, held out"
        axes.axhline(bits[order], color=shade, linestyle="--", label=label)
    axes.set(xlabel="epoch", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    figure.savefig(path, dpi=120)
    return True


def save(model: Model, vocabulary: Vocabulary, out: Path) -> None:
    """Write the model and its vocabulary into a folder."""
    model.save(out / "model.safetensors")
    held = {"level": vocabulary.level, "symbols": vocabulary.symbols}
    disk.replace(out / "vocabulary.json", json.dumps(held, ensure_ascii=False).encode())


def load(out: Path) -> tuple[Model, Vocabulary]:
    """Return what `save` wrote."""
    with disk.Source(out / "vocabulary.json") as file:
        held = json.loads(file.content(MOST_VOCABULARY))
    return lstmfast.load(out / "model.safetensors"), Vocabulary(held["symbols"], held["level"])


# ---------------------------------------------------------------- the program


def at_least(least: float, kind: type[int] | type[float] = int) -> Any:
    """Return a converter for argparse of finite numbers from `least` on."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(
                f"expected a finite {kind.__name__} from {least} on, got {text!r}"
            )
        return value

    return convert


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m lstmfast.examples.text_generation",
        description="Train an LSTM on a text, hold it against n-gram models, let it write.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option, count = made.add_argument, at_least(1)
    option("--text", metavar="FILE", help="UTF-8 text; default: the prose of Python's own help")
    option("--level", choices=corpus.LEVELS, default="char", help="what a symbol is")
    option("--vocab", type=at_least(2), default=10_000, help="most symbols, frequent ones first")
    option("--embedding", type=count, default=64, help="size of a symbol's vector")
    option("--hidden", type=count, default=256, help="units of the LSTM")
    option("--epochs", type=count, default=12)
    option("--batch-size", type=count, default=16, help="parallel streams")
    option("--steps", type=count, default=64, help="symbols between truncations")
    option("--learning-rate", type=at_least(0, float), default=0.003,
           help="of the first epoch; falls to a tenth")  # fmt: skip
    option("--temperature", type=at_least(0, float), default=0.7, help="0: the likeliest symbol")
    option("--length", type=count, default=600, help="symbols to write")
    option("--prompt", default="The", help="what the sample goes on from")
    option("--seed", type=at_least(0), default=0, help="of weights and samples")
    option("--threads", type=count, default=argparse.SUPPRESS, help="default: as many as cores")
    option("--out", type=Path, default=Path("text_generation"), help="folder for what is saved")
    return made


def prepare(arguments: argparse.Namespace) -> Corpus:
    """Return the text of a run, or raise ValueError when it cannot be trained on."""
    plain = corpus.read(arguments.text) if arguments.text else corpus.reference_prose()
    text = corpus.make_corpus(plain, arguments.level, arguments.vocab)
    windows(text.ids[: text.split], arguments.batch_size, arguments.steps)
    if len(text.ids) - text.split < ORDERS:
        found = len(text.ids)
        raise ValueError(f"text: expected {10 * ORDERS} symbols or more, got {found}")
    return text


def run(text: Corpus, arguments: argparse.Namespace) -> None:
    """Train, report, save, and write."""
    unit, bits, started = unit_of(text.vocabulary), ngram_bits(text), time.perf_counter()
    print(describe_text(text, bits))
    model, epochs = make_model(len(text.vocabulary), arguments), []
    for epoch in train(model, text, arguments):
        epochs.append(epoch)
        print(describe_epoch(len(epochs), epoch, bits, unit), flush=True)
    print(verdict(epochs[-1].held_out, bits, unit))
    print(f"trained in {time.perf_counter() - started:.0f} s")
    write(model, text.vocabulary, arguments)
    curve = arguments.out / "learning_curve.png"
    drawn = draw(curve, epochs, bits, unit)
    print(f"learning curve: {curve}" if drawn else "learning curve: not drawn without matplotlib")


def write(model: Model, vocabulary: Vocabulary, arguments: argparse.Namespace) -> None:
    """Sample, save, load, and sample the same again.

    Raises
    ------
    RuntimeError
        When the loaded model writes anything else.
    """
    how = {name: getattr(arguments, name) for name in ("prompt", "length", "temperature", "seed")}
    written = sample(model, vocabulary, **how)
    print(f"\n{'-' * 72}\n{arguments.prompt}{written}\n{'-' * 72}\n")
    save(model, vocabulary, arguments.out)
    if sample(*load(arguments.out), **how) != written:
        raise RuntimeError("the loaded model wrote another text than the one that was saved")
    print(f"saved in {arguments.out}; loaded again, the model writes the same text")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    made = parser()
    arguments = made.parse_args(argv)
    if "threads" in arguments:
        lstmfast.set_num_threads(arguments.threads)
    try:
        text = prepare(arguments)
        arguments.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        made.error(str(error))
    run(text, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Text for the examples: reading it, cutting it into symbols, numbering them, holding some out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LEVELS", "UNKNOWN", "Corpus", "Vocabulary", "make_corpus", "read", "reference_prose"]

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
HELD_OUT_SHARE = 0.1
HELD_OUT_MOST = 100_000  # symbols: enough to measure, and quick to run through
WORDS = re.compile(r" ?\w+| ?([^\w\s])\1*|\s+(?!\S)|\s")  # words, runs of one mark, spaces
LEVELS = ("char", "word")


class Vocabulary:
    """Symbols and their numbers; number 0 stands for all others.

    Parameters
    ----------
    symbols : sequence of str
        The first is `UNKNOWN`.
    level : {"char", "word"}
        A word takes the space before it along, so that texts join together again without a rule.
    """

    def __init__(self, symbols: Sequence[str], level: str = "char"):
        self.symbols, self.level = list(symbols), level
        self.numbers = {symbol: number for number, symbol in enumerate(self.symbols)}

    @classmethod
    def of(cls, symbols: Iterable[str], level: str, limit: int) -> Vocabulary:
        """Return `UNKNOWN` and the `limit` - 1 most frequent symbols, ties in order of code.

        Symbols met only once are left out: they are what `UNKNOWN` is learnt from.
        """
        counted = sorted(Counter(symbols).items(), key=lambda entry: (-entry[1], entry[0]))
        known = [symbol for symbol, count in counted if count > 1 and symbol != UNKNOWN]
        return cls([UNKNOWN, *known[: limit - 1]], level)

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Return the numbers (N,) of a text's symbols."""
        symbols = cut(text, self.level)
        numbers = (self.numbers.get(symbol, 0) for symbol in symbols)
        return np.fromiter(numbers, np.int32, len(symbols))

    def decode(self, numbers: Iterable[int]) -> str:
        """Return the text of these numbers."""
        return "".join(self.symbols[number] for number in numbers)


class Corpus(NamedTuple):
    """A text as numbers.

    Attributes
    ----------
    ids : ndarray (N,) int32
        Training text up to `split`, held-out text from there on.
    split : int
    vocabulary : Vocabulary
        Of the training text alone.
    characters : tuple of float
        Per symbol, in the training text and in the held-out text.
    """

    ids: np.ndarray[Any, np.dtype[np.int32]]
    split: int
    vocabulary: Vocabulary
    characters: tuple[float, float]


def cut(text: str, level: str) -> Sequence[str]:
    """Return the symbols of a text; joined, they are the text again."""
    return text if level == "char" else [found.group() for found in WORDS.finditer(text)]


def make_corpus(text: str, level: str, limit: int) -> Corpus:
    """Number a text and hold its last tenth out, 100,000 symbols at most.

    Parameters
    ----------
    text : str
    level : {"char", "word"}
    limit : int
        The largest vocabulary, `UNKNOWN` included.
    """
    symbols = cut(text, level)
    held_out = min(int(len(symbols) * HELD_OUT_SHARE), HELD_OUT_MOST)
    split = len(symbols) - held_out
    vocabulary = Vocabulary.of(symbols[:split], level, limit)
    first, second = (sum(map(len, p)) / max(len(p), 1) for p in (symbols[:split], symbols[split:]))
    return Corpus(vocabulary.encode(text), split, vocabulary, (first, second))


def read(path: str | Path) -> str:
    """Return the text of a UTF-8 file.

    Raises
    ------
    ValueError
        When there is no such file, or it is not UTF-8, or empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"text: expected a readable file, got {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at {error.start}"
        raise ValueError(f"text: expected UTF-8, got {found} of {path}") from error
    if not text.strip():
        raise ValueError(f"text: expected some text, got an empty file {path}")
    return text


def reference_prose() -> str:
    """Return the reference prose of Python's own help, each paragraph once.

    Several topics repeat whole pages of others; left in, the held-out part would have been seen in
    training.

    Raises
    ------
    ValueError
        When this Python was installed without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ValueError("text: expected --text FILE, as this Python lacks pydoc_data") from error
    paragraphs: dict[str, str] = {}
    for topic in topics.values():
        for paragraph in topic.split("\n\n"):
            paragraphs.setdefault(" ".join(paragraph.split()), paragraph.strip("\n"))
    paragraphs.pop("", None)
    return "\n\n".join(paragraphs.values()) + "\n"

"""TextVectorization: texts to the ids of their words or characters, outside of any model."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import registry
from ..arguments import Array, choice, construct, integer, shown
from .symbolic import is_symbolic

__all__ = ["TextVectorization"]

PADDING, UNKNOWN = "", "[UNK]"  # of ids 0 and 1
STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
SPLIT = ("whitespace", "character", None)
PUNCTUATION = str.maketrans("", "", string.punctuation)
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
BLANKS = re.compile(r"[^ \t\n\r\f\v]+")


class TextVectorization:
    """Ids of the words of texts, with a vocabulary that `adapt` finds in some.

    It stands before a model, not in it: its ids are what an Embedding takes. Id 0 fills up, id 1
    stands for words that are not in the vocabulary.

    >>> vectorize = TextVectorization(max_tokens=10_000, output_sequence_length=80)
    >>> vectorize.adapt(texts)
    >>> model.fit(vectorize(texts), labels)           # Embedding(10_000, 64, mask_zero=True), ...

    Parameters
    ----------
    max_tokens : int, optional
        The most ids, 0 and 1 among them: the more frequent words are kept.
    standardize : str, function of a text, or None
        "lower_and_strip_punctuation", "lower", "strip_punctuation". Letters and punctuation are
        those of ASCII, as in Keras; `str.lower` is a function that knows others.
    split : str, function from a text to a list, or None
        "whitespace": words; "character"; None: a text is one token, and has one id.
    output_mode : "int"
    output_sequence_length : int, optional
        Cut, or fill up at the end, to this length; by default that of the longest text.
    vocabulary : list of str, optional
        In place of `adapt`: the words of ids 2, 3 and so on.
    name : str, optional

    Raises
    ------
    ValueError
        For a value that is none of these.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        vocabulary: Sequence[str] | None = None,
        *,
        name: str | None = None,
    ):
        self.max_tokens = None if max_tokens is None else integer("max_tokens", max_tokens, 3)
        self.standardize = _word_or_function("standardize", standardize, STANDARDIZE)
        self.split = _word_or_function("split", split, SPLIT)
        self.output_mode = choice("output_mode", output_mode, ("int",))
        length = output_sequence_length
        given = length is not None
        self.output_sequence_length = (
            integer("output_sequence_length", length, 1) if given else None
        )
        if given and self.split is None:
            expected = "None where split is None"
            raise ValueError(f"output_sequence_length: expected {expected}, got {length}")
        self.name = "text_vectorization" if name is None else name
        if not isinstance(self.name, str):
            raise ValueError(f"name: expected a str, got {shown(name)}")
        self._words: list[str] | None = None
        self._ids: dict[str, int] = {}
        if vocabulary is not None:
            self.set_vocabulary(vocabulary)

    # The vocabulary.

    def adapt(self, data: Any) -> None:
        """Make the vocabulary of the words of texts, the most frequent first.

        Of equally frequent ones the last in the alphabet comes first, as in Keras. What was there
        before is forgotten.

        Parameters
        ----------
        data : iterable of str, or of lists of them

        Raises
        ------
        ValueError
            For what are no texts; then the vocabulary stays.
        """
        counts: Counter[str] = Counter()
        for one in [data] if isinstance(data, str) else data:
            for text in [one] if isinstance(one, (str, np.str_)) else _texts(one)[0]:
                counts.update(token for token in self._tokens(str(text)) if token != PADDING)
        del counts[UNKNOWN]
        ordered = sorted(counts, reverse=True)
        ordered.sort(key=lambda token: -counts[token])
        self._keep(ordered[: None if self.max_tokens is None else self.max_tokens - 2])

    def set_vocabulary(self, vocabulary: Sequence[str]) -> None:
        """Set the words of ids 2, 3 and so on; "" and "[UNK]" before them may be there.

        Raises
        ------
        ValueError
            For what is no list of different words, or is longer than `max_tokens` allows.
        """
        words = list(vocabulary) if isinstance(vocabulary, (list, tuple, np.ndarray)) else [None]
        if words[:2] == [PADDING, UNKNOWN]:
            words = words[2:]
        taken = (PADDING, UNKNOWN)
        if not all(isinstance(word, str) and word not in taken for word in words):
            got = shown(vocabulary)
            raise ValueError(f"vocabulary: expected a list of words, got {got}")
        if len(set(words)) < len(words):
            twice = next(word for word, count in Counter(words).items() if count > 1)
            raise ValueError(f"vocabulary: expected each word once, got {shown(twice)} twice")
        if self.max_tokens is not None and len(words) > self.max_tokens - 2:
            expected = f"{self.max_tokens - 2} words at most for max_tokens"
            raise ValueError(f"vocabulary: expected {expected}, got {len(words)}")
        self._keep([str(word) for word in words])

    def _keep(self, words: list[str]) -> None:
        self._words, self._ids = words, {word: at for at, word in enumerate(words, 2)}

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """Return the words by id, with "" and "[UNK]" or without."""
        return [PADDING, UNKNOWN] * bool(include_special_tokens) + (self._words or [])

    def vocabulary_size(self) -> int:
        """Return the number of ids."""
        return len(self.get_vocabulary())

    # Texts.

    def __call__(self, texts: Any) -> Array:
        """Return the ids of texts.

        Parameters
        ----------
        texts : str, or list or array of N of them

        Returns
        -------
        ids : (N, T) of int64; of one text (T,). Without a split, (N,) or ().

        Raises
        ------
        ValueError
            For what are no texts, a tensor of a graph among them; before there is a vocabulary.
        """
        if is_symbolic(texts):
            expected = "texts, not a tensor: call it before the model, on strings"
            raise ValueError(f"{self.name}: expected {expected}")
        if self._words is None:
            raise ValueError(f"{self.name}: expected adapt or set_vocabulary before, got neither")
        listed, is_one = _texts(texts)
        rows = [[self._ids.get(token, 1) for token in self._tokens(text)] for text in listed]
        steps = self.output_sequence_length or max(map(len, rows), default=0)
        ids = np.zeros((len(rows), steps), np.int64)
        for row, to in zip(rows, ids, strict=True):
            to[: len(row)] = row[:steps]
        found: Array = ids.reshape(len(rows)) if self.split is None else ids
        return np.asarray(found[0]) if is_one else found

    def _tokens(self, text: str) -> list[str]:
        if callable(self.standardize):
            text = self.standardize(text)
        elif self.standardize is not None:
            text = text.translate(LOWER) if "lower" in self.standardize else text
            text = text.translate(PUNCTUATION) if "strip" in self.standardize else text
        if callable(self.split):
            return list(self.split(text))
        if self.split is None:
            return [text]
        return BLANKS.findall(text) if self.split == "whitespace" else list(text)

    # What tells of it, and makes it anew.

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, the vocabulary among them, for JSON.

        Raises
        ------
        ValueError
            When `standardize` or `split` is a function that is not registered.
        """
        return {
            "max_tokens": self.max_tokens,
            "standardize": _name_of("standardize", self.standardize),
            "split": _name_of("split", self.split),
            "output_mode": self.output_mode,
            "output_sequence_length": self.output_sequence_length,
            "vocabulary": self._words,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TextVectorization:
        """Return another of what `get_config` told."""
        return construct("config", {"class": cls.__name__, **config}, {cls.__name__: cls})


def _word_or_function(argument: str, told: Any, words: tuple[Any, ...]) -> Any:
    found = registry.registered(told) if isinstance(told, str) else None
    found = told if found is None else found
    is_function = callable(found) and not isinstance(found, type)
    return found if is_function else choice(argument, found, words)


def _name_of(argument: str, told: str | Callable[..., Any] | None) -> str | None:
    if not callable(told):
        return told
    name = registry.name_of(told) if hasattr(told, "__name__") else ""
    if registry.registered(name) is not told:
        expected = "a function that register_serializable has registered"
        raise ValueError(f"{argument}: expected {expected} to write its name, got {shown(told)}")
    return name


def _texts(texts: Any) -> tuple[list[str], bool]:
    """Return a list of texts, and whether it was one text alone; ValueError for others."""
    if isinstance(texts, str):
        return [texts], True
    listed = texts.reshape(-1).tolist() if isinstance(texts, np.ndarray) else texts
    if isinstance(listed, Iterable) and not isinstance(listed, bytes):
        listed = list(listed)
        if all(isinstance(text, str) for text in listed):
            return listed, False
    raise ValueError(f"texts: expected a text or a list of them, got {shown(texts)}")

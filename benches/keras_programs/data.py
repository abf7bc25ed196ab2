"""What the programs learn from: made here, from seeds, in place of what their kind would download.

Each function returns what a file would hold: texts, lists of ids, series. Something can be learned
from each of them. The same arguments give the same data.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "additions", "machine", "novel", "questions", "reviews", "sentences", "translations", "weather",
]  # fmt: skip

Ids = list[list[int]]


def additions(count: int, digits: int) -> tuple[list[str], list[str]]:
    """Questions such as "12+7", without blanks, and their answers "19"."""
    rng = np.random.default_rng(1)
    found: dict[str, str] = {}
    while len(found) < count:
        a, b = (int(rng.integers(10 ** int(rng.integers(1, digits + 1)))) for _ in range(2))
        found[f"{a}+{b}"] = str(a + b)
    return list(found), list(found.values())


def reviews(count: int, vocabulary: int, shortest: int, longest: int) -> tuple[Ids, np.ndarray]:
    """Texts as ids from 1 on, of unlike lengths, and whether they are good: a third of them is."""
    rng = np.random.default_rng(2)
    labels = (rng.random(count) < 1 / 3).astype("int32")
    lengths = rng.integers(shortest, longest + 1, count)
    return [
        _tinted(rng, vocabulary, int(length), label)
        for length, label in zip(lengths, labels, strict=True)
    ], labels


def _tinted(rng: np.random.Generator, vocabulary: int, length: int, shade: int) -> list[int]:
    """Ids as in Zipf's law; every tenth is one of a few words that go with the shade."""
    ids = 1 + (rng.pareto(1.0, length) * 10).astype(int) % (vocabulary - 1)
    told = rng.random(length) < 0.1
    ids[told] = (
        1 + shade * 20 % (vocabulary - 1) + rng.integers(min(20, vocabulary - 1), size=length)[told]
    )
    return [int(one) for one in np.minimum(ids, vocabulary - 1)]


def translations(count: int, words: int = 3) -> tuple[list[str], list[str]]:
    """Lines in one made-up language and in another, where each word is spelled in its own way."""
    rng = np.random.default_rng(3)
    syllables = [first + second for first in "bdfgklmnprstv" for second in "aeiou"]
    lexicon = ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(200)]
    there = dict(zip("abdefgiklmnoprstuv", "éptifköglnmaprszuw", strict=True))
    lines = [" ".join(rng.choice(lexicon, words)) for _ in range(count)]
    others = ["".join(there.get(letter, letter) for letter in line) + "n!" for line in lines]
    return [f"{line}." for line in lines], others


def weather(hours: int, series: int) -> np.ndarray:
    """Measurements (hours, series): days, years and a drift, each series in its own way."""
    rng = np.random.default_rng(4)
    t = np.arange(hours)[:, None]
    day, year = rng.uniform(0.5, 3.0, (2, series))
    shift = rng.uniform(0, 2 * np.pi, (2, series))
    known = day * np.sin(2 * np.pi * t / 24 + shift[0])
    known += year * np.sin(2 * np.pi * t / 8766 + shift[1])
    drift = np.cumsum(rng.normal(0, 0.005, (hours, series)), axis=0)
    return (10 + known + drift + rng.normal(0, 0.2, (hours, series))).astype("float32")


def machine(steps: int, sensors: int, faults: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (steps, sensors) of a machine that runs in cycles; the second run has faults."""
    rng = np.random.default_rng(5)
    phases, speeds = rng.uniform(0, 2 * np.pi, sensors), rng.integers(1, 4, sensors)
    t = np.arange(steps)[:, None]
    whole = np.sin(2 * np.pi * speeds * t / 60 + phases)
    good, bad = (whole + rng.normal(0, 0.05, whole.shape) for _ in range(2))
    for start in rng.integers(0, steps - 10, faults):
        bad[start : start + 10, rng.integers(sensors)] += 2.0
    return good.astype("float32"), bad.astype("float32")


def sentences(count: int, vocabulary: int, tags: int, longest: int) -> tuple[Ids, Ids]:
    """Sentences as ids from 1 on, and a tag for each word: from it and from the one before."""
    rng = np.random.default_rng(6)
    words = [
        [int(one) for one in rng.integers(1, vocabulary, rng.integers(3, longest + 1))]
        for _ in range(count)
    ]
    return words, [
        [(one % tags + before % 2) % tags for one, before in zip(line, [0, *line], strict=False)]
        for line in words
    ]


def novel(length: int) -> str:
    """A text of this many letters whose words follow each other in some order."""
    rng = np.random.default_rng(7)
    lines, _ = translations(40, words=6)
    found = " ".join(lines[n] for n in rng.integers(len(lines), size=2 + length // 10))
    return (found + ".,;!?\n")[-length:]


def questions(
    count: int, vocabulary: int, longest: int, kinds: int
) -> tuple[Ids, Ids, np.ndarray, np.ndarray]:
    """Pairs of texts as ids, whether they ask for the same, and which kind the first is of."""
    rng = np.random.default_rng(8)
    labels = rng.integers(kinds, size=count)
    same = rng.integers(2, size=count)
    others = np.where(same == 1, labels, (labels + 1) % kinds)
    firsts, seconds = (
        [_tinted(rng, vocabulary, int(rng.integers(4, longest + 1)), int(one)) for one in shades]
        for shades in (labels, others)
    )
    return firsts, seconds, same.astype("float32"), labels.astype("int32")

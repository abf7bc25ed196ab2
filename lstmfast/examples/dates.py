"""Dates as people of ten languages write them, and as ISO 8601 does: from Unicode's CLDR.

The data is in the package Babel. A date that is held out was seen in no language.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

import numpy as np

__all__ = ["LANGUAGES", "Dates", "dates", "written"]

LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "ja", "ru", "tr", "zh")
STYLES = ("full", "long", "medium")  # a short one leaves the century open
FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
HELD_OUT = 0.1


class Dates(NamedTuple):
    """Some dates: as they are written, in which language, and in ISO 8601."""

    texts: list[str]
    languages: list[str]
    targets: list[str]


def written(day: datetime.date, language: str, style: str) -> str:
    """Return a date as the language writes it.

    Raises
    ------
    ValueError
        When Babel is not installed.
    """
    try:
        from babel.dates import format_date
    except ImportError as error:
        raise ValueError("dates: expected Babel (pip install Babel)") from error
    return str(format_date(day, style, locale=language))


def dates(count: int, seed: int) -> tuple[Dates, Dates]:
    """Return `count` dates to learn from and a tenth as many that are held out.

    Each is drawn with a language and a style.
    """
    rng = np.random.default_rng(seed)
    days = rng.permutation((LAST - FIRST).days + 1)
    at = int(len(days) * HELD_OUT)
    return drawn_from(days[at:], count, rng), drawn_from(days[:at], max(count // 10, 1), rng)


def drawn_from(days: np.ndarray, count: int, rng: np.random.Generator) -> Dates:  # type: ignore[type-arg]
    """Return dates from among these days after the first."""
    texts, languages, targets = [], [], []
    for number in rng.choice(days, count):
        day = FIRST + datetime.timedelta(int(number))
        language = LANGUAGES[rng.integers(len(LANGUAGES))]
        texts.append(written(day, language, STYLES[rng.integers(len(STYLES))]))
        languages.append(language)
        targets.append(day.isoformat())
    return Dates(texts, languages, targets)

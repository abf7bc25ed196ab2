"""Checks of arguments, shared by the modules above `ops`: errors name argument, expected, found."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, ClassVar, TypeVar

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int | None, ...]
"""Sizes of the axes; None where any size will do (the batch, and often the time)."""

T = TypeVar("T")

LARGEST = 2**63 - 1  # of integers: what fits in 64 bits with a sign
LARGEST_SEED = 2**128 - 1  # such as `np.random.SeedSequence().entropy`


class UsedOnce:
    """A base of what forward keeps for one backward: it refuses to be copied or pickled."""

    __slots__ = ()
    instead: ClassVar[str]  # what to do

    def __reduce_ex__(self, protocol: Any) -> Any:
        name = type(self).__name__
        raise TypeError(f"{name}: expected to be used once, not copied or pickled: {self.instead}")


def shape_text(shape: Collection[Any]) -> str:
    """Write a shape as in `x: expected (B, T, 3)`."""
    comma = "," if len(shape) == 1 else ""
    return f"({', '.join(str(size) for size in shape)}{comma})"


def check_shape(name: str, found: Collection[Any], expected: Collection[int | str]) -> None:
    """Raise ValueError unless `found` has these sizes; a letter in `expected` stands for any."""
    if found == expected:
        return
    if len(found) == len(expected):
        for want, size in zip(expected, found):  # noqa: B905  # asking once more takes as long
            if want != size and not isinstance(want, str):
                break
        else:
            return
    raise ValueError(f"{name}: expected {shape_text(expected)}, got {shape_text(found)}")


def one_line(text: Any, most: int = 500) -> str:
    """Return a text that may hold words of a file as one printable line, cut to `most` letters."""
    found = str(text)
    if len(found) > most:
        found = f"{found[: most * 3 // 4]} ... {found[-most // 4 + 5 :]}"
    printable = (c if c.isprintable() else repr(c)[1:-1] for c in found)
    return "".join(printable)


def shown(value: Any, most: int = 80) -> str:
    """Return what a user passed as an error quotes it: its repr, on one line and not too long."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"an int of {value.bit_length()} bits"  # Python does not write very long ones
    try:
        text = " ".join(repr(value).split())
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def integer(name: str, value: Any, at_least: int, at_most: int = LARGEST) -> int:
    """Return `value` as an int, or raise ValueError (bool and float are no integers here)."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not at_least <= value <= at_most:
        limits = f">= {at_least}" if not whole or value < at_least else f"<= {at_most}"
        raise ValueError(f"{name}: expected an integer {limits}, got {shown(value)}")
    return int(value)


def number(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Return `value` as a finite float in [low, high], or raise ValueError."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    try:
        found = float(value) if real else math.nan
    except OverflowError:  # an int such as 10**400
        found = math.inf
    if not math.isfinite(found) or not low <= found <= high:
        limits = f">= {low}" if high == math.inf else f"in [{low}, {high}]"
        raise ValueError(f"{name}: expected a finite number {limits}, got {shown(value)}")
    return found


def flag(name: str, value: Any) -> bool:
    """Return `value`, or raise ValueError when it is not a bool."""
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_):
        raise ValueError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


def choice(name: str, value: Any, allowed: Collection[T]) -> T:
    """Return `value`, or raise ValueError that lists what is allowed."""
    for candidate in allowed:
        if type(candidate) is type(value) and candidate == value:
            return candidate
    listed = ", ".join(repr(candidate) for candidate in allowed)
    raise ValueError(f"{name}: expected one of {listed}, got {shown(value)}")


def keys(name: str, found: Any, expected: Collection[str]) -> Mapping[str, Any]:
    """Return `found`, or raise ValueError unless it is a mapping with exactly these keys."""
    if not isinstance(found, Mapping) or set(found) != set(expected):
        got = shown(sorted(map(str, found)) if isinstance(found, Mapping) else found, 400)
        raise ValueError(f"{name}: expected a mapping with keys {sorted(expected)}, got {got}")
    return found


def construct(name: str, config: Any, classes: Mapping[str, type[T]]) -> T:
    """Make the object that `{"class": ..., **arguments}` describes.

    Raises
    ------
    ValueError
        When the class is unknown, when a key is no argument of it, or when a value does not fit.
    """
    if not isinstance(config, Mapping) or "class" not in config:
        got = shown(config)
        raise ValueError(f"{name}: expected a mapping with the key 'class', got {got}")
    made = classes[choice(f"{name}: class", config["class"], classes)]
    arguments = {key: value for key, value in config.items() if key != "class"}
    parameters = inspect.signature(made).parameters
    known = {key: one for key, one in parameters.items() if one.kind is not one.VAR_KEYWORD}
    takes_any = len(known) < len(parameters)
    missing = {key for key, one in known.items() if one.default is one.empty} - set(arguments)
    common = getattr(made, "common", ())
    unknown = {key for key in arguments if key not in known and key not in common}
    if unknown and not (takes_any and all(isinstance(key, str) for key in unknown)):
        raise ValueError(
            f"{name}: {made.__name__} has no argument {shown(sorted(map(str, unknown)), 400)}"
        )
    if missing:
        raise ValueError(f"{name}: {made.__name__} lacks the argument {sorted(missing)}")
    return made(**arguments)


def named(
    argument: str, identifier: Any, names: Mapping[str, T], classes: Mapping[str, type[T]]
) -> T:
    """Return the object of this name, of what `described` made, or `identifier` itself.

    Raises
    ------
    ValueError
        Naming `argument`, for anything else; the text lists the names.
    """
    if type(identifier) in classes.values():
        return identifier  # type: ignore[no-any-return]
    if isinstance(identifier, dict):
        return construct(argument, identifier, classes)
    return names[choice(argument, identifier, names)]


def described(value: Any, names: Mapping[str, Any]) -> str | dict[str, Any]:
    """Return the first name of a frozen dataclass, or its class and fields: JSON for `named`."""
    for name, known in names.items():
        if value == known:
            return name
    return {"class": type(value).__name__, **asdict(value, dict_factory=_plain)}


def _plain(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: np.asarray(field).tolist() for key, field in fields}

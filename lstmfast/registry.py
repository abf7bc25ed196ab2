"""Classes and functions of the user's own that a file may name: `register_serializable`.

A model that is saved names its layers, losses and metrics. Those of lstmfast are known; a class of
the user's own is found again when it was registered, before the file is read:

    @lstmfast.registry.register_serializable(package="mine")
    class LogCosh(lstmfast.losses.Loss):
        ...

Files name it "mine>LogCosh", as Keras's do. What is registered under the same name later takes its
place, so that a cell of a notebook can run twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from .arguments import shown

__all__ = [
    "Known",
    "any_case",
    "name_of",
    "register_serializable",
    "registered",
    "snake_case",
    "unregister",
]

C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")

_OBJECTS: dict[str, Any] = {}
_NAMES: dict[Any, str] = {}


def register_serializable(package: str = "Custom", name: str | None = None) -> Callable[[C], C]:
    """Return a decorator for classes (with `get_config`) and functions; see the module.

    Parameters
    ----------
    package : str
        What tells names of several authors apart; without ">".
    name : str or None
        The object's own `__name__` by default.

    Raises
    ------
    ValueError
        When a name is no such text or, by the decorator, when the object is neither a class with
        `get_config` nor a function.
    """
    _check_word("package", package)
    if name is not None:
        _check_word("name", name)

    def register(found: C) -> C:
        if not callable(found) or (isinstance(found, type) and not hasattr(found, "get_config")):
            expected = "a class with get_config, or a function"
            raise ValueError(f"register_serializable: expected {expected}, got {shown(found)}")
        full = f"{package}>{name or found.__name__}"
        if full in _OBJECTS:
            unregister(_OBJECTS[full])
        _OBJECTS[full], _NAMES[found] = found, full
        return found

    return register


def unregister(found: Any) -> None:
    """Forget a class or function, if it was registered."""
    full = _NAMES.pop(found, None)
    if full is not None:
        _OBJECTS.pop(full, None)


def registered(name: str) -> Any:
    """Return what was registered under "package>name", or None."""
    return _OBJECTS.get(name)


def name_of(found: Any) -> str:
    """Return the name that files have for a class or function: "package>name", or its own."""
    return _NAMES.get(found) or str(found.__name__)


class Known(Mapping[str, type[T]]):
    """Classes by the names that files have for them: ours, and the registered ones of their kind.

    Parameters
    ----------
    base : type
        Registered subclasses of it belong here.
    own : sequence of type
    """

    def __init__(self, base: type[T], own: tuple[type[T], ...]):
        self.base, self.own = base, {made.__name__: made for made in own}

    def __getitem__(self, name: str) -> type[T]:
        return self.own[name] if name in self.own else self._registered()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self._registered()

    def __len__(self) -> int:
        return len(self.own) + len(self._registered())

    def _registered(self) -> dict[str, type[T]]:
        return {
            name: found
            for name, found in _OBJECTS.items()
            if isinstance(found, type) and issubclass(found, self.base)
        }


def snake_case(name: str) -> str:
    """Return a class's name as Keras writes it: "mean_squared_error", "kl_divergence"."""
    parted = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def any_case(identifier: Any, names: Mapping[str, Any]) -> Any:
    """Return which of `names` a text stands for, whatever its case and underscores, or itself."""
    if not isinstance(identifier, str) or identifier in names:
        return identifier
    wanted = identifier.replace("_", "").lower()
    return next((name for name in names if name.replace("_", "").lower() == wanted), identifier)


def _check_word(argument: str, found: Any) -> None:
    if not isinstance(found, str) or not found or ">" in found:
        raise ValueError(f"{argument}: expected a name without '>', got {shown(found)}")

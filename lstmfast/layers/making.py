"""What every layer's constructor takes beside its own arguments."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from ..arguments import choice

__all__ = ["Made"]


class Made(type):
    """The type of layers: takes `trainable` and `dtype`, and what changes nothing in `hints`.

    A constructor with arguments of these names, or with `**kwargs`, need not know of them.
    """

    common: ClassVar[tuple[str, ...]] = ("trainable", "dtype")
    hints: ClassVar[dict[str, tuple[Any, ...]]] = {}  # argument: what it may be, all the same here

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        own = cls.__signature__.parameters
        for name, values in cls.hints.items():
            if name in named:
                choice(name, named.pop(name), values)
        told = {one: named.pop(one) for one in cls.common if one in named and one not in own}
        made = super().__call__(*arguments, **named)
        made.set_common(**told)
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        """Of the constructor, as `inspect` and `help` show it."""
        found = inspect.signature(type.__getattribute__(cls, "__init__"))
        return found.replace(parameters=list(found.parameters.values())[1:])

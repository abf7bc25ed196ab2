"""Where a call runs: on the host, or on the GPU that has its first array."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from importlib import import_module
from inspect import signature
from typing import Any, TypeVar

import numpy as np

from . import foreign
from .checks import float_array
from .placement import is_own, on_device

__all__ = ["either", "float_like"]

F = TypeVar("F", bound=Callable[..., Any])


def either(on_host: F, index: int = 0, writes: str = "") -> F:
    """The function for arrays of any library, on the host or, where its first one is, on a GPU.

    index: which argument is the first array; writes: names of those that are changed in place.
    """
    parameters = signature(on_host).parameters
    names = list(parameters)
    written = frozenset(writes.split())
    # Where `gradient` is a parameter, it says whether anything is changed.
    by_default = getattr(parameters.get("gradient"), "default", True)

    @wraps(on_host)
    def call(*arguments: Any, **keywords: Any) -> Any:
        first = arguments[index] if len(arguments) > index else keywords.get(names[index])
        if isinstance(first, foreign.NATIVE) or _is_native_list(first):
            try:
                return on_host(*arguments, **keywords)
            except Exception:  # whose the other arrays are is asked now: until here it cost nothing
                if not foreign.is_foreign([*arguments, *keywords.values()]):
                    raise
        elif on_device(first):
            _check_cuda(names[index], first)
            return _on_gpu(on_host.__name__, names[index])(*arguments, **keywords)
        changed = written if keywords.get("gradient", by_default) else ()
        return foreign.lend(on_host, names, first, arguments, keywords, changed)

    call.__module__ = __package__  # where pickle finds it
    return call  # type: ignore[return-value]


def _is_native_list(first: Any) -> bool:
    return isinstance(first, (list, tuple)) and bool(first) and isinstance(first[0], np.ndarray)


@lru_cache(None)
def _on_gpu(function: str, name_of_first: str) -> Callable[..., Any]:
    there = getattr(import_module("lstmfast.cuda.ops"), function, None)
    if there is None:
        raise ValueError(f"{name_of_first}: expected it on the host, where alone is {function}")
    return there  # type: ignore[no-any-return]


def _check_cuda(name: str, array: Any) -> None:
    """Raise ValueError if there is nothing that could calculate with an array on a GPU."""
    reason = import_module("lstmfast.cuda.runtime.device").explain()
    if reason is not None:
        expected = f"a NumPy array, as CUDA is not available ({reason})"
        raise ValueError(f"{name}: expected {expected}, got {type(array).__name__}")


def float_like(name: str, value: Any, dtype: np.dtype[Any] | None = None) -> Any:
    """Return `value` itself, as `float_array` does, or an array of floats in a GPU's memory."""
    if is_own(value):
        return import_module("lstmfast.cuda.ops.checks").real_array(name, value, dtype)
    return float_array(name, value, dtype)

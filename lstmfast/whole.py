"""Changes of many arrays that are whole, or did not happen, whatever exception comes.

Python answers signals between its own instructions: so each change is one call of the extension,
which has none of them (native/bindings_updates.pxi), and what leads to it leaves something to go
back to.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from . import capi
from .arguments import Array
from .ops.placement import is_own

__all__ = ["Attributes", "are_here", "held", "or_as_before", "with_copies"]

T = TypeVar("T")

Attributes = list[tuple[Any, str, Any]]


def or_as_before(attributes: Attributes, call: Callable[..., T], *arguments: Any) -> T:
    """Return what the call returns; after an exception attributes are set to these values."""
    try:
        return call(*arguments)
    except BaseException:
        capi.copy_all([], [], attributes)
        raise


def with_copies(
    arrays: Sequence[Array], attributes: Attributes, call: Callable[..., T], *arguments: Any
) -> T:
    """As `or_as_before`, and the arrays, C-contiguous, get the numbers back that they had."""
    targets, copies = list(arrays), [array.copy() for array in arrays]
    try:
        return call(*arguments)
    except BaseException:
        capi.copy_all(targets, copies, attributes)
        raise


@contextmanager
def held() -> Iterator[None]:
    """Answer Ctrl-C after the block, as if it came then.

    Python answers signals in its main thread: in all others there is nothing to hold.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[Any] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(signal.SIGINT, came[0])


def are_here(arrays: Sequence[Any]) -> bool:
    """Are all arrays in the host's memory?"""
    return not any(is_own(array) for array in arrays)

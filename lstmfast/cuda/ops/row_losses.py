"""Losses of numbers, row by row, in the GPU's memory: `lstmfast.ops.row_losses`, told a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ops import row_losses
from ..runtime.array import DeviceArray
from ..runtime.device import working_on

__all__ = [
    "absolute_error", "binary_crossentropy", "huber_error", "kl_divergence", "quantile_error",
    "row_squared_error",
]  # fmt: skip

Found = tuple[DeviceArray, DeviceArray | None]


def _run(function: Callable[..., Any], stream: Any, *given: Any, **told: Any) -> Any:
    with working_on(stream):
        return function(*given, **told)


def row_squared_error(
    outputs: DeviceArray, targets: DeviceArray, *, gradient: bool = True, stream: Any = None
) -> Found:
    """See `lstmfast.ops.row_squared_error`."""
    return _run(row_losses.row_squared_error, stream, outputs, targets, gradient=gradient)


def absolute_error(
    outputs: DeviceArray, targets: DeviceArray, *, gradient: bool = True, stream: Any = None
) -> Found:
    """See `lstmfast.ops.absolute_error`."""
    return _run(row_losses.absolute_error, stream, outputs, targets, gradient=gradient)


def huber_error(
    outputs: DeviceArray, targets: DeviceArray, delta: float = 1.0, *, gradient: bool = True,
    stream: Any = None,
) -> Found:  # fmt: skip
    """See `lstmfast.ops.huber_error`."""
    return _run(row_losses.huber_error, stream, outputs, targets, delta, gradient=gradient)


def quantile_error(
    outputs: DeviceArray, targets: DeviceArray, quantiles: float | Sequence[float] = 0.5, *,
    gradient: bool = True, stream: Any = None,
) -> Found:  # fmt: skip
    """See `lstmfast.ops.quantile_error`."""
    return _run(row_losses.quantile_error, stream, outputs, targets, quantiles, gradient=gradient)


def binary_crossentropy(
    outputs: DeviceArray, targets: DeviceArray, *, gradient: bool = True,
    from_logits: bool = False, stream: Any = None,
) -> Found:  # fmt: skip
    """See `lstmfast.ops.binary_crossentropy`."""
    return _run(
        row_losses.binary_crossentropy, stream, outputs, targets, gradient=gradient,
        from_logits=from_logits,
    )  # fmt: skip


def kl_divergence(
    outputs: DeviceArray, targets: DeviceArray, *, gradient: bool = True, stream: Any = None
) -> Found:
    """See `lstmfast.ops.kl_divergence`."""
    return _run(row_losses.kl_divergence, stream, outputs, targets, gradient=gradient)

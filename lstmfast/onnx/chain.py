"""The layers that a graph turns out to hold, in the order in which they are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..arguments import Array, Shape
from ..layers import LSTM, Dense, Layer, SimpleRNN
from .flow import Axis, Flow
from .values import Size, Value

__all__ = ["Chain", "Plan"]

FEATURES = ("features", "direction features")


@dataclass
class Plan:
    """A layer to be made: what its constructor is told, and its weights as in `Layer.params`."""

    kind: type[Layer]
    arguments: dict[str, Any]
    params: dict[str, Array] = field(default_factory=dict)


class Chain:
    """Layers one behind the other; whoever hands over a signal that is not the newest branches.

    Parameters
    ----------
    most_bytes : int
        Of all weights: a file may name the same ones many times.
    """

    def __init__(self, most_bytes: int):
        self.plans: list[Plan] = []
        self.dtype: str | None = None
        self.inputs: int | None = None  # features of the graph's input
        self._recurrent: Plan | None = None  # the last one
        self._left = most_bytes
        self._count = 0

    # The signal.

    def take(self, value: Value | None, what: str = "numbers") -> Flow:
        """Return the signal, which goes into the next layer or out; ValueError if it cannot."""
        if not isinstance(value, Flow) or value.kind != what:
            raise ValueError(f"expected {what} that come from the graph's input, got {value}")
        if value.at != self._count:
            raise ValueError(f"expected a chain of layers, got a second use of {value}")
        if value.half is not None:
            raise ValueError(f"expected both directions side by side, got one of {value}")
        if what == "numbers" and (not value.groups or value.kinds[-1] not in FEATURES):
            raise ValueError(f"expected features along the last axis, got {value}")
        if value.last:
            self._keep_last(value)
        return value

    def _keep_last(self, value: Flow) -> None:
        """Let the last recurrent layer return its last output alone."""
        if self._recurrent is None:
            raise ValueError(f"expected a recurrent layer before it, got {value}")
        if value.last == "step" and self._recurrent.arguments.get("bidirectional"):
            expected = "the last state of a layer in both directions"
            raise ValueError(f"expected {expected}, got the outputs {value}")
        self._recurrent.arguments["return_sequences"] = False

    def next(self, flow: Flow, **changes: Any) -> Flow:
        """The signal behind what was just added."""
        self._count += 1
        return replace(flow, at=self._count, dtype=self.dtype, **changes)

    def add(
        self, kind: type[Layer], arguments: dict[str, Any], params: Mapping[str, Array]
    ) -> None:
        """Put a layer at the end; ValueError for weights that do not go with the others."""
        self.plans.append(Plan(kind, arguments))
        if kind in (LSTM, SimpleRNN):
            self._recurrent = self.plans[-1]
        for name, param in params.items():
            self.set_param(name, param)

    def set_param(self, name: str, param: Array) -> None:
        """Give the last layer a weight."""
        self.dtype = self.dtype or param.dtype.name
        if param.dtype.name != self.dtype:
            raise ValueError(
                f"{name}: expected {self.dtype} like the other arrays, got {param.dtype}"
            )
        if not np.isfinite(param).all():
            raise ValueError(f"{name}: expected finite values, got NaN or Inf")
        self._left -= param.nbytes
        if self._left < 0:
            raise ValueError(f"{name}: expected weights of their own in each layer, got more bytes "
                             "than the file has")  # fmt: skip
        self.plans[-1].params[name] = param

    def check_features(self, flow: Flow, size: int) -> None:
        """Raise ValueError unless the last axis has this size, or one that the file leaves open."""
        found = flow.shape[-1]
        if not found.symbols and found != Size(size):
            expected = f"{size} features, as the weights have"
            raise ValueError(f"expected {expected}, got {found} of {flow}")
        self.inputs = self.inputs or size

    # Dense, which comes in pieces.

    def dense(self, value: Value | None, kernel: Array) -> Flow:
        flow = self.take(value)
        if kernel.ndim != 2 or not kernel.size:
            raise ValueError(f"expected a matrix of weights, got shape {kernel.shape}")
        K, N = kernel.shape
        self.check_features(flow, K)
        self.add(Dense, {"units": N, "use_bias": False}, {"kernel": kernel})
        return self.next(flow, groups=(*flow.groups[:-1], features(N)))

    def bias(self, value: Value | None, given: Array) -> Flow:
        flow, plan = self._last_dense(value)
        units, used = plan.arguments["units"], plan.arguments["use_bias"]
        shape = given.shape
        fits = len(shape) <= len(flow.groups) and set(shape[:-1]) <= {1}
        if not fits or given.size not in (1, units):
            raise ValueError(f"expected a bias ({units},), got {shape}")
        if used or plan.arguments.get("activation"):
            raise ValueError(f"expected a product of matrices before it, got {flow}")
        plan.arguments["use_bias"] = True
        self.set_param("bias", np.broadcast_to(given.reshape(-1), (units,)))
        return self.next(flow)

    def activate(self, value: Value | None, name: str) -> Flow:
        flow, plan = self._last_dense(value)
        if plan.arguments.get("activation"):
            raise ValueError(f"expected one activation of a Dense, got {name} as the second")
        plan.arguments["activation"] = name
        return self.next(flow)

    def _last_dense(self, value: Value | None) -> tuple[Flow, Plan]:
        flow = self.take(value)
        if not self.plans or self.plans[-1].kind is not Dense:
            raise ValueError("expected a Dense (MatMul or Gemm) before it, got none")
        return flow, self.plans[-1]

    # Layers at last.

    def layers(self, input_rank: int) -> list[Layer]:
        """Return the layers with their weights, for inputs of so many axes."""
        made: list[Layer] = []
        shape: Shape = (*(None,) * (input_rank - 1), self.inputs)
        for plan in self.plans:
            layer = plan.kind(**plan.arguments)  # type: ignore[arg-type]
            assert self.dtype is not None
            layer.adopt(plan.params, shape, self.dtype)
            shape = layer.output_shape(shape)
            made.append(layer)
        return made


def features(size: int) -> tuple[Axis, ...]:
    return (Axis("features", Size(size)),)

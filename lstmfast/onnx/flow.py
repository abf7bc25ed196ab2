"""What goes through the layers, known by its axes alone.

So a Transpose, a Reshape or a Squeeze is a change of axes, whoever wrote it and in whichever order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .values import ONE, Size, Sizes, Value, checked_order, position, product

__all__ = ["DIRECTIONS", "LONG", "Axis", "Flow", "Joined", "joined"]

MOST_AXES = 8
MOST_STATES = 64
LONG = 2**31 - 1  # what is taken for a number of steps that only the input will tell


class Axis(NamedTuple):
    """One of "batch", "time", "direction", "features"."""

    kind: str
    size: Size


Group = tuple[Axis, ...]

DIRECTIONS = Axis("direction", Size(2))


@dataclass(frozen=True)
class Flow(Value):
    """The input, or what the layers so far put out.

    Attributes
    ----------
    groups : for each axis of the array what is merged in it; nothing where its size is 1
    at : what `Chain` counted when it came out
    kind : "ids", "shifted ids" (by the size of the vocabulary) or "numbers"
    dtype : name; None of an input whose dtype the first layer tells
    turned : the steps of a Model come in the opposite order
    last : "": all steps; "step": the output of the last one; "state": the state after the last one
        of each direction
    half : of a layer in both directions, the one that this is of
    """

    groups: tuple[Group, ...]
    at: int = 0
    kind: str = "numbers"
    dtype: str | None = None
    turned: bool = False
    last: str = ""
    half: int | None = None

    @property
    def kinds(self) -> list[str]:
        """What the axes are: ["time", "batch", "direction features"]."""
        return [" ".join(axis.kind for axis in group) for group in self.groups]

    @property
    def shape(self) -> tuple[Size, ...]:
        return tuple(product([axis.size for axis in group]) for group in self.groups)

    def __str__(self) -> str:
        what = {"": "", "step": " of the last step", "state": " of the last state"}[self.last]
        return f"{self.kind} ({', '.join(kind or '1' for kind in self.kinds)}){what}"

    # Axes.

    def transpose(self, order: Sequence[int] | None) -> Flow:
        checked = checked_order(order, len(self.groups))
        return replace(self, groups=tuple(self.groups[axis] for axis in checked))

    def squeeze(self, axes: Sequence[int] | None) -> Flow:
        rank = len(self.groups)
        if axes is None:
            axes = [n for n, size in enumerate(self.shape) if size == ONE]
        gone = {position(axis, rank) for axis in axes}
        if any(self.groups[axis] for axis in gone):
            self._cannot(f"has axes {sorted(gone)} of size 1 that mean nothing")
        return replace(self, groups=tuple(g for n, g in enumerate(self.groups) if n not in gone))

    def unsqueeze(self, axes: Sequence[int]) -> Flow:
        rank = len(self.groups) + len(axes)
        new = {position(axis, rank) for axis in axes}
        left = iter(self.groups)
        if len(new) != len(axes) or rank > MOST_AXES:
            raise ValueError(f"axes: expected each once, {MOST_AXES} at most, got {list(axes)}")
        return replace(self, groups=tuple(() if n in new else next(left) for n in range(rank)))

    def reshape(self, shape: Sequence[Size], zero_copies: bool) -> Flow:
        wanted = list(shape)
        for n, size in enumerate(wanted):
            if zero_copies and size == Size(0) and n < len(self.groups):
                wanted[n] = self.shape[n]
        at = wanted.index(Size(-1)) if Size(-1) in wanted else len(wanted)
        axes = deque(axis for group in self.groups for axis in group)
        front = [self._grouped(axes, size, False) for size in wanted[:at]]
        back = [self._grouped(axes, size, True) for size in reversed(wanted[at + 1 :])]
        if at < len(wanted):
            front.append(tuple(axes))
        elif axes:
            self._cannot(f"can have the shape ({', '.join(map(str, shape))})")
        return replace(self, groups=(*front, *reversed(back)))

    def _grouped(self, axes: deque[Axis], size: Size, from_back: bool) -> Group:
        """Take axes, which make this size, off one end."""
        group: list[Axis] = []
        total = ONE
        while total != size or (size == ONE and not group and _next(axes, from_back) == ONE):
            if not axes:
                self._cannot(f"can be reshaped to an axis of size {size}")
            axis = axes.pop() if from_back else axes.popleft()
            group.append(axis)
            total = total * axis.size
        return tuple(reversed(group)) if from_back else tuple(group)

    # Parts.

    def take(self, axis: int, index: Sizes) -> Value:
        axis = position(axis, len(self.groups))
        numbers = index.numbers()
        if len(numbers) != 1:
            self._cannot(f"can be gathered from at {numbers}")
        size, at = self._length(axis), numbers[0]
        if not -size <= at < size:
            raise ValueError(f"expected an index in [{-size}, {size}), got {at}")
        found = self.cut(axis, at, at + 1 or LONG, 1)
        return found.squeeze([axis]) if index.scalar else found

    def cut(self, axis: int, start: int, stop: int, step: int) -> Flow:
        axis = position(axis, len(self.groups))
        size, kind = self._length(axis), self.kinds[axis]
        steps = range(size)[start:stop:step]
        if steps == range(size):
            return self
        if kind == "direction" and steps in (range(1), range(1, 2)):
            return replace(self._without(axis), half=steps[0])
        if kind == "time" and steps == range(size)[::-1]:
            return replace(self, turned=not self.turned)
        backwards = self.turned != (self.half == 1)
        if kind == "time" and len(steps) == 1 and steps[0] == (0 if backwards else size - 1):
            return replace(self._without(axis), last="step" if self.half is None else "state")
        what = f"axis {axis} ({kind or '1'})"
        raise ValueError(
            f"expected all steps, all in reverse, the last one that the layer takes, or one "
            f"direction, got [{start}:{stop}:{step}] of {what} of {self}"
        )

    def _length(self, axis: int) -> int:
        size = self.shape[axis]
        return LONG if size.symbols else size.factor

    def _without(self, axis: int) -> Flow:
        groups = (*self.groups[:axis], (), *self.groups[axis + 1 :])
        return replace(self, groups=groups)

    def cast(self, dtype: str) -> Flow:
        if self.kind != "numbers":
            if dtype in ("int32", "int64", "float32", "float64"):
                return self
        elif dtype == self.dtype or (self.dtype is None and dtype in ("float32", "float64")):
            return self
        self._cannot(f"can be cast to {dtype}")


def _next(axes: deque[Axis], from_back: bool) -> Size | None:
    return axes[-1 if from_back else 0].size if axes else None


# ---------------------------------------------------------------- several side by side


@dataclass(frozen=True)
class Joined(Value):
    """States of several layers and directions, one behind the other along a first axis."""

    parts: tuple[Flow, ...]

    @property
    def shape(self) -> tuple[Size, ...]:
        return (Size(len(self.parts)), *self.parts[0].shape)

    def take(self, axis: int, index: Sizes) -> Value:
        numbers = index.numbers()
        if position(axis, len(self.shape)) or not index.scalar:
            self._cannot("can be gathered from there")
        return self.parts[position(numbers[0], len(self.parts))]

    def cut(self, axis: int, start: int, stop: int, step: int) -> Value:
        if position(axis, len(self.shape)):
            self._cannot("can be sliced there")
        return _together(self.parts[start:stop:step])

    def __str__(self) -> str:
        return f"the states of {len(self.parts)} layers and directions"


def joined(values: Sequence[Value], axis: int) -> Value:
    """Concat of flows: the two directions of a layer, or states along the first axis."""
    flows = [value for value in values if isinstance(value, Flow)]
    if len(flows) == len(values):
        axis = position(axis, len(flows[0].groups))
        if flows[0].half is not None and axis == len(flows[0].groups) - 1:
            return _both(flows)
    if axis != 0:
        raise ValueError(
            f"expected the two directions of a layer, got {', '.join(map(str, values))}"
        )
    return _together([part for value in values for part in _parts(value)])


def _both(flows: Sequence[Flow]) -> Flow:
    """The two halves of a layer's output, side by side in the features."""
    first = flows[0]
    if [replace(flow, half=None) for flow in flows] != [replace(first, half=None)] * 2 or [
        flow.half for flow in flows
    ] != [0, 1]:
        raise ValueError("expected the forward and the backward direction of one layer")
    groups = (*first.groups[:-1], (DIRECTIONS, *first.groups[-1]))
    return replace(first, half=None, groups=groups)


def _parts(value: Value) -> Iterable[Flow]:
    """What lies along the first axis of a state."""
    if isinstance(value, Joined):
        return value.parts
    if not isinstance(value, Flow) or value.last != "state" or not value.groups:
        raise ValueError(f"expected states of layers, got {value}")
    if value.groups[0] == (DIRECTIONS,):
        rest = value.groups[1:]
        return [replace(value, groups=rest, half=half) for half in (0, 1)]
    return [value.squeeze([0])]


def _together(parts: Sequence[Flow]) -> Value:
    """Parts as one flow where they are the two directions of a layer."""
    if not 0 < len(parts) <= MOST_STATES:
        raise ValueError(f"expected one to {MOST_STATES} states, got {len(parts)}")
    if [part.half for part in parts] == [0, 1] and len({part.at for part in parts}) == 1:
        first = parts[0]
        return replace(first, groups=((DIRECTIONS,), *first.groups), half=None)
    return Joined(tuple(parts)) if len(parts) > 1 else parts[0].unsqueeze([0])

"""Operators that change no signal: axes, shapes, constants, and what is calculated from ids.

Each takes (chain, node, inputs), inputs None where the node has "", and returns the node's first
output. Only what exporters write around layers is here; the rest is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .chain import Chain
from .flow import LONG, Flow, joined
from .reader import Node
from .values import MOST_SIZES, ONE, Fill, Repeated, Size, Sizes, Value, Weight, product

__all__ = ["OPERATORS"]

Inputs = list[Value | None]
ZERO = Size(0)
DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}  # of TensorProto


def required(inputs: Inputs, at: int) -> Value:
    """Return an input that must be there."""
    value = inputs[at] if at < len(inputs) else None
    if value is None:
        raise ValueError(f"expected an input {at + 1}, got none")
    return value


def optional(inputs: Inputs, at: int) -> Value | None:
    return inputs[at] if at < len(inputs) else None


def sizes(value: Value) -> Sizes:
    if not isinstance(value, Sizes):
        raise ValueError(f"expected integers, got {value}")
    return value


def axes_of(node: Node, inputs: Inputs, at: int = 1) -> list[int] | None:
    """`axes`, an attribute once and now an input."""
    given = optional(inputs, at)
    return node.integers("axes") if given is None else listed(given)


def listed(value: Value) -> list[int]:
    """Return the numbers of a list, which a single one is not."""
    if isinstance(value, Sizes) and value.scalar:
        raise ValueError(f"expected a list of integers, got the single one of {value}")
    return value.numbers()


# ---------------------------------------------------------------- constants and shapes


def constant(chain: Chain, node: Node, inputs: Inputs) -> Value:
    for number in (node.integer("value_int"), node.number("value_float")):
        if isinstance(number, int):
            return Sizes((Size(number),), scalar=True)
        if number is not None:
            return Weight(np.array(number, np.float32))
    whole = node.integers("value_ints")
    if whole is not None and len(whole) <= MOST_SIZES:
        return Sizes(tuple(map(Size, whole)))
    floats = node.numbers("value_floats")
    if floats is not None:
        return Weight(np.array(floats, np.float32))
    found = node.tensor("value")
    if found is None:
        raise ValueError("expected a value, got none")
    return found


def constant_of_shape(chain: Chain, node: Node, inputs: Inputs) -> Value:
    sizes(required(inputs, 0))
    return _uniform(node.tensor("value") or Weight(np.zeros(1, np.float32)))


def expand(chain: Chain, node: Node, inputs: Inputs) -> Value:
    sizes(required(inputs, 1))
    return _uniform(required(inputs, 0))


def _uniform(value: Value) -> Value:
    """An array that is the same number everywhere as this one is."""
    if isinstance(value, Fill):
        return Fill(value.number)
    if isinstance(value, Weight) and value.array.size:
        first = value.array.flat[0]
        if (value.array == first).all():
            return Fill(float(first))
    if isinstance(value, Sizes) and len(value.values) == 1:
        return Repeated(value.values[0])
    raise ValueError(f"expected a single number to repeat, got {value}")


def shape(chain: Chain, node: Node, inputs: Inputs) -> Value:
    found = required(inputs, 0).shape
    return Sizes(found[node.integer("start", 0) : node.integer("end")])


# ---------------------------------------------------------------- axes


def identity(chain: Chain, node: Node, inputs: Inputs) -> Value:
    return required(inputs, 0)


def dropout(chain: Chain, node: Node, inputs: Inputs) -> Value:
    """Nothing is dropped, as nobody trains."""
    node.number("ratio"), node.integer("seed")
    training = optional(inputs, 2)
    if training is not None and not training.zero:
        raise ValueError(f"training_mode: expected false, got {training}")
    return required(inputs, 0)


def cast(chain: Chain, node: Node, inputs: Inputs) -> Value:
    to = node.integer("to")
    node.integer("saturate"), node.text("round_mode", "")
    return required(inputs, 0).cast(DTYPES.get(to, f"type {to}"))


def transpose(chain: Chain, node: Node, inputs: Inputs) -> Value:
    return required(inputs, 0).transpose(node.integers("perm"))


def reshape(chain: Chain, node: Node, inputs: Inputs) -> Value:
    target = sizes(required(inputs, 1))
    if target.scalar:
        raise ValueError(f"shape: expected a list, got {target}")
    return required(inputs, 0).reshape(target.values, not node.integer("allowzero", 0))


def squeeze(chain: Chain, node: Node, inputs: Inputs) -> Value:
    return required(inputs, 0).squeeze(axes_of(node, inputs))


def unsqueeze(chain: Chain, node: Node, inputs: Inputs) -> Value:
    axes = axes_of(node, inputs)
    if not axes or len(axes) > 8:
        raise ValueError(f"axes: expected some, got {axes}")
    return required(inputs, 0).unsqueeze(axes)


def slice_(chain: Chain, node: Node, inputs: Inputs) -> Value:
    value = required(inputs, 0)
    if len(inputs) == 1:
        starts, ends = node.integers("starts") or [], node.integers("ends") or []
        axes, steps = node.integers("axes"), None
    else:
        starts, ends = listed(required(inputs, 1)), listed(required(inputs, 2))
        axes, given = axes_of(node, inputs, 3), optional(inputs, 4)
        steps = None if given is None else listed(given)
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError(f"expected a start, end and step of each axis, got {starts}, {ends}, "
                         f"{axes}, {steps}")  # fmt: skip
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        value = value.cut(axis, start, end, step)
    return value


def concat(chain: Chain, node: Node, inputs: Inputs) -> Value:
    values = [required(inputs, n) for n in range(len(inputs))]
    axis = node.integer("axis")
    if axis is None or not values:
        raise ValueError("expected an axis and inputs")
    if all(isinstance(value, Fill) for value in values):
        numbers = {value.number for value in values if isinstance(value, Fill)}
        if len(numbers) == 1:
            return Fill(numbers.pop())
    if all(isinstance(value, Sizes) and not value.scalar for value in values):
        found = [size for value in values for size in sizes(value).values]
        if len(found) <= MOST_SIZES:
            return Sizes(tuple(found))
    return joined(values, axis)


def reverse_sequence(chain: Chain, node: Node, inputs: Inputs) -> Value:
    """The steps from the last to the first, if those of all rows are meant."""
    value, lengths = required(inputs, 0), required(inputs, 1)
    time, batch = node.integer("time_axis", 0), node.integer("batch_axis", 1)
    steps = value.shape
    kinds = value.kinds if isinstance(value, Flow) and max(time, batch) < len(steps) else []
    if not kinds or min(time, batch) < 0 or [kinds[time], kinds[batch]] != ["time", "batch"]:
        raise ValueError(f"expected the axes of time and batch, got {time} and {batch} of {value}")
    if lengths != Repeated(steps[time]):
        raise ValueError(f"sequence_lens: expected all {steps[time]} steps, got {lengths}")
    return value.cut(time, -1, -LONG - 1, -1)


# ---------------------------------------------------------------- arithmetic on sizes and ids


def reduce_prod(chain: Chain, node: Node, inputs: Inputs) -> Value:
    given = sizes(required(inputs, 0))
    axes = axes_of(node, inputs)
    if axes not in (None, [0], [-1]):
        raise ValueError(f"axes: expected [0], got {axes}")
    return Sizes((product(given.values),), scalar=not node.integer("keepdims", 1))


def multiply(chain: Chain, node: Node, inputs: Inputs) -> Value:
    a, b = required(inputs, 0), required(inputs, 1)
    if isinstance(a, Sizes) and isinstance(b, Sizes):
        return _elementwise(a, b, lambda x, y: x * y)
    for ids, fill in ((a, b), (b, a)):
        if of_ids(ids) and isinstance(fill, Fill) and fill.of_ids and fill.number in (0, 1):
            return ids if fill.number else fill
    raise ValueError(f"expected sizes, got {a} and {b}")


def add_integers(a: Value, b: Value) -> Value:
    """Sum of sizes; of ids and a number, which makes the negative ones those from the end."""
    if isinstance(a, Sizes) and isinstance(b, Sizes):
        return _elementwise(a, b, _sum)
    for ids, other in ((a, b), (b, a)):
        if isinstance(ids, Flow) and ids.kind != "numbers":
            if isinstance(other, Fill) and other.of_ids and other.zero:
                return ids
            if ids.kind == "ids" and isinstance(other, Sizes) and len(other.values) == 1:
                return Flow(ids.groups, ids.at, "shifted ids")
    raise ValueError(f"expected the bias of a Dense or sizes, got {a} and {b}")


def less(chain: Chain, node: Node, inputs: Inputs) -> Value:
    """ids < 0: never, as a Model takes ids from 0 on."""
    ids, zero = required(inputs, 0), required(inputs, 1)
    single = isinstance(zero, (Sizes, Weight, Fill)) and zero.zero
    if not isinstance(ids, Flow) or ids.kind != "ids" or not single:
        raise ValueError(f"expected ids to compare with 0, got {ids} and {zero}")
    return Fill(0, of_ids=True)


def negate(chain: Chain, node: Node, inputs: Inputs) -> Value:
    value = required(inputs, 0)
    if not isinstance(value, Fill) or value.number not in (0, 1):
        raise ValueError(f"expected what was told from ids, got {value}")
    return Fill(1 - value.number, value.of_ids)


def where(chain: Chain, node: Node, inputs: Inputs) -> Value:
    condition, yes, no = (required(inputs, n) for n in range(3))
    if not isinstance(condition, Fill) or not condition.of_ids or not (of_ids(yes) and of_ids(no)):
        raise ValueError(f"expected ids to choose by their sign, got {condition}")
    return no if condition.zero else yes


def of_ids(value: Value) -> bool:
    """Is it ids, or in their shape?"""
    return value.of_ids if isinstance(value, Fill) else (
        isinstance(value, Flow) and value.kind != "numbers"
    )  # fmt: skip


def _elementwise(a: Sizes, b: Sizes, operation: Callable[[Size, Size], Size]) -> Sizes:
    count = max(len(a.values), len(b.values))
    if {len(a.values), len(b.values)} - {1, count}:
        raise ValueError(f"expected as many sizes in both, got {a} and {b}")
    pairs = zip(*(list(v.values) * (count // len(v.values)) for v in (a, b)), strict=True)
    return Sizes(tuple(operation(x, y) for x, y in pairs), a.scalar and b.scalar)


def _sum(x: Size, y: Size) -> Size:
    if ZERO in (x, y):
        return x if y == ZERO else y
    if x.symbols or y.symbols:
        raise ValueError(f"expected known sizes, got {x} and {y}")
    return Size(x.factor + y.factor) * ONE


OPERATORS: dict[str, Callable[[Chain, Node, Inputs], Any]] = {
    "Cast": cast,
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Dropout": dropout,
    "Expand": expand,
    "Identity": identity,
    "Less": less,
    "Mul": multiply,
    "Not": negate,
    "ReduceProd": reduce_prod,
    "Reshape": reshape,
    "ReverseSequence": reverse_sequence,
    "Shape": shape,
    "Slice": slice_,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": where,
}

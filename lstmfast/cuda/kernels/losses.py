"""Row by row: softmax and cross-entropy, forward and back. A block for each row.

Every thread walks over the elements thread, thread + side², ... of its row, N in all; then the
block agrees on the largest and on sums. exp is taken twice rather than stored between, as memory is
slower. A label outside of 0..N-1 is not read by: its loss is NaN, and so is its row's gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import exp, inf, isinf, log, nan
from typing import Any

from numba import cuda, types

from ...kernels.activations import at_least, at_most
from ..runtime.compiler import pointer
from ..runtime.kernel import Kernel, kernel_maker
from . import formulas  # noqa: F401  # it lets kernels call at_least and at_most
from .numbers import BY_NAME, device_function
from .reductions import SIDE, make_combined, room_for, summed

__all__ = [
    "make_label_crossentropy",
    "make_label_loss",
    "make_softmax",
    "make_softmax_backward",
    "make_squared_error",
    "make_weight_crossentropy",
    "make_weight_loss",
    "side_for",
]

FLOATS, LABELS = ("float32", "float64"), ("int32", "int64")
SIDES = ((512, 8), (4096, 16), (None, 32))  # up to this N: a block of side² threads
I64, F64, HITS = types.int64, types.float64, pointer(types.int8)


def side_for(N: int) -> int:
    """Return the side of a block for rows of N elements."""
    return next(side for most, side in SIDES if most is None or most >= N)


# ---------------------------------------------------------------- what the block agrees on


@device_function
def larger(x, y):
    """The larger of the two; NaN if either is."""
    return y if y > x or y != y else x


@device_function
def smaller(x, y):
    return y if y < x else x


@lru_cache(None)
def make_largest(name: str, side: int, nan_wins: bool) -> Any:
    """largest(values, places, x, base, N): the largest of a row, and where the first such stands.

    If one is NaN, so is the largest, and the place is N (with `nan_wins`: that of the first NaN).
    """
    real, step, lowest = BY_NAME[name].real, side * side, -inf
    most_of, first_of = make_combined(larger, side), make_combined(smaller, side)

    @device_function
    def largest(values, places, x, base, N):
        thread = cuda.threadIdx.x
        own, place = real(lowest), N
        for j in range(thread, N, step):
            value = x[base + j]
            if place == N or value > own or (value != value and own == own):
                own, place = value, I64(j)
        most = most_of(values, thread, own)
        if own != most and not (nan_wins and own != own):
            place = N
        return most, first_of(places, thread, place)

    return largest


@lru_cache(None)
def make_exp_sum(name: str, side: int) -> Any:
    """exp_sum(values, x, base, N, most): Σ exp(x - most) over a row."""
    real, step, combined = BY_NAME[name].real, side * side, make_combined(summed, side)

    @device_function
    def exp_sum(values, x, base, N, most):
        total = real(0)
        for j in range(cuda.threadIdx.x, N, step):
            total += real(exp(x[base + j] - most))
        return combined(values, cuda.threadIdx.x, total)

    return exp_sum


# ---------------------------------------------------------------- softmax


@kernel_maker
def make_softmax(name: str, side: int) -> Kernel:
    """y = softmax(x), which may be the same memory."""
    real, step, room = BY_NAME[name].real, side * side, room_for(side)
    largest, exp_sum = make_largest(name, side, False), make_exp_sum(name, side)

    def softmax(x, y, N):
        values = cuda.shared.array(room, real)
        places = cuda.shared.array(room, I64)
        base = cuda.blockIdx.x * N
        most, _ = largest(values, places, x, base, N)
        factor = real(1) / exp_sum(values, x, base, N, most)
        for j in range(cuda.threadIdx.x, N, step):
            y[base + j] = real(exp(x[base + j] - most)) * factor

    kind = BY_NAME[name].pointer
    return Kernel(f"softmax, {name}, {step} threads", softmax, (kind, kind, I64), step)


@kernel_maker
def make_softmax_backward(name: str, side: int) -> Kernel:
    """dy = y (dy - Σ dy y), the gradient to what softmax got."""
    real, step, room = BY_NAME[name].real, side * side, room_for(side)
    combined = make_combined(summed, side)

    def softmax_backward(y, dy, N):
        values = cuda.shared.array(room, real)
        base = cuda.blockIdx.x * N
        along = real(0)
        for j in range(cuda.threadIdx.x, N, step):
            along += dy[base + j] * y[base + j]
        along = combined(values, cuda.threadIdx.x, along)
        for j in range(cuda.threadIdx.x, N, step):
            dy[base + j] = (dy[base + j] - along) * y[base + j]

    kind = BY_NAME[name].pointer
    name = f"softmax backward, {name}, {step} threads"
    return Kernel(name, softmax_backward, (kind, kind, I64), step)


# ---------------------------------------------------------------- cross-entropy of logits


@kernel_maker
def make_label_crossentropy(name: str, labels_name: str, gradient: bool, side: int) -> Kernel:
    """Losses and hits of softmax(x) against labels; `gradient`: x = scale (softmax - target)."""
    real, step, room, unknown = BY_NAME[name].real, side * side, room_for(side), nan
    largest, exp_sum = make_largest(name, side, False), make_exp_sum(name, side)

    def crossentropy(x, labels, losses, correct, N, scale):
        values = cuda.shared.array(room, real)
        places = cuda.shared.array(room, I64)
        row, thread = cuda.blockIdx.x, cuda.threadIdx.x
        base, label = row * N, I64(labels[row])
        known = label >= 0 and label < N
        most, best = largest(values, places, x, base, N)
        total = exp_sum(values, x, base, N, most)
        if thread == 0:
            losses[row] = real(log(total)) - (x[base + label] - most) if known else real(unknown)
            correct[row] = 1 if best == label else 0
        if gradient:
            cuda.syncthreads()  # the logit of the label has been read
            factor = scale / total if known else real(unknown)
            for j in range(thread, N, step):
                part = real(exp(x[base + j] - most)) * factor
                x[base + j] = part - scale if j == label else part

    kind = BY_NAME[name].pointer
    arguments = (kind, BY_NAME[labels_name].pointer, kind, HITS, I64, BY_NAME[name].real)
    form = " with gradient" * gradient
    name = f"cross-entropy of {labels_name} labels{form}, {name}, {step} threads"
    return Kernel(name, crossentropy, arguments, step)


@kernel_maker
def make_weight_crossentropy(name: str, gradient: bool, side: int) -> Kernel:
    """The same against rows of weights t: the loss is Σ t log(total) - Σ t (x - most)."""
    real, step, room = BY_NAME[name].real, side * side, room_for(side)
    largest, exp_sum = make_largest(name, side, False), make_exp_sum(name, side)
    combined = make_combined(summed, side)

    def crossentropy(x, targets, losses, correct, N, scale):
        values = cuda.shared.array(room, real)
        places = cuda.shared.array(room, I64)
        row, thread = cuda.blockIdx.x, cuda.threadIdx.x
        base = row * N
        most, best = largest(values, places, x, base, N)
        _, wanted = largest(values, places, targets, base, N)
        total = exp_sum(values, x, base, N, most)
        shifted, weight = real(0), real(0)
        for j in range(thread, N, step):
            shifted += targets[base + j] * (x[base + j] - most)
            weight += targets[base + j]
        shifted = combined(values, thread, shifted)
        weight = combined(values, thread, weight)
        if thread == 0:
            losses[row] = weight * real(log(total)) - shifted
            correct[row] = 1 if best == wanted else 0
        if gradient:
            factor = scale * weight / total
            for j in range(thread, N, step):
                part = real(exp(x[base + j] - most)) * factor
                x[base + j] = part - scale * targets[base + j]

    kind = BY_NAME[name].pointer
    arguments = (kind, kind, kind, HITS, I64, BY_NAME[name].real)
    name = f"cross-entropy of weights{' with gradient' * gradient}, {name}, {step} threads"
    return Kernel(name, crossentropy, arguments, step)


# ---------------------------------------------------------------- cross-entropy of probabilities


@kernel_maker
def make_label_loss(
    name: str, labels_name: str, gradient: bool, epsilon: float, side: int
) -> Kernel:
    """Losses and hits of probabilities p, clipped to [epsilon, 1 - epsilon], against labels.

    With `gradient` p becomes that of the losses: zero where the clipping acts.
    """
    real, step, room, unknown = BY_NAME[name].real, side * side, room_for(side), nan
    low, high = BY_NAME[name].dtype.type(epsilon), BY_NAME[name].dtype.type(1 - epsilon)
    largest = make_largest(name, side, True)

    def label_loss(p, labels, losses, correct, N):
        values = cuda.shared.array(room, real)
        places = cuda.shared.array(room, I64)
        row, thread = cuda.blockIdx.x, cuda.threadIdx.x
        base, label = row * N, I64(labels[row])
        _, best = largest(values, places, p, base, N)
        chosen = p[base + label] if label >= 0 and label < N else real(unknown)
        if thread == 0:
            losses[row] = -real(log(at_most(at_least(chosen, low), high)))
            correct[row] = 1 if best == label else 0
        if gradient:
            cuda.syncthreads()  # every thread has read the probability of the label
            slope = real(-1) / chosen if chosen > low and chosen < high else real(0)
            other = real(0) if label >= 0 and label < N else chosen
            for j in range(thread, N, step):
                p[base + j] = slope if j == label else other

    kind = BY_NAME[name].pointer
    arguments = (kind, BY_NAME[labels_name].pointer, kind, HITS, I64)
    form = " with gradient" * gradient
    name = f"loss of probabilities by {labels_name} labels{form}, {name}, {step} threads"
    return Kernel(name, label_loss, arguments, step)


@kernel_maker
def make_weight_loss(name: str, gradient: bool, epsilon: float, side: int) -> Kernel:
    """The same against rows of weights t: the loss is -Σ t log(p)."""
    real, step, room = BY_NAME[name].real, side * side, room_for(side)
    low, high = BY_NAME[name].dtype.type(epsilon), BY_NAME[name].dtype.type(1 - epsilon)
    largest, combined = make_largest(name, side, True), make_combined(summed, side)

    def weight_loss(p, targets, losses, correct, N):
        values = cuda.shared.array(room, real)
        places = cuda.shared.array(room, I64)
        row, thread = cuda.blockIdx.x, cuda.threadIdx.x
        base = row * N
        _, best = largest(values, places, p, base, N)
        _, wanted = largest(values, places, targets, base, N)
        total = real(0)
        for j in range(thread, N, step):
            value, weight = p[base + j], targets[base + j]
            total += weight * real(log(at_most(at_least(value, low), high)))
            if gradient:
                p[base + j] = -weight / value if value > low and value < high else real(0)
        total = combined(values, thread, total)
        if thread == 0:
            losses[row] = -total
            correct[row] = 1 if best == wanted else 0

    kind = BY_NAME[name].pointer
    form = " with gradient" * gradient
    name = f"loss of probabilities by weights{form}, {name}, {step} threads"
    return Kernel(name, weight_loss, (kind, kind, kind, HITS, I64), step)


# ---------------------------------------------------------------- squared error


@kernel_maker
def make_squared_error(name: str, gradient: bool, side: int) -> Kernel:
    """partials[block] = a part of Σ (x - y)²; with `gradient` dx = factor (x - y)."""
    real, room = BY_NAME[name].real, room_for(side)
    combined = make_combined(summed, side)

    def squared_error(x, y, dx, n, factor, partials):
        sums = cuda.shared.array(room, F64)
        total = F64(0)
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            difference = real(x[i] - y[i])
            exact = F64(difference)
            if isinf(difference):  # float32 holds both, but not what lies between them
                exact = F64(x[i]) - F64(y[i])
            total += exact * exact
            if gradient:
                dx[i] = factor * difference
                if isinf(difference):
                    dx[i] = real(F64(factor) * exact)
        total = combined(sums, cuda.threadIdx.x, total)
        if cuda.threadIdx.x == 0:
            partials[cuda.blockIdx.x] = total

    kind = BY_NAME[name].pointer
    arguments = (kind, kind, kind, I64, real, pointer(F64))
    name = f"squared error{' with gradient' * gradient}, {name} in float64"
    return Kernel(name, squared_error, arguments, side * side)


def every() -> Iterator[Kernel]:
    """Yield the kernels of this file."""
    for name in FLOATS:
        for gradient in (False, True):
            yield make_squared_error(name, gradient, SIDE)
        for _, side in SIDES:
            yield from _of_rows(name, side)


def _of_rows(name: str, side: int) -> Iterator[Kernel]:
    yield make_softmax(name, side)
    yield make_softmax_backward(name, side)
    for gradient in (False, True):
        yield make_weight_crossentropy(name, gradient, side)
        yield make_weight_loss(name, gradient, 1e-7, side)
        for labels_name in LABELS:
            yield make_label_crossentropy(name, labels_name, gradient, side)
            yield make_label_loss(name, labels_name, gradient, 1e-7, side)

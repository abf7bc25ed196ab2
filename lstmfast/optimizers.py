"""SGD and Adam, with Keras 3's formulas and defaults.

>>> optimizer = Adam(learning_rate=0.001, global_clipnorm=5.0)
>>> loss, grads = model.gradients(x, y)
>>> optimizer.apply(model.params, grads)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import capi, ops
from .arguments import Array, check_shape, choice, construct, flag, integer, number
from .ops.checks import FLOATS
from .ops.placement import check_device, is_own, to_device
from .whole import Attributes, are_here, held, or_as_before, with_copies

__all__ = ["SGD", "Adam", "Optimizer", "get"]


class Optimizer:
    """What the optimizers share: the learning rate, clipping, and state that can be saved.

    Parameters
    ----------
    learning_rate : float
        Can be changed between steps: `optimizer.learning_rate *= 0.5`.
    clipnorm : float, optional
        Shrink each gradient whose norm is larger to this norm.
    clipvalue : float, optional
        Bring each element of a gradient into [-clipvalue, clipvalue].
    global_clipnorm : float, optional
        Shrink all gradients together when the norm of them all is larger.

    Attributes
    ----------
    iterations : int
        Steps taken.
    slots : dict of str to list of ndarray
        What the method remembers, for each name one array per parameter, in their order; empty
        before the first step.

    Raises
    ------
    ValueError
        For a value out of range, and when more than one of the three clips is given.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: float,
        clipnorm: float | None,
        clipvalue: float | None,
        global_clipnorm: float | None,
    ):
        self.learning_rate = learning_rate
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {name: clip for name, clip in clips.items() if clip is not None}
        if len(given) > 1:
            raise ValueError(f"clipnorm: expected one clip at most, got {', '.join(given)}")
        self._clips = clips | {
            name: number(name, clip, math.ulp(0.0)) for name, clip in given.items()
        }
        self.iterations = 0
        self.slots: dict[str, list[Array]] = {}

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = number("learning_rate", value, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Return the class and its arguments, for `get`; `iterations` and `slots` are apart."""
        return {"class": type(self).__name__, "learning_rate": self.learning_rate, **self._clips}

    def apply(self, params: Sequence[Array], grads: Sequence[Array]) -> None:
        """Take one step.

        Parameters
        ----------
        params : sequence of ndarray
            The same arrays, in the same order, at every step; changed in place. C-contiguous,
            float32 or float64.
        grads : sequence of ndarray
            One per parameter, with its shape and dtype, C-contiguous. Overwritten where a clip
            is set.

        Raises
        ------
        ValueError
            When they do not fit each other or the earlier steps.

        Notes
        -----
        A step is whole or did not happen: after any exception, KeyboardInterrupt too, params,
        `slots` and `iterations` are as before or all a step ahead. (On a GPU that holds of Ctrl-C
        in the main thread.)
        """
        self._check(params, grads)
        slots = self.slots or self._first_slots(params)
        self._clip(grads)
        self._step(list(params), list(grads), slots)

    def _first_slots(self, params: Sequence[Array]) -> dict[str, list[Array]]:
        return {name: [ops.zeros_like(w) for w in params] for name in self.slot_names}

    def _step(self, params: list[Array], grads: list[Array], slots: dict[str, list[Array]]) -> None:
        """Change params and slots, keep the slots and count the step, or leave all as it was."""
        before: Attributes = [(self, "slots", self.slots), (self, "iterations", self.iterations)]
        if not are_here(params):  # nobody copies a GPU's memory for an interrupt's sake
            with held():
                or_as_before(before, self._update_all, params, grads, slots)
        elif type(self) in CLASSES.values():
            self._at_once(params, grads, slots)
        else:
            arrays = [*params, *(slot for kept in slots.values() for slot in kept)]
            with_copies(arrays, before, self._update_all, params, grads, slots)

    def _update_all(
        self, params: list[Array], grads: list[Array], slots: dict[str, list[Array]]
    ) -> None:
        self.slots = slots
        for index, (w, g) in enumerate(zip(params, grads, strict=True)):
            self._update(index, w.reshape(-1), g.reshape(-1))
        self.iterations += 1

    def _at_once(
        self, params: list[Array], grads: list[Array], slots: dict[str, list[Array]]
    ) -> None:
        """As `_update_all`, in one call of the extension that no signal divides."""
        raise NotImplementedError

    def restore(self, iterations: int, slots: dict[str, list[Array]]) -> None:
        """Go on from a saved state; `slots` is kept, not copied."""
        expected = self.slot_names if iterations else ()
        if set(slots) != set(expected):
            raise ValueError(f"slots: expected {sorted(expected)}, got {sorted(slots)}")
        count, kept = integer("iterations", iterations, 0), dict(slots)
        self.iterations, self.slots = count, kept

    def to(self, device: str) -> None:
        """Bring the state to "cpu" or "cuda", as `Model.to` does."""
        if all(is_own(slot) == (device == "cuda") for kept in self.slots.values() for slot in kept):
            return
        check_device(device)
        self.slots = {
            name: [to_device(slot, device) for slot in kept] for name, kept in self.slots.items()
        }

    def _update(self, index: int, w: Array, g: Array) -> None:
        """Update one flat parameter in place."""
        raise NotImplementedError

    def _slots_of(self, index: int) -> list[Array]:
        return [self.slots[name][index].reshape(-1) for name in self.slot_names]

    def _check(self, params: Sequence[Array], grads: Sequence[Array]) -> None:
        integer("iterations", self.iterations, 0)
        if len(params) != len(grads):
            raise ValueError(f"grads: expected {len(params)} arrays, got {len(grads)}")
        for index, (w, g) in enumerate(zip(params, grads, strict=True)):
            _check_array(f"params[{index}]", w, w)
            _check_array(f"grads[{index}]", g, w)
            _check_writeable(f"params[{index}]", w)
        for name, kept in self.slots.items():
            if len(kept) != len(params):
                raise ValueError(
                    f"params: expected {len(kept)} arrays as before, got {len(params)}"
                )
            for index, (slot, w) in enumerate(zip(kept, params, strict=True)):
                _check_array(f"params[{index}] ({name} of earlier steps)", w, slot)
                _check_writeable(f"{name}[{index}]", slot)

    def _clip(self, grads: Sequence[Array]) -> None:
        if (limit := self._clips["clipvalue"]) is not None:
            for g in grads:
                ops.clip_by_value(g, limit)
        if (limit := self._clips["clipnorm"]) is not None:
            for g in grads:
                ops.clip_by_norm([g], limit)
        if (limit := self._clips["global_clipnorm"]) is not None:
            ops.clip_by_norm(grads, limit)


class SGD(Optimizer):
    """Gradient descent, with momentum: `v = momentum·v - lr·g; w += v`.

    Parameters
    ----------
    learning_rate : float
    momentum : float in [0, 1]
    nesterov : bool
        Look ahead: `w += momentum·v - lr·g`. Needs a momentum.
    clipnorm, clipvalue, global_clipnorm : float, optional
        See `Optimizer`.

    Notes
    -----
    Source: Sutskever et al. 2013, eq. 1-4.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ):
        super().__init__(learning_rate, clipnorm, clipvalue, global_clipnorm)
        self.momentum = number("momentum", momentum, 0.0, 1.0)
        self.nesterov = flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: expected a momentum > 0 with it, got 0")
        self.slot_names = ("velocity",) if self.momentum else ()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}

    def _at_once(
        self, params: list[Array], grads: list[Array], slots: dict[str, list[Array]]
    ) -> None:
        _check_held("learning_rate", self.learning_rate, params)
        capi.sgd_step(
            self, slots, self.iterations + 1, params, grads, slots.get("velocity", []),
            self.learning_rate, self.momentum, self.nesterov,
        )  # fmt: skip

    def _update(self, index: int, w: Array, g: Array) -> None:
        velocity = self._slots_of(index)[0] if self.slot_names else None
        ops.sgd_update(
            w,
            g,
            velocity,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
        )


class Adam(Optimizer):
    """Adam; as in Keras, epsilon stands outside the bias correction.

    Parameters
    ----------
    learning_rate : float
    beta_1, beta_2 : float in [0, 1)
    epsilon : float
    clipnorm, clipvalue, global_clipnorm : float, optional
        See `Optimizer`.

    Notes
    -----
    Source: Kingma and Ba 2015, the text under algorithm 1 ("epsilon hat").
    """

    slot_names = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ):
        super().__init__(learning_rate, clipnorm, clipvalue, global_clipnorm)
        below_one = math.nextafter(1.0, 0.0)
        self.beta_1 = number("beta_1", beta_1, 0.0, below_one)
        self.beta_2 = number("beta_2", beta_2, 0.0, below_one)
        self.epsilon = number("epsilon", epsilon, math.ulp(0.0))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }

    def _at_once(
        self, params: list[Array], grads: list[Array], slots: dict[str, list[Array]]
    ) -> None:
        step_size = self._step_size()
        _check_held("learning_rate", step_size, params)
        _check_held("epsilon", self.epsilon, params)
        capi.adam_step(
            self, slots, self.iterations + 1, params, grads, slots["momentum"], slots["velocity"],
            step_size, self.beta_1, self.beta_2, self.epsilon,
        )  # fmt: skip

    def _step_size(self) -> float:
        step = self.iterations + 1
        return self.learning_rate * (math.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step))

    def _update(self, index: int, w: Array, g: Array) -> None:
        m, v = self._slots_of(index)
        ops.adam_update(
            w,
            g,
            m,
            v,
            step_size=self._step_size(),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )


def get(identifier: str | dict[str, Any] | Optimizer) -> Optimizer:
    """Return a new optimizer of this name or config, or itself; ValueError for others."""
    if type(identifier) in CLASSES.values():
        return identifier  # type: ignore[return-value]
    if isinstance(identifier, dict):
        return construct("optimizer", identifier, CLASSES)
    return NAMED[choice("optimizer", identifier, NAMED)]()


def _check_array(name: str, found: Any, like: Any) -> None:
    both_here = type(found) is type(like) is np.ndarray and found.dtype == like.dtype in FLOATS
    if both_here and found.shape == like.shape and _in_order(found):
        return
    is_array = isinstance(found, np.ndarray) or is_own(found)
    if not is_array or found.dtype not in (np.float32, np.float64):
        kind = found.dtype if is_array else type(found).__name__
        raise ValueError(f"{name}: expected an array of float32 or float64, got {kind}")
    check_shape(name, found.shape, like.shape)
    if found.dtype != like.dtype:
        raise ValueError(f"{name}: expected dtype {like.dtype}, got {found.dtype}")
    if is_own(found) != is_own(like):
        places = ["a GPU's memory" if is_own(a) else "the host's memory" for a in (like, found)]
        raise ValueError(f"{name}: expected an array in {places[0]}, got one in {places[1]}")
    if not (found.is_contiguous if is_own(found) else _in_order(found)):
        raise ValueError(f"{name}: expected a C-contiguous array, got strides {found.strides}")


def _in_order(array: Array) -> bool:
    flags = array.flags
    return flags.c_contiguous and flags.aligned


def _check_writeable(name: str, array: Any) -> None:
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        raise ValueError(f"{name}: expected a writeable array, got a read-only one")


def _check_held(name: str, value: float, params: Sequence[Array]) -> None:
    """Raise ValueError for a number, not 0, that an array's dtype would make Inf or 0."""
    for dtype in {param.dtype for param in params}:
        limits = np.finfo(dtype)
        if value and not float(limits.tiny) <= value <= float(limits.max):
            if name == "learning_rate" and value < 1.0:
                continue  # no step is a small one
            raise ValueError(f"{name}: expected a number that {dtype} can hold, got {value}")


CLASSES: dict[str, type[Optimizer]] = {"SGD": SGD, "Adam": Adam}
NAMED: dict[str, Callable[[], Optimizer]] = {"sgd": SGD, "adam": Adam}

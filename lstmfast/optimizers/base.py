"""What the optimizers share: a step that is whole, clips, decay, averages, state to be saved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from itertools import repeat
from typing import Any, ClassVar

from .. import capi, ops
from ..arguments import Array, check_shape, integer
from ..ops.placement import check_device, is_own, to_device
from ..ops.rows import RowGradient
from ..whole import Attributes, are_here, held, or_as_before, with_copies
from .changes import Change, Numbers, added, averaged, copied, make
from .checks import check_array, check_held, check_writeable
from .settings import AVERAGE, SUM, Settings, Slots

__all__ = ["Optimizer"]

Gradient = Array | RowGradient


class Optimizer(Settings):
    """Base of the optimizers, with the arguments of `Settings`.

    Attributes
    ----------
    iterations : int
        Steps taken: calls of `apply`, those that only add up gradients among them.
    slots : dict of str to list of ndarray
        What the method remembers, for each name one array per parameter, in their order; empty
        before the first step.
    """

    kernel: ClassVar[str]
    fields: ClassVar[Mapping[str, str]] = {}  # of a Change (m, v, h): the slot that it gets
    _undecayed: tuple[Sequence[Array], re.Pattern[str] | None] = (), None

    def restore(self, iterations: int, slots: Slots) -> None:
        """Go on from a saved state; `slots` is kept, not copied."""
        expected = self.slot_names if iterations else ()
        if set(slots) != set(expected):
            raise ValueError(f"slots: expected {sorted(expected)}, got {sorted(slots)}")
        count, kept = integer("iterations", iterations, 0), dict(slots)
        self.iterations, self.slots = count, kept

    def to(self, device: str) -> None:
        """Bring the state to "cpu" or "cuda", as `Model.to` does."""
        if device == "cuda":
            self._check_on_gpu()
        if all(is_own(slot) == (device == "cuda") for kept in self.slots.values() for slot in kept):
            return
        check_device(device)
        self.slots = {
            name: [to_device(slot, device) for slot in kept] for name, kept in self.slots.items()
        }

    def _check_on_gpu(self) -> None:
        import_module("lstmfast.cuda.support").check_optimizer(self)

    # A step.

    def apply(
        self, params: Sequence[Array], grads: Sequence[Gradient], names: Sequence[str] | None = None
    ) -> None:
        """Take one step.

        Parameters
        ----------
        params : sequence of ndarray
            The same arrays, in the same order, at every step; changed in place. C-contiguous,
            float32 or float64.
        grads : sequence of ndarray or RowGradient
            One per parameter, with its shape and dtype, C-contiguous. Overwritten where a clip
            is set, or gradients add up.
        names : sequence of str, optional
            What the parameters are called, for `exclude_from_weight_decay(var_names=...)`.

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
        decays = self._decays(params, names)
        given = self._dense_if_need_be(grads, decays)
        slots = self.slots or self._first_slots(params)
        if self._is_due():
            self._sum_up(given, slots)
            self._clip(given)
        self._step(list(params), given, slots, decays)

    def _is_due(self) -> bool:
        """Does this step change weights, or add its gradients to a sum only?"""
        return (self.iterations + 1) % (self.gradient_accumulation_steps or 1) == 0

    @property
    def _updates_made(self) -> int:
        return self.iterations // (self.gradient_accumulation_steps or 1)

    def _first_slots(self, params: Sequence[Array]) -> Slots:
        return {name: [self._first(name, w) for w in params] for name in self.slot_names}

    def _first(self, name: str, w: Array) -> Array:
        """Return a slot of a parameter as it is before the first step."""
        return ops.zeros_like(w)

    def _step(
        self, params: list[Array], grads: list[Gradient], slots: Slots, decays: Iterable[float]
    ) -> None:
        """Change params and slots, keep the slots and count the step, or leave all as it was."""
        before: Attributes = [(self, "slots", self.slots), (self, "iterations", self.iterations)]
        if not are_here(params):  # nobody copies a GPU's memory for an interrupt's sake
            self._check_on_gpu()
            with held():
                or_as_before(before, self._update_there, params, grads, slots, decays)
        elif self._has_kernel():
            changes = self._updates(params, grads, slots, decays) if self._is_due() else []
            changes += self._keep_up(params, grads, slots)
            after: Attributes = [(self, "slots", slots), (self, "iterations", self.iterations + 1)]
            capi.change_all(changes, after)
        else:
            arrays = [*params, *(slot for kept in slots.values() for slot in kept)]
            with_copies(arrays, before, self._update_all, params, grads, slots, decays)

    def _has_kernel(self) -> bool:
        """Is the update one of ours, and not of a class that a user derived?"""
        return type(self)._update is Optimizer._update

    def _update_all(
        self,
        params: list[Array],
        grads: list[Any],
        slots: Slots,
        decays: Iterable[float] = repeat(0.0),
    ) -> None:
        """As `capi.change_all` of all updates, but one by one."""
        self.slots = slots
        if self._is_due():
            for index, (w, g, decay) in enumerate(zip(params, grads, decays, strict=False)):
                if decay:
                    make([added(w, w, -decay)])
                self._update(index, w.reshape(-1), g.reshape(-1))
        make(self._keep_up(params, grads, slots))
        self.iterations += 1

    def _update_there(
        self, params: list[Array], grads: list[Any], slots: Slots, decays: Iterable[float]
    ) -> None:
        """As `_update_all`, of params in a GPU's memory."""
        if not self._has_kernel():
            return self._update_all(params, grads, slots, decays)
        changes = self._updates(params, grads, slots, decays) if self._is_due() else []
        make(changes + self._keep_up(params, grads, slots))
        self.slots = slots
        self.iterations += 1

    def _updates(
        self, params: list[Array], grads: list[Gradient], slots: Slots, decays: Iterable[float]
    ) -> list[Change]:
        """What a step does to params and the slots of the method itself."""
        numbers = self._checked_numbers(params)
        fields = (slots.get(self.fields.get(field, ""), repeat(None)) for field in "mvh")
        changes = []
        for w, g, decay, m, v, h in zip(params, grads, decays, *fields, strict=False):
            values, rows = (g.values, g.rows) if isinstance(g, RowGradient) else (g, None)
            changes.append(Change(self.kernel, w, values, m, v, h, rows, decay, numbers))
        return changes

    def _checked_numbers(self, params: Sequence[Array]) -> Numbers:
        numbers = self._numbers(self.learning_rate)
        check_held("learning_rate", numbers.rate, params)
        check_held("epsilon", numbers.epsilon, params)
        return numbers

    def _keep_up(self, params: list[Array], grads: list[Any], slots: Slots) -> list[Change]:
        """What follows the updates: sums of gradients and averages of weights."""
        changes = []
        for total, g in zip(slots.get(SUM, ()), grads, strict=False):
            changes.append(copied(total, None) if self._is_due() else added(total, g))
        for w, average in zip(params, slots.get(AVERAGE, ()), strict=False):
            momentum = self.ema_momentum if self._updates_made else 0.0
            changes.append(averaged(average, w, momentum))
            every = self.ema_overwrite_frequency
            if every is not None and (self._updates_made + 1) % every == 0:
                changes.append(copied(w, average))
        return changes

    def _numbers(self, rate: float) -> Numbers:
        """Return what the kernel calculates with in this step."""
        raise NotImplementedError

    def _update(self, index: int, w: Array, g: Array) -> None:
        """Update one flat parameter in place."""
        slots = {name: [kept[index].reshape(-1)] for name, kept in self.slots.items()}
        make(self._updates([w], [g], slots, repeat(0.0)))

    # What is done to gradients and weights before.

    def _check(self, params: Sequence[Array], grads: Sequence[Gradient]) -> None:
        integer("iterations", self.iterations, 0)
        if len(params) != len(grads):
            raise ValueError(f"grads: expected {len(params)} arrays, got {len(grads)}")
        for index, (w, g) in enumerate(zip(params, grads, strict=True)):
            check_array(f"params[{index}]", w, w)
            if isinstance(g, RowGradient):
                g.check(f"grads[{index}]")
                _check_like(f"grads[{index}]", g, w)
            else:
                check_array(f"grads[{index}]", g, w)
            check_writeable(f"params[{index}]", w)
        for name, kept in self.slots.items():
            if len(kept) != len(params):
                raise ValueError(
                    f"params: expected {len(kept)} arrays as before, got {len(params)}"
                )
            for index, (slot, w) in enumerate(zip(kept, params, strict=True)):
                check_array(f"params[{index}] ({name} of earlier steps)", w, slot)
                check_writeable(f"{name}[{index}]", slot)

    def _decays(self, params: Sequence[Array], names: Sequence[str] | None) -> Iterable[float]:
        """By which share of itself each parameter shrinks before the update."""
        decay = (self.weight_decay or 0.0) * self.learning_rate
        if not decay:
            return repeat(0.0)
        check_held("weight_decay", decay, params)
        arrays, pattern = self._undecayed
        spared = {id(array) for array in arrays}
        if pattern is None:
            return [0.0 if id(w) in spared else decay for w in params]
        if names is None or len(names) != len(params):
            found = "None" if names is None else len(names)
            expected = f"{len(params)}, as exclude_from_weight_decay was told some"
            raise ValueError(f"names: expected {expected}, got {found}")
        return [
            0.0 if id(w) in spared or pattern.search(name) else decay
            for w, name in zip(params, names, strict=True)
        ]

    def exclude_from_weight_decay(
        self, var_list: Sequence[Array] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Spare some parameters from `weight_decay`; another call forgets this one.

        Neither is part of `get_config`.

        Parameters
        ----------
        var_list : sequence of ndarray, optional
            The very arrays that `apply` is given.
        var_names : sequence of str, optional
            Regular expressions; a parameter is spared when one is found in its name.

        Raises
        ------
        ValueError
            After the first step, or for what are no arrays or no expressions.
        """
        if self.iterations:
            raise ValueError(
                f"iterations: expected 0, before the first step, got {self.iterations}"
            )
        for index, array in enumerate(var_list or ()):
            check_array(f"var_list[{index}]", array, array)
        try:
            pattern = re.compile("|".join(var_names)) if var_names else None
        except (TypeError, re.error) as error:
            raise ValueError(f"var_names: expected regular expressions, got {error}") from error
        self._undecayed = list(var_list or ()), pattern

    @property
    def takes_rows(self) -> bool:
        """Is a `RowGradient` taken as it is, so that the time follows the rows in it?"""
        if not self._has_kernel() or self.gradient_accumulation_steps is not None:
            return False
        return self.lazy or (self._is_local and not self.weight_decay)

    def _dense_if_need_be(
        self, grads: Sequence[Gradient], decays: Iterable[float]
    ) -> list[Gradient]:
        """A RowGradient becomes dense where rows that it lacks change as well."""
        takes_rows = self._has_kernel() and self.gradient_accumulation_steps is None
        given = list(grads)
        for index, (g, decay) in enumerate(zip(grads, decays, strict=False)):
            if isinstance(g, RowGradient):
                rows_do = takes_rows and (self.lazy or (self._is_local and not decay))
                given[index] = g if rows_do else g.dense()
        return given

    @property
    def _is_local(self) -> bool:
        """Does an element whose gradient is 0 stay as it is, with all that is kept of it?"""
        return False

    def _sum_up(self, grads: Sequence[Any], slots: Slots) -> None:
        """Gradients become the mean of themselves and those that were added up."""
        for index, (total, g) in enumerate(zip(slots.get(SUM, ()), grads, strict=False)):
            check_writeable(f"grads[{index}]", g)
            make([added(g, total)])
            ops.scale(g, 1.0 / (self.gradient_accumulation_steps or 1))

    def _clip(self, grads: Sequence[Gradient]) -> None:
        arrays = [g.values if isinstance(g, RowGradient) else g for g in grads]
        arrays = [array for array in arrays if array.size]
        if (limit := self.clipvalue) is not None:
            for g in arrays:
                ops.clip_by_value(g, limit)
        if (limit := self.clipnorm) is not None:
            for g in arrays:
                ops.clip_by_norm([g], limit)
        if (limit := self.global_clipnorm) is not None and arrays:
            ops.clip_by_norm(arrays, limit)

    # What is done to weights after all steps.

    def finalize_variable_values(self, params: Sequence[Array]) -> None:
        """Set params to their moving averages, where `use_ema` is set and a step was taken.

        Parameters
        ----------
        params : sequence of ndarray
            Those of the steps.

        Raises
        ------
        ValueError
            When they are others.
        """
        averages = self.slots.get(AVERAGE, [])
        if not averages:
            return
        self._check(params, params)
        make([copied(w, a) for w, a in zip(params, averages, strict=False)])


def _check_like(name: str, g: RowGradient, w: Array) -> None:
    """Raise ValueError unless a gradient of rows is one to w, which is here."""
    check_shape(name, g.shape, w.shape)
    if g.dtype != w.dtype:
        raise ValueError(f"{name}: expected dtype {w.dtype}, got {g.dtype}")
    if is_own(w):
        raise ValueError(f"{name}: expected an array in a GPU's memory, got rows of one")

"""The weights of a layer: in and out in Keras's layout, regularized and constrained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, ClassVar

from ..arguments import Array
from ..constraints import Constraint
from ..ops import host
from ..ops.placement import assign_all, to_host
from ..regularizers import Regularizer
from ..whole import Attributes
from .checks import in_a_list, rounded
from .variables import HasWeights, Variable, kind_of

__all__ = ["Weighted", "kind_of"]


class Weighted(HasWeights):
    """The half of `Layer` that knows of weights; its attributes are described there."""

    name: str
    device = "cpu"
    trainable: bool
    roles: ClassVar[dict[str, str]] = {}  # kind of param: what Keras's arguments call it
    statistics: ClassVar[tuple[str, ...]] = ()  # params that `forward` changes in training

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self._dtype: str | None = None  # None until built
        self._regularizers: dict[str, Regularizer] = {}
        self._constraints: dict[str, Constraint] = {}

    @property
    def transposed(self) -> tuple[str, ...]:
        """The params that Keras keeps the other way round."""
        return ()

    @property
    def built(self) -> bool:
        return self._dtype is not None

    @property
    def dtype(self) -> str:
        """Of the weights, so of every float array that goes in and comes out."""
        self._check_built()
        return str(self._dtype)

    @property
    def weights(self) -> list[Variable]:
        owner: Any = self
        return [Variable(owner, name) for name in self.floats()] if self.built else []

    @property
    def trained(self) -> dict[str, Array]:
        """Those of `params` that an optimizer changes."""
        if not self.trainable:
            return {}
        return {name: w for name, w in self.params.items() if name not in self.statistics}

    def changing(self) -> Attributes:
        """What a forward pass in training changes, as it is now: for `whole.or_as_before`.

        A layer with `statistics` puts new arrays into a new `params`, so that this goes back.
        """
        return [(self, "params", self.params)] if self.statistics else []

    def floats(self) -> dict[str, Array]:
        """Return the weights as `ops` takes them: `params`."""
        return self.params

    def floats_on_host(self) -> dict[str, Array]:
        """Return the same as arrays of NumPy."""
        return {name: to_host(param) for name, param in self.floats().items()}

    def get_weights(self) -> list[Array]:
        """Return copies of the weights in Keras's order and layout."""
        self._check_built()
        return [self._inside(name, of).copy() for name, of in self.floats_on_host().items()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Copy weights, in Keras's order and layout, into the layer.

        Parameters
        ----------
        weights : sequence of ndarray
            As `get_weights` returns them; real numbers of any dtype, rounded to the layer's.

        Raises
        ------
        ValueError
            When one does not fit; then none is set.
        """
        assign_all(list(self.params.values()), self.check_weights(weights))

    def check_weights(self, weights: Sequence[Array]) -> list[Array]:
        """Return `weights` as `params` would hold them; ValueError as for `set_weights`."""
        self._check_built()
        weights = in_a_list("weights", weights)
        if len(weights) != len(self.params):
            raise ValueError(f"weights: expected {len(self.params)} arrays, got {len(weights)}")
        return [
            self._inside(name, rounded(f"{self.name}: weights[{i}]", weight, shape, self.dtype))
            for i, (weight, (name, shape)) in enumerate(
                zip(weights, self._keras_shapes(), strict=True)
            )
        ]

    def count_params(self) -> int:
        """Return the number of single weights."""
        self._check_built()
        return sum(param.size for param in self.params.values())

    # Regularizers and constraints.

    def regularizers(self) -> dict[str, Regularizer]:
        """Return the regularizer of each of `params` that has one, as the layer was built."""
        return dict(self._regularizers)

    def constraints(self) -> dict[str, Constraint]:
        """Return the constraint of each of `params` that has one, as the layer was built."""
        return dict(self._constraints)

    def penalty(self) -> float:
        """Return what the regularizers add to the loss; 0 without any."""
        self._check_built()
        penalty = 0.0
        for name, regularizer in self._regularizers.items():
            if self.device == "cpu":
                penalty += regularizer.value(self._inside(name, self.params[name]))
            else:
                penalty += float(
                    to_host(self._ops.penalty(self.params[name], *_factors(regularizer)))[0]
                )
        return penalty

    def add_penalty_gradients(self) -> None:
        """Add the gradient of `penalty` to `grads`; once after each `backward`.

        Raises
        ------
        ValueError
            When there are regularizers, but no gradients to add to.
        """
        for name, regularizer in self._regularizers.items():
            if name not in self.grads:
                raise ValueError(f"{self.name}: add_penalty_gradients needs a backward before it")
            if self.device == "cpu":
                gradient = regularizer.gradient(self._inside(name, self.params[name]))
                self.grads[name] += self._inside(name, gradient)
            else:
                w = self.params[name]
                self._ops.add_penalty_gradient(self.grads[name], w, *_factors(regularizer))

    @property
    def is_constrained(self) -> bool:
        """May `constrain` change anything?"""
        return bool(self._constraints) or type(self).constrain is not Weighted.constrain

    def constrain(self) -> None:
        """Change `params` as the constraints want; after each step of an optimizer."""
        for name, constraint in self._constraints.items():
            constraint.project(self._inside(name, self.params[name]))

    # Helpers.

    def _rules(self, ending: str, names: Iterable[str]) -> dict[str, Any]:
        """Return what the arguments `kernel_<ending>` and so on hold, for each of these params."""
        given = {kind: getattr(self, f"{role}_{ending}", None) for kind, role in self.roles.items()}
        if all(rule is None for rule in given.values()):
            return {}
        rules = {name: given.get(kind_of(name)) for name in names}
        return {name: rule for name, rule in rules.items() if rule is not None}

    def _inside(self, name: str, weight: Array) -> Array:
        """Turn a weight from Keras's layout into ours; or back, as it is its own inverse."""
        return weight.T if name in self.transposed else weight

    def _keras_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return [
            (name, param.shape[::-1] if name in self.transposed else param.shape)
            for name, param in self.params.items()
        ]

    def _check_built(self) -> None:
        if not self.built:
            raise ValueError(f"{self.name}: is not built; call it, or build(input_shape)")

    @property
    def _ops(self) -> Any:
        """The operations on arrays that are where the layer is."""
        return host if self.device == "cpu" else import_module("lstmfast.cuda.ops")


def _factors(regularizer: Regularizer) -> tuple[float, float]:
    """(l1, l2), of a regularizer that has kernels on a GPU."""
    found = regularizer.factors
    assert found is not None, "check_place lets no other one through"
    return found

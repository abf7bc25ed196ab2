"""ONNX's activations and lstmfast's: two names and two sets of defaults for each function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ops import activations
from ..ops.activations import Activation

__all__ = ["activations_of", "attributes_of"]

NAMES = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Affine": "affine",
    "LeakyRelu": "leaky_relu",
    "ThresholdedRelu": "thresholded_relu",
    "ScaledTanh": "scaled_tanh",
    "HardSigmoid": "hard_sigmoid",
    "Elu": "elu",
    "Softsign": "softsign",
    "Softplus": "softplus",
}
ONNX_NAMES = {ours: theirs for theirs, ours in NAMES.items()}
CASELESS = {theirs.lower(): ours for theirs, ours in NAMES.items()}
# alpha and beta that a recurrent operator takes where none are told: those of the operators of the
# same names (Affine, once an operator, had none).
DEFAULTS: dict[str, tuple[float, ...]] = {
    "affine": (1.0, 0.0),
    "leaky_relu": (0.01,),
    "thresholded_relu": (1.0,),
    "scaled_tanh": (1.0, 1.0),
    "hard_sigmoid": (0.2, 0.5),
    "elu": (1.0,),
}


def activations_of(names: Any, alphas: Any, betas: Any, default: Sequence[str]) -> list[Activation]:
    """Return what the attributes of a recurrent operator say.

    Parameters
    ----------
    names : `activations`, in any case; None for `default`
    alphas, betas : `activation_alpha`, `activation_beta`
        For those activations that have such a parameter, one after the other; where they end, the
        usual values follow.
    default : names, whose number is also the one that is expected

    Raises
    ------
    ValueError
        A name is unknown, their number another, or more parameters are given than there are places.
    """
    found = []
    left = {"activation_alpha": _listed("activation_alpha", alphas),
            "activation_beta": _listed("activation_beta", betas)}  # fmt: skip
    for name in _named(default if names is None else names, len(default)):
        usual = DEFAULTS.get(name, ())
        queues = zip(left.values(), usual, strict=False)
        values = [queue.pop(0) if queue else value for queue, value in queues]
        found.append(activations.get("activations", (name, *values)))
    for argument, values in left.items():
        if values:
            expected = "no more values than activations that have such a parameter"
            raise ValueError(f"{argument}: expected {expected}, got {values} left over")
    return found


def attributes_of(chosen: Sequence[Activation]) -> dict[str, Any]:
    """Return `activations`, `activation_alpha` and `activation_beta`; all parameters are told."""
    counts = [len(DEFAULTS.get(f.name, ())) for f in chosen]
    attributes: dict[str, Any] = {"activations": [ONNX_NAMES[f.name] for f in chosen]}
    if any(counts):
        pairs = zip(chosen, counts, strict=True)
        attributes["activation_alpha"] = [f.alpha for f, count in pairs if count > 0]
    if max(counts) > 1:
        pairs = zip(chosen, counts, strict=True)
        attributes["activation_beta"] = [f.beta for f, count in pairs if count > 1]
    return attributes


def _named(names: Any, count: int) -> list[str]:
    """Return lstmfast's names."""
    listed = list(names) if isinstance(names, (list, tuple)) else []
    if len(listed) != count:
        raise ValueError(f"activations: expected a list of {count} names, got {names!r}")
    for name in listed:
        if not isinstance(name, str) or name.lower() not in CASELESS:
            raise ValueError(f"activations: expected names of {', '.join(NAMES)}, got {name!r}")
    return [CASELESS[name.lower()] for name in listed]


def _listed(argument: str, values: Any) -> list[Any]:
    if values is None:
        return []
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{argument}: expected a list of numbers, got {values!r}")
    return list(values)

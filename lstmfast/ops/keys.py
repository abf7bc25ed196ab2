"""Keys of the C-level configuration from the arguments of an LSTM call, and what goes with them."""

from __future__ import annotations

from typing import Any

from ..arguments import LARGEST, LARGEST_SEED, choice, flag, integer
from .checks import BITS, PADS
from .options import PLAIN, QUIET, CellOptions, Noise

__all__ = [
    "check_layers", "keys_of_cell", "keys_of_noise", "keys_of_precision", "order_keys", "seed_of",
    "way_back_keys",
]  # fmt: skip

MOST_STEPS = 2**24  # that the C-level configuration takes


def keys_of_cell(options: Any, training: bool) -> dict[str, float]:
    if not isinstance(options, CellOptions):
        raise ValueError(f"options: expected CellOptions, got {type(options).__name__}")
    if options is PLAIN or options == PLAIN:
        return {}
    if training:
        options.check_training()
    return options.keys()


def keys_of_noise(noise: Any) -> dict[str, float]:
    if not isinstance(noise, Noise):
        raise ValueError(f"noise: expected Noise, got {type(noise).__name__}")
    return {} if noise is QUIET or noise == QUIET else noise.keys()


def keys_of_precision(precision: str | None) -> dict[str, float]:
    """precision: as `checks.precision_of` gives it."""
    return {} if precision is None else {"precision": BITS[precision]}


def order_keys(ragged: bool, pad: Any, reverse: Any, both: bool) -> dict[str, float]:
    """Which steps are taken, and in which order."""
    repeat, reverse = choice("pad", pad, PADS) == "repeat", flag("reverse", reverse)
    if not (ragged or repeat or reverse or both):
        return {}
    if both and reverse:
        raise ValueError("reverse: expected False with bidirectional, which has both, got True")
    wanted = {"lengths": ragged, "repeat": repeat, "reverse": reverse, "bidirectional": both}
    return {name: 1.0 for name, chosen in wanted.items() if chosen}


def way_back_keys(truncate: Any, recompute: Any) -> dict[str, float]:
    if truncate is None and recompute is None:
        return {}
    given = {"truncate": truncate, "recompute": recompute}
    keys = {name: integer(name, k, 1) for name, k in given.items() if k is not None}
    return {name: float(min(k, MOST_STEPS)) for name, k in keys.items()}


def check_layers(noise: Noise, layers: int) -> None:
    if noise.layer_dropout and layers == 1:
        expected = "0 with a single layer, as it drops between layers"
        raise ValueError(f"noise: expected layer_dropout {expected}, got {noise.layer_dropout}")


def seed_of(noise: Noise, seed: Any, training: bool) -> int:
    """The seed of a call."""
    if seed is None:
        if training and noise.keys():
            raise ValueError("seed: expected an integer, as noise is to be drawn, got None")
        return 0
    if integer("seed", seed, 0, LARGEST_SEED) > LARGEST:
        raise ValueError(f"seed: expected an integer below 2**63, got {seed}")
    return int(seed)

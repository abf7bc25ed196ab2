"""What an LSTM may be other than plain: its cell, and the noise in training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..arguments import flag, number, shown
from . import activations

__all__ = ["CellOptions", "Noise"]


@dataclass(frozen=True)
class CellOptions:
    """A variant of the cell; the defaults are the plain one.

        z   = W_ih x + W_hh h_prev + b
        z_i += p_i c_prev,  z_f += p_f c_prev                     with peepholes p (3, H)
        i, f, g = σ(clip z_i), σ(clip z_f), τ(clip z_g)           or f = 1 - i if `coupled`
        c   = cell_clip (f c_prev + i g)
        z_o += p_o c                                              with peepholes
        o   = σ(clip z_o)
        h   = o φ(c)

    Parameters
    ----------
    activation : str, tuple or Activation
        τ: a name, or (name, alpha, beta).
    recurrent_activation
        σ, of the gates.
    output_activation
        φ; None: as `activation`, which is how Keras has it.
    coupled : bool
        The forget gate is 1 - i (Greff et al. 2017). The weights of f lie idle.
    clip : float, optional
        > 0: holds pre-activations in -clip..clip (ONNX's clip).
    cell_clip : float, optional
        > 0: holds c in -cell_clip..cell_clip (TensorFlow's and cuDNN's).

    Notes
    -----
    The gradient of what was clipped is zero. It is told from the values of activations, so training
    needs alpha > 0 of leaky_relu and elu, and alpha != 0 of scaled_tanh.
    """

    activation: Any = "tanh"
    recurrent_activation: Any = "sigmoid"
    output_activation: Any = None
    coupled: bool = False
    clip: float | None = None
    cell_clip: float | None = None

    def __post_init__(self) -> None:
        if self.output_activation is None:
            object.__setattr__(self, "output_activation", self.activation)
        for name in ("activation", "recurrent_activation", "output_activation"):
            object.__setattr__(self, name, activations.get(name, getattr(self, name)))
        object.__setattr__(self, "coupled", flag("coupled", self.coupled))
        for name in ("clip", "cell_clip"):
            value = getattr(self, name)
            if value is not None and number(name, value, 0) == 0:
                raise ValueError(f"{name}: expected a number > 0 or None, got {shown(value)}")
            if value is not None:
                object.__setattr__(self, name, float(value))

    def check_training(self) -> None:
        """Raise ValueError if the gradient cannot be told."""
        for name in ("activation", "recurrent_activation", "output_activation"):
            activations.check_slope(name, getattr(self, name))

    def keys(self) -> dict[str, float]:
        """Return the keys of the C-level configuration."""
        kinds = {
            "gate": self.recurrent_activation,
            "candidate": self.activation,
            "output": self.output_activation,
        }
        found: dict[str, float] = {"coupled": self.coupled}
        found["clip"], found["cell_clip"] = (
            math.inf if limit is None else limit for limit in (self.clip, self.cell_clip)
        )
        for name, activation in kinds.items():
            found[f"{name}_kind"] = activation.kind
            found[f"{name}_alpha"], found[f"{name}_beta"] = activation.alpha, activation.beta
        return found


PLAIN = CellOptions()


RATES = ("input_dropout", "layer_dropout", "recurrent_dropout", "weight_drop", "zoneout_h",
         "zoneout_c")  # fmt: skip


@dataclass(frozen=True)
class Noise:
    """What is dropped at random in training: rates in [0, 1).

    All of it follows from a seed and from coordinates (batch row, step, unit), by Philox4x32-10:
    the same seed gives the same at any number of threads, and no mask is stored. What dropout
    leaves is scaled by 1 / (1 - rate); in inference nothing is dropped.

    Parameters
    ----------
    input_dropout : float
        Of the units of x, the same for all steps.
    layer_dropout : float
        Of what goes from one layer to the next, anew in each step (as PyTorch's `dropout`).
    recurrent_dropout : float
        Of the units of h where W_hh is multiplied with it, the same for all steps (Gal and
        Ghahramani 2016).
    weight_drop : float
        Of the weights W_hh (Merity, Keskar and Socher 2018).
    zoneout_h, zoneout_c : float
        Of units whose h or c stays as it was, anew in each step; in inference this part of each
        stays (Krueger et al. 2017).
    """

    input_dropout: float = 0.0
    layer_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    weight_drop: float = 0.0
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0

    def __post_init__(self) -> None:
        for name in RATES:
            value = number(name, getattr(self, name), 0, 1)
            if value == 1:
                raise ValueError(f"{name}: expected a rate in [0, 1), got {value}")
            object.__setattr__(self, name, value)

    def keys(self) -> dict[str, float]:
        """Return the keys of the C-level configuration."""
        return {name: getattr(self, name) for name in RATES if getattr(self, name) > 0}


QUIET = Noise()

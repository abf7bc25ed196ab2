"""THE table of options: every key of the C-level configuration, each a row here.

From it follow what lf_config holds and takes (native/config.h), the fields of the kernels' struct
that cell.py reads, the constants of a GPU's cell, the fields of `CellOptions` and `Noise`, the list
in capi.pxd and docs/options.md. An option of the cell is a row of `Cell`, a branch in cell.py, one
in the oracle (tests/naive.py) and an entry of tests/family.py; `python docs/options.py` then writes
the list and the page anew.

Nothing is imported here that the build does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any, NamedTuple

# What a key takes: the names stand in native/config.c, too.
VALUES = {
    "COUNT": ">= 1",
    "COUNT_OR_NONE": ">= 0",
    "PRECISION": "8, 16, 32 or 64",
    "FLAG": "0 or 1",
    "LIMIT": "> 0",
    "KIND": "lf_activation_kind",
    "PARAMETER": "a real number",
    "REAL": "a real number",
    "RATE": "in [0, 1)",
}


class Key(NamedTuple):
    """A row: a key of lf_config, what it takes, and what says it in Python (its name if empty)."""

    name: str
    values: str
    default: Any
    meaning: str
    python: str = ""


def option(values: str, default: Any, meaning: str, key: str = "") -> Any:
    """A row that is a field in Python. An ACTIVATION has three keys, which begin with `key`."""
    return field(default=default, metadata={"values": values, "meaning": meaning, "key": key})


# What cell.py reads; `ops.CellOptions` is this with its checks.
@dataclass(frozen=True)
class Cell:
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
        The forget gate is 1 - i (Greff et al. 2017). The weights of f are ignored.
    clip : float, optional
        > 0: holds pre-activations in -clip..clip (ONNX's clip).
    cell_clip : float, optional
        > 0: holds c in -cell_clip..cell_clip (TensorFlow's and cuDNN's).

    Notes
    -----
    The gradient of what was clipped is zero. It is computed from the values of activations, so
    training needs alpha > 0 of leaky_relu and elu, and alpha != 0 of scaled_tanh.
    """

    activation: Any = option("ACTIVATION", "tanh", "τ, of g", "candidate")
    recurrent_activation: Any = option("ACTIVATION", "sigmoid", "σ, of i, f and o", "gate")
    output_activation: Any = option("ACTIVATION", None, "φ, of c in h = o φ(c)", "output")
    coupled: bool = option("FLAG", False, "f = 1 - i; the rows of f in the weights are ignored")
    clip: float | None = option(
        "LIMIT", None, "z, peepholes included, is held in -clip..clip (ONNX's clip)"
    )
    cell_clip: float | None = option(
        "LIMIT", None, "c is held in -cell_clip..cell_clip (TensorFlow's and cuDNN's)"
    )


# What is random in training; `ops.Noise` is this with its checks.
@dataclass(frozen=True)
class Rates:
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

    input_dropout: float = option("RATE", 0.0, "of x, the same for all steps")
    layer_dropout: float = option(
        "RATE",
        0.0,
        "of what goes from layer to layer, anew in each step; with one layer LF_EVALUE of lf_build",
    )
    recurrent_dropout: float = option(
        "RATE", 0.0, "of h where W_hh is multiplied with it, the same for all steps"
    )
    weight_drop: float = option("RATE", 0.0, "of the weights W_hh")
    zoneout_h: float = option(
        "RATE",
        0.0,
        "how much of h stays as it was: in training random units, in inference this part of all",
    )
    zoneout_c: float = option("RATE", 0.0, "the same of c")


def row_of(of: Field[Any]) -> Key:
    """The row of a field, as it is told: an ACTIVATION is one."""
    about = of.metadata
    return Key(about["key"] or of.name, about["values"], of.default, about["meaning"], of.name)


def keys_of(of: Field[Any]) -> Iterator[Key]:
    """The keys of a field."""
    one = row_of(of)
    if one.values != "ACTIVATION":
        yield one
        return
    yield Key(f"{one.name}_kind", "KIND", one.default or "tanh", one.meaning, of.name)
    for parameter in ("alpha", "beta"):
        yield Key(f"{one.name}_{parameter}", "PARAMETER", 0.0, f"its {parameter}", of.name)


PEEPHOLES = Key("peepholes", "FLAG", False, "weights p (3, H) of i, f and o (lf_load)", "p")
CELL = (PEEPHOLES, *(key for each in fields(Cell) for key in keys_of(each)))
NOISE = tuple(key for each in fields(Rates) for key in keys_of(each))
CALL = (
    Key("input_size", "COUNT", 0, "I", "W_ih"),
    Key("hidden_size", "COUNT", 0, "H", "W_hh"),
    Key("batch_size", "COUNT", 1, "the largest B of lf_step"),
    Key("precision", "PRECISION", 32,
        "float or double; 16 and 8: float, but W_ih, W_hh and what they are multiplied with are "
        "rounded to bfloat16 or int8, sums are not; 8 with training LF_EVALUE of lf_build",
        "dtype, precision"),
    Key("training", "FLAG", False,
        "lf_backward will be called (weights are packed a second time)"),
    Key("lengths", "FLAG", False,
        "lf_args.lengths or lf_args.mask may be given (work space for that)", "lengths, mask"),
    Key("repeat", "FLAG", False,
        "with them, y holds the last output where no step is taken; else zeros", 'pad="repeat"'),
    Key("reverse", "FLAG", False,
        "steps are taken from the last to the first; y stays where x is"),
    Key("resets", "FLAG", False,
        "lf_args.resets may be given (work space for that): rows that begin anew at a step, from "
        "reset_h and reset_c, or from zeros"),
    Key("cells", "FLAG", False,
        "lf_args.cells and dcells may be given (work space for that)", "return_cells"),
)  # fmt: skip
STACK = (
    Key("num_layers", "COUNT", 1, "L, each on the outputs of the one before; at most 64",
        "W_ih=[..., ...]"),
    Key("bidirectional", "FLAG", False,
        "D = 2: each layer has a part that takes the steps from the last to the first, and both "
        "outputs side by side; with reverse LF_EVALUE of lf_build"),
    Key("static_size", "COUNT_OR_NONE", 0,
        "S: W_static x_static joins W_ih x of the first layer in every step (lf_load, "
        "lf_args.x_static); 0: none", "W_static"),
    Key("proj_size", "COUNT_OR_NONE", 0, "P: h = W_hr (o φ(c)) (lf_load); 0: none", "W_hr"),
    Key("layer_norm", "FLAG", False,
        "z = LN(W_ih x) gain_x + LN(W_hh h) gain_h + b, h = o φ(LN(c) gain_c + b_c), "
        "LN(v) = (v - mean v) / sqrt(var v + 1e-5)", "norm"),
)  # fmt: skip
WAY_BACK = (
    Key("truncate", "COUNT_OR_NONE", 0,
        "k > 0: no gradient flows from step n to n - 1 where n is a multiple of k, counted as "
        "rows take them"),
    Key("recompute", "COUNT_OR_NONE", 0,
        "k > 0: the reserve holds the state before every k-th step alone, and lf_backward takes "
        "the steps forward again"),
)  # fmt: skip
GROUPS = {
    "The call": CALL,
    "The stack": STACK,
    "The cell (lstmfast.CellOptions has the formulas)": CELL,
    "Noise (lstmfast.Noise): dropout, in training alone, scales the rest by 1 / (1 - rate)": NOISE,
    "The way back": WAY_BACK,
}
KEYS = tuple(key for group in GROUPS.values() for key in group)


def cell_fields(integers: bool) -> str:
    """The names of the keys that cell.py reads: of whole numbers, or of the others."""
    return " ".join(key.name for key in CELL if (key.values in ("FLAG", "KIND")) == integers)

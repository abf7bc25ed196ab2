"""Cases of the whole LSTM family: what `ops` is given, and the oracle's network of the same."""

from typing import Any, NamedTuple

import naive
import naive_stack
import numpy as np
from agreement import (
    FORWARD_BAR,
    GRADIENT_BAR,
    THREADS,
    forward_error,
    glorot_uniform,
    gradient_error,
    orthogonal,
    same_bits,
)

from lstmfast import CellOptions, Noise, Norm, ops

# Every option of `lstm_forward`, alone. `layers`, `proj` and `norm` are made into weights.
OPTIONS: dict[str, dict[str, Any]] = {
    "num_layers": {"layers": 2},
    "bidirectional": {"bidirectional": True},
    "projection": {"proj": 5},
    "peepholes": {"peepholes": True},
    "coupled": {"coupled": True},
    "clip": {"clip": 0.9},
    "cell_clip": {"cell_clip": 0.6},
    "activation": {"activation": ("elu", 0.8)},
    "recurrent_activation": {"recurrent_activation": "hard_sigmoid"},
    "output_activation": {"output_activation": "softsign"},
    "layer_norm": {"norm": True},
    "lengths": {"lengths": True},
    "mask": {"mask": True},
    "repeat": {"lengths": True, "pad": "repeat"},
    "reverse": {"reverse": True},
    "input_dropout": {"input_dropout": 0.4},
    "layer_dropout": {"layer_dropout": 0.4, "layers": 2},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "weight_drop": {"weight_drop": 0.4},
    "zoneout_h": {"zoneout_h": 0.3},
    "zoneout_c": {"zoneout_c": 0.3},
    "truncate": {"truncate": 2},
    "recompute": {"recompute": 2},
    "resets": {"resets": True},
    "resets to zeros": {"resets": "zeros"},
    "static": {"static": 3},
    "bfloat16": {"bfloat16": True},  # of float32 alone
    "no bias": {"bias": False},
    "batch_first": {"batch_first": True},
    "no state": {"state": False},
    "no dx": {"need_dx": False},
    "dy alone": {"only": "dy"},
}
CELL = ("activation", "recurrent_activation", "output_activation", "coupled", "clip", "cell_clip")
NOISE = ("input_dropout", "layer_dropout", "recurrent_dropout", "weight_drop", "zoneout_h",
         "zoneout_c")  # fmt: skip
SEED = 0x1234_5678_9ABC
# With factors of products rounded to bfloat16, as the oracle rounds them, what is left is the
# rounding of float32 and, here and there, a number so near to the middle between two that it goes
# the other way: off by 2⁻⁸ of itself, in one term of a sum. So the median error is float32's, and
# the largest is far below what rounding costs (2e-3 and 3e-3). Measured over all pairs:
# 4e-7 and 1.2e-4, in handfuls of options 1.4e-4 and 4e-3.
NARROW_BARS = 1e-3, 5e-3
INT8_BAR = 5e-3


class FamilyCase(NamedTuple):
    x: np.ndarray  # (T, B, I)
    weights: dict  # W_ih, W_hh, b, p, W_hr, norm, W_static: lists
    h0: np.ndarray
    c0: np.ndarray
    steps: list | None
    resets: naive_stack.Resets | None  # as the oracle has them
    x_static: np.ndarray | None
    keywords: dict  # of lstm_forward, but the weights
    network: naive_stack.Network
    upstream: dict
    need_dx: bool


def compatible(options):
    return not (options.get("bidirectional") and options.get("reverse")) and not (
        options.get("lengths") and options.get("mask")
    )


def family_case(shape, dtype, training=True, seed=0, **chosen):
    """Return a case of these options at (T, B, I, H)."""
    T, B, I, H = shape
    rng = np.random.default_rng([seed, *shape])
    D, layers = 1 + chosen.get("bidirectional", False), chosen.get("layers", 1)
    P = chosen.get("proj") or H
    parts = [_part(rng, I if k < D else D * P, H, chosen, dtype) for k in range(D * layers)]
    x_static = None
    if chosen.get("static"):
        parts, x_static = _with_static(
            np.random.default_rng([seed, 2, *shape]), parts, D, B, chosen
        )
    x = rng.standard_normal((T, B, I)).astype(dtype)
    h0 = rng.uniform(-1, 1, (len(parts), B, P)).astype(dtype)
    c0 = rng.standard_normal((len(parts), B, H)).astype(dtype)
    if not chosen.get("state", True):
        h0 = c0 = None
    lengths, mask, steps = _steps(rng, T, B, chosen)
    resets = _resets(np.random.default_rng([seed, 1, *shape]), x, len(parts), P, H, chosen)
    cell = CellOptions(**{name: chosen[name] for name in CELL if name in chosen})
    noise = {name: chosen[name] for name in NOISE if name in chosen}
    order = {name: chosen[name] for name in ("reverse", "bidirectional", "pad") if name in chosen}
    ways = {name: chosen[name] for name in ("truncate", "recompute") if name in chosen}
    keywords = order | ways | {"options": cell, "noise": Noise(**noise), "seed": SEED}
    keywords |= {"batch_first": chosen.get("batch_first", False)}
    keywords |= {"lengths": lengths, "mask": mask, "return_cells": True, "training": training}
    narrow = next((p for p in ("bfloat16", "int8") if chosen.get(p)), None)
    if dtype == "float64":
        narrow = None
    keywords |= {"precision": narrow} if narrow else {}
    keywords |= _reset_keywords(resets, chosen) | (
        {} if x_static is None else {"x_static": x_static}
    )
    if resets is not None and lengths is not None:
        behind = np.arange(T)[:, None] >= lengths
        resets = resets._replace(at=resets.at & ~behind)
    network = naive_stack.Network(
        parts, order.get("bidirectional", False), _variant(cell), order.get("reverse", False),
        order.get("pad") == "repeat", **noise, truncate=chosen.get("truncate"),
        seed=SEED if training else None, rounding=_rounding(narrow, chosen, cell),
    )  # fmt: skip
    weights = {name: [getattr(part, name) for part in parts] for name in naive_stack.Part._fields}
    weights = {name: None if of[0] is None else of for name, of in weights.items()}
    if weights["W_static"]:
        weights["W_static"] = weights["W_static"][:D]
    if weights["norm"]:
        weights["norm"] = [Norm(*of) for of in weights["norm"]]
    count = len(parts)
    shapes = {
        "dy": (T, B, D * P), "dh_n": (count, B, P), "dc_n": (count, B, H), "dcells": (T, B, D * H),
    }  # fmt: skip
    upstream = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    if "only" in chosen:
        upstream = {chosen["only"]: upstream[chosen["only"]]}
    need_dx = chosen.get("need_dx", True)
    return FamilyCase(x, weights, h0, c0, steps, resets, x_static, keywords, network, upstream,
                      need_dx)  # fmt: skip


def _rounding(precision, chosen, cell):
    if precision != "int8":
        return naive.BFLOAT16 if precision else naive.EXACT
    bounded = {"sigmoid", "tanh", "softsign", "hard_sigmoid"}
    kinds = {cell.recurrent_activation.name, cell.output_activation.name}
    others = any(chosen.get(name) for name in ("proj", "norm", "zoneout_h"))
    return naive.INT8 if kinds <= bounded and not others else naive.INT8_OF_ANY


def _part(rng, I, H, chosen, dtype):
    P = chosen.get("proj") or H
    b = rng.uniform(-0.1, 0.1, 4 * H)
    b[H : 2 * H] += 1
    norm = None
    if chosen.get("norm"):
        gains = [rng.uniform(0.5, 1.5, n) for n in (4 * H, 4 * H, H)]
        norm = tuple(a.astype(dtype) for a in (*gains, rng.uniform(-0.5, 0.5, H)))
    made = {
        "W_ih": glorot_uniform(rng, 4 * H, I),
        "W_hh": orthogonal(rng, max(4 * H, P), P)[: 4 * H],
        "b": b if chosen.get("bias", True) else None,
        "p": rng.uniform(-0.5, 0.5, (3, H)) if chosen.get("peepholes") else None,
        "W_hr": glorot_uniform(rng, P, H) if chosen.get("proj") else None,
    }
    made = {name: None if a is None else a.astype(dtype) for name, a in made.items()}
    return naive_stack.Part(**made, norm=norm)


def _with_static(rng, parts, D, B, chosen):
    """Give the parts of the first layer their W_static; return x_static, too."""
    S, dtype, rows = chosen["static"], parts[0].W_ih.dtype, len(parts[0].W_ih)
    first = [p._replace(W_static=glorot_uniform(rng, rows, S).astype(dtype)) for p in parts[:D]]
    return first + parts[D:], rng.standard_normal((B, S)).astype(dtype)


def _steps(rng, T, B, chosen):
    """Lengths, a mask, and the steps that each row takes."""
    if chosen.get("lengths"):
        lengths = rng.integers(0, T + 1, B)
        lengths[B // 2] = T
        return lengths, None, [list(range(n)) for n in lengths]
    if not chosen.get("mask"):
        return None, None, None
    mask = rng.random((T, B)) < 0.6
    given = mask.T.copy() if chosen.get("batch_first") else mask
    return None, given, [list(np.flatnonzero(mask[:, b])) for b in range(B)]


def _resets(rng, x, parts, P, H, chosen):
    """Where rows begin anew, and from what: None for zeros."""
    if not chosen.get("resets"):
        return None
    T, B, _ = x.shape
    at = rng.random((T, B)) < 0.3
    if chosen["resets"] == "zeros":
        return naive_stack.Resets(at)
    states = rng.uniform(-1, 1, (parts, B, P)), rng.standard_normal((parts, B, H))
    return naive_stack.Resets(at, *(s.astype(x.dtype) for s in states))


def _reset_keywords(resets, chosen):
    if resets is None:
        return {}
    at = resets.at.T.copy() if chosen.get("batch_first") else resets.at
    return {"resets": at, "reset_h": resets.h, "reset_c": resets.c}


def _variant(cell):
    return naive.Variant(
        cell.activation, cell.recurrent_activation, cell.output_activation, cell.coupled,
        cell.clip or np.inf, cell.cell_clip or np.inf,
    )  # fmt: skip


def computed(case, by=ops):
    """Return every output and, in training, every gradient of a case, by `lstmfast.ops`."""
    first = case.keywords["batch_first"]

    def turned(a):
        return np.ascontiguousarray(a.swapaxes(0, 1)) if first else a

    y, (h_n, c_n), cache, cells = by.lstm_forward(
        turned(case.x), case.weights["W_ih"], case.weights["W_hh"], case.weights["b"], case.h0,
        case.c0, p=case.weights["p"], W_hr=case.weights["W_hr"], norm=case.weights["norm"],
        W_static=case.weights["W_static"], **case.keywords,
    )  # fmt: skip
    outputs = {"y": turned(y), "h_n": h_n, "c_n": c_n, "cells": turned(cells)}
    if cache is None:
        return outputs, {}
    upstream = dict(case.upstream)
    for name in upstream.keys() & {"dy", "dcells"}:
        upstream[name] = turned(upstream[name])
    found = by.lstm_backward(cache, **upstream, need_dx=case.need_dx)
    gradients = {"dx": found.dx, "dh0": found.dh0, "dc0": found.dc0}
    gradients |= {
        "dx_static": found.dx_static,
        "dreset_h": found.dreset_h,
        "dreset_c": found.dreset_c,
    }
    gradients = {name: a for name, a in gradients.items() if a is not None}
    if case.need_dx:
        gradients["dx"] = turned(gradients["dx"])
    of_static = found.dW_static if isinstance(found.dW_static, list) else [found.dW_static]
    if case.x_static is not None:
        gradients |= {f"dW_static{k}": gradient for k, gradient in enumerate(of_static)}
    for name in ("W_ih", "W_hh", "b", "p", "W_hr", "norm"):
        for k, gradient in enumerate(getattr(found, f"d{name}") or []):
            gradients |= by_name(f"d{name}{k}", gradient)
    return outputs, gradients


def assert_same_at_any_number_of_threads(case, threads):
    """threads: sets their number."""
    results = []
    for n in THREADS:
        threads(n)
        outputs, gradients = computed(case)
        results.append((outputs | gradients).values())
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


def by_name(name, gradient):
    """One gradient, or those of a norm each by its own name."""
    if not isinstance(gradient, tuple):
        return {name: gradient}
    return {name + field: a for field, a in zip(Norm._fields, gradient, strict=True)}


def expected(case):
    """The same by the oracle."""
    given = case.network, case.x, case.h0, case.c0, case.steps, case.resets, case.x_static
    outputs = naive_stack.forward(*given)
    if not case.keywords["training"]:
        return outputs, {}
    found = naive_stack.backward(*given, **case.upstream)
    wanted = {"dx": case.need_dx, "dh0": case.h0 is not None, "dc0": case.c0 is not None}
    wanted["dx_static"] = case.x_static is not None
    wanted |= {f"dreset_{name}": case.resets and getattr(case.resets, name) is not None
               for name in "hc"}  # fmt: skip
    gradients = {name: found[name] for name, of in wanted.items() if of}
    for k, part in enumerate(found["parts"]):
        for name, gradient in part.items():
            if gradient is not None:
                gradients |= by_name(f"{name}{k}", gradient)
    return outputs, gradients


def middle(found, wanted):
    """The median error of all numbers, relative to the largest of each array."""
    parts = [abs(found[name] - ref) / max(abs(ref).max(), 1e-30) for name, ref in wanted.items()]
    return float(np.median(np.concatenate([np.ravel(part) for part in parts])))


def bars_of(case):
    """The largest errors of outputs and of gradients."""
    precision = case.keywords.get("precision")
    if precision:
        return NARROW_BARS if precision == "bfloat16" else (INT8_BAR, None)
    return FORWARD_BAR[str(case.x.dtype)], GRADIENT_BAR[str(case.x.dtype)]


def assert_case_close(case, slack=1, by=ops):
    """Hold all outputs and gradients of a case against the oracle's, within `slack` bars."""
    dtype, (forward_bar, gradient_bar) = str(case.x.dtype), bars_of(case)
    outputs, gradients = computed(case, by)
    ref_outputs, ref_gradients = expected(case)
    assert outputs.keys() == ref_outputs.keys() and gradients.keys() == ref_gradients.keys()
    for name, ref in ref_outputs.items():
        assert outputs[name].dtype == dtype, name
        assert forward_error(outputs[name], ref) <= slack * forward_bar, name
    for name, ref in ref_gradients.items():
        assert gradients[name].dtype == dtype, name
        assert gradient_error(gradients[name], ref) <= slack * gradient_bar, name
    assert middle(outputs, ref_outputs) <= slack * FORWARD_BAR[dtype]
    assert not gradients or middle(gradients, ref_gradients) <= slack * GRADIENT_BAR[dtype]

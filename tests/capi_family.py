"""Cases of the whole family (tests/family.py) by the C-level API: handles, structures, one call."""

import ctypes

import numpy as np
from agreement import same_bits
from capi_calls import Arguments, Weights, address, new_handle
from family import SEED, computed

from lstmfast.ops.keys import keys_of_cell, keys_of_noise, order_keys, way_back_keys

NAMES = ("W_ih", "W_hh", "b", "p", "W_hr", "W_static")
SIZES = {"p": "peepholes", "norm": "layer_norm"}  # keys that go with weights
OVER_TIME = ("x", "y", "dx", "dy", "cells", "dcells")


def keys_of(case, training):
    """The configuration of a case, but sizes and precision."""
    given, weights = case.keywords, case.weights
    ragged = given["lengths"] is not None or given["mask"] is not None
    keys = keys_of_cell(given["options"], training)
    keys |= keys_of_noise(given["noise"])
    keys |= order_keys(
        ragged, given.get("pad", "zeros"), given.get("reverse", False),
        given.get("bidirectional", False),
    )  # fmt: skip
    keys |= way_back_keys(given.get("truncate"), given.get("recompute"))
    keys |= {"training": training, "cells": 1}
    keys |= {"resets": 1} if case.resets else {}
    narrow = {"bfloat16": 16, "int8": 8}
    keys |= {"precision": narrow[given["precision"]]} if given.get("precision") else {}
    keys |= {} if case.x_static is None else {"static_size": case.x_static.shape[1]}
    keys |= {key: 1 for name, key in SIZES.items() if weights[name]}
    if weights["W_hr"]:
        keys["proj_size"] = weights["W_hr"][0].shape[0]
    layers = len(weights["W_ih"]) // (1 + given.get("bidirectional", False))
    return keys | ({"num_layers": layers} if layers > 1 else {})


def part_arrays(weights, k):
    """The arrays of the k-th part by the names of lf_weights."""
    found = {name: weights[name][k] for name in NAMES if weights[name] and k < len(weights[name])}
    return found | (weights["norm"][k]._asdict() if weights["norm"] else {})


def all_parts(case):
    return [part_arrays(case.weights, k) for k in range(len(case.weights["W_ih"]))]


def structures(arrays):
    """An array of lf_weights, and what keeps it alive."""
    parts = [Weights(**of) for of in arrays]
    return (Weights * len(parts))(*parts), parts


def handle_of(probe, case, training, place=lambda name, array: array):
    """Return a handle with the weights of a case, loaded from where `place` puts them."""
    _, B, I = case.x.shape
    H = case.weights["W_ih"][0].shape[0] // 4
    lstm = new_handle(probe, I, H, case.x.dtype, batch_size=B, **keys_of(case, training))
    arrays = [{n: place(n, a) for n, a in part.items()} for part in all_parts(case)]
    held = structures(arrays)
    assert probe.load(lstm, ctypes.addressof(held[0])) == 0
    return lstm


def over_time(case, array):
    """A (T, B, n) array in the layout of a case's, as seen with the steps first."""
    if not case.keywords["batch_first"]:
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1)


class Run:
    """Arrays for one forward and backward call of a case.

    `place(name, array)` returns where an argument shall lie: an array like the one given, with its
    contents and strides. Outputs, work and reserve are given full of `poison`.
    """

    def __init__(self, probe, case, lstm, place=lambda name, array: array, poison=0xFF):
        self.probe, self.lstm, self.case = probe, lstm, case
        T, B, _ = case.x.shape
        self.arrays = {}
        for name, array in (self._inputs() | self._outputs(poison)).items():
            self.arrays[name] = place(name, array)
        works = probe.forward_work(lstm, T, B), probe.backward_work(lstm, T, B)
        for name, size in (("work", max(works)), ("reserve", probe.reserve_size(lstm, T, B))):
            self.arrays[name] = place(name, np.full(size, poison, np.uint8))
        self.gradients = [
            {
                name: place(f"d{name}", poisoned(a.shape, a.dtype, poison))
                for name, a in part.items()
            }
            for part in all_parts(case)
        ]
        self.held = structures(self.gradients)
        self.args = self._arguments(T, B, max(works))

    def _inputs(self):
        case, found = self.case, {}
        given = {"x": case.x, "h0": case.h0, "c0": case.c0, "x_static": case.x_static}
        given |= case.upstream
        for name, array in given.items():
            if array is not None:
                found[name] = over_time(case, array) if name in OVER_TIME else array.copy()
        if case.keywords["lengths"] is not None:
            found["lengths"] = case.keywords["lengths"].astype(np.int64)
        if case.keywords["mask"] is not None:
            mask = case.keywords["mask"].astype(np.uint8)
            found["mask"] = mask.swapaxes(0, 1) if case.keywords["batch_first"] else mask
        if case.resets:
            resets = case.keywords["resets"].astype(np.uint8)
            found["resets"] = resets.swapaxes(0, 1) if case.keywords["batch_first"] else resets
        return found | {n: a.copy() for n, a in self._reset_states().items()}

    def _reset_states(self):
        states = {name: self.case.keywords.get(name) for name in ("reset_h", "reset_c")}
        return {name: a for name, a in states.items() if a is not None}

    def _outputs(self, poison):
        case, (T, B, I) = self.case, self.case.x.shape
        H, P = case.weights["W_ih"][0].shape[0] // 4, case.weights["W_hh"][0].shape[1]
        D, parts = 1 + case.keywords.get("bidirectional", False), len(case.weights["W_ih"])
        shapes = {"y": (T, B, D * P), "cells": (T, B, D * H), "h_n": (parts, B, P)}
        shapes |= {"c_n": (parts, B, H)}
        if case.need_dx:
            shapes["dx"] = (T, B, I)
        if case.h0 is not None:
            shapes |= {"dh0": (parts, B, P), "dc0": (parts, B, H)}
        shapes |= {f"d{name}": a.shape for name, a in self._reset_states().items()}
        shapes |= {} if case.x_static is None else {"dx_static": case.x_static.shape}
        found = {name: poisoned(shape, case.x.dtype, poison) for name, shape in shapes.items()}
        return {name: over_time(case, a) if a.ndim == 3 and name in OVER_TIME else a
                for name, a in found.items()}  # fmt: skip

    def _arguments(self, T, B, work_size):
        args = Arguments(
            size=ctypes.sizeof(Arguments), T=T, B=B, work_size=work_size, seed=SEED,
            gradients=ctypes.addressof(self.held[0]),
            **{name: address(a) for name, a in self.arrays.items()},
        )  # fmt: skip
        for name in {*OVER_TIME, "mask", "resets"} & self.arrays.keys():
            array = self.arrays[name]
            for axis, stride in zip("tb", array.strides, strict=False):
                setattr(args, f"{name}_{axis}", stride // array.itemsize)
        return args

    def status(self, run, **changes):
        """Call "forward" or "backward", with fields of lf_args changed."""
        args = Arguments.from_buffer_copy(self.args)
        for name, value in changes.items():
            setattr(args, name, value)
        return getattr(self.probe, run)(self.lstm, ctypes.addressof(args))

    def found(self):
        """Every output and gradient by the names of `family.computed`."""
        names = (
            "y",
            "h_n",
            "c_n",
            "cells",
            "dx",
            "dx_static",
            "dh0",
            "dc0",
            "dreset_h",
            "dreset_c",
        )
        found = {name: self.arrays[name] for name in names if name in self.arrays}
        for k, part in enumerate(self.gradients):
            for name, gradient in part.items():
                norm = name.startswith("gain") or name == "b_c"
                found[f"dnorm{k}{name}" if norm else f"d{name}{k}"] = gradient
        return found


def poisoned(shape, dtype, poison):
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.full(count, poison, np.uint8).view(dtype).reshape(shape)


def differences(run, case):
    """The names of outputs and gradients that are not, bit by bit, those of the calls on arrays."""
    outputs, gradients = computed(case)
    wanted, found = outputs | gradients, run.found()
    if not case.keywords["training"]:
        return [name for name in outputs if not same_bits(found[name], outputs[name])]
    missing = {name for name in wanted if name not in found} - {f"db{k}" for k in range(99)}
    return sorted(missing) + [
        name for name in wanted.keys() & found.keys() if not same_bits(found[name], wanted[name])
    ]

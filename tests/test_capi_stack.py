"""Stacks of the C-level API: the same bits as the calls on arrays, steps, and what is refused."""

import ctypes

import family
import numpy as np
import pytest
from agreement import DTYPES
from capi_calls import Arguments, Weights, address, new_config, new_handle
from capi_family import Run, differences, handle_of, part_arrays, structures
from family import by_name, compatible, family_case

SHAPE = T, B, I, H = 6, 5, 4, 21
OPTIONS = {
    "layers": {"layers": 3},
    "directions": {"layers": 2, "bidirectional": True},
    "projection": {"proj": 7, "peepholes": True},
    "norm": {"norm": True, "zoneout_h": 0.2, "zoneout_c": 0.1},
    "noise": {"layers": 2, "input_dropout": 0.2, "layer_dropout": 0.3, "recurrent_dropout": 0.2,
              "weight_drop": 0.1},
    "recompute": {"recompute": 2, "truncate": 3, "lengths": True},
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", OPTIONS.values(), ids=OPTIONS)
def test_the_bits_of_the_calls_on_arrays(chosen, dtype, probe):
    case = family_case(SHAPE, dtype, **chosen)
    lstm = handle_of(probe, case, 1)
    run = Run(probe, case, lstm)
    assert run.status("forward") == run.status("backward") == 0
    assert differences(run, case) == []
    probe.free(lstm)


@pytest.mark.parametrize("name", ("layers", "projection", "norm"))
def test_steps(name, probe):
    """lf_step, the states of all layers moving on: outputs and state as of lf_forward."""
    case = family_case(SHAPE, "float32", training=False, **OPTIONS[name])
    lstm = handle_of(probe, case, 0)
    run = Run(probe, case, lstm)
    assert run.status("forward", reserve=0) == 0
    h, c = case.h0.copy(), case.c0.copy()
    for t in range(T):
        x = np.ascontiguousarray(case.x[t])
        assert probe.step(lstm, B, address(x), address(h), address(c)) == 0
        np.testing.assert_allclose(h[-1], run.arrays["y"][t], rtol=0, atol=2e-6)
    np.testing.assert_allclose(c, run.arrays["c_n"], rtol=0, atol=2e-6)
    probe.free(lstm)


def test_refused(probe):
    codes = probe.status_codes()
    chosen = OPTIONS["directions"]
    case = family_case(SHAPE, "float32", **chosen)
    lstm, plain = handle_of(probe, case, 1), new_handle(probe, I, H, "float32", training=1)
    run = Run(probe, case, lstm)
    nothing = {"cells": 0, "dcells": 0}
    args = Arguments.from_buffer_copy(run.args)
    held = structures([part_arrays(case.weights, 0)])
    assert probe.load(plain, ctypes.addressof(held[0])) == 0
    assert probe.forward(plain, ctypes.addressof(args)) == codes["EOPTION"]  # "cells" is not set
    probe.free(plain)
    assert run.status("forward", **nothing) == 0
    assert run.status("backward", **nothing, dW_ih=address(case.x)) == codes["EOPTION"]
    assert run.status("backward", **nothing, size=Arguments.cells.offset) == 0
    twice = structures([run.gradients[0]] * 4)
    assert run.status("forward", **nothing) == 0
    asked = ctypes.addressof(twice[0])
    assert run.status("backward", **nothing, gradients=asked) == codes["EALIAS"]
    step = [address(a) for a in (case.x[0], case.h0, case.c0)]
    assert probe.step(lstm, B, *step) == codes["EOPTION"]
    one = [address(case.weights[name][0]) for name in ("W_ih", "W_hh", "b")]
    assert probe.load_weights(lstm, *one) == codes["EOPTION"]
    probe.free(lstm)


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"bidirectional": 1, "reverse": 1}, "EVALUE"),
        ({"num_layers": 65}, "ESIZE"),
        ({"layer_dropout": 0.1}, "EVALUE"),
        ({"proj_size": 2**24, "hidden_size": 2**24}, "ESIZE"),
    ],
)
def test_what_cannot_be_built(keys, status, probe):
    config = new_config(probe, **{"input_size": I, "hidden_size": H} | keys)
    found, lstm = probe.build(config)
    probe.config_free(config)
    assert found == probe.status_codes()[status] and not lstm


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("num_layers", (0, 1.5, -1)),
        ("zoneout_h", (-0.1, 1.0, np.nan)),
        ("weight_drop", (1.0,)),
        ("truncate", (-1, 0.5, np.inf)),
        ("layer_norm", (2,)),
    ],
)
def test_bad_values(key, values, probe):
    config = new_config(probe)
    for value in values:
        assert probe.config_set(config, key.encode(), value) == probe.status_codes()["EVALUE"]
    probe.config_free(config)


def test_weights_of_the_first_version(probe):
    """A structure that ends with p serves one part."""
    case = family_case(SHAPE, "float32")
    handles = new_handle(probe, I, H, "float32"), new_handle(probe, I, H, "float32")
    first = Weights(**part_arrays(case.weights, 0))
    assert probe.load(handles[0], ctypes.addressof(first)) == 0
    first.size, first.W_hr = Weights.W_hr.offset, 1
    assert probe.load(handles[1], ctypes.addressof(first)) == 0
    stack = new_handle(probe, I, H, "float32", num_layers=2)
    assert probe.load(stack, ctypes.addressof(first)) == probe.status_codes()["EVERSION"]
    for handle in (*handles, stack):
        probe.free(handle)


def test_names_of_gradients():
    """What the comparison above goes by."""
    assert set(by_name("dnorm0", (1, 2, 3, 4))) == {
        "dnorm0gain_x", "dnorm0gain_h", "dnorm0gain_c", "dnorm0b_c",
    }  # fmt: skip


GUARD = 1 << 16
HANDFULS = 60
ACTIVATIONS = ("activation", "recurrent_activation", "output_activation")  # no keys, but kinds
C_OPTIONS = {
    name: options for name, options in family.OPTIONS.items()
    if name not in (*ACTIVATIONS, "mask", "batch_first", "no state", "no dx", "dy alone")
}  # fmt: skip


@pytest.mark.parametrize("seed", range(HANDFULS))
def test_nothing_beyond_work_and_reserve(seed, probe, threads):
    """Work and reserve of exactly the size that is asked for, by any number of threads."""
    rng = np.random.default_rng(seed)
    threads(int(rng.integers(1, 4)))
    dtype = DTYPES[seed % 2]
    chosen = {}
    for name in rng.choice(list(C_OPTIONS), rng.integers(1, 8), replace=False):
        if compatible(chosen | C_OPTIONS[name]):
            chosen |= C_OPTIONS[name]
    shape = ((6, 5, 4, 21), (30, 9, 20, 130), (3, 1, 2, 16), (7, 40, 5, 33))[rng.integers(4)]
    case = family_case(shape, dtype, **chosen)
    lstm = handle_of(probe, case, 1)
    run = Run(probe, case, lstm)
    rooms = {}

    def guarded(name, size):
        rooms[name] = np.full(size + GUARD, 0xEE, np.uint8), size
        return address(rooms[name][0])

    reserve = guarded("reserve", len(run.arrays["reserve"]))
    T, B, *_ = shape
    for way, size in (("forward", probe.forward_work), ("backward", probe.backward_work)):
        needed = size(lstm, T, B)
        given = {"work": guarded(way, needed), "work_size": needed}
        assert run.status(way, **given, reserve=reserve) == 0
        if way == "forward":
            assert run.status(way, **given, reserve=0) == 0
    for name, (room, size) in rooms.items():
        assert (room[size:] == 0xEE).all(), name
    probe.free(lstm)

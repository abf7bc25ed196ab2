"""Resets and static inputs of the C-level API: what is refused, and callers compiled before."""

import ctypes

import numpy as np
import pytest
from agreement import assert_close, same_bits
from capi_calls import Arguments, Weights, address
from capi_family import Run, all_parts, differences, handle_of, structures
from family import expected, family_case

T, B, I, H = SHAPE = (6, 5, 4, 21)
S = 3


def run_of(probe, **options):
    case = family_case(SHAPE, "float32", **options)
    lstm = handle_of(probe, case, 1)
    return Run(probe, case, lstm), lstm, probe.status_codes()


@pytest.mark.parametrize("batch_first", (False, True))
def test_the_bits_of_arrays(batch_first, probe):
    run, lstm, _ = run_of(probe, resets=True, static=S, bidirectional=True, layers=2,
                          batch_first=batch_first)  # fmt: skip
    assert run.status("forward") == 0 and run.status("backward") == 0
    assert not differences(run, run.case)
    probe.free(lstm)


def test_refused_resets(probe):
    run, lstm, codes = run_of(probe, resets=True)
    none = {"resets": 0, "reset_h": 0, "reset_c": 0, "dreset_h": 0, "dreset_c": 0}
    for name in ("reset_h", "reset_c", "dreset_h", "dreset_c"):
        left = none | {name: address(run.arrays[name])}
        assert run.status("forward", **left) == codes["EOPTION"], name
    for strides in ({"resets_t": -1}, {"resets_b": -1}):
        assert run.status("forward", **strides) == codes["ESIZE"]
    assert run.status("forward", y=address(run.arrays["resets"])) == codes["EALIAS"]
    assert run.status("forward") == 0
    for name in ("dreset_h", "dreset_c"):
        inside = {name: address(run.arrays["reset_h"])}
        assert run.status("backward", **inside) == codes["EALIAS"], name
    assert run.status("forward", **none) == run.status("backward", **none) == 0
    probe.free(lstm)
    plain, lstm, _ = run_of(probe)
    flags = np.zeros((T, B), np.uint8)
    given = {"resets": address(flags), "resets_t": B, "resets_b": 1}
    assert plain.status("forward", **given) == codes["EOPTION"]
    probe.free(lstm)


def test_gradients_of_zeros_from_which_rows_begin(probe):
    """dreset_h and dreset_c may be asked for without reset_h and reset_c."""
    case = family_case(SHAPE, "float32", resets=True)
    zeros = case.resets._replace(h=np.zeros_like(case.resets.h), c=np.zeros_like(case.resets.c))
    case = case._replace(
        resets=zeros, keywords=case.keywords | {"reset_h": zeros.h, "reset_c": zeros.c}
    )
    lstm = handle_of(probe, case, 1)
    run = Run(probe, case, lstm)
    nothing = {"reset_h": 0, "reset_c": 0}
    assert run.status("forward", **nothing) == run.status("backward", **nothing) == 0
    found, (_, wanted) = run.found(), expected(case)
    for name in ("dreset_h", "dreset_c"):
        assert np.abs(found[name] - wanted[name]).max() < 1e-5
    probe.free(lstm)


def test_refused_static_inputs(probe):
    run, lstm, codes = run_of(probe, static=S)
    assert run.status("forward", x_static=0) == codes["ENULL"]
    assert run.status("forward", h_n=address(run.arrays["x_static"])) == codes["EALIAS"]
    assert run.status("forward") == 0
    assert run.status("backward", dx_static=address(run.arrays["x_static"])) == codes["EALIAS"]
    assert run.status("backward", dx_static=0) == 0
    arrays = all_parts(run.case)[0]
    without = Weights(**{name: a for name, a in arrays.items() if name != "W_static"})
    assert probe.load(lstm, ctypes.addressof(without)) == codes["ENULL"]
    plain, other, _ = run_of(probe)
    assert probe.load(other, ctypes.addressof(Weights(**arrays))) == codes["EOPTION"]
    for name in ("x_static", "dx_static"):
        given = {name: address(run.arrays["x_static"])}
        assert plain.status("forward", **given) == codes["EOPTION"], name
    probe.free(lstm)
    probe.free(other)


def test_callers_compiled_before(probe):
    """lf_args without these fields, and structures of weights side by side that end before them."""
    run, lstm, codes = run_of(probe, layers=2)
    assert run.status("forward", size=Arguments.resets.offset) == 0
    assert run.status("backward", size=Arguments.resets.offset) == 0
    assert not differences(run, run.case)
    size, held = Weights.W_static.offset, structures(all_parts(run.case))
    old = (ctypes.c_uint8 * (2 * size))()
    for k, one in enumerate(held[1]):
        one.size = size
        ctypes.memmove(ctypes.addressof(old) + k * size, ctypes.addressof(one), size)
    assert probe.load(lstm, ctypes.addressof(old)) == 0
    assert run.status("forward") == run.status("backward") == 0
    assert not differences(run, run.case)
    ctypes.memset(ctypes.addressof(old) + size, 0, 1)  # the second one's size
    assert probe.load(lstm, ctypes.addressof(old)) == codes["EVERSION"]
    probe.free(lstm)


@pytest.mark.parametrize("rows", (1, B))
def test_steps_with_static_inputs(rows, probe):
    case = family_case((T, rows, I, H), "float32", training=False, static=S, layers=2)
    lstm, codes = handle_of(probe, case, 0), probe.status_codes()
    h, c, x_static = case.h0.copy(), case.c0.copy(), case.keywords["x_static"].copy()
    step = address(case.x[0]), address(h), address(c)
    assert probe.step(lstm, rows, *step) == codes["ESTATE"]  # nothing is set
    assert probe.set_static(lstm, rows + 1, address(x_static)) == codes["ESIZE"]
    assert probe.set_static(lstm, rows, 0) == probe.set_static(0, rows, 1) == codes["ENULL"]
    assert probe.set_static(lstm, rows, address(x_static)) == 0
    x_static[...] = np.nan  # it is not needed any more
    outputs, _ = expected(case)
    for x, y in zip(case.x, outputs["y"], strict=True):
        assert probe.step(lstm, rows, address(x), *step[1:]) == 0
        assert_close(h[-1], y, "float32")
    held = structures(all_parts(case))
    assert probe.load(lstm, ctypes.addressof(held[0])) == 0
    assert probe.step(lstm, rows, *step) == codes["ESTATE"]  # with other weights set it again
    probe.free(lstm)


def test_static_inputs_of_steps_that_have_none(probe):
    _, plain, codes = run_of(probe)
    _, both, _ = run_of(probe, static=S, bidirectional=True)
    x = np.zeros((B, S), np.float32)
    for lstm in (plain, both):
        assert probe.set_static(lstm, 1, address(x)) == codes["EOPTION"]
        probe.free(lstm)


def test_a_step_of_more_rows_than_are_set(probe):
    case = family_case(SHAPE, "float32", training=False, static=S)
    lstm, codes = handle_of(probe, case, 0), probe.status_codes()
    assert probe.set_static(lstm, 2, address(case.keywords["x_static"])) == 0
    h, c = case.h0.copy(), case.c0.copy()
    given = address(case.x[0]), address(h), address(c)
    assert probe.step(lstm, 3, *given) == codes["ESTATE"]
    assert same_bits(h, case.h0) and probe.step(lstm, 2, *given) == 0
    probe.free(lstm)

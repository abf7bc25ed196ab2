"""The C-level API refuses what does not fit: the right status, and not one byte written."""

from pathlib import Path

import numpy as np
import pytest
from capi_calls import Call, address, new_config, new_handle
from fresh_process import printed

SHAPE = T, B, I, H = 4, 3, 5, 18
ITEM = 4  # bytes of a float
SMALLEST, LARGEST = -(2**63), 2**63 - 1
FORWARD = ("x", "h0", "c0", "y", "h_n", "c_n", "reserve", "work")
FORWARD_OUTPUTS = ("y", "h_n", "c_n", "reserve", "work")
BACKWARD_OUTPUTS = ("dx", "dh0", "dc0", "dW_ih", "dW_hh", "db", "reserve", "work")
BACKWARD = ("x", "h0", "c0", "y", "dy", "dh_n", "dc_n", *BACKWARD_OUTPUTS)


@pytest.fixture
def call(probe, threads):
    """Return a call that fits, for one thread."""
    threads(1)
    return Call(probe, SHAPE)


@pytest.fixture
def status(probe):
    """Return the numbers of lf_status by name."""
    return probe.status_codes()


# ---------------------------------------------------------------- configuration and handle


def test_unknown_keys(probe, status):
    config = new_config(probe)
    for key in (b"", b"hidden", b"hidden_sizes", b"Hidden_size", b"input_size ", b"dropout"):
        for value in (1, 0, 0.5, float("nan")):
            assert probe.config_set(config, key, value) == status["EKEY"], (key, value)
    probe.config_free(config)


BAD_VALUES = {
    "input_size": (0, -1, 0.5, 2.0**53, 1e300),
    "hidden_size": (0, -1, 1.5, 2.0**53, 1e300),
    "batch_size": (0, -1, 1.5, 2.0**53, 1e300),
    "precision": (0, 4, 17, 31, 32.5, -32, 128),
    "training": (-1, 2, 0.5),
}


@pytest.mark.parametrize("key", BAD_VALUES)
def test_bad_values_change_nothing(key, probe, status):
    """The configuration keeps what it had: the handle built from it is as it would have been."""
    good = {"input_size": I, "hidden_size": H, "batch_size": B, "precision": 64, "training": 1}
    config = new_config(probe, **good)
    for value in (*BAD_VALUES[key], np.nan, np.inf, -np.inf):
        assert probe.config_set(config, key.encode(), value) == status["EVALUE"], value
    built, lstm = probe.build(config)
    probe.config_free(config)
    other = new_handle(probe, I, H, "float64", batch_size=B, training=1)
    assert built == 0
    for sizes in (probe.reserve_size, probe.forward_work, probe.backward_work):
        assert sizes(lstm, T, B) == sizes(other, T, B)
    assert probe.step(lstm, B, 1, 1, 1) == status["ESTATE"]  # not ESIZE: batch_size is still B
    assert probe.step(lstm, B + 1, 1, 1, 1) == status["ESIZE"]
    probe.free(lstm)
    probe.free(other)


def test_null_for_a_configuration(probe, status):
    config = new_config(probe, input_size=I, hidden_size=H)
    assert probe.config_set(0, b"input_size", I) == status["ENULL"]
    assert probe.config_set(config, None, I) == status["ENULL"]
    assert probe.build_nowhere(config) == status["ENULL"]
    assert probe.build(0, before=12345) == (status["ENULL"], 12345)
    probe.config_free(config)


@pytest.mark.parametrize(
    "values",
    ({}, {"input_size": I}, {"hidden_size": H}, {"input_size": 2**24, "hidden_size": 2**24}),
    ids=str,
)
def test_sizes_missing_or_too_large(values, probe, status):
    config = new_config(probe, **values)
    assert probe.build(config, before=12345) == (status["ESIZE"], 12345)
    probe.config_free(config)


OUT_OF_MEMORY = """
import resource, sys
sys.path[:0] = [{tests!r}, {folder!r}]
import probe
from capi_calls import new_config
config = new_config(probe, input_size=20_000, hidden_size=20_000)
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.RLIM_INFINITY))
assert probe.build(config, before=12345) == (probe.status_codes()["EMEMORY"], 12345)
"""


def test_no_memory(consumer_folder, environment):
    """12.8 GB in a process that may have 2."""
    pytest.importorskip("resource")
    script = OUT_OF_MEMORY.format(tests=str(Path(__file__).parent), folder=str(consumer_folder))
    printed(environment, script)


def test_null_for_weights(call, probe, status):
    """The weights loaded before stay."""
    zeros = np.zeros((4 * H, H), np.float32)
    assert call.forward() == "OK"
    before = call.results("y")["y"]
    for lstm, W_ih, W_hh in ((0, zeros, zeros), (call.lstm, None, zeros), (call.lstm, zeros, None)):
        assert probe.load_weights(lstm, address(W_ih), address(W_hh), 0) == status["ENULL"]
    assert call.forward() == "OK"
    assert np.array_equal(call.arrays["y"], before)


@pytest.mark.parametrize("bad", (0, -1, SMALLEST, LARGEST, 2**60), ids=str)
def test_sizes_of_what_cannot_be(bad, call, probe):
    for size in (probe.reserve_size, probe.forward_work, probe.backward_work):
        assert size(call.lstm, bad, B) == size(call.lstm, T, bad) == size(0, T, B) == -1
        assert size(call.lstm, T, B) > 0


# ---------------------------------------------------------------- one step


@pytest.fixture
def step(call, probe):
    """Return a function: lf_step with changes; a refusal is held to write nothing."""
    good = {"lstm": call.lstm, "B": B, **{k: getattr(call.args, k) for k in ("x", "h0", "c0")}}
    names = call.names

    def run(**changes):
        before = call.block.copy()
        result = names[probe.step(*(good | changes).values())]
        assert result == "OK" or np.array_equal(call.block, before)
        return result

    assert run() == "OK"
    return run


def test_null_for_a_step(step):
    for name in ("lstm", "x", "h0", "c0"):
        assert step(**{name: 0}) == "ENULL", name


def test_rows_of_a_step(step):
    for bad in (0, -1, B + 1, SMALLEST, LARGEST):
        assert step(B=bad) == "ESIZE", bad


def test_a_step_without_weights(step, probe):
    lstm = new_handle(probe, I, H, "float32", batch_size=B)
    assert step(lstm=lstm) == "ESTATE"
    probe.free(lstm)


@pytest.mark.parametrize("one, other", (("h0", "c0"), ("h0", "x"), ("c0", "x")))
def test_a_step_whose_arguments_overlap(one, other, step, call):
    begin, extent = getattr(call.args, other), {"x": B * I * ITEM, "h0": B * H * ITEM}
    extent["c0"] = extent["h0"]
    for where in (begin, begin + extent[other] - ITEM, begin - extent[one] + ITEM):
        assert step(**{one: where}) == "EALIAS", where - begin
    for where in (begin + extent[other], begin - extent[one]):
        assert step(**{one: where}) == "OK", where - begin


# ---------------------------------------------------------------- forward and backward


@pytest.fixture(params=("forward", "backward"))
def run(request, call):
    """Return "forward" or "backward"; all that backward needs is in place."""
    assert call.forward() == "OK"
    return request.param


def test_null(run, call, probe, status):
    needed = ("x", "work", "y") if run == "forward" else ("x", "work", "y", "reserve")
    for name in needed:
        call.assert_refused(run, "ENULL", **{name: 0})
    function = getattr(probe, run)
    assert function(call.lstm, 0) == function(0, 0) == status["ENULL"]
    call.lstm, lstm = 0, call.lstm
    call.assert_refused(run, "ENULL")
    call.lstm = lstm
    assert getattr(call, run)() == "OK"


def test_a_bias_gradient_alone(call):
    assert call.forward() == "OK"
    call.assert_refused("backward", "ENULL", dW_ih=0, dW_hh=0)


def test_sizes(run, call):
    for name in "TB":
        for bad in (0, -1, SMALLEST, LARGEST, 2**60):
            call.assert_refused(run, "ESIZE", **{name: bad})


def test_the_size_of_the_struct(run, call):
    for bad in (0, 1, call.args.size - 1, call.args.size + 8, 2**64 - 1):
        call.assert_refused(run, "EVERSION", size=bad)


def test_too_little_work(run, call, probe):
    needed = getattr(probe, f"{run}_work")(call.lstm, T, B)
    for bad in (0, 1, needed - 1):
        call.assert_refused(run, "EWORK", work_size=bad)
    assert getattr(call, run)(work_size=needed) == "OK"


def test_weights_not_loaded(run, call, probe):
    loaded, call.lstm = call.lstm, new_handle(probe, I, H, "float32", training=1)
    call.assert_refused(run, "ESTATE")
    probe.free(call.lstm)
    call.lstm = loaded


def test_training_not_set(probe):
    call = Call(probe, SHAPE, training=0)
    assert call.forward(reserve=0) == "OK"
    call.assert_refused("backward", "ESTATE")


# Strides (t, b) of a written array of n columns that make its rows meet or leave all memory.
BAD_STRIDES = {
    "rows of a step meet": lambda n: (B * n, n - 1),
    "all rows of a step are one": lambda n: (B * n, 0),
    "steps meet": lambda n: (B * n - 1, n),
    "all steps are one": lambda n: (0, n),
    "the same for both": lambda n: (n, n),
    "batch-first, rows meet": lambda n: (n, T * n - 1),
    "back in time": lambda n: (-B * n, n),
    "back in the batch": lambda n: (B * n, -n),
    "far in time": lambda n: (2**61, n),
    "far in the batch": lambda n: (B * n, 2**61),
    "smallest": lambda n: (SMALLEST, SMALLEST),
    "largest": lambda n: (LARGEST, LARGEST),
}


@pytest.mark.parametrize("strides", BAD_STRIDES)
@pytest.mark.parametrize("run, name, n", (("forward", "y", H), ("backward", "dx", I)))
def test_strides_of_an_output(run, name, n, strides, call):
    assert call.forward() == "OK"
    t, b = BAD_STRIDES[strides](n)
    call.assert_refused(run, "ESIZE", **{f"{name}_t": t, f"{name}_b": b})


@pytest.mark.parametrize("axis", "tb")
@pytest.mark.parametrize(
    "run, name",
    (("forward", "x"), ("backward", "x"), ("backward", "y"), ("backward", "dy")),
)
def test_strides_of_an_input(run, name, axis, call):
    assert call.forward() == "OK"
    for bad in (-1, -H, SMALLEST, LARGEST, 2**61):
        call.assert_refused(run, "ESIZE", **{f"{name}_{axis}": bad})


# ---------------------------------------------------------------- aliasing


def places(call, moved, anchor):
    """Return where `moved` begins if it overlaps `anchor` by one number, and if it just touches."""
    begin = getattr(call.args, anchor)
    end, extent = begin + call.extents[anchor], call.extents[moved]
    return (begin, end - ITEM, begin - extent + ITEM), (end, begin - extent)


def assert_output_may_not_overlap(call, run, output, names, **fixed):
    """Move an output onto, and beside, every other argument (or that onto it, if it is work)."""
    for other in names:
        if other == output:
            continue
        moved, anchor = (other, output) if output == "work" else (output, other)
        overlapping, touching = places(call, moved, anchor)
        for place in overlapping:
            call.assert_refused(run, "EALIAS", **fixed, **{moved: place})
        for place in touching:
            assert getattr(call, run)(**fixed, **{moved: place}) == "OK", (moved, anchor)


@pytest.mark.parametrize("output", FORWARD_OUTPUTS)
def test_outputs_of_training(output, call):
    assert_output_may_not_overlap(call, "forward", output, FORWARD)


@pytest.mark.parametrize("output", BACKWARD_OUTPUTS)
def test_outputs_of_backward(output, call):
    assert call.forward() == "OK"
    assert_output_may_not_overlap(call, "backward", output, BACKWARD)


@pytest.mark.parametrize("output", ("y", "h_n", "c_n", "work"))
def test_outputs_of_inference(output, call):
    """As in training, but the state after may stand exactly where the state before stood."""
    own = {"h_n": "h0", "c_n": "c0"}.get(output)
    names = [name for name in FORWARD if name not in ("reserve", own)]
    assert_output_may_not_overlap(call, "forward", output, names, reserve=0)
    if own:
        (exactly, *partly), touching = places(call, output, own)
        for place in partly:
            call.assert_refused("forward", "EALIAS", reserve=0, **{output: place})
        for place in (exactly, *touching):
            assert call.forward(reserve=0, **{output: place}) == "OK"


def test_no_overlap_is_missed_between_strided_rows(call):
    """An output between the rows of a strided input is refused: the extent is what counts."""
    between = call.args.x + I * ITEM
    call.assert_refused("forward", "EALIAS", x_t=40 * B * I, h_n=between)

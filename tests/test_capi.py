"""The C-level API as another package uses it: tests/consumer, built here, against the oracle."""

import ctypes
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import naive
import numpy as np
import pytest
from agreement import (
    DTYPES,
    FORWARD_BAR,
    GRADIENT_BAR,
    assert_close,
    assert_gradient_close,
    expected,
    forward_error,
    gradient_error,
    lstm_case,
    same_bits,
)
from capi_calls import GRADIENTS, LAYOUTS, OUTPUTS, Arguments, Call, address, new_handle
from fresh_process import printed

SHAPES = ((1, 1, 1, 1), (5, 1, 3, 16), (4, 3, 5, 18), (2, 33, 17, 65))
TRAINING_STEPS, RATE = 3, 0.05


# ---------------------------------------------------------------- tests/consumer/consumer.pyx


def weights_of(case):
    """Return W_ih, W_hh and b of a case."""
    return [case.inputs[name] for name in ("W_ih", "W_hh", "b")]


def run_consumer(function, case, with_y=True):
    """Run `stream` or `infer`; return y (None without) and the last state by name."""
    h, c = case.inputs["h0"].copy(), case.inputs["c0"].copy()
    y = np.full_like(case.upstream["dy"], np.nan) if with_y else None
    function(case.inputs["x"], *weights_of(case), h, c, y)
    return {"y": y, "h_n": h, "c_n": c}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_stream_follows_the_oracle(shape, dtype, consumer):
    case = lstm_case(*shape, dtype)
    ref, _ = expected(case)
    for name, got in run_consumer(consumer.stream, case).items():
        assert_close(got, ref[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_sequence_follows_the_oracle(shape, dtype, consumer):
    """The state is replaced in place, h_n being h0 and c_n being c0, with y and without."""
    case = lstm_case(*shape, dtype)
    ref, _ = expected(case)
    whole = run_consumer(consumer.infer, case)
    for name, got in whole.items():
        assert_close(got, ref[name], dtype)
    last = run_consumer(consumer.infer, case, with_y=False)
    assert same_bits(last["h_n"], whole["h_n"]) and same_bits(last["c_n"], whole["c_n"])


def naive_training(x, target, W_ih, W_hh, b):
    """Return the losses, the weights after and the last gradients of the same training."""
    weights, losses = [naive.double(w) for w in (W_ih, W_hh, b)], []
    for _ in range(TRAINING_STEPS):
        y, _ = naive.lstm_forward(x, *weights)
        losses.append(0.5 * ((y - target) ** 2).sum())
        gradients = naive.lstm_backward(x, *weights, dy=y - target)
        gradients = [gradients[name] for name in ("dW_ih", "dW_hh", "db")]
        weights = [w - RATE * g for w, g in zip(weights, gradients, strict=True)]
    return losses, weights, gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_training_without_the_gil(shape, dtype, consumer):
    """Forward, loss, backward, descent and reloading, three times in one nogil block."""
    case = lstm_case(*shape, dtype)
    x, target = case.inputs["x"], case.upstream["dy"]
    weights = [w.copy() for w in weights_of(case)]
    gradients = [np.full_like(w, np.nan) for w in weights]
    y, dy = np.empty_like(target), np.empty_like(target)
    losses = np.full(TRAINING_STEPS, np.nan)
    consumer.train(x, target, *weights, RATE, y, dy, *gradients, losses)
    ref_losses, ref_weights, ref_gradients = naive_training(x, target, *weights_of(case))
    assert gradient_error(losses, np.array(ref_losses)) <= GRADIENT_BAR[dtype]
    assert ref_losses[-1] < ref_losses[0]
    for got, ref in zip(weights, ref_weights, strict=True):
        assert_close(got, ref, dtype)
    for got, ref in zip(gradients, ref_gradients, strict=True):
        assert_gradient_close(got, ref, dtype)


# ---------------------------------------------------------------- lf_forward and lf_backward


def assert_follows_the_oracle(call):
    """Hold everything in a call's memory against the oracle, after forward and backward."""
    outputs, gradients = expected(call.case)
    dtype = str(call.arrays["x"].dtype)
    for name, ref in outputs.items():
        assert forward_error(call.arrays[name], ref) <= FORWARD_BAR[dtype], name
    for name, ref in gradients.items():
        assert gradient_error(call.arrays[name], ref) <= GRADIENT_BAR[dtype], name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_layout(shape, layout, dtype, probe):
    """Strides are honoured, and nothing but outputs, reserve and work is written."""
    call = Call(probe, shape, dtype, layout)
    written = (*OUTPUTS, *GRADIENTS, "reserve", "work")
    before, block = call.results(*written), call.block.copy()
    assert call.forward() == "OK"
    assert call.backward() == "OK"
    assert_follows_the_oracle(call)
    for name in written:
        call.arrays[name][...] = before[name]
    assert np.array_equal(call.block, block)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inference_and_training_agree(layout, probe):
    call = Call(probe, SHAPES[2], layout=layout)
    assert call.forward() == "OK"
    trained = call.results(*OUTPUTS)
    for array in map(call.arrays.get, OUTPUTS):
        array[...] = np.nan
    assert call.forward(reserve=0) == "OK"
    for name, ref in trained.items():
        assert forward_error(call.arrays[name], ref) <= FORWARD_BAR["float32"], name


@pytest.mark.parametrize("missing", OUTPUTS)
def test_an_output_of_inference_may_be_missing(missing, probe):
    call, other = Call(probe, SHAPES[2]), Call(probe, SHAPES[2])
    assert call.forward(reserve=0) == other.forward(reserve=0, **{missing: 0}) == "OK"
    for name in set(OUTPUTS) - {missing}:
        assert same_bits(other.arrays[name], call.arrays[name]), name
    assert np.isnan(other.arrays[missing]).all()


@pytest.mark.parametrize("missing", (*GRADIENTS, "dW_ih dW_hh db", "dW_ih db", "dW_hh db"))
def test_a_gradient_may_be_missing(missing, probe):
    call, other = Call(probe, SHAPES[2]), Call(probe, SHAPES[2])
    missing = missing.split()
    assert call.forward() == other.forward() == "OK"
    assert call.backward() == other.backward(**dict.fromkeys(missing, 0)) == "OK"
    for name in set(GRADIENTS) - set(missing):
        assert same_bits(other.arrays[name], call.arrays[name]), name
    assert all(np.isnan(other.arrays[name]).all() for name in missing)


@pytest.mark.parametrize("names", ("h0", "c0", "h0 c0", "dy", "dh_n", "dc_n", "dy dh_n dc_n"))
def test_a_missing_input_is_zeros(names, probe):
    call, other = Call(probe, SHAPES[2]), Call(probe, SHAPES[2])
    for name in names.split():
        call.arrays[name].fill(0)
    nothing = dict.fromkeys(names.split(), 0)
    assert call.forward() == call.backward() == "OK"
    assert other.forward(**nothing) == other.backward(**nothing) == "OK"
    for name in (*OUTPUTS, *GRADIENTS):
        assert same_bits(other.arrays[name], call.arrays[name]), name


def test_without_a_bias(probe):
    call, other = Call(probe, SHAPES[2]), Call(probe, SHAPES[2])
    W_ih, W_hh, b = weights_of(call.case)
    assert probe.load_weights(call.lstm, address(W_ih), address(W_hh), address(0 * b)) == 0
    assert probe.load_weights(other.lstm, address(W_ih), address(W_hh), 0) == 0
    assert call.forward() == other.forward() == "OK"
    assert same_bits(other.arrays["y"], call.arrays["y"])


def test_steps_of_fewer_rows_than_the_batch_size(probe):
    call = Call(probe, (1, 5, 3, 18))
    h, c = (call.case.inputs[name].copy() for name in ("h0", "c0"))
    assert probe.step(call.lstm, 2, address(call.arrays["x"]), address(h), address(c)) == 0
    assert call.forward(B=2) == "OK"
    assert same_bits(h[:2], call.arrays["h_n"][:2]) and same_bits(c[:2], call.arrays["c_n"][:2])
    assert same_bits(h[2:], call.case.inputs["h0"][2:])


# ---------------------------------------------------------------- threads


def bits(call):
    """Run a call forward and backward; return every result."""
    assert call.forward() == call.backward() == "OK"
    return call.results(*OUTPUTS, *GRADIENTS)


def assert_calls_agree_with_serial_ones(make):
    """Hold calls made by make(seed), run at once, against the same run one after another."""
    alone = [bits(make(seed)) for seed in range(8)]
    calls = [make(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for got, ref in zip(pool.map(bits, calls), alone, strict=True):
            assert all(same_bits(got[name], ref[name]) for name in ref)


@pytest.mark.parametrize("n", (1, 2))
def test_distinct_handles_in_distinct_threads(n, probe, threads):
    threads(n)
    assert_calls_agree_with_serial_ones(lambda seed: Call(probe, (40, 33, 17, 65), seed=seed))


def test_one_handle_in_distinct_threads(probe, threads):
    threads(2)
    owner = Call(probe, (40, 33, 17, 65))
    assert_calls_agree_with_serial_ones(
        lambda seed: Call(probe, owner.shape, lstm=owner.lstm, seed=seed)
    )


def test_work_for_fewer_threads_than_there_are(probe, threads):
    """Work sized before the number of threads was raised is used as far as it goes."""
    threads(1)
    call = Call(probe, (20, 33, 17, 65))
    alone = bits(call)
    threads(3)
    assert probe.backward_work(call.lstm, 20, 33) > call.args.work_size
    again = bits(call)
    assert all(same_bits(again[name], alone[name]) for name in alone)


# ---------------------------------------------------------------- the rest


def test_the_version_and_the_struct(probe):
    assert probe.abi_version() == 1
    assert probe.args_size() == ctypes.sizeof(Arguments)
    assert Arguments._fields_[0] == ("size", ctypes.c_size_t)


def test_every_status_has_a_text(probe):
    texts = [probe.status_text(number) for number in probe.status_codes().values()]
    assert all(texts) and len(set(texts)) == len(texts)
    assert probe.status_text(-1) == probe.status_text(99) not in texts


def test_freeing_null_is_fine(probe):
    probe.free(0)
    probe.config_free(0)


def test_a_handle_is_freed(probe):
    """Building and freeing 300 handles of 11 MB does not keep 3 GB."""
    resource = pytest.importorskip("resource")
    weights = np.ones((4 * 600, 600), np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        lstm = new_handle(probe, 600, 600, "float32", training=0)
        assert probe.load_weights(lstm, address(weights), address(weights), 0) == 0
        probe.free(lstm)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KB


COUNTER = """
#include <stddef.h>
long allocations;
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { allocations++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { allocations++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { allocations++; return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { allocations++; return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { return !(*p = aligned_alloc(a, n)); }
"""
COUNTED_STEPS = """
import ctypes, sys
sys.path[:0] = [{tests!r}, {folder!r}]
import probe
from capi_calls import Call, address
counter = ctypes.c_long.in_dll(ctypes.CDLL(None), "allocations")
assert counter.value > 1000, "malloc is not counted"
call = Call(probe, (1, 2, 20, 50), {dtype!r})
x, h, c = (address(call.arrays[name]) for name in ("x", "h0", "c0"))
print(*probe.counted_steps(call.lstm, 2, x, h, c, 100_000, ctypes.addressof(counter)))
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the counter stands on glibc's malloc"
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_do_not_allocate(dtype, consumer_folder, tmp_path, environment):
    """Counted by a malloc of our own, in a process of its own."""
    (tmp_path / "counter.c").write_text(COUNTER)
    compiler = ["gcc", "-O1", "-fno-builtin", "-shared", "-fPIC"]
    subprocess.check_call([*compiler, "-o", "counter.so", "counter.c"], cwd=tmp_path)
    script = COUNTED_STEPS.format(
        tests=str(Path(__file__).parent), folder=str(consumer_folder), dtype=dtype
    )
    counting = environment | {"LD_PRELOAD": str(tmp_path / "counter.so")}
    assert printed(counting, script).split() == ["0", "0"]  # status, allocations

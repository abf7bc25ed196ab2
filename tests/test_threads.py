"""Any number of threads gives the same bits: in one call, in forks, from many callers."""

import ctypes
import multiprocessing
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from agreement import DTYPES, THREADS, all_arrays, all_same_bits, computed, lstm_case, same_bits
from fresh_process import printed, python

from lstmfast import ops

FORK_TIMEOUT = 60  # seconds; a fork that hangs must fail, not stall the run
# (T, B, I, H), by how native/schedule.c shares them: on one thread; by rows; by panels with a wait
# after every step (few rows, much work in a step; without waits where there is one step); one
# thread takes the steps and others project ahead, for many chunks of steps, for two, within one.
ALONE = ((5, 7, 33, 16), (20, 1, 25, 16))
BY_ROWS = ((5, 33, 17, 100), (2, 64, 128, 256), (100, 13, 3, 31))
BY_PANELS = ((3, 3, 200, 520), (2, 1, 512, 1000), (2, 7, 260, 390), (1, 1, 512, 700))
AHEAD = ((300, 1, 300, 70), (40, 3, 400, 33), (20, 1, 900, 65))
SHAPES = ALONE + BY_ROWS + BY_PANELS + AHEAD


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits_do_not_depend_on_threads(shape, dtype, threads):
    case = lstm_case(*shape, dtype)
    threads(1)
    alone = all_arrays(case)
    for n in THREADS[1:]:
        threads(n)
        assert all_same_bits(all_arrays(case), alone), f"{n} threads"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_its_neighbours(dtype):
    """Sharding the batch by hand changes no bit of the forward pass, nor of dx."""
    case = lstm_case(20, 33, 17, 65, dtype)
    whole, gradients = computed(case)
    for rows in (slice(0, 1), slice(5, 11), slice(20, 33)):
        part = lstm_case(20, 33, 17, 65, dtype)
        for group, batch_axis in ((part.inputs, ("x",)), (part.upstream, ("dy",))):
            for name in group.keys() - {"W_ih", "W_hh", "b"}:
                group[name] = group[name][:, rows] if name in batch_axis else group[name][rows]
        part.upstream["dy"] = np.ascontiguousarray(part.upstream["dy"])
        shard, shard_gradients = computed(part)
        assert same_bits(shard["y"], whole["y"][:, rows])
        assert same_bits(shard["c_n"], whole["c_n"][rows])
        assert same_bits(shard_gradients["dx"], gradients["dx"][:, rows])


def test_repeated_calls_give_the_same_bits(threads):
    threads(2)
    case = lstm_case(20, 33, 17, 65)
    first = all_arrays(case)
    assert all(all_same_bits(all_arrays(case), first) for _ in range(20))


def test_the_number_of_threads_is_kept(threads):
    for n in THREADS:
        threads(n)
        assert ops.get_num_threads() == n


@pytest.mark.parametrize("bad", (0, -1, 1.5, "2", None))
def test_a_bad_number_of_threads(bad, threads):
    with pytest.raises(ValueError, match=r"expected .+, got "):
        threads(bad)


# ---------------------------------------------------------------- the caller's flags of floats

FPE = """
import ctypes
import numpy as np
from lstmfast import ops

libm = ctypes.CDLL(None)
ops.set_num_threads({threads})
x, weights = np.full((5, 64, 65), np.inf, "f4"), [np.ones(s, "f4") for s in ((520, 65), (520, 130))]
libm.feenableexcept(0x1 | 0x4 | 0x8)  # invalid, by zero, overflow
ops.lstm_forward(x, *weights)
print(libm.fegetexcept())
"""
X86 = platform.machine() == "x86_64" and sys.platform == "linux"
ROUNDING = (0x400, 0x800, 0xC00)  # down, up, towards zero


@pytest.fixture
def rounded():
    """Return a function: what a call leaves when its caller's numbers are rounded another way."""
    libm = ctypes.CDLL(None)

    def run(mode, call):
        assert libm.fesetround(mode) == 0
        try:
            found = call()
            assert libm.fegetround() == mode
        finally:
            libm.fesetround(0)
        return found

    return run


def updated(w, g):
    w, m, v = w.copy(), np.zeros_like(w), np.zeros_like(w)
    ops.adam_update(w, g, m, v, step_size=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
    return [w, m, v]


@pytest.mark.skipif(not X86, reason="modes are those of x86-64")
@pytest.mark.parametrize("mode", ROUNDING)
@pytest.mark.parametrize("shape", (ALONE[0], BY_ROWS[0], BY_PANELS[0], AHEAD[0]), ids=str)
def test_bits_do_not_depend_on_the_callers_rounding(shape, mode, threads, rounded):
    """A helper has other flags than the caller: those of the thread that started it."""
    case = lstm_case(*shape)
    threads(1)
    alone = all_arrays(case)
    for n in (1, 2):
        threads(n)
        assert all_same_bits(rounded(mode, lambda: all_arrays(case)), alone), f"{n} threads"


@pytest.mark.skipif(not X86, reason="modes are those of x86-64")
@pytest.mark.parametrize("n", (1, 2))
def test_an_update_does_not_depend_on_the_callers_rounding(n, threads, rounded):
    threads(n)
    w, g = np.random.default_rng(0).standard_normal((2, 100_000)).astype("f4")
    assert all_same_bits(rounded(0x800, lambda: updated(w, g)), updated(w, g))


@pytest.mark.skipif(not X86, reason="traps are those of x86-64")
@pytest.mark.parametrize("n", (1, 2))
def test_traps_of_the_caller_are_not_ours(n, environment):
    """Whose process dies of the next NaN would have died of ours; the traps stay."""
    result = python(environment, "-c", FPE.format(threads=n), timeout=60)
    assert result.stdout.split() == ["13"], (result.returncode, result.stderr)


# ---------------------------------------------------------------- forks


def check_in_child(case, alone):
    """Exit with status 0 if this process computes the same bits with 1 and with 2 threads."""
    for n in (2, 1):
        ops.set_num_threads(n)
        if not all_same_bits(all_arrays(case), alone):
            raise SystemExit(3)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_compute_the_same(threads):
    """The parent's threads do not exist in the child: a pool that waits for them hangs."""
    threads(2)
    case = lstm_case(5, 64, 65, 130)
    alone = all_arrays(case)
    for _ in range(3):
        child = multiprocessing.get_context("fork").Process(
            target=check_in_child, args=(case, alone)
        )
        child.start()
        child.join(FORK_TIMEOUT)
        hung = child.is_alive()
        if hung:
            child.kill()
            child.join()
        assert not hung, "the child hangs"
        assert child.exitcode == 0
        assert all_same_bits(all_arrays(case), alone), "the parent goes on"


# ---------------------------------------------------------------- many callers


def test_callers_in_several_threads(threads):
    threads(2)
    cases = [lstm_case(*shape) for shape in SHAPES]
    alone = [all_arrays(case) for case in cases]

    def work(seed):
        order = np.random.default_rng(seed).permutation(np.tile(np.arange(len(cases)), 3))
        return all(all_same_bits(all_arrays(cases[k]), alone[k]) for k in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_the_number_of_threads_may_change_under_a_caller(threads):
    case = lstm_case(20, 33, 17, 65)
    alone = all_arrays(case)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(all_arrays, case) for _ in range(40)]
        for n in THREADS * 10:
            threads(n)
        assert all(all_same_bits(job.result(), alone) for job in jobs)


def test_streams_in_several_threads():
    case = lstm_case(50, 3, 17, 65)

    def run(_):
        stream = ops.LSTMStream(*(case.inputs[name] for name in ("W_ih", "W_hh", "b")), 3)
        return [stream.step(x) for x in case.inputs["x"]]

    alone = run(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(all_same_bits(result, alone) for result in pool.map(run, range(8)))


# ---------------------------------------------------------------- fewer threads than asked for

SHORT_OF_MEMORY = """
import resource
import numpy as np
from lstmfast import ops

rng = np.random.default_rng(0)
weights = [rng.uniform(-0.05, 0.05, s).astype("f4") for s in ((2080, 200), (2080, 520), (2080,))]
x = rng.standard_normal((3, 3, 200)).astype("f4")
ops.set_num_threads(1)
alone, *_ = ops.lstm_forward(x, *weights)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (40 << 20)  # room for the stacks of a few threads
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
ops.set_num_threads(30)
y, *_ = ops.lstm_forward(x, *weights)
status = open("/proc/self/status").read()
print(int(status.split("Threads:")[1].split()[0]), np.array_equal(y, alone))
"""


STEPS = """
import os, sys
import numpy as np
import lstmfast

def after_steps(H):
    weights = [np.zeros(shape, "f4") for shape in ((4 * H, H), (4 * H, H), (4 * H,))]
    stream, x = lstmfast.LSTMStream(*weights), np.zeros((1, H), "f4")
    for _ in range(2000):
        stream.step(x)
    return len(os.listdir("/proc/self/task"))

lstmfast.set_num_threads(2)
begun = len(os.listdir("/proc/self/task"))
print(after_steps(64) - begun, after_steps(256) - begun)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_who_takes_steps_of_one_row(environment):
    """Their caller alone where that is little work; with a helper where it is more."""
    assert printed(environment, STEPS).split() == ["0", "1"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_fewer_threads_granted_than_asked(environment):
    """Every worker waits for the others after each step: a wait for absent ones would hang."""
    environment = environment | {"OPENBLAS_NUM_THREADS": "1"}
    result = python(environment, "-c", SHORT_OF_MEMORY, timeout=5 * FORK_TIMEOUT)
    granted, same = result.stdout.split()
    assert 2 <= int(granted) < 30, result.stderr
    assert same == "True"

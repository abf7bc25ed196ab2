"""A signal ends a long call of the main thread within some tenths of a second, and spoils nothing.

The handler of a timer raises, as Ctrl-C does. Every call that it ends here would take seconds.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from agreement import lstm_case, same_bits
from fresh_process import printed

from lstmfast import Norm, ops

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
DELAY = 0.15  # s until the signal comes
BAR = 1.0  # s from then on; measured, the machine busy with other work: 0.3 at most


class Interrupted(BaseException):
    """What the handler raises: no Exception, as KeyboardInterrupt is none."""


def raise_interrupted(number, frame):
    raise Interrupted


@pytest.fixture
def interrupted():
    """Return a function that runs `call` with a signal on the way, which must end it soon."""

    def run(call):
        due = time.monotonic() + DELAY
        try:
            with pytest.raises(Interrupted):
                signal.setitimer(signal.ITIMER_REAL, DELAY)
                call()
        finally:
            late = time.monotonic() - due
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert late < BAR

    before = signal.signal(signal.SIGALRM, raise_interrupted)
    yield run
    signal.signal(signal.SIGALRM, before)


def numbers(*shape):
    """Small numbers, quickly drawn."""
    few = np.random.default_rng(len(shape)).uniform(-0.1, 0.1, 9973).astype("float32")
    return np.resize(few, shape)


def forward(T, B, I, H, **options):
    x, weights = numbers(T, B, I), (numbers(4 * H, I), numbers(4 * H, H))
    return lambda: ops.lstm_forward(x, *weights, return_sequences=False, **options)


def norm(H):
    return Norm(*(np.ones(n, "float32") for n in (4 * H, 4 * H, H, H)))


def backward(T, B, I, H):
    """Of a call that was never made: activations and outputs of zeros."""
    x, weights = numbers(T, B, I), (numbers(4 * H, I), numbers(4 * H, H))
    _, _, cache = ops.lstm_forward(x[:1], *weights, training=True)
    reserve = np.zeros(len(memoryview(cache.layer.new_reserve(T, B))), np.uint8)
    cache = ops.restore_cache(reserve, np.zeros((T, B, H), "float32"), x, *weights)
    return lambda: ops.lstm_backward(cache, dh_n=numbers(B, H))


def recurrent(T, B, I, H, **options):
    x, weights = numbers(T, B, I), (numbers(H, I), numbers(H, H) / H)
    return lambda: ops.rnn_forward(x, *weights, **options)


def dense(M, K, N):
    x, W = numbers(M, K), numbers(K, N)
    return lambda: ops.dense_forward(x, W)


def dense_back(M, K, N):
    x, W, dy = numbers(M, K), numbers(K, N), numbers(M, N)
    return lambda: ops.dense_backward(x, W, dy)


def recurrent_back(T, B, I, H):
    *_, cache = recurrent(T, B, I, H, training=True)()
    return lambda: ops.rnn_backward(cache, dh_n=numbers(B, H))


# By how native/schedule.c shares them; steps that are long alone; and many short runs of kernels.
LONG = {
    "by rows": lambda: forward(1500, 64, 256, 512),
    "one row": lambda: forward(40_000, 1, 64, 512),
    "by panels": lambda: forward(3000, 2, 1024, 1024),
    "ahead": lambda: forward(100_000, 1, 256, 192),
    "long steps": lambda: forward(20, 8000, 256, 512),
    "row cells": lambda: forward(10, 10_000, 256, 512, norm=norm(512)),
    "segments": lambda: forward(400_000, 1, 16, 128, recompute=1, training=True),
    "lengths": lambda: forward(1500, 64, 256, 512, lengths=1437 + np.arange(64)),
    "backward": lambda: backward(600, 16, 64, 1024),
    "recurrent": lambda: recurrent(600_000, 1, 64, 192),
    "recurrent rows": lambda: recurrent(10, 20_000, 64, 1024),
    "recurrent, backward": lambda: recurrent_back(150_000, 1, 16, 192),
    "dense": lambda: dense(8000, 4000, 6000),
    "dense, backward": lambda: dense_back(40_000, 600, 3000),
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_call_ends_soon(name, interrupted, threads):
    threads(2)
    interrupted(LONG[name]())


def test_ctrl_c(threads):
    """The signal of Ctrl-C, as Python handles it."""
    threads(2)
    call, before = LONG["one row"](), signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(DELAY, os.kill, (os.getpid(), signal.SIGINT))
    begun = time.monotonic()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < DELAY + BAR


# ---------------------------------------------------------------- nothing is spoilt


@pytest.mark.parametrize("run", ("forward", "step"))
def test_the_state_of_a_stream_is_as_it_was(run, interrupted, threads):
    threads(2)
    B, I, H = (64, 256, 512) if run == "forward" else (2_000, 2048, 1024)
    weights = numbers(4 * H, I), numbers(4 * H, H)
    x = numbers(1500, B, I) if run == "forward" else numbers(B, I)
    stream = ops.LSTMStream(*weights, batch_size=B)
    stream.set_state(numbers(B, H), numbers(B, H))
    before = stream.state
    many = x if run == "forward" else [x] * 100

    def steps():
        for each in many:
            stream.step(each)
            kept.append(stream.state)

    kept = [before]
    interrupted((lambda: stream.forward(x)) if run == "forward" else steps)
    if run == "step":
        before = kept[-1]
        if not same_bits(stream.state[0], before[0]):  # the signal came between two steps
            whole = ops.LSTMStream(*weights, batch_size=B)
            whole.set_state(*before)
            whole.step(x)
            before = whole.state
    assert all(map(same_bits, stream.state, before))


def test_what_is_called_next_is_right(interrupted, threads):
    """The team of threads, the pool of memory, packed weights; a cache is used up."""
    threads(2)
    case = lstm_case(20, 33, 17, 65)
    quiet = ops.lstm_forward(**case.inputs)[0]
    prepared = ops.PreparedLSTM(numbers(2048, 256), numbers(2048, 512))
    x, first = numbers(1500, 64, 256), None
    for _ in range(2):
        interrupted(lambda: prepared.forward(x))
        found = prepared.forward(x[:3])[0]
        assert first is None or same_bits(found, first)
        first = found
        assert same_bits(ops.lstm_forward(**case.inputs)[0], quiet)
    call = backward(600, 16, 64, 1024)
    interrupted(call)
    with pytest.raises(ValueError, match="already used"):
        call()


# Steps, rows of steps, rows and columns of products are cut here, on the first thread alone.
CUT = {
    "steps": lambda: ops.lstm_forward(numbers(60, 64, 128), numbers(1024, 128), numbers(1024, 256)),
    "rows": lambda: ops.lstm_forward(numbers(2, 6000, 128), numbers(512, 128), numbers(512, 128)),
    "recurrent": lambda: recurrent(300, 64, 128, 256, mask=numbers(300, 64) < 0.05)(),
    "dense": lambda: (dense(4000, 1000, 1000)(),),
    "dense, backward": lambda: dense_back(20_000, 200, 700)(),
}


@pytest.mark.parametrize("name", CUT)
def test_pieces_leave_the_same_bits(name, threads):
    """Another thread's call is not cut."""
    threads(2)
    call = CUT[name]
    cut = call()
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(call).result()
    found = [a for pair in zip(cut, whole, strict=True) for a in [pair] if pair[0] is not None]
    assert found
    for a, b in found:
        assert all(map(same_bits, a, b)) if isinstance(a, tuple) else same_bits(a, b)


def test_both_passes_in_pieces(threads):
    threads(2)
    x, weights = numbers(6, 2000, 64), (numbers(1024, 64), numbers(1024, 256))

    def call():
        y, _, cache = ops.lstm_forward(x, *weights, training=True)
        return [y, *(a for a in ops.lstm_backward(cache, dy=y) if a is not None)]

    cut = call()
    with ThreadPoolExecutor(1) as pool:
        assert all(map(same_bits, cut, pool.submit(call).result()))


# ---------------------------------------------------------------- handlers, and who is not asked


@pytest.fixture
def handled():
    """Return a function: have `handler` called some times a second, and how often it was."""
    before, calls = signal.getsignal(signal.SIGALRM), []

    def start(handler):
        signal.signal(signal.SIGALRM, lambda *_: (calls.append(time.monotonic()), handler()))
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.1)
        return calls

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_handler_that_returns(handled, threads):
    """It runs while the call does, may call the same again, and finds denormal numbers."""
    threads(2)
    case, found = lstm_case(20, 33, 17, 65), []
    quiet = ops.lstm_forward(**case.inputs)[0]

    def handler():
        found.append(same_bits(ops.lstm_forward(**case.inputs)[0], quiet))
        found.append(float(np.float64(5e-324) * np.float64(1)) != 0)

    call = forward(150, 64, 256, 512)
    wanted, *_ = (state[0] for state in [call()[1]])
    calls = handled(handler)
    for _ in range(20):
        begun = time.monotonic()
        _, (h, _), _ = call()
        inside = [at for at in calls if begun < at < time.monotonic()]
        assert same_bits(h, wanted)
        if inside:
            break
    assert inside and all(found)


def test_other_threads_go_on(interrupted, threads):
    threads(2)
    call = forward(300, 64, 256, 512)
    wanted = call()[1]
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(lambda: [call()[1] for _ in range(2)][-1])
        interrupted(lambda: time.sleep(5))
        assert all(map(same_bits, job.result(), wanted))


NATIVE = Path(__file__).parent.parent / "native"
SOURCES = "affinity dispatch helpers look openmp pool processors ranges schedule team threads watch"


@pytest.fixture
def shares(tmp_path):
    """Return a function that runs a program of the C files that share work: what numbers it prints.

    Signals are looked at always.
    """

    def run(name, *arguments):
        subprocess.check_call([sys.executable, NATIVE / "aot.py", tmp_path, "header"])
        command = f"gcc -O2 -std=c11 -pthread -DLF_EVERY=0 -I{NATIVE} -I{tmp_path}".split()
        files = [Path(__file__).parent / f"{name}.c", *(NATIVE / f"{n}.c" for n in SOURCES.split())]
        subprocess.check_call([*command, *files, "-lm", "-o", tmp_path / name])
        command = [tmp_path / name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout, "killed by its alarm: it hung")
        return [int(word) for word in done.stdout.split() if word.isdigit()]

    return run


@pytest.mark.parametrize("way", ("forward", "backward"))
def test_a_stop_is_seen_by_all_shares_or_none(way, shares):
    """Wherever it is seen first: a share that left the others waiting would hang."""
    ended, places = shares("stopped_shares", way)
    assert ended > 500 and places > 30


def test_a_fork_leaves_no_share_waiting(shares):
    """Wherever the handler forks: the child's next calls wait for each of their shares."""
    assert shares("forked_shares")[0] > 30


# ---------------------------------------------------------------- the team's threads, and forks

BLOCKED = """
import os, signal, threading, time
import numpy as np
from lstmfast import ops

ops.set_num_threads(2)
x, weights = np.ones((20, 64, 128), "f4"), [np.ones(s, "f4") for s in ((512, 128), (512, 128))]
ops.lstm_forward(x, *weights)
tasks = len(os.listdir("/proc/self/task"))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.1)
print(tasks, signal.sigtimedwait({signal.SIGUSR1}, 10).si_signo == signal.SIGUSR1)
"""


def test_the_teams_threads_take_no_signals(environment):
    """One that all of the program's threads block waits for them; it does not end the process."""
    told = printed(environment | {"OPENBLAS_NUM_THREADS": "1"}, BLOCKED, timeout=60)
    tasks, waited = told.split()  # (a sanitizer has threads of its own)
    assert int(tasks) >= 2 and waited == "True"


FORKS = {
    "rows": lambda: forward(150, 64, 256, 512),
    "panels": lambda: forward(400, 2, 1024, 1024),
    "ahead": lambda: forward(20_000, 1, 256, 192),
}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", FORKS)
def test_a_handler_that_forks(name, threads):
    """A child that returns into the call has right bits or an error, and the next call is right."""
    threads(2)
    call, children, ended = FORKS[name](), [], []
    wanted = call()[1]
    before = signal.signal(signal.SIGALRM, lambda *_: children.append(os.fork()))
    try:
        while len(children) < 3:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            found = fails = None
            try:
                found = call()[1]
            except RuntimeError as error:
                fails = error
            if children and children[-1] == 0:
                signal.alarm(30)  # ends a child that hangs
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                again = all(map(same_bits, call()[1], wanted))
                right = "fork" in str(fails) or all(map(same_bits, found, wanted))
                os._exit(0 if again and right else 1)
            assert fails is None and all(map(same_bits, found, wanted))
            ended += [os.waitpid(child, 0)[1] for child in children[len(ended) :]]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ended == [0] * len(children)

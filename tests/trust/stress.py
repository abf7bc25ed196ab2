"""Everything at once, under a watchdog: threads, forks, signals, numbers of threads, PyTorch.

    python tests/trust/stress.py --seconds 60 [--seed 0] [--no-torch] [--no-forks] [--timeout 60]

Python threads run layers, streams, prepared layers, products and recurrent layers whose results are
known; some fork, from whatever is going on, and the child computes and ends. The main thread's
calls are interrupted by a timer's signal. Every result is held against the bits of a quiet call.
If a thread or a child does not get on for `timeout` seconds, all stacks are written and the exit
status is 1.
"""

import argparse
import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from agreement import all_arrays, lstm_case, same_bits

from lstmfast import ops

# (T, B, I, H): alone, by rows, by panels, ahead (tests/test_threads.py), and a longer one.
SHAPES = ((5, 7, 33, 16), (5, 33, 17, 100), (2, 1, 512, 1000), (40, 3, 400, 33), (30, 64, 64, 256))


class Interrupted(BaseException):
    """What the handler of the timer's signal raises."""


class Failed(Exception):
    """A wrong result, or a child that ended badly."""


# ---------------------------------------------------------------- what is run


def stream(case):
    weights = [case.inputs[name] for name in ("W_ih", "W_hh", "b")]
    x = case.inputs["x"]
    one = ops.LSTMStream(*weights, x.shape[1])
    return [one.step(x[0]), one.forward(x), *one.state]


def prepared(case):
    given = dict(case.inputs)
    weights = [given.pop(name) for name in ("W_ih", "W_hh", "b")]
    y, state = ops.PreparedLSTM(*weights).forward(**given)
    return [y, *state]


def dense(case):
    x, W = case.inputs["x"], case.inputs["W_hh"]
    rows = x.reshape(-1, x.shape[2])
    y = ops.dense_forward(np.ascontiguousarray(W.T), W)
    return [y, *ops.dense_backward(rows, rows.T.copy(), ops.dense_forward(rows, rows.T.copy()))]


def recurrent(case):
    H = case.inputs["W_hh"].shape[1]
    y, h, cache = ops.rnn_forward(
        case.inputs["x"], case.inputs["W_ih"][:H], case.inputs["W_hh"][:H], training=True
    )
    return [y, h, *(a for a in ops.rnn_backward(cache, y) if a is not None)]


JOBS = (all_arrays, stream, prepared, dense, recurrent)


class Known:
    """Jobs on cases, and their results as a quiet process has them."""

    def __init__(self):
        self.cases = [lstm_case(*shape) for shape in SHAPES]
        self.wanted = {(j, k): job(case) for j, job in enumerate(JOBS)
                       for k, case in enumerate(self.cases)}  # fmt: skip
        self.torch = None

    def with_torch(self):
        import torch

        import lstmfast.torch

        torch.manual_seed(0)
        self.torch, x = torch, torch.randn(20, 8, 32)
        layer = lstmfast.torch.LSTM(32, 64)

        def job():
            layer.zero_grad()
            y, _ = layer(x)
            (gradient,) = torch.autograd.grad(y.square().sum(), layer.weight_hh_l0)
            return [y.detach().numpy(), gradient.numpy()]

        self.torch_job, self.torch_wanted = job, job()

    def check(self, rng):
        if self.torch is not None and rng.integers(6) == 0:
            found, wanted = self.torch_job(), self.torch_wanted
        else:
            j, k = int(rng.integers(len(JOBS))), int(rng.integers(len(self.cases)))
            found, wanted = JOBS[j](self.cases[k]), self.wanted[j, k]
        if not all(map(same_bits, found, wanted)):
            raise Failed(f"other bits in {threading.current_thread().name}")


# ---------------------------------------------------------------- who runs it


class Stress:
    def __init__(self, known, seconds, seed, timeout, may_fork=True):
        self.known, self.seed, self.timeout, self.may_fork = known, seed, timeout, may_fork
        self.end = time.monotonic() + seconds
        self.counts, self.faults = {}, []
        self.interrupts = self.forks = 0

    def go_on(self):
        return time.monotonic() < self.end and not self.faults

    def worker(self, name, act):
        rng = np.random.default_rng([self.seed, len(name), *name.encode()])
        self.counts[name] = 0
        try:
            while self.go_on():
                act(rng)
                self.counts[name] += 1
        except Exception as error:
            self.faults.append(f"{name}: {type(error).__name__}: {error}")
        del self.counts[name]

    def change_threads(self, rng):
        ops.set_num_threads(int(rng.integers(1, 6)))
        time.sleep(0.01)

    def fork(self, rng):
        """A child computes with threads of its own; an alarm ends one that hangs."""
        time.sleep(0.02)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(self.timeout)
                self.known.torch = None  # OpenMP's threads are the parent's
                for _ in range(3):
                    self.known.check(rng)
                status = 0
            finally:
                os._exit(status)
        self.forks += 1
        _, status = os.waitpid(child, 0)
        if status:
            raise Failed(f"a child ended with {status:#x}: {'hung' if status & 127 else 'wrong'}")

    def interrupted(self, rng):
        """A call of the main thread, with a signal at any time; then one that must be right."""
        signal.setitimer(signal.ITIMER_REAL, float(rng.uniform(0.001, 0.05)))
        try:
            self.known.check(rng)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            self.interrupts += 1
        self.known.check(rng)

    def watch(self):
        """Put the dump of all stacks off for as long as everybody gets on."""
        before = {}
        while threading.main_thread().is_alive():
            now = dict(self.counts)
            if not now or all(before.get(name) != count for name, count in now.items()):
                faulthandler.dump_traceback_later(self.timeout, exit=True)
                before = now
            time.sleep(0.5)

    def run(self):
        acts = {f"calls {k}": self.known.check for k in range(3)}
        acts["threads"] = self.change_threads
        acts |= {f"forks {k}": self.fork for k in range(2 * self.may_fork)}
        threads = [threading.Thread(target=self.worker, args=of, name=of[0]) for of in acts.items()]
        threading.Thread(target=self.watch, daemon=True).start()
        for thread in threads:
            thread.start()
        totals = 0
        self.counts["main"] = 0
        rng = np.random.default_rng(self.seed)
        while self.go_on():
            try:
                (self.fork if rng.integers(20) == 0 and self.may_fork else self.interrupted)(rng)
            except Interrupted:
                self.interrupts += 1
            except Failed as error:
                self.faults.append(f"main: {error}")
            self.counts["main"] += 1
            totals += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        del self.counts["main"]
        for thread in threads:
            thread.join()
        faulthandler.cancel_dump_traceback_later()
        return totals


def interrupt(number, frame):
    raise Interrupted


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=int, default=60)
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--no-forks", action="store_true")
    given = parser.parse_args()
    faulthandler.enable()
    ops.set_num_threads(2)
    known = Known()
    if not given.no_torch:
        known.with_torch()
    signal.signal(signal.SIGALRM, interrupt)
    stress = Stress(known, given.seconds, given.seed, given.timeout, not given.no_forks)
    calls = stress.run()
    print(*stress.faults, sep="\n", end="\n" if stress.faults else "")
    print(f"stress | {given.seconds:g} s, {calls} calls of the main thread, {stress.interrupts} "
          f"interrupts, {stress.forks} forks | faults: {len(stress.faults)}")  # fmt: skip
    return 1 if stress.faults else 0


if __name__ == "__main__":
    sys.exit(main())

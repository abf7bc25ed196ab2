"""Ctrl-C at random moments of fit, train_on_batch and save: each step is whole, each file loads.

    python tests/trust/interrupts.py --count 200 --seed 0

A model is trained in this process while a timer sends SIGINT. What it is afterwards is held against
one that took so many steps undisturbed: weights, slots, states of layers, generator, bit by bit.
"""

import argparse
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import lstmfast
from lstmfast import LSTM, SGD, Adam, Dense, Model, SimpleRNN

X = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("f4")
Y = np.random.default_rng(1).normal(size=(8, 2)).astype("f4")
MOST = 400  # steps that are looked through for the one that was reached


def plain():
    return Model([LSTM(8, input_shape=(None, 3)), Dense(2)], seed=1), Adam(0.01)


def noisy():
    lstm = LSTM(8, input_shape=(None, 3), dropout=0.3, stateful=True)
    return Model([lstm, Dense(2)], seed=2), SGD(0.01, momentum=0.9, clipnorm=1.0)


def constrained():
    rules = {"kernel_constraint": "max_norm", "recurrent_constraint": "unit_norm"}
    rnn = SimpleRNN(8, input_shape=(None, 3), stateful=True, **rules, kernel_regularizer="l2")
    return Model([rnn, Dense(2, bias_constraint="non_neg")], seed=3), Adam(
        0.01, global_clipnorm=1.0
    )


def large():
    layers = [LSTM(48, input_shape=(None, 3), return_sequences=True), LSTM(32), Dense(2)]
    return Model(layers, seed=4), SGD(0.01)


KINDS = (plain, noisy, constrained, large)


def compiled(kind):
    model, optimizer = kind()
    model.compile(optimizer, "mse")
    return model


def state_of(model):
    """Return all that a step changes, as bytes."""
    slots = {name: [a.tobytes() for a in kept] for name, kept in model.optimizer.slots.items()}
    states = [pickle.dumps(getattr(layer, "state", None)) for layer in model.layers]
    return pickle.dumps(
        ([w.tobytes() for w in model.params], slots, states, model.rng.bit_generator.state)
    )


class Undisturbed:
    """The states after so many steps, of one model that nothing disturbs."""

    def __init__(self, kind):
        self.model = compiled(kind)
        self.states = [state_of(self.model)]

    def after(self, steps):
        while len(self.states) <= steps:
            self.model.train_on_batch(X, Y)
            self.states.append(state_of(self.model))
        return self.states[steps]


def interrupted(call, delay, twice):
    """Run the call with a SIGINT (or two) after `delay` seconds; was it interrupted?"""
    stop = threading.Event()

    def send():
        if not stop.wait(delay):
            os.kill(os.getpid(), signal.SIGINT)
            if twice:
                os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    try:
        sender.start()
        call()
        stop.set()
        sender.join()
        time.sleep(0)  # a late signal comes here
    except KeyboardInterrupt:
        return True
    finally:
        joined(sender, stop)
    return False


def joined(sender, stop):
    while sender.is_alive():  # whatever still comes
        try:
            stop.set()
            sender.join()
        except KeyboardInterrupt:
            pass


def train(model, how):
    """Take steps until somebody stops it."""
    for _ in range(MOST):
        if how == "fit":
            model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
        else:
            model.train_on_batch(X, Y)


def fault_in_training(kind, undisturbed, draw, path):
    """Return what is wrong after an interrupt, or None; the step that was not taken is taken."""
    model = compiled(kind)
    for _ in range(draw.randrange(3)):
        model.train_on_batch(X, Y)
    how = draw.choice(["fit", "train_on_batch"])
    interrupted(lambda: train(model, how), draw.uniform(0, 0.02), draw.random() < 0.25)
    steps = model.optimizer.iterations
    if state_of(model) != undisturbed.after(steps):
        return f"{kind.__name__}: no whole step after {steps}"
    model.save(path)
    try:
        again = lstmfast.load(path)
    except ValueError as error:
        return f"{kind.__name__}: what was saved does not load: {error}"
    if any(a.tobytes() != b.tobytes() for a, b in zip(again.params, model.params, strict=True)):
        return f"{kind.__name__}: other weights in the file"
    model.train_on_batch(X, Y)
    if state_of(model) != undisturbed.after(steps + 1):
        return f"{kind.__name__}: another step after the interrupt"
    return None


def fault_in_saving(kind, undisturbed, draw, path):
    """Return what is wrong with the file of a save that was interrupted, or None."""
    model = compiled(kind)
    model.train_on_batch(X, Y)
    model.save(path)
    model.train_on_batch(X, Y)

    def save():
        for _ in range(50):
            model.save(path)

    interrupted(save, draw.uniform(0, 0.01), False)
    try:
        again = lstmfast.load(path)
    except ValueError as error:
        return f"{kind.__name__}: what was saved does not load: {error}"
    if again.optimizer.iterations not in (1, 2):
        return f"{kind.__name__}: iterations {again.optimizer.iterations}"
    return None


def faults(count, seed):
    """Return a line for each fault of `count` interrupts."""
    draw, undisturbed, found = random.Random(seed), {kind: Undisturbed(kind) for kind in KINDS}, []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            kind = KINDS[index % len(KINDS)]
            check = fault_in_saving if index % 5 == 4 else fault_in_training
            fault = check(kind, undisturbed[kind], draw, Path(folder) / "model.lstm")
            if fault:
                found.append(f"{index}: {fault}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which no job in a background has
    found = faults(arguments.count, arguments.seed)
    print(*found, sep="\n", end="\n" if found else "")
    print(f"interrupts | SIGINT in fit, train_on_batch and save, {arguments.count} times, "
          f"seed {arguments.seed} | faults: {len(found)}")  # fmt: skip
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

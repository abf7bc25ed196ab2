"""kill -9 at random moments of a fit: it is taken up, and ends with the bits of one left alone.

    python tests/trust/resumes.py --count 50 --seed 0

A child trains with a backup every three batches, until it is killed at a moment drawn from the
seed: while it computes, writes a backup, a checkpoint or a line of a table, or removes the backup
at the end. What backups there are must load as models. Then the same is started again, perhaps to
be killed again, and when it has come to its end all that it leaves is held against a run that
nobody disturbed: weights, the optimizer's state, random numbers, history, what callbacks decided,
and files.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import lstmfast
from lstmfast import LSTM, SGD, Adam, Dense, Model, SimpleRNN, callbacks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 8, 3)).astype("f4")
Y = RNG.normal(size=(120, 2)).astype("f4")
MOST = 3  # kills of one run


def noisy():
    """Return a model that draws, an optimizer with state, and how to fit."""
    lstm = LSTM(12, input_shape=(None, 3), dropout=0.2, recurrent_dropout=0.1)
    return Model([lstm, Dense(2)], seed=1), Adam(0.02, global_clipnorm=1.0), {"batch_size": 8}


def stateful():
    layers = [LSTM(10, input_shape=(None, 3), stateful=True, dropout=0.3), Dense(2)]
    return Model(layers, seed=2), SGD(0.02, momentum=0.9), {"batch_size": 8, "shuffle": False}


def partial():
    """Epochs that are no whole rounds through the samples, and weights with rules."""
    rnn = SimpleRNN(10, input_shape=(None, 3), kernel_constraint="max_norm")
    model = Model([rnn, Dense(2, kernel_regularizer="l2")], seed=3, dtype="float64")
    return model, Adam(0.02), {"batch_size": 8, "steps_per_epoch": 7}


KINDS = (noisy, stateful, partial)


class Counter(callbacks.Callback):
    """A callback of one's own, with a state."""

    seen = 0

    def on_train_begin(self, logs=None):
        self.seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1

    def get_state(self):
        return {"seen": self.seen, "array": np.arange(self.seen)}

    def set_state(self, state):
        self.seen = state["seen"]
        assert len(state["array"]) == self.seen


def content(path):
    """Return what a file holds; the order of texts in a model's file differs by the process."""
    if path.suffix == ".csv":
        return path.read_bytes()
    model = lstmfast.load(path)
    kept = [w.tobytes() for w in model.params]
    kept += [
        slot.tobytes() for name in model.optimizer.slots for slot in model.optimizer.slots[name]
    ]
    return kept, model.optimizer.iterations, model.rng.bit_generator.state


def trained(kind, folder):
    """Fit to the end, from a backup where there is one; return all that is left, as bytes."""
    model, optimizer, how = kind()
    model.compile(optimizer, "mse")
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True, min_delta=1e-4)
    reducing, counter = callbacks.ReduceLROnPlateau(patience=1, factor=0.7, cooldown=1), Counter()
    history = model.fit(
        X, Y, epochs=5, verbose=0, validation_data=(X[:40], Y[:40]), **how, callbacks=[
            reducing, callbacks.BackupAndRestore(folder / "backup", save_freq=3), counter,
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.95), stopping,
            callbacks.ModelCheckpoint(folder / "best.lstm", save_best_only=True),
            callbacks.ModelCheckpoint(folder / "at-{epoch}-{batch}", save_freq=20),
            callbacks.CSVLogger(folder / "table.csv"),
        ],
    )  # fmt: skip
    slots = {name: [a.tobytes() for a in kept] for name, kept in optimizer.slots.items()}
    states = [
        [np.asarray(part).tobytes() for part in getattr(layer, "state", None) or ()]
        for layer in model.layers
    ]
    decided = [reducing.get_state(), counter.seen, stopping.best, stopping.best_epoch]
    files = {path.name: content(path) for path in sorted(folder.iterdir()) if path.is_file()}
    left = {
        "weights": [w.tobytes() for w in model.params], "slots": slots, "states": states,
        "iterations": optimizer.iterations, "rng": model.rng.bit_generator.state,
        "epochs": history.epoch, "history": history.history, "decided": decided,
        "stopped": stopping.stopped_epoch, "rate": optimizer.learning_rate, "files": files,
        "backup": os.path.exists(folder / "backup"),
    }  # fmt: skip
    return "\n".join(f"{name}: {value!r}" for name, value in left.items()).encode()


def started(kind, folder, result):
    """Start a child that trains and then writes what is left."""
    number = os.fork()
    if number:
        return number
    try:
        folder.mkdir(exist_ok=True)
        found = trained(kind, folder)
        part = result.with_suffix(".part")
        part.write_bytes(found)
        os.replace(part, result)
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def ended(number, delay):
    """Kill a child after a delay; return whether it was killed, None when it failed by itself."""
    time.sleep(delay)
    os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    if os.WIFSIGNALED(status):
        return True
    return False if os.WEXITSTATUS(status) == 0 else None


def fault_of(kind, expected, longest, draw, folder):
    """Return what went wrong with one run, or None, and how often it was killed."""
    place, result, kills = folder / "files", folder / "result", 0
    for _ in range(draw.randrange(1, MOST + 1)):
        killed = ended(started(kind, place, result), draw.uniform(0, longest))
        kills += bool(killed)
        if killed is None:
            return "a run failed", kills
        try:
            backup = place / "backup" / "backup.lstm"
            if backup.exists():
                lstmfast.load(backup)
        except Exception as error:
            return f"a backup does not load: {error}", kills
    number = started(kind, place, result)
    _, status = os.waitpid(number, 0)
    if status:
        return "the last run failed", kills
    unlike = [
        one.split(b":")[0].decode()
        for one, other in zip(result.read_bytes().split(b"\n"), expected.split(b"\n"), strict=True)
        if one != other
    ]
    return f"{kind.__name__}: other {unlike} after {kills} kills" if unlike else None, kills


def run(count, seed):
    """Return the faults of `count` runs, how many kills there were, and how long a run takes."""
    draw, faults, kills, expected, longest = random.Random(seed), [], 0, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS[:count]:
            alone = Path(folder) / kind.__name__
            alone.mkdir()
            start = time.perf_counter()
            expected[kind] = trained(kind, alone)
            longest[kind] = time.perf_counter() - start
        for n in range(count):
            kind, place = KINDS[n % len(KINDS)], Path(folder) / str(n)
            place.mkdir()
            fault, more = fault_of(kind, expected[kind], longest[kind] * 1.1, draw, place)
            faults += [f"{n}: {fault}"] if fault else []
            kills += more
    return faults, kills, max(longest.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faults, kills, longest = run(arguments.count, arguments.seed)
    for fault in faults:
        print(fault)
    what = f"{arguments.count} fits, {kills} kill -9, {longest:.2f} s a fit, seed {arguments.seed}"
    print(f"resumes | {what} | faults: {len(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

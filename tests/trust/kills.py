"""kill -9 while files are written: the file stays whole, and the next save leaves nothing behind.

    python tests/trust/kills.py --count 200

A child writes two models by turns under one name until it is killed, at a moment drawn from the
seed. Then the file must be one of the two, bit for bit, and after the next save the folder must
hold nothing else. Half of the children use `Model.save`, half `lstmfast.onnx.export`.
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
from lstmfast import LSTM, Dense, Model

LONGEST = 0.05  # seconds that a child lives, once it has begun


def models():
    """Return two models of some 500 KB that differ in every weight."""
    layers = ([LSTM(160, input_shape=(None, 24)), Dense(8)] for _ in range(2))
    return [Model(two, seed=seed) for seed, two in enumerate(layers)]


def writers():
    """Return what writes, by name; export where the package onnx is installed."""
    found = {"save": lambda model, path: model.save(path)}
    try:
        import onnx  # noqa: F401
    except ImportError:
        return found
    return found | {"export": lstmfast.onnx.export}


def child(write, pair, path, ready):
    """Write until killed."""
    try:
        write(pair[0], path)
        os.write(ready, b"1")
        while True:
            for model in pair[::-1]:
                write(model, path)
    finally:
        os._exit(1)


def killed(write, pair, path, delay):
    """Start a child and kill it after a delay."""
    begun, ready = os.pipe()
    number = os.fork()
    if not number:
        child(write, pair, path, ready)
    os.close(ready)
    started = os.read(begun, 1)
    os.close(begun)
    time.sleep(delay)
    os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    return bool(started) and os.WIFSIGNALED(status)


def faults_of(kind, write, pair, path, delay):
    """Return what went wrong around one kill."""
    if not killed(write, pair, path, delay):
        return ["the child ended by itself"], 0
    left = len(os.listdir(path.parent)) - 1
    faults = []
    read = lstmfast.load if kind == "save" else lstmfast.onnx.load
    try:
        weights = read(path).get_weights()
        same = [all(map(np.array_equal, weights, model.get_weights())) for model in pair]
        if not any(same):
            faults.append("the file is neither of the two models")
    except Exception as error:
        faults.append(f"the file does not load: {error}")
    write(pair[0], path)
    if os.listdir(path.parent) != [path.name]:
        faults.append(f"after the next save: {os.listdir(path.parent)}")
    return faults, left


def run(count, seed):
    """Return the faults of `count` kills, and how many of them left something for the next save."""
    rng, pair, faults, left = random.Random(seed), models(), [], 0
    kinds = list(writers().items())
    with tempfile.TemporaryDirectory() as folder:
        for n in range(count):
            kind, write = kinds[n % len(kinds)]
            path = Path(folder) / kind / "model"
            path.parent.mkdir(exist_ok=True)
            found, parts = faults_of(kind, write, pair, path, rng.uniform(0, LONGEST))
            faults += [f"{n} ({kind}): {fault}" for fault in found]
            left += parts
    return faults, left


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faults, left = run(arguments.count, arguments.seed)
    for fault in faults:
        print(fault)
    what = f"{arguments.count} kill -9 in save and export, {left} left a part behind"
    print(f"kills | {what} | faults: {len(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

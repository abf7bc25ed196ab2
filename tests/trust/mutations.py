"""Damaged files through every loader: no crash, no hang, no undocumented error, no wrong model.

    python tests/trust/mutations.py --count 30000

Model files and ONNX files (own exports, weights in a second file, and those of onnx's own tests
where its package brings them) are changed at random: bits, pieces, and by their structure (fields
of protobuf, the header of safetensors, the config in it). Each goes through a loader in a process
that has a limit of memory and is watched. Whatever loads must be accepted by the format's own
checker; weights must be the file's, and where ONNX Runtime runs the file, results must be equal.
"""

import argparse
import collections
import contextlib
import copy
import json
import os
import random
import resource
import select
import signal
import struct
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
from safetensors import safe_open

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Model, SimpleRNN

SECONDS = 20.0  # without a sign of life: a hang
MEMORY = 2 * 2**30  # bytes of addresses beside what the process begins with
BAR = 2e-4  # of ONNX Runtime's results, float32; measured: 1e-6, more where weights are large
LARGEST = 1e3  # weights beyond it make results that are not compared
EDGES = [0, 1, -1, 2, 3, 7, 8, 127, 128, 255, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64,
         -(2**31), -(2**63), 10**18, 10**400]  # fmt: skip
ODD = [None, True, False, "", "x", "a/b", "\ud800", "é", [], {}, [[]], [None], 0.5, -0.5, 1e308,
       float("nan"), float("inf"), {"class": "LSTM"}, "float64", "relu", "\0", "..",
       "x" * 5000]  # fmt: skip


# ---------------------------------------------------------------- the files that are changed


def models():
    """Return small Models of all kinds of layers."""
    chains = [
        [LSTM(3, input_shape=(None, 2)), Dense(2)],
        [Embedding(7, 3), LSTM(4, bidirectional=True, return_sequences=True), Dense(3, "softmax")],
        [Embedding(5, 2), LSTM(2, num_layers=2, go_backwards=True, peepholes=True), Dense(1)],
        [SimpleRNN(3, input_shape=(None, 2), return_sequences=True), LSTM(2, coupled=True)],
        [LSTM(2, clip=0.5, activation="relu", input_shape=(None, 2))],
        [Dense(3, "relu", input_shape=(2,)), Dense(2, "tanh")],
    ]  # fmt: skip
    found = [Model(chain, seed=seed) for seed, chain in enumerate(chains)]
    for model in found:
        model.compile("adam" if model.layers[0].takes_ids else "sgd", "mse")
    return found


def of_onnx():
    """Return the small files of onnx's own tests that its package brings."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    files = [path for path in sorted(folder.rglob("*.onnx")) if path.stat().st_size < 20_000]
    return [path.read_bytes() for path in files]


class Bases:
    """Files to begin with, as (kind, content, content of a second file)."""

    def __init__(self, folder):
        self.all, self.models, path = [], [], Path(folder) / "model.onnx"
        for model in models():
            for _ in range(3):  # as often as there are of ONNX
                model.save(path)
                self.all.append(("model", path.read_bytes(), b""))
            self.models.append(model)
            for opset in (14, 18):
                lstmfast.onnx.export(model, path, opset=opset)
                self.all.append(("onnx", path.read_bytes(), b""))
            proto = onnx.load(path)
            onnx.save(proto, path, save_as_external_data=True, location="model.onnx.data",
                      size_threshold=60)  # fmt: skip
            beside = Path(folder) / "model.onnx.data"
            if beside.exists():  # some models have only small weights
                self.all.append(("onnx", path.read_bytes(), beside.read_bytes()))
                beside.unlink()
        self.protos = [onnx.ModelProto.FromString(c) for kind, c, _ in self.all if kind == "onnx"]
        self.foreign = [("onnx", content, b"") for content in of_onnx()]
        self.protos += [onnx.ModelProto.FromString(content) for _, content, _ in self.foreign]


# ---------------------------------------------------------------- changes


def bent(rng, content, others):
    """Change bytes without a look at what they are."""
    content, kind = bytearray(content), rng.randrange(9)
    at = rng.randrange(len(content) + 1)
    length = min(rng.choice((1, 2, 4, 8, 16, 100, 1000)), len(content) - at)
    if kind == 0 and length:
        content[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and length:
        content[at] = rng.randrange(256)
    elif kind == 2:
        del content[at : at + length]
    elif kind == 3:
        content[at:at] = rng.randbytes(length)
    elif kind == 4:
        content[at:at] = content[at : at + length]
    elif kind == 5:
        del content[at:]
    elif kind == 6:
        content += rng.randbytes(rng.choice((1, 8, 100)))
    elif kind == 7:
        content[at : at + length] = b"\xff" * length
    else:
        other = rng.choice(others)
        content[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(content)


def messages(message):
    """Return a protobuf message and all that are in it."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if hasattr(value, "append") or hasattr(value, "add") else [value]:
                found += messages(one)
    return found


def bent_proto(rng, proto, protos):
    """Change a protobuf message by its fields."""
    proto = copy.deepcopy(proto)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        every = messages(proto)
        message = rng.choice(every)
        fields = message.ListFields()
        if not fields:
            continue
        field, value = rng.choice(fields)
        with contextlib.suppress(TypeError, ValueError, AttributeError, IndexError):
            bend_field(rng, message, field, value, every, protos)  # else one that it does not take
    return proto.SerializeToString()


def bend_field(rng, message, field, value, every, protos):
    repeated = hasattr(value, "extend")
    kind = rng.randrange(6)
    if kind == 0:
        message.ClearField(field.name)
    elif kind == 1:  # as another message of its type has it, in this file or another
        places = every if rng.random() < 0.6 else messages(rng.choice(protos))
        alike = [one for one in places if one.DESCRIPTOR.name == message.DESCRIPTOR.name]
        other = copy.deepcopy(rng.choice(alike))
        message.ClearField(field.name)
        if repeated:
            getattr(message, field.name).extend(getattr(other, field.name))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(getattr(other, field.name))
        else:
            setattr(message, field.name, getattr(other, field.name))
    elif repeated and len(value):
        at = rng.randrange(len(value))
        if kind == 2:
            del value[at]
        elif kind == 3:
            value.extend([copy.deepcopy(value[rng.randrange(len(value))])])
        else:
            two = [copy.deepcopy(one) for one in value]
            if kind == 4 or field.message_type is not None:
                rng.shuffle(two)
            else:
                two[at] = odd_scalar(rng, two[at], every)
            message.ClearField(field.name)
            getattr(message, field.name).extend(two)
    elif field.message_type is None:
        setattr(message, field.name, odd_scalar(rng, value, every))


def odd_scalar(rng, value, every):
    if isinstance(value, str):
        names = [name for one in every if one.DESCRIPTOR.name == "NodeProto"
                 for name in (*one.input, *one.output)]  # fmt: skip
        return rng.choice([*names, "", "x", *OPERATORS])
    if isinstance(value, bytes):
        return bent(rng, value, [value])
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1.0, 0.5, 1e30, float("nan"), float("inf"), value + 0.25))
    return rng.choice([*EDGES[:-1], value + 1, value - 1, rng.randrange(32)])


OPERATORS = ["Identity", "Relu", "Tanh", "Add", "Mul", "MatMul", "Gemm", "LSTM", "RNN",
             "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Slice", "Concat", "Softmax",
             "Dropout", "GRU", "Cast", "Shape", "Gather", "Expand", "LeakyRelu", "Elu", "Softplus",
             "Sub"]  # fmt: skip


def bent_header(rng, content, others):
    """Change the JSON in a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    config = json.loads(header["__metadata__"]["config"])
    for _ in range(rng.choice((1, 1, 2, 3))):
        bend_json(rng, config if rng.random() < 0.5 else header)
    if isinstance(header.get("__metadata__"), dict) and rng.random() < 0.9:
        header["__metadata__"]["config"] = json.dumps(config)
    text = json.dumps(header)
    if rng.random() < 0.1:  # a key twice, spaces, texts that are no JSON
        text = rng.choice((text[:-1] + "," + text[1:], text + " " * 8, text.replace(":", "=", 1),
                           text.replace('"', "'"), "\ufeff" + text, text * 2))  # fmt: skip
    raw = text.encode("utf-8", "surrogatepass")
    told = len(raw) if rng.random() < 0.95 else max(0, len(raw) + rng.choice((-1, 1, 8, 2**40)))
    return struct.pack("<Q", told) + raw + tensors


def places(value):
    """Return (container, key) of everything in a JSON value."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    found = [(value, key) for key in keys]
    return found + [place for _, key in list(found) for place in places(value[key])]


def bend_json(rng, value):
    every = places(value)
    if not every:
        return
    container, key = rng.choice(every)
    kind = rng.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = copy.deepcopy(rng.choice(ODD))
    elif kind == 2:
        container[key] = rng.choice(EDGES)
    elif kind == 3:
        other, at = rng.choice(every)
        if at in (other if isinstance(other, dict) else range(len(other))):
            container[key] = copy.deepcopy(other[at])
    elif isinstance(container, dict):
        container[rng.choice(("x", "", "units", "dtype", "__metadata__"))] = container[key]
    else:
        container.append(container[key])


def case(bases, seed, n):
    """Return (kind, content, second content) of a changed file."""
    rng = random.Random(f"{seed}.{n}")
    kind, content, beside = rng.choice(bases.foreign if rng.random() < 0.15 else bases.all)
    others = [one for _, one, _ in bases.all]
    if rng.random() < 0.35:
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            content = bent(rng, content, others)
    elif kind == "onnx":
        content = bent_proto(rng, onnx.ModelProto.FromString(content), bases.protos)
    else:
        content = bent_header(rng, content, others)
    if beside and rng.random() < 0.3:
        beside = bent(rng, beside, others)
    return kind, content, beside


# ---------------------------------------------------------------- loaders and checks


def attempt(bases, seed, n, path):
    """Return ("refused" or "loaded", what is wrong or "")."""
    kind, content, beside = case(bases, seed, n)
    path.write_bytes(content)
    second = path.with_name(path.name + ".data")
    second.unlink(missing_ok=True)
    if beside:
        second.write_bytes(beside)
    time_major, how = n % 11 == 0, n % 5
    try:
        if kind == "onnx":
            made = lstmfast.onnx.load(path, time_major=time_major)
        elif how:
            made = lstmfast.load(path)
        else:
            made = bases.models[n % len(bases.models)]
            made.load_weights(path)
    except (ValueError, OSError) as error:
        text = str(error)
        plain = text.startswith(str(path)) and len(text) < 1000 and text.isprintable()
        return "refused", "" if plain else f"error text: {text[:200]!r}"
    except BaseException as error:
        return "refused", f"undocumented {type(error).__name__}: {str(error)[:200]}"
    check = checked_onnx if kind == "onnx" else checked_model
    fault = check(made, path, time_major)
    return ("loaded", fault) if fault is not None else ("loaded, not run by ONNX Runtime", "")


def checked_model(model, path, _):
    """Hold a loaded Model against what the package safetensors reads in the file."""
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        return f"safetensors refuses it: {error}"
    for layer in model.layers:
        for name, param in layer.params.items():
            if not np.array_equal(tensors[f"layers/{layer.name}/{name}"], param):
                return f"{layer.name}/{name} is another"
    return ""


def checked_onnx(model, path, time_major):
    """Hold a loaded Model against onnx.checker and ONNX Runtime; None where that does not run."""
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:
        return f"onnx.checker refuses it: {str(error)[:200]}"
    if any(np.abs(param).max() > LARGEST for param in model.params):
        return None
    x = inputs(model)
    given = x.swapaxes(0, 1) if time_major and x.ndim + model.layers[0].takes_ids > 2 else x
    theirs = by_runtime(path, given)
    if theirs is None:
        return None
    ours = model.predict(x, verbose=0)
    if time_major and ours.ndim == 3:
        ours = ours.swapaxes(0, 1)
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, ONNX Runtime has {theirs.shape}"
    worst = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
    return "" if worst <= BAR else f"off ONNX Runtime by {worst:.2g}"


def inputs(model):
    rng = np.random.default_rng(0)
    shape = tuple(size or 3 - axis for axis, size in enumerate(model.input_shape))
    if model.layers[0].takes_ids:
        return rng.integers(0, model.layers[0].input_dim, shape)
    return rng.standard_normal(shape).astype(model.dtype)


def by_runtime(path, x):
    """Return what ONNX Runtime makes of x, or None if it refuses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        kind = {"tensor(int32)": "i4", "tensor(int64)": "i8"}.get(given.type)
        sizes = [size if isinstance(size, int) else None for size in given.shape]
        if any(size not in (None, found) for size, found in zip(sizes, x.shape, strict=True)):
            return None
        return session.run(None, {given.name: x.astype(kind) if kind else x})[0]
    except Exception:
        return None


# ---------------------------------------------------------------- processes that are watched


def work(bases, seed, numbers, report, folder):
    """Try these cases and tell of each, before and after; in a child."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    warnings.simplefilter("ignore")
    path = Path(folder) / f"model{numbers[0]}.onnx"
    for n in numbers:
        os.write(report, f"{n}\n".encode())
        outcome, fault = attempt(bases, seed, n, path)
        told = json.dumps([n, outcome, fault[:400]])
        os.write(report, f"{told}\n".encode())


def told_in(pipe):
    """Yield the lines of a pipe; None, at the end, where nothing comes for too long."""
    pending = b""
    while True:
        if not select.select([pipe], [], [], SECONDS)[0]:
            yield None
            return
        read = os.read(pipe, 2**16)
        if not read:
            return
        *lines, pending = (pending + read).split(b"\n")
        yield from lines


def watched(bases, seed, numbers, folder):
    """Yield (n, outcome, fault) of cases that children try; who dies or hangs is replaced."""
    left, silent = list(numbers), False
    while left:
        here, there = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C++ says
                work(bases, seed, left, there, folder)
            finally:
                os._exit(0)
        os.close(there)
        current = None
        for line in told_in(here):
            silent = line is None
            if silent:
                os.kill(child, signal.SIGKILL)
                break
            current = json.loads(line)
            if isinstance(current, list):
                left.remove(current[0])
                yield tuple(current)
                current = None
        os.close(here)
        _, status = os.waitpid(child, 0)
        if current is not None:
            left.remove(current)
            yield current, "died", "it hangs" if silent else f"the process ended with {status}"
        elif left and not current:
            yield left.pop(0), "died", f"the process ended with {status} before it began"


def run(count, seed, first=0):
    """Return counts of outcomes, and the faults as texts."""
    outcomes, faults = collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        bases = Bases(folder)
        for at in range(first, first + count, 500):
            numbers = range(at, min(at + 500, first + count))
            for n, outcome, fault in watched(bases, seed, numbers, folder):
                outcomes[outcome] += 1
                if fault:
                    faults.append(f"{n}: {fault}")
                    print(faults[-1], file=sys.stderr, flush=True)
    return outcomes, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    arguments = parser.parse_args()
    outcomes, faults = run(arguments.count, arguments.seed, arguments.first)
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"mutations | {arguments.count} damaged files: {told} | faults: {len(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

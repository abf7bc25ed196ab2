"""Small files that ask for much: what each costs in memory and time.

    python tests/trust/hostile.py --mib 20

Each file is read in a process of its own, which tells how much its memory grew at the most. The
bars: ten times the file (and 24 MiB, which imports and the limits allow), and 2 s for 10 MiB (and
1 s), whether the file is refused or loads; the text of an error is a line of at most 1000 letters.
"""

import argparse
import json
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

import lstmfast
from lstmfast import LSTM, Dense, Model

TIMES, ROOM = 10, 24 * 2**20  # bytes
PER_MIB, START = 0.2, 1.0  # seconds
LETTERS = 1000


def field(number, content, kind=2):
    """Return one field of a protobuf message."""
    return varint(number << 3 | kind) + (varint(len(content)) + content if kind == 2 else content)


def varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


# ---------------------------------------------------------------- ONNX


def good(units=4, features=3):
    """Return a ModelProto that loads: an LSTM and a Dense."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        chain = [LSTM(units, input_shape=(None, features)), Dense(2)]
        lstmfast.onnx.export(Model(chain, seed=0), path)
        return onnx.load(path)


def with_graph(more):
    """Return the bytes of a model with some bytes more in its graph."""
    return good().SerializeToString() + field(7, more)


def fill(piece, size):
    return piece * (size // len(piece))


def with_node(more):
    return with_graph(field(1, field(2, b"n") + field(4, b"Identity") + more))


def with_tensor(more):
    return with_graph(field(5, field(8, b"t") + more))


def identities(size):
    proto = good()
    last = proto.graph.node.pop()
    before = last.input[0]
    for n in range(size // 24):
        proto.graph.node.append(helper.make_node("Identity", [before], [f"i{n}"]))
        before = f"i{n}"
    last.input[0] = before
    proto.graph.node.append(last)
    return proto.SerializeToString()


def long_direction(size):
    proto = good()
    node = next(node for node in proto.graph.node if node.op_type == "LSTM")
    next(a for a in node.attribute if a.name == "direction").s = b"\n" * size
    return proto.SerializeToString()


def weights(size, as_floats=False):
    """A file that is large as its weights are, and loads."""
    units = int((size / 4 / 4) ** 0.5)
    proto = good(units)
    if as_floats:
        for tensor in proto.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                array = numpy_helper.to_array(tensor)
                tensor.CopyFrom(helper.make_tensor(tensor.name, 1, array.shape, array.ravel()))
    return proto.SerializeToString()


def nested(size):
    content = b""
    for _ in range(5000):
        content = field(1, field(5, field(6, content)))
    return with_graph(content)


ONNX = {
    "nodes of nothing": lambda size: with_graph(fill(b"\x0a\x00", size)),
    "initializers of nothing": lambda size: with_graph(fill(b"\x2a\x00", size)),
    "inputs of nothing": lambda size: with_graph(fill(b"\x5a\x00", size)),
    "opsets of nothing": lambda size: good().SerializeToString() + fill(b"\x42\x00", size),
    "attributes of nothing": lambda size: with_node(fill(b"\x2a\x00", size)),
    "names of nothing": lambda size: with_node(fill(b"\x0a\x00", size)),
    "sizes": lambda size: with_tensor(field(1, fill(b"\x01", size))),
    "sizes one by one": lambda size: with_tensor(fill(b"\x08\x01", size)),
    "integers": lambda size: with_tensor(field(7, fill(b"\x01", size))),
    "integers of an attribute": lambda size: with_node(field(5, field(8, fill(b"\x01", size)))),
    "floats of an attribute": lambda size: with_node(field(5, fill(b"\x3d\0\0\0\0", size))),
    "a chain of Identity": identities,
    "a long name": lambda size: with_node(field(3, fill(b"x", size))),
    "a long text": lambda size: good().SerializeToString() + field(6, "é".encode() * (size // 2)),
    "a long attribute": long_direction,
    "an unknown field": lambda size: good().SerializeToString() + field(99, fill(b"x", size)),
    "unknown fields": lambda size: good().SerializeToString() + fill(field(99, b""), size),
    "an unknown group": lambda size: good().SerializeToString() + fill(b"\xb3\x06", size),
    "graphs in graphs": nested,
    "weights": weights,
    "weights as floats": lambda size: weights(size, True),
    "zeros": lambda size: bytes(size),
}


# ---------------------------------------------------------------- safetensors


def with_header(text, tensors=b"", told=None):
    raw = text.encode()
    return struct.pack("<Q", len(raw) if told is None else told) + raw + tensors


def with_config(text):
    return with_header(json.dumps({"__metadata__": {"format": "1", "config": text}}))


def tiny_tensors(size):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    count = size // len(json.dumps({"t00000000": entry}))
    return with_header(json.dumps({f"t{n:08}": entry for n in range(count)}))


def own_weights(size):
    units = int((size / 4 / 4) ** 0.5)
    with tempfile.TemporaryDirectory() as folder:
        Model([LSTM(units, input_shape=(None, 3))], seed=0).save(Path(folder) / "model")
        return (Path(folder) / "model").read_bytes()


HEADER = 8 * 2**20 - 100  # the largest that is parsed
MODELS = {
    "lists": lambda size: with_config(f"[{fill('[],', size)}[]]"),
    "objects": lambda size: with_config(f"[{fill('{},', size)}[]]"),
    "a text": lambda size: with_config(f'"{fill("x", size)}"'),
    "depth": lambda size: with_config("[" * size),
    "digits": lambda size: with_config("9" * size),
    "tensors": tiny_tensors,
    "lists within the limits": lambda size: with_config(
        f"[{fill('[],', 749_000)}[]]" + " " * (HEADER - 800_000)
    ),
    "text within the limits": lambda size: with_config(
        '{"' + "é" * (HEADER // 7) + '": "' + "x" * (HEADER // 8) + '"}'
    ),
    "wide text within the limits": lambda size: with_header(
        '{"__metadata__": {"format": "1", "config": "' + "x" * (HEADER - 100) + '😀"}}'
    ),
    "tensors within the limits": lambda size: tiny_tensors(HEADER // 2),
    "a header that is not there": lambda size: with_header("{}", bytes(size), 2**62),
    "own weights": own_weights,
}  # fmt: skip


# ---------------------------------------------------------------- what each costs


def memory(name):
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(name))
    return int(line.split()[1]) * 1024


def written(make, size, path):
    """Write a file in a child, so that this process has no memory that it left free."""
    child = os.fork()
    if not child:
        try:
            path.write_bytes(make(size))
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def measured(load, path):
    """Load in a child; return (outcome, bytes, seconds, letters)."""
    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")  # the peak begins here
            before, start, text = memory("VmRSS"), time.process_time(), ""
            try:
                outcome, _ = "loads", load(path)
            except ValueError as error:
                outcome, text = "refused", str(error)
            except BaseException as error:
                outcome, text = type(error).__name__, str(error)
            spent = time.process_time() - start
            told = [outcome, memory("VmHWM") - before, spent, len(text), text[:120]]
            os.write(there, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(there)
    with open(here, encoding="utf-8") as file:
        told = file.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else ["died", 0, 0.0, 0, ""]


def run(mib, only=""):
    """Print a line for each file; return the number of faults."""
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        lstmfast.onnx.export(Model([LSTM(2, input_shape=(None, 2))]), path)
        lstmfast.onnx.load(path)  # imports
        for kind, cases, load in (
            ("onnx", ONNX, lstmfast.onnx.load),
            ("model", MODELS, lstmfast.load),
        ):
            for name, make in cases.items():
                if only not in name:
                    continue
                written(make, mib * 2**20, path)
                size = path.stat().st_size
                outcome, grown, spent, letters, text = measured(load, path)
                bad = (
                    outcome not in ("loads", "refused")
                    or grown > TIMES * size + ROOM
                    or spent > PER_MIB * size / 2**20 + START
                    or letters > LETTERS
                )
                faults += bad
                print(f"{kind:5} | {name:28} | {size / 2**20:5.1f} MiB | +{grown / 2**20:6.1f} MiB "
                      f"({grown / size:4.1f}) | {spent:5.2f} s | {outcome:8} | "
                      f"{'FAULT ' if bad else ''}{text[-70:]!r}")  # fmt: skip
    return faults, len(ONNX) + len(MODELS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=20)
    parser.add_argument("--only", default="", help="part of a name")
    arguments = parser.parse_args()
    np.seterr(all="ignore")
    faults, count = run(arguments.mib, arguments.only)
    what = f"{count} files of {arguments.mib} MiB that ask for much: memory, time, error texts"
    print(f"hostile | {what} | faults: {faults}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

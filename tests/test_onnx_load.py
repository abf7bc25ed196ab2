"""lstmfast.onnx.load: files of our own, of PyTorch, of Keras, by hand, and bad ones."""

import importlib.util
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from agreement import assert_all_equal, forward_error
from fresh_process import printed

from lstmfast import LSTM, Dense, Embedding, Model, SimpleRNN
from lstmfast.onnx import export, load
from lstmfast.ops import activations

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_files import DOUBLE, FLOAT, INT64, model_of, node, onnx, run, weights
from test_onnx_export import LAYERS, RNNS, inputs, randomised

BAR = 2e-6  # float32, against ONNX Runtime; measured: 6.0e-8


def kinds(model):
    return [type(layer) for layer in model.layers]


def loaded(path, x, **options):
    """Load a file and hold it against ONNX Runtime; return the model."""
    model = load(path, **options)
    wanted = run(path, x)
    turned = options.get("time_major", False)
    found = model.predict(x.swapaxes(0, 1) if turned else x)
    found = found.swapaxes(0, 1) if turned and found.ndim == 3 else found
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    assert forward_error(found, wanted) <= BAR
    return model


# ---------------------------------------------------------------- our own files


def assert_round_trip(model, path):
    """Export, load, and hold weights and predictions against those before."""
    export(model, path)
    again = load(path)
    assert_all_equal(model.get_weights(), again.get_weights())
    x = inputs(model, 3, 5)
    np.testing.assert_allclose(again.predict(x), model.predict(x), rtol=0, atol=1e-6)
    assert again.dtype == model.dtype and again.optimizer is None
    return again


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("case", LAYERS)
def test_round_trip_of_lstm(case, dtype, tmp_path):
    alone = Model([LSTM(8, input_shape=(None, 5), **LAYERS[case])], dtype=dtype)
    assert_round_trip(randomised(alone), tmp_path / "model.onnx")
    layers = [Embedding(11, 5), LSTM(8, **LAYERS[case]), Dense(3, "softmax")]
    again = assert_round_trip(randomised(Model(layers, dtype=dtype)), tmp_path / "model.onnx")
    assert kinds(again) == [Embedding, *[LSTM] * LAYERS[case].get("num_layers", 1), Dense]


@pytest.mark.parametrize("case", RNNS)
def test_round_trip_of_simple_rnn(case, tmp_path):
    model = Model([SimpleRNN(6, input_shape=(None, 5), **RNNS[case]), Dense(2)])
    assert_round_trip(randomised(model), tmp_path / "model.onnx")


@pytest.mark.parametrize("name", [*activations.NAMES, "linear", "softmax"])
def test_round_trip_of_activations(name, tmp_path):
    cell = "tanh" if name == "softmax" else name
    layers = [LSTM(4, cell, input_shape=(None, 3)), Dense(6, name, False), Dense(4, name)]
    again = assert_round_trip(randomised(Model(layers)), tmp_path / "model.onnx")
    same = {"scaled_tanh": "tanh", "affine": "linear"}.get(name, name)  # as Dense has them
    assert [layer.activation for layer in again.layers[1:]] == [same, same]
    assert again.layers[0].activation.name == layers[0].activation.name


def test_round_trip_of_many_directions(tmp_path):
    """Backwards, forwards, both: each knows in which order steps reach it."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        directions = rng.choice(["bidirectional", "go_backwards", "neither"], 5)
        layers = [Embedding(7, 3)]
        for n, direction in enumerate(directions):
            option = {} if direction == "neither" else {str(direction): True}
            layers.append(LSTM(4, return_sequences=n < 4, **option))
        assert_round_trip(randomised(Model(layers), seed), tmp_path / "model.onnx")


def test_what_was_loaded_goes_on(tmp_path):
    """It trains, and is saved, as any Model."""
    model = Model([Embedding(9, 3), LSTM(4, bidirectional=True), Dense(5, "softmax")], seed=0)
    again = assert_round_trip(model, tmp_path / "model.onnx")
    x = inputs(model, 32, 6)
    for one in (model, again):
        one.compile("adam", "sparse_categorical_crossentropy")
    histories = [
        one.fit(x, x[:, 0] % 5, epochs=2, shuffle=False, verbose=0).history["loss"]
        for one in (model, again)
    ]
    np.testing.assert_allclose(*histories, rtol=1e-6)
    assert histories[0][1] < histories[0][0]


def test_a_fresh_process_loads_the_file(environment, tmp_path):
    model = Model([Embedding(9, 3), LSTM(4), Dense(2, "softmax")], seed=0)
    export(model, tmp_path / "model.onnx")
    x = inputs(model, 3, 5)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import numpy as np, lstmfast.onnx\n"
        "model = lstmfast.onnx.load('model.onnx')\n"
        "np.save('y.npy', model.predict(np.load('x.npy')))\n"
    )
    printed(environment, code, flags=["-P"], cwd=tmp_path)
    assert forward_error(np.load(tmp_path / "y.npy"), model.predict(x)) <= BAR


# ---------------------------------------------------------------- of PyTorch

TORCH = {
    "all steps": dict(),
    "two layers": dict(num_layers=2),
    "both directions": dict(bidirectional=True),
    "two of both": dict(num_layers=2, bidirectional=True, bias=False),
    "last step": dict(last=lambda y, h: y[:, -1]),
    "last state": dict(num_layers=3, last=lambda y, h: h[-1]),
    "only state": dict(last=lambda y, h: h.squeeze(0)),
    "both last states": dict(bidirectional=True, last=lambda y, h: (h[-2], h[-1])),
    "both of two": dict(num_layers=2, bidirectional=True, last=lambda y, h: (h[-2], h[-1])),
}


def torch_net(torch, last=None, embedding=True, kind="LSTM", **options):
    """Return an Embedding, the recurrent layer, Dropout, Linear, ReLU, Linear, softmax."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(20, 6) if embedding else torch.nn.Identity()
            self.lstm = getattr(torch.nn, kind)(6, 5, batch_first=True, **options)
            self.hidden = torch.nn.Linear(5 * (1 + options.get("bidirectional", False)), 4)
            self.drop, self.out = torch.nn.Dropout(0.3), torch.nn.Linear(4, 3, bias=False)

        def forward(self, x):
            y, state = self.lstm(self.embedding(x))
            if last is not None:
                y = last(y, state if kind == "RNN" else state[0])
                y = torch.cat(y, 1) if isinstance(y, tuple) else y
            return torch.softmax(self.out(self.drop(torch.relu(self.hidden(y)))), -1)

    torch.manual_seed(0)
    return Net().eval()


def export_torch(torch, net, x, path, dynamo=False, fixed=False, **options):
    """Write a file with symbolic sizes, or with those of x."""
    axes = {0: "batch", 1: "time"}
    if dynamo:
        pytest.importorskip("onnxscript")
        sizes = {axis: torch.export.Dim(name) for axis, name in axes.items()}
        options |= {"verbose": False, "external_data": False}
        options |= {} if fixed else {"dynamic_shapes": {"x": sizes}}
    else:
        options |= {"input_names": ["x"]} | ({} if fixed else {"dynamic_axes": {"x": axes}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), str(path), dynamo=dynamo, **options)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("dynamo", (False, True), ids=("script", "dynamo"))
@pytest.mark.parametrize("case", TORCH)
def test_torch(case, dynamo, torch, tmp_path):
    path, net = tmp_path / "model.onnx", torch_net(torch, **TORCH[case])
    x = torch.randint(0, 20, (2, 7))
    export_torch(torch, net, x, path, dynamo)
    model = loaded(path, x.numpy())
    layers = [LSTM] * TORCH[case].get("num_layers", 1)
    assert kinds(model) == [Embedding, *layers, Dense, Dense]
    ids = torch.randint(0, 20, (5, 3))
    with torch.no_grad():
        assert forward_error(model.predict(ids.numpy()), net(ids).numpy()) <= BAR


@pytest.mark.parametrize("shape", ((1, 1, 6), (1, 4, 6), (2, 5, 6)))
@pytest.mark.parametrize("dynamo", (False, True), ids=("script", "dynamo"))
def test_torch_with_fixed_sizes(dynamo, shape, torch, tmp_path):
    path, net = tmp_path / "model.onnx", torch_net(torch, embedding=False, num_layers=2)
    x = torch.randn(*shape)
    export_torch(torch, net, x, path, dynamo, fixed=True)
    assert kinds(loaded(path, x.numpy())) == [LSTM, LSTM, Dense, Dense]


@pytest.mark.parametrize("opset", (9, 11, 12, 13, 17, 20))
@pytest.mark.parametrize("options", (dict(), dict(kind="RNN", nonlinearity="relu")))
def test_torch_in_older_opsets(options, opset, torch, tmp_path):
    path, net = tmp_path / "model.onnx", torch_net(torch, last=lambda y, h: h[-1], **options)
    x = torch.randint(0, 20, (2, 7))
    export_torch(torch, net, x, path, opset_version=opset)
    loaded(path, x.numpy())


def test_torch_with_time_first(torch, tmp_path):
    """As torch.nn.LSTM is by default: a Model takes the batch first all the same."""
    net, path = torch.nn.LSTM(6, 5, 2), tmp_path / "model.onnx"

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = net

        def forward(self, x):
            return self.lstm(x)[0]

    x = torch.randn(7, 2, 6)
    export_torch(torch, Outputs().eval(), x, path)
    with pytest.raises(ValueError, match=r"X: expected \(time, batch, features\).* `time_major`"):
        load(path)
    loaded(path, x.numpy(), time_major=True)
    with pytest.raises(ValueError, match="time_major: expected True or False"):
        load(path, time_major=1)


def test_torch_last_step_of_both_directions(torch, tmp_path):
    """The backward layer's output at the end of x is not its last one: no Model gives it."""
    net = torch_net(torch, bidirectional=True, last=lambda y, h: y[:, -1])
    export_torch(torch, net, torch.zeros(2, 3, dtype=torch.int64), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="the last state of a layer in both directions"):
        load(tmp_path / "model.onnx")


def test_torch_data_in_another_file(torch, tmp_path):
    """The newer exporter's default."""
    net = torch_net(torch, embedding=False)
    pytest.importorskip("onnxscript")
    path = str(tmp_path / "model.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, 2, 6),), path, dynamo=True, verbose=False)
    assert os.path.exists(path + ".data")
    x = np.random.default_rng(0).standard_normal((3, 5, 6)).astype(np.float32)
    model = load(path)
    assert all(param.flags.writeable and param.flags.owndata for param in model.params)
    wanted = net(torch.from_numpy(x)).detach().numpy()
    assert np.abs(model.predict(x) - wanted).max() <= BAR


# ---------------------------------------------------------------- of Keras

KERAS = """
import sys, keras, numpy as np
from keras import layers as L

ids = lambda: [L.Input((None,), dtype="int32"), L.Embedding(20, 6)]
x = lambda: [L.Input((None, 6))]
CASES = {
    "ids": [*ids(), L.LSTM(5), L.Dense(3, activation="softmax")],
    "steps": [*ids(), L.LSTM(5, return_sequences=True), L.Dense(3, activation="relu")],
    "stack": [*x(), L.LSTM(5, return_sequences=True), L.Dropout(0.2), L.LSTM(4), L.Dense(3)],
    "backwards": [*x(), L.LSTM(5, go_backwards=True, return_sequences=True), L.Dense(3)],
    "both": [*x(), L.Bidirectional(L.LSTM(5)), L.Dense(3, activation="sigmoid")],
    "both_steps": [*x(), L.Bidirectional(L.LSTM(5, return_sequences=True)), L.Dense(3)],
    "relu": [*x(), L.LSTM(5, activation="relu"), L.Dense(3, activation="elu")],
    "loop": [*x(), L.SimpleRNN(5), L.Dense(3)],
}
for name, layers in CASES.items():
    model = keras.Sequential(layers)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(-0.5, 0.5, w.shape) for w in model.get_weights()])
    rows = rng.integers(0, 20, (3, 7)) if name in ("ids", "steps") else rng.random((3, 7, 6))
    rows = rows.astype(model.inputs[0].dtype)
    np.savez(name, x=rows, y=model.predict(rows, verbose=0))
    model.export(name + ".onnx", format="onnx", verbose=False)
"""


def test_keras(environment, tmp_path):
    """On TensorFlow, whose files come from tf2onnx; all in one process, which takes a while."""
    for needed in ("tensorflow", "keras", "tf2onnx"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs {needed}")
    chosen = environment | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    chosen["PYTHONPATH"] = os.pathsep.join([chosen["PYTHONPATH"], *sys.path])
    printed(chosen, KERAS, cwd=tmp_path)
    for name in ("ids", "steps", "stack", "backwards", "both", "both_steps", "relu"):
        data = np.load(tmp_path / f"{name}.npz")
        model = loaded(tmp_path / f"{name}.onnx", data["x"])
        assert forward_error(model.predict(data["x"]), data["y"]) <= BAR, name
    with pytest.raises(ValueError, match=r"\(Loop\): expected an operator of those"):
        load(tmp_path / "loop.onnx")


# ---------------------------------------------------------------- by hand

CHAIN = [  # of an input (batch, time, 3)
    node("Transpose", "x", "turned", perm=[1, 0, 2]),
    node("LSTM", "turned W R B", "Y Y_h Y_c", hidden_size=4),
]
LAST = [node("Squeeze", "Y_h zero", "h"), node("MatMul", "h kernel", "y")]
AXES = {"zero": np.array([0]), "one": np.array([1])}
X = np.random.default_rng(3).standard_normal((3, 6, 3)).astype(np.float32)
BY_HAND = {
    "last_state": CHAIN + LAST,
    "gemm": [*CHAIN, node("Squeeze", "Y_h zero", "h"), node("Gemm", "h kernel bias", "y")],
    "gemm_turned": [
        *CHAIN,
        node("Squeeze", "Y_h zero", "h"),
        node("Transpose", "kernel", "kernel_t"),
        node("Gemm", "h kernel_t", "y", transB=1),
    ],
    "bias_first": [
        *CHAIN,
        node("Squeeze", "Y_h zero", "h"),
        node("MatMul", "h kernel", "z"),
        node("Add", "bias z", "y"),
    ],
    "dense_then_last": [
        *CHAIN,
        node("MatMul", "Y kernel", "steps"),
        node("Add", "steps bias", "z"),
        node("Tanh", "z", "tanh"),
        node("Squeeze", "tanh one", "squeezed"),
        node("Gather", "squeezed minus", "y", axis=0),
    ],
    "dropout": [
        *CHAIN,
        node("Squeeze", "Y_h zero", "h"),
        node("Dropout", "h half false", "dropped"),
        node("Identity", "dropped", "y"),
    ],
    "zero_states": [
        CHAIN[0],
        node("LSTM", "turned W R B - states states", "Y Y_h", hidden_size=4),
        *LAST,
    ],
    "zeros_of_a_shape": [
        CHAIN[0],
        node("Shape", "x", "sizes"),
        node("Slice", "sizes zero one zero", "rows"),
        node("Concat", "one rows units", "shape", axis=0),
        node("ConstantOfShape", "shape", "zeros"),
        node("LSTM", "turned W R B - zeros zeros", "Y Y_h", hidden_size=4),
        *LAST,
    ],
    "merged_axes": [
        *CHAIN,
        node("Transpose", "Y", "rows", perm=[2, 0, 1, 3]),
        node("Reshape", "rows flat", "merged"),
        node("MatMul", "merged kernel", "z"),
        node("Shape", "x", "sizes", end=2),
        node("ReduceProd", "sizes", "product"),
        node("Concat", "sizes two", "shape", axis=0),
        node("Reshape", "z shape", "y"),
    ],
    "reversed": [
        *CHAIN[:1],
        node("Slice", "turned minus least zero minus", "backwards"),
        node("LSTM", "backwards W R B", "Y Y_h", hidden_size=4),
        node("Squeeze", "Y one", "squeezed"),
        node("Transpose", "squeezed", "y", perm=[1, 0, 2]),
    ],
    "first_of_reverse": [
        CHAIN[0],
        node("LSTM", "turned W R B", "Y", hidden_size=4, direction="reverse"),
        node("Squeeze", "Y one", "squeezed"),
        node("Gather", "squeezed first", "h", axis=0),
        LAST[1],
    ],
    "reverse_sequence": [  # as tf2onnx has it
        CHAIN[0],
        node("Shape", "turned", "sizes"),
        node("Gather", "sizes zero", "steps"),
        node("Gather", "sizes one", "rows"),
        node("Expand", "steps rows", "lengths"),
        node("ReverseSequence", "turned lengths", "backwards", batch_axis=1, time_axis=0),
        node("LSTM", "backwards W R B", "Y Y_h", hidden_size=4),
        *LAST,
    ],
    "each_direction": [  # as it, too: the last step of one, the first of the other
        CHAIN[0],
        node("LSTM", "turned W2 R2 B2", "Y", hidden_size=4, direction="bidirectional"),
        node("Slice", "Y zero one one", "f"),
        node("Squeeze", "f one", "f_steps"),
        node("Slice", "f_steps minus most zero", "f_last"),
        node("Squeeze", "f_last zero", "f_h"),
        node("Slice", "Y one two one", "b"),
        node("Squeeze", "b one", "b_steps"),
        node("Slice", "b_steps zero one zero", "b_last"),
        node("Squeeze", "b_last zero", "b_h"),
        node("Concat", "f_h b_h", "h", axis=1),
        node("MatMul", "h kernel2", "y"),
    ],
    "without_use": [*CHAIN, node("NonZero", "Y", "unused"), *LAST],
}
MORE = {
    "minus": np.array([-1]),
    "least": np.array([-(2**63)]),
    "most": np.array([2**31 - 1]),
    "first": np.array(0),
    "half": np.float32(0.5),
    "false": np.array(False),
    "states": np.zeros((1, 3, 4), np.float32),
    "units": np.array([4]),
    "two": np.array([2]),
    "flat": np.array([-1, 4]),
    **{f"{name}2": array for name, array in weights(D=2).items()},
}


@pytest.mark.parametrize("case", BY_HAND)
def test_by_hand(case, tmp_path):
    arrays = weights() | AXES | MORE
    if case == "dense_then_last":
        arrays["minus"] = np.array(-1)
    used = {name for one in BY_HAND[case] for name in one.input}
    proto = model_of(BY_HAND[case], {n: a for n, a in arrays.items() if n in used})
    onnx.save(proto, tmp_path / "model.onnx")
    loaded(tmp_path / "model.onnx", X)


IDS = [  # what tf2onnx makes of Keras's ids, negative ones of which count from the end
    node("Add", "x V", "wrapped"),
    node("Cast", "x", "floats", to=FLOAT),
    node("Less", "floats nought", "negative"),
    node("Not", "negative", "positive"),
    node("Cast", "positive", "ones", to=INT64),
    node("Mul", "x ones", "kept"),
    node("Cast", "negative", "zeros", to=INT64),
    node("Mul", "zeros wrapped", "moved"),
    node("Add", "moved kept", "ids"),
]
IDS_OF_TORCH = [  # and torch.onnx.export
    node("Cast", "x", "same", to=INT64),
    node("Less", "same V0", "negative"),
    node("Add", "same V", "wrapped"),
    node("Where", "negative wrapped same", "ids"),
]


@pytest.mark.parametrize("first", (IDS, IDS_OF_TORCH), ids=("tensorflow", "torch"))
def test_ids_of_keras(first, tmp_path):
    arrays = weights() | AXES | {"V": np.array(9), "V0": np.array(0), "nought": np.float32(0)}
    arrays["table"] = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    nodes = [*first, node("Gather", "table ids", "x0"), CHAIN[0], CHAIN[1], *LAST]
    nodes[len(first) + 1] = node("Transpose", "x0", "turned", perm=[1, 0, 2])
    used = {name for one in nodes for name in one.input}
    arrays = {name: a for name, a in arrays.items() if name in used}
    onnx.save(model_of(nodes, arrays, INT64, ("batch", "time")), tmp_path / "model.onnx")
    ids = np.random.default_rng(0).integers(0, 9, (3, 5))
    assert kinds(loaded(tmp_path / "model.onnx", ids)) == [Embedding, LSTM, Dense]


@pytest.mark.parametrize("direction", ("forward", "reverse", "bidirectional"))
def test_layout_1(direction, tmp_path):
    """The batch first, which ONNX Runtime refuses; in float64, which it refuses, too."""
    from onnx.reference import ReferenceEvaluator

    D = 2 if direction == "bidirectional" else 1
    nodes = [
        node("LSTM", "x W R B", "Y Y_h", hidden_size=4, layout=1, direction=direction),
        node("Reshape", "Y_h flat", "h"),
        node("MatMul", "h kernel", "y"),
    ]
    arrays = weights(D=D, dtype="float64") | {"flat": np.array([0, 4 * D])}
    del arrays["bias"]
    onnx.save(model_of(nodes, arrays, DOUBLE), tmp_path / "model.onnx")
    (wanted,) = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"x": X.astype(float)})
    model = load(tmp_path / "model.onnx")
    found = model.predict(X.astype(float))
    assert model.dtype == "float64" and forward_error(found, wanted) <= 1e-12


def test_attributes_of_the_operator(tmp_path):
    """Activations and their parameters, clip, coupled gates, peepholes."""
    rng = np.random.default_rng(0)
    for names, alphas, betas in (
        (["HardSigmoid", "Tanh", "Elu"], [0.3, 0.7], [0.4]),
        (["hardsigmoid", "SOFTSIGN", "tanh"], None, None),
    ):
        given = {"activations": names, "clip": 0.4, "input_forget": 1, "direction": "reverse"}
        given |= {"activation_alpha": alphas, "activation_beta": betas} if alphas else {}
        cell = node("LSTM", "turned W R B - - - P", "Y Y_h", hidden_size=4, **given)
        arrays = weights() | {"P": rng.uniform(-1, 1, (1, 12)).astype("f"), "zero": AXES["zero"]}
        del arrays["bias"]
        onnx.save(model_of([CHAIN[0], cell, *LAST], arrays), tmp_path / "model.onnx")
        (layer, _) = loaded(tmp_path / "model.onnx", X).layers
        assert layer.go_backwards and layer.coupled and layer.peepholes


def test_the_page(environment, tmp_path):
    """docs/onnx.md: its Python, from the first line to the last, in a fresh process."""
    page = (Path(__file__).parent.parent / "docs" / "onnx.md").read_text()
    code = "\n".join(re.findall(r"^```py\n(.*?)^```$", page, re.M | re.S))
    code += "\nids = rng.integers(0, 1000, (3, 7))\n"
    code += "np.testing.assert_array_equal(same.predict(ids), model.predict(ids))\n"
    printed(environment, code, flags=["-P", "-W", "error"], cwd=tmp_path)

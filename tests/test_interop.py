"""Weights in and out of the layouts of PyTorch, Keras and ONNX: round trips, frameworks, errors."""

import numpy as np
import onnx_lstm
import pytest
from agreement import DTYPES, forward_error, same_bits

from lstmfast import interop, lstm_forward

BAR = 1e-5  # measured: 2.1e-7
STACKS = ((1, 1), (1, 2), (3, 1), (3, 2))  # layers, directions
I, H = 5, 6
SHAPES = {"W_ih": (4 * H, I), "W_hh": (4 * H, H), "b": (4 * H,), "p": (3, H), "W_hr": (3, H)}


def random_parts(layers=1, directions=1, keys="W_ih W_hh b", dtype="float32"):
    """Return parts of the common form; with W_hr in `keys`, of layers that project to 3."""
    rng = np.random.default_rng(layers)
    out = 3 if "W_hr" in keys else H
    shapes = {**SHAPES, "W_hh": (4 * H, out)}
    parts = []
    for n in range(layers * directions):
        shapes["W_ih"] = (4 * H, I if n < directions else directions * out)
        parts.append({key: rng.uniform(-1, 1, shapes[key]).astype(dtype) for key in keys.split()})
    return parts


def random_x(dtype="float32"):
    return np.random.default_rng(7).standard_normal((4, 3, I)).astype(dtype)


def by_lstmfast(x, parts, directions=1):
    """Run a stack of layers over x (T, B, I): each layer reads all directions of the one below."""
    for first in range(0, len(parts), directions):
        layer = parts[first : first + directions]
        runs = [lstm_forward(x, **part, reverse=d == 1)[0] for d, part in enumerate(layer)]
        x = np.concatenate(runs, axis=-1)
    return x


def assert_same(parts, others):
    """Hold parts against others: keys, bits, contiguous arrays."""
    assert [list(part) for part in parts] == [list(other) for other in others]
    for part, other in zip(parts, others, strict=True):
        for key in part:
            assert same_bits(part[key], other[key]), key
            assert part[key].flags.c_contiguous and part[key].flags.writeable
            assert not np.shares_memory(part[key], other[key])


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("dtype", (*DTYPES, "float16"))
@pytest.mark.parametrize("keys", ("W_ih W_hh", "W_ih W_hh b", "W_ih W_hh b W_hr", "W_ih W_hh W_hr"))
@pytest.mark.parametrize(("layers", "directions"), STACKS)
def test_to_torch_and_back(layers, directions, keys, dtype):
    parts = random_parts(layers, directions, keys, dtype)
    arrays = interop.to_torch(parts, directions == 2, prefix="lstm.")
    arrays["dense.weight"] = np.zeros(3)
    found, bidirectional = interop.from_torch(arrays, prefix="lstm.")
    assert bidirectional == (directions == 2)
    assert_same(found, parts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keys", ("W_ih W_hh", "W_ih W_hh b"))
@pytest.mark.parametrize(("layers", "directions"), STACKS)
def test_to_keras_and_back(layers, directions, keys, dtype):
    parts = random_parts(layers, directions, keys, dtype)
    assert_same(interop.from_keras(interop.to_keras(parts), directions == 2), parts)


def test_keras_layers_with_and_without_bias():
    parts = random_parts() + random_parts(keys="W_ih W_hh") + random_parts()
    weights = interop.to_keras(parts)
    assert [w.ndim for w in weights] == [2, 2, 1, 2, 2, 2, 2, 1]
    assert_same(interop.from_keras(weights), parts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keys", ("W_ih W_hh", "W_ih W_hh b", "W_ih W_hh p", "W_ih W_hh b p"))
@pytest.mark.parametrize("directions", (1, 2))
def test_to_onnx_and_back(directions, keys, dtype):
    parts = random_parts(1, directions, keys, dtype)
    W, R, B, P = interop.to_onnx(parts)
    assert (B is not None, P is not None) == ("b" in keys, "p" in keys)
    assert all(a is None or a.flags.c_contiguous for a in (W, R, B, P))
    assert_same(interop.from_onnx(W, R, B, P), parts)


def test_two_biases_are_added():
    parts = random_parts(dtype="float64")
    arrays = interop.to_torch(parts)
    arrays["bias_hh_l0"] = np.arange(4.0 * H)
    assert same_bits(interop.from_torch(arrays)[0][0]["b"], parts[0]["b"] + np.arange(4.0 * H))
    W, R, B, P = interop.to_onnx(parts)
    B[0, 4 * H :] = np.repeat([1.0, 2.0, 3.0, 4.0], H)  # i, o, f, g
    added = np.repeat([1.0, 3.0, 4.0, 2.0], H)
    assert same_bits(interop.from_onnx(W, R, B, P)[0]["b"], parts[0]["b"] + added)


# ---------------------------------------------------------------- the frameworks themselves


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("proj_size", (0, 3))
@pytest.mark.parametrize(("layers", "directions"), STACKS)
def test_torch(layers, directions, proj_size, bias):
    torch = pytest.importorskip("torch")
    options = {"num_layers": layers, "bidirectional": directions == 2, "bias": bias}
    layer, twin = (torch.nn.LSTM(I, H, proj_size=proj_size, **options) for _ in range(2))
    parts, bidirectional = interop.from_torch(layer.state_dict())
    assert bidirectional == (directions == 2) and len(parts) == layers * directions
    arrays = interop.to_torch(parts, bidirectional)
    assert list(arrays) == list(layer.state_dict())
    twin.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    x = random_x()
    with torch.no_grad():
        wanted, got = (one(torch.from_numpy(x))[0].numpy() for one in (layer, twin))
    assert forward_error(got, wanted) <= BAR
    if not proj_size:
        assert forward_error(by_lstmfast(x, parts, directions), wanted) <= BAR


def test_torch_parameters_of_a_larger_module():
    torch = pytest.importorskip("torch")
    module = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(I, H), "dense": torch.nn.Linear(H, 2)})
    parts, _ = interop.from_torch(dict(module.named_parameters()), "lstm.")
    assert same_bits(parts[0]["W_ih"], module["lstm"].weight_ih_l0.detach().numpy())
    with pytest.raises(ValueError, match=r"got \['lstm.weight_ih_l0'.*'dense.bias'\]"):
        interop.from_torch(module.state_dict())
    with pytest.raises(ValueError, match=r"l0'\]: expected an array of floats, got Tensor on dev"):
        interop.from_torch(torch.nn.LSTM(I, H).bfloat16().state_dict())


@pytest.mark.parametrize("use_bias", (True, False))
@pytest.mark.parametrize("directions", (1, 2))
def test_keras(keras, directions, use_bias):
    def stack():
        layers = [keras.layers.LSTM(H, use_bias=use_bias, return_sequences=True) for _ in "ab"]
        if directions == 2:
            layers = [keras.layers.Bidirectional(layer) for layer in layers]
        return keras.Sequential([keras.Input((None, I)), *layers])

    model, twin = stack(), stack()
    parts = interop.from_keras(model.get_weights(), directions == 2)
    assert len(parts) == 2 * directions and ("b" in parts[0]) == use_bias
    twin.set_weights(interop.to_keras(parts))
    x = random_x()
    wanted = keras.ops.convert_to_numpy(model(x.swapaxes(0, 1))).swapaxes(0, 1)
    assert forward_error(by_lstmfast(x, parts, directions), wanted) <= BAR
    again = keras.ops.convert_to_numpy(twin(x.swapaxes(0, 1))).swapaxes(0, 1)
    assert same_bits(again, wanted)


@pytest.mark.parametrize("keys", ("W_ih W_hh", "W_ih W_hh b", "W_ih W_hh p", "W_ih W_hh b p"))
@pytest.mark.parametrize("direction", ("forward", "reverse", "bidirectional"))
def test_onnx_runtime(direction, keys):
    directions = 2 if direction == "bidirectional" else 1
    parts, x = random_parts(1, directions, keys), random_x()
    named = zip(("W", "R", "B", "P"), interop.to_onnx(parts), strict=True)
    inputs = {"X": x} | {name: array for name, array in named if array is not None}
    wanted = onnx_lstm.by_runtime(inputs, direction=direction)[0]
    for d, part in enumerate(parts):
        got = lstm_forward(x, **part, reverse=direction == "reverse" or d == 1)[0]
        assert forward_error(got, wanted[:, d]) <= BAR


# ---------------------------------------------------------------- what does not fit


def torch_arrays(**changes):
    """Return a state_dict of one layer with changes; None leaves a key out."""
    arrays = interop.to_torch(random_parts()) | changes
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("state_dict", "text"),
    [
        ([1], "state_dict: expected a mapping, got list"),
        ({}, r"state_dict: expected the keys \['weight_ih_l0', 'weight_hh_l0'\], too, got \[\]"),
        (torch_arrays(weight_hh_l0=None), r"expected the keys \['weight_hh_l0'\], too, got \['wei"),
        (torch_arrays(bias_hh_l0=None), r"expected the keys \['bias_hh_l0'\], too"),
        (torch_arrays(weight_ih_l2=1), r"expected the keys \['weight_ih_l1', 'weight_hh_l1'"),
        (torch_arrays(bias_ih_l0_reverse=1), r"expected the keys \['weight_ih_l0_reverse', "),
        (torch_arrays(weight_ch_l0=1), r"expected no keys but \[.*, got \['weight_ch_l0'\]"),
        (torch_arrays(weight_ih_l0="W"), r"\['weight_ih_l0'\]: expected an array of floats, got"),
        (torch_arrays(bias_ih_l0=[[1.0], []]), r"\['bias_ih_l0'\]: expected an array of floats"),
        (torch_arrays(bias_ih_l0=np.zeros(4 * H, int)), "array of floats, got dtype int64"),
        (
            torch_arrays(bias_ih_l0=np.zeros(4 * H)),
            "expected dtype float32 like the other arrays, got",
        ),
        (
            torch_arrays(bias_hh_l0=np.zeros(1, "f")),
            r"'bias_hh_l0'\]: expected \(24,\), got \(1,\)",
        ),
        (
            torch_arrays(weight_ih_l0=np.zeros((7, 2), "f")),
            r"'\]: expected \(4H, I\), got \(7, 2\)",
        ),
        (torch_arrays(weight_ih_l0=np.zeros((0, 2), "f")), "expected no axis of size 0"),
    ],
)
def test_wrong_torch(state_dict, text):
    with pytest.raises(ValueError, match=text):
        interop.from_torch(state_dict)


def test_a_layer_reads_the_one_below():
    parts = random_parts(2, 2)
    parts[2]["W_ih"] = parts[2]["W_ih"][:, :H]
    with pytest.raises(ValueError, match=r"parts\[2\]\['W_ih'\]: expected \(24, 12\), got \(24, 6"):
        interop.to_torch(parts, bidirectional=True)


@pytest.mark.parametrize(
    ("write", "parts", "text"),
    [
        (interop.to_torch, {}, "parts: expected a list of dicts, got dict"),
        (interop.to_keras, [], "parts: expected a list of dicts, got list"),
        (interop.to_keras, [3], r"parts\[0\]: expected a dict of arrays, got int"),
        (interop.to_onnx, [{}], r"parts\[0\]: expected the keys \['W_ih', 'W_hh'\], too, got \[\]"),
        (interop.to_torch, random_parts(keys="W_ih W_hh p"), r"parts\[0\]: .*, got \['p'\]"),
        (interop.to_keras, random_parts(keys="W_ih W_hh W_hr"), r"parts\[0\]: .*, got \['W_hr'\]"),
        (interop.to_onnx, random_parts(keys="W_ih W_hh W_hr"), r"parts\[0\]: .*, got \['W_hr'\]"),
        (interop.to_onnx, random_parts(3), "expected one layer in 1 or 2 directions, got 3 parts"),
        (
            interop.to_onnx,
            random_parts() + random_parts(keys="W_ih W_hh"),
            r"parts\[1\]: expected the keys \['b'\], too",
        ),
        (
            lambda parts: interop.to_torch(parts, bidirectional=True),
            random_parts(3),
            "parts: expected two directions of each layer, got 3 parts",
        ),
        (lambda parts: interop.to_torch(parts, 2), random_parts(), "bidirectional: expected True"),
    ],
)
def test_wrong_parts(write, parts, text):
    with pytest.raises(ValueError, match=text):
        write(parts)


@pytest.mark.parametrize(
    ("change", "bidirectional", "text"),
    [
        (lambda w: None, False, "weights: expected a list of arrays, got None"),
        (lambda w: w[:1], False, r"weights: expected a recurrent_kernel after weights\[0\]"),
        (lambda w: w, True, "weights: expected two directions of each layer, got 1 parts"),
        (lambda w: w + w[:2], True, r"weights\[3\]: expected a bias in both directions or none"),
        (lambda w: [w[1].T, w[0]], False, r"weights\[0\]: expected \(I, 4H\), got \(24, 6\)"),
        (lambda w: [*w[:2], w[2][:9]], False, r"weights\[2\]: expected \(24,\), got \(9,\)"),
        (lambda w: [*w, w[0][:3], *w[1:]], True, r"weights\[3\]: expected \(5, 24\), got \(3, 24"),
    ],
)
def test_wrong_keras(change, bidirectional, text):
    with pytest.raises(ValueError, match=text):
        interop.from_keras(change(interop.to_keras(random_parts())), bidirectional)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"W": np.zeros((24, 5), "f")}, r"W: expected \(D, 4H, I\), got \(24, 5\)"),
        ({"W": np.zeros((1, 26, 5), "f")}, r"W: expected \(D, 4H, I\), got \(1, 26, 5\)"),
        ({"R": np.zeros((1, 24, 5), "f")}, r"R: expected \(1, 24, 6\), got \(1, 24, 5\)"),
        ({"R": np.zeros((2, 24, 6), "f")}, r"R: expected \(1, 24, 6\), got \(2, 24, 6\)"),
        ({"B": np.zeros((1, 24), "f")}, r"B: expected \(1, 48\), got \(1, 24\)"),
        ({"P": np.zeros((1, 3, 6), "f")}, r"P: expected \(1, 18\), got \(1, 3, 6\)"),
        ({"P": np.zeros((1, 18))}, "P: expected dtype float32 like the other arrays, got float64"),
        ({"W": np.zeros((3, 24, 5), "f"), "R": np.zeros((3, 24, 6), "f")}, "expected 1 or 2 dire"),
    ],
)
def test_wrong_onnx(changes, text):
    W, R, B, P = interop.to_onnx(random_parts())
    with pytest.raises(ValueError, match=text):
        interop.from_onnx(**{"W": W, "R": R, "B": B, "P": P} | changes)

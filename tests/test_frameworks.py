"""Parity with PyTorch and Keras: outputs, states and gradients, option by option.

ONNX's operator is in `test_onnx_lstm`, weights in `test_interop`.
"""

import numpy as np
import pytest
from agreement import DTYPES, computed, forward_error, gradient_error, lstm_case

from lstmfast import LSTM, interop, lstm_backward, lstm_forward

BAR = 1e-5  # measured: 5.2e-7; in float64 1.4e-8, as PyTorch's hardsigmoid has 1/6 in float32
SHAPE = (7, 5, 4, 6)
LENGTHS = (3, 7, 1, 5, 7)
ORDERS = {
    "plain": {},
    "reverse": {"reverse": True},
    "lengths": {"lengths": LENGTHS},
    "both": {"lengths": LENGTHS, "reverse": True},
}


def assert_all_close(outputs, gradients, wanted, wanted_gradients):
    """Hold outputs and gradients against those of a framework, which may have fewer of them."""
    for name, ref in wanted.items():
        assert outputs[name].dtype == ref.dtype, name
        assert forward_error(outputs[name], ref) <= BAR, name
    for name, ref in wanted_gradients.items():
        assert gradients[name].dtype == ref.dtype, name
        assert gradient_error(gradients[name], ref) <= BAR, name


# ---------------------------------------------------------------- PyTorch


def turned(tensor, lengths):
    """Turn each row (T, B, ...) round in time, its own steps alone; its own inverse."""
    turned = tensor.clone()
    for b, length in enumerate(lengths):
        turned[:length, b] = tensor[:length, b].flip(0)
    return turned


def torch_outputs(torch, tensors, lengths, reverse):
    """Run torch.nn.LSTM over a time-major case: y, h_n and c_n as lstmfast gives them."""
    x, W_ih, W_hh = (tensors[name] for name in ("x", "W_ih", "W_hh"))
    T, B, I = x.shape
    weights = {"weight_ih_l0": W_ih, "weight_hh_l0": W_hh}
    if "b" in tensors:
        weights |= {"bias_ih_l0": tensors["b"], "bias_hh_l0": torch.zeros_like(tensors["b"])}
    layer = torch.nn.LSTM(I, W_hh.shape[1], bias="b" in tensors, dtype=x.dtype)
    state = (tensors["h0"][None], tensors["c0"][None]) if "h0" in tensors else None
    steps = [T] * B if lengths is None else lengths
    x = turned(x, steps) if reverse else x
    rnn = torch.nn.utils.rnn
    if lengths is not None:
        x = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, (h_n, c_n) = torch.func.functional_call(layer, weights, (x, state))
    if lengths is not None:
        y, _ = rnn.pad_packed_sequence(y, total_length=T)
    return {"y": turned(y, steps) if reverse else y, "h_n": h_n[0], "c_n": c_n[0]}


def torch_results(torch, case, lengths=None, reverse=False):
    """Return every output and gradient of a time-major case by PyTorch's autograd."""
    tensors = {name: torch.tensor(a, requires_grad=True) for name, a in case.inputs.items()}
    outputs = torch_outputs(torch, tensors, lengths, reverse)
    loss = sum((torch.tensor(case.upstream["d" + name]) * a).sum() for name, a in outputs.items())
    loss.backward()
    return (
        {name: a.detach().numpy() for name, a in outputs.items()},
        {"d" + name: tensor.grad.numpy() for name, tensor in tensors.items()},
    )


def batch_major(case):
    """Return the case with the batch as first axis of x and dy."""
    inputs = case.inputs | {"x": case.inputs["x"].swapaxes(0, 1)}
    upstream = case.upstream | {"dy": case.upstream["dy"].swapaxes(0, 1)}
    return case._replace(inputs=inputs, upstream=upstream)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", (True, False), ids=("bias", "no_bias"))
@pytest.mark.parametrize("state", (True, False), ids=("state", "zeros"))
@pytest.mark.parametrize("batch_first", (False, True), ids=("time_first", "batch_first"))
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_torch(order, batch_first, state, bias, dtype):
    torch = pytest.importorskip("torch")
    case = lstm_case(*SHAPE, dtype)
    for name in [] if bias else ["b"]:
        del case.inputs[name]
    for name in [] if state else ["h0", "c0"]:
        del case.inputs[name]
    wanted, wanted_gradients = torch_results(torch, case, **order)
    case = batch_major(case) if batch_first else case
    outputs, gradients = computed(case, batch_first=batch_first, **order)
    if batch_first:
        outputs["y"], gradients["dx"] = outputs["y"].swapaxes(0, 1), gradients["dx"].swapaxes(0, 1)
    assert_all_close(outputs, gradients, wanted, wanted_gradients)
    assert (gradients["dh0"] is None) == (not state)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((1, 1, 1, 1), (1, 3, 2, 17), (60, 4, 33, 40)), ids=str)
def test_torch_in_other_shapes(shape, dtype):
    torch = pytest.importorskip("torch")
    case = lstm_case(*shape, dtype)
    assert_all_close(*computed(case), *torch_results(torch, case))


STACKS = {
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "projection": {"proj_size": 3},
    "everything": {"num_layers": 3, "bidirectional": True, "proj_size": 2},
    "no bias": {"num_layers": 2, "bias": False},
}


def arguments_of(parts):
    """The weights as `lstm_forward` takes them: lists over the parts."""
    names = {"W_ih", "W_hh", "b", "W_hr"} & parts[0].keys()
    return {name: [part[name] for part in parts] for name in names}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", (None, LENGTHS), ids=("full", "lengths"))
@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_torch_stacks(options, lengths, dtype):
    """Outputs, states and the gradients of x, of the states and of every weight."""
    torch = pytest.importorskip("torch")
    T, B, I, H = SHAPE
    torch.manual_seed(0)
    layer = torch.nn.LSTM(I, H, dtype=getattr(torch, dtype), **options)
    both = options.get("bidirectional", False)
    parts, directions = interop.from_torch(layer.state_dict())
    assert directions is both
    rng = np.random.default_rng(1)
    P = options.get("proj_size", H)
    arrays = {"x": (T, B, I), "h0": (len(parts), B, P), "c0": (len(parts), B, H)}
    arrays = {name: rng.standard_normal(shape).astype(dtype) for name, shape in arrays.items()}
    x, h0, c0 = (torch.tensor(a, requires_grad=True) for a in arrays.values())
    packed, rnn = x, torch.nn.utils.rnn
    if lengths is not None:
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, (h_n, c_n) = layer(packed, (h0, c0))
    if lengths is not None:
        y, _ = rnn.pad_packed_sequence(y, total_length=T)
    upstream = [rng.standard_normal(a.shape).astype(dtype) for a in (y, h_n, c_n)]
    sum(
        (a * torch.tensor(d)).sum() for a, d in zip((y, h_n, c_n), upstream, strict=True)
    ).backward()
    got, state, cache = lstm_forward(
        **arrays, **arguments_of(parts), bidirectional=both, lengths=lengths, training=True
    )
    found = lstm_backward(cache, *upstream)
    outputs = {"y": y, "h_n": h_n, "c_n": c_n}
    wanted = {"dx": x.grad, "dh0": h0.grad, "dc0": c0.grad}
    wanted |= {name: p.grad for name, p in layer.named_parameters() if "bias_ih" not in name}
    gradients = {"dx": found.dx, "dh0": found.dh0, "dc0": found.dc0}
    named = [("weight_ih", found.dW_ih), ("weight_hh", found.dW_hh), ("bias_hh", found.db)]
    for name, of in [*named, ("weight_hr", found.dW_hr or [])]:
        for k, gradient in enumerate(of):
            end = f"l{k // (1 + both)}" + ("_reverse" if both and k % 2 else "")
            gradients[f"{name}_{end}"] = gradient
    assert_all_close(
        {"y": got, "h_n": state[0], "c_n": state[1]},
        gradients,
        {name: a.detach().numpy() for name, a in outputs.items()},
        {name: a.numpy() for name, a in wanted.items()},
    )


# ---------------------------------------------------------------- Keras

B, T, I, H = 4, 6, 5, 7
ACTIVATIONS = (
    "tanh", "sigmoid", "relu", "hard_sigmoid", "elu", "softsign", "softplus", "leaky_relu",
    "linear",
)  # fmt: skip
KERAS = {f"activation={name}": {"activation": name} for name in ACTIVATIONS}
KERAS |= {f"recurrent={name}": {"recurrent_activation": name} for name in ACTIVATIONS}
KERAS |= {
    "both": {"activation": "elu", "recurrent_activation": "hard_sigmoid"},
    "no_bias": {"use_bias": False},
    "backwards": {"go_backwards": True},
}
MASKS = {
    "gaps": [[1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0]],
    "lengths": [[1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]],
}


class Both:
    """One layer of Keras and ours with the same options and weights."""

    def __init__(self, keras, dtype, **options):
        self.keras = keras
        self.theirs = keras.layers.LSTM(H, dtype=dtype, **options)
        self.theirs.build((None, None, I))
        self.ours = LSTM(H, pad="repeat", **options)
        self.ours.build((None, None, I), dtype=dtype)
        rng = np.random.default_rng(1)
        weights = [rng.uniform(-0.5, 0.5, w.shape) for w in self.ours.get_weights()]
        self.ours.set_weights(weights)
        self.theirs.set_weights(self.ours.get_weights())
        self.x = rng.standard_normal((B, T, I)).astype(dtype)
        self.state = [rng.uniform(-1, 1, (B, H)).astype(dtype) for _ in "hc"]

    def by_keras(self, state, mask, seed=2):
        """Return the output, its upstream gradient and the gradients by name."""
        convert = self.keras.ops.convert_to_tensor
        x, h, c = (convert(a).clone().requires_grad_() for a in (self.x, *self.state))
        mask = None if mask is None else convert(mask)
        y = self.theirs(x, initial_state=[h, c] if state else None, mask=mask)
        dy = np.random.default_rng(seed).standard_normal(y.shape).astype(self.x.dtype)
        (y * convert(dy)).sum().backward()
        tensors = [x, *(w.value for w in self.theirs.trainable_weights)]
        tensors += [h, c] if state else []
        return y.detach().numpy(), dy, [t.grad.numpy() for t in tensors]

    def assert_agree(self, state=False, mask=None):
        wanted, dy, gradients = self.by_keras(state, mask)
        start = tuple(self.state) if state else None
        got = self.ours.forward(self.x, training=True, initial_state=start, mask=mask)
        dx = self.ours.backward(dy)
        found = [dx, *(g.T if g.ndim == 2 else g for g in self.ours.grads.values())]
        found += self.ours.initial_state_grads if state else ()
        assert len(found) == len(gradients)
        names = [str(n) for n in range(len(found))]
        assert_all_close(
            {"y": got},
            dict(zip(names, found, strict=True)),
            {"y": wanted},
            dict(zip(names, gradients, strict=True)),
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sequences", (True, False), ids=("sequences", "last"))
@pytest.mark.parametrize("options", KERAS.values(), ids=KERAS)
def test_keras(keras, options, sequences, dtype):
    Both(keras, dtype, return_sequences=sequences, **options).assert_agree()


@pytest.mark.parametrize("backwards", (False, True), ids=("forwards", "backwards"))
@pytest.mark.parametrize("sequences", (True, False), ids=("sequences", "last"))
@pytest.mark.parametrize("state", (True, False), ids=("state", "zeros"))
@pytest.mark.parametrize("mask", (None, *MASKS.values()), ids=("none", *MASKS))
def test_keras_masks_and_states(keras, mask, state, sequences, backwards):
    both = Both(keras, "float32", return_sequences=sequences, go_backwards=backwards)
    both.assert_agree(state, None if mask is None else np.array(mask, bool))


@pytest.mark.parametrize("backwards", (False, True), ids=("forwards", "backwards"))
@pytest.mark.parametrize("state", (True, False), ids=("state", "zeros"))
def test_keras_rows_of_no_steps(keras, state, backwards):
    """Alike but for the last output from an initial h: Keras gives zeros, lstmfast that h."""
    mask = np.array([[1, 1, 0, 1, 0, 1], [0] * 6, [1] * 6, [0] * 6], bool)
    Both(keras, "float32", return_sequences=True, go_backwards=backwards).assert_agree(state, mask)
    both = Both(keras, "float32", go_backwards=backwards)
    if not state:
        return both.assert_agree(state, mask)
    wanted, _, _ = both.by_keras(state, mask)
    got = both.ours(both.x, initial_state=tuple(both.state), mask=mask)
    assert forward_error(got[[0, 2]], wanted[[0, 2]]) <= BAR
    assert not wanted[[1, 3]].any()
    np.testing.assert_array_equal(got[[1, 3]], both.state[0][[1, 3]])


@pytest.mark.parametrize("sequences", (True, False), ids=("sequences", "last"))
@pytest.mark.parametrize("mask", (None, MASKS["lengths"]), ids=("none", "lengths"))
def test_keras_bidirectional(keras, mask, sequences):
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(H, return_sequences=sequences))
    x = np.random.default_rng(4).standard_normal((B, T, I)).astype(np.float32)
    mask = None if mask is None else np.array(mask, bool)
    theirs(x)
    ours = LSTM(H, bidirectional=True, return_sequences=sequences)  # Bidirectional has zeros, too
    ours.build((None, None, I))
    ours.set_parts(interop.from_keras(theirs.get_weights(), bidirectional=True))
    wanted = keras.ops.convert_to_numpy(theirs(x, mask=mask))
    assert forward_error(ours(x, mask=mask), wanted) <= BAR


@pytest.mark.parametrize("unit_forget_bias", (True, False))
def test_keras_draws_the_same_bias(keras, unit_forget_bias):
    layers = (one(H, unit_forget_bias=unit_forget_bias) for one in (keras.layers.LSTM, LSTM))
    for layer in layers:
        layer.build((None, None, I))
        bias = layer.get_weights()[2]
        np.testing.assert_array_equal(bias, np.repeat([0, unit_forget_bias, 0, 0], H))


def test_keras_stateful(keras):
    theirs = keras.layers.LSTM(H, stateful=True)
    theirs.build((B, T, I))
    ours = LSTM(H, stateful=True)
    ours.build((None, None, I))
    ours.set_weights(theirs.get_weights())
    x = np.random.default_rng(3).standard_normal((3, B, T, I)).astype(np.float32)
    for batch in x:
        assert forward_error(ours(batch), keras.ops.convert_to_numpy(theirs(batch))) <= BAR

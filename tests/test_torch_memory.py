"""Tensors are shared with lstmfast's arrays, not copied: by the addresses that the kernels get."""

from pathlib import Path

import pytest
from torch_cases import LSTM, torch

from lstmfast import ops
from lstmfast.ops.weights import layer_of

T, B, I, H = 6, 4, 8, 16


class Spy:
    """Stands for a handle: notes the arrays that it is given."""

    def __init__(self, layer, seen):
        self.layer, self.seen = layer, seen

    def __getattr__(self, name):
        return getattr(self.layer, name)

    def forward(self, T, B, x, x_strides, taken, h0, c0, y, *others):
        self.seen |= {"x": x, "h0": h0, "c0": c0, "y": y, "h_n": others[1], "c_n": others[2]}
        self.layer.forward(T, B, x, x_strides, taken, h0, c0, y, *others)

    def backward(self, *arguments):
        names = {11: "dy", 13: "dh_n", 14: "dc_n", 17: "dx"}
        self.seen |= {name: arguments[k] for k, name in names.items()}
        self.layer.backward(*arguments)


@pytest.fixture
def seen(monkeypatch):
    """Return what the kernels are given, by name; the last call's."""
    seen, own = {}, ops.weights.layer_of

    def layer_of(*arguments, **keywords):
        return Spy(own(*arguments, **keywords), seen)

    for module in ("lstm", "prepared"):
        monkeypatch.setattr(f"lstmfast.ops.{module}.layer_of", layer_of)
    return seen


def assert_shared(tensor, array):
    assert tensor.data_ptr() == array.__array_interface__["data"][0]
    steps = [stride * tensor.element_size() for stride in tensor.stride()]
    assert array.strides == tuple(steps)


VIEWS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1),
    "slice of features": lambda x: x[:, :, : I - 3],
    "every second step": lambda x: x[::2],
    "two rows": lambda x: x[:, 1:3],
}
MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "training": torch.enable_grad,
}


@pytest.mark.parametrize("batch_first", (False, True))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("view", VIEWS)
def test_inputs_and_outputs_are_shared(seen, view, mode, batch_first):
    x = VIEWS[view](torch.randn(T, B, I))
    layer = LSTM(x.shape[2], H, batch_first=batch_first)
    rows = x.shape[0 if batch_first else 1]
    state = torch.randn(1, rows, H), torch.randn(1, rows, H)
    with MODES[mode]():
        y, (h_n, c_n) = layer(x, state)
    for name, tensor in zip(("h0", "c0"), state, strict=True):
        assert_shared(tensor, seen[name])
    for name, tensor in {"x": x, "y": y, "h_n": h_n, "c_n": c_n}.items():
        assert_shared(tensor.detach(), seen[name])


def test_gradients_are_shared(seen):
    layer, x = LSTM(I, H), torch.randn(T, B, I, requires_grad=True)
    y, state = layer(x)
    above = [torch.randn(T, B, H), torch.randn(1, B, H), torch.randn(1, B, H)]
    (dx,) = torch.autograd.grad([y, *state], x, above)
    for name, tensor in zip(("dy", "dh_n", "dc_n", "dx"), (*above, dx), strict=True):
        assert_shared(tensor, seen[name])


def test_no_gradient_of_x_where_none_is_wanted(seen):
    LSTM(I, H)(torch.randn(T, B, I))[0].sum().backward()
    assert seen["dx"] is None


def test_parameters_are_read_where_they_lie(monkeypatch):
    """In training kernels pack them from there; what is kept in evaluation is packed alone."""
    read = []

    def spied(parts, *others, **keywords):
        read.extend(parts)
        return layer_of(parts, *others, **keywords)

    monkeypatch.setattr(ops.lstm, "layer_of", spied)
    layer = LSTM(I, H, num_layers=2, bidirectional=True)
    layer(torch.randn(T, B, I))
    found = [a.__array_interface__["data"][0] for part in read for a in part[:2]]
    weights = [p for name, p in layer.named_parameters() if name.startswith("weight")]
    assert found == [p.data_ptr() for p in weights]


def test_a_copy_would_be_seen(seen):
    x = torch.randn(T, B, I)
    with torch.no_grad():
        LSTM(I, H)(x.clone())
    with pytest.raises(AssertionError):
        assert_shared(x, seen["x"])


def resident():
    """The bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return 4096 * pages


def test_memory_does_not_grow_with_calls():
    """Hundreds of calls of all kinds leave nothing behind."""
    layer = LSTM(64, 64, num_layers=2)
    x = torch.randn(20, 8, 64)

    def calls(count):
        for k in range(count):
            y, _ = layer.train(k % 3 > 0)(x[: 1 + k % 20])
            if k % 2:
                y.sum().backward()
                layer.zero_grad()

    calls(100)
    before = resident()
    calls(600)
    assert resident() - before < 20e6

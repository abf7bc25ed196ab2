"""lstmfast.torch.LSTM with resets: the pieces of sequences, and what PyTorch cannot take."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from lstmfast import lstm_backward, lstm_forward  # noqa: E402
from lstmfast.torch import LSTM  # noqa: E402

T, B, I, H = 7, 4, 5, 6
TOLERANCE = 1e-6  # measured: 2e-7
FORMS = ({}, {"num_layers": 2}, {"bidirectional": True}, {"proj_size": 3, "batch_first": True})


def made(**form):
    torch.manual_seed(0)
    return LSTM(I, H, **form)


def inputs(layer):
    torch.manual_seed(1)
    x, resets = torch.randn(T, B, I), torch.rand(T, B) < 0.3
    if layer.batch_first:
        x, resets = x.transpose(0, 1).contiguous(), resets.t()
    return x, resets


def state(layer):
    parts = layer.num_layers * (1 + layer.bidirectional)
    torch.manual_seed(2)
    return torch.randn(parts, B, layer.proj_size or H), torch.randn(parts, B, H)


def on_arrays(layer, x, hx, resets, dy):
    """y, dx and dh0 by `lstm_forward`."""
    weights = [w.detach().numpy() for w in layer._weights()]
    kinds = 4 + (layer.proj_size > 0)
    each = [weights[k::kinds] for k in range(kinds)]
    b = [a + b for a, b in zip(each[2], each[3], strict=True)]
    given = {"W_hr": each[4]} if kinds == 5 else {}
    h0, c0 = (s.detach().numpy() for s in hx)
    y, _, cache = lstm_forward(
        x.detach().numpy(), each[0], each[1], b, h0, c0, **given, resets=resets.numpy(),
        bidirectional=layer.bidirectional, batch_first=layer.batch_first, training=True,
    )  # fmt: skip
    found = lstm_backward(cache, dy.numpy())
    return y, found.dx, found.dh0


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_as_on_arrays(form):
    layer = made(**form)
    (x, resets), hx = inputs(layer), state(layer)
    x.requires_grad_()
    hx[0].requires_grad_()
    y, _ = layer(x, hx, resets)
    dy = torch.randn_like(y)
    given = resets.clone()
    resets[:] = True  # what the call was given counts
    y.backward(dy, retain_graph=True)
    wanted, dx, dh0 = on_arrays(layer, x, hx, given, dy)
    for _ in range(2):  # the second time the forward pass is done again
        assert np.array_equal(y.detach().numpy(), wanted)
        assert np.array_equal(x.grad.numpy(), dx) and np.array_equal(hx[0].grad.numpy(), dh0)
        x.grad = hx[0].grad = None
        y.backward(dy, retain_graph=True)
    with torch.no_grad():
        for _ in range(2):  # by kept weights
            assert np.array_equal(layer.eval()(x, hx, resets=given)[0].numpy(), wanted)
        assert not np.array_equal(layer(x, hx)[0].numpy(), wanted)


def test_rows_begin_as_torch_would():
    layer, (x, _) = made(), inputs(made())
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[3] = True
    y, _ = layer(x, resets=resets)
    first, second = (torch.nn.LSTM.forward(layer, part)[0] for part in (x[:3], x[3:]))
    assert torch.allclose(y, torch.cat([first, second]), atol=TOLERANCE)


@pytest.mark.parametrize("batch_first", (False, True))
@pytest.mark.parametrize("enforce_sorted", (False, True))
def test_packed_sequences(enforce_sorted, batch_first):
    """Resets are shaped as the sequences before they were packed; behind their ends none counts."""
    layer = made(bidirectional=True, batch_first=batch_first)
    x, resets = inputs(layer)
    lengths = torch.tensor([7, 5, 2, 1] if enforce_sorted else [2, 7, 1, 5])
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted)
    y, _ = layer(packed, resets=resets)
    dense, _ = pad_packed_sequence(y, batch_first)
    for row, length in enumerate(lengths.tolist()):
        own, flags, out = (a[row] if batch_first else a[:, row] for a in (x, resets, dense))
        alone, _ = layer(own[:length], resets=flags[:length])
        assert torch.allclose(out[:length], alone, atol=TOLERANCE)


def test_without_a_batch():
    layer = made()
    x, resets = inputs(layer)
    y, _ = layer(x, resets=resets)
    alone, (h_n, _) = layer(x[:, 1], resets=resets[:, 1])
    assert alone.shape == (T, H) and h_n.shape == (1, H)
    assert torch.allclose(alone, y[:, 1], atol=TOLERANCE)


def test_compiled():
    layer = made()
    (x, resets), hx = inputs(layer), state(layer)
    x.requires_grad_()
    compiled = torch.compile(lambda x, resets: layer(x, hx, resets)[0], fullgraph=True)
    wanted, dx, _ = on_arrays(layer, x, hx, resets, torch.ones(T, B, H))
    y = compiled(x, resets)
    y.sum().backward()
    assert np.allclose(y.detach().numpy(), wanted, atol=TOLERANCE)
    assert np.allclose(x.grad.numpy(), dx, atol=TOLERANCE)


def test_symbolic_trace():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = made()

        def forward(self, x, resets):
            return self.lstm(x, resets=resets)[0]

    net = Net()
    x, resets = inputs(net.lstm)
    assert torch.equal(torch.fx.symbolic_trace(net)(x, resets), net(x, resets))


# ---------------------------------------------------------------- what has no such form


def test_where_torch_would_take_the_call():
    layer = made()
    x, resets = inputs(layer)
    with pytest.raises(ValueError, match=r"resets: expected None where .* of torch\.float16"):
        made().half()(x.half(), resets=resets)


def test_second_derivatives():
    layer = made()
    x, resets = inputs(layer)
    x.requires_grad_()
    y, _ = layer(x, resets=resets)
    with pytest.raises(RuntimeError, match="expected no resets under create_graph=True"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_wrong_resets():
    layer = made()
    x, resets = inputs(layer)
    with pytest.raises(ValueError, match=r"resets: expected \(7, 4\), got \(4, 7\)"):
        layer(x, resets=resets.t())
    with pytest.raises(ValueError, match="resets: expected an array of bool, got dtype float32"):
        layer(x, resets=resets.float())
    with pytest.raises(ValueError, match="resets: expected a tensor, got list"):
        layer(x, resets=resets.tolist())
    with pytest.raises(ValueError, match="resets: expected a tensor, got ndarray"):
        layer(x, resets=resets.numpy())
    with pytest.raises(ValueError, match=r"resets: expected a dense tensor on cpu, got .* meta"):
        layer(x, resets=resets.to("meta"))


@pytest.mark.parametrize("shape", [(T, B + 1), (T, B - 1), (T,), (T + 1, B)])
def test_resets_that_do_not_fit_packed_sequences(shape):
    """Rows are put in order before: that must not pick what fits."""
    packed = pack_padded_sequence(torch.randn(T, B, I), [2, T, 1, 5], enforce_sorted=False)
    with pytest.raises(ValueError, match=r"resets: expected \(7, 4\), got"):
        made()(packed, resets=torch.zeros(shape, dtype=torch.bool))


def test_nodes_of_graphs_that_know_nothing_of_resets():
    """Files of earlier versions give the operators fewer arguments."""
    layer = made()
    x, _ = inputs(layer)
    weights = [w.detach().requires_grad_() for w in layer._weights()]
    flags = (True, False, False, False, 0.0, True)
    y, _, _, _ = torch.ops.lstmfast.lstm(x, None, None, weights, None, *flags)
    found = torch.autograd.grad(y.square().sum(), weights)
    wanted = torch.autograd.grad(layer(x)[0].square().sum(), layer._weights())
    assert all(map(torch.equal, found, wanted))

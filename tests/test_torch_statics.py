"""lstmfast.torch.LSTM with static inputs: as if they stood beside the input in every step."""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from lstmfast.torch import LSTM, accelerate, restore  # noqa: E402

T, B, I, H, S = 7, 4, 5, 6, 3
TOLERANCE = 1e-6  # measured: 3e-7
FORMS = (
    {}, {"num_layers": 2, "bias": False}, {"bidirectional": True},
    {"proj_size": 3, "batch_first": True}, {"num_layers": 2, "bidirectional": True},
)  # fmt: skip


def made(**form):
    torch.manual_seed(0)
    return LSTM(I, H, static_size=S, **form)


def wider(layer):
    """PyTorch's layer of the same weights, over inputs with the static ones behind them."""
    form = {name: getattr(layer, name) for name in (
        "num_layers", "bias", "batch_first", "bidirectional", "proj_size")}  # fmt: skip
    other = torch.nn.LSTM(I + S, H, **form)
    state = dict(layer.state_dict())
    for end in ("", "_reverse")[: 1 + layer.bidirectional]:
        both = state[f"weight_ih_l0{end}"], state.pop(f"weight_static_l0{end}")
        state[f"weight_ih_l0{end}"] = torch.cat(both, 1)
    other.load_state_dict(state)
    return other


def inputs(layer):
    torch.manual_seed(1)
    x, x_static = torch.randn(T, B, I), torch.randn(B, S)
    x = x.transpose(0, 1).contiguous() if layer.batch_first else x
    return x.requires_grad_(), x_static.requires_grad_()


def beside(layer, x, x_static):
    axis = 1 if layer.batch_first else 0
    every = x_static.unsqueeze(axis).expand(*x.shape[:2], S)
    return torch.cat([x, every], 2)


def close(a, b):
    return torch.allclose(a, b, atol=TOLERANCE)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_as_torch_has_it_with_wider_inputs(form):
    layer = made(**form)
    other, (x, x_static) = wider(layer), inputs(layer)
    y, (h_n, _) = layer(x, x_static=x_static)
    dy = torch.randn_like(y)
    wanted, (last, _) = other(beside(layer, x, x_static))
    ref = torch.autograd.grad(wanted, [x, x_static, other.weight_ih_l0], dy)
    for again in (True, False):  # the second time the forward pass is done again
        found = torch.autograd.grad(
            y, [x, x_static, layer.weight_ih_l0, layer.weight_static_l0], dy, retain_graph=again
        )
        assert close(found[0], ref[0]) and close(found[1], ref[1])
        assert close(torch.cat(found[2:], 1), ref[2])
    assert close(y, wanted) and close(h_n, last)
    with torch.no_grad():
        assert close(layer.eval()(x, x_static=x_static)[0], wanted)


def test_packed_and_without_a_batch():
    layer = made(bidirectional=True)
    x, x_static = (a.detach() for a in inputs(layer))
    lengths = torch.tensor([2, 7, 1, 5])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    dense, _ = pad_packed_sequence(layer(packed, x_static=x_static)[0])
    for row, length in enumerate(lengths.tolist()):
        alone, _ = layer(x[:length, row], x_static=x_static[row])
        assert close(dense[:length, row], alone)


def test_compiled():
    layer = made(bidirectional=True)
    x, x_static = inputs(layer)
    compiled = torch.compile(lambda x, s: layer(x, x_static=s)[0], fullgraph=True)
    wanted, found = layer(x, x_static=x_static)[0], compiled(x, x_static)
    given = [x, x_static, layer.weight_static_l0_reverse]
    pairs = zip(*(torch.autograd.grad(y.sum(), given) for y in (found, wanted)), strict=True)
    assert close(found, wanted) and all(close(a, b) for a, b in pairs)


def test_the_parameter_is_there_only_then():
    names = [name for name, _ in made(bidirectional=True).named_parameters()]
    assert names[-2:] == ["weight_static_l0", "weight_static_l0_reverse"]
    plain = LSTM(I, H)
    assert plain.state_dict().keys() == torch.nn.LSTM(I, H).state_dict().keys()
    layer = made()
    assert "static_size=3" in repr(layer) and "static" not in repr(plain)
    assert layer.weight_static_l0.abs().max() <= H**-0.5 and layer.weight_static_l0.std() > 0.1
    (x, x_static), y = inputs(layer), layer(*inputs(layer)[:1], x_static=inputs(layer)[1])[0]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x, x_static=x_static)[0], y)
    assert layer.double()(x.double(), x_static=x_static.double())[0].dtype == torch.float64


def test_swapped():
    model = torch.nn.Sequential(torch.nn.LSTM(I, H))
    assert accelerate(model).swapped and model(torch.ones(T, B, I))[0].shape == (T, B, H)
    layer = made()
    assert restore(layer).left == {"": "it has static inputs, which torch.nn.LSTM has not"}
    assert type(layer) is LSTM


def test_what_does_not_fit():
    layer = made()
    x, x_static = (a.detach() for a in inputs(layer))
    with pytest.raises(ValueError, match=r"x_static: expected a tensor \(B, 3\), as static_size=3"):
        layer(x)
    with pytest.raises(ValueError, match="x_static: expected None, as static_size=0, got one"):
        LSTM(I, H)(x, x_static=x_static)
    with pytest.raises(ValueError, match=r"x_static: expected \(4, 3\), got \(4, 2\)"):
        layer(x, x_static=x_static[:, :2])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [2, T, 1, 5], enforce_sorted=False)
    with pytest.raises(ValueError, match=r"x_static: expected \(4, 3\), got \(5, 3\)"):
        layer(packed, x_static=torch.cat([x_static, x_static[:1]]))
    with pytest.raises(ValueError, match=r"x_static: expected None where torch.nn.LSTM is used"):
        made().half()(x.half(), x_static=x_static.half())
    with pytest.raises(ValueError, match="static_size: expected an integer >= 0, got -1"):
        LSTM(I, H, static_size=-1)
    with pytest.raises(ValueError, match="static_size: expected 0 of a module to be scripted"):
        torch.jit.script(layer)
    y, _ = layer(x.requires_grad_(), x_static=x_static)
    with pytest.raises(RuntimeError, match="expected no x_static under create_graph=True"):
        torch.autograd.grad(y.sum(), x, create_graph=True)

"""Tensors and parameters that are no ordinary ones: torch.nn's result, or its error, never ours."""

import contextlib

import pytest
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, grad, vmap
from torch.nn.utils._per_sample_grad import call_for_per_sample_grads
from torch_cases import LSTM, LSTMCell, one_torch_thread, torch  # noqa: F401

from lstmfast.fallback import FallbackError

I, H = 3, 5


class Silent(torch.Tensor):
    """It answers no question at all."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError("asked")


def made(kind, **options):
    torch.manual_seed(0)
    return kind(I, H, **options)


def x(*shape):
    return torch.randn(*(shape or (4, 2, I)), generator=torch.Generator().manual_seed(1))


def per_sample(kind, **options):
    layer = made(kind, batch_first=True, **options)
    call_for_per_sample_grads(layer, batch_first=True)(x())[0].sum().backward()
    return [p.grad_sample for p in layer.parameters()]


def expanded(kind):
    """oneDNN's operator is unknown to them; the projected layer's are known."""
    return per_sample(kind, proj_size=2)


def expanded_where_torch_cannot(kind):
    return per_sample(kind)


def a_gradient_per_sample(kind):
    layer = made(kind)
    given = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(given, one):
        return functional_call(layer, given, (one[:, None],))[0].square().sum()

    return list(vmap(grad(loss), (None, 1))(given, x()).values())


def nested(kind):
    return made(kind)(torch.nested.nested_tensor([x(4, I), x(2, I)]))


def nested_state(kind):
    state = torch.nested.nested_tensor([x(4, H), x(2, H)])
    return made(kind)(x(), (state, state))


def jagged(kind):
    rows = torch.nested.nested_tensor([x(4, I), x(2, I)], layout=torch.jagged)
    return made(kind, batch_first=True)(rows)


def quantized(kind):
    return made(kind)(torch.quantize_per_tensor(x(), 0.1, 0, torch.qint8))


def meta(kind):
    return made(kind, device="meta")(x().to("meta"))[0].shape


def meta_input(kind):
    return made(kind)(x().to("meta"))


def fake(kind):
    with FakeTensorMode():
        return made(kind)(torch.randn(4, 2, I))[0].shape


def fake_outside_of_its_mode(kind):
    with FakeTensorMode():
        layer, given = made(kind), torch.randn(4, 2, I)
    return layer(given)


def sparse(kind):
    return made(kind)(x(4, I).to_sparse())


def sparse_rows(kind):
    return made(kind)(x(4, I).to_sparse_csr())


def of_onednn(kind):
    return made(kind)(x(4, I).to_mkldnn())


def masked(kind):
    return made(kind)(torch.masked.masked_tensor(x(), torch.ones(4, 2, I).bool()))


def silent(kind):
    return made(kind)(x().as_subclass(Silent))


def silent_state(kind):
    state = x(1, 2, H).as_subclass(Silent)
    return made(kind)(x(), (state, state))


def silent_weight(kind):
    layer = made(kind)
    layer.weight_ih_l0 = torch.nn.Parameter(layer.weight_ih_l0.detach().as_subclass(Silent))
    return layer(x())


def a_list(kind):
    return made(kind)([1, 2])


def a_state_that_is_no_pair(kind):
    return made(kind)(x(), x(1, 2, H))


def without_a_weight(kind):
    layer = made(kind)
    layer.weight_ih_l0 = None
    return layer(x())


def a_weight_deleted(kind):
    layer = made(kind)
    del layer.weight_ih_l0
    return layer(x())


def a_weight_without_values(kind):
    layer = made(kind)
    layer.weight_ih_l0 = torch.nn.parameter.UninitializedParameter()
    return layer(x())


def a_sparse_weight(kind):
    layer = made(kind)
    layer.weight_ih_l0 = torch.nn.Parameter(layer.weight_ih_l0.detach().to_sparse())
    return layer(x())


LAYER_CALLS = (
    expanded, expanded_where_torch_cannot, a_gradient_per_sample, nested, nested_state, jagged,
    quantized, meta, meta_input, fake, fake_outside_of_its_mode, sparse, sparse_rows, of_onednn,
    masked, silent, silent_state, silent_weight, a_list, a_state_that_is_no_pair, without_a_weight,
    a_weight_deleted, a_weight_without_values, a_sparse_weight,
)  # fmt: skip


def expanded_cell(kind):
    return call_for_per_sample_grads(made(kind))(x(4, I))


def nested_cell(kind):
    return made(kind)(torch.nested.nested_tensor([x(I), x(I)]))


def silent_cell(kind):
    return made(kind)(x(2, I).as_subclass(Silent))


def cell_without_a_weight(kind):
    cell = made(kind)
    cell.weight_hh = None
    return cell(x(2, I))


def cell_of_a_list(kind):
    return made(kind)([3])


def cell_state_that_is_no_pair(kind):
    return made(kind)(x(2, I), x(2, H))


CELL_CALLS = (
    expanded_cell, nested_cell, silent_cell, cell_without_a_weight, cell_of_a_list,
    cell_state_that_is_no_pair,
)  # fmt: skip
EVERY = pytest.mark.parametrize(
    "call, ours, theirs",
    [(call, LSTM, torch.nn.LSTM) for call in LAYER_CALLS]
    + [(call, LSTMCell, torch.nn.LSTMCell) for call in CELL_CALLS],
    ids=lambda one: one.__name__ if one in (*LAYER_CALLS, *CELL_CALLS) else "",
)


def found(call, kind):
    """Return the result as a flat list of tensors and sizes, or the type and text of the error."""
    try:
        result = call(kind)
    except Exception as error:
        return type(error).__name__, str(error)
    return [part.detach() if isinstance(part, torch.Tensor) else part for part in flat(result)]


def flat(result):
    if isinstance(result, (tuple, list)):
        return [part for one in result for part in flat(one)]
    return [result]


@EVERY
@pytest.mark.filterwarnings("ignore")
def test_the_same_result_or_the_same_error(call, ours, theirs, monkeypatch):
    monkeypatch.delenv("LSTMFAST_STRICT", raising=False)
    got, wanted = found(call, ours), found(call, theirs)
    assert type(got) is type(wanted), (got, wanted)
    for a, b in zip(got, wanted, strict=True):
        same = torch.equal if isinstance(b, torch.Tensor) else (lambda a, b: a == b)
        assert same(a, b), (a, b)


@pytest.mark.filterwarnings("ignore")
def test_strict_names_what_it_was(monkeypatch):
    monkeypatch.setenv("LSTMFAST_STRICT", "1")
    for call, text in (
        (expanded, "ExpandedWeight"),
        (a_sparse_weight, "layout torch.sparse_coo"),
        (a_gradient_per_sample, "torch.func"),
        (a_weight_deleted, "lacks a weight"),
    ):
        with pytest.raises(FallbackError, match=text):
            call(LSTM)


def test_a_tensor_that_only_its_reason_is_asked_of():
    """Whatever it refuses, the reason for handing it on is found."""
    from lstmfast.torch.routes import asked, reason_against

    for value in (x().as_subclass(Silent), torch.nested.nested_tensor([x(4, I), x(2, I)])):
        for tensors in ((value,), (x(), value), (x(), None, None, value)):
            assert isinstance(asked(reason_against, tensors, False), str)
            with contextlib.suppress(RuntimeError):
                reason_against(tensors, True)
            assert isinstance(asked(reason_against, tensors, True), str)


@pytest.mark.parametrize("capturing", (False, True))
def test_what_a_cuda_graph_captures_is_left_to_torch(monkeypatch, capturing):
    from lstmfast.cuda.runtime import device
    from lstmfast.torch import routes

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    monkeypatch.setattr(device, "explain", lambda: None)
    reason = "a call that torch.cuda.graph captures" if capturing else None
    assert routes._reason_against_cuda(graph=False) == reason

"""lstmfast.torch.LSTMCell is torch.nn.LSTMCell: results, gradients, errors, files."""

import copy
import pickle

import pytest
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from torch.nn.utils import parametrizations
from torch_cases import (
    DTYPE,
    LSTMCell,
    assert_same,
    assert_same_gradients,
    draw,
    gradients,
    one_torch_thread,  # noqa: F401
    torch,
)

B, I, H = 4, 3, 5
BIAS = pytest.mark.parametrize("bias", (True, False), ids=("bias", "no bias"))


def twins(dtype=torch.float64, sizes=(I, H), seed=0, **options):
    """Return lstmfast's cell and torch.nn's with equal parameters."""
    torch.manual_seed(seed)
    reference = torch.nn.LSTMCell(*sizes, dtype=dtype, **options)
    ours = LSTMCell(*sizes, dtype=dtype, **options)
    ours.load_state_dict(reference.state_dict(), strict=True)
    return ours, reference


def outputs(found):
    h, c = found
    return {"h": h, "c": c}


def weigh(found, names=("h", "c")):
    """Return a scalar of the named outputs, weighed by random upstreams."""
    made = outputs(found)
    return sum(
        (made[n] * draw(*made[n].shape, dtype=made[n].dtype, seed=4 + k)).sum()
        for k, n in enumerate(names)
    )


def leaves_for(*leading, dtype=torch.float64, state=True, sizes=(I, H)):
    sizes = (sizes[0], sizes[1], sizes[1]) if state else sizes[:1]
    return [
        draw(*leading, n, dtype=dtype, seed=k).requires_grad_()
        for k, n in enumerate(sizes, start=1)
    ]


def assert_parity(cells, leaves, names=("h", "c")):
    """Hold results and gradients of one step against each other."""
    found = []
    for cell in cells:
        own = [leaf.detach().clone().requires_grad_(leaf.requires_grad) for leaf in leaves]
        result = cell(own[0], tuple(own[1:])) if own[1:] else cell(own[0])
        weigh(result, names).backward()
        found.append((outputs(result), gradients(cell, own)))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])


@DTYPE
@BIAS
@pytest.mark.parametrize("state", (True, False), ids=("state", "zeros"))
@pytest.mark.parametrize("leading", ((B,), (1,), (), (40,)), ids=str)
def test_parity(leading, state, bias, dtype):
    assert_parity(twins(dtype, bias=bias), leaves_for(*leading, dtype=dtype, state=state))


@DTYPE
@pytest.mark.parametrize("names", (("h",), ("c",)), ids=str)
@pytest.mark.parametrize("leading", ((B,), ()), ids=("batched", "unbatched"))
def test_loss_of_one_output(leading, names, dtype):
    assert_parity(twins(dtype), leaves_for(*leading, dtype=dtype), names)


@DTYPE
@pytest.mark.parametrize("sizes", ((1, 1), (17, 16), (64, 100)), ids=str)
def test_sizes(sizes, dtype):
    assert_parity(twins(dtype, sizes), leaves_for(B, dtype=dtype, sizes=sizes))


@pytest.mark.parametrize("frozen", ("", "weight", "bias", "weight_hh", "bias_ih", "none"))
@pytest.mark.parametrize("fixed", range(4), ids=("x fixed", "h fixed", "c fixed", "none fixed"))
def test_what_needs_a_gradient(fixed, frozen):
    cells, leaves = twins(), leaves_for(B)
    for cell in cells:
        for name, parameter in cell.named_parameters():
            parameter.requires_grad_(frozen not in name)
    for k, leaf in enumerate(leaves):
        leaf.requires_grad_(k != fixed)
    assert_parity(cells, leaves)


VIEWS = {
    "transposed": lambda n: (draw(n, B), lambda a: a.t()),
    "columns": lambda n: (draw(B, 2 * n), lambda a: a[:, ::2]),
    "expanded": lambda n: (draw(1, n), lambda a: a.expand(B, n)),
    "a part": lambda n: (draw(B, n + 3), lambda a: a[:, 2 : n + 2]),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views(view):
    found = []
    for cell in twins():
        made = [VIEWS[view](n) for n in (I, H, H)]
        own = [leaf.clone().requires_grad_() for leaf, _ in made]
        x, h, c = (of(leaf) for leaf, (_, of) in zip(own, made, strict=True))
        result = cell(x, (h, c))
        weigh(result).backward()
        found.append((outputs(result), gradients(cell, own)))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])


@DTYPE
@pytest.mark.parametrize("leading", ((B,), ()), ids=("batched", "unbatched"))
def test_twenty_steps(leading, dtype):
    """The loop that LSTMCell is for, with back-propagation through all of it."""
    found = []
    for cell in twins(dtype):
        x = draw(20, *leading, I, dtype=dtype).requires_grad_()
        state, made = None, []
        for step in x:
            state = cell(step, state)
            made.append(state[0])
        weigh((torch.stack(made), state[1])).backward()
        found.append((outputs(state), gradients(cell, [x])))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])


def test_twenty_steps_are_the_layer():
    """Twenty cells in a row are one torch.nn.LSTM."""
    ours, _ = twins()
    layer = torch.nn.LSTM(I, H, dtype=torch.float64)
    layer.load_state_dict({f"{name}_l0": p for name, p in ours.state_dict().items()})
    x, state = draw(20, B, I), None
    with torch.no_grad():
        for step in x:
            state = ours(step, state)
        _, (h_n, c_n) = layer(x)
    assert_same(outputs(state), {"h": h_n[0], "c": c_n[0]})


@pytest.mark.parametrize("mode", ("no_grad", "inference_mode", "eval"))
@pytest.mark.parametrize("leading", ((B,), ()), ids=("batched", "unbatched"))
def test_modes(leading, mode):
    modes = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
    found = []
    for cell in twins():
        x, h, c = leaves_for(*leading)
        with modes.get(mode, torch.enable_grad)():
            found.append(outputs(cell.eval()(x, (h, c))))
    assert_same(*found)
    assert found[0]["h"].is_inference() == (mode == "inference_mode")


# ---------------------------------------------------------------- derivatives


@BIAS
@pytest.mark.parametrize("state", (True, False), ids=("state", "zeros"))
@pytest.mark.parametrize("leading", ((2,), ()), ids=("batched", "unbatched"))
def test_gradcheck(leading, state, bias):
    cell, _ = twins(bias=bias)

    def function(x, *others):
        given = others[:2] if state else ()
        named = dict(zip(dict(cell.named_parameters()), others[len(given) :], strict=True))
        return functional_call(cell, named, (x, given or None))

    assert gradcheck(function, (*leaves_for(*leading, state=state), *cell.parameters()))
    try:
        inputs = (*leaves_for(*leading, state=state), *cell.parameters())
        assert gradgradcheck(function, inputs, fast_mode=True)
    except RuntimeError as error:
        assert not isinstance(error, torch.autograd.gradcheck.GradcheckError), error


def test_backward_leaves_nothing_behind():
    """Whoever keeps a loss does not keep what its steps were calculated from."""
    cell, _ = twins()
    x, h, c = leaves_for(B)
    h_n, c_n = cell(x, (h, c))
    step = h_n.grad_fn
    assert step.arrays is not None
    (h_n.sum() + c_n.sum()).backward()
    assert step.arrays is None


@pytest.mark.filterwarnings("ignore:lstmfast")
@pytest.mark.parametrize("lost", ("bias_ih", "bias_hh"))
def test_one_bias_alone(lost):
    cells = twins()
    for cell in cells:
        setattr(cell, lost, None)
    assert_parity(cells, leaves_for(B))


def test_backward_twice():
    found = []
    for cell in twins():
        leaves = leaves_for(B)
        loss = weigh(cell(leaves[0], tuple(leaves[1:])))
        loss.backward(retain_graph=True)
        loss.backward()
        found.append(gradients(cell, leaves))
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
    assert_same_gradients(*found)


@pytest.mark.parametrize("what", ("x", "weight_hh"))
def test_change_between_forward_and_backward(what):
    for cell in twins():
        x, h, c = leaves_for(B)
        loss = weigh(cell(x, (h, c)))
        with torch.no_grad():
            (x if what == "x" else cell.weight_hh).mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


# ---------------------------------------------------------------- errors

X = draw(B, I, dtype=torch.float32)
S = draw(B, H, dtype=torch.float32)
WRONG_CALLS = {
    "3-D input": (X[None],),
    "0-D input": (X[0, 0],),
    "3-D h": (X, (S[None], S)),
    "3-D c": (X, (S, S[None])),
    "0-D c": (X, (S, S[0, 0])),
    "input_size": (X[:, :2],),
    "input_size, unbatched": (X[0, :2],),
    "h's rows": (X, (S[:2], S)),
    "c's rows": (X, (S, S[:2])),
    "h's units": (X, (S[:, :4], S)),
    "c's units": (X, (S, S[:, :4])),
    "1-D state, batched": (X, (S[0], S[0])),
    "2-D state, unbatched": (X[0], (S, S)),
    "dtype": (X.double(),),
    "half": (X.half(),),
    "integers": (X.long(),),
    "state's dtype": (X, (S.double(), S.double())),
    "one state": (X, (S,)),
    "three states": (X, (S, S, S)),
    "no state": (X, ()),
    "a tensor as state": (X, S),
    "state of None": (X, (None, None)),
    "NumPy's": (X.numpy(),),
    "None": (None,),
    "nothing": (),
    "on another device": (X.to("meta"),),
}


@pytest.mark.parametrize("grad", (True, False), ids=("graph", "no graph"))
@pytest.mark.parametrize("given", WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_wrong_calls(given, grad):
    found = []
    with torch.set_grad_enabled(grad):
        for cell in twins(torch.float32):
            with pytest.raises(Exception) as error:
                cell(*given)
            found.append((type(error.value), str(error.value)))
    assert found[0] == found[1]


def test_c_of_a_wider_type():
    """torch.nn's cell goes on in c's type; so does ours, through PyTorch's own."""
    found = []
    for cell in twins(torch.float32):
        h, c = cell(X, (S, S.double()))
        found.append({"h": h, "c": c})
    assert_same(*found)


WRONG_OPTIONS = {
    "negative": {"hidden_size": -1},
    "text": {"input_size": "3"},
    "unknown": {"num_layers": 2},
    "dtype": {"dtype": torch.int32},
    "device": {"device": "abacus"},
}


@pytest.mark.parametrize("options", WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_wrong_options(options):
    given = {"input_size": I, "hidden_size": H} | options
    found = []
    for cell in (LSTMCell, torch.nn.LSTMCell):
        with pytest.raises(Exception) as error:
            cell(**given)
        found.append((type(error.value), str(error.value).replace("lstmfast.torch.cell.", "")))
    assert found[0] == found[1]


@pytest.mark.parametrize("grad", (True, False), ids=("graph", "no graph"))
def test_a_batch_of_no_rows(grad):
    found = []
    for cell in twins():
        x, h, c = leaves_for(0)
        with torch.set_grad_enabled(grad):
            result = cell(x, (h, c))
            if grad:
                weigh(result).backward()
        found.append((outputs(result), gradients(cell, [x, h, c])))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])


# ---------------------------------------------------------------- as a module


@BIAS
def test_names_and_text(bias):
    ours, reference = twins(bias=bias)
    assert isinstance(ours, torch.nn.LSTMCell) and str(ours) == str(reference)
    assert list(ours.state_dict()) == list(reference.state_dict())
    assert reference.load_state_dict(ours.state_dict(), strict=True) == ([], [])


def test_copies():
    ours, reference = twins()
    x, h, c = leaves_for(B)
    with torch.no_grad():
        ours.eval()(x, (h, c))
        copies = [copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))]
        for copied in copies:
            assert type(copied) is LSTMCell
            copied.weight_hh.mul_(2)
        assert_same(outputs(ours(x, (h, c))), outputs(reference(x, (h, c))))
        reference.weight_hh.mul_(2)
        for copied in copies:
            assert_same(outputs(copied(x, (h, c))), outputs(reference(x, (h, c))))


def changes():
    def in_place(cell):
        with torch.no_grad():
            cell.weight_ih.mul_(2)

    def fused(cell):
        weigh(cell(draw(B, I))).backward()
        torch.optim.SGD(cell.parameters(), 0.1, fused=True).step()

    def swapped(cell):
        cell.bias_hh.data = 2 * cell.bias_hh.data

    def replaced(cell):
        cell.weight_hh = torch.nn.Parameter(2 * cell.weight_hh.detach())

    def loaded(cell):
        cell.load_state_dict({name: 2 * p for name, p in cell.state_dict().items()})

    def normed(cell):
        parametrizations.weight_norm(cell, "weight_hh")
        with torch.no_grad():
            cell.parametrizations.weight_hh.original0.mul_(2)

    return (in_place, fused, swapped, replaced, loaded, normed)


@pytest.mark.parametrize("change", changes(), ids=lambda change: change.__name__)
def test_change_is_seen(change):
    ours, reference = (cell.eval() for cell in twins())
    x, h, c = (leaf.detach() for leaf in leaves_for(B))
    for k in range(2):
        with torch.no_grad():
            for _ in range(2):
                assert_same(outputs(ours(x, (h, c))), outputs(reference(x, (h, c))))
        for cell in (ours, reference) if k == 0 else ():
            change(cell)


def test_conversion():
    ours, reference = (cell.eval() for cell in twins())
    x, h, c = (leaf.detach() for leaf in leaves_for(B))
    with torch.no_grad():
        for dtype in (torch.float64, torch.float32, torch.float64):
            given = x.to(dtype), (h.to(dtype), c.to(dtype))
            assert_same(outputs(ours.to(dtype)(*given)), outputs(reference.to(dtype)(*given)))

"""lstmfast.torch on bfloat16 tensors, and under autocast on the CPU."""

import functools
import itertools

import numpy as np
import pytest
from agreement import forward_error, gradient_error
from torch_cases import (
    KINDS,
    OPTIONS,
    SOME_OPTIONS,
    LSTMCell,
    call,
    draw,
    gradients,
    leaf_for,
    one_torch_thread,  # noqa: F401
    outputs,
    state_for,
    torch,
    twins,
)

from lstmfast import lstm_backward, lstm_forward
from lstmfast.torch import LSTM

NARROW = torch.bfloat16
# Of results in bfloat16, whose steps are 2^-8, against float64's or PyTorch's in bfloat16. Measured
# against float64: 3.1e-3 and 6.0e-3, of PyTorch's own 5.2e-3 and 1.7e-2.
BAR, GRADIENT_BAR = 0.01, 0.025

pytestmark = [
    pytest.mark.filterwarnings("error:lstmfast"),  # nothing is handed over to PyTorch
    pytest.mark.filterwarnings("ignore:LSTM with projections"),
]
SOME = pytest.mark.parametrize("options", SOME_OPTIONS.values(), ids=SOME_OPTIONS)


def narrow_twins(options):
    """Return lstmfast's layer in bfloat16, and torch.nn's in float64 with the same numbers."""
    ours, reference = twins(options, torch.float32)
    ours = ours.to(NARROW)
    reference.double().load_state_dict({n: w.double() for n, w in ours.state_dict().items()})
    return ours, reference


def in_dtype(tensors, dtype):
    return [None if t is None else t.detach().to(dtype).requires_grad_() for t in tensors]


def weigh(found, dtype):
    """Return a scalar of the outputs, each weighed by numbers that bfloat16 has."""
    made = {n: t for n, t in outputs(found).items() if t.is_floating_point()}
    return sum(
        (t * draw(*t.shape, dtype=torch.float32, seed=4 + k).to(NARROW).to(dtype)).sum()
        for k, t in enumerate(made.values())
    )


def assert_near(got, ref, bar, error=forward_error):
    assert list(got) == list(ref)
    for name, wanted in ref.items():
        if wanted is not None and wanted.is_floating_point():
            found = got[name].detach().double().numpy()
            assert error(found, wanted.detach().double().numpy()) <= bar, name


# ---------------------------------------------------------------- tensors


@pytest.mark.parametrize("kind", KINDS)
@SOME
def test_tensors(options, kind):
    """Results and gradients are bfloat16, and as near to float64's as bfloat16 is."""
    layers = narrow_twins(options)
    given = [leaf_for(kind, options, torch.float32), *state_for(kind, options, torch.float32)]
    given = in_dtype(given, NARROW)
    found = []
    for layer, dtype in zip(layers, (NARROW, torch.float64), strict=True):
        x, h0, c0 = in_dtype(given, dtype)
        result = call(layer, kind, options, x, (h0, c0))
        weigh(result, dtype).backward()
        found.append((outputs(result), gradients(layer, [x, h0, c0])))
    made = [t for t in (*found[0][0].values(), *found[0][1].values()) if t.is_floating_point()]
    assert {t.dtype for t in made} == {NARROW}
    assert_near(found[0][0], found[1][0], BAR)
    assert_near(found[0][1], found[1][1], GRADIENT_BAR, gradient_error)


def test_they_are_the_kernels_results():
    """To the bit those of the arrays in precision "bfloat16", rounded once at the end."""
    layer, _ = narrow_twins({})
    x = draw(4, 3, 3, dtype=torch.float32).to(NARROW).requires_grad_()
    dy = draw(4, 3, 5, dtype=torch.float32, seed=7).to(NARROW)
    y, _ = layer(x)
    y.backward(dy)
    W_ih, W_hh, b_ih, b_hh = (w.detach().float().numpy() for w in layer.parameters())
    arrays, upstream = x.detach().float().numpy(), dy.float().numpy()
    wanted, _, cache = lstm_forward(
        arrays, W_ih, W_hh, b_ih + b_hh, training=True, precision="bfloat16"
    )
    found = lstm_backward(cache, upstream)
    for ours, array in (
        (y, wanted), (x.grad, found.dx), (layer.weight_ih_l0.grad, found.dW_ih),
        (layer.weight_hh_l0.grad, found.dW_hh), (layer.bias_hh_l0.grad, found.db),
    ):  # fmt: skip
        assert torch.equal(ours.detach(), torch.from_numpy(array).to(NARROW))


def test_evaluation_is_training():
    layer, _ = narrow_twins({"num_layers": 2, "bidirectional": True})
    x = draw(4, 3, 3, dtype=torch.float32).to(NARROW)
    trained, _ = layer(x)
    with torch.no_grad():
        assert torch.equal(layer.eval()(x)[0], trained)


@pytest.mark.parametrize("change", ("in place", "data", "assigned"))
def test_changes_are_seen(change):
    layer, _ = narrow_twins({})
    layer.eval()
    x = draw(4, 3, 3, dtype=torch.float32).to(NARROW)
    with torch.no_grad():
        before = layer(x)[0]
        if change == "in place":
            layer.weight_ih_l0.mul_(2)
        elif change == "data":
            layer.weight_ih_l0.data.mul_(2)
        else:
            layer.weight_ih_l0 = torch.nn.Parameter(2 * layer.weight_ih_l0)
        after = layer(x)[0]
        fresh, _ = narrow_twins({})
        fresh.load_state_dict(layer.state_dict())
        assert not torch.equal(before, after)
        assert torch.equal(after, fresh.eval()(x)[0])


@pytest.mark.parametrize("grad", (True, False), ids=("training", "evaluation"))
@pytest.mark.parametrize("leading", ((4,), ()), ids=("batched", "unbatched"))
@pytest.mark.parametrize("state", (True, False), ids=("state", "zeros"))
def test_cells(leading, state, grad):
    torch.manual_seed(0)
    ours = LSTMCell(3, 5).to(NARROW)
    reference = torch.nn.LSTMCell(3, 5).double()
    reference.load_state_dict({n: w.double() for n, w in ours.state_dict().items()})
    x, h, c = (draw(*leading, n, dtype=torch.float32, seed=n + k).to(NARROW)
               for k, n in enumerate((3, 5, 5)))  # fmt: skip
    found = []
    for cell, dtype in ((ours, NARROW), (reference, torch.float64)):
        given = in_dtype([x, h, c], dtype)
        with torch.set_grad_enabled(grad):
            h_n, c_n = cell(given[0], (given[1], given[2]) if state else None)
        if grad:
            (h_n.sum() + (2 * c_n).sum()).backward()
        result = {"h": h_n, "c": c_n} | (gradients(cell, []) if grad else {})
        assert {t.dtype for t in result.values()} == {dtype}
        found.append(result)
    assert_near(*found, BAR)


# ---------------------------------------------------------------- autocast

DTYPES = (torch.float32, NARROW)
AUTOCAST = pytest.mark.parametrize(
    "options", [o for o in OPTIONS.values() if o.get("num_layers") != 3], ids=str
)


def under_autocast(layer, run, x, state=None):
    """run(x, state) under autocast.

    oneDNN has no fused layer in bfloat16 on processors without AVX-512, where torch.nn's raises: in
    its place stands that of float32, rounded to what the fused one gives elsewhere.
    """
    try:
        with torch.autocast("cpu", NARROW):
            return run(x, state)
    except RuntimeError as error:
        if isinstance(layer, LSTM) or "could not create a primitive" not in str(error):
            raise
    y, (h, c) = run(x.float(), None if state is None else [s.float() for s in state])
    return y.to(NARROW), (h.to(NARROW), c.to(NARROW))


@AUTOCAST
@pytest.mark.parametrize("kind", ("batched", "unbatched", "packed unsorted"))
def test_dtypes_under_autocast(options, kind):
    """Whatever the dtypes of x, the state and the weights: results have those of PyTorch."""
    for of_x, of_state, training in itertools.product(DTYPES, (None, *DTYPES), (True, False)):
        found = []
        for layer in twins(options, torch.float32):
            x = leaf_for(kind, options, torch.float32).detach().to(of_x)
            state = [s.detach().to(of_state or of_x) for s in state_for(kind, options)]
            run = functools.partial(call, layer.train(training), kind, options)
            with torch.set_grad_enabled(training):
                result = under_autocast(layer, run, x, state if of_state else None)
            found.append(outputs(result))
        told = [{n: t.dtype for n, t in one.items()} for one in found]
        assert told[0] == told[1], (of_x, of_state, training)
        assert_near(found[0], found[1], BAR)


@SOME
def test_gradients_under_autocast(options):
    found = []
    for layer in twins(options, torch.float32):
        x = leaf_for("batched", options, torch.float32)
        y, _ = under_autocast(layer, layer, x)
        with torch.autocast("cpu", NARROW):
            loss = (y.float() * draw(*y.shape, dtype=torch.float32, seed=9)).sum()
        loss.backward()
        found.append(gradients(layer, [x]))
    assert {g.dtype for g in found[0].values()} == {torch.float32}
    assert_near(*found, GRADIENT_BAR, gradient_error)


def test_cells_under_autocast():
    for of_x, of_state in itertools.product(DTYPES, (None, *DTYPES)):
        torch.manual_seed(0)
        reference = torch.nn.LSTMCell(3, 5)
        ours = LSTMCell(3, 5)
        ours.load_state_dict(reference.state_dict())
        x, h, c = (draw(4, n, dtype=torch.float32, seed=n + k) for k, n in enumerate((3, 5, 5)))
        state = None if of_state is None else (h.to(of_state), c.to(of_state))
        with torch.autocast("cpu", NARROW):
            (h_n, c_n), (h_r, c_r) = (cell(x.to(of_x), state) for cell in (ours, reference))
        assert (h_n.dtype, c_n.dtype) == (h_r.dtype, c_r.dtype), (of_x, of_state)
        assert_near({"h": h_n, "c": c_n}, {"h": h_r, "c": c_r}, BAR)


def test_a_model_trains_under_autocast():
    """As users write it: Adam, autocast around forward pass and loss; the same curve."""
    curves = []
    for kind in (LSTM, torch.nn.LSTM):
        torch.manual_seed(0)
        lstm, head = kind(3, 32, batch_first=True), torch.nn.Linear(32, 1)
        optimizer = torch.optim.Adam([*lstm.parameters(), *head.parameters()], 1e-2)
        x = draw(16, 12, 3, dtype=torch.float32)
        target = x.sum((1, 2))[:, None]
        losses = []
        for _ in range(60):
            y, _ = under_autocast(lstm, lstm, x)
            with torch.autocast("cpu", NARROW):
                loss = torch.nn.functional.mse_loss(head(y[:, -1]).float(), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[0][-1] < 0.3 * curves[0][0]
    np.testing.assert_allclose(*curves, rtol=0.1, atol=0.05 * curves[1][0])


def test_in_turns_on_one_layer():
    """With and without autocast, training and not, on one object: as a fresh one each time."""
    torch.manual_seed(0)
    layer, x = LSTM(3, 16, 2).eval(), draw(5, 4, 3, dtype=torch.float32)
    generator = np.random.default_rng(3)
    for _ in range(40):
        is_cast, grad, narrow = map(bool, generator.integers(0, 2, 3))
        fresh = LSTM(3, 16, 2).eval()
        fresh.load_state_dict(layer.state_dict())
        given = x.to(NARROW) if narrow and is_cast else x
        with torch.autocast("cpu", NARROW, enabled=is_cast), torch.set_grad_enabled(grad):
            got, wanted = layer(given)[0], fresh(given)[0]
        assert got.dtype == (NARROW if is_cast else torch.float32)
        assert torch.equal(got, wanted)


@pytest.mark.filterwarnings("ignore:lstmfast")
def test_second_derivatives():
    """By PyTorch's operators, in float32."""
    layer, _ = narrow_twins({})
    x = draw(4, 3, 3, dtype=torch.float32).to(NARROW).requires_grad_()
    (dx,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    dx.square().sum().backward()
    assert x.grad.dtype is NARROW and torch.isfinite(x.grad).all()


def test_other_dtypes_under_autocast_are_torchs():
    layer, _ = twins({}, torch.float32)
    with torch.autocast("cpu", NARROW), pytest.raises(RuntimeError, match="same dtype"):
        layer(draw(4, 3, 3))

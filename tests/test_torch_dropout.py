"""Dropout between layers: where, how often, how much, and from which seed."""

import pytest
from torch.autograd import gradcheck
from torch_cases import (
    BAR,
    LSTM,
    assert_same,
    call,
    draw,
    gradients,
    leaf_for,
    one_torch_thread,  # noqa: F401
    outputs,
    torch,
    twins,
    weigh,
)

SMALL = 1e-3  # what goes in small comes out in proportion: tanh is linear there
OPEN = 40.0  # a pre-activation that opens a gate wholly


def telltale(rate, units=64, both=False):
    """Return two layers whose outputs are SMALL / 2 times the mask between them.

    The first puts out the same constant everywhere; the second lets each unit through to itself.
    """
    directions = 1 + both
    layer = LSTM(1, units, num_layers=2, dropout=rate, bidirectional=both, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.zero_()
            if "bias_ih" in name:
                i, f, g, o = parameter.view(4, units)
                i.fill_(OPEN), f.fill_(-OPEN), o.fill_(OPEN)
                g.fill_(OPEN if "_l0" in name else 0.0)
        for direction in range(directions):
            end = "_reverse" if direction else ""
            weight = getattr(layer, f"weight_ih_l1{end}")
            chosen = weight[2 * units : 3 * units, direction * units : (direction + 1) * units]
            chosen.copy_(SMALL * torch.eye(units))
    return layer


def masks(layer, T=5, B=16):
    """Return what dropout multiplied the first layer's outputs with."""
    with torch.no_grad():
        y, _ = layer(torch.zeros(T, B, 1, dtype=torch.float64))
    constant = torch.tensor(1.0, dtype=torch.float64).tanh()  # c of the first layer is 1
    return y.atanh().atanh() / (SMALL * constant)


@pytest.mark.parametrize("both", (False, True), ids=("one way", "both ways"))
@pytest.mark.parametrize("rate", (0.1, 0.5, 0.9))
def test_statistics(rate, both):
    """As many zeros as the rate says, within five deviations; the rest are scaled up."""
    torch.manual_seed(0)
    found = masks(telltale(rate, both=both), T=10, B=32)
    kept = found.abs() > 0.5
    assert found[~kept].abs().max() < 1e-9
    assert (found[kept] * (1 - rate) - 1).abs().max() < 1e-5
    count, chosen = found.numel(), int(kept.sum())
    assert abs(chosen - (1 - rate) * count) < 5 * (count * rate * (1 - rate)) ** 0.5


def test_masks_are_drawn_anew():
    """For each step, row, unit, direction and call."""
    torch.manual_seed(0)
    layer = telltale(0.5, both=True)
    first, second = masks(layer), masks(layer)
    assert (first != second).any()
    ways = first.unflatten(2, (2, -1))
    for axis in range(4):
        of_one = ways.select(axis, 0)
        assert all((ways.select(axis, k) != of_one).any() for k in range(1, ways.shape[axis]))


def test_no_pattern_from_call_to_call():
    """Masks of many calls at one place are independent: half of them, and no run."""
    torch.manual_seed(1)
    layer = telltale(0.5, units=4)
    kept = torch.stack([masks(layer, 1, 1).flatten() > 0.5 for _ in range(400)]).double()
    assert (kept.mean(0) - 0.5).abs().max() < 5 * 0.5 / 400**0.5
    follows = (kept[1:] == kept[:-1]).double().mean(0)
    assert (follows - 0.5).abs().max() < 5 * 0.5 / 399**0.5


@pytest.mark.parametrize("kind", ("batched", "unbatched", "packed unsorted"))
def test_seed(kind):
    """torch.manual_seed makes a call repeat itself, with its gradients; nothing else does."""
    options = {"num_layers": 3, "dropout": 0.5}
    ours, _ = twins(options)

    def run(seed=None):
        x = leaf_for(kind, options)
        ours.zero_grad()
        if seed is not None:
            torch.manual_seed(seed)
        result = call(ours, kind, options, x)
        weigh(result).backward()
        return outputs(result) | gradients(ours, [x])

    first, other, again = run(3), run(), run(3)
    name = next(iter(first))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], run(4)[name])


def test_state_of_the_generator():
    """The numbers come from torch's generator: its state can be kept and put back."""
    layer = telltale(0.5)
    state = torch.get_rng_state()
    first = masks(layer)
    assert not torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(state)
    assert torch.equal(masks(layer), first)
    with torch.random.fork_rng():
        torch.set_rng_state(state)
        assert torch.equal(masks(layer), first)


@pytest.mark.parametrize(
    "options, training",
    (({"dropout": 0.5}, False), ({"dropout": 0.0}, True), ({"num_layers": 1}, True)),
    ids=("eval", "rate 0", "one layer"),
)
def test_no_number_is_drawn_where_none_is_needed(options, training):
    ours, reference = (
        layer.train(training) for layer in twins({"num_layers": 2, "dropout": 0.0} | options)
    )
    state, x = torch.get_rng_state(), draw(4, 4, 3)
    with torch.no_grad():
        assert_same(outputs(ours(x)), outputs(reference(x)))
    assert torch.equal(torch.get_rng_state(), state)


def test_one_layer_drops_nothing():
    """torch.nn warns of dropout with one layer, and does nothing."""
    with pytest.warns(UserWarning, match="dropout"):
        ours, reference = twins({"dropout": 0.7})
    x = draw(4, 4, 3)
    assert_same(outputs(ours(x)), outputs(reference(x)))


def test_eval_is_the_same_every_time():
    layer = telltale(0.5).eval()
    assert torch.equal(masks(layer), masks(layer))
    assert (masks(layer) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ("batched", "packed unsorted"))
def test_rate_1(kind):
    """Everything is dropped: values and gradients as torch.nn's, none of them nan."""
    options, found = {"num_layers": 3, "dropout": 1.0, "bidirectional": True}, []
    for layer in twins(options):
        x = leaf_for(kind, options)
        result = call(layer, kind, options, x)
        weigh(result).backward()
        found.append(outputs(result) | gradients(layer, [x]))
        assert all(a.isfinite().all() for a in found[-1].values())
    got, ref = found
    for name, wanted in ref.items():
        assert (got[name] - wanted).abs().max() <= BAR[torch.float64] * (1 + wanted.abs().max()), (
            name
        )


def test_rate_is_read_at_each_call():
    """A schedule sets layer.dropout, as it may with torch.nn."""
    ours, reference = twins({"num_layers": 2, "dropout": 0.5})
    x = draw(4, 4, 3)
    ours.dropout = reference.dropout = 0.0
    assert_same(outputs(ours(x)), outputs(reference(x)))
    layer = telltale(0.9)
    layer.dropout = 0.25
    torch.manual_seed(0)
    assert (masks(layer).abs() > 0.5).double().mean() > 0.6


def test_last_layer_and_states_are_whole():
    """Only what goes up is dropped: h_n and c_n of the first layer are those without dropout."""
    ours, reference = twins({"num_layers": 2, "dropout": 0.9})
    x = draw(4, 4, 3)
    _, (h_n, c_n) = ours(x)
    _, (h_ref, c_ref) = reference.eval()(x)
    assert_same({"h": h_n[0], "c": c_n[0]}, {"h": h_ref[0], "c": c_ref[0]})
    assert not torch.allclose(h_n[1], h_ref[1])
    assert (ours(x)[0] != 0).all()


@pytest.mark.parametrize("proj_size", (0, 2))
@pytest.mark.parametrize("both", (False, True), ids=("one way", "both ways"))
def test_gradcheck(both, proj_size):
    """Backward multiplies with the masks of forward."""
    options = {"num_layers": 2, "dropout": 0.4, "bidirectional": both, "proj_size": proj_size}
    layer, _ = twins(options)
    x = leaf_for("batched", options, shape=(2, 2))

    def function(x, *_):
        torch.manual_seed(3)
        y, (h_n, c_n) = layer(x)
        return y, h_n, c_n

    assert gradcheck(function, (x, *layer.parameters()))


def test_expectation():
    """In the mean over many masks, a linear second layer sees what it sees in eval."""
    torch.manual_seed(0)
    layer = telltale(0.5, units=16)
    assert abs(float(masks(layer, 50, 50).mean()) - 1) < 5 / (50 * 50 * 16) ** 0.5


def test_two_layers_draw_different_masks():
    """Also where both were made alike: the generator moves on from call to call."""
    torch.manual_seed(0)
    layers = [telltale(0.5, units=8) for _ in range(2)]
    assert not torch.equal(*(masks(layer) for layer in layers))

"""Unlike calls by turns on one layer: what is kept with its weights belongs to no call.

Each call is held against torch.nn's layer, which keeps nothing.
"""

from itertools import permutations

import pytest
from torch_cases import (
    H,
    I,
    LSTMCell,
    P,
    T,
    assert_same,
    assert_same_gradients,
    draw,
    gradients,
    one_torch_thread,  # noqa: F401
    outputs,
    packed_in,
    state_for,
    torch,
    twins,
    weigh,
)

FORMS = {
    "plain": {},
    "both directions": {"bidirectional": True},
    "projected": {"proj_size": P},
    "stack without bias": {"num_layers": 2, "bidirectional": True, "bias": False},
}
OPTIONS = pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
B = 3


def padded(layer, rows=B, steps=T):
    sizes = (rows, steps) if layer.batch_first else (steps, rows)
    return layer(draw(*sizes, I))


def packed(layer):
    return layer(packed_in((2, 4, 1), draw(T, B, I)))


def unbatched(layer):
    return layer(draw(T, I))


def larger(layer):
    return padded(layer, 7, 9)


def with_state(layer):
    options = {name: getattr(layer, name) for name in ("num_layers", "bidirectional", "proj_size")}
    state = tuple(s.detach() for s in state_for("batched", options, rows=B))
    return layer(draw(*((B, T) if layer.batch_first else (T, B)), I), state)


def other_axis_first(layer):
    """The attribute is looked at in every call, as torch.nn's does."""
    layer.batch_first = not layer.batch_first
    found = padded(layer)
    layer.batch_first = not layer.batch_first
    return found


CALLS = (padded, packed, unbatched, larger, with_state, other_axis_first)


def same_turns(calls, ours, reference):
    for call in calls:
        assert_same(outputs(call(ours)), outputs(call(reference)))


@OPTIONS
@pytest.mark.parametrize("how", ("evaluation", "inference_mode", "frozen"))
def test_every_order_of_two_calls(how, options):
    """`frozen`: with gradients enabled, but none needed."""
    ours, reference = twins(options | {"batch_first": True})
    for layer in (ours, reference):
        layer.eval().requires_grad_(how != "frozen")
    guard = {"evaluation": torch.no_grad, "inference_mode": torch.inference_mode}
    with guard.get(how, torch.enable_grad)():
        for pair in permutations(CALLS, 2):
            ours.invalidate()
            same_turns(pair, ours, reference)
    assert ours.__dict__["_kept"]


@OPTIONS
def test_gradients_between_evaluations(options):
    """Those of a packed call and of a padded one, with evaluations of the other kind between."""
    found = []
    for layer in twins(options | {"batch_first": True}):
        layer.eval()
        for call in (packed, padded, unbatched, packed):
            with torch.no_grad():
                packed(layer), padded(layer)
            weigh(call(layer)).backward()
        found.append(gradients(layer, []))
    assert_same_gradients(*found)


def test_rows_and_batches_of_a_cell():
    torch.manual_seed(0)
    reference = torch.nn.LSTMCell(I, H, dtype=torch.float64).eval()
    ours = LSTMCell(I, H, dtype=torch.float64).eval()
    ours.load_state_dict(reference.state_dict())
    calls = [
        (draw(*rows, I), hx)
        for rows in ((), (1,), (B,))
        for hx in (None, (draw(*rows, H, seed=2), draw(*rows, H, seed=3)))
    ]
    with torch.no_grad():
        for pair in permutations(calls, 2):
            for call in pair:
                got, ref = ours(*call), reference(*call)
                assert_same(dict(enumerate(got)), dict(enumerate(ref)))

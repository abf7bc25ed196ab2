"""A layer that a loop calls for one step at a time, in training: the compiled call of a cell."""

import pytest
from torch.autograd import gradcheck, gradgradcheck
from torch_cases import (
    DTYPE,
    LSTM,
    assert_same,
    assert_same_gradients,
    draw,
    gradients,
    one_torch_thread,  # noqa: F401
    outputs,
    torch,
    twins,
    weigh,
)

B, I, H = 4, 3, 5
FORMS = {
    "plain": {},
    "no bias": {"bias": False},
    "batch_first": {"batch_first": True},
    "no bias, batch_first": {"bias": False, "batch_first": True},
}
FORM = pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
LEADING = pytest.mark.parametrize("leading", ((B,), ()), ids=("batched", "unbatched"))


def leaves_for(options, leading=(B,), dtype=torch.float64):
    """Return x, h0 and c0 of one step, which require their gradients."""
    x = draw(*leading, I, dtype=dtype)
    x = x.unsqueeze(1 if options.get("batch_first") and leading else 0)
    states = [draw(1, *leading, H, dtype=dtype, seed=k) for k in (2, 3)]
    return [x.requires_grad_(), *(state.requires_grad_() for state in states)]


def is_one_step(found):
    """Was this result made by the compiled call for one step?"""
    y, (_, c_n) = found
    made = {type(one).__name__ for one in _history(y.grad_fn) | _history(c_n.grad_fn)}
    return "StepFunctionBackward" in made and "LSTMFunctionBackward" not in made


def _history(node):
    if node is None:
        return set()
    return {node}.union(*(_history(one) for one, _ in node.next_functions))


@DTYPE
@FORM
@LEADING
@pytest.mark.parametrize("names", (None, ("y",), ("h_n",), ("c_n",), ("h_n", "y")), ids=str)
def test_parity(options, leading, names, dtype):
    found = []
    for layer in twins(options, dtype):
        leaves = leaves_for(options, leading, dtype)
        result = layer(leaves[0], tuple(leaves[1:]))
        assert is_one_step(result) == isinstance(layer, LSTM)
        weigh(result, names).backward()
        found.append((outputs(result), gradients(layer, leaves)))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])


@DTYPE
@FORM
def test_episodes(options, dtype):
    """Twenty steps as reinforcement learning takes them: some rows begin anew between two."""
    anew = draw(20, 1, B, 1).gt(1).to(dtype)
    found = []
    for layer in twins(options, dtype):
        x = draw(20, B, I, dtype=dtype).requires_grad_()
        h = c = torch.zeros(1, B, H, dtype=dtype)
        made = []
        for step, start in zip(x, anew, strict=True):
            row = step.unsqueeze(1 if options.get("batch_first") else 0)
            y, (h, c) = layer(row, ((1 - start) * h, (1 - start) * c))
            made.append(y.reshape(B, H))
        weigh((torch.stack(made), (h, c))).backward()
        found.append(({"y": torch.stack(made)}, gradients(layer, [x])))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])


OTHER_WAYS = {
    "two steps": ({}, (2, B, I), {}),
    "two layers": ({"num_layers": 2}, (1, B, I), {}),
    "both directions": ({"bidirectional": True}, (1, B, I), {}),
    "a projection": ({"proj_size": 2}, (1, B, I), {}),
    "resets": ({}, (1, B, I), {"resets": torch.ones(1, B, dtype=torch.bool)}),
    "static inputs": ({"static_size": 2}, (1, B, I), {"x_static": draw(B, 2)}),
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_what_the_compiled_call_does_not_take(way):
    options, shape, more = OTHER_WAYS[way]
    layer = LSTM(I, H, dtype=torch.float64, **options)
    parts = layer.num_layers * (1 + layer.bidirectional)
    state = draw(parts, B, layer.proj_size or H), draw(parts, B, H)
    assert not is_one_step(layer(draw(*shape), state, **more))


@FORM
@pytest.mark.filterwarnings("ignore:lstmfast")
def test_gradcheck(options):
    layer, _ = twins(options)

    def call(x, h0, c0):
        y, (h_n, c_n) = layer(x, (h0, c0))
        return y, h_n, c_n

    assert gradcheck(call, leaves_for(options))
    assert gradgradcheck(call, leaves_for(options))


def test_outputs_share_no_memory():
    """What is done to one output in place must not be seen in another, nor in a gradient."""
    found = []
    for layer in twins({}):
        leaves = leaves_for({})
        y, (h_n, c_n) = layer(leaves[0], tuple(leaves[1:]))
        kept = h_n.detach().clone()
        y.mul_(2)
        assert torch.equal(h_n, kept)
        weigh((y, (h_n, c_n))).backward()
        found.append(gradients(layer, leaves))
    assert_same_gradients(*found)


def test_backward_twice():
    found = []
    for layer in twins({}):
        leaves = leaves_for({})
        loss = weigh(layer(leaves[0], tuple(leaves[1:])))
        loss.backward(retain_graph=True)
        loss.backward()
        found.append(gradients(layer, leaves))
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
    assert_same_gradients(*found)


@pytest.mark.parametrize("what", ("x", "weight_hh_l0"))
def test_change_between_forward_and_backward(what):
    for layer in twins({}):
        x, h0, c0 = leaves_for({})
        loss = weigh(layer(x, (h0, c0)))
        with torch.no_grad():
            (x if what == "x" else layer.weight_hh_l0).mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_steps_of_a_batch_that_lies_otherwise():
    """Steps of a batch-first series, which are no contiguous tensors, and a transposed state."""
    found = []
    for layer in twins({"batch_first": True}):
        x = draw(B, 6, I).requires_grad_()
        state = draw(1, H, B, seed=2).transpose(1, 2), draw(1, B, H, seed=3)
        for t in range(6):
            y, state = layer(x[:, t : t + 1], state)
        weigh((y, state)).backward()
        found.append(gradients(layer, [x]))
    assert_same_gradients(*found)

"""What torch.nn.LSTM refuses, lstmfast.torch.LSTM refuses: same condition, same type, same text."""

import warnings

import pytest
from torch.nn.utils.rnn import pack_sequence
from torch_cases import LSTM, draw, packed_in, torch


def raised(function):
    """Return the exception of a call; fails if there is none."""
    with pytest.raises(Exception) as found:
        function()
    return found.value


def assert_same_error(ours, reference, same_text=True):
    """Hold the exceptions of two calls against each other."""
    wanted, found = raised(reference), raised(ours)
    assert type(found) is type(wanted), f"{found!r} in place of {wanted!r}"
    if same_text:
        assert str(found) == str(wanted)


# ---------------------------------------------------------------- the constructor

WRONG_OPTIONS = {
    "dropout below 0": {"dropout": -0.1},
    "dropout above 1": {"dropout": 1.1},
    "dropout is a bool": {"dropout": True},
    "dropout is text": {"dropout": "half"},
    "dropout is None": {"dropout": None},
    "dropout is nan": {"dropout": float("nan")},
    "bias is a number": {"bias": 1},
    "bias is None": {"bias": None},
    "batch_first is a number": {"batch_first": 0},
    "input_size is a float": {"input_size": 3.0},
    "input_size is 0": {"input_size": 0},
    "input_size is negative": {"input_size": -3},
    "input_size is text": {"input_size": "3"},
    "hidden_size is a float": {"hidden_size": 5.0},
    "hidden_size is 0": {"hidden_size": 0},
    "hidden_size is negative": {"hidden_size": -1},
    "hidden_size is None": {"hidden_size": None},
    "num_layers is 0": {"num_layers": 0},
    "num_layers is negative": {"num_layers": -2},
    "num_layers is a float": {"num_layers": 2.0},
    "proj_size is negative": {"proj_size": -1},
    "proj_size is hidden_size": {"proj_size": 5},
    "proj_size is larger": {"proj_size": 7},
    "proj_size is text": {"proj_size": "2"},
    "an unknown option": {"nonlinearity": "relu"},
    "mode": {"mode": "GRU"},
    "an unknown dtype": {"dtype": "float32"},
    "an integer dtype": {"dtype": torch.int64},
    "an unknown device": {"device": "abacus"},
}


@pytest.mark.parametrize("options", WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_wrong_options(options):
    given = {"input_size": 3, "hidden_size": 5} | options
    assert_same_error(lambda: LSTM(**given), lambda: torch.nn.LSTM(**given))


@pytest.mark.parametrize("given", ((), (3,), (3, 5, 1, True, False, 0.0, False, 0, None, None, 1)))
def test_wrong_number_of_arguments(given):
    assert_same_error(lambda: LSTM(*given), lambda: torch.nn.LSTM(*given))


def test_arguments_by_position():
    given = (3, 5, 2, False, True, 0.25, True, 2, "cpu", torch.float64)
    ours, reference = LSTM(*given), torch.nn.LSTM(*given)
    assert str(ours) == str(reference)
    for name in ("mode", "num_layers", "bias", "batch_first", "dropout", "proj_size"):
        assert getattr(ours, name) == getattr(reference, name)
    assert ours.weight_hr_l1_reverse.dtype is torch.float64


def test_warning_of_dropout_with_one_layer():
    seen = []
    for layer in (LSTM, torch.nn.LSTM):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            layer(3, 5, dropout=0.5)
        seen.append([(w.category, str(w.message)) for w in caught])
    assert seen[0] == seen[1] and len(seen[0]) == 1


# ---------------------------------------------------------------- calls


def x(*shape, dtype=torch.float32):
    return draw(*shape, dtype=dtype)


def hx(*shapes, dtype=torch.float32):
    return tuple(draw(*shape, dtype=dtype) for shape in shapes)


GOOD = (1, 4, 5)
# (options, what it is called with): the layer has 3 inputs, 5 units, in float32
WRONG_CALLS = {
    "1-D input": ({}, (x(3),)),
    "4-D input": ({}, (x(6, 4, 1, 3),)),
    "0-D input": ({}, (torch.tensor(1.0),)),
    "input_size": ({}, (x(6, 4, 4),)),
    "input_size, unbatched": ({}, (x(6, 4),)),
    "input_size 0": ({}, (x(6, 4, 0),)),
    "input_size, packed": ({}, (packed_in((2, 3), x(3, 2, 4)),)),
    "dtype": ({}, (x(6, 4, 3, dtype=torch.float64),)),
    "half": ({}, (x(6, 4, 3).half(),)),
    "integers": ({}, (torch.ones(6, 4, 3, dtype=torch.int64),)),
    "dtype, state": ({}, (x(6, 4, 3, dtype=torch.float64), hx(GOOD, GOOD))),
    "dtype, packed, state": (
        {},
        (packed_in((2, 3), x(3, 2, 3, dtype=torch.float64)), hx((1, 2, 5), (1, 2, 5))),
    ),
    "NumPy's": ({}, (x(6, 4, 3).numpy(),)),
    "a list": ({}, ([[1.0, 2.0, 3.0]],)),
    "None": ({}, (None,)),
    "nothing": ({}, ()),
    "no steps": ({}, (x(0, 4, 3),)),
    "no steps, batch_first": ({"batch_first": True}, (x(4, 0, 3),)),
    "no steps, no rows": ({}, (x(0, 0, 3),)),
    "no steps, unbatched": ({}, (x(0, 3),)),
    "h0's rows": ({}, (x(6, 4, 3), hx((1, 3, 5), GOOD))),
    "c0's rows": ({}, (x(6, 4, 3), hx(GOOD, (1, 3, 5)))),
    "h0's units": ({}, (x(6, 4, 3), hx((1, 4, 6), GOOD))),
    "c0's units": ({}, (x(6, 4, 3), hx(GOOD, (1, 4, 6)))),
    "h0's layers": ({"num_layers": 2}, (x(6, 4, 3), hx(GOOD, (2, 4, 5)))),
    "c0's layers": ({"num_layers": 2}, (x(6, 4, 3), hx((2, 4, 5), GOOD))),
    "one direction of state": ({"bidirectional": True}, (x(6, 4, 3), hx(GOOD, GOOD))),
    "h0 in batch_first": ({"batch_first": True}, (x(4, 6, 3), hx((4, 1, 5), (4, 1, 5)))),
    "h0 unprojected": ({"proj_size": 2}, (x(6, 4, 3), hx(GOOD, GOOD))),
    "c0 projected": ({"proj_size": 2}, (x(6, 4, 3), hx((1, 4, 2), (1, 4, 2)))),
    "2-D state, batched": ({}, (x(6, 4, 3), hx((4, 5), (4, 5)))),
    "2-D h0 alone": ({}, (x(6, 4, 3), hx((4, 5), GOOD))),
    "2-D c0 alone": ({}, (x(6, 4, 3), hx(GOOD, (4, 5)))),
    "3-D state, unbatched": ({}, (x(6, 3), hx((1, 1, 5), (1, 1, 5)))),
    "state's units, unbatched": ({}, (x(6, 3), hx((1, 4), (1, 5)))),
    "state's rows, packed": ({}, (packed_in((2, 3), x(3, 2, 3)), hx((1, 1, 5), (1, 1, 5)))),
    "state's rows, packed sorted": ({}, (pack_sequence([x(3, 3), x(2, 3)]), hx(GOOD, GOOD))),
    "state's units, packed": ({}, (packed_in((2, 3), x(3, 2, 3)), hx((1, 2, 4), (1, 2, 5)))),
    "state of one": ({}, (x(6, 4, 3), hx(GOOD))),
    "state of no one": ({}, (x(6, 4, 3), ())),
    "a tensor as state": ({}, (x(6, 4, 3), x(*GOOD))),
    "state of None": ({}, (x(6, 4, 3), (None, None))),
    "c0 None": ({}, (x(6, 4, 3), (x(*GOOD), None))),
    "state of NumPy's": ({}, (x(6, 4, 3), tuple(a.numpy() for a in hx(GOOD, GOOD)))),
    "a number as state": ({}, (x(6, 4, 3), 0)),
}


def layers(options):
    return LSTM(3, 5, **options), torch.nn.LSTM(3, 5, **options)


@pytest.mark.parametrize("mode", ("train", "eval", "no_grad"))
@pytest.mark.parametrize("options, given", WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_wrong_calls(options, given, mode):
    ours, reference = (layer.train(mode == "train") for layer in layers(options))
    with torch.set_grad_enabled(mode != "no_grad"):
        assert_same_error(lambda: ours(*given), lambda: reference(*given))


# These torch.nn.LSTM leaves to what lies below, whose text depends on which of its kernels runs.
WRONG_DEEP_BELOW = {
    "three states": ({}, (x(6, 4, 3), hx(GOOD, GOOD, GOOD))),
    "state of float64": ({}, (x(6, 4, 3), hx(GOOD, GOOD, dtype=torch.float64))),
    "c0 of float64": ({}, (x(6, 4, 3), (x(*GOOD), x(*GOOD, dtype=torch.float64)))),
    "h0 of half": ({}, (x(6, 4, 3), (x(*GOOD).half(), x(*GOOD)))),
    "state of integers": ({}, (x(6, 4, 3), (torch.ones(GOOD).long(), torch.ones(GOOD).long()))),
    "two states in one tensor": ({}, (x(6, 4, 3), x(2, *GOOD))),
    "float64, packed": ({}, (packed_in((2, 3), x(3, 2, 3, dtype=torch.float64)),)),
    "on another device": ({}, (torch.empty(6, 4, 3, device="meta"),)),
    "state on another device": ({}, (x(6, 4, 3), (torch.empty(GOOD, device="meta"), x(*GOOD)))),
    "sparse": ({}, (x(6, 4, 3).to_sparse(),)),
    "four arguments": ({}, (x(6, 4, 3), None, None, None)),  # the third is resets
}


@pytest.mark.parametrize("options, given", WRONG_DEEP_BELOW.values(), ids=WRONG_DEEP_BELOW)
def test_wrong_calls_that_are_found_below(options, given):
    ours, reference = layers(options)
    assert_same_error(lambda: ours(*given), lambda: reference(*given), same_text=False)


def test_hx_by_name_and_as_a_list():
    ours, reference = layers({})
    reference.load_state_dict(ours.state_dict())
    state = list(hx(GOOD, GOOD))
    y, _ = ours(input=x(6, 4, 3), hx=state)
    wanted, _ = reference(input=x(6, 4, 3), hx=state)
    assert torch.allclose(y, wanted, atol=1e-5)


def test_an_error_leaves_the_layer_usable():
    ours, _ = layers({"num_layers": 2})
    before = ours(x(6, 4, 3))[0]
    for wrong in (x(6, 4, 2), x(3), x(6, 4, 3, dtype=torch.float64)):
        raised(lambda wrong=wrong: ours(wrong))
    assert torch.equal(ours(x(6, 4, 3))[0], before)


def test_upstream_of_a_wrong_shape():
    """autograd itself refuses it: nothing reads past the end of an array."""
    ours, reference = layers({})
    found, wanted = (layer(x(6, 4, 3))[0] for layer in (ours, reference))
    wrong = x(6, 4, 4)
    assert_same_error(
        lambda: torch.autograd.grad(found, ours.weight_hh_l0, wrong),
        lambda: torch.autograd.grad(wanted, reference.weight_hh_l0, wrong),
    )


@pytest.mark.parametrize("grad", (True, False), ids=("graph", "no graph"))
@pytest.mark.parametrize("shape", ((20, 4), (5, 5), (20,), (40, 5)), ids=str)
def test_parameters_of_a_wrong_shape(shape, grad):
    """Put there by hand. torch.nn's float32 kernel reads on behind its end; here it is an error."""
    ours, _ = layers({})
    ours.weight_hh_l0 = torch.nn.Parameter(torch.zeros(shape))
    with torch.set_grad_enabled(grad), pytest.raises((RuntimeError, ValueError)):
        ours(x(6, 4, 3))

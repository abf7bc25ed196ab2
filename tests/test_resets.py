"""Rows that begin anew inside a sequence; with every other option they are in test_family.py."""

import numpy as np
import pytest
from agreement import DTYPES, assert_close, assert_gradient_close, lstm_case, same_bits
from family import assert_same_at_any_number_of_threads, expected, family_case

from lstmfast import LSTM, LSTMStream, PreparedLSTM, lstm_backward, lstm_forward
from lstmfast.ops import reserve_of, restore_cache

T, B, I, H = SHAPE = (9, 5, 4, 21)
RESETS = np.random.default_rng(0).random((T, B)) < 0.3


def call(case, **keywords):
    """Outputs and gradients of a case of `agreement.lstm_case`, by name."""
    y, (h_n, c_n), cache = lstm_forward(**case.inputs, training=True, **keywords)
    found = lstm_backward(cache, **case.upstream)
    return {"y": y, "h_n": h_n, "c_n": c_n} | found._asdict() | {
        "dreset_h": found.dreset_h, "dreset_c": found.dreset_c,
    }  # fmt: skip


def assert_same(found, wanted, but=()):
    for name in wanted.keys() - set(but):
        assert (found[name] is None) == (wanted[name] is None), name
        assert found[name] is None or same_bits(found[name], wanted[name]), name


@pytest.mark.parametrize("B", (1, 6, 40))
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_reset_the_call_is_the_plain_one(dtype, B):
    case = lstm_case(T, B, I, H, dtype)
    states = {"reset_h": case.inputs["h0"] + 1, "reset_c": case.inputs["c0"]}
    found = call(case, resets=np.zeros((T, B), bool), **states)
    assert not found["dreset_h"].any() and not found["dreset_c"].any()
    assert_same(found, call(case), but=("dreset_h", "dreset_c"))


@pytest.mark.parametrize("given", (True, False))
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_reset_begins_another_sequence(dtype, given):
    """To the bit, but for the gradients of weights, which are sums over both."""
    case, at = lstm_case(*SHAPE, dtype), 4
    resets = np.zeros((T, B), bool)
    resets[at] = True
    states = {"reset_h": case.inputs["h0"] / 2, "reset_c": case.inputs["c0"] + 1} if given else {}
    whole = call(case, resets=resets, **states)
    for steps, start, ends in ((slice(at), ("h0", "c0"), False), (slice(at, None), (), True)):
        inputs = case.inputs | {"x": case.inputs["x"][steps]}
        if not start:
            inputs |= {"h0": states.get("reset_h"), "c0": states.get("reset_c")}
        above = {n: case.upstream[n] if ends else None for n in ("dh_n", "dc_n")}
        y, (h_n, c_n), cache = lstm_forward(**inputs, training=True)
        found = lstm_backward(cache, case.upstream["dy"][steps], **above)
        assert same_bits(whole["y"][steps], y) and same_bits(whole["dx"][steps], found.dx)
        names = ("dh0", "dc0") if start else ("dreset_h", "dreset_c")
        for name, wanted in zip(names, (found.dh0, found.dc0), strict=True):
            assert (wanted is None) == (whole[name] is None)
            assert wanted is None or same_bits(whole[name], wanted), name
    assert same_bits(whole["h_n"], h_n) and same_bits(whole["c_n"], c_n)


@pytest.mark.parametrize("reverse", (False, True))
def test_between_which_steps(reverse):
    """A reset at t stands between t - 1 and t: at 0 h0 is before it, in reverse nothing."""
    case = lstm_case(*SHAPE)
    resets = np.zeros((T, B), bool)
    resets[0] = True
    found = call(case, resets=resets, reverse=reverse)
    plain = call(case._replace(inputs=case.inputs | {"h0": None, "c0": None}))
    if reverse:
        assert_same(found, call(case, reverse=True))
    else:
        assert not found["dh0"].any() and not found["dc0"].any()
        assert_same(found, plain, but=("dh0", "dc0", "dW_hh"))
        assert_gradient_close(found["dW_hh"], plain["dW_hh"], "float32")


def test_every_step_anew():
    """No product with a state is left, and no gradient of W_hh."""
    case = lstm_case(*SHAPE)
    found = call(case, resets=np.ones((T, B), bool))
    assert not found["dW_hh"].any() and not found["dh0"].any()
    alone = lstm_forward(case.inputs["x"][3:4], *(case.inputs[n] for n in ("W_ih", "W_hh", "b")))
    assert same_bits(found["y"][3:4], alone[0])


@pytest.mark.parametrize("reverse", (False, True))
def test_behind_the_length_of_a_row_there_are_no_resets(reverse):
    case, lengths = lstm_case(*SHAPE), np.array([4, 0, 9, 7, 1])
    behind = np.arange(T)[:, None] >= lengths
    given = {"lengths": lengths, "reverse": reverse}
    assert_same(call(case, resets=RESETS | behind, **given),
                call(case, resets=RESETS & ~behind, **given))  # fmt: skip


def test_resets_where_a_mask_leaves_steps_out():
    """They count for the next step of the row, and for the state after its last."""
    case = lstm_case(*SHAPE)
    mask, resets, moved = np.ones((T, B), bool), np.zeros((T, B), bool), np.zeros((T, B), bool)
    mask[2:4, 0] = mask[7:, 1] = mask[:, 2] = False
    resets[2, 0] = moved[4, 0] = resets[8, 1] = resets[5, 2] = True
    states = {"reset_h": case.inputs["h0"] + 1, "reset_c": case.inputs["c0"] + 1}
    found = call(case, resets=resets, mask=mask, **states)
    plain = call(case, resets=moved, mask=mask, **states)
    assert same_bits(found["y"], plain["y"])
    for row in (1, 2):
        for name in "hc":
            assert same_bits(found[f"{name}_n"][row], states[f"reset_{name}"][row])
            assert same_bits(found[f"dreset_{name}"][row], case.upstream[f"d{name}_n"][row])
            assert row == 1 or not found[f"d{name}0"][row].any()


@pytest.mark.parametrize("options", ({}, {"bidirectional": True, "recompute": 7}, {"proj": 9},
                                     {"mask": True, "zoneout_h": 0.2, "recurrent_dropout": 0.2}),
                         ids=lambda options: "+".join(options) or "plain")  # fmt: skip
@pytest.mark.parametrize("B", (1, 3, 40))
def test_bits_do_not_depend_on_threads(B, options, threads):
    case = family_case((30, B, 20, 130), "float32", resets=True, **options)
    assert_same_at_any_number_of_threads(case, threads)


def test_a_cache_made_again():
    case = lstm_case(*SHAPE)
    keywords = {"resets": RESETS, "reset_h": case.inputs["h0"] + 1}
    y, _, cache = lstm_forward(**case.inputs, training=True, **keywords)
    again = restore_cache(reserve_of(cache), y, **case.inputs, **keywords)
    first, second = (lstm_backward(one, **case.upstream) for one in (cache, again))
    assert all(same_bits(a, b) for a, b in zip(first, second, strict=True))
    assert same_bits(first.dreset_h, second.dreset_h) and first.dreset_c is None


@pytest.mark.parametrize("batch_first", (False, True))
def test_prepared_weights(batch_first):
    case = family_case(SHAPE, "float32", training=False, resets=True, layers=2, mask=True)
    outputs, _ = expected(case)
    weights = {name: of for name, of in case.weights.items() if of is not None}
    given = {name: case.keywords[name] for name in ("resets", "mask")}
    x = case.x
    if batch_first:
        x, given = x.swapaxes(0, 1), {name: a.T for name, a in given.items()}
    states = {name: case.keywords[name] for name in ("reset_h", "reset_c")}
    y, (h_n, _) = PreparedLSTM(**weights, variable_lengths=True).forward(
        x, case.h0, case.c0, batch_first=batch_first, **given, **states
    )
    assert_close(y.swapaxes(0, 1) if batch_first else y, outputs["y"], "float32")
    assert_close(h_n, outputs["h_n"], "float32")


# ---------------------------------------------------------------- layers and streams


def test_the_layer():
    layer = LSTM(H, return_sequences=True, return_state=True, time_major=True, seed=1)
    case = lstm_case(*SHAPE)
    x, h0, c0 = (case.inputs[name] for name in ("x", "h0", "c0"))
    given = {"resets": RESETS, "reset_h": h0 / 2, "reset_c": c0 / 2}
    assert layer(x, (h0, c0), **given)[0].shape == (T, B, H)
    y, *_ = layer.forward(x, True, (h0, c0), **given)
    layer.backward(case.upstream["dy"])
    wanted, _, cache = lstm_forward(x, **layer._weights(), h0=h0, c0=c0, training=True, **given)
    found = lstm_backward(cache, case.upstream["dy"])
    assert same_bits(y, wanted) and same_bits(layer.grads["W_hh"], found.dW_hh)
    assert same_bits(layer.reset_grads[0], found.dreset_h)
    assert same_bits(layer.reset_grads[1], found.dreset_c)


def test_arrays_of_other_libraries_beside_numpys():
    torch = pytest.importorskip("torch")
    case = lstm_case(*SHAPE)
    x, W_ih, W_hh, h0, c0 = (case.inputs[name] for name in ("x", "W_ih", "W_hh", "h0", "c0"))
    W_static, x_static = np.ones((4 * H, 2), "f4"), np.ones((B, 2), "f4")
    layer = PreparedLSTM(W_ih, W_hh, W_static=W_static)
    given = {"resets": RESETS, "reset_h": h0, "reset_c": c0, "x_static": x_static}
    lent = {name: torch.from_numpy(array.copy()) for name, array in given.items()}
    assert same_bits(layer.forward(x, **given)[0], layer.forward(x, **lent)[0])


@pytest.mark.parametrize("layers", (1, 2))
@pytest.mark.parametrize("rows", ([1, 3], np.array([False, True, False, True, False])), ids=type)
def test_some_rows_of_a_stream(rows, layers):
    case = family_case(SHAPE, "float32", training=False, layers=layers)
    weights = {name: of for name, of in case.weights.items() if of is not None}
    stream = LSTMStream(**weights, batch_size=B)
    resets = np.zeros((T, B), bool)
    resets[4, [1, 3]] = True
    wanted = lstm_forward(case.x, **weights, resets=resets)[0]
    stream.reset([0])  # of zeros
    found = [stream.step(x) for x in case.x[:4]]
    stream.reset(rows)
    stream.reset([])
    found += [stream.step(x) for x in case.x[4:]]
    for got, ref in zip(found, wanted, strict=True):
        assert_close(got, ref, "float32")
    stream.reset(range(B))
    assert not stream.state[0].any() and not stream.state[1].any()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([5], r"rows: expected integers in \[0, 4\], got 5 to 5"),
        ([-1], r"rows: expected integers in \[0, 4\]"),
        ([True], r"rows: expected \(5,\), got \(1,\)"),
        ([0.5], "rows: expected an array of integers, got dtype float64"),
        (3, r"rows: expected \(n,\), got \(\)"),
    ],
)
def test_rows_that_a_stream_has_not(rows, text):
    case = lstm_case(*SHAPE)
    stream = LSTMStream(*(case.inputs[name] for name in ("W_ih", "W_hh", "b")), batch_size=B)
    h, _ = stream.step(case.inputs["x"][0]), stream.state
    with pytest.raises(ValueError, match=text):
        stream.reset(rows)
    assert same_bits(stream.state[0], h)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"resets": np.zeros((B, T), bool)}, r"resets: expected \(9, 5\), got \(5, 9\)"),
        ({"resets": np.zeros((T, B))}, "resets: expected an array of bool, got dtype float64"),
        ({"reset_h": np.zeros((B, H), np.float32)}, "reset_h: expected None without resets"),
        ({"reset_c": np.zeros((B, H), np.float32)}, "reset_c: expected None without resets"),
        ({"resets": RESETS, "reset_h": np.zeros((1, H), np.float32)},
         r"reset_h: expected \(5, 21\), got \(1, 21\)"),
        ({"resets": RESETS, "reset_c": np.zeros((B, H))}, "reset_c: expected dtype float32"),
    ],
)  # fmt: skip
def test_wrong_arguments(changes, text):
    with pytest.raises(ValueError, match=text):
        lstm_forward(**lstm_case(*SHAPE).inputs, **changes)

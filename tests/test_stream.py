"""LSTMStream: one step at a time, its state, and its independence of the weights given."""

import numpy as np
import pytest
from agreement import DTYPES, FORWARD_BAR, SIZES, assert_close, expected, lstm_case, same_bits

from lstmfast import ops


def new_stream(case, batch_size):
    """Return a stream of a case's weights."""
    return ops.LSTMStream(*(case.inputs[name] for name in ("W_ih", "W_hh", "b")), batch_size)


def stream_of(case, batch_size):
    """Return a stream of a case's weights, its state set to the case's h0 and c0."""
    stream = new_stream(case, batch_size)
    stream.set_state(case.inputs["h0"], case.inputs["c0"])
    return stream


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", (1, 2, 3, 7, 33))
@pytest.mark.parametrize("H", SIZES)
def test_steps_follow_the_sequence(H, batch, dtype):
    case = lstm_case(5, batch, SIZES[(SIZES.index(H) + batch) % len(SIZES)], H, dtype)
    ref, _ = expected(case)
    stream = stream_of(case, batch)
    y = np.array([stream.step(x) for x in case.inputs["x"]])
    assert_close(y, ref["y"], dtype)
    for got, name in zip(stream.state, ("h_n", "c_n"), strict=True):
        assert_close(got, ref[name], dtype)


ONE_ROW = [(I, H) for I in (1, 3, 16, 33) for H in (1, 4, 5, 8, 12, 13, 16, 20, 31, 40, 47, 100)]
ONE_ROW += [(200, 200), (300, 170)]  # shared among threads
ONE_ROW += [(383, 16), (384, 16), (9, 383), (9, 384)]  # sums over k of one block, and of two


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("I", "H"), ONE_ROW)
def test_steps_of_one_row_have_the_bits_of_the_sequence(I, H, dtype):
    """They have a kernel of their own where the layer is small."""
    case = lstm_case(4, 1, I, H, dtype)
    one, other = stream_of(case, 1), stream_of(case, 1)
    y = np.array([one.step(x) for x in case.inputs["x"]])
    assert same_bits(y, other.forward(case.inputs["x"]))
    assert all(map(same_bits, one.state, other.state))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_hundred_steps_of_the_articles_layer(dtype):
    case = lstm_case(100, 1, 128, 256, dtype)
    stream = stream_of(case, 1)
    y = np.array([stream.step(x) for x in case.inputs["x"]])
    assert_close(y, expected(case)[0]["y"], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((1, 1, 4, 17), (7, 3, 5, 33), (40, 70, 9, 20)))
def test_pieces_follow_the_sequence(shape, dtype):
    case = lstm_case(*shape, dtype)
    x, ref = case.inputs["x"], expected(case)[0]
    whole, pieces = stream_of(case, shape[1]), stream_of(case, shape[1])
    y = whole.forward(x)
    assert_close(y, ref["y"], dtype)
    cut = shape[0] // 3
    strided = np.concatenate((x, x), axis=2)[:, :, : shape[2]]
    parts = [pieces.forward(part) for part in (strided[:cut], strided[cut:]) if len(part)]
    assert np.abs(np.concatenate(parts) - y).max() <= FORWARD_BAR[dtype]
    for got, name in zip(whole.state, ("h_n", "c_n"), strict=True):
        assert_close(got, ref[name], dtype)


def test_forward_into_out_and_what_it_refuses():
    case = lstm_case(4, 2, 3, 17)
    x, stream, other = case.inputs["x"], stream_of(case, 2), stream_of(case, 2)
    out = np.empty((4, 2, 17), np.float32)
    assert stream.forward(x, out=out) is out
    assert same_bits(out, other.forward(x))
    before = stream.state
    for bad, wrong_out, text in (
        (x[:, :1], None, r"x: expected \(T, 2, 3\), got \(4, 1, 3\)"),
        (x[0], None, "x: expected"),
        (x[:0], None, "x: expected no axis of size 0"),
        (x.astype(np.float64), None, "x: expected dtype float32"),
        (x.tolist(), None, "x: expected a NumPy array"),
        (x, out[1:], r"out: expected \(4, 2, 17\)"),
        (x, out.astype(np.float64), "out: expected dtype float32"),
    ):
        with pytest.raises(ValueError, match=text):
            stream.forward(bad, out=wrong_out)
    shared = np.zeros((4, 2, 17), np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        overlapping = np.lib.stride_tricks.as_strided(shared, (4, 2, 3), (24, 12, 4))
        stream.forward(overlapping, out=shared)
    assert all(same_bits(a, b) for a, b in zip(stream.state, before, strict=True))


def test_without_a_bias():
    case = lstm_case(3, 2, 5, 17)
    W_ih, W_hh = case.inputs["W_ih"], case.inputs["W_hh"]
    y, *_ = ops.lstm_forward(case.inputs["x"], W_ih, W_hh)
    stream = ops.LSTMStream(W_ih, W_hh, None, 2)
    for x, ref in zip(case.inputs["x"], y, strict=True):
        assert np.abs(stream.step(x) - ref).max() <= FORWARD_BAR["float32"]


def test_out_is_written_and_returned():
    case = lstm_case(2, 3, 4, 17)
    stream, other = stream_of(case, 3), stream_of(case, 3)
    out = np.empty((3, 17), np.float32)
    assert stream.step(case.inputs["x"][0], out=out) is out
    assert same_bits(out, other.step(case.inputs["x"][0]))


def test_results_and_states_are_copies():
    case = lstm_case(3, 2, 4, 17)
    stream, other = stream_of(case, 2), stream_of(case, 2)
    for x in case.inputs["x"]:
        h, ref = stream.step(x), other.step(x)
        assert same_bits(h, ref)
        h.fill(np.nan)
        for state in stream.state:
            state.fill(np.nan)


def test_reset_starts_from_zeros():
    case = lstm_case(1, 2, 4, 17)
    stream = stream_of(case, 2)
    stream.step(case.inputs["x"][0])
    stream.reset()
    assert not any(state.any() for state in stream.state)
    assert same_bits(
        stream.step(case.inputs["x"][0]), new_stream(case, 2).step(case.inputs["x"][0])
    )


@pytest.mark.parametrize("first", ("step", "forward"))
@pytest.mark.parametrize("then", ("step", "forward", "state", "set_state"))
def test_after_a_reset_the_old_state_is_gone(first, then):
    """The product with zeros is left out then: each way on from there must know that."""
    case = lstm_case(3, 2, 4, 17)
    x, used, new = case.inputs["x"], stream_of(case, 2), new_stream(case, 2)

    def move(stream, how):
        if how == "set_state":
            h, c = stream.state
            stream.set_state(h + 1, c)
        return stream.step(x[0]) if how == "step" else stream.forward(x)

    move(used, first)
    used.reset()
    with pytest.raises(ValueError, match="x: expected"):
        used.step(x[0, :1])
    for _ in range(2):
        if then == "state":
            assert all(map(same_bits, used.state, new.state))
        assert same_bits(move(used, then), move(new, then))
    assert all(map(same_bits, used.state, new.state))


def test_a_state_put_back_repeats_the_steps():
    case = lstm_case(2, 2, 4, 17)
    stream = stream_of(case, 2)
    stream.step(case.inputs["x"][0])
    kept = stream.state
    first = stream.step(case.inputs["x"][1])
    stream.set_state(*kept)
    assert same_bits(stream.step(case.inputs["x"][1]), first)


def test_the_weights_are_copied():
    case = lstm_case(1, 2, 4, 17)
    stream, other = stream_of(case, 2), stream_of(case, 2)
    for name in ("W_ih", "W_hh", "b", "h0", "c0"):
        case.inputs[name].fill(np.nan)
    assert same_bits(stream.step(case.inputs["x"][0]), other.step(case.inputs["x"][0]))
    assert np.isfinite(stream.state[0]).all()


def test_two_streams_do_not_meet():
    case = lstm_case(4, 1, 4, 17)
    lone, one, two = (stream_of(case, 1) for _ in range(3))
    for x in case.inputs["x"]:
        two.step(-x)
        assert same_bits(one.step(x), lone.step(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", "="])
@pytest.mark.parametrize("unaligned", [False, True])
def test_a_byte_order_that_is_told(order, unaligned, dtype):
    """A dtype may say that it is little-endian, and an array may lie anywhere."""
    case = lstm_case(3, 1, 4, 5, dtype)
    plain, told = stream_of(case, 1), stream_of(case, 1)
    kind = np.dtype(dtype).newbyteorder(order)
    for x in case.inputs["x"]:
        room = np.zeros(x.nbytes + 1, np.uint8)
        given = room[unaligned : unaligned + x.nbytes].view(kind).reshape(x.shape)
        given[...] = x
        out = np.zeros((1, 5), dtype).view(kind)
        expect = plain.step(x)
        assert same_bits(told.step(given, out=out if not unaligned else None), expect)
        assert unaligned or same_bits(out, expect)
    steps = case.inputs["x"].view(kind)
    assert same_bits(told.forward(steps), plain.forward(case.inputs["x"]))

"""Rows of unlike lengths, masks and the reverse direction, against the oracle row by row."""

import naive
import numpy as np
import pytest
from agreement import (
    DTYPES,
    THREADS,
    assert_close,
    assert_gradient_close,
    computed,
    lstm_case,
    same_bits,
)

from lstmfast import LSTM, CellOptions, ops

LENGTHS = {
    "unsorted": (3, 7, 0, 5, 7, 1),
    "sorted": (7, 7, 6, 4, 2, 1),
    "all": (7,) * 6,
    "none": (0,) * 6,
    "short": (2, 0, 1, 2, 2, 1),
}


def taken_steps(T, B, lengths=None, mask=None):
    """Return for each row the steps that it takes, in order of time."""
    if lengths is not None:
        return [range(length) for length in lengths]
    return [np.flatnonzero(mask[:, b]) for b in range(B)]


def filled(y, steps, reverse):
    """Repeat each row's output where no step is taken, in the direction of the steps."""
    T, B, _ = y.shape
    for b in range(B):
        last = np.zeros_like(y[0, b])
        for t in reversed(range(T)) if reverse else range(T):
            last = y[t, b] = y[t, b] if t in steps[b] else last
    return y


def repeated_gradient(dy, steps, reverse):
    """The gradient to the outputs of the steps taken, of those that repeat them."""
    T, B, _ = dy.shape
    total = np.zeros_like(dy)
    for b in range(B):
        to = None
        for t in reversed(range(T)) if reverse else range(T):
            to = t if t in steps[b] else to
            if to is not None:
                total[to, b] += dy[t, b]
    return total


def row_by_row(case, steps, reverse=False, repeat=False):
    """What the oracle makes of each row alone, put together: outputs and gradients."""
    inputs = {name: naive.double(a) for name, a in case.inputs.items()}
    upstream = {name: naive.double(a) for name, a in case.upstream.items()}
    T, B, _ = inputs["x"].shape
    H = inputs["h0"].shape[1]
    outputs = {"y": np.zeros((T, B, H)), "h_n": inputs["h0"].copy(), "c_n": inputs["c0"].copy()}
    gradients = {f"d{name}": np.zeros_like(a) for name, a in inputs.items()}
    gradients["dh0"], gradients["dc0"] = upstream["dh_n"].copy(), upstream["dc_n"].copy()
    if repeat:
        upstream["dy"] = repeated_gradient(upstream["dy"], steps, reverse)
    for b in range(B):
        ts = np.array(steps[b][::-1] if reverse else steps[b], int)
        if len(ts) == 0:
            continue
        row = slice(b, b + 1)
        one = inputs | {"x": inputs["x"][ts][:, row]}
        one |= {name: inputs[name][row] for name in ("h0", "c0")}
        up = {"dy": upstream["dy"][ts][:, row]}
        up |= {name: upstream[name][row] for name in ("dh_n", "dc_n")}
        y, (outputs["h_n"][row], outputs["c_n"][row]) = naive.lstm_forward(**one)
        outputs["y"][ts, b] = y[:, 0]
        found = naive.lstm_backward(**one, **up)
        gradients["dx"][ts, b] = found["dx"][:, 0]
        gradients["dh0"][row], gradients["dc0"][row] = found["dh0"], found["dc0"]
        for name in ("dW_ih", "dW_hh", "db", "dp"):
            if name in gradients:
                gradients[name] += found[name]
    if repeat:
        outputs["y"] = filled(outputs["y"], steps, reverse)
    return outputs, gradients


def assert_agrees(case, steps, reverse=False, repeat=False, **options):
    dtype = case.inputs["x"].dtype
    pad = "repeat" if repeat else "zeros"
    got, gradients = computed(case, pad=pad, reverse=reverse, **options)
    wanted, wanted_gradients = row_by_row(case, steps, reverse, repeat)
    for name, ref in wanted.items():
        assert_close(got[name], ref, dtype)
    for name, ref in wanted_gradients.items():
        assert_gradient_close(gradients[name], ref, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("repeat", (False, True), ids=("zeros", "repeat"))
@pytest.mark.parametrize("reverse", (False, True), ids=("forwards", "reverse"))
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_lengths(lengths, reverse, repeat, dtype):
    case = lstm_case(7, 6, 5, 21, dtype)
    assert_agrees(case, taken_steps(7, 6, lengths), reverse, repeat, lengths=lengths)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("repeat", (False, True), ids=("zeros", "repeat"))
@pytest.mark.parametrize("reverse", (False, True), ids=("forwards", "reverse"))
@pytest.mark.parametrize("shape", ((9, 5, 4, 17), (40, 13, 20, 33), (1, 3, 2, 5)), ids=str)
def test_masks(shape, reverse, repeat, dtype):
    case = lstm_case(*shape, dtype)
    mask = np.random.default_rng(3).random(shape[:2]) < 0.6
    mask[:, 0] = False
    assert_agrees(case, taken_steps(*shape[:2], mask=mask), reverse, repeat, mask=mask)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((6, 3, 5, 18), (1, 2, 3, 4), (50, 40, 7, 66)), ids=str)
def test_reverse(shape, dtype):
    case = lstm_case(*shape, dtype)
    assert_agrees(case, taken_steps(*shape[:2], [shape[0]] * shape[1]), reverse=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lengths_of_a_cell_with_options(dtype):
    """Peepholes' gradient is a sum over the steps taken alone."""
    case = lstm_case(11, 7, 5, 35, dtype)
    p = np.random.default_rng(1).uniform(-0.5, 0.5, (3, 35))
    case.inputs["p"] = p.astype(dtype)
    lengths = (4, 11, 0, 9, 2, 2, 7)
    steps = taken_steps(11, 7, lengths)
    assert_agrees(case, steps, lengths=lengths, options=CellOptions(), reverse=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_taken_is_not_read(dtype):
    case = lstm_case(6, 4, 5, 9, dtype)
    lengths = np.array([2, 6, 0, 3])
    for b, length in enumerate(lengths):
        case.inputs["x"][length:, b] = np.nan
        case.upstream["dy"][length:, b] = np.nan
    got, gradients = computed(case, lengths=lengths)
    assert all(np.isfinite(a).all() for a in (got | gradients).values())
    assert not got["y"][2:, 0].any() and not gradients["dx"][:, 2].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_full_lengths_give_the_bits_of_none(dtype):
    case = lstm_case(12, 9, 14, 50, dtype)
    plain, full = computed(case), computed(case, lengths=np.full(9, 12, np.uint8))
    for a, b in zip(plain, full, strict=True):
        assert all(same_bits(a[name], b[name]) for name in a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B", (1, 3, 40))
def test_bits_do_not_depend_on_threads(B, dtype, threads):
    case = lstm_case(60, B, 30, 130, dtype)
    lengths = np.random.default_rng(2).integers(0, 61, B)
    lengths[0] = 60
    results = []
    for n in THREADS:
        threads(n)
        outputs, gradients = computed(case, lengths=lengths)
        results.append((outputs | gradients).values())
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


def test_inference_without_sequences_agrees_with_training():
    case = lstm_case(20, 8, 6, 40, "float32")
    lengths = (20, 3, 0, 7, 19, 1, 20, 2)
    inputs = case.inputs | {"x": np.ascontiguousarray(case.inputs["x"].swapaxes(0, 1))}
    _, wanted, _ = ops.lstm_forward(**inputs, lengths=lengths, batch_first=True, training=True)
    y, state, _ = ops.lstm_forward(
        **inputs, lengths=lengths, batch_first=True, return_sequences=False
    )
    assert y is None and all(map(same_bits, state, wanted))
    mask = np.arange(20) < np.array(lengths)[:, None]
    _, state, _ = ops.lstm_forward(**inputs, mask=mask, batch_first=True)
    assert all(map(same_bits, state, wanted))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lengths": [1, 2]}, r"lengths: expected \(3,\)"),
        ({"lengths": [1, 2, 6]}, r"lengths: expected integers in \[0, 5\], got 1 to 6"),
        ({"lengths": [1, 2, -1]}, r"lengths: expected integers in \[0, 5\]"),
        ({"lengths": [1.0, 2.0, 3.0]}, "lengths: expected an array of integers"),
        ({"mask": np.ones((5, 2), bool)}, "mask: expected"),
        ({"mask": np.ones((5, 3))}, "mask: expected an array of bool, got dtype float64"),
        ({"mask": np.ones((5, 3), bool), "lengths": [1, 2, 3]}, "lengths, mask: expected one"),
        ({"pad": "last"}, "pad: expected"),
        ({"reverse": 1}, "reverse: expected True or False"),
    ],
)
def test_wrong_arguments(options, text):
    case = lstm_case(5, 3, 4, 6)
    with pytest.raises(ValueError, match=text):
        ops.lstm_forward(**case.inputs, **options)


@pytest.mark.parametrize("pad", ("zeros", "repeat"))
@pytest.mark.parametrize("go_backwards", (False, True))
def test_a_layer_takes_lengths_and_masks(go_backwards, pad):
    """Outputs come in the order of the steps; gradients as the oracle's."""
    case = lstm_case(6, 4, 5, 9, "float64")
    zeros = {name: np.zeros_like(case.inputs[name]) for name in ("h0", "c0")}
    case = case._replace(inputs=case.inputs | zeros)
    case.upstream["dh_n"][...] = case.upstream["dc_n"][...] = 0
    lengths = (6, 2, 0, 5)
    wanted, gradients = row_by_row(
        case, taken_steps(6, 4, lengths), reverse=go_backwards, repeat=pad == "repeat"
    )
    layer = LSTM(9, return_sequences=True, go_backwards=go_backwards, pad=pad)
    layer.adopt({n: case.inputs[n] for n in ("W_ih", "W_hh", "b")}, (None, None, 5), "float64")
    x, dy = (
        np.ascontiguousarray(a.swapaxes(0, 1)) for a in (case.inputs["x"], case.upstream["dy"])
    )
    turn = slice(None, None, -1 if go_backwards else 1)
    mask = np.arange(6) < np.array(lengths)[:, None]
    assert same_bits(layer(x, mask=mask).copy(), layer(x, lengths=lengths).copy())
    y = layer.forward(x, training=True, lengths=lengths)
    assert_close(y, wanted["y"].swapaxes(0, 1)[:, turn], "float64")
    dx = layer.backward(dy[:, turn])
    assert_gradient_close(dx, gradients["dx"].swapaxes(0, 1), "float64")
    for name in ("W_ih", "W_hh", "b"):
        assert_gradient_close(layer.grads[name], gradients[f"d{name}"], "float64")
    last = LSTM(9, go_backwards=go_backwards)
    last.adopt(layer.params, (None, None, 5), "float64")
    assert_close(last(x, lengths=lengths), wanted["h_n"], "float64")

"""Path one in the simulator: every option that it has, against the float64 oracle."""

from types import SimpleNamespace

import numpy as np
import on_device
import pytest
from agreement import forward_error, gradient_error
from family import OPTIONS, assert_case_close, computed, expected, family_case

from lstmfast.cuda.ops import lstm
from lstmfast.cuda.runtime.array import BFLOAT16, from_host
from lstmfast.ops.lstm import LSTMGradients

SHAPE = (3, 3, 2, 5)
BARRED = (
    "layer_norm",
    "recompute",
    "resets",
    "resets to zeros",
    "static",  # test_support.py
    "bfloat16",
)  # see below: rounded elsewhere, too
RUNS = {name: options for name, options in OPTIONS.items() if name not in BARRED}


@pytest.mark.parametrize("dtype", ("float64", "float32"))
@pytest.mark.parametrize("name", RUNS)
def test_each_option(name, dtype):
    assert_case_close(family_case(SHAPE, dtype, **RUNS[name]), by=on_device)


# ---------------------------------------------------------------- smaller precisions

# Half a unit of the last place of what is multiplied, of 11, 11 and 8 bits. Measured at most 1.7 of
# these forward, and 2.1 back: arrays of half precision are rounded once more than products.
FORWARD_TOLERANCE = {"tf32": 2**-11, "float16": 2**-11, "bfloat16": 2**-8}
GRADIENT_FACTOR = 4
WAYS = (
    ("float32", "tf32"), ("float32", "float16"), ("float32", "bfloat16"), ("float16", "float16"),
    ("bfloat16", "bfloat16"),
)  # fmt: skip


def rounded(dtype, precision):
    """`on_device` with arrays of this dtype, multiplied in this precision."""

    def cast(value):
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            return value.astype(dtype)
        return [cast(one) for one in value] if isinstance(value, list) else value

    def widened(found):
        if isinstance(found, np.ndarray):
            assert found.dtype == dtype
            return found.astype(np.float32)
        if isinstance(found, LSTMGradients):
            wide = LSTMGradients(*(widened(one) for one in found))
            wide.dp, wide.dW_hr = widened(found.dp), widened(found.dW_hr)
            return wide
        return type(found)(map(widened, found)) if isinstance(found, (list, tuple)) else found

    def forward(*arrays, **keywords):
        keywords = {name: cast(value) for name, value in keywords.items()}
        found = on_device.lstm_forward(*map(cast, arrays), **keywords, precision=precision)
        return widened(found)

    def backward(cache, **keywords):
        keywords = {name: cast(value) for name, value in keywords.items()}
        return widened(on_device.lstm_backward(cache, **keywords))

    return SimpleNamespace(lstm_forward=forward, lstm_backward=backward)


@pytest.mark.parametrize("options", ({}, {"proj": 3, "lengths": True, "recurrent_dropout": 0.4}))
@pytest.mark.parametrize("dtype, precision", WAYS)
def test_precisions(dtype, precision, options):
    case = family_case(SHAPE, "float32", bidirectional=True, **options)
    dtype = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    outputs, gradients = computed(case, rounded(dtype, precision))
    wanted, wanted_gradients = expected(case)
    tolerance = FORWARD_TOLERANCE[precision]
    errors = [forward_error(outputs[name], ref) for name, ref in wanted.items()]
    assert tolerance / 100 < max(errors) <= 2 * tolerance
    for name, ref in wanted_gradients.items():
        assert gradient_error(gradients[name], ref) <= GRADIENT_FACTOR * tolerance, name


def test_precisions_that_do_not_fit():
    x = from_host(np.zeros((2, 1, 3), np.float32))
    W_ih, W_hh = (from_host(np.zeros((8, n), np.float32)) for n in (3, 2))
    with pytest.raises(ValueError, match=r"^precision: expected one of 'float32', 'tf32'.*'int8'"):
        lstm.lstm_forward(x, W_ih, W_hh, precision="int8")
    with pytest.raises(ValueError, match=r"^precision: expected one of 'float64', got 'tf32'"):
        lstm.lstm_forward(*(a.astype("float64") for a in (x, W_ih, W_hh)), precision="tf32")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "change, text",
    [
        ({"W_hh": np.zeros((8, 2), np.float32)}, "W_hh: expected a DeviceArray of floats, got nda"),
        ({"h0": np.zeros((3, 2))}, "h0: expected a DeviceArray"),
        ({"norm": (None,) * 4}, "norm: expected None on a GPU"),
        ({"recompute": 2}, "recompute: expected None on a GPU"),
        ({"resets": np.zeros((3, 2), bool)}, "resets: expected None on a GPU"),
        ({"x_static": np.zeros((2, 3))}, "x_static: expected None on a GPU"),
        ({"lengths": [3]}, r"lengths: expected integers in \[0, 2\], got 3"),
        ({"lengths": [1], "mask": np.ones((2, 1), bool)}, "lengths, mask: expected one"),
        (
            {"W_hh": from_host(np.zeros((8, 2)))},
            "W_hh: expected dtype float32 like the other arrays",
        ),
    ],
)
def test_arguments_that_do_not_fit(change, text):
    given = {
        "x": from_host(np.zeros((2, 1, 3), np.float32)),
        "W_ih": from_host(np.zeros((8, 3), np.float32)),
        "W_hh": from_host(np.zeros((8, 2), np.float32)),
    }
    with pytest.raises(ValueError, match=f"^{text}"):
        lstm.lstm_forward(**given | change)


def test_a_cache_serves_once():
    x = from_host(np.ones((2, 1, 3), np.float32))
    W_ih, W_hh = (from_host(np.full((8, n), 0.1, np.float32)) for n in (3, 2))
    y, _, cache = lstm.lstm_forward(x, W_ih, W_hh, training=True)
    lstm.lstm_backward(cache, y)
    with pytest.raises(ValueError, match=r"^cache: .*already used"):
        lstm.lstm_backward(cache, y)
    with pytest.raises(ValueError, match=r"^dy, dh_n, dc_n: expected at least one"):
        lstm.lstm_backward(lstm.lstm_forward(x, W_ih, W_hh, training=True)[2])


def test_lengths_and_masks_on_the_gpu():
    case = family_case(SHAPE, "float32", mask=True)
    inside = case._replace(keywords=case.keywords | {"mask": from_host(case.keywords["mask"])})
    assert_case_close(inside, by=on_device)
    case = family_case(SHAPE, "float32", lengths=True)
    lengths = from_host(np.asarray(case.keywords["lengths"], np.int64))
    assert_case_close(case._replace(keywords=case.keywords | {"lengths": lengths}), by=on_device)

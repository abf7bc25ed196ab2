"""The LSTM against the oracle: shapes, layouts, missing inputs, upstream gradients, torch."""

import naive
import numpy as np
import pytest
from agreement import (
    DTYPES,
    FORWARD_BAR,
    GRADIENT_BAR,
    Case,
    all_arrays,
    assert_case_close,
    assert_close,
    assert_gradient_close,
    computed,
    covering_shapes,
    expected,
    forward_error,
    gradient_error,
    lstm_case,
    same_bits,
)

from lstmfast import ops

GRADIENTS = ("dx", "dh0", "dc0", "dW_ih", "dW_hh", "db")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", covering_shapes(), ids=lambda s: "x".join(map(str, s)))
def test_every_output_and_gradient(shape, dtype):
    assert_case_close(lstm_case(*shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_articles_layer(dtype):
    assert_case_close(lstm_case(50, 8, 128, 256, dtype))


def test_the_forget_gate_alone_carries_the_cell():
    """Zero weights: c decays by sigmoid(b_f) a step, a mistaken gate order changes it."""
    T, H = 3, 5
    b = np.repeat(np.float32([-100.0, 1.0, 7.0, 100.0]), H)
    c0 = np.linspace(-1, 1, H, dtype=np.float32)[None]
    zeros = np.zeros((4 * H, H), np.float32)
    x = np.zeros((T, 1, H), np.float32)
    y, (h_n, c_n), cache = ops.lstm_forward(x, zeros, zeros, b, np.zeros_like(c0), c0)
    kept = 1 / (1 + np.exp(-1.0))
    assert cache is None
    assert forward_error(c_n, c0 * kept**T) <= FORWARD_BAR["float32"]
    assert forward_error(h_n, np.tanh(c0 * kept**T)) <= FORWARD_BAR["float32"]
    assert same_bits(y[-1], h_n)


# ---------------------------------------------------------------- layouts


def batch_first(case):
    """Return the case with x, and dy, as contiguous (B, T, ...) arrays."""
    swap = {"x", "dy"}
    return Case(
        *(
            {
                name: np.ascontiguousarray(a.swapaxes(0, 1)) if name in swap else a
                for name, a in group.items()
            }
            for group in case
        )
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((1, 1, 3, 5), (5, 3, 17, 33), (2, 33, 65, 16), (100, 6, 15, 31)))
def test_batch_first_gives_the_same_bits(shape, dtype):
    case = lstm_case(*shape, dtype)
    outputs, gradients = computed(case)
    swapped_outputs, swapped_gradients = computed(batch_first(case), batch_first=True)
    swapped_outputs["y"] = swapped_outputs["y"].swapaxes(0, 1)
    swapped_gradients["dx"] = swapped_gradients["dx"].swapaxes(0, 1)
    for name in outputs:
        assert same_bits(outputs[name], swapped_outputs[name]), name
    for name in gradients:
        assert same_bits(gradients[name], swapped_gradients[name]), name


def sliced(x):
    """Return views equal to x whose last axis alone is contiguous, by name."""
    T, B, I = x.shape
    wide = np.full((2 * T, 3 * B, I + 5), np.nan, x.dtype)
    wide[::2, 1::3, 2 : 2 + I] = x
    backwards = np.ascontiguousarray(x[::-1, ::-1])
    return {
        "every second": wide[::2, 1::3, 2 : 2 + I],
        "backwards": backwards[::-1, ::-1],
        "transposed": np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", ("every second", "backwards", "transposed"))
@pytest.mark.parametrize("shape", ((5, 3, 4, 6), (5, 1, 1, 3), (7, 13, 17, 33)))
def test_strided_x_gives_the_same_bits(shape, view, dtype):
    case = lstm_case(*shape, dtype)
    strided = Case({**case.inputs, "x": sliced(case.inputs["x"])[view]}, case.upstream)
    for results, strided_results in zip(computed(case), computed(strided), strict=True):
        for name in results:
            assert same_bits(results[name], strided_results[name]), name


@pytest.mark.parametrize("shape", ((1, 1, 1, 3), (1, 3, 4, 6), (5, 1, 4, 6), (5, 3, 1, 6)))
def test_an_axis_of_one_may_have_any_stride(shape):
    """NumPy calls such arrays contiguous."""
    case = lstm_case(*shape)
    x = case.inputs["x"]
    odd = zip(x.shape, x.strides, (-4099, -77, 3), strict=True)
    strides = [other if size == 1 else stride for size, stride, other in odd]
    view = np.lib.stride_tricks.as_strided(x, x.shape, strides)
    assert view.flags.c_contiguous
    strided = Case({**case.inputs, "x": view}, case.upstream)
    for results, strided_results in zip(computed(case), computed(strided), strict=True):
        for name in results:
            assert same_bits(results[name], strided_results[name]), name


def test_broadcast_x():
    """The same row at every step: a stride of 0."""
    case = lstm_case(5, 3, 4, 6)
    x = np.broadcast_to(case.inputs["x"][:1], (5, 3, 4))
    assert_case_close(Case({**case.inputs, "x": x}, case.upstream))


def test_inputs_are_neither_written_nor_returned():
    case = lstm_case(5, 3, 4, 6)
    for a in (*case.inputs.values(), *case.upstream.values()):
        a.flags.writeable = False
    before = {name: a.copy() for group in case for name, a in group.items()}
    results = all_arrays(case)
    for name, a in (*case.inputs.items(), *case.upstream.items()):
        assert same_bits(a, before[name]), name
        assert not any(np.shares_memory(a, result) for result in results), name
    assert all(result.flags.writeable for result in results)


# ---------------------------------------------------------------- what may be left out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("missing", (("b",), ("h0",), ("c0",), ("h0", "c0"), ("b", "h0", "c0")))
@pytest.mark.parametrize("shape", ((5, 3, 4, 17), (1, 3, 4, 17), (1, 40, 33, 20)))
def test_missing_inputs_are_zeros(shape, missing, dtype):
    case = lstm_case(*shape, dtype)
    assert_case_close(
        Case({k: a for k, a in case.inputs.items() if k not in missing}, case.upstream)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", (("dy",), ("dh_n",), ("dc_n",), ("dh_n", "dc_n")))
@pytest.mark.parametrize("shape", ((1, 1, 2, 3), (5, 3, 4, 17), (100, 2, 33, 16)))
def test_upstream_gradients_alone(shape, given, dtype):
    case = lstm_case(*shape, dtype)
    assert_case_close(Case(case.inputs, {name: case.upstream[name] for name in given}))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_the_last_output_alone(dtype):
    """The gradient of h_n, and of y at the last step, are one and the same."""
    case = lstm_case(7, 5, 3, 18, dtype)
    last = np.zeros_like(case.upstream["dy"])
    last[-1] = case.upstream["dh_n"]
    by_sequence, by_state = ({"dy": last}, {"dh_n": case.upstream["dh_n"]})
    _, from_sequence = computed(Case(case.inputs, by_sequence))
    _, from_state = computed(Case(case.inputs, by_state))
    for name in GRADIENTS:
        assert same_bits(from_sequence[name], from_state[name]), name
    assert_case_close(Case(case.inputs, by_sequence))


@pytest.mark.parametrize("training", (False, True))
def test_return_sequences_false_returns_the_state_alone(training):
    case = lstm_case(5, 3, 4, 6)
    outputs, gradients = computed(case)
    y, (h_n, c_n), cache = ops.lstm_forward(
        **case.inputs, training=training, return_sequences=False
    )
    assert y is None
    assert same_bits(h_n, outputs["h_n"]) and same_bits(c_n, outputs["c_n"])
    if training:
        assert same_bits(ops.lstm_backward(cache, **case.upstream).dW_hh, gradients["dW_hh"])


def test_training_changes_no_bit_of_the_forward_pass():
    for shape in covering_shapes()[::5]:
        case = lstm_case(*shape)
        (y, (h_n, c_n), cache), (outputs, _) = ops.lstm_forward(**case.inputs), computed(case)
        assert cache is None
        assert same_bits(y, outputs["y"])
        assert same_bits(h_n, outputs["h_n"]) and same_bits(c_n, outputs["c_n"])


def test_need_dx_false_leaves_dx_out():
    case = lstm_case(5, 3, 4, 6)
    _, gradients = computed(case)
    *_, cache = ops.lstm_forward(**case.inputs, training=True)
    without = ops.lstm_backward(cache, **case.upstream, need_dx=False)._asdict()
    assert without.pop("dx") is None
    assert all(same_bits(a, gradients[name]) for name, a in without.items())


def test_a_cache_serves_once():
    case = lstm_case(5, 3, 4, 6)
    *_, cache = ops.lstm_forward(**case.inputs, training=True)
    ops.lstm_backward(cache, **case.upstream)
    with pytest.raises(ValueError, match="cache"):
        ops.lstm_backward(cache, **case.upstream)


def test_two_halves_make_the_whole():
    """The state handed on, and its gradient handed back, join two calls into one."""
    case = lstm_case(8, 3, 4, 17, "float64")
    inputs, upstream = dict(case.inputs), case.upstream
    ref_outputs, ref = expected(case)
    x, weights = inputs.pop("x"), {name: inputs[name] for name in ("W_ih", "W_hh", "b")}
    y1, (h, c), first = ops.lstm_forward(x[:3], **inputs, training=True)
    y2, _, second = ops.lstm_forward(x[3:], **weights, h0=h, c0=c, training=True)
    assert_close(np.concatenate([y1, y2]), ref_outputs["y"], "float64")
    late = ops.lstm_backward(second, upstream["dy"][3:], upstream["dh_n"], upstream["dc_n"])
    early = ops.lstm_backward(first, upstream["dy"][:3], late.dh0, late.dc0)
    assert_gradient_close(np.concatenate([early.dx, late.dx]), ref["dx"], "float64")
    for name in ("dW_ih", "dW_hh", "db"):
        total = getattr(early, name) + getattr(late, name)
        assert_gradient_close(total, ref[name], "float64")
    assert_gradient_close(early.dc0, ref["dc0"], "float64")


# ---------------------------------------------------------------- a second oracle


def torch_results(torch, case):
    """Return the outputs and gradients of torch.nn.LSTM for a case, as arrays."""
    tensors = {name: torch.tensor(a, requires_grad=True) for name, a in case.inputs.items()}
    x, W_ih, W_hh, b, h0, c0 = tensors.values()
    layer = torch.nn.LSTM(x.shape[2], h0.shape[1], dtype=x.dtype)
    weights = {
        "weight_ih_l0": W_ih,
        "weight_hh_l0": W_hh,
        "bias_ih_l0": b,
        "bias_hh_l0": torch.zeros_like(b),
    }
    y, (h_n, c_n) = torch.func.functional_call(layer, weights, (x, (h0[None], c0[None])))
    outputs = {"y": y, "h_n": h_n[0], "c_n": c_n[0]}
    loss = sum((torch.tensor(case.upstream["d" + name]) * a).sum() for name, a in outputs.items())
    loss.backward()
    return (
        {name: a.detach().numpy() for name, a in outputs.items()},
        {"d" + name: tensor.grad.numpy() for name, tensor in tensors.items()},
    )


@pytest.mark.parametrize("shape", ((1, 1, 2, 3), (5, 3, 4, 6), (20, 7, 17, 33)))
def test_torch_agrees(shape):
    torch = pytest.importorskip("torch")
    case = lstm_case(*shape, "float64")
    (outputs, gradients), (ref_outputs, ref_gradients) = computed(case), torch_results(torch, case)
    for name, ref in ref_outputs.items():
        assert forward_error(outputs[name], ref) <= FORWARD_BAR["float64"], name
    for name, ref in ref_gradients.items():
        assert gradient_error(gradients[name], ref) <= GRADIENT_BAR["float64"], name


def test_torch_agrees_with_the_oracle():
    torch = pytest.importorskip("torch")
    case = lstm_case(5, 3, 4, 6, "float64")
    y, _ = naive.lstm_forward(**case.inputs)
    assert forward_error(torch_results(torch, case)[0]["y"], y) <= FORWARD_BAR["float64"]

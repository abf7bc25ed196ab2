"""Options of the C-level API: the same bits as the calls on arrays, and what is refused."""

import ctypes

import numpy as np
import pytest
from agreement import DTYPES, lstm_case, same_bits
from capi_calls import Arguments, Call, Weights, address, new_config, new_handle

from lstmfast import CellOptions, ops
from lstmfast.ops import activations

T, B, I, H = SHAPE = (9, 5, 4, 21)
CELL = {"coupled": 1, "clip": 0.9, "cell_clip": 0.6, "peepholes": 1}
ACTIVATIONS = {
    "gate_kind": 3, "gate_alpha": 0.2, "gate_beta": 0.5, "candidate_kind": 8,
    "candidate_alpha": 0.8, "output_kind": 9,
}  # fmt: skip
OPTIONS = CellOptions(("elu", 0.8), ("hard_sigmoid", 0.2, 0.5), "softsign", True, 0.9, 0.6)
LENGTHS = np.array([4, 0, 9, 7, 1])


def peepholes(dtype):
    return np.random.default_rng(1).uniform(-0.5, 0.5, (3, H)).astype(dtype)


def loaded(probe, dtype, p=None, **keys):
    """A handle for training with these keys and the weights of SHAPE's case."""
    lstm = new_handle(probe, I, H, dtype, training=1, batch_size=B, **keys)
    inputs = lstm_case(*SHAPE, dtype).inputs
    weights = Weights(**{name: inputs[name] for name in ("W_ih", "W_hh", "b")}, p=p)
    assert probe.load(lstm, ctypes.addressof(weights)) == 0
    return lstm


def on_arrays(dtype, **options):
    case = lstm_case(*SHAPE, dtype)
    y, (h_n, c_n), cache = ops.lstm_forward(**case.inputs, training=True, **options)
    gradients = ops.lstm_backward(cache, **case.upstream)
    return {"y": y, "h_n": h_n, "c_n": c_n} | gradients._asdict(), gradients.dp


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cell_of_every_option(dtype, probe):
    p = peepholes(dtype)
    lstm = loaded(probe, dtype, p, **CELL, **ACTIVATIONS)
    call = Call(probe, SHAPE, dtype, lstm=lstm)
    assert call.forward() == "OK"
    dp = np.empty((3, H), dtype)
    names = ("W_ih", "W_hh", "b")
    gradients = Weights(**{n: call.arrays[f"d{n}"] for n in names}, p=dp)
    moved = {"dW_ih": 0, "dW_hh": 0, "db": 0, "gradients": ctypes.addressof(gradients)}
    assert call.backward(**moved) == "OK"
    wanted, wanted_dp = on_arrays(dtype, p=p, options=OPTIONS)
    assert same_bits(dp, wanted_dp)
    assert all(same_bits(call.arrays[name], wanted[name]) for name in wanted)
    probe.free(lstm)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ("time-major", "batch-first", "padded rows"))
@pytest.mark.parametrize("reverse", (0, 1))
def test_lengths_and_masks(reverse, layout, dtype, probe):
    lstm = loaded(probe, dtype, lengths=1, repeat=1, reverse=reverse)
    mask = np.arange(T)[:, None] < LENGTHS
    asked = {"lengths": address(LENGTHS)}
    masked = {"mask": address(mask), "mask_t": B, "mask_b": 1}
    wanted, _ = on_arrays(dtype, lengths=LENGTHS, pad="repeat", reverse=bool(reverse))
    for which in (asked, masked):
        call = Call(probe, SHAPE, dtype, layout, lstm=lstm)
        assert call.forward(**which) == "OK" and call.backward(**which) == "OK"
        assert all(same_bits(np.ascontiguousarray(call.arrays[n]), wanted[n]) for n in wanted)
    probe.free(lstm)


@pytest.mark.parametrize("layout", ("time-major", "batch-first", "padded rows"))
def test_reverse(layout, probe):
    lstm = loaded(probe, "float32", reverse=1)
    call = Call(probe, SHAPE, "float32", layout, lstm=lstm)
    assert call.forward() == "OK" and call.backward() == "OK"
    wanted, _ = on_arrays("float32", reverse=True)
    assert all(same_bits(np.ascontiguousarray(call.arrays[n]), wanted[n]) for n in wanted)
    probe.free(lstm)


def test_the_first_version_of_the_arguments(probe):
    """Callers compiled before `gradients` and what follows are served as before."""
    call, other = Call(probe, SHAPE), Call(probe, SHAPE)
    first = Arguments.gradients.offset
    assert call.forward(size=first) == other.forward() == "OK"
    assert call.backward(size=first) == other.backward() == "OK"
    assert all(same_bits(call.arrays[n], other.arrays[n]) for n in ("y", "dx", "dW_ih", "db"))


def test_the_header_knows_the_kernels_kinds(probe):
    assert probe.activation_kinds() == tuple(range(len(activations.NAMES)))
    assert probe.weights_size() == ctypes.sizeof(Weights)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("peepholes", (-1, 2, 0.5)),
        ("lengths", (2,)),
        ("clip", (0, -1, np.nan)),
        ("cell_clip", (0, -np.inf, np.nan)),
        ("gate_kind", (-1, 11, 0.5, np.nan)),
        ("output_alpha", (np.inf, np.nan)),
    ],
)
def test_bad_values(key, values, probe):
    config = new_config(probe)
    for value in values:
        assert probe.config_set(config, key.encode(), value) == probe.status_codes()["EVALUE"]
    probe.config_free(config)


def test_a_slope_that_cannot_be_told(probe):
    for kind, alpha in ((5, 0.0), (8, -1.0), (7, 0.0)):
        keys = {"input_size": I, "hidden_size": H, "gate_kind": kind, "gate_alpha": alpha}
        for training, wanted in ((0, "OK"), (1, "EVALUE")):
            config = new_config(probe, **keys, training=training)
            status, lstm = probe.build(config)
            assert status == probe.status_codes()[wanted]
            probe.config_free(config)
            probe.free(lstm)


def test_weights_that_do_not_fit_the_options(probe):
    codes, inputs = probe.status_codes(), lstm_case(*SHAPE).inputs
    arrays = {name: inputs[name] for name in ("W_ih", "W_hh", "b")}
    plain, seeing = (
        new_handle(probe, I, H, "float32"),
        new_handle(probe, I, H, "float32", peepholes=1),
    )
    with_p, without = Weights(**arrays, p=peepholes("float32")), Weights(**arrays)
    assert probe.load(plain, ctypes.addressof(with_p)) == codes["EOPTION"]
    assert probe.load(seeing, ctypes.addressof(without)) == codes["ENULL"]
    assert probe.load_weights(seeing, *map(address, arrays.values())) == codes["ENULL"]
    without.size = 8
    assert probe.load(plain, ctypes.addressof(without)) == codes["EVERSION"]
    assert probe.load(plain, 0) == probe.load(0, ctypes.addressof(with_p)) == codes["ENULL"]
    probe.free(plain)
    probe.free(seeing)


def test_arguments_that_do_not_fit_the_options(probe, threads):
    threads(1)
    plain = Call(probe, SHAPE)
    lstm = loaded(probe, "float32", lengths=1)
    call = Call(probe, SHAPE, lstm=lstm)
    lengths, mask = address(LENGTHS), np.ones((T, B), bool)
    for run in ("forward", "backward"):
        plain.assert_refused(run, "EOPTION", lengths=lengths)
        call.assert_refused(run, "EOPTION", lengths=lengths, mask=address(mask))
        for wrong in (np.array([1, 2, 3, 4, T + 1]), np.array([1, -1, 3, 4, 5])):
            call.assert_refused(run, "ELENGTH", lengths=address(wrong))
    for strides in ({"mask_t": -1, "mask_b": 1}, {"mask_t": B, "mask_b": -1}):
        call.assert_refused("forward", "ESIZE", mask=address(mask), **strides)
    call.arrays["y"][...] = 0  # lengths of zero, where the output would go
    call.assert_refused("forward", "EALIAS", lengths=address(call.arrays["y"]))
    gradients = Weights(W_ih=plain.arrays["dW_ih"])
    asked = {"gradients": ctypes.addressof(gradients)}
    plain.assert_refused("backward", "EOPTION", **asked)
    none = {"dW_ih": 0, "dW_hh": 0, "db": 0}
    gradients.p = address(peepholes("float32"))
    plain.assert_refused("backward", "EOPTION", **asked, **none)
    gradients.p, gradients.size = None, 1
    plain.assert_refused("backward", "EVERSION", **asked, **none)
    probe.free(lstm)

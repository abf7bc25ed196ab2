"""Every option of the LSTM family, every pair of them, and handfuls, against the oracle."""

from itertools import combinations

import numpy as np
import pytest
from agreement import DTYPES, assert_close, assert_gradient_close, same_bits
from family import (
    OPTIONS,
    SEED,
    assert_case_close,
    assert_same_at_any_number_of_threads,
    compatible,
    computed,
    expected,
    family_case,
)

from lstmfast import LSTMStream, Noise, Norm, lstm_backward, lstm_forward

SHAPES = ((5, 4, 6, 19), (3, 7, 3, 8), (1, 1, 5, 16), (6, 3, 4, 33))
PAIRS = {f"{a}+{b}": OPTIONS[a] | OPTIONS[b] for a, b in combinations(OPTIONS, 2)}
PAIRS = {name: options for name, options in PAIRS.items() if compatible(options)}


def handful(seed):
    """Return a shape and some options that go together, at random.

    Not a norm over a single input, which takes its size away: the gradient to it is nearly zero and
    all rounding.
    """
    rng = np.random.default_rng(seed)
    chosen = {}
    for name in rng.permutation(list(OPTIONS))[: rng.integers(3, 10)]:
        if compatible(chosen | OPTIONS[name]):
            chosen |= OPTIONS[name]
    for name in ("layers", "truncate", "recompute"):
        if name in chosen:
            chosen[name] = int(rng.integers(1 + (name == "layers"), 5))
    T, B, I, H = rng.integers(1, (9, 12, 8, 40))
    if chosen.get("norm"):
        I = max(I, 2)
    return (int(T), int(B), int(I), int(H)), chosen


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_option(options, shape, dtype):
    assert_case_close(family_case(shape, dtype, **options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_each_pair(name, dtype):
    for shape in SHAPES[:2]:
        assert_case_close(family_case(shape, dtype, **PAIRS[name]))


HANDFULS = [handful(seed) for seed in range(60)]
# Norms enlarge errors where what they divide by is small, layers on layers do it again: so much
# that float32 would show no wrong gradient. Such handfuls are held in float64 alone.
HANDFUL_CASES = [
    (seed, dtype)
    for seed, (_, chosen) in enumerate(HANDFULS)
    for dtype in (["float64"] if chosen.get("norm") else DTYPES)
]


@pytest.mark.parametrize(("seed", "dtype"), HANDFUL_CASES)
def test_handfuls(seed, dtype):
    shape, chosen = HANDFULS[seed]
    assert_case_close(family_case(shape, dtype, seed=seed, **chosen))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_inference(options, dtype):
    """Nothing is dropped, zoneout has its expectation; y alone may be left out."""
    for shape in SHAPES:
        case = family_case(shape, dtype, training=False, **options)
        assert_case_close(case)
        given = case.weights | {"h0": case.h0, "c0": case.c0} | case.keywords
        x = case.x.swapaxes(0, 1) if given["batch_first"] else case.x
        y, state, cache, cells = lstm_forward(x, **given | {"return_sequences": False})
        outputs, _ = expected(case)
        assert y is None and cache is None
        for got, name in ((state[0], "h_n"), (state[1], "c_n")):
            assert_close(got, outputs[name], dtype)
        assert_close(
            cells.swapaxes(0, 1) if given["batch_first"] else cells, outputs["cells"], dtype
        )


EVERYTHING = {
    "layers": 2, "proj": 30, "peepholes": True, "coupled": True, "clip": 0.9, "cell_clip": 0.6,
    "norm": True, "lengths": True, "input_dropout": 0.2, "layer_dropout": 0.3,
    "recurrent_dropout": 0.2, "weight_drop": 0.1, "zoneout_h": 0.2, "zoneout_c": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    (
        EVERYTHING,
        EVERYTHING | {"bidirectional": True, "recompute": 7},
        {"zoneout_h": 0.3, "recurrent_dropout": 0.3, "weight_drop": 0.5},
        {"norm": True},
        {"proj": 50},
        {"layers": 2, "layer_dropout": 0.5, "bidirectional": True},
        {"recompute": 5, "truncate": 4},
    ),
    ids=lambda options: "+".join(options),
)
@pytest.mark.parametrize("B", (1, 9, 40))
def test_bits_do_not_depend_on_threads(B, options, dtype, threads):
    case = family_case((30, B, 20, 130), dtype, **options)
    assert_same_at_any_number_of_threads(case, threads)


@pytest.mark.parametrize("steps", (1, 3, 7, 20, 50))
def test_recomputation_gives_the_bits_of_outputs_and_less_memory(steps):
    """Gradients are the same sums in another order."""
    shape, options = (20, 6, 10, 40), {"lengths": True, "zoneout_h": 0.2, "recurrent_dropout": 0.3}
    case = family_case(shape, "float32", **options)
    again = family_case(shape, "float32", recompute=steps, **options)
    (outputs, gradients), (same, close) = computed(case), computed(again)
    assert all(same_bits(outputs[name], same[name]) for name in outputs)
    for name, gradient in gradients.items():
        assert_gradient_close(close[name], gradient, "float32")
    if steps == 3:
        *_, kept, _ = lstm_forward(case.x, **case.weights, **case.keywords)
        *_, less, _ = lstm_forward(again.x, **again.weights, **again.keywords)
        assert memoryview(less.reserve).nbytes < memoryview(kept.reserve).nbytes / 5


def test_a_seed_is_a_mask():
    case = family_case((4, 3, 5, 50), "float32", zoneout_h=0.5, input_dropout=0.5)
    first, _ = computed(case)
    same, _ = computed(case)
    other, _ = computed(case._replace(keywords=case.keywords | {"seed": SEED + 1}))
    assert same_bits(first["y"], same["y"])
    assert not np.allclose(first["y"], other["y"])


def test_the_share_that_is_dropped():
    """Of 200,000 units, within five standard deviations of the rate."""
    noise, rate = Noise(input_dropout=0.3), 0.3
    x = np.ones((1, 4000, 50))
    W_ih, W_hh = np.zeros((4, 50)), np.zeros((4, 1))
    W_ih[2] = 1e-3
    *_, cache = lstm_forward(x, W_ih, W_hh, noise=noise, seed=7, training=True)
    dx = lstm_backward(cache, np.ones((1, 4000, 1))).dx
    assert abs((dx == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / dx.size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    (
        {"layers": 3},
        {"proj": 5},
        {"norm": True, "zoneout_h": 0.3, "zoneout_c": 0.2},
        {"layers": 2, "proj": 7, "peepholes": True, "norm": True},
    ),
    ids=lambda options: "+".join(options),
)
def test_streams(options, dtype):
    """Step by step and piece by piece: the steps of one call."""
    case = family_case((7, 3, 4, 21), dtype, training=False, **options)
    outputs, _ = expected(case)
    keywords = {name: case.keywords[name] for name in ("options", "noise")}
    weights = {name: value for name, value in case.weights.items() if value is not None}
    stream = LSTMStream(**weights, batch_size=3, **keywords)
    stream.set_state(case.h0, case.c0)
    for x, y in zip(case.x, outputs["y"], strict=True):
        assert_close(stream.step(x), y, dtype)
    assert_close(stream.state[0], outputs["h_n"], dtype)
    stream.set_state(case.h0, case.c0)
    assert_close(np.concatenate([stream.forward(case.x[:3]), stream.forward(case.x[3:])]),
                 outputs["y"], dtype)  # fmt: skip


def two(I=3, H=2, P=2, dtype=np.float32):
    """Weights of two parts, the second on the outputs of the first."""
    return {
        "W_ih": [np.zeros((4 * H, I), dtype), np.zeros((4 * H, P), dtype)],
        "W_hh": [np.zeros((4 * H, P), dtype)] * 2,
    }


NORM = Norm(*(np.zeros(n, np.float32) for n in (8, 8, 2, 2)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bidirectional": True, "reverse": True}, "reverse: expected False with bidirectional"),
        ({"bidirectional": True}, r"W_ih\[1\]: expected \(4H, 3\), got \(8, 2\)"),
        ({"W_hh": two()["W_hh"][:1]}, "W_hh: expected 2 of them, as of W_ih, got 1"),
        ({"W_hh": two()["W_hh"][0]}, "W_hh: expected 2 of them, as of W_ih, got ndarray"),
        ({"b": [np.zeros(8, np.float32), None]}, r"b\[1\]: expected the shape of b\[0\], \(8,\)"),
        ({"W_hr": [np.zeros((1, 2), np.float32)] * 2}, r"W_hh\[0\]: expected \(8, 1\)"),
        ({"norm": [NORM, NORM[:2]]}, r"norm\[1\]: expected .*gain_x"),
        ({"norm": [NORM, (*NORM[:3], NORM[0])]}, r"norm\[1\].b_c: expected \(2,\), got \(8,\)"),
        ({"h0": np.zeros((2, 4, 2), np.float32)}, r"h0: expected \(2, 5, 2\), got \(2, 4, 2\)"),
        ({"h0": np.zeros((5, 2), np.float32)}, r"h0: expected \(2, 5, 2\), got \(5, 2\)"),
        ({"noise": Noise(weight_drop=0.1), "training": True}, "seed: expected an integer"),
        ({"seed": -1, "training": True}, "seed: expected an integer >= 0, got -1"),
        ({"seed": 2**63, "training": True}, r"seed: expected an integer below 2\*\*63"),
        ({"noise": 0.5}, "noise: expected Noise, got float"),
        ({"seed": "a"}, "seed: expected an integer >= 0, got 'a'"),
        ({"truncate": 0}, "truncate: expected an integer >= 1, got 0"),
        ({"recompute": 2.0}, "recompute: expected an integer >= 1, got 2.0"),
        ({"return_cells": 1}, "return_cells: expected True or False, got 1"),
        ({name: of * 33 for name, of in two().items()}, "W_ih: expected at most 64 layers, got 66"),
        ({"W_ih": []}, "W_ih: expected 1 arrays for each layer, got 0"),
    ],
)  # fmt: skip
def test_wrong_arguments(changes, text):
    with pytest.raises(ValueError, match=text):
        lstm_forward(np.zeros((4, 5, 3), np.float32), **two() | changes)


@pytest.mark.parametrize("rate", (-0.1, 1.0, 1.5, "a", None, float("nan")))
@pytest.mark.parametrize("name", Noise().__dataclass_fields__)
def test_wrong_rates(name, rate):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        Noise(**{name: rate})


def test_cells_without_being_asked_for():
    *_, cache = lstm_forward(np.zeros((4, 5, 3), np.float32), **two(), training=True)
    with pytest.raises(ValueError, match="dcells: expected None, as the call gave no cells"):
        lstm_backward(cache, dcells=np.zeros((4, 5, 2), np.float32))
    assert lstm_backward(cache, np.ones((4, 5, 2), np.float32)).dx is not None  # still good


def test_dropout_between_layers_that_are_not_there():
    one = {name: of[0] for name, of in two().items()}
    with pytest.raises(ValueError, match="noise: expected layer_dropout 0 with a single layer"):
        lstm_forward(np.zeros((4, 5, 3), np.float32), **one, noise=Noise(layer_dropout=0.1))


def test_more_steps_than_there_are():
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    y, *_ = lstm_forward(x, **two(), truncate=10**9, recompute=10**9, training=True)
    assert same_bits(y, lstm_forward(x, **two())[0])


@pytest.mark.parametrize("need_dx", (True, False))
def test_one_step_of_a_projection(need_dx):
    """Its packed weights are made for every pass, whatever lies in memory from before."""
    for seed in range(4):
        case = family_case((1, 3, 5, 40), "float32", seed=seed, proj=20, state=False)
        case = case._replace(need_dx=need_dx)
        assert_case_close(case)

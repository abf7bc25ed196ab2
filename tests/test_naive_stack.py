"""The oracle of the stack: its gradients, its random numbers, and its options by other means."""

import math

import naive
import naive_stack as stack
import numpy as np
import pytest
from test_naive import GRADIENT_BAR, central_differences, relative_error

EXACT = 1e-13  # sums taken in another order; measured: 1e-15
T, B, I, H, P = 4, 2, 4, 3, 2
STEPS = [[0, 1, 3], [2]]
SEED = 0x9E3779B97F4A7C15
STATES = ("h0", "c0")
RESETS = np.array([[1, 0], [0, 1], [0, 1], [1, 1]], bool)
WEIGHTS = ("W_ih", "W_hh", "b", "p", "W_hr", "W_static")
S = 2
VARIANT = naive.Variant(("softsign", 0, 0), coupled=True, clip=2.0, cell_clip=1.0)
PARTS = {
    "plain": {},
    "peepholes": {"p": True},
    "projection": {"W_hr": True},
    "norm": {"norm": True},
    "no bias": {"b": False},
    "static": {"static": True},
}
RANDOM = {
    "input_dropout": {"input_dropout": 0.4},
    "layer_dropout": {"layer_dropout": 0.4},
    "recurrent_dropout": {"recurrent_dropout": 0.3},
    "zoneout_h": {"zoneout_h": 0.4},
    "zoneout_c": {"zoneout_c": 0.4},
    "weight_drop": {"weight_drop": 0.4},
}
RUNS = {
    "variant": {"variant": VARIANT},
    "bidirectional": {"bidirectional": True},
    "reverse": {"reverse": True},
    "steps": {"steps": STEPS},
    "repeat": {"steps": STEPS, "repeat": True},
    "expected zoneout": {"zoneout_h": 0.4, "zoneout_c": 0.2, "seed": None},
    "resets": {"resets": RESETS},
    "resets of both": {"resets": RESETS, "bidirectional": True, "steps": STEPS},
}
ALL_PARTS = {"p": True, "W_hr": True, "norm": True, "static": True}
ALL_RANDOM = {name: rate for options in RANDOM.values() for name, rate in options.items()}
ALL = ALL_PARTS | ALL_RANDOM | {"variant": VARIANT, "steps": STEPS, "repeat": True}
OPTIONS = {
    **PARTS,
    **RANDOM,
    **RUNS,
    "all": ALL | {"bidirectional": True, "resets": RESETS},
    "all in reverse": ALL | {"reverse": True, "resets": RESETS[::-1]},
}


def make_part(draw, columns, b=True, p=False, W_hr=False, norm=False, static=False):
    """Return a part with random weights."""
    rows = P if W_hr else H
    scales = draw(4 * H) + 2, draw(4 * H) + 2, draw(H) + 2, draw(H)
    return stack.Part(
        draw((4 * H, columns)),
        draw((4 * H, rows)),
        draw(4 * H) if b else None,
        draw((3, H)) if p else None,
        draw((P, H)) if W_hr else None,
        scales if norm else None,
        draw((4 * H, S)) if static else None,
    )


def make(layers=2, seed=SEED, bidirectional=False, steps=None, resets=None, **options):
    """Return a network, its inputs and an upstream gradient for each output."""
    draw = np.random.default_rng(5).standard_normal
    D, rows = 2 if bidirectional else 1, P if options.get("W_hr") else H
    static = options.pop("static", False)
    own = {name: options.pop(name) for name in ("b", "p", "W_hr", "norm") if name in options}
    parts = [make_part(draw, I, static=static, **own) for _ in range(D)]
    parts += [make_part(draw, D * rows, **own) for _ in range(D, layers * D)]
    h, c = (layers * D, B, rows), (layers * D, B, H)
    inputs = {"x": draw((T, B, I)), "h0": draw(h), "c0": draw(c), "steps": steps}
    if static:
        inputs["x_static"] = draw((B, S))
    if resets is not None:
        inputs["resets"] = stack.Resets(resets, draw(h), draw(c) / 2)
    upstream = {"dy": draw((T, B, D * rows)), "dh_n": draw(h), "dc_n": draw(c)}
    upstream["dcells"] = draw((T, B, D * H))
    return stack.Network(parts, bidirectional, seed=seed, **options), inputs, upstream


def total(network, inputs, upstream):
    """Return the scalar whose gradient `backward` computes."""
    outputs = stack.forward(network, **inputs)
    return sum((d * outputs[name[1:]]).sum() for name, d in upstream.items())


def gradient_pairs(network, inputs, gradients):
    """Yield name, array and gradient of everything that has one."""
    for name in ("x", "h0", "c0", "x_static"):
        if name in inputs:
            yield name, inputs[name], gradients[f"d{name}"]
    for name in "hc" if "resets" in inputs else "":
        yield f"reset_{name}", getattr(inputs["resets"], name), gradients[f"dreset_{name}"]
    for index, (part, d) in enumerate(zip(network.parts, gradients["parts"], strict=True)):
        for name in WEIGHTS:
            if getattr(part, name) is not None:
                yield f"{index}.{name}", getattr(part, name), d[f"d{name}"]
        for n, gain in enumerate(part.norm or ()):
            yield f"{index}.norm.{n}", gain, d["dnorm"][n]


def close(got, ref):
    """Return whether two arrays, or dicts or sequences of them, are the same but for rounding."""
    if isinstance(ref, dict):
        return got.keys() == ref.keys() and all(close(got[name], ref[name]) for name in ref)
    if isinstance(ref, (list, tuple)):
        return all(close(*pair) for pair in zip(got, ref, strict=True))
    if got is None or ref is None:
        return got is ref
    return got.shape == ref.shape and bool(np.abs(got - ref).max() <= EXACT * np.abs(ref).max())


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradient(options):
    network, inputs, upstream = make(**options)
    gradients = stack.backward(network, **inputs, **upstream)
    for name, a, gradient in gradient_pairs(network, inputs, gradients):
        numeric = central_differences(lambda _: total(network, inputs, upstream), a)
        assert relative_error(gradient, numeric) <= GRADIENT_BAR, name


@pytest.mark.parametrize("only", ("dy", "dh_n", "dc_n", "dcells"))
def test_gradient_of_each_output_alone(only):
    network, inputs, upstream = make(layers=1, bidirectional=True, **ALL_PARTS, **ALL_RANDOM)
    one = {only: upstream[only]}
    gradients = stack.backward(network, **inputs, **one)
    for name, a, gradient in gradient_pairs(network, inputs, gradients):
        numeric = central_differences(lambda _: total(network, inputs, one), a)
        assert relative_error(gradient, numeric) <= GRADIENT_BAR, name


def test_gradients_of_what_a_part_lacks():
    network, inputs, upstream = make(b=False)
    for d in stack.backward(network, **inputs, **upstream)["parts"]:
        assert d["dp"] is d["dW_hr"] is d["dnorm"] is None
        assert np.abs(d["db"]).max() > 0


def test_layer_norm():
    v = np.array([1.0, 2.0, 6.0])
    assert naive.layer_norm(v) == pytest.approx((v - 3) / math.sqrt(14 / 3 + 1e-5), rel=EXACT)
    d = np.array([0.3, -0.7, 0.2])
    numeric = central_differences(lambda a: (d * naive.layer_norm(a)).sum(), v)
    assert relative_error(naive.layer_norm_backward(v, d), numeric) <= GRADIENT_BAR


# ---------------------------------------------------------------- what an option shall do


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "plain"])
def test_every_option_changes_something(name):
    network, inputs, _ = make(**OPTIONS[name])
    outputs = stack.forward(network, **inputs)
    plain, inputs, _ = make()
    plain = stack.forward(plain, **inputs)
    assert not close(outputs["y"], plain["y"])


def test_one_layer_is_the_plain_oracle():
    network, inputs, upstream = make(layers=1, p=True, variant=VARIANT)
    part, of_one = network.parts[0], {"x": inputs["x"], "variant": VARIANT}
    of_one |= {name: inputs[name][0] for name in STATES}
    of_one |= {name: getattr(part, name) for name in ("W_ih", "W_hh", "b", "p")}
    y, (h_n, c_n) = naive.lstm_forward(**of_one)
    got = stack.forward(network, **inputs)
    assert close([got["y"], got["h_n"][0], got["c_n"][0]], [y, h_n, c_n])

    dy, dh_n, dc_n, _ = upstream.values()
    ref = naive.lstm_backward(**of_one, dy=dy, dh_n=dh_n[0], dc_n=dc_n[0])
    got = stack.backward(network, **inputs, dy=dy, dh_n=dh_n, dc_n=dc_n)
    flat = {"dx": got["dx"], "dh0": got["dh0"][0], "dc0": got["dc0"][0], **got["parts"][0]}
    assert close({name: flat[name] for name in ref}, ref)


@pytest.mark.parametrize("options", ({}, {"W_hr": True}), ids=("plain", "projection"))
def test_torch_agrees(options):
    torch = pytest.importorskip("torch")
    network, inputs, _ = make(seed=None, bidirectional=True, **options)
    size = P if options else 0
    layer = torch.nn.LSTM(I, H, 2, bidirectional=True, proj_size=size, dtype=torch.float64)
    values = {}
    for part, end in zip(network.parts, ("l0", "l0_reverse", "l1", "l1_reverse"), strict=True):
        values |= {f"weight_ih_{end}": part.W_ih, f"weight_hh_{end}": part.W_hh}
        values |= {f"bias_ih_{end}": part.b, f"bias_hh_{end}": 0 * part.b}
        values |= {f"weight_hr_{end}": part.W_hr} if options else {}
    layer.load_state_dict({name: torch.from_numpy(w) for name, w in values.items()})
    state = tuple(torch.from_numpy(inputs[name]) for name in STATES)
    y, (h_n, c_n) = layer(torch.from_numpy(inputs["x"]), state)
    got = stack.forward(network, **inputs)
    ref = [a.detach().numpy() for a in (y, h_n, c_n)]
    assert close([got["y"], got["h_n"], got["c_n"]], ref)


def test_reverse_is_forward_on_reversed_time():
    network, inputs, _ = make(reverse=True)
    got = stack.forward(network, **inputs)
    flipped = {**inputs, "x": inputs["x"][::-1]}
    ref = stack.forward(network._replace(reverse=False), **flipped)
    ref["y"], ref["cells"] = ref["y"][::-1], ref["cells"][::-1]
    assert close(got, ref)


@pytest.mark.parametrize("truncate", (None, 2))
def test_bidirectional_is_both_directions_side_by_side(truncate):
    options = {"layers": 1, "seed": None, "zoneout_h": 0.3, "truncate": truncate, **ALL_PARTS}
    options |= {"steps": STEPS, "repeat": True}
    network, inputs, upstream = make(bidirectional=True, **options)
    got = stack.forward(network, **inputs)
    gradients = stack.backward(network, **inputs, **upstream)
    dx = 0
    for side, (ys, cells) in enumerate(((slice(P), slice(H)), (slice(P, None), slice(H, None)))):
        one = network._replace(parts=[network.parts[side]], bidirectional=False, reverse=side == 1)
        own = {**inputs, **{name: inputs[name][side : side + 1] for name in STATES}}
        y = stack.forward(one, **own)
        assert close([got["y"][..., ys], got["cells"][..., cells]], [y["y"], y["cells"]])
        assert close(got["h_n"][side], y["h_n"][0])
        mine = {name: upstream[name][side : side + 1] for name in ("dh_n", "dc_n")}
        mine |= {"dy": upstream["dy"][..., ys], "dcells": upstream["dcells"][..., cells]}
        d = stack.backward(one, **own, **mine)
        assert close(gradients["parts"][side], d["parts"][0])
        dx = dx + d["dx"]
    assert close(gradients["dx"], dx)


@pytest.mark.parametrize("reverse", (False, True))
def test_a_row_with_few_steps_is_a_short_row(reverse):
    """Zoneout counts the steps taken; y of the others is zero, or the output before it."""
    network, inputs, _ = make(steps=STEPS, reverse=reverse, zoneout_h=0.4, zoneout_c=0.4)
    got = stack.forward(network, **inputs)
    repeated = stack.forward(network._replace(repeat=True), **inputs)
    short = inputs["x"][STEPS[0]]
    ref = stack.forward(network, short, inputs["h0"], inputs["c0"])
    assert close(
        [got["y"][STEPS[0], 0], got["cells"][STEPS[0], 0]],
        [a[:, 0] for a in (ref["y"], ref["cells"])],
    )
    assert close([got["h_n"][:, 0], got["c_n"][:, 0]], [ref["h_n"][:, 0], ref["c_n"][:, 0]])
    assert not got["y"][2, 0].any() and not got["cells"][2, 0].any()
    before = [0, 1, 3 if reverse else 1, 3]
    assert np.array_equal(repeated["y"][:, 0], got["y"][before, 0])
    row = [2, 2, 2, None] if reverse else [None, None, 2, 2]
    shown = [got["y"][t, 1] if t else np.zeros(H) for t in row]
    assert np.array_equal(repeated["y"][:, 1], shown)


def test_a_row_without_steps_keeps_its_state():
    network, inputs, upstream = make(steps=[[], [0, 2]], repeat=True)
    got = stack.forward(network, **inputs)
    gradients = stack.backward(network, **inputs, **upstream)
    assert not got["y"][:, 0].any()
    assert np.array_equal(got["h_n"][:, 0], inputs["h0"][:, 0])
    assert np.array_equal(gradients["dc0"][:, 0], upstream["dc_n"][:, 0])
    assert not gradients["dx"][:, 0].any()


def test_cells_end_in_the_last_state():
    network, inputs, _ = make(bidirectional=True, **ALL_RANDOM)
    got = stack.forward(network, **inputs)
    assert np.array_equal(got["cells"][-1, :, :H], got["c_n"][2])
    assert np.array_equal(got["cells"][0, :, H:], got["c_n"][3])


def test_missing_states_are_zeros():
    network, inputs, upstream = make(**ALL)
    zeros = {name: np.zeros_like(inputs[name]) for name in STATES}
    nothing = dict.fromkeys(STATES)
    assert close(*(stack.forward(network, **inputs | h) for h in (nothing, zeros)))
    assert close(*(stack.backward(network, **inputs | h, **upstream) for h in (nothing, zeros)))


# ---------------------------------------------------------------- resets


@pytest.mark.parametrize("reverse", (False, True))
def test_a_reset_begins_another_sequence(reverse):
    """Between t - 1 and t, in either direction; the piece taken last is the one that ends."""
    network, inputs, upstream = make(layers=1, reverse=reverse, **ALL_PARTS)
    at = np.zeros((T, B), bool)
    at[2] = True
    given = inputs | {"resets": stack.Resets(at, inputs["h0"] + 1, inputs["c0"] + 1)}
    got, gradients = stack.forward(network, **given), stack.backward(network, **given, **upstream)
    pieces = [slice(2, None), slice(2)] if reverse else [slice(2), slice(2, None)]
    starts = [inputs["h0"], inputs["c0"]], [given["resets"].h, given["resets"].c]
    last = [{"dh_n": None, "dc_n": None}, {name: upstream[name] for name in ("dh_n", "dc_n")}]
    for of, (h, c), ends, suffix in zip(pieces, starts, last, ("0", "reset"), strict=True):
        ref = stack.forward(network, inputs["x"][of], h, c, x_static=inputs["x_static"])
        assert close([got["y"][of], got["cells"][of]], [ref["y"], ref["cells"]])
        own = {name: upstream[name][of] for name in ("dy", "dcells")}
        given = {"x_static": inputs["x_static"], **own, **ends}
        d = stack.backward(network, inputs["x"][of], h, c, **given)
        names = ("dh0", "dc0") if suffix == "0" else ("dreset_h", "dreset_c")
        assert close([gradients["dx"][of], *(gradients[n] for n in names)],
                     [d["dx"], d["dh0"], d["dc0"]])  # fmt: skip
    assert close([got["h_n"], got["c_n"]], [ref["h_n"], ref["c_n"]])


def test_resets_where_a_row_takes_no_step():
    """They count for the next one, or for the state after the last."""
    network, inputs, upstream = make(layers=1, steps=[[0, 3], [1]])
    at = np.zeros((T, B), bool)
    at[1, 0] = at[3, 1] = True
    resets = stack.Resets(at, inputs["h0"] + 1, inputs["c0"] + 1)
    got = stack.forward(network, **inputs, resets=resets)
    ref = stack.forward(network, inputs["x"][3:], resets.h, resets.c)
    assert close(got["y"][3, 0], ref["y"][0, 0])
    assert close([got["h_n"][:, 1], got["c_n"][:, 1]], [resets.h[:, 1], resets.c[:, 1]])
    gradients = stack.backward(network, **inputs, resets=resets, **upstream)
    assert close(gradients["dreset_h"][:, 1], upstream["dh_n"][:, 1])


# ---------------------------------------------------------------- truncation


@pytest.mark.parametrize("truncate", (T, T + 3))
def test_truncation_beyond_the_end_is_none(truncate):
    network, inputs, upstream = make(**ALL)
    whole = stack.backward(network, **inputs, **upstream)
    cut = stack.backward(network._replace(truncate=truncate), **inputs, **upstream)
    assert close(cut, whole)


def chunked(network, inputs, upstream, k, monkeypatch):
    """Yield the gradients of each k steps of every row, run from the state before as a constant."""
    original, network = stack.zoneout, network._replace(truncate=None)
    orders = [stack.ordered(network, 0, times) for times in inputs["steps"]]
    state = {name: inputs[name] for name in STATES}
    for start in range(0, T, k):

        def shifted(net, index, row, n, *sizes, start=start):
            return original(net, index, row, start + n, *sizes)

        monkeypatch.setattr(stack, "zoneout", shifted)
        steps = [sorted(order[start : start + k]) for order in orders]
        ends = np.array([start < len(order) <= start + k for order in orders])[:, None]
        given = {**upstream, "dh_n": ends * upstream["dh_n"], "dc_n": ends * upstream["dc_n"]}
        own = {**inputs, **state, "steps": steps}
        yield stack.backward(network, **own, **given)
        outputs = stack.forward(network, **own)
        state = {"h0": outputs["h_n"], "c0": outputs["c_n"]}
    monkeypatch.setattr(stack, "zoneout", original)


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("k", (1, 2, 3))
def test_truncated_gradient_is_that_of_chunks(k, reverse, monkeypatch):
    options = ALL | {"repeat": False, "steps": [[0, 1, 2, 3], [0, 2, 3]], "reverse": reverse}
    network, inputs, upstream = make(**options)
    chunks = list(chunked(network, inputs, upstream, k, monkeypatch))
    cut = stack.backward(network._replace(truncate=k), **inputs, **upstream)
    assert not close(cut["dx"], stack.backward(network, **inputs, **upstream)["dx"])
    assert close(cut["dx"], sum(chunk["dx"] for chunk in chunks))
    assert close([cut["dh0"], cut["dc0"]], [chunks[0]["dh0"], chunks[0]["dc0"]])
    for index, d in enumerate(cut["parts"]):
        mine = [chunk["parts"][index] for chunk in chunks]
        for name in ("dW_ih", "dW_hh", "db", "dp", "dW_hr"):
            assert close(d[name], sum(one[name] for one in mine)), name
        for n, gain in enumerate(d["dnorm"]):
            assert close(gain, sum(one["dnorm"][n] for one in mine))


# ---------------------------------------------------------------- random numbers


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    (
        ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ),
)
def test_known_answers(counter, key, words):
    """The answers that Random123 ships as kat_vectors."""
    counter, key = ([int(word, 16) for word in text.split()] for text in (counter, key))
    assert " ".join(f"{int(word):08x}" for word in naive.philox(counter, key)) == words.strip()


def falls_out(rate, column, row, step, stream, word=0):
    """Return whether one entry is dropped: one number, without the oracle's own helpers."""
    words = naive.philox((column, row, step, stream), (0x7F4A7C15, 0x9E3779B9))
    return int(words[word]) < math.floor(rate * 2**32)


def test_rates():
    """The share that falls out, within 5 standard deviations; 0 drops nothing."""
    n = 10000
    for rate in (0.0, 0.1, 0.5):
        share = stack.dropped(SEED, rate, 1, stack.INPUT, 2, 3, n).mean()
        assert abs(share - rate) <= 5 * math.sqrt(rate * (1 - rate) / n)
    kept = stack.dropout(SEED, 0.2, 1, stack.INPUT, 2, 3, n)
    assert set(kept.tolist()) == {0, 1 / (1 - 0.2)}


def test_inference_drops_nothing():
    network, inputs, _ = make(**ALL_RANDOM | {"zoneout_h": 0, "zoneout_c": 0, "seed": None})
    plain, _, _ = make()
    assert close(stack.forward(network, **inputs), stack.forward(plain, **inputs))


def test_expected_zoneout_by_hand():
    network, inputs, _ = make(layers=1, seed=None)
    inputs["x"] = inputs["x"][:1]
    new = stack.forward(network, **inputs)
    got = stack.forward(network._replace(zoneout_h=0.25, zoneout_c=0.5), **inputs)
    assert close(got["h_n"], 0.25 * inputs["h0"] + 0.75 * new["h_n"])
    assert close(got["c_n"], 0.5 * inputs["c0"] + 0.5 * new["c_n"])


def test_what_input_dropout_drops():
    network, inputs, _ = make(bidirectional=True, input_dropout=0.4)
    m = np.array([[not falls_out(0.4, j, b, 0, 2) for j in range(I)] for b in range(B)]) / 0.6
    assert 0 < np.count_nonzero(m) < m.size
    ref = stack.forward(network._replace(input_dropout=0), **inputs | {"x": inputs["x"] * m})
    assert close(stack.forward(network, **inputs), ref)


def test_what_layer_dropout_drops():
    """Stream 10: layer 1 of a bidirectional network starts with part 2; t is the caller's."""
    network, inputs, _ = make(bidirectional=True, layer_dropout=0.4, steps=STEPS)
    h0, c0, steps = inputs["h0"], inputs["c0"], inputs["steps"]
    first, second = (network._replace(parts=network.parts[n : n + 2], seed=None) for n in (0, 2))
    m = np.ones((T, B, 2 * H)) / 0.6
    for t, b, j in np.ndindex(m.shape):
        m[t, b, j] *= not falls_out(0.4, j, b, t, 10)
    y = stack.forward(first, inputs["x"], h0[:2], c0[:2], steps)["y"]
    ref = stack.forward(second, y * m, h0[2:], c0[2:], steps)
    got = stack.forward(network, **inputs)
    assert close([got["y"], got["cells"], got["h_n"][2:]], [ref["y"], ref["cells"], ref["h_n"]])


def recurrent_ref(network, inputs, factors):
    """Return y when W_hh of each part is multiplied by its factors and nothing is dropped."""
    parts = [
        part._replace(W_hh=part.W_hh * m) for part, m in zip(network.parts, factors, strict=True)
    ]
    return stack.forward(network._replace(parts=parts, seed=None), **inputs)["y"]


def test_what_recurrent_dropout_drops():
    """Streams 1, 5, 9, 13; what a row drops is the same as if its columns of W_hh were zero."""
    network, inputs, _ = make(bidirectional=True, W_hr=True, recurrent_dropout=0.3)
    y = stack.forward(network, **inputs)["y"]
    for b in range(B):
        factors = [
            np.array([not falls_out(0.3, j, b, 0, 4 * part + 1) for j in range(P)]) / 0.7
            for part in range(4)
        ]
        assert close(y[:, b], recurrent_ref(network, inputs, factors)[:, b])


def test_what_weight_drop_drops():
    network, inputs, _ = make(bidirectional=True, W_hr=True, weight_drop=0.4)
    factors = np.ones((4, 4 * H, P)) / 0.6
    for part, row, column in np.ndindex(factors.shape):
        factors[part, row, column] *= not falls_out(0.4, column, row, 0, 4 * part + 3)
    assert close(stack.forward(network, **inputs)["y"], recurrent_ref(network, inputs, factors))


@pytest.mark.parametrize("side", (0, 1))
def test_what_zoneout_keeps(side):
    """Streams 8 and 12, of layer 1; a kept entry is that of the step before, to the bit."""
    network, inputs, _ = make(
        bidirectional=True, W_hr=True, zoneout_h=0.4, zoneout_c=0.3, steps=[[0, 1, 3], [0, 2, 3]]
    )
    got = stack.forward(network, **inputs)
    h, c = np.split(got["y"], 2, axis=2)[side], np.split(got["cells"], 2, axis=2)[side]
    for b, times in enumerate(inputs["steps"]):
        before = inputs["h0"][2 + side, b], inputs["c0"][2 + side, b]
        for n, t in enumerate(times[::-1] if side else times):
            for word, rate, new in ((0, 0.4, h[t, b]), (1, 0.3, c[t, b])):
                stream = 4 * (2 + side)
                kept = [falls_out(rate, j, b, n, stream, word) for j in range(len(new))]
                assert (new == before[word]).tolist() == kept
            before = h[t, b], c[t, b]

"""Every input and attribute of ONNX's LSTM operator, from its text and as ONNX Runtime runs it."""

import numpy as np
import onnx_lstm
import pytest
from agreement import DTYPES, forward_error

from lstmfast import CellOptions, interop, lstm_forward

BAR = 1e-5  # measured: 8.7e-7
T, B, I, H = 6, 4, 5, 8
# lstmfast's name of each activation, and parameters that are not the usual ones.
ACTIVATIONS = {
    "Relu": ("relu",),
    "Tanh": ("tanh",),
    "Sigmoid": ("sigmoid",),
    "Affine": ("affine", 0.7, 0.1),
    "LeakyRelu": ("leaky_relu", 0.2),
    "ThresholdedRelu": ("thresholded_relu", 0.3),
    "ScaledTanh": ("scaled_tanh", 1.2, 0.6),
    "HardSigmoid": ("hard_sigmoid", 0.25, 0.4),
    "Elu": ("elu", 0.8),
    "Softsign": ("softsign",),
    "Softplus": ("softplus",),
}
DIRECTIONS = ("forward", "reverse", "bidirectional")


def operator_inputs(names="B initial_h initial_c", direction="forward", dtype="float32", layout=0):
    """Return X, W, R and the optional inputs in `names`."""
    rng = np.random.default_rng(4)
    D = 2 if direction == "bidirectional" else 1
    state = (B, D, H) if layout else (D, B, H)
    drawn = {
        "X": rng.standard_normal((B, T, I) if layout else (T, B, I)),
        "W": rng.uniform(-0.6, 0.6, (D, 4 * H, I)),
        "R": rng.uniform(-0.6, 0.6, (D, 4 * H, H)),
        "B": rng.uniform(-0.5, 0.5, (D, 8 * H)),
        "initial_h": rng.uniform(-1, 1, state),
        "initial_c": rng.standard_normal(state),
        "P": rng.uniform(-0.5, 0.5, (D, 3 * H)),
    }
    inputs = {n: drawn[n].astype(dtype) for n in drawn if n in ("X", "W", "R", *names.split())}
    if "sequence_lens" in names:
        inputs["sequence_lens"] = np.array([4, 6, 1, 5], np.int32)
    return inputs


def activations(names, alphas, betas):
    """Return lstmfast's (name, alpha, beta) of ONNX's three activations."""
    alphas, betas = iter(alphas or ()), iter(betas or ())
    found = []
    for name in names:
        defaults = onnx_lstm.DEFAULTS.get(name, ())
        values = [next(v, d) for v, d in zip((alphas, betas), defaults, strict=False)]
        found.append((ACTIVATIONS[name][0], *map(float, values)))
    return found


def by_lstmfast(
    inputs, activation_alpha=None, activation_beta=None, direction="forward", layout=0,
    hidden_size=None, clip=None, input_forget=0, **attributes,
):  # fmt: skip
    """Run the operator: a call of `lstm_forward` for each direction."""
    parts = interop.from_onnx(*(inputs.get(name) for name in ("W", "R", "B", "P")))
    names = attributes.pop("activations", ["Sigmoid", "Tanh", "Tanh"] * len(parts))
    chosen = activations(names, activation_alpha, activation_beta)
    assert not attributes and hidden_size in (None, H)
    runs = []
    for d, part in enumerate(parts):
        f, g, h = chosen[3 * d : 3 * d + 3]
        states = (inputs.get(name) for name in ("initial_h", "initial_c"))
        h0, c0 = (None if s is None else s[:, d] if layout else s[d] for s in states)
        y, (h_n, c_n), _ = lstm_forward(
            inputs["X"], **part, h0=h0, c0=c0, batch_first=layout == 1,
            options=CellOptions(g, f, h, coupled=bool(input_forget), clip=clip),
            lengths=inputs.get("sequence_lens"), reverse=direction == "reverse" or d == 1,
        )  # fmt: skip
        runs.append((y, h_n, c_n))
    Y, Y_h, Y_c = zip(*runs, strict=True)
    stack = [np.stack(Y, axis=2 if layout else 1)]
    return stack + [np.stack(states, axis=1 if layout else 0) for states in (Y_h, Y_c)]


def assert_agree(got, wanted):
    """Hold Y, Y_h and Y_c against others, each in its shape and all in one dtype."""
    for name, a, ref in zip(onnx_lstm.OUTPUTS, got, wanted, strict=True):
        assert a.dtype == got[0].dtype
        assert forward_error(a, ref) <= BAR, name


def assert_text_and_runtime(inputs, clip_h=False, **attributes):
    """Hold lstmfast against the text and ONNX Runtime; neither of the two clips what h sees."""
    got = by_lstmfast(inputs, **attributes)
    assert_agree(got, onnx_lstm.lstm(**inputs, **attributes, clip_h=clip_h))
    assert_agree(got, onnx_lstm.by_runtime(inputs, **attributes))


# ---------------------------------------------------------------- inputs and attributes


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    "names",
    (
        "",
        "B",
        "initial_h",
        "initial_c",
        "P",
        "sequence_lens",
        "B P initial_h initial_c",
        "B P initial_h initial_c sequence_lens",
    ),
)
def test_inputs(names, direction):
    assert_text_and_runtime(operator_inputs(names, direction), direction=direction, hidden_size=H)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("names", ("B initial_c", "B P initial_c", "B P initial_c sequence_lens"))
@pytest.mark.parametrize(
    "attributes",
    (
        {"input_forget": 1},
        {"clip": 0.4},
        {"clip": 0.4, "input_forget": 1},
        {"clip": 0.4, "activations": ["HardSigmoid", "Softsign", "Elu"] * 2},
    ),
    ids=("coupled", "clip", "both", "clip_of_others"),
)
def test_attributes(attributes, names, direction):
    attributes = attributes | {"direction": direction}
    if "activations" in attributes and direction != "bidirectional":
        attributes["activations"] = attributes["activations"][:3]
    assert_text_and_runtime(operator_inputs(names, direction), **attributes)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("place", range(3), ids="fgh")
def test_activations(place, name):
    names = ["Sigmoid", "Tanh", "Tanh"]
    names[place] = name
    given = ACTIVATIONS[name][1:]
    parameters = {"activation_alpha": list(given[:1]), "activation_beta": list(given[1:])}
    attributes = {key: value for key, value in parameters.items() if value}
    assert_text_and_runtime(operator_inputs(), activations=names, **attributes)


@pytest.mark.parametrize(
    "names",
    (
        ["HardSigmoid", "Tanh", "Tanh"],
        ["Sigmoid", "LeakyRelu", "Elu"],
        ["HardSigmoid", "Elu", "LeakyRelu"],
    ),
    ids="-".join,
)
def test_parameters_by_default(names):
    """(Of Affine, ThresholdedRelu and ScaledTanh ONNX Runtime takes 0, not what the text says.)"""
    assert_text_and_runtime(operator_inputs(), activations=names)


def test_parameters_go_to_those_that_have_some():
    assert_text_and_runtime(
        operator_inputs(direction="bidirectional"),
        direction="bidirectional",
        activations=["HardSigmoid", "Tanh", "Elu", "Sigmoid", "ScaledTanh", "Affine"],
        activation_alpha=[0.25, 0.7, 1.2, 0.9],
        activation_beta=[0.4, 0.6, 0.1],
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_layout(direction, dtype):
    """(ONNX Runtime refuses layout 1 and float64.)"""
    names = "B P initial_h initial_c"
    inputs = operator_inputs(names, direction, dtype, layout=1)
    got = by_lstmfast(inputs, direction=direction, layout=1)
    assert got[0].dtype == dtype
    assert_agree(got, onnx_lstm.lstm(**inputs, direction=direction, layout=1))
    inputs["sequence_lens"] = np.array([4, 6, 1, 5], np.int32)
    got = by_lstmfast(inputs, direction=direction, layout=1)
    assert_agree(got, onnx_lstm.lstm(**inputs, direction=direction, layout=1))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layout", (0, 1))
@pytest.mark.parametrize("names", ("", "B", "P", "B P initial_h initial_c"))
def test_reference(names, layout, direction):
    """onnx.reference knows inputs, direction and layout, and no other attribute."""
    inputs = operator_inputs(names, direction, layout=layout)
    attributes = {"direction": direction, "layout": layout}
    got = by_lstmfast(inputs, **attributes)
    assert_agree(got, onnx_lstm.by_reference(inputs, **attributes))


# ---------------------------------------------------------------- where they differ


def test_clip_of_what_h_sees():
    """The text clips it, ONNX Runtime and lstmfast do not; alike while cells are within."""
    inputs = operator_inputs("B P")
    plain, text, others = (
        onnx_lstm.lstm(**inputs, clip=clip, clip_h=limit)[0]
        for clip, limit in ((None, True), (0.6, True), (0.6, False))
    )
    assert forward_error(plain, text) > 1e-2 and forward_error(text, others) == 0
    assert_text_and_runtime(inputs, clip=0.6, clip_h=True)
    inputs = operator_inputs("B P initial_c")
    text, others = (onnx_lstm.lstm(**inputs, clip=0.4, clip_h=limit)[0] for limit in (True, False))
    assert forward_error(text, others) > 1e-2
    assert_text_and_runtime(inputs, clip=0.4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_rows_of_no_steps(direction):
    """The text is silent: their Y_h and Y_c are zero in ONNX Runtime, the initial state here."""
    inputs = operator_inputs(direction=direction)
    inputs["sequence_lens"] = np.array([4, 0, 6, 0], np.int32)
    got = by_lstmfast(inputs, direction=direction)
    for name, a in zip(("initial_h", "initial_c"), got[1:], strict=True):
        np.testing.assert_array_equal(a[:, [1, 3]], inputs[name][:, [1, 3]])
        a[:, [1, 3]] = 0
    assert_agree(got, onnx_lstm.lstm(**inputs, direction=direction))
    assert_agree(got, onnx_lstm.by_runtime(inputs, direction=direction))

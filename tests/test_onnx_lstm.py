"""Every input and attribute of ONNX's LSTM operator, from its text and as ONNX Runtime runs it."""

import numpy as np
import onnx_lstm
import pytest
from agreement import DTYPES, forward_error

from lstmfast.onnx import lstm

BAR = 1e-5  # measured: 8.7e-7
T, B, I, H = 6, 4, 5, 8
ACTIVATIONS = {  # parameters that are not the usual ones
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "Affine": (0.7, 0.1),
    "LeakyRelu": (0.2,),
    "ThresholdedRelu": (0.3,),
    "ScaledTanh": (1.2, 0.6),
    "HardSigmoid": (0.25, 0.4),
    "Elu": (0.8,),
    "Softsign": (),
    "Softplus": (),
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


def by_lstmfast(inputs, **attributes):
    """Run the operator."""
    return lstm(**inputs, **attributes)


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
    given = ACTIVATIONS[name]
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
    """The text is silent: their Y_h and Y_c are zero in ONNX Runtime, and so they are here."""
    inputs = operator_inputs(direction=direction)
    inputs["sequence_lens"] = np.array([4, 0, 6, 0], np.int32)
    assert not by_lstmfast(inputs, direction=direction)[2][:, [1, 3]].any()
    assert_text_and_runtime(inputs, direction=direction)

"""lstmfast.onnx.lstm: the standard's own cases, random ones against its text, and bad arguments.

(Each input and attribute against ONNX Runtime: test_onnx_lstm.py.)
"""

import warnings

import numpy as np
import onnx_lstm
import pytest
from agreement import assert_all_equal, forward_error
from fresh_process import printed
from test_onnx_lstm import ACTIVATIONS, DIRECTIONS, B, H, I, T, operator_inputs

from lstmfast.onnx import lstm

CASES_BAR = 1e-6  # of the standard's own cases, float32; measured: 6.0e-8
TEXT_BAR = {"float32": 2e-6, "float64": 1e-13}  # measured: 2.9e-7 and 2.7e-15


@pytest.fixture(scope="module")
def node_cases():
    """Return the test cases of ONNX's own test suite for the operator, by name."""
    cases = pytest.importorskip("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cases of other operators
        return {case.name: case for case in cases.collect_testcases("LSTM")}


def run_case(onnx, case):
    """Run a case; return names of outputs, what was wanted and what came."""
    (node,) = case.model.graph.node
    names = [value.name for value in case.model.graph.input]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if "direction" in attributes:
        attributes["direction"] = attributes["direction"].decode()
    for inputs, wanted in case.data_sets:
        found = dict(zip(node.output, lstm(**dict(zip(names, inputs)), **attributes)))  # noqa: B905
        yield [name for name in node.output if name], wanted, found


def test_cases_of_the_standard(node_cases):
    onnx = pytest.importorskip("onnx")
    names = ("defaults", "with_initial_bias", "with_peepholes", "batchwise")
    assert {f"test_lstm_{name}" for name in names} <= node_cases.keys()
    for case in node_cases.values():
        for names, wanted, found in run_case(onnx, case):
            assert len(names) == len(wanted) > 0
            for name, ref in zip(names, wanted, strict=True):
                assert found[name].shape == ref.shape and found[name].dtype == ref.dtype
                assert forward_error(found[name], ref) <= CASES_BAR, (case.name, name)


# ---------------------------------------------------------------- random cases


def random_case(seed):
    """Return inputs and attributes drawn from all that the operator has."""
    rng = np.random.default_rng(seed)
    T, B, I, H = (int(n) for n in rng.integers(1, (8, 6, 20, 40)))
    direction = str(rng.choice(DIRECTIONS))
    layout, dtype = int(rng.integers(2)), str(rng.choice(["float32", "float64"]))
    D = 2 if direction == "bidirectional" else 1
    state = (B, D, H) if layout else (D, B, H)
    shapes = {"X": (B, T, I) if layout else (T, B, I), "W": (D, 4 * H, I), "R": (D, 4 * H, H),
              "B": (D, 8 * H), "initial_h": state, "initial_c": state, "P": (D, 3 * H)}  # fmt: skip
    inputs = {
        name: rng.uniform(-0.7, 0.7, shape).astype(dtype)
        for name, shape in shapes.items()
        if name in "XWR" or rng.integers(2)
    }
    if rng.integers(2):
        inputs["sequence_lens"] = rng.integers(0, T + 1, B).astype(np.int32)
    names = [str(n) for n in rng.choice(list(ACTIVATIONS), 3 * D)]
    names[::3] = [str(n) for n in rng.choice(["Sigmoid", "HardSigmoid", "Softsign"], D)]  # bounded
    alphas = [ACTIVATIONS[n][0] for n in names if ACTIVATIONS[n]]
    betas = [ACTIVATIONS[n][1] for n in names if len(ACTIVATIONS[n]) > 1]
    attributes = {"direction": direction, "layout": layout, "input_forget": int(rng.integers(2))}
    if rng.integers(2):
        attributes |= {"activations": names, "activation_alpha": alphas, "activation_beta": betas}
    if rng.integers(2):
        attributes["clip"] = float(rng.uniform(0.2, 1))
    return dtype, inputs, attributes


@pytest.mark.parametrize("seed", range(60))
def test_random_cases_by_the_text(seed):
    dtype, inputs, attributes = random_case(seed)
    before = {name: array.copy() for name, array in inputs.items()}
    found = lstm(**inputs, **attributes)
    wanted = onnx_lstm.lstm(**inputs, **attributes, clip_h=False)
    for name, a, ref in zip(onnx_lstm.OUTPUTS, found, wanted, strict=True):
        assert a.shape == ref.shape and a.dtype == dtype
        assert forward_error(a, ref) <= TEXT_BAR[dtype], name
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, before[name])


def test_names_of_activations_in_any_case():
    inputs = operator_inputs()
    for names in (["sigmoid", "TANH", "tAnH"], ("Sigmoid", "Tanh", "Tanh")):
        np.testing.assert_array_equal(lstm(**inputs, activations=names)[0], lstm(**inputs)[0])


def test_strided_and_readonly_inputs():
    inputs = operator_inputs("B P initial_h initial_c")
    wanted = lstm(**inputs)
    strided = {name: np.repeat(a, 2, axis=-1)[..., ::2] for name, a in inputs.items()}
    for array in strided.values():
        array.flags.writeable = False
    assert_all_equal(lstm(**strided), wanted)


def test_activations_unlike_in_both_directions():
    """Two calls: the parts do not see each other's options."""
    inputs = operator_inputs("B", "bidirectional")
    names = ["HardSigmoid", "Relu", "Softsign", "Sigmoid", "Tanh", "Tanh"]
    both = lstm(**inputs, direction="bidirectional", activations=names)
    for d, direction in enumerate(("forward", "reverse")):
        one = {name: a if name == "X" else a[d : d + 1] for name, a in inputs.items()}
        alone = lstm(**one, direction=direction, activations=names[3 * d : 3 * d + 3])
        np.testing.assert_array_equal(both[0][:, d : d + 1], alone[0])
        np.testing.assert_array_equal(both[1][d : d + 1], alone[1])


# ---------------------------------------------------------------- bad arguments

F = np.float32
BAD = {
    "X_list": ({"X": [[1.0]]}, "X: expected a NumPy array"),
    "X_half": ({"X": np.zeros((T, B, I), np.float16)}, "X: expected dtype float32 or float64"),
    "X_integers": ({"X": np.zeros((T, B, I), np.int64)}, "X: expected dtype"),
    "X_rank": ({"X": np.zeros((T, I), F)}, r"X: expected \(T, B, 5\), got \(6, 5\)"),
    "X_size": ({"X": np.zeros((T, B, I + 1), F)}, r"X: expected \(T, B, 5\)"),
    "X_no_rows": ({"X": np.zeros((T, 0, I), F)}, "X: expected no axis of size 0"),
    "X_no_steps": ({"X": np.zeros((0, B, I), F)}, "X: expected no axis of size 0"),
    "W_missing": ({"W": None}, "W: expected a NumPy array of floats, got None"),
    "W_dtype": ({"W": np.zeros((1, 4 * H, I))}, "W: expected dtype float32 like the other arrays"),
    "W_rank": ({"W": np.zeros((4 * H, I), F)}, r"W: expected \(1, 4H, I\)"),
    "W_gates": ({"W": np.zeros((1, 4 * H + 1, I), F)}, "W: expected"),
    "W_directions": ({"W": np.zeros((2, 4 * H, I), F)}, r"W: expected \(1, 4H, I\)"),
    "R_shape": ({"R": np.zeros((1, 4 * H, H + 1), F)}, "R: expected"),
    "R_dtype": ({"R": np.zeros((1, 4 * H, H))}, "R: expected dtype float32"),
    "B_shape": ({"B": np.zeros((1, 4 * H), F)}, r"B: expected \(1, 64\), got \(1, 32\)"),
    "P_shape": ({"P": np.zeros((1, H), F)}, r"P: expected \(1, 24\), got \(1, 8\)"),
    "h_shape": ({"initial_h": np.zeros((B, H), F)}, r"initial_h: expected \(1, 4, 8\)"),
    "c_shape": ({"initial_c": np.zeros((1, B + 1, H), F)}, r"initial_c: expected \(1, 4, 8\)"),
    "c_dtype": ({"initial_c": np.zeros((1, B, H))}, "initial_c: expected dtype float32"),
    "h_layout": ({"layout": 1, "initial_h": np.zeros((1, T, H), F)}, r"initial_h: expected \(6, 1"),
    "lengths_floats": ({"sequence_lens": np.ones(B)}, "sequence_lens: expected an array of int"),
    "lengths_shape": ({"sequence_lens": [T, T]}, r"sequence_lens: expected \(4,\), got \(2,\)"),
    "lengths_large": (
        {"sequence_lens": [T + 1] * B},
        r"sequence_lens: expected integers in \[0, 6",
    ),
    "lengths_negative": ({"sequence_lens": [-1] * B}, "sequence_lens: expected integers in"),
    "direction": ({"direction": "backward"}, "direction: expected one of 'forward'"),
    "both_directions": ({"direction": "bidirectional"}, r"W: expected \(2, 4H, I\)"),
    "hidden_size": ({"hidden_size": H + 1}, "hidden_size: expected 8, the last axis of R, got 9"),
    "layout": ({"layout": 2}, "layout: expected one of 0, 1, got 2"),
    "input_forget": ({"input_forget": 2}, "input_forget: expected one of 0, 1, got 2"),
    "clip_zero": ({"clip": 0}, "clip: expected a number > 0"),
    "clip_negative": ({"clip": -1.0}, "clip: expected a finite number"),
    "clip_text": ({"clip": "1"}, "clip: expected a finite number"),
    "activations_text": ({"activations": "Tanh"}, "activations: expected a list of 3 names"),
    "activations_count": ({"activations": ["Tanh"]}, "activations: expected a list of 3 names"),
    "activations_name": ({"activations": ["Sigmoid", "Tanh", "Gelu"]}, "activations: .* 'Gelu'"),
    "activations_none": ({"activations": ["Sigmoid", "Tanh", None]}, "activations: .* None"),
    "alpha_excess": ({"activation_alpha": [0.1]}, "activation_alpha: expected no more values"),
    "beta_excess": ({"activation_beta": [0.1]}, "activation_beta: expected no more values"),
    "alpha_number": ({"activation_alpha": 0.1}, "activation_alpha: expected a list of numbers"),
    "alpha_text": (
        {"activations": ["Sigmoid", "Elu", "Tanh"], "activation_alpha": ["x"]},
        "activations alpha: expected a finite number",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        lstm(**operator_inputs("B") | changed)


def test_the_operator_needs_no_package(environment):
    """Without the packages onnx and onnxruntime it runs; files say what is missing."""
    code = """
import sys
sys.modules["onnx"] = sys.modules["onnxruntime"] = None
import numpy as np, lstmfast.onnx
f = np.ones
Y, Y_h, Y_c = lstmfast.onnx.lstm(f((2, 1, 3), "f"), f((1, 8, 3), "f"), f((1, 8, 2), "f"))
assert Y.shape == (2, 1, 1, 2)
model = lstmfast.Model([lstmfast.LSTM(2, input_shape=(None, 3))])
for function, *arguments in ((lstmfast.onnx.export, model, "no"), (lstmfast.onnx.load, "no")):
    try:
        function(*arguments)
    except ImportError as error:
        print(error)
"""
    told = printed(environment, code, flags=["-P"])
    for name in ("export", "load"):
        text = f"lstmfast.onnx.{name}: expected the package onnx: pip install 'lstmfast[onnx]'"
        assert text in told
